//! The resource types of the fake cloud.
//!
//! | type | what it is there for |
//! | --- | --- |
//! | `fake_network` | others depend on it; not deleted while machines are in it; cannot change its range in place |
//! | `fake_disk` | holds data; grows in place, shrinks by replacement; a passphrase that the API never tells |
//! | `fake_machine` | computed attributes, one of them secret; readiness; replaced create-first |
//! | `fake_address` | an exclusive claim: replaced delete-first |
//! | `fake_record` | natural upsert; a set; schema version 2 |
//! | `fake_membership` | deleted together with its machine |

use std::time::Duration;

use gabion_engine::address::{ProviderName, ResourceType};
use gabion_engine::schema::{
    AttributeKind, AttributeSchema, Equality, Idempotency, ProviderSchema, ResourceSchema,
};
use gabion_engine::value::Value;

/// Attributes that the API takes and never tells again.
pub(super) const WRITE_ONLY: &[(&str, &str)] = &[("fake_disk", "passphrase")];

/// How long after its creation an object of the fake cloud may be invisible.
pub const CONSISTENCY_WINDOW: Duration = Duration::from_secs(10);

fn start(resource_type: &str, description: &str, idempotency: Idempotency) -> ResourceSchema {
    let resource_type = ResourceType::new(resource_type).expect("the fake cloud's types are well formed");
    let mut schema = ResourceSchema::new(resource_type, description).attribute(
        "id",
        AttributeSchema::computed(AttributeKind::String, "The cloud's id of the object."),
    );
    schema.idempotency = idempotency;
    schema.consistency_window = CONSISTENCY_WINDOW;
    schema
}

fn name() -> AttributeSchema {
    AttributeSchema::required(AttributeKind::String, "Its name, for people.")
}

fn tags() -> AttributeSchema {
    AttributeSchema::optional(
        AttributeKind::Map(Box::new(AttributeKind::String)),
        "Free labels.",
    )
}

fn strings() -> AttributeKind {
    AttributeKind::List(Box::new(AttributeKind::String))
}

/// Returns the schema of all types.
pub fn provider_schema() -> ProviderSchema {
    use AttributeKind::{Int, String};
    let network = start("fake_network", "A private network.", Idempotency::TagInCreate)
        .attribute("name", name())
        .attribute(
            "cidr",
            AttributeSchema::required(String, "Its address range.").forces_replacement(),
        )
        .attribute("tags", tags())
        .attribute(
            "gateway",
            AttributeSchema::computed(String, "The address of its router."),
        );
    let mut disk = start("fake_disk", "A disk.", Idempotency::Token)
        .attribute("name", name())
        .attribute("size", AttributeSchema::required(Int, "Its size in GB."))
        .attribute("tags", tags())
        .attribute(
            "passphrase",
            AttributeSchema::optional(String, "What it is encrypted with; the API never tells it.")
                .sensitive(),
        )
        .attribute(
            "serial",
            AttributeSchema::computed(String, "The number on its case."),
        );
    disk.holds_data = true;
    let mut machine = start("fake_machine", "A machine.", Idempotency::TagInCreate)
        .attribute("name", name())
        .attribute(
            "image",
            AttributeSchema::required(String, "What it boots.").forces_replacement(),
        )
        .attribute(
            "size",
            AttributeSchema::optional(
                String,
                "How big it is. A change restarts it, which gives it another address.",
            )
            .default_value("small"),
        )
        .attribute(
            "network",
            AttributeSchema::optional(String, "The id of the network that it is in.").forces_replacement(),
        )
        .attribute(
            "disks",
            AttributeSchema::optional(strings(), "The ids of its disks.").equality(Equality::Set),
        )
        .attribute(
            "user_data",
            AttributeSchema::optional(String, "What it runs at boot.").equality(Equality::NormalisedText),
        )
        .attribute("tags", tags())
        .attribute(
            "ip",
            AttributeSchema::computed(String, "Its address in the network."),
        )
        .attribute(
            "zone",
            AttributeSchema::optional_computed(String, "Where it is; the cloud chooses unless told.")
                .forces_replacement(),
        )
        .attribute(
            "console_password",
            AttributeSchema::computed(String, "The password of its console.").sensitive(),
        );
    machine.timeouts.create = Duration::from_secs(120);
    machine.timeouts.update = Duration::from_secs(60);
    machine.timeouts.delete = Duration::from_secs(60);
    let address = start("fake_address", "A public address.", Idempotency::UniqueName)
        .attribute("name", name())
        .attribute(
            "ip",
            AttributeSchema::required(String, "The address itself; only one object can hold it.")
                .forces_replacement(),
        )
        .attribute(
            "pool",
            AttributeSchema::optional(String, "The pool that it is taken from.").forces_replacement(),
        )
        .attribute(
            "machine",
            AttributeSchema::optional(String, "The id of the machine that it leads to."),
        );
    let mut record = start("fake_record", "A DNS record.", Idempotency::NaturalUpsert)
        .attribute(
            "name",
            AttributeSchema::required(String, "The name that it resolves.")
                .forces_replacement()
                .equality(Equality::CaseInsensitive),
        )
        .attribute(
            "values",
            AttributeSchema::required(strings(), "What it resolves to.").equality(Equality::Set),
        )
        .attribute(
            "ttl",
            AttributeSchema::optional(Int, "For how many seconds it may be cached.")
                .default_value(Value::Int(300)),
        );
    record.version = 2;
    let mut membership = start(
        "fake_membership",
        "One machine's place behind another that distributes over it.",
        Idempotency::NaturalUpsert,
    )
    .attribute(
        "router",
        AttributeSchema::required(String, "The id of the machine that distributes.").forces_replacement(),
    )
    .attribute(
        "member",
        AttributeSchema::required(String, "The address of the member.").forces_replacement(),
    )
    .attribute(
        "weight",
        AttributeSchema::optional(Int, "Its share.").default_value(Value::Int(1)),
    );
    membership.deleted_with = Some("router".into());
    ProviderSchema {
        name: ProviderName::new("fake"),
        source: "gabion.dev/gabion/fake".to_owned(),
        resource_types: [network, disk, machine, address, record, membership]
            .into_iter()
            .map(|schema| (schema.resource_type.clone(), schema))
            .collect(),
    }
}
