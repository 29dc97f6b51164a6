//! What a run records before its first step and after its last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::report::{ApplyError, ApplyOptions, ApplyRequest};
use super::view::View;
use crate::address::Uid;
use crate::plan::change::{Action, Change, DriftKind, DriftVerdict};
use crate::provider::{ImportRequest, Observation, ProviderError};
use crate::seal::mark_secrets;
use crate::state::State;
use crate::state::event::{EventBody, RunStarted};
use crate::state::record::{Record, Status};
use crate::value::{AttributePath, Attributes, PathSegment, Value};

/// How long reading an object to import may take.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(60);

/// Returns what a run records before its first step, all in one commit.
///
/// What an earlier run of the same plan recorded already is left out.
///
/// # Errors
/// When an object to import cannot be read.
pub(super) async fn opening(
    request: &ApplyRequest<'_>,
    options: &ApplyOptions,
    view: &View<'_>,
    stop: &CancellationToken,
) -> Result<Vec<EventBody>, ApplyError> {
    let (plan, state) = (request.plan, &*view.state);
    let mut events = vec![EventBody::RunStarted(RunStarted {
        operation: request.operation.clone(),
        who: request.who.clone(),
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
    let moves: Vec<_> = plan
        .moves
        .iter()
        .filter(|moved| {
            state
                .record(moved.uid)
                .is_some_and(|record| record.address == moved.from)
        })
        .cloned()
        .collect();
    if !moves.is_empty() {
        events.push(EventBody::Moved { moves });
    }
    for change in &plan.changes {
        if let (Action::Forget, Some(uid)) = (change.action, change.uid)
            && state.record(uid).is_some()
        {
            events.push(EventBody::Forgotten { uid });
        }
    }
    for change in &plan.changes {
        if change.importing.is_some() && state.current(&change.address).is_none() {
            let record = import(request, options, view, change, stop)
                .await
                .map_err(|error| ApplyError::Unprepared {
                    address: change.address.clone(),
                    reason: error.message,
                })?;
            events.push(EventBody::Imported {
                record: Box::new(record),
            });
        }
    }
    events.extend(accepted(request, state));
    events.extend(declarations(request, view));
    Ok(events)
}

async fn import(
    request: &ApplyRequest<'_>,
    options: &ApplyOptions,
    view: &View<'_>,
    change: &Change,
    stop: &CancellationToken,
) -> Result<Record, ProviderError> {
    let wrong = |message: String| ProviderError::new(crate::provider::ErrorClass::Invalid, message);
    let resource_type = &change.address.resource_type;
    let (Some(id), Some(declaration), Some(provider)) = (
        &change.importing,
        &change.declaration,
        request.providers.provider(resource_type),
    ) else {
        return Err(wrong("The plan does not say how it is imported.".to_owned()));
    };
    let import = ImportRequest {
        resource_type: resource_type.clone(),
        address: change.address.clone(),
        id: id.clone(),
    };
    let state = options
        .retry
        .run(
            Instant::now() + IMPORT_TIMEOUT,
            stop,
            || async {
                tokio::time::timeout(IMPORT_TIMEOUT, provider.import(import.clone()))
                    .await
                    .unwrap_or_else(|_| Err(wrong(format!("Reading `{id}` did not end in time."))))
            },
            |_, _, _| {},
        )
        .await?;
    let nothing = Attributes::new();
    let wanted = change.inputs.as_ref().unwrap_or(&nothing);
    let attributes = mark_secrets(provider.resource_schema(resource_type), wanted, &state.attributes);
    let inputs = attributes
        .iter()
        .filter(|(name, value)| wanted.contains_key(*name) && !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Ok(Record {
        uid: Uid::from_uuid(options.ids.next()),
        address: change.address.clone(),
        deposed: false,
        status: Status::Ready,
        id: Some(state.id),
        inputs,
        attributes,
        private: state.private,
        declaration: view.with_dependencies(declaration),
        open: None,
        last_call: None,
        changed_by: None,
        created_at: 0,
        changed_at: 0,
    })
}

/// Differences that the record follows, attribute by attribute.
fn accepted(request: &ApplyRequest<'_>, state: &State) -> Vec<EventBody> {
    let mut events = Vec::new();
    for drift in &request.plan.drift {
        let DriftKind::Changed(differences) = &drift.kind else {
            continue;
        };
        let Some(record) = state.record(drift.uid).filter(|record| record.open.is_none()) else {
            continue;
        };
        let mut attributes = record.attributes.clone();
        for difference in differences {
            if difference.verdict == DriftVerdict::Accepted {
                put(&mut attributes, &difference.path, difference.actual.as_ref());
            }
        }
        if attributes != record.attributes {
            events.push(EventBody::Accepted {
                uid: record.uid,
                attributes,
            });
        }
    }
    events
}

/// Sets or removes the value at a path. Where the path leads nowhere, nothing changes.
fn put(attributes: &mut Attributes, path: &AttributePath, value: Option<&Value>) {
    let Some((PathSegment::Key(name), rest)) = path.0.split_first() else {
        return;
    };
    let Some((last, middle)) = rest.split_last() else {
        match value {
            Some(value) => attributes.insert(name.clone(), value.clone()),
            None => attributes.remove(name),
        };
        return;
    };
    let found = middle.iter().try_fold(
        attributes
            .entry(name.clone())
            .or_insert_with(|| Value::Map(Attributes::new())),
        |at, segment| match (segment, at) {
            (PathSegment::Key(name), Value::Map(entries)) => entries.get_mut(name),
            (PathSegment::Index(index), Value::List(items)) => items.get_mut(*index),
            _ => None,
        },
    );
    match (last, found, value) {
        (PathSegment::Key(name), Some(Value::Map(entries)), Some(value)) => {
            entries.insert(name.clone(), value.clone());
        }
        (PathSegment::Key(name), Some(Value::Map(entries)), None) => {
            entries.remove(name);
        }
        (PathSegment::Index(index), Some(Value::List(items)), Some(value)) => match items.get_mut(*index) {
            Some(item) => *item = value.clone(),
            None => items.push(value.clone()),
        },
        (PathSegment::Index(index), Some(Value::List(items)), None) => items.truncate(*index),
        _ => {}
    }
}

/// What the configuration now says about objects that need no call.
pub(super) fn declarations(request: &ApplyRequest<'_>, view: &View<'_>) -> Vec<EventBody> {
    let moved: BTreeMap<Uid, ()> = request.plan.moves.iter().map(|moved| (moved.uid, ())).collect();
    request
        .plan
        .changes
        .iter()
        .filter(|change| change.action == Action::NoOp && change.importing.is_none())
        .filter_map(|change| {
            let record = view.record(change.uid?)?;
            let declaration = view.with_dependencies(change.declaration.as_ref()?);
            // A move is folded by the same commit; what it renames in dependencies is in the declaration already.
            let differs = declaration != record.declaration || moved.contains_key(&record.uid);
            differs.then_some(EventBody::Declared {
                uid: record.uid,
                declaration,
            })
        })
        .collect()
}

/// Returns the project's outputs as they are now: evaluated where that is possible, else as they were.
pub(super) fn outputs(request: &ApplyRequest<'_>, view: &View<'_>) -> BTreeMap<Arc<str>, Value> {
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
pub(super) fn endpoints(request: &ApplyRequest<'_>, view: &View<'_>) -> BTreeMap<Arc<str>, Value> {
    request
        .plan
        .endpoints
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), view.evaluate(value).ok()?.seal())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_set_where_it_leads() {
        let mut attributes = Attributes::from([
            ("a".into(), Value::Int(1)),
            (
                "list".into(),
                Value::List(vec![Value::map([("x", Value::Int(1))])]),
            ),
        ]);
        let path = |text: &str| text.parse::<AttributePath>().unwrap();
        put(&mut attributes, &path("a"), None);
        put(&mut attributes, &path("b.c"), Some(&Value::Int(2)));
        put(&mut attributes, &path("list[0].x"), Some(&Value::Int(3)));
        put(&mut attributes, &path("list[1]"), Some(&Value::Int(4)));
        put(&mut attributes, &path("list[7].y"), Some(&Value::Int(5)));
        let expected = Attributes::from([
            ("b".into(), Value::map([("c", Value::Int(2))])),
            (
                "list".into(),
                Value::List(vec![Value::map([("x", Value::Int(3))]), Value::Int(4)]),
            ),
        ]);
        assert_eq!(attributes, expected);
    }
}
