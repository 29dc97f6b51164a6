//! Reading recorded objects, in batches of one type.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Calls, GatherEvent, GatherRequest, Part, selection};
use crate::address::{ResourceType, Uid};
use crate::provider::{Provider, ReadOutcome, ReadRequest, RecordedObject};
use crate::seal::Sealer;
use crate::upgrade::recorded_object;

/// How often an object that was not found is looked for within its consistency window.
const LOOKS: u32 = 4;
/// The shortest time between two looks.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);

/// Objects of one type that one call reads.
pub(super) struct Batch {
    provider: Arc<dyn Provider>,
    resource_type: ResourceType,
    objects: Vec<RecordedObject>,
    /// Those that need no call, because what to say about them is known.
    settled: Vec<Read>,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.objects.len() + self.settled.len()
    }
}

/// What reading one object gave.
pub(super) struct Read {
    uid: Uid,
    outcome: ReadOutcome,
}

impl Read {
    pub(super) fn seal(self, request: &GatherRequest<'_>, sealer: Sealer<'_>) -> (Uid, ReadOutcome) {
        let outcome = match (self.outcome, request.state.record(self.uid)) {
            (ReadOutcome::Present(state), Some(record)) => {
                match request.providers.schema(&record.address.resource_type) {
                    Some(schema) => ReadOutcome::Present(sealer.object(schema, &record.inputs, &state)),
                    None => ReadOutcome::CannotTell {
                        reason: format!("No provider manages `{}`.", record.address.resource_type),
                    },
                }
            }
            (outcome, _) => outcome,
        };
        (self.uid, outcome)
    }
}

/// Returns the batches to read.
pub(super) fn batches(request: &GatherRequest<'_>, size: usize) -> Vec<Batch> {
    let mut by_type: BTreeMap<&ResourceType, Vec<_>> = BTreeMap::new();
    for record in selection::selected(request) {
        by_type
            .entry(&record.address.resource_type)
            .or_default()
            .push(record);
    }
    let mut batches = Vec::new();
    for (resource_type, records) in by_type {
        let Some(provider) = request.providers.provider(resource_type) else {
            continue;
        };
        for chunk in records.chunks(size) {
            let mut batch = Batch {
                provider: provider.clone(),
                resource_type: resource_type.clone(),
                objects: Vec::new(),
                settled: Vec::new(),
            };
            for record in chunk {
                match recorded_object(record, &**provider) {
                    Ok(object) => batch.objects.push(object),
                    Err(error) => batch.settled.push(Read {
                        uid: record.uid,
                        outcome: ReadOutcome::CannotTell {
                            reason: error.message,
                        },
                    }),
                }
            }
            batches.push(batch);
        }
    }
    batches
}

/// Reads a batch. What is not found is looked for until its consistency window has passed.
pub(super) async fn read(batch: Batch, calls: Calls) -> Part {
    let window = batch
        .provider
        .resource_schema(&batch.resource_type)
        .consistency_window;
    let end = Instant::now() + window;
    let mut found: Vec<Read> = batch.settled;
    let mut wanted = batch.objects;
    loop {
        let outcomes = read_once(&batch.provider, &batch.resource_type, &wanted, &calls).await;
        let mut missing = Vec::new();
        for (object, outcome) in wanted.into_iter().zip(outcomes) {
            if outcome == ReadOutcome::Absent && Instant::now() < end {
                missing.push(object);
            } else {
                found.push(Read {
                    uid: object.uid,
                    outcome,
                });
            }
        }
        if missing.is_empty() {
            return Part::Objects(found);
        }
        calls.tell(GatherEvent::LookingAgain {
            addresses: missing.iter().map(|object| object.address.clone()).collect(),
            within: end.saturating_duration_since(Instant::now()),
        });
        let pause = (window / LOOKS).max(SHORTEST_PAUSE);
        tokio::time::sleep_until((Instant::now() + pause).min(end)).await;
        wanted = missing;
    }
}

/// Reads once; always as many answers as objects.
async fn read_once(
    provider: &Arc<dyn Provider>,
    resource_type: &ResourceType,
    objects: &[RecordedObject],
    calls: &Calls,
) -> Vec<ReadOutcome> {
    if objects.is_empty() {
        return Vec::new();
    }
    let what = format!("Reading {} {resource_type}", objects.len());
    let result = calls
        .make(&what, calls.limits.call_timeout, || {
            let provider = provider.clone();
            let request = ReadRequest {
                resource_type: resource_type.clone(),
                objects: objects.to_vec(),
            };
            async move { provider.read(request).await }
        })
        .await;
    let reason = match result {
        Ok(outcomes) if outcomes.len() == objects.len() => return outcomes,
        Ok(outcomes) => format!(
            "Provider `{}` broke its contract: it answered {} of {} reads of {resource_type}. Please report this to \
             its authors.",
            provider.schema().name,
            outcomes.len(),
            objects.len()
        ),
        Err(error) => error.message,
    };
    vec![ReadOutcome::CannotTell { reason }; objects.len()]
}
