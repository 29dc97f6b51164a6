//! Going on with a plan that an earlier run did a part of: finding out what became of its calls.

use std::collections::BTreeSet;

use super::control::ApplyControl;
use super::report::{ApplyOptions, ApplyRequest};
use crate::gather::GatherLimits;
use crate::gather::look::{LookRequest, look};
use crate::provider::{Observation, ReadOutcome};
use crate::state::State;
use crate::state::event::EventBody;
use crate::state::record::{Record, Status};

/// Returns whether the last run carried out this very plan.
pub(super) fn resumes(request: &ApplyRequest<'_>, state: &State) -> bool {
    let last = state.last_run.as_ref();
    last.is_some_and(|last| last.started.plan.as_ref() == Some(&request.digest))
}

/// Looks at what the earlier run left: calls without a result, and objects that it did not finish. Returns what to
/// record of it; what cannot be found out is left as it is, and the steps that need it fail.
pub(super) async fn left_behind(
    request: &ApplyRequest<'_>,
    state: &State,
    options: &ApplyOptions,
    control: &ApplyControl,
) -> Vec<EventBody> {
    let settled: BTreeSet<_> = request
        .plan
        .settlements
        .iter()
        .map(|settlement| settlement.operation)
        .collect();
    let own = |record: &Record| {
        let last = record.last_call.as_ref();
        last.is_some_and(|call| call.plan.as_ref() == Some(&request.digest))
    };
    let unfinished = state
        .records()
        .filter(|record| own(record) && record.open.is_none() && record.status == Status::Incomplete);
    let open = state
        .open_calls()
        .filter(|(record, open)| own(record) && !settled.contains(&open.operation));
    let looking = LookRequest {
        state,
        providers: request.providers,
        fingerprints: request.fingerprints.as_deref(),
        objects: unfinished.collect(),
        calls: open.collect(),
    };
    let limits = GatherLimits {
        parallelism: options.parallelism,
        retry: options.retry.clone(),
        call_timeout: options.look_timeout,
        ..GatherLimits::default()
    };
    let found = look(looking, &limits, &control.stop).await;

    let calls = found
        .observations
        .into_iter()
        .filter(|(_, observation)| !matches!(observation, Observation::Unknown { .. }))
        .map(|(operation, observation)| EventBody::Settled {
            operation,
            observation,
        });
    let objects = found.objects.into_iter().filter_map(|(uid, outcome)| {
        let (ReadOutcome::Present(found), Some(record)) = (outcome, state.record(uid)) else {
            return None;
        };
        let mut attributes = found.attributes;
        for name in found.unreadable.iter().filter_map(|path| path.first_key()) {
            let known = record.inputs.get(name).or_else(|| record.attributes.get(name));
            if let Some(value) = known {
                attributes.insert(name.into(), value.clone());
            }
        }
        Some(EventBody::Accepted { uid, attributes })
    });
    calls.chain(objects).collect()
}
