//! `ssh_host`: a machine of a fleet that is reached over SSH.
//!
//! The machine is there already; what is made of it is that gabion knows it and its facts, and that its agent is on it.
//! Deleted is what gabion has put there.

use async_trait::async_trait;
use futures_util::future::join_all;
use gabion_engine::address::{ObjectId, ProviderName, ResourceType};
use gabion_engine::provider::{
    Call, CreateRequest, DeleteRequest, ErrorClass, ImportRequest, ObjectState, Observation, ObserveRequest,
    Provider, ProviderError, ReadOutcome, ReadRequest, RecordedObject, UpdateRequest,
};
use gabion_engine::schema::{AttributeKind, AttributeSchema, Idempotency, ProviderSchema, ResourceSchema};
use gabion_engine::value::{AttributePath, Attributes, Value};

use crate::facts::Facts;
use crate::hosts::Hosts;
use crate::ssh::{Jump, SshAddress, Trust};

/// The name of the resource type.
pub const SSH_HOST: &str = "ssh_host";

/// The provider `ssh`.
#[derive(Debug)]
pub struct SshProvider {
    hosts: Hosts,
    schema: ProviderSchema,
}

impl SshProvider {
    /// Configures the provider. Nothing is connected yet.
    #[must_use]
    pub fn new(hosts: Hosts) -> Self {
        Self {
            hosts,
            schema: provider_schema(),
        }
    }

    /// Has the machine known as its attributes say, and reads what it is.
    async fn meet(&self, inputs: &Attributes) -> Result<ObjectState, ProviderError> {
        let name = machine(inputs)?;
        self.hosts.declare(&name, address(inputs));
        self.look(&name, inputs).await
    }

    async fn look(&self, name: &str, inputs: &Attributes) -> Result<ObjectState, ProviderError> {
        let (facts, _) = self.hosts.facts(name).await?;
        Ok(state(name, inputs, &facts))
    }

    async fn read_one(&self, object: &RecordedObject) -> ReadOutcome {
        let looked = async {
            let name = machine(&object.inputs)?;
            self.hosts.declare_unless_known(&name, address(&object.inputs));
            self.look(&name, &object.inputs).await
        };
        match looked.await {
            Ok(state) => ReadOutcome::Present(state),
            Err(error) => ReadOutcome::CannotTell {
                reason: error.message,
            },
        }
    }
}

fn machine(inputs: &Attributes) -> Result<String, ProviderError> {
    text(inputs, "machine").ok_or_else(|| {
        ProviderError::new(ErrorClass::Invalid, "The machine has no name.").at(AttributePath::root("machine"))
    })
}

