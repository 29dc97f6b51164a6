//! Finding out what became of calls whose result is not recorded.

use std::sync::Arc;

use super::{Calls, GatherEvent, Part};
use crate::address::{OperationId, Uid};
use crate::provider::{Observation, ObserveRequest, Provider, ProviderRegistry};
use crate::seal::Sealer;
use crate::state::State;
use crate::state::record::{OpenCall, Record};
use crate::upgrade::recorded_object;

/// A call to look into.
pub(super) struct Wanted {
    provider: Arc<dyn Provider>,
    uid: Uid,
    request: Result<ObserveRequest, (OperationId, String)>,
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
            Some(Wanted {
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
    // A proof of absence takes the whole window.
    let timeout = window + calls.limits.call_timeout;
    let operation = request.operation;
    let what = format!("Finding out what became of `{address}`");
    let observation = calls
        .make(&what, timeout, || {
            let provider = wanted.provider.clone();
            let request = request.clone();
            async move { provider.observe(request).await }
        })
        .await
        .unwrap_or_else(|error| Observation::Unknown {
            reason: error.message,
        });
    Part::Observed(Observed {
        uid,
        operation,
        observation,
    })
}
