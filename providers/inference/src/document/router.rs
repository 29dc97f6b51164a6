//! Routers, in both dialects: the seed's (on a gateway or a service, with a policy) and today's (a replica group).

use gabion_engine::config::{MapReader, Spanned};
use gabion_engine::diagnostic::Diagnostic;

use crate::term::{keyword, map_type, plain_map};

keyword! {
    /// The programs that can route a service's requests.
    pub enum RouterKind: "a type of router" {
        /// The Shepherd (formerly SGLang) Model Gateway.
        Smg = "smg" | "sglang",
        /// NVIDIA Dynamo's frontend.
        Dynamo = "dynamo",
    }
}

keyword! {
    /// The programs that the seed's form knows.
    pub enum RouterType: "a type of router" {
        /// The SGLang Model Gateway.
        Sglang = "sglang" | "smg",
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
        /// The package that it comes from. An extension of gabion's.
        package: RouterPackage = RouterPackage::Smg,
    }
    check GatewayRouter::check;
}

plain_map!(
    GatewayRouter,
    "a router such as `{type: sglang, policy: cache_aware}`"
);

impl GatewayRouter {
    fn check(&self, map: &mut MapReader<'_>) {
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
        /// The package that it comes from. An extension of gabion's.
        package: RouterPackage = RouterPackage::Smg,
    }
}

plain_map!(
    ServiceRouter,
    "a router such as `{type: sglang, policy: cache_aware}`"
);

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
