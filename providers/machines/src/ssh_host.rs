//! `ssh_host`: a machine of a fleet that is reached over SSH.
//!
//! The machine is there already; what is made of it is that gabion knows it and its facts, and that its agent is on it.
//! Deleted is what gabion has put there.

use async_trait::async_trait;
use futures_util::future::join_all;
use gabion_engine::address::{ObjectId, ProviderName, ResourceType};
use gabion_engine::provider::{
    AttributeProblem, Call, CallAction, CreateRequest, DeleteRequest, ErrorClass, ImportRequest, ObjectState,
    Observation, ObserveRequest, PlanRequest, PlanResponse, Provider, ProviderError, ReadOutcome,
    ReadRequest, RecordedObject, ReplaceCause, UpdateRequest, ValidateRequest, propose,
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
        let meeting = self.hosts.meet(id, address(inputs));
        let state = self.look(id, inputs).await?;
        meeting.met();
        Ok(state)
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

/// Returns what the programs on a machine call it, by the attributes of its `ssh_host`; `None` for one that gabion made and
/// has not met yet.
#[must_use]
pub fn name(attributes: &Attributes) -> Option<String> {
    // Machines of fleets have their names; one that is made may have to share its name with one that makes way for it.
    let shared = || text(attributes, MACHINE).filter(|_| !attributes.contains_key(INSTANCE));
    text(attributes, "id").or_else(shared)
}

/// Returns the id of what gabion made a machine as, by the attributes of its `ssh_host`.
#[must_use]
pub fn instance(attributes: &Attributes) -> Option<&str> {
    attributes.get(INSTANCE).and_then(Value::as_str)
}

/// Returns what a new machine is called: by its name, unless one that gabion made has that already and is another one.
fn planned_id(desired: &Attributes, replaced: Option<&Attributes>) -> Value {
    let Some(name) = text(desired, MACHINE) else {
        return Value::unknown();
    };
    let Some((id, replaced)) = replaced.and_then(|replaced| Some((text(replaced, "id")?, replaced))) else {
        return name.into();
    };
    // Before gabion said which one a machine is made of, it was told from others by its key alone.
    let told_by = match text(replaced, INSTANCE) {
        Some(_) => INSTANCE,
        None => "host_key",
    };
    let is_same = text(desired, told_by).is_some_and(|own| text(replaced, told_by).as_ref() == Some(&own));
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
        own_hostname: text(attributes, "own_hostname"),
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

    fn validate(&self, request: &ValidateRequest) -> Vec<AttributeProblem> {
        let is_set = |name: &str| request.inputs.get(name).is_some_and(|value| !value.is_null());
        if !is_set("own_hostname") || is_set("host_key") {
            return Vec::new();
        }
        // Where `hostname` leads to another machine, the key of that one would be taken for its own.
        vec![AttributeProblem {
            path: AttributePath::root("own_hostname"),
            message: "A machine that is reached by two addresses is told from others by its key, and `host_key` is not set."
                .to_owned(),
            hint: Some("write the machine's public key as `host_key`".to_owned()),
        }]
    }

    fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, ProviderError> {
        let schema = self.resource_schema(&request.resource_type);
        let mut response = propose(schema, request);
        // Machines of fleets are there already, each under a name of its own.
        if request.prior.is_none() && request.desired.contains_key(INSTANCE) {
            let id = planned_id(&request.desired, request.replaces.as_ref());
            response.planned.insert("id".into(), id);
        }
        let made_of =
            |attributes: &Attributes| attributes.get(INSTANCE).filter(|made| !made.is_null()).cloned();
        let before = request
            .prior
            .as_ref()
            .and_then(|prior| made_of(&prior.attributes));
        // The programs on it are on that machine, and not on another one that has its address by now.
        if before.is_some_and(|before| made_of(&request.desired).is_some_and(|made| made != before)) {
            response.replace.push(ReplaceCause {
                path: AttributePath::root(INSTANCE),
                why: Some("It is another machine.".to_owned()),
            });
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
        // What is on a machine that makes way for another goes with it.
        if self.hosts.made_way(&id, Some(call)).await {
            return Ok(());
        }
        match self.hosts.leave(&id).await {
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
        // One that gabion made and that was not met yet has nothing of the call but a copy of the agent's program. It is met
        // anew, under the name that is planned then: until it has one, it is not the machine that has the shared one.
        if request.action == CallAction::Create
            && request.object.id.is_none()
            && request.inputs.contains_key(INSTANCE)
        {
            return Ok(Observation::Absent);
        }
        let object = RecordedObject {
            inputs: request.inputs,
            ..request.object
        };
        if request.action == CallAction::Delete && self.hosts.made_way(&id_of(&object)?, None).await {
            return Ok(Observation::Absent);
        }
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
    .attribute(
        "own_hostname",
        AttributeSchema::optional(
            String,
            "Its own address, where `hostname` is one that moves to it: it is reached there while `hostname` leads to another \
             machine. It needs `host_key`.",
        ),
    )
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
    use gabion_engine::provider::PriorObject;

    use super::*;

    /// Returns the attributes of a machine of a gateway.
    fn attributes<const N: usize>(entries: [(&str, Value); N]) -> Attributes {
        let mut attributes = Attributes::from([
            ("machine".into(), Value::from("my-gateway")),
            ("hostname".into(), "203.0.113.7".into()),
        ]);
        attributes.extend(entries.map(|(name, value)| (name.into(), value)));
        attributes
    }

    fn plan(desired: Attributes, prior: Option<Attributes>, replaces: Option<Attributes>) -> PlanResponse {
        let request = PlanRequest {
            resource_type: ResourceType::new(SSH_HOST).unwrap(),
            address: ResourceAddress::of(SSH_HOST, "my-gateway").unwrap(),
            desired,
            prior: prior.map(|attributes| PriorObject {
                inputs: Attributes::new(),
                attributes,
                private: serde_json::Value::Null,
            }),
            replaces,
            facts: Default::default(),
        };
        SshProvider::new(Hosts::default()).plan(&request).unwrap()
    }

    /// Returns what a machine of a gateway would be called, made of an instance in place of one with an id and an instance.
    fn planned(instance: Option<Value>, replaced: Option<[&str; 2]>) -> Value {
        let mut desired = attributes([]);
        desired.extend(instance.map(|instance| ("instance".into(), instance)));
        let replaced =
            replaced.map(|[id, instance]| attributes([("id", id.into()), ("instance", instance.into())]));
        plan(desired, None, replaced).planned["id"].clone()
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

    #[test]
    fn one_that_was_recorded_without_its_instance_is_told_by_its_key() {
        let before = || {
            Some(attributes([
                ("id", "my-gateway".into()),
                ("host_key", "key 1".into()),
            ]))
        };
        let cases = [
            (Value::from("i-1"), Value::from("key 1"), "my-gateway"),
            (Value::from("i-2"), Value::from("key 2"), "my-gateway@2"),
            (Value::unknown(), Value::unknown(), "my-gateway@2"),
        ];
        for (instance, key, expected) in cases {
            let desired = attributes([("instance", instance), ("host_key", key)]);
            let planned = plan(desired, None, before()).planned;
            assert_eq!(planned["id"], Value::from(expected));
        }
    }

    #[test]
    fn a_machine_with_two_addresses_is_known_by_its_key() {
        let problems = |entries: &[(&str, Value)]| {
            let mut inputs = attributes([]);
            let entries = entries.iter().cloned();
            inputs.extend(entries.map(|(name, value)| (name.into(), value)));
            let request = ValidateRequest {
                resource_type: ResourceType::new(SSH_HOST).unwrap(),
                address: ResourceAddress::of(SSH_HOST, "my-gateway").unwrap(),
                inputs,
            };
            let problems = SshProvider::new(Hosts::default()).validate(&request);
            let paths = problems.iter().map(|problem| problem.path.to_string());
            paths.collect::<Vec<_>>()
        };
        let own = || ("own_hostname", Value::from("203.0.113.9"));
        let first_use = ("trust_on_first_use", Value::Bool(true));
        assert_eq!(problems(&[own()]), ["own_hostname"]);
        assert_eq!(
            problems(&[own(), first_use.clone(), ("host_key", Value::Null)]),
            ["own_hostname"]
        );
        assert_eq!(problems(&[own(), ("host_key", Value::unknown())]), [""; 0]);
        assert_eq!(problems(&[own(), ("host_key", "key 1".into())]), [""; 0]);
        assert_eq!(problems(&[first_use]), [""; 0]);
    }

    #[test]
    fn another_machine_is_never_met_in_the_place_of_one_by_an_update() {
        let on = |instance: Value| attributes([("id", "my-gateway".into()), ("instance", instance)]);
        let replaced = |before: Attributes, instance: Value| {
            let response = plan(attributes([("instance", instance)]), Some(before), None);
            let paths = response.replace.into_iter().map(|cause| cause.path.to_string());
            paths.collect::<Vec<_>>()
        };
        assert_eq!(replaced(on("i-1".into()), "i-2".into()), ["instance"]);
        assert_eq!(replaced(on("i-1".into()), Value::unknown()), ["instance"]);
        assert_eq!(replaced(on("i-1".into()), "i-1".into()), [""; 0]);
        // What it is made of is only told by now.
        assert_eq!(replaced(attributes([]), "i-1".into()), [""; 0]);
    }

    #[test]
    fn one_that_was_made_and_not_met_has_no_name_yet() {
        let id = || ("id", Value::from("my-gateway@2"));
        let instance = || ("instance", Value::from("i-2"));
        assert_eq!(
            name(&attributes([id(), instance()])).as_deref(),
            Some("my-gateway@2")
        );
        assert_eq!(name(&attributes([instance()])), None);
        assert_eq!(name(&attributes([])).as_deref(), Some("my-gateway"));
    }
}
