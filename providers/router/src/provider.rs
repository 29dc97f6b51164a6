//! The provider `router`.
//!
//! Every call goes to the agent on the router's machine: it writes the membership down, so that a router that restarts
//! gets its workers back, and asks the router. What an operation id identifies: nothing is needed, since registering a
//! worker that is there is the same as updating it (`NaturalUpsert`).

use std::collections::BTreeMap;

use async_trait::async_trait;
use gabion_agent::access::{Agents, fence, provider_error, seconds_within};
use gabion_agent::client::{AgentClient, ClientError, Departure};
use gabion_agent::normal_url;
use gabion_agent::offline::Deletion;
use gabion_agent::protocol::{AgentError, Deregistration, DrainBasis, Operation, Router};
use gabion_engine::address::ObjectId;
use gabion_engine::provider::{
    AttributeProblem, Call, CreateRequest, DeleteRequest, ErrorClass, ImportRequest, ObjectState,
    Observation, ObserveRequest, Provider, ProviderError, ReadOutcome, ReadRequest, RecordedObject,
    UpdateRequest, ValidateRequest,
};
use gabion_engine::schema::ProviderSchema;
use gabion_engine::value::{AttributePath, Attributes, Value};

use crate::schema::provider_schema;
use crate::worker::{Wanted, actual, authority, flavour, worker_type};

/// How long a router may take to let go of a worker, in seconds. `smg` drains for 5.
const REMOVAL_SECONDS: u64 = 30;

/// The provider `router`: the workers of routers.
#[derive(Debug)]
pub struct RouterProvider {
    agents: Agents,
    schema: ProviderSchema,
}

impl RouterProvider {
    /// Configures the provider. Nothing is touched yet.
    #[must_use]
    pub fn new(agents: Agents) -> Self {
        Self {
            agents,
            schema: provider_schema(),
        }
    }

    async fn register(&self, planned: &Attributes, call: &Call) -> Result<ObjectState, ProviderError> {
        let wanted = Wanted::read(planned)?;
        let client = self.agents.client(&wanted.machine, &wanted.agent)?;
        let id = worker_id(&wanted.router, &wanted.member.name);
        let router = Router {
            uid: wanted.router.clone(),
            address: call.address.to_string(),
            host: wanted.router_host.clone(),
            port: wanted.router_port,
            flavour: wanted.flavour,
            unit_directory: Some(self.agents.unit_directory(&wanted.router)),
        };
        let fence = fence(call);
        client
            .change(&fence, Operation::PutRouter(router))
            .await
            .map_err(|error| provider_error(&error))?;
        // The agent knows the router now, and next the membership: from here on there is something to find.
        call.checkpoint(&id, &serde_json::Value::Null).await?;
        call.phase("register");
        let timeout = seconds_within(call, wanted.ready_timeout);
        client
            .register(&fence, wanted.member.clone(), timeout)
            .await
            .map_err(|error| registration_error(&error))?;
        let mut attributes = planned.clone();
        attributes.insert("id".into(), id.as_str().into());
        Ok(ObjectState {
            id,
            attributes,
            private: serde_json::Value::Null,
            unreadable: Vec::new(),
        })
    }

    /// Returns what is recorded of an object; of one that was only intended, its inputs with the defaults.
    fn known(&self, object: &RecordedObject) -> Attributes {
        if !object.attributes.is_empty() {
            return object.attributes.clone();
        }
        let schema = self.resource_schema(&object.address.resource_type);
        let defaults = schema.attributes.iter();
        let mut known: Attributes = defaults
            .filter_map(|(name, attribute)| Some((name.clone(), attribute.default.clone()?)))
            .collect();
        known.extend(object.inputs.clone());
        known
    }

