//! Looking for what turns up late: objects of creations that were settled as absent.
//!
//! A request whose connection broke may be carried out after nobody looks for it any more. For a day every run looks
//! once more: by the uid on the project's marks, and by the id where one was told before the object vanished.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Calls, GatherRequest};
use crate::address::{ObjectId, OperationId, ResourceAddress, ResourceType, Uid};
use crate::provider::{Listed, ObjectState, Observation, Provider, ProviderError, ReadOutcome, ReadRequest};
use crate::seal::Sealer;
use crate::state::State;
use crate::state::record::Record;
use crate::upgrade::recorded_object;
use crate::value::{AttributePath, Attributes};

/// An object that may turn up.
#[derive(Clone)]
pub(super) struct Sought {
    operation: OperationId,
    uid: Uid,
    address: ResourceAddress,
    /// What was recorded of it; `None` in logs of earlier versions.
    record: Option<Arc<Record>>,
}

impl Sought {
    fn unknown(&self, reason: String) -> Late {
        Late {
            operation: self.operation,
            observation: Observation::Unknown { reason },
        }
    }
}

/// An object that turned up, or of which that could not be found out.
pub(super) struct Late {
    operation: OperationId,
    observation: Observation,
}

/// Returns what is still looked for, by the type of its object.
pub(super) fn sought(state: &State, now: Timestamp) -> BTreeMap<ResourceType, Vec<Sought>> {
    let mut by_type: BTreeMap<ResourceType, Vec<Sought>> = BTreeMap::new();
    for (operation, tombstone) in state.tombstones.iter().filter(|(_, t)| t.is_sought(now)) {
        by_type
            .entry(tombstone.address.resource_type.clone())
            .or_default()
            .push(Sought {
                operation: *operation,
                uid: tombstone.uid,
                address: tombstone.address.clone(),
                record: tombstone.record.clone(),
            });
    }
    by_type
}

/// Looks, given what carries the project's mark.
pub(super) async fn look(
    provider: &Arc<dyn Provider>,
    sought: Vec<Sought>,
    listed: &Result<Listed, ProviderError>,
    calls: &Calls,
) -> Vec<Late> {
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) => {
            let unknown = |one: Sought| one.unknown(error.message.clone());
            return sought.into_iter().map(unknown).collect();
        }
    };
    // What could not be asked may hold it.
    let unasked = listed.unasked.iter().min();
    let unasked = unasked.map(|unasked| format!("It may be at {}: {}", unasked.part, unasked.why));
    let mut found = Vec::new();
    let mut wanted: BTreeMap<ResourceType, Vec<(Sought, ObjectId, bool)>> = BTreeMap::new();
    for one in sought {
        let resource_type = &one.address.resource_type;
        let mut marked = listed
            .objects
            .iter()
            .filter(|object| object.uid == Some(one.uid) && object.resource_type == *resource_type)
            .map(|object| &object.id);
        let known = one.record.as_ref().and_then(|record| record.id.clone());
        let (id, is_listed) = match known {
            // One that goes by another id is another object, whatever its mark says.
            Some(id) => {
                let is_listed = marked.any(|marked| *marked == id);
                (id, is_listed)
            }
            None => match marked.min() {
                Some(id) => (id.clone(), true),
                None => {
                    found.extend(unasked.clone().map(|why| one.unknown(why)));
                    continue;
                }
            },
        };
        if one.record.is_some() {
            wanted
                .entry(resource_type.clone())
                .or_default()
                .push((one, id, is_listed));
        } else {
            found.push(Late {
                operation: one.operation,
                observation: Observation::Present(bare(id, &Attributes::new())),
            });
        }
    }
    for (resource_type, wanted) in wanted {
        found.extend(read(provider, resource_type, wanted, calls).await);
    }
    found
}

/// Reads objects of one type that may have turned up.
async fn read(
    provider: &Arc<dyn Provider>,
    resource_type: ResourceType,
    wanted: Vec<(Sought, ObjectId, bool)>,
    calls: &Calls,
) -> Vec<Late> {
    let mut found = Vec::new();
    let mut objects = Vec::new();
    let mut asked = Vec::new();
    for (one, id, is_listed) in wanted {
        let Some(record) = &one.record else { continue };
        match recorded_object(record, &**provider) {
            Ok(mut object) => {
                object.id = Some(id.clone());
                objects.push(object);
                asked.push((one, id, is_listed));
            }
            Err(error) => found.push(one.unknown(error.message)),
        }
    }
    let what = format!(
        "Looking for {} {resource_type} that may have turned up late",
        objects.len()
    );
    let request = ReadRequest {
        resource_type,
        objects,
    };
    let outcomes = calls
        .make(&what, calls.limits.call_timeout, || {
            let provider = provider.clone();
            let request = request.clone();
            async move { provider.read(request).await }
        })
        .await;
    let (outcomes, unread) = match outcomes {
        Ok(outcomes) => (outcomes, "The provider did not answer for it.".to_owned()),
        Err(error) => (Vec::new(), error.message),
    };
    let mut outcomes = outcomes.into_iter();
    for (one, id, is_listed) in asked {
        let state = match outcomes.next() {
            Some(ReadOutcome::Present(state)) => state,
            // It carries the mark, so it is there, whatever else it is.
            Some(ReadOutcome::CannotTell { .. }) | None if is_listed => {
                let nothing = Attributes::new();
                bare(id, one.record.as_ref().map_or(&nothing, |record| &record.inputs))
            }
            Some(ReadOutcome::Absent) => continue,
            // What cannot be asked is not known to be absent.
            Some(ReadOutcome::CannotTell { reason }) => {
                found.push(one.unknown(reason));
                continue;
            }
            None => {
                found.push(one.unknown(unread.clone()));
                continue;
            }
        };
        found.push(Late {
            operation: one.operation,
            observation: Observation::Present(state),
        });
    }
    found
}

/// An object of which only the id is known.
fn bare(id: ObjectId, inputs: &Attributes) -> ObjectState {
    ObjectState {
        id,
        attributes: Attributes::new(),
        private: serde_json::Value::Null,
        unreadable: inputs.keys().map(AttributePath::root).collect(),
    }
}

impl Late {
    pub(super) fn seal(self, request: &GatherRequest<'_>, sealer: Sealer<'_>) -> (OperationId, Observation) {
        let tombstone = request.state.tombstones.get(&self.operation);
        let observation = match (self.observation, tombstone) {
            (Observation::Present(state), Some(tombstone)) => {
                let nothing = Attributes::new();
                let inputs = tombstone
                    .record
                    .as_ref()
                    .map_or(&nothing, |record| &record.inputs);
                match request.providers.schema(&tombstone.address.resource_type) {
                    Some(schema) => Observation::Present(sealer.object(schema, inputs, &state)),
                    None => Observation::Unknown {
                        reason: format!("No provider manages `{}`.", tombstone.address.resource_type),
                    },
                }
            }
            (observation, _) => observation,
        };
        (self.operation, observation)
    }
}
