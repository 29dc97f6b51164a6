//! Going on with a plan that an earlier run did a part of: finding out what became of its calls.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::JoinSet;

use super::report::ApplyRequest;
use crate::address::Uid;
use crate::provider::{Observation, ObserveRequest, ReadOutcome, ReadRequest};
use crate::seal::mark_secrets;
use crate::state::State;
use crate::state::event::EventBody;
use crate::state::record::{Record, Status};
use crate::upgrade::recorded_object;
use crate::value::Value;

/// How long one look at the world may take, beside the consistency window.
const LOOK_TIMEOUT: Duration = Duration::from_secs(60);

/// Returns whether the last run carried out this very plan.
pub(super) fn resumes(request: &ApplyRequest<'_>, state: &State) -> bool {
    let last = state.last_run.as_ref();
    last.is_some_and(|last| last.started.plan.as_ref() == Some(&request.digest))
}

/// Looks at what the earlier run left: calls without a result, and objects that it did not finish. Returns what to
/// record of it; what cannot be found out is left as it is, and the steps that need it fail.
pub(super) async fn look(request: &ApplyRequest<'_>, state: &State) -> Vec<EventBody> {
    let plan = request.plan;
    let settled: BTreeSet<_> = plan
        .settlements
        .iter()
        .map(|settlement| settlement.operation)
        .collect();
    let own = |record: &&Record| {
        let last = record.last_call.as_ref();
        last.is_some_and(|call| call.plan.as_ref() == Some(&request.digest))
    };
    let mut looks = JoinSet::new();
    for record in state.records().filter(own) {
        let Some(provider) = request.providers.provider(&record.address.resource_type).cloned() else {
            continue;
        };
        let (Ok(object), Some(lineage)) = (recorded_object(record, &*provider), state.lineage) else {
            continue;
        };
        let resource_type = record.address.resource_type.clone();
        let window = provider.resource_schema(&resource_type).consistency_window;
        let uid = record.uid;
        match &record.open {
            Some(open) if !settled.contains(&open.operation) => {
                let (operation, inputs) = (open.operation, open.inputs.clone());
                let observe = ObserveRequest {
                    action: open.action,
                    operation,
                    object,
                    inputs: inputs.clone(),
                    lineage,
                };
                looks.spawn(async move {
                    let found = tokio::time::timeout(window + LOOK_TIMEOUT, provider.observe(observe)).await;
                    let mut observation = found.ok()?.ok()?;
                    match &mut observation {
                        Observation::Unknown { .. } => return None,
                        Observation::Absent => {}
                        Observation::Present(state) => {
                            let schema = provider.resource_schema(&resource_type);
                            state.attributes = mark_secrets(schema, &inputs, &state.attributes);
                        }
                    }
                    Some((
                        uid,
                        EventBody::Settled {
                            operation,
                            observation,
                        },
                    ))
                });
            }
            None if record.status == Status::Incomplete => {
                let inputs = record.inputs.clone();
                let recorded = record.attributes.clone();
                looks.spawn(async move {
                    let read = ReadRequest {
                        resource_type: resource_type.clone(),
                        objects: vec![object],
                    };
                    let found = tokio::time::timeout(LOOK_TIMEOUT, provider.read(read)).await;
                    let Some(ReadOutcome::Present(state)) = found.ok()?.ok()?.into_iter().next() else {
                        return None;
                    };
                    let schema = provider.resource_schema(&resource_type);
                    let mut attributes = mark_secrets(schema, &inputs, &state.attributes);
                    for name in state.unreadable.iter().filter_map(|path| path.first_key()) {
                        let known: Option<&Value> = inputs.get(name).or_else(|| recorded.get(name));
                        if let Some(value) = known {
                            attributes.insert(name.into(), value.clone());
                        }
                    }
                    Some((uid, EventBody::Accepted { uid, attributes }))
                });
            }
            _ => {}
        }
    }
    let mut found: Vec<(Uid, EventBody)> = Vec::new();
    while let Some(look) = looks.join_next().await {
        // A provider that panics has not said anything.
        found.extend(look.ok().flatten());
    }
    found.sort_by_key(|(uid, _)| *uid);
    found.into_iter().map(|(_, event)| event).collect()
}