    /// Reads the workers of one router; all objects belong to it.
    async fn read_router(
        &self,
        machine: &str,
        agent: &str,
        router: &str,
        objects: &[&RecordedObject],
    ) -> Vec<ReadOutcome> {
        let all = |outcome: ReadOutcome| vec![outcome; objects.len()];
        let cannot_tell = |reason: String| all(ReadOutcome::CannotTell { reason });
        let client = match self.agents.client(machine, agent) {
            Ok(client) => client,
            Err(error) => return cannot_tell(error.message),
        };
        let (members, workers) = match read_both(&client, router).await {
            Ok(both) => both,
            Err(ClientError::Refused(AgentError::UnknownRouter { .. } | AgentError::RouterDown { .. })) => {
                return all(ReadOutcome::Absent);
            }
            Err(error) => {
                return match self.agents.is_gone(machine, agent).await {
                    Ok(true) => all(ReadOutcome::Absent),
                    Ok(false) => cannot_tell(provider_error(&error).message),
                    Err(error) => cannot_tell(error.message),
                };
            }
        };
        let outcome = |object: &&RecordedObject| {
            let name = object
                .attributes
                .get("name")
                .or(object.inputs.get("name"))
                .and_then(Value::as_str)?;
            let id = worker_id(router, name);
            if object.id.as_ref().is_some_and(|recorded| *recorded != id) {
                return None;
            }
            let member = members.iter().find(|member| member.object.name == name)?;
            let known = self.known(object);
            // A replacement that came first has taken the name; then this is the worker that is left at the old URL.
            let recorded = known.get("url").and_then(Value::as_str).map(normal_url);
            let member_url = normal_url(&member.object.url);
            let url = recorded.unwrap_or_else(|| member_url.clone());
            let worker = workers.iter().find(|worker| normal_url(&worker.url) == url)?;
            let mut attributes = if url == member_url {
                actual(&known, &member.object, worker)
            } else {
                known
            };
            attributes.insert("id".into(), id.as_str().into());
            Some(ReadOutcome::Present(ObjectState {
                id,
                attributes,
                private: serde_json::Value::Null,
                unreadable: Vec::new(),
            }))
        };
        objects
            .iter()
            .map(|object| outcome(object).unwrap_or(ReadOutcome::Absent))
            .collect()
    }
}

type Members = Vec<gabion_agent::protocol::Stored<gabion_agent::protocol::Member>>;
type Workers = Vec<gabion_agent::protocol::Worker>;

async fn read_both(client: &AgentClient, router: &str) -> Result<(Members, Workers), ClientError> {
    let workers = client.workers(router).await?;
    let members = client.members(Some(router)).await?;
    Ok((members, workers))
}

/// Where a recorded worker is: machine, agent and router.
fn location(object: &RecordedObject) -> Option<(String, String, String)> {
    let text = |name: &str| {
        let value = object.attributes.get(name).or(object.inputs.get(name));
        value.and_then(Value::as_str).map(str::to_owned)
    };
    Some((
        text("machine").unwrap_or_else(|| "local".to_owned()),
        text("agent")?,
        text("router")?,
    ))
}

#[async_trait]
impl Provider for RouterProvider {
    fn schema(&self) -> &ProviderSchema {
        &self.schema
    }

    fn validate(&self, request: &ValidateRequest) -> Vec<AttributeProblem> {
        type Check = (&'static str, fn(&str) -> bool, &'static str);
        let checks: [Check; 4] = [
            (
                "worker_type",
                |text| worker_type(text).is_some(),
                "write `regular`, `prefill` or `decode`",
            ),
            (
                "router_type",
                |text| flavour(text).is_some(),
                "write `smg` or `sglang-router`",
            ),
            (
                "url",
                |text| authority(text).is_some(),
                "write `http://HOST:PORT`",
            ),
            (
                "router_url",
                |text| authority(text).is_some(),
                "write `http://HOST:PORT`",
            ),
        ];
        let mut problems: Vec<AttributeProblem> = checks
            .iter()
            .filter_map(|(name, good, hint)| {
                let text = request.inputs.get(*name)?.as_str()?;
                (!good(text)).then(|| AttributeProblem {
                    path: AttributePath::root(name),
                    message: format!("`{text}` is not what `{name}` can be."),
                    hint: Some((*hint).to_owned()),
                })
            })
            .collect();
        let is_prefill = request.inputs.get("worker_type").and_then(Value::as_str) == Some("prefill");
        if is_prefill && !request.inputs.contains_key("bootstrap_port") {
            problems.push(AttributeProblem {
                path: AttributePath::root("bootstrap_port"),
                message: "A prefill worker needs the port on which decode workers fetch from it.".to_owned(),
                hint: Some("set `bootstrap_port`".to_owned()),
            });
        }
        problems
    }

    async fn read(&self, request: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError> {
        let mut outcomes = vec![ReadOutcome::Absent; request.objects.len()];
        let mut by_router: BTreeMap<(String, String, String), Vec<usize>> = BTreeMap::new();
        for (position, object) in request.objects.iter().enumerate() {
            match location(object) {
                Some(location) => by_router.entry(location).or_default().push(position),
                None => {
                    outcomes[position] = ReadOutcome::CannotTell {
                        reason: "The record does not say which router the worker belongs to.".to_owned(),
                    };
                }
            }
        }
        for ((machine, agent, router), positions) in by_router {
            let objects: Vec<&RecordedObject> = positions.iter().map(|at| &request.objects[*at]).collect();
            let read = self.read_router(&machine, &agent, &router, &objects).await;
            for (position, outcome) in positions.into_iter().zip(read) {
                outcomes[position] = outcome;
            }
        }
        Ok(outcomes)
    }

    async fn create(&self, request: CreateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        self.register(&known(&request.planned, &request.inputs), call)
            .await
    }

    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        self.register(&known(&request.planned, &request.inputs), call)
            .await
    }

