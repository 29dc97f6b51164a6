//! The schema of `router_worker`, one worker of one router.

use std::collections::BTreeMap;
use std::time::Duration;

use gabion_engine::address::{ProviderName, ResourceType};
use gabion_engine::schema::{
    AttributeKind, AttributeSchema, Idempotency, ProviderSchema, ReplaceOrder, ResourceSchema, Timeouts,
};
use gabion_engine::value::Value;

/// The name of the resource type.
pub const ROUTER_WORKER: &str = "router_worker";

/// Returns the schema of the provider `router`.
pub fn provider_schema() -> ProviderSchema {
    let worker = router_worker();
    ProviderSchema {
        name: ProviderName::new("router"),
        source: "gabion/router".to_owned(),
        resource_types: BTreeMap::from([(worker.resource_type.clone(), worker)]),
    }
}

fn router_worker() -> ResourceSchema {
    use AttributeKind::{Int, Map, String};
    let resource_type = ResourceType::new(ROUTER_WORKER).expect("the name is a well-formed resource type");
    let mut schema = ResourceSchema::new(resource_type, "One worker of one router.");
    schema.replace_order = ReplaceOrder::CreateThenDelete;
    schema.idempotency = Idempotency::NaturalUpsert;
    schema.deleted_with = Some("router".into());
    schema.timeouts = Timeouts {
        create: Duration::from_secs(180),
        update: Duration::from_secs(180),
        delete: Duration::from_secs(900),
    };
    schema
        .attribute(
            "machine",
            AttributeSchema::optional(
                String,
                "The agent's machine: `local` is the one that runs gabion.",
            )
            .default_value("local")
            .forces_replacement(),
        )
        .attribute(
            "agent",
            AttributeSchema::required(String, "The id of the agent's unit on the router's machine.")
                .forces_replacement(),
        )
        .attribute(
            "router",
            AttributeSchema::required(
                String,
                "The id of the router's unit; its deletion takes its workers along.",
            )
            .forces_replacement(),
        )
        .attribute(
            "router_url",
            AttributeSchema::required(String, "Where the router serves."),
        )
        .attribute(
            "router_type",
            AttributeSchema::required(String, "`smg`, `sglang-router` or `vllm-router`.")
                .forces_replacement(),
        )
        .attribute(
            "name",
            AttributeSchema::required(String, "The worker's name, unique in its router.")
                .forces_replacement(),
        )
        .attribute(
            "url",
            AttributeSchema::required(String, "Where the worker serves.").forces_replacement(),
        )
        .attribute(
            "worker_type",
            AttributeSchema::optional(String, "`regular`, `prefill` or `decode`.")
                .default_value("regular")
                .forces_replacement(),
        )
        .attribute(
            "connection_mode",
            AttributeSchema::optional(String, "How the router talks to it: `http`.")
                .default_value("http")
                .forces_replacement(),
        )
        .attribute(
            "bootstrap_port",
            AttributeSchema::optional(
                Int,
                "The port on which decode workers fetch from a prefill worker.",
            )
            .forces_replacement(),
        )
        .attribute(
            "model_id",
            AttributeSchema::optional(String, "The model that it serves, when it does not say itself."),
        )
        .attribute(
            "labels",
            AttributeSchema::optional(Map(Box::new(String)), "Further labels in the router."),
        )
        .attribute(
            "ready_timeout",
            AttributeSchema::optional(Int, "Seconds that the router may take to find it healthy.")
                .default_value(Value::Int(60)),
        )
        .attribute(
            "drain_timeout",
            AttributeSchema::optional(
                Int,
                "Seconds that its running requests may take to finish once it is removed.",
            )
            .default_value(Value::Int(300)),
        )
        .attribute("id", AttributeSchema::computed(String, "Router and name."))
}
