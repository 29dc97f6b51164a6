//! The schema of `host_unit`, a long-running program on a machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gabion_engine::address::{ProviderName, ResourceType};
use gabion_engine::schema::{
    AttributeKind, AttributeSchema, Idempotency, ProviderSchema, ReplaceOrder, ResourceSchema, Timeouts,
};
use gabion_engine::value::Value;

/// The name of the resource type.
pub const HOST_UNIT: &str = "host_unit";

fn object(entries: &[(&str, AttributeKind)]) -> AttributeKind {
    AttributeKind::Object(
        entries
            .iter()
            .map(|(name, kind)| (Arc::from(*name), kind.clone()))
            .collect(),
    )
}

fn list(kind: AttributeKind) -> AttributeKind {
    AttributeKind::List(Box::new(kind))
}

fn map(kind: AttributeKind) -> AttributeKind {
    AttributeKind::Map(Box::new(kind))
}

/// Returns the schema of the provider `host`.
pub fn provider_schema() -> ProviderSchema {
    let unit = host_unit();
    ProviderSchema {
        name: ProviderName::new("host"),
        source: "gabion/host".to_owned(),
        resource_types: BTreeMap::from([(unit.resource_type.clone(), unit)]),
    }
}

fn host_unit() -> ResourceSchema {
    use AttributeKind::{Bool, Float, Int, String};
    let resource_type = ResourceType::new(HOST_UNIT).expect("the name is a well-formed resource type");
    let mut schema = ResourceSchema::new(
        resource_type,
        "A program that runs on a machine, outlives the command that started it, and can be read back completely.",
    );
    schema.replace_order = ReplaceOrder::CreateThenDelete;
    schema.idempotency = Idempotency::UniqueName;
    schema.timeouts = Timeouts {
        create: Duration::from_secs(1800),
        update: Duration::from_secs(1800),
        delete: Duration::from_secs(600),
    };
    schema
        .attribute(
            "machine",
            AttributeSchema::required(String, "The machine: `local` is the one that runs gabion.")
                .forces_replacement(),
        )
        .attribute("role", AttributeSchema::optional(String, "What it is for (`replica`, `router`, `agent`), shown by `ps`."))
        .attribute(
            "argv",
            AttributeSchema::optional(
                list(String),
                "Program and arguments. `{ports.NAME}`, `{unit.dir}`, `{package.dir}` and `{gabion}` are filled in at \
                 each launch. Never secrets: every user of the machine can read them. Without it, the image's own \
                 program; needed without an image.",
            )
            .forces_replacement(),
        )
        .attribute(
            "env",
            AttributeSchema::optional(
                map(String),
                "Environment variables. Values that are not secret may hold the placeholders of `argv`; secret ones \
                 are kept in one file that only the owner can read.",
            )
            .forces_replacement(),
        )
        .attribute(
            "runtime",
            AttributeSchema::optional(
                String,
                "What runs it: `process` (the same as without it); `docker`, in a container of the machine's own Docker \
                 daemon; or `systemd`, as a service that systemd watches and starts with the machine.",
            )
            .forces_replacement(),
        )
        .attribute(
            "container",
            AttributeSchema::optional(
                object(&[
                    ("image", String),
                    ("privileged", Bool),
                    ("gpus", String),
                    ("shm_mib", Int),
                    ("memory_mib", Int),
                    ("cpus", Float),
                    (
                        "mounts",
                        list(object(&[("source", String), ("target", String), ("read_only", Bool)])),
                    ),
                    ("network", String),
                    ("ports", map(Int)),
                    ("restart", String),
                ]),
                "The container of the runtime `docker`: `image` (`NAME:TAG`, `NAME@sha256:DIGEST`, or `sha256:ID` for one \
                 that is only on the machine), `gpus` (`all` or a number), limits, `mounts` of paths of the machine, and \
                 by name on which port of the container's own loopback address each of the unit's `ports` ends. With \
                 `network: host` it has the machine's network, and listens on the unit's ports itself. \
                 `restart` (`no`, `on-failure`, `always`) is the daemon's own policy.",
            )
            .forces_replacement(),
        )
        .attribute(
            "systemd",
            AttributeSchema::optional(
                object(&[("scope", String), ("restart", String)]),
                "The service of the runtime `systemd`: `scope` is whose manager runs it, `system` (the machine's, which \
                 takes root or `sudo`) or `user` (of the user that gabion runs as, who has to linger); without it, the \
                 machine's where gabion is or may become root. `restart` (`no`, `on-failure`, `always`) is when systemd \
                 starts it again; `always` without it, `no` when other attributes say when it is started again.",
            )
            .forces_replacement(),
        )
        .attribute(
            "registry_auth",
            AttributeSchema::optional(
                object(&[("username", String), ("password", String)]),
                "What the image's registry asks for, once, when the image is pulled.",
            ),
        )
        .attribute(
            "working_dir",
            AttributeSchema::optional(String, "Absolute working directory; without it, the unit's own files, or the image's own directory.")
                .forces_replacement(),
        )
        .attribute(
            "files",
            AttributeSchema::optional(map(String), "Files placed in the unit's directory: relative path to content.")
                .forces_replacement(),
        )
        .attribute(
            "ports",
            AttributeSchema::optional(
                map(object(&[("range", String), ("port", Int)])),
                "The ports it listens on, by name: `{range: 20000-29999}` leases the first free one, `{port: 8000}` \
                 claims that very one. A port that was leased is kept for as long as it fits.",
            )
            .forces_replacement(),
        )
        .attribute(
            "package",
            AttributeSchema::optional(
                String,
                "The package that `{package.dir}` holds, `NAME==VERSION`; one that this build has a hash-checked \
                 lock for.",
            )
            .forces_replacement(),
        )
        .attribute(
            "probes",
            AttributeSchema::optional(
                list(object(&[
                    ("method", String),
                    ("path", String),
                    ("port", String),
                    ("headers", map(String)),
                    ("body", String),
                    ("timeout_seconds", Int),
                    ("interval_seconds", Int),
                    ("ready_after", Int),
                    ("socket", String),
                ])),
                "What must succeed before it counts as ready: an HTTP request on the port named `port` (default \
                 `http`) or on the Unix socket `socket` in the unit's directory that a 2xx answers; without `path`, \
                 a connection that is accepted.",
            ),
        )
        .attribute(
            "ready_timeout",
            AttributeSchema::optional(Int, "Seconds that it may take to become ready.").default_value(Value::Int(600)),
        )
        .attribute(
            "stop_timeout",
            AttributeSchema::optional(Int, "Seconds that it may take to end after SIGTERM before it is killed.")
                .default_value(Value::Int(300)),
        )
        .attribute(
            "user",
            AttributeSchema::optional(
                String,
                "The user that it runs as, and after a colon the group, by name or number: the one that gabion runs as; \
                 any other is refused. In a container, any user of the image; as a service of the machine's systemd, any user of the \
                 machine.",
            )
            .forces_replacement(),
        )
        .attribute(
            "completes",
            AttributeSchema::optional(
                Bool,
                "Whether the program is meant to end: exit code 0 is success then, and a program that has ended is not \
                 started again by apply. Without it, the program is meant to run for ever.",
            )
            .forces_replacement(),
        )
        .attribute(
            "retry_timeout",
            AttributeSchema::optional(
                Int,
                "Seconds after its first failure in a row during which a program that goes on failing is started again, \
                 with growing pauses. Without it, it never is.",
            )
            .forces_replacement(),
        )
        .attribute(
            "run_timeout",
            AttributeSchema::optional(Int, "Seconds that it may run, all attempts together, before it is stopped.")
                .forces_replacement(),
        )
        .attribute(
            "node",
            AttributeSchema::optional(
                object(&[("run", String), ("rank", Int), ("ends_with_master", Bool)]),
                "Which node of a run with several it is: the run's name, its number there (0 is the master), and \
                 whether it is stopped when the master is done. When one node fails the others are stopped.",
            )
            .forces_replacement(),
        )
        .attribute("id", AttributeSchema::computed(String, "The unit's uid, which names its directory."))
        .attribute("running", AttributeSchema::computed(Bool, "Whether its process runs. Always meant to be true; absent when the program is meant to end."))
        .attribute(
            "ended",
            AttributeSchema::computed(
                String,
                "Why its process does not run: how it ended, or that the machine was restarted. Absent while it runs, and \
                 when the program is meant to end.",
            ),
        )
        .attribute(
            "image_id",
            AttributeSchema::computed(
                String,
                "The image that its container is made from, by its id: chosen once, and kept until it is replaced.",
            ),
        )
        .attribute(
            "image_digest",
            AttributeSchema::computed(
                String,
                "The same by the digest of its registry; absent for an image that is only on the machine.",
            ),
        )
        .attribute(
            "restarted",
            AttributeSchema::computed(
                String,
                "When somebody else restarted its container, or who restarted its service; absent when nobody did since \
                 gabion looked.",
            ),
        )
        .attribute(
            "service",
            AttributeSchema::computed(String, "The service of systemd that it is, and in parentheses of which manager."),
        )
        .attribute(
            "service_changed",
            AttributeSchema::computed(
                String,
                "What somebody else made of its unit file: removed, edited (which settings), overridden, disabled; absent \
                 when it is as gabion wrote it.",
            ),
        )
        .attribute(
            "agent_digest",
            AttributeSchema::computed(
                String,
                "Of an agent that runs: the SHA-256 of its program. Another build takes over in place, without an end to \
                 what is open.",
            ),
        )
        .attribute("port", AttributeSchema::computed(map(Int), "The leased ports, by name."))
        .attribute(
            "url",
            AttributeSchema::computed(String, "`http://HOST:PORT` of the port named `http`; absent without one."),
        )
        .attribute("unit_dir", AttributeSchema::computed(String, "The unit's directory on the machine."))
}
