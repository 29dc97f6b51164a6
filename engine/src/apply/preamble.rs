//! What a run records before its first step and after its last.

use std::collections::BTreeMap;

use super::report::{ApplyError, ApplyOptions, ApplyRequest};
use super::view::View;
use crate::address::{ResourceAddress, Uid};
use crate::plan::change::{Action, Change};
use crate::provider::Observation;
use crate::seal::mark_secrets;
use crate::state::event::{EventBody, RunStarted};
use crate::state::record::{Record, Status};
use crate::value::Attributes;

/// Returns what a run records before its first step, all in one commit.
///
/// What an earlier run of the same plan recorded already is left out.
///
/// # Errors
/// When the plan does not say how an object is imported.
pub(super) fn opening(
    request: &ApplyRequest<'_>,
    options: &ApplyOptions,
    view: &View<'_>,
) -> Result<Vec<EventBody>, ApplyError> {
    let (plan, state) = (request.plan, &*view.state);
    let mut events = vec![EventBody::RunStarted(RunStarted {
        operation: request.operation.clone(),
        who: request.who.clone(),
        host: None,
        plan: Some(request.digest.clone()),
        commit: plan.basis.commit.clone(),
    })];
    for settlement in &plan.settlements {
        let open = state
            .open_calls()
            .any(|(_, open)| open.operation == settlement.operation);
        if open && !matches!(settlement.observation, Observation::Unknown { .. }) {
            events.push(EventBody::Settled {
                operation: settlement.operation,
                observation: settlement.observation.clone(),
            });
        }
    }
    for uid in &plan.vanished {
        if state.record(*uid).is_some_and(|record| record.open.is_none()) {
            events.push(EventBody::Vanished { uid: *uid });
        }
    }
    // What turns up late has no record yet, and the address of the one that it had.
    let mut late: BTreeMap<Uid, &ResourceAddress> = BTreeMap::new();
    for settlement in plan.settlements.iter().filter(|settlement| settlement.late) {
        let tombstone = state.tombstones.get(&settlement.operation);
        if let Observation::Present(found) = &settlement.observation
            && let Some(record) = tombstone.and_then(|tombstone| tombstone.record.as_ref())
        {
            late.insert(record.uid, &record.address);
            events.push(EventBody::TurnedUp {
                operation: settlement.operation,
                record: Box::new(Record::clone(record)),
                state: found.clone(),
            });
        }
    }
    for (uid, upgrade) in &plan.upgrades {
        let recorded = state.record(*uid);
        let version = recorded.map(|record| record.declaration.schema_version);
        // What turned up late has the version that it had; an earlier run of the same plan may have upgraded the rest.
        if late.contains_key(uid) || version == Some(upgrade.from) {
            events.push(EventBody::Upgraded {
                uid: *uid,
                upgrade: Box::new(upgrade.clone()),
            });
        }
    }
    let address_of = |uid: Uid| {
        let recorded = state.record(uid).map(|record| &record.address);
        recorded.or_else(|| late.get(&uid).copied())
    };
    let moves: Vec<_> = plan
        .moves
        .iter()
        .filter(|moved| address_of(moved.uid) == Some(&moved.from))
        .cloned()
        .collect();
    if !moves.is_empty() {
        events.push(EventBody::Moved { moves });
    }
    for change in &plan.changes {
        if let (Action::Forget, Some(uid)) = (change.action, change.uid)
            && address_of(uid).is_some()
        {
            events.push(EventBody::Forgotten { uid });
        }
    }
    for change in plan.changes.iter().filter(|change| change.importing.is_some()) {
        // An earlier run of the same plan may have imported it.
        let there = state.current(&change.address);
        if there.is_none_or(|record| plan.moves.iter().any(|moved| moved.uid == record.uid)) {
            events.push(import(request, options, view, change)?);
        }
    }
    for (uid, attributes) in &plan.accepted {
        let record = state.record(*uid).filter(|record| record.open.is_none());
        if record.is_some_and(|record| record.attributes != *attributes) {
            events.push(EventBody::Accepted {
                uid: *uid,
                attributes: attributes.clone(),
            });
        }
    }
    events.extend(declarations(request, view));
    Ok(events)
}

fn import(
    request: &ApplyRequest<'_>,
    options: &ApplyOptions,
    view: &View<'_>,
    change: &Change,
) -> Result<EventBody, ApplyError> {
    let resource_type = &change.address.resource_type;
    let (Some(state), Some(declaration), Some(schema)) = (
        &change.imported,
        &change.declaration,
        request.providers.schema(resource_type),
    ) else {
        return Err(ApplyError::Unprepared {
            address: change.address.clone(),
            reason: "The plan does not say how it is imported.".to_owned(),
        });
    };
    let nothing = Attributes::new();
    let wanted = change.inputs.as_ref().unwrap_or(&nothing);
    let attributes = mark_secrets(schema, wanted, &state.attributes);
    let inputs = attributes
        .iter()
        .filter(|(name, value)| wanted.contains_key(*name) && !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Ok(EventBody::Imported {
        record: Box::new(Record {
            uid: Uid::from_uuid(options.ids.next()),
            address: change.address.clone(),
            deposed: false,
            status: Status::Ready,
            id: Some(state.id.clone()),
            inputs,
            attributes,
            private: state.private.clone().into(),
            declaration: view.with_dependencies(declaration),
            open: None,
            changed_by: None,
            last_call: None,
            created_at: 0,
            made_at: None,
            changed_at: 0,
            written_at: Default::default(),
        }),
    })
}

/// What the configuration now says about objects that need no call.
fn declarations(request: &ApplyRequest<'_>, view: &View<'_>) -> Vec<EventBody> {
    request
        .plan
        .changes
        .iter()
        .filter(|change| change.action == Action::NoOp && change.importing.is_none())
        .filter_map(|change| {
            let record = view.record(change.uid?)?;
            let declaration = view.with_dependencies(change.declaration.as_ref()?);
            (declaration != record.declaration).then_some(EventBody::Declared {
                uid: record.uid,
                declaration,
            })
        })
        .collect()
}

/// Returns the project's outputs as they are now: evaluated where that is possible, else as they were.
pub(super) fn outputs(request: &ApplyRequest<'_>, view: &View<'_>) -> Attributes {
    let mut outputs = view.state.outputs.clone();
    for (name, output) in &request.plan.outputs {
        match &output.after {
            None => {
                outputs.remove(name);
            }
            Some(after) => {
                let value = match view.evaluate(after) {
                    Ok(value) => value,
                    // A secret that is not at hand is recorded without its value all the same.
                    Err(_) if after.is_wholly_known() => after.seal(),
                    Err(_) => continue,
                };
                outputs.insert(name.clone(), value);
            }
        }
    }
    outputs
}

/// Returns the addresses that people use, those that are known.
pub(super) fn endpoints(request: &ApplyRequest<'_>, view: &View<'_>) -> Attributes {
    request
        .plan
        .endpoints
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), view.evaluate(value).ok()?.seal())))
        .collect()
}