fn text(attributes: &Attributes, name: &str) -> Option<String> {
    attributes.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn port(attributes: &Attributes) -> Option<u16> {
    attributes
        .get("port")
        .and_then(Value::as_int)
        .and_then(|port| u16::try_from(port).ok())
}

/// Returns how a machine is reached, by the attributes of its `ssh_host`.
#[must_use]
pub fn address(attributes: &Attributes) -> SshAddress {
    let first_use = attributes
        .get("trust_on_first_use")
        .and_then(Value::as_bool)
        .unwrap_or_default();
    SshAddress {
        hostname: text(attributes, "hostname").unwrap_or_default(),
        port: port(attributes),
        user: text(attributes, "user"),
        identity_file: text(attributes, "identity_file"),
        proxy_jump: attributes
            .get("proxy_jump")
            .and_then(Value::as_map)
            .map(|jump| Jump {
                hostname: text(jump, "hostname").unwrap_or_default(),
                port: port(jump),
                user: text(jump, "user"),
                identity_file: text(jump, "identity_file"),
                host_key: text(jump, "host_key"),
            }),
        trust: match text(attributes, "host_key") {
            Some(key) => Trust::Key(key),
            None if first_use => Trust::FirstUse,
            None => Trust::KnownHosts,
        },
    }
}

fn state(name: &str, inputs: &Attributes, facts: &Facts) -> ObjectState {
    let mut attributes: Attributes = inputs
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    attributes.extend(facts.to_attributes());
    attributes.insert("id".into(), name.into());
    ObjectState {
        id: ObjectId::new(name),
        attributes,
        private: serde_json::Value::Null,
        unreadable: Vec::new(),
    }
}

#[async_trait]
impl Provider for SshProvider {
    fn schema(&self) -> &ProviderSchema {
        &self.schema
    }

    async fn read(&self, request: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError> {
        Ok(join_all(request.objects.iter().map(|object| self.read_one(object))).await)
    }

    async fn create(&self, request: CreateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        call.phase("connect");
        self.meet(&request.inputs).await
    }

    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        call.phase("connect");
        self.meet(&request.inputs).await
    }

    async fn delete(&self, request: DeleteRequest, call: &Call) -> Result<(), ProviderError> {
        call.phase("clean up");
        let name = machine(&request.object.inputs)?;
        self.hosts
            .declare_unless_known(&name, address(&request.object.inputs));
        match self.hosts.leave(&name).await {
            // Those are other projects': they keep what they need there.
            Ok(_) => Ok(()),
            Err(error) if error.hint.is_none() => Err(error),
            Err(error) => {
                let forget = format!("gabion state rm {}", request.object.address);
                Err(error.with_detail([format!("If the machine is gone for good: {forget}")]))
            }
        }
    }

    async fn observe(&self, request: ObserveRequest) -> Result<Observation, ProviderError> {
        let object = RecordedObject {
            inputs: request.inputs,
            ..request.object
        };
        Ok(match self.read_one(&object).await {
            ReadOutcome::Present(state) => Observation::Present(state),
            ReadOutcome::Absent => Observation::Absent,
            ReadOutcome::CannotTell { reason } => Observation::Unknown { reason },
        })
    }

    async fn import(&self, request: ImportRequest) -> Result<ObjectState, ProviderError> {
        Err(ProviderError::new(
            ErrorClass::Invalid,
            format!(
                "`{}` cannot be imported: a machine is made known by its fleet.",
                request.address
            ),
        )
        .with_hint("declare it in `ssh_config` of a fleet, and apply"))
    }
}

/// Returns the schema of the provider `ssh`.
#[must_use]
pub fn provider_schema() -> ProviderSchema {
    use AttributeKind::{Bool, Int, String};
    let resource_type = ResourceType::new(SSH_HOST).expect("the name is a well-formed resource type");
    let list = |kind: AttributeKind| AttributeKind::List(Box::new(kind));
    let object = |entries: &[(&str, AttributeKind)]| {
        AttributeKind::Object(
            entries
                .iter()
                .map(|(name, kind)| ((*name).into(), kind.clone()))
                .collect(),
        )
    };
    let schema = ResourceSchema::new(
        resource_type.clone(),
        "A machine that is there already and is reached over SSH. Deleted is what gabion has put there, not the machine.",
    )
    .attribute(
        "machine",
        AttributeSchema::required(String, "What `machine` of other resources calls it: `FLEET/HOST`.")
            .forces_replacement(),
    )
    .attribute("hostname", AttributeSchema::required(String, "Its host name or address."))
    .attribute("port", AttributeSchema::optional(Int, "Its SSH port."))
    .attribute("user", AttributeSchema::optional(String, "The user to log in as."))
    .attribute(
        "identity_file",
        AttributeSchema::optional(String, "The file of the private key, here; a relative one is in the project's directory."),
    )
    .attribute(
        "proxy_jump",
        AttributeSchema::optional(
            object(&[
                ("hostname", String),
                ("port", Int),
                ("user", String),
                ("identity_file", String),
                ("host_key", String),
            ]),
            "The machine that it is reached through.",
        ),
    )
    .attribute(
        "host_key",
        AttributeSchema::optional(
            String,
            "The public key that it is known by. Another key is refused. Without one, the user's `known_hosts` decides.",
        ),
    )
    .attribute(
        "trust_on_first_use",
        AttributeSchema::optional(Bool, "Whether the key that it showed first was taken without a comparison."),
    )
    .attribute("internal_ip", AttributeSchema::optional(String, "Its private address, for its neighbours."))
    .attribute("id", AttributeSchema::computed(String, "The machine's name."))
    .attribute(
        "machine_id",
        AttributeSchema::computed(String, "What tells the machine from others: its own id and its host name."),
    )
    .attribute("os", AttributeSchema::computed(String, "Its operating system."))
    .attribute("arch", AttributeSchema::computed(String, "Its processors' kind."))
    .attribute("cpus", AttributeSchema::computed(Int, "How many processors it has."))
    .attribute("memory_mib", AttributeSchema::computed(Int, "Its memory in MiB."))
    .attribute("disk_gib", AttributeSchema::computed(Int, "The size of the disk that holds its units, in GiB."))
    .attribute(
        "gpus",
        AttributeSchema::computed(
            list(object(&[("vendor", String), ("name", String), ("memory_mib", Int)])),
            "Its accelerators.",
        ),
    )
    .attribute(
        "runtimes",
        AttributeSchema::computed(list(String), "What it has to run programs with, besides plain processes."),
    )
    .attribute("addresses", AttributeSchema::computed(list(String), "Its own addresses."))
    .attribute(
        "clock",
        AttributeSchema::computed(
            String,
            "How far its clock is from that of the machine that runs gabion; absent when that is less than a minute.",
        ),
    );
    let mut schema = schema;
    schema.idempotency = Idempotency::NaturalUpsert;
    ProviderSchema {
        name: ProviderName::new("ssh"),
        source: "gabion/ssh".to_owned(),
        resource_types: [(resource_type, schema)].into(),
    }
}