    async fn delete(&self, request: DeleteRequest, call: &Call) -> Result<(), ProviderError> {
        let object = &request.object;
        let Some((machine, agent, router)) = location(object) else {
            return Ok(());
        };
        let attribute = |name: &str| object.attributes.get(name).or(object.inputs.get(name));
        let name = attribute("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let drain = attribute("drain_timeout").and_then(Value::as_int).unwrap_or(300);
        let client = self.agents.client(&machine, &agent)?;
        call.phase("drain");
        let _waiting = call.waiting();
        let url = attribute("url").and_then(Value::as_str).map(str::to_owned);
        let departure = Departure {
            router: router.clone(),
            name: name.clone(),
            url: url.clone(),
            timeout_seconds: seconds_within(call, REMOVAL_SECONDS),
            drain_seconds: seconds_within(call, u64::try_from(drain).unwrap_or(0)),
        };
        match client.deregister(&fence(call), departure).await {
            Ok(departed) => {
                if let Some(phase) = departed_phase(&departed) {
                    call.phase(&phase);
                }
                Ok(())
            }
            Err(ClientError::Refused(AgentError::UnknownRouter { .. })) => Ok(()),
            Err(error @ ClientError::Unreachable { .. }) => {
                if self.agents.is_gone(&machine, &agent).await? {
                    return Ok(());
                }
                // Without the agent nobody can take a worker out of a running router; out of a dead one nobody need.
                let router_is_down = self.agents.is_stopped(&machine, &router)
                    || self.agents.is_gone(&machine, &router).await?;
                if router_is_down && self.agents.is_stopped(&machine, &agent) {
                    let deletion = Deletion::Member { router, name, url };
                    return self.agents.delete_offline(&agent, fence(call), deletion).await;
                }
                Err(provider_error(&error))
            }
            Err(error) => Err(provider_error(&error)),
        }
    }

    async fn observe(&self, request: ObserveRequest) -> Result<Observation, ProviderError> {
        let mut object = request.object;
        if object.inputs.is_empty() {
            object.inputs = request.inputs;
        }
        let Some((machine, agent, router)) = location(&object) else {
            return Ok(Observation::Unknown {
                reason: "The intent does not say which router the worker belongs to.".to_owned(),
            });
        };
        let outcome = self
            .read_router(&machine, &agent, &router, &[&object])
            .await
            .pop();
        Ok(match outcome {
            Some(ReadOutcome::Present(state)) => Observation::Present(state),
            Some(ReadOutcome::CannotTell { reason }) => Observation::Unknown { reason },
            Some(ReadOutcome::Absent) | None => Observation::Absent,
        })
    }

    async fn import(&self, request: ImportRequest) -> Result<ObjectState, ProviderError> {
        Err(ProviderError::new(
            ErrorClass::Invalid,
            format!(
                "`{}` cannot be imported: a router's worker is registered again at no cost.",
                request.address
            ),
        )
        .with_hint("declare it and apply"))
    }
}

/// Returns an agent's error about a registration, at the input that is wrong if it is one.
fn registration_error(error: &ClientError) -> ProviderError {
    let failure = provider_error(error);
    match error {
        ClientError::Refused(AgentError::WrongRole { port_only: true, .. }) => failure
            .at(AttributePath::root("bootstrap_port"))
            .with_hint("start it with the port that it is given, `$BOOTSTRAP_PORT`, or write the port into its commands"),
        ClientError::Refused(AgentError::WrongRole { .. }) => failure
            .at(AttributePath::root("worker_type"))
            .with_hint("start it with the `--disaggregation-mode` that its group says, or give its group the right `role`"),
        _ => failure,
    }
}

/// Returns the id of a worker: its router's, and its name.
fn worker_id(router: &str, name: &str) -> ObjectId {
    ObjectId::new(format!("{router}/{name}"))
}

/// Returns what people should know about how a worker left, if it was not the ordinary way.
fn departed_phase(departed: &Deregistration) -> Option<String> {
    if departed.basis == DrainBasis::NotWaited {
        return None;
    }
    if !departed.drained {
        return Some(match departed.remaining {
            Some(1) => "not drained: 1 request still runs".to_owned(),
            Some(remaining) => format!("not drained: {remaining} requests still run"),
            None => "not drained: requests may still run".to_owned(),
        });
    }
    (departed.basis == DrainBasis::InFlight)
        .then(|| "drained by the gateway's count: the worker tells none".to_owned())
}

/// Returns what was planned, with the inputs (whose secrets hold their values) over it.
fn known(planned: &Attributes, inputs: &Attributes) -> Attributes {
    let mut known = planned.clone();
    known.extend(inputs.iter().map(|(name, value)| (name.clone(), value.clone())));
    known
}
