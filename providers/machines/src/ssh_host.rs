//! `ssh_host`: a machine of a fleet that is reached over SSH.
//!
//! The machine is there already; what is made of it is that gabion knows it and its facts, and that its agent is on it.
//! Deleted is what gabion has put there.

use async_trait::async_trait;
use futures_util::future::join_all;
use gabion_engine::address::{ObjectId, ProviderName, ResourceType};
use gabion_engine::provider::{
    Call, CreateRequest, DeleteRequest, ErrorClass, ImportRequest, ObjectState, Observation, ObserveRequest,
    PlanRequest, PlanResponse, Provider, ProviderError, ReadOutcome, ReadRequest, RecordedObject,
    UpdateRequest, propose,
};
use gabion_engine::schema::{AttributeKind, AttributeSchema, Idempotency, ProviderSchema, ResourceSchema};
use gabion_engine::value::{AttributePath, Attributes, Value};

use crate::facts::Facts;
use crate::generation;
use crate::hosts::Hosts;
use crate::ssh::{Jump, SshAddress, Trust};

/// The name of the resource type.
pub const SSH_HOST: &str = "ssh_host";

/// The attribute with a machine's name.
const MACHINE: &str = "machine";

/// The attribute with what a machine is that gabion makes.
const INSTANCE: &str = "instance";

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

    /// Has a machine known by an id as its attributes say, and reads what it is.
    async fn meet(&self, id: &str, inputs: &Attributes) -> Result<ObjectState, ProviderError> {
        self.hosts.declare(id, address(inputs));
        self.look(id, inputs).await
    }

    async fn look(&self, name: &str, inputs: &Attributes) -> Result<ObjectState, ProviderError> {
        let (facts, _) = self.hosts.facts(name).await?;
        Ok(state(name, inputs, &facts))
    }

    async fn read_one(&self, object: &RecordedObject) -> ReadOutcome {
        let looked = async {
            let id = id_of(object)?;
            self.hosts.declare_unless_known(&id, address(&object.inputs));
            self.look(&id, &object.inputs).await
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
    text(inputs, MACHINE).ok_or_else(|| {
        ProviderError::new(ErrorClass::Invalid, "The machine has no name.").at(AttributePath::root(MACHINE))
    })
}

/// Returns what the programs on a recorded machine call it.
fn id_of(object: &RecordedObject) -> Result<String, ProviderError> {
    match &object.id {
        Some(id) => Ok(id.as_str().to_owned()),
        None => machine(&object.inputs),
    }
}

/// Returns what the programs on a machine call it, by the attributes of its `ssh_host`.
#[must_use]
pub fn name(attributes: &Attributes) -> Option<String> {
    text(attributes, "id").or_else(|| text(attributes, "machine"))
}

/// Returns what a new machine is called: by its name, unless one that gabion made has that already and is another one.
fn planned_id(desired: &Attributes, replaced: Option<&Attributes>) -> Value {
    let Some(name) = text(desired, MACHINE) else {
        return Value::unknown();
    };
    let Some((id, replaced)) = replaced.and_then(|replaced| Some((text(replaced, "id")?, replaced))) else {
        return name.into();
    };
    let instance = text(desired, INSTANCE);
    let is_same = instance.is_some() && instance == text(replaced, INSTANCE);
    match generation::shared_name(&id) == name {
        true if is_same => id.into(),
        true => generation::next(&id).into(),
        false => name.into(),
    }
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

    fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, ProviderError> {
        let schema = self.resource_schema(&request.resource_type);
        let mut response = propose(schema, request);
        // Machines of fleets are there already, each under a name of its own.
        if request.prior.is_none() && request.desired.contains_key(INSTANCE) {
            let id = planned_id(&request.desired, request.replaces.as_ref());
            response.planned.insert("id".into(), id);
        }
        Ok(response)
    }

    async fn read(&self, request: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError> {
        Ok(join_all(request.objects.iter().map(|object| self.read_one(object))).await)
    }

    async fn create(&self, request: CreateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        call.phase("connect");
        let id = match text(&request.planned, "id") {
            Some(id) => id,
            None => machine(&request.inputs)?,
        };
        self.meet(&id, &request.inputs).await
    }

    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        call.phase("connect");
        self.meet(&id_of(&request.object)?, &request.inputs).await
    }

    async fn delete(&self, request: DeleteRequest, call: &Call) -> Result<(), ProviderError> {
        call.phase("clean up");
        let id = id_of(&request.object)?;
        self.hosts
            .declare_unless_known(&id, address(&request.object.inputs));
        match self.hosts.leave(&id).await {
            // Those are other projects': they keep what they need there.
            Ok(_) => Ok(()),
            // What is on a machine that makes way for another goes with it.
            Err(_) if self.hosts.is_succeeded(&id) => Ok(()),
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
        MACHINE,
        AttributeSchema::required(String, "The machine's name: `FLEET/HOST`, or that of the gateway or the replica that it is made for.")
            .forces_replacement(),
    )
    .attribute(
        INSTANCE,
        AttributeSchema::optional(
            String,
            "The id of the machine, where gabion makes it: another one in its place is called `NAME@2`, and so on.",
        ),
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
    .attribute("id", AttributeSchema::computed(String, "What programs on it say in `machine`."))
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

#[cfg(test)]
mod tests {
    use gabion_engine::address::ResourceAddress;

    use super::*;

    /// Returns what a machine of a gateway would be called, made of an instance in place of one with an id and an instance.
    fn planned(instance: Option<Value>, replaced: Option<[&str; 2]>) -> Value {
        let text = |text: &str| Value::from(text);
        let mut desired = Attributes::from([
            ("machine".into(), text("my-gateway")),
            ("hostname".into(), text("203.0.113.7")),
        ]);
        desired.extend(instance.map(|instance| ("instance".into(), instance)));
        let request = PlanRequest {
            resource_type: ResourceType::new(SSH_HOST).unwrap(),
            address: ResourceAddress::of(SSH_HOST, "my-gateway").unwrap(),
            desired,
            prior: None,
            replaces: replaced.map(|[id, instance]| {
                Attributes::from([("id".into(), text(id)), ("instance".into(), text(instance))])
            }),
            facts: Default::default(),
        };
        let provider = SshProvider::new(Hosts::default());
        provider.plan(&request).unwrap().planned["id"].clone()
    }

    #[test]
    fn a_machine_in_place_of_another_is_called_otherwise_before_it_is_there() {
        let known = |instance: &str| Some(Value::from(instance));
        let made = || Some(Value::unknown());
        let cases = [
            (made(), None, "my-gateway"),
            (made(), Some(["my-gateway", "i-1"]), "my-gateway@2"),
            (known("i-2"), Some(["my-gateway", "i-1"]), "my-gateway@2"),
            (made(), Some(["my-gateway@2", "i-2"]), "my-gateway@3"),
            // The same machine is known anew.
            (known("i-1"), Some(["my-gateway", "i-1"]), "my-gateway"),
        ];
        for (instance, replaced, expected) in cases {
            assert_eq!(planned(instance, replaced), Value::from(expected), "{replaced:?}");
        }
        // Machines that are there already have names of their own.
        assert!(!planned(None, None).is_wholly_known());
    }
}
