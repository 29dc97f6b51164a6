//! The schema of `replica_count`.

use gabion_engine::address::ResourceType;
use gabion_engine::schema::{AttributeKind, AttributeSchema, Idempotency, ResourceSchema};

/// The name of the resource type.
pub const REPLICA_COUNT: &str = "replica_count";

/// Returns the schema of `replica_count`.
pub(crate) fn schema() -> ResourceSchema {
    use AttributeKind::{Float, Int, String};
    let resource_type = ResourceType::new(REPLICA_COUNT).expect("`replica_count` is well formed");
    let mut schema = ResourceSchema::new(
        resource_type,
        "How many replicas a group has now, within its range. It starts at the least, `gabion scale` and `gabion reconcile` \
         change it, and plans keep it.",
    )
    .attribute("count", AttributeSchema::required(Int, "How many there are to be."))
    .attribute("min", AttributeSchema::required(Int, "The least."))
    .attribute("max", AttributeSchema::required(Int, "The most."))
    .attribute("metric", AttributeSchema::required(String, "What the number follows: `rps`, `ttft` or `itl`."))
    .attribute(
        "target",
        AttributeSchema::required(Float, "What is aimed at: requests per second for each replica, or seconds."),
    )
    .attribute(
        "percentile",
        AttributeSchema::optional(Int, "The share of answers, in percent, that is to be within the seconds; 90 if not given."),
    )
    .attribute("window_seconds", AttributeSchema::required(Int, "Over how long it is measured."))
    .attribute(
        "scale_up_delay_seconds",
        AttributeSchema::required(Int, "How long after a change there may be more."),
    )
    .attribute(
        "scale_down_delay_seconds",
        AttributeSchema::required(Int, "How long after a change there may be fewer."),
    )
    .attribute("id", AttributeSchema::computed(String, "The object's identifier."));
    schema.idempotency = Idempotency::NaturalUpsert;
    schema
}
