//! The router in the seed's form: on a gateway, or on a service (which then wins).

use gabion_engine::config::{FromNode, Keyword, MapReader, Node, Spanned};
use gabion_engine::diagnostic::Diagnostics;

/// The programs that can route a service's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterType {
    /// The SGLang Model Gateway.
    Sglang,
}

impl Keyword for RouterType {
    const WHAT: &'static str = "a type of router";
    const WORDS: &'static [(&'static str, Self)] = &[("sglang", Self::Sglang), ("smg", Self::Sglang)];
}

/// How a router chooses a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Combines cache locality with load balancing, falling back to the shortest queue.
    CacheAware,
    /// Samples two workers and picks the lighter one.
    PowerOfTwo,
    /// Uniform random selection.
    Random,
    /// Cycles through workers in order.
    RoundRobin,
}

impl Policy {
    /// Returns the word of the configuration, which is the router's own too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CacheAware => "cache_aware",
            Self::PowerOfTwo => "power_of_two",
            Self::Random => "random",
            Self::RoundRobin => "round_robin",
        }
    }
}

impl Keyword for Policy {
    const WHAT: &'static str = "a routing policy";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("cache_aware", Self::CacheAware),
        ("power_of_two", Self::PowerOfTwo),
        ("random", Self::Random),
        ("round_robin", Self::RoundRobin),
    ];
}

/// Which package the router comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterPackage {
    /// `smg`, the living one.
    Smg,
    /// `sglang-router`, its predecessor.
    SglangRouter,
}

impl Keyword for RouterPackage {
    const WHAT: &'static str = "a router package";
    const WORDS: &'static [(&'static str, Self)] =
        &[("smg", Self::Smg), ("sglang-router", Self::SglangRouter)];
}

/// A router in the seed's form.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterSpec {
    /// The program.
    pub router_type: RouterType,
    /// How it chooses a worker.
    pub policy: Spanned<Policy>,
    /// Where it comes from. An extension of gabion's.
    pub package: RouterPackage,
}

impl FromNode for RouterSpec {
    fn expected() -> String {
        "a router such as `{type: sglang, policy: cache_aware}`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "router", problems)?;
        let router_type = map.required("type");
        let policy = map.or("policy", Spanned::new(Policy::CacheAware, node.span.clone()));
        let package = map.or("package", RouterPackage::Smg);
        map.refuse(
            "pd_disaggregation",
            "This build has no separation of prefill and decode workers yet.",
            "remove it; every worker then does both",
        );
        map.finish();
        Some(Self {
            router_type: router_type?,
            policy: policy?,
            package: package?,
        })
    }
}
