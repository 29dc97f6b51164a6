//! Finding out what became of calls whose result is not recorded.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::read::{patience, pause};
use super::{Calls, GatherEvent, Part};
use crate::address::{OperationId, Uid};
use crate::provider::{CallAction, Observation, ObserveRequest, Provider, ProviderRegistry};
use crate::seal::Sealer;
use crate::state::State;
use crate::state::record::{OpenCall, Record};
use crate::upgrade::recorded_object;

/// A call to look into.
pub(super) struct Wanted {
    provider: Arc<dyn Provider>,
    uid: Uid,
    request: Result<ObserveRequest, (OperationId, String)>,
    /// For how long the object may be there although it is not found.
    patience: Duration,
}

/// What was found.
pub(super) struct Observed {
    uid: Uid,
    operation: OperationId,
    observation: Observation,
}

impl Observed {
    pub(super) fn seal(
        self,
        state: &State,
        providers: &ProviderRegistry,
        sealer: Sealer<'_>,
    ) -> (OperationId, Observation) {
        let record = state.record(self.uid);
        let observation = match (self.observation, record) {
            (Observation::Present(state), Some(record)) => {
                let inputs = record.open.as_ref().map_or(&record.inputs, |open| &open.inputs);
                match providers.schema(&record.address.resource_type) {
                    Some(schema) => Observation::Present(sealer.object(schema, inputs, &state)),
                    None => Observation::Unknown {
                        reason: format!("No provider manages `{}`.", record.address.resource_type),
                    },
                }
            }
            (observation, _) => observation,
        };
        (self.operation, observation)
    }
}

/// Returns how to look into calls that nobody makes any more.
pub(super) fn requests<'a>(
    calls: impl IntoIterator<Item = (&'a Record, &'a OpenCall)>,
    state: &State,
    providers: &ProviderRegistry,
    now: Option<Timestamp>,
) -> Vec<Wanted> {
    let Some(lineage) = state.lineage else {
        return Vec::new();
    };
    calls
        .into_iter()
        .filter_map(|(record, open)| {
            let provider = providers.provider(&record.address.resource_type)?;
            let request = recorded_object(record, &**provider)
                .map(|object| ObserveRequest {
                    action: open.action,
                    operation: open.operation,
                    object,
                    inputs: open.inputs.clone(),
                    lineage,
                })
                .map_err(|error| (open.operation, error.message));
            let window = provider
                .resource_schema(&record.address.resource_type)
                .consistency_window;
            Some(Wanted {
                patience: patience(record, now, window),
                provider: provider.clone(),
                uid: record.uid,
                request,
            })
        })
        .collect()
}

/// Looks into one call.
pub(super) async fn observe(wanted: Wanted, calls: Calls) -> Part {
    let uid = wanted.uid;
    let request = match wanted.request {
        Ok(request) => request,
        Err((operation, reason)) => {
            return Part::Observed(Observed {
                uid,
                operation,
                observation: Observation::Unknown { reason },
            });
        }
    };
    let address = request.object.address.clone();
    calls.tell(GatherEvent::Observing {
        address: address.clone(),
    });
    let window = wanted
        .provider
        .resource_schema(&address.resource_type)
        .consistency_window;
    let operation = request.operation;
    let began = Instant::now();
    let observation = loop {
        let observation = ask(&wanted.provider, &request, window, &calls).await;
        // What a creation made is looked for by the provider itself, for the whole window. Of what was recorded before
        // the call, one look at an id proves little: a young object may not be visible yet, and a deleted one still be.
        let believed_after = match (request.action, &observation) {
            (CallAction::Update | CallAction::Delete, Observation::Absent) => wanted.patience,
            (CallAction::Delete, Observation::Present(_)) => window,
            _ => Duration::ZERO,
        };
        let left = believed_after.saturating_sub(began.elapsed());
        if left.is_zero() {
            break observation;
        }
        calls.tell(GatherEvent::LookingAgain {
            addresses: vec![address.clone()],
            within: left,
        });
        tokio::time::sleep(pause(window).min(left)).await;
    };
    Part::Observed(Observed {
        uid,
        operation,
        observation,
    })
}

/// Asks once.
async fn ask(
    provider: &Arc<dyn Provider>,
    request: &ObserveRequest,
    window: Duration,
    calls: &Calls,
) -> Observation {
    // A proof of absence takes the whole window.
    let timeout = window + calls.limits.call_timeout;
    let what = format!("Finding out what became of `{}`", request.object.address);
    calls
        .make(&what, timeout, || {
            let provider = provider.clone();
            let request = request.clone();
            async move { provider.observe(request).await }
        })
        .await
        .unwrap_or_else(|error| Observation::Unknown {
            reason: error.message,
        })
}
