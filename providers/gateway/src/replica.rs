//! `gateway_replica`: read, create, update, delete.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use gabion_agent::access::{Agents, fence, provider_error, seconds_within};
use gabion_agent::normal_url;
use gabion_agent::offline::Deletion;
use gabion_agent::protocol::{DrainBasis, Member, Operation, Stored, pool_id};
use gabion_engine::address::ObjectId;
use gabion_engine::provider::{
    AttributeProblem, Call, CreateRequest, ObjectState, ProviderError, ReadOutcome, RecordedObject,
    UpdateRequest,
};
use gabion_engine::value::{AttributePath, Attributes, Value};

use crate::place::{Place, parts_of};
use crate::urls::{host_and_port, spelled};
use crate::values::{Reader, set};

/// Attributes of which the agent knows nothing.
const UNREADABLE: [&str; 2] = ["machine", "drain_timeout"];

/// Returns the id of a replica of a route.
pub(crate) fn id(agent: &str, gateway: &str, service: &str, name: &str) -> String {
    format!("{agent}/{gateway}/{service}/{name}")
}

/// Returns the inputs that an id tells; a replica's name may hold slashes.
pub(crate) fn inputs_of_id(id: &str) -> Option<Attributes> {
    let mut parts = id.splitn(4, '/');
    let names = ["agent", "gateway", "service", "name"];
    names
        .into_iter()
        .map(|name| {
            let part = parts.next().filter(|part| !part.is_empty())?;
            Some((Arc::from(name), Value::from(part)))
        })
        .collect()
}

pub(crate) fn validate(inputs: &Attributes) -> Vec<AttributeProblem> {
    let Some(url) = Reader(inputs).text("url") else {
        return Vec::new();
    };
    let problem = host_and_port(url, "url").err();
    problem
        .into_iter()
        .map(|error| AttributeProblem {
            path: AttributePath::root("url"),
            message: error.message,
            hint: Some("write `http://HOST:PORT`".to_owned()),
        })
        .collect()
}

/// Reads replicas, asking each agent once.
pub(crate) async fn read(agents: &Agents, objects: &[RecordedObject]) -> Vec<ReadOutcome> {
    let mut views: BTreeMap<_, Result<Option<Vec<Stored<Member>>>, String>> = BTreeMap::new();
    let mut outcomes = Vec::with_capacity(objects.len());
    for object in objects {
        let reader = Reader(&object.inputs);
        let Some([agent, gateway, service, name]) = parts_of(object, ["agent", "gateway", "service", "name"])
        else {
            outcomes.push(ReadOutcome::Absent);
            continue;
        };
        let place = Place::new(agents, reader, agent);
        if let Entry::Vacant(entry) = views.entry(place.key()) {
            entry.insert(place.ask(async |client| client.members(None).await).await);
        }
        let pool = pool_id(gateway, service);
        let is_it = |stored: &&Stored<Member>| stored.object.router == pool && stored.object.name == name;
        outcomes.push(match &views[&place.key()] {
            Err(reason) => ReadOutcome::CannotTell {
                reason: reason.clone(),
            },
            Ok(None) => ReadOutcome::Absent,
            Ok(Some(members)) => match members.iter().find(is_it) {
                Some(stored) if is_successor(object, &stored.object) => ReadOutcome::Absent,
                Some(stored) => {
                    let id = id(agent, gateway, service, name);
                    ReadOutcome::Present(describe(&id, [agent, gateway, service], &stored.object, reader))
                }
                None => ReadOutcome::Absent,
            },
        });
    }
    outcomes
}

/// Returns whether what has an object's name is another one: a replacement that came first.
fn is_successor(recorded: &RecordedObject, member: &Member) -> bool {
    recorded_url(recorded).is_some_and(|url| normal_url(url) != normal_url(&member.url))
}

fn recorded_url(object: &RecordedObject) -> Option<&str> {
    let url = object.attributes.get("url").or_else(|| object.inputs.get("url"));
    url.and_then(Value::as_str)
}

fn describe(id: &str, place: [&str; 3], member: &Member, inputs: Reader<'_>) -> ObjectState {
    let mut attributes = Attributes::new();
    for (name, value) in ["agent", "gateway", "service"].into_iter().zip(place) {
        set(&mut attributes, name, value.into());
    }
    set(&mut attributes, "id", id.into());
    set(&mut attributes, "name", Value::string(&member.name));
    set(
        &mut attributes,
        "url",
        spelled(inputs.get("url"), member.url.clone()),
    );
    ObjectState {
        id: ObjectId::new(id),
        attributes,
        private: serde_json::Value::Null,
        unreadable: UNREADABLE.iter().map(AttributePath::root).collect(),
    }
}

pub(crate) async fn create(
    agents: &Agents,
    request: CreateRequest,
    call: &Call,
) -> Result<ObjectState, ProviderError> {
    let reader = Reader(&request.inputs);
    let need = |name: &str| reader.need(name);
    let (agent, gateway, service) = (need("agent")?, need("gateway")?, need("service")?);
    let (name, url) = (need("name")?, need("url")?);
    let client = Place::new(agents, reader, agent).client()?;
    let id = ObjectId::new(id(agent, gateway, service, name));
    call.checkpoint(&id, &serde_json::Value::Null).await?;
    let operation = Operation::PutReplica {
        gateway: gateway.to_owned(),
        service: service.to_owned(),
        name: name.to_owned(),
        url: normal_url(url),
    };
    client
        .change(&fence(call), operation)
        .await
        .map_err(|error| provider_error(&error))?;
    Ok(made(id, &request.planned))
}

/// Only what the agent does not know can change in place.
pub(crate) fn update(request: &UpdateRequest) -> ObjectState {
    let id = request.object.id.clone().unwrap_or_else(|| {
        let text = |name: &str| Reader(&request.inputs).text(name).unwrap_or_default();
        ObjectId::new(id(text("agent"), text("gateway"), text("service"), text("name")))
    });
    made(id, &request.planned)
}

fn made(id: ObjectId, planned: &Attributes) -> ObjectState {
    let mut attributes = planned.clone();
    attributes.insert("id".into(), id.as_str().into());
    ObjectState {
        id,
        attributes,
        private: serde_json::Value::Null,
        unreadable: Vec::new(),
    }
}

pub(crate) async fn delete(
    agents: &Agents,
    object: &RecordedObject,
    call: &Call,
) -> Result<(), ProviderError> {
    let reader = Reader(&object.inputs);
    let Some([agent, gateway, service, name]) = parts_of(object, ["agent", "gateway", "service", "name"])
    else {
        return Ok(());
    };
    let Some(url) = recorded_url(object) else {
        return Ok(());
    };
    let place = Place::new(agents, reader, agent);
    call.phase("drain");
    let _waiting = call.waiting();
    let drain = seconds_within(call, reader.seconds("drain_timeout", 300));
    let client = place.client()?;
    let deleted = client
        .delete_replica(&fence(call), gateway, service, name, url, drain)
        .await;
    match deleted {
        Ok(left) => {
            if !left.drained && left.basis != DrainBasis::NotWaited {
                let remaining = left.remaining.unwrap_or_default();
                call.phase(&format!("not drained: {remaining} requests still run"));
            }
            Ok(())
        }
        Err(error) => {
            let deletion = Deletion::Member {
                router: pool_id(gateway, service),
                name: name.to_owned(),
                url: Some(url.to_owned()),
            };
            place.delete_without_agent(error, fence(call), deletion).await
        }
    }
}
