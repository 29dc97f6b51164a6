//! Reading recorded objects, in batches of one type.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Calls, GatherEvent, Part};
use crate::address::{ResourceType, Uid};
use crate::provider::{Provider, ProviderRegistry, ReadOutcome, ReadRequest, RecordedObject};
use crate::seal::Sealer;
use crate::state::State;
use crate::state::record::Record;
use crate::upgrade::recorded_object;

/// How often an object that was not found is looked for within its consistency window.
const LOOKS: u32 = 4;
/// The shortest time between two looks.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
/// How far apart the clocks of machines may be, beside which an object's age means something.
const CLOCKS_APART: Duration = Duration::from_secs(60);

/// Objects of one type that one call reads.
pub(super) struct Batch {
    provider: Arc<dyn Provider>,
    resource_type: ResourceType,
    objects: Vec<Sought>,
    /// Those that need no call, because what to say about them is known.
    settled: Vec<Read>,
}

/// An object to read.
struct Sought {
    object: RecordedObject,
    /// For how long it may be there although it is not found.
    patience: Duration,
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
    pub(super) fn seal(
        self,
        state: &State,
        providers: &ProviderRegistry,
        sealer: Sealer<'_>,
    ) -> (Uid, ReadOutcome) {
        let outcome = match (self.outcome, state.record(self.uid)) {
            (ReadOutcome::Present(state), Some(record)) => {
                match providers.schema(&record.address.resource_type) {
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

/// Returns the batches to read. Without the time now every object may be young.
pub(super) fn batches<'a>(
    records: impl IntoIterator<Item = &'a Record>,
    providers: &ProviderRegistry,
    now: Option<Timestamp>,
    size: usize,
) -> Vec<Batch> {
    let mut by_type: BTreeMap<&ResourceType, Vec<_>> = BTreeMap::new();
    for record in records {
        by_type
            .entry(&record.address.resource_type)
            .or_default()
            .push(record);
    }
    let mut batches = Vec::new();
    for (resource_type, records) in by_type {
        let Some(provider) = providers.provider(resource_type) else {
            continue;
        };
        let window = provider.resource_schema(resource_type).consistency_window;
        let size = provider.read_batch().unwrap_or(size).max(1);
        for chunk in records.chunks(size) {
            let mut batch = Batch {
                provider: provider.clone(),
                resource_type: resource_type.clone(),
                objects: Vec::new(),
                settled: Vec::new(),
            };
            for record in chunk {
                match recorded_object(record, &**provider) {
                    Ok(object) => batch.objects.push(Sought {
                        object,
                        patience: patience(record, now, window),
                    }),
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

/// Returns for how long from now on an object may be there although it is not found: until its type's consistency window
/// has passed since it was made, which for most was long ago.
pub(super) fn patience(record: &Record, now: Option<Timestamp>, window: Duration) -> Duration {
    let (Some(made), Some(now)) = (record.made_at, now) else {
        return window;
    };
    // One that is made in the future was made by a clock that is ahead.
    let age = Duration::try_from(now.duration_since(made)).unwrap_or_default();
    (window + CLOCKS_APART).saturating_sub(age).min(window)
}

/// Returns how long to wait before the next look within a consistency window.
pub(super) fn pause(window: Duration) -> Duration {
    (window / LOOKS).max(SHORTEST_PAUSE)
}

/// Reads a batch. What is not found is looked for while it may only not be visible yet.
pub(super) async fn read(batch: Batch, calls: Calls) -> Part {
    let window = batch
        .provider
        .resource_schema(&batch.resource_type)
        .consistency_window;
    let began = Instant::now();
    let mut found: Vec<Read> = batch.settled;
    let mut wanted = batch.objects;
    loop {
        let outcomes = read_once(&batch.provider, &batch.resource_type, &wanted, &calls).await;
        let mut missing = Vec::new();
        let mut longest = Duration::ZERO;
        for (sought, outcome) in wanted.into_iter().zip(outcomes) {
            if outcome == ReadOutcome::Absent && began.elapsed() < sought.patience {
                longest = longest.max(sought.patience);
                missing.push(sought);
            } else {
                found.push(Read {
                    uid: sought.object.uid,
                    outcome,
                });
            }
        }
        if missing.is_empty() {
            return Part::Objects(found);
        }
        let end = began + longest;
        calls.tell(GatherEvent::LookingAgain {
            addresses: missing
                .iter()
                .map(|sought| sought.object.address.clone())
                .collect(),
            within: end.saturating_duration_since(Instant::now()),
        });
        tokio::time::sleep_until((Instant::now() + pause(window)).min(end)).await;
        wanted = missing;
    }
}

/// Reads once; always as many answers as objects.
async fn read_once(
    provider: &Arc<dyn Provider>,
    resource_type: &ResourceType,
    objects: &[Sought],
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
                objects: objects.iter().map(|sought| sought.object.clone()).collect(),
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
