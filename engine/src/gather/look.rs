//! Looking at some recorded objects, for a run that goes on with what an earlier one left.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Calls, GatherLimits, Part, observe, read};
use crate::address::{OperationId, Uid};
use crate::provider::{Observation, ProviderRegistry, ReadOutcome};
use crate::seal::Sealer;
use crate::state::State;
use crate::state::fingerprint::FingerprintKey;
use crate::state::record::{OpenCall, Record};

/// What to look at.
pub(crate) struct LookRequest<'a> {
    pub(crate) state: &'a State,
    pub(crate) providers: &'a ProviderRegistry,
    pub(crate) fingerprints: Option<&'a FingerprintKey>,
    /// The objects to read.
    pub(crate) objects: Vec<&'a Record>,
    /// The calls to look into; nobody makes them any more.
    pub(crate) calls: Vec<(&'a Record, &'a OpenCall)>,
}

/// What was found, sealed.
#[derive(Default)]
pub(crate) struct Looked {
    pub(crate) objects: BTreeMap<Uid, ReadOutcome>,
    pub(crate) observations: BTreeMap<OperationId, Observation>,
}

/// Looks, in batches and within the limits. When a person says to stop, what was found by then is all.
pub(crate) async fn look(
    request: LookRequest<'_>,
    limits: &GatherLimits,
    stop: &CancellationToken,
) -> Looked {
    let LookRequest { state, providers, .. } = request;
    let sealer = Sealer::new(request.fingerprints);
    // Nobody listens.
    let (events, _) = mpsc::unbounded_channel();
    let calls = Calls::new(limits, events);
    let mut parts = JoinSet::new();
    for batch in read::batches(request.objects, providers, None, limits.batch.max(1)) {
        parts.spawn(read::read(batch, calls.clone()));
    }
    for wanted in observe::requests(request.calls, state, providers, None) {
        parts.spawn(observe::observe(wanted, calls.clone()));
    }
    let mut looked = Looked::default();
    loop {
        let part = tokio::select! {
            biased;
            () = stop.cancelled() => return looked,
            part = parts.join_next() => part,
        };
        match part {
            None => return looked,
            Some(Ok(Part::Objects(objects))) => {
                let sealed = objects
                    .into_iter()
                    .map(|read| read.seal(state, providers, sealer));
                looked.objects.extend(sealed);
            }
            Some(Ok(Part::Observed(observed))) => {
                let (operation, observation) = observed.seal(state, providers, sealer);
                looked.observations.insert(operation, observation);
            }
            Some(Ok(_)) => unreachable!("only reads and observations were asked for"),
            // Calls catch the panics of providers; what is left is a bug of the engine.
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
