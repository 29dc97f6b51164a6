//! Routers, in both dialects: the seed's (on a gateway or a service, with a policy) and today's (a replica group).

use gabion_engine::config::{Keyword, MapReader, Spanned};
use gabion_engine::diagnostic::Diagnostic;

use crate::term::{keyword, map_type, plain_map};

keyword! {
    /// The programs that can route a service's requests.
    pub enum RouterKind: "a type of router" {
        /// The Shepherd (formerly SGLang) Model Gateway.
        Smg = "smg" | "sglang",
        /// NVIDIA Dynamo's frontend.
        Dynamo = "dynamo",
        /// vLLM's router. An extension of gabion's.
        Vllm = "vllm",
    }
}

keyword! {
    /// The programs that the seed's form knows.
    pub enum RouterType: "a type of router" {
        /// The SGLang Model Gateway.
        Sglang = "sglang" | "smg",
        /// vLLM's router. An extension of gabion's.
        Vllm = "vllm",
    }
}

impl RouterType {
    /// Returns the program, as replica groups name it.
    pub fn kind(self) -> RouterKind {
        match self {
            Self::Sglang => RouterKind::Smg,
            Self::Vllm => RouterKind::Vllm,
        }
    }

    /// Returns the package, of a router that comes from several.
    pub fn package(self, chosen: Option<RouterPackage>) -> Option<RouterPackage> {
        (self == Self::Sglang).then_some(chosen.unwrap_or(RouterPackage::Smg))
    }
}

keyword! {
    /// How a router chooses a worker.
    pub enum Policy: "a routing policy" {
        /// Combines cache locality with load balancing, falling back to the shortest queue.
        CacheAware = "cache_aware",
        /// Samples two workers and picks the lighter one.
        PowerOfTwo = "power_of_two",
        /// Uniform random selection.
        Random = "random",
        /// Cycles through workers in order.
        RoundRobin = "round_robin",
        /// Keeps a session, or a user, on one worker. Of vLLM's router only.
        ConsistentHash = "consistent_hash",
        /// Picks the lightest worker and keeps sessions there. Of vLLM's router only.
        StickyLeastLoaded = "sticky_least_loaded",
    }
}

impl Policy {
    /// Whether a router has it, launched without workers.
    fn is_of(self, router_type: RouterType) -> bool {
        match (self, router_type) {
            (Self::CacheAware | Self::Random | Self::RoundRobin, _) => true,
            (Self::PowerOfTwo, router_type) => router_type == RouterType::Sglang,
            (Self::ConsistentHash | Self::StickyLeastLoaded, router_type) => router_type == RouterType::Vllm,
        }
    }
}

keyword! {
    /// Which package the router comes from.
    pub enum RouterPackage: "a router package" {
        /// The current one.
        Smg = "smg",
        /// The older one, which the seed used.
        SglangRouter = "sglang-router",
    }
}

map_type! {
    /// A router in the seed's form, on a gateway.
    pub struct GatewayRouter: "router" {
        /// The program.
        ("type") router_type: RouterType,
        /// How it chooses a worker.
        policy: Spanned<Policy> => Policy::CacheAware,
        /// The package that SGLang's router comes from: `smg` if not given. An extension of gabion's.
        package: Option<RouterPackage> = None,
    }
    check GatewayRouter::check;
}

plain_map!(
    GatewayRouter,
    "a router such as `{type: sglang, policy: cache_aware}`"
);

/// Reports a policy that the router does not have.
fn check_policy(router_type: RouterType, policy: &Spanned<Policy>, map: &mut MapReader<'_>) {
    if policy.value.is_of(router_type) {
        return;
    }
    let why = match router_type {
        RouterType::Sglang => "SGLang's router does not have the policy",
        // It waits for two workers and ends when they do not answer.
        RouterType::Vllm => "vLLM's router does not start without workers under the policy",
    };
    let others = Policy::WORDS.iter().filter(|(_, other)| other.is_of(router_type));
    let others: Vec<String> = others.map(|(word, _)| format!("`{word}`")).collect();
    map.problems().push(
        Diagnostic::error("unsupported-policy", "policy of another router")
            .detail(format!("{why} `{}`.", policy.value))
            .at(policy.span.clone())
            .hint(format!("write one of {}", others.join(", "))),
    );
}

/// Reports the choice of a package where there is no choice.
fn check_package(router_type: RouterType, map: &mut MapReader<'_>) {
    let Some(span) = map
        .key_span("package")
        .filter(|_| router_type == RouterType::Vllm)
    else {
        return;
    };
    map.problems().push(
        Diagnostic::error("misplaced-key", "misplaced key")
            .detail("`package` chooses between the two packages of SGLang's router; vLLM's comes from one.")
            .at(span)
            .hint("remove `package`, or write `type: sglang`"),
    );
}

impl GatewayRouter {
    fn check(&self, map: &mut MapReader<'_>) {
        check_policy(self.router_type, &self.policy, map);
        check_package(self.router_type, map);
        if let Some(span) = map.key_span("pd_disaggregation") {
            map.problems().push(
                Diagnostic::error("misplaced-key", "misplaced key")
                    .detail("Whether prefill and decode are separate is for each service to say.")
                    .at(span)
                    .hint("put it into the service's own `router: {type: sglang, pd_disaggregation: true}`"),
            );
        }
    }
}

map_type! {
    /// A router in the seed's form, on a service: it wins over its gateway's.
    pub struct ServiceRouter: "router" {
        /// The program.
        ("type") router_type: RouterType,
        /// How it chooses a worker.
        policy: Spanned<Policy> => Policy::CacheAware,
        /// Whether some replicas read prompts (prefill) and the others write answers (decode).
        pd_disaggregation: Spanned<bool> => false,
        /// The package that SGLang's router comes from: `smg` if not given. An extension of gabion's.
        package: Option<RouterPackage> = None,
    }
    check ServiceRouter::check;
}

plain_map!(
    ServiceRouter,
    "a router such as `{type: sglang, policy: cache_aware}`"
);

impl ServiceRouter {
    fn check(&self, map: &mut MapReader<'_>) {
        check_policy(self.router_type, &self.policy, map);
        check_package(self.router_type, map);
        if self.router_type == RouterType::Vllm && self.pd_disaggregation.value {
            map.problems().push(
                Diagnostic::error("misplaced-key", "misplaced key")
                    .detail(
                        "vLLM's router takes prefill and decode workers only when it starts, and gabion fills routers as workers come and go.",
                    )
                    .at(self.pd_disaggregation.span.clone())
                    .hint("write `type: sglang`: that router has workers of vLLM as well"),
            );
        }
    }
}

map_type! {
    /// A router in today's form: the group's replica is it. Its policy is in the group's `commands`.
    pub struct GroupRouter: "router of a replica group" {
        /// The program.
        ("type") kind: Spanned<RouterKind> => RouterKind::Smg,
    }
    check GroupRouter::check;
}

plain_map!(GroupRouter, "a router such as `{type: smg}`");

impl GroupRouter {
    fn check(&self, map: &mut MapReader<'_>) {
        let here = map.node().span.clone();
        for key in ["policy", "pd_disaggregation"] {
            if let Some(span) = map.key_span(key) {
                map.problems().push(
                    Diagnostic::error("mixed-dialects", "mixed dialects")
                        .detail(format!(
                            "`{key}` belongs to the older form, where the router is the gateway's or the service's. The router of a replica group is started by the group's `commands`, which hold its flags."
                        ))
                        .at(span)
                        .related(here.clone(), "this router is a replica group's")
                        .hint("put it into the group's `commands`: `smg launch --policy …`"),
                );
            }
        }
    }
}
