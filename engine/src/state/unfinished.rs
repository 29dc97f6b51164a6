//! What runs of an operation began and did not finish: objects that they found gone and did not make again, and those that
//! they left in the middle of a call.
//!
//! A run that finds an object gone says so in the log before it makes another: the record goes first. Who makes a plan from
//! files knows what is missing all the same. Who makes one from records does not, so it is read from the log.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{ResourceAddress, Uid};
use crate::state::event::{EventBody, RunStarted};
use crate::state::history::{PAGE, walk};
use crate::state::record::Record;
use crate::state::snapshot::State;
use crate::state::store::{StateStore, StoreError};

/// Which runs are asked about, and what puts an end to what they left.
#[derive(Debug, Clone, Copy)]
pub struct Operations<'a> {
    /// The operation of the runs.
    pub of: &'a str,
    /// Operations that are about some objects only: what they do not work on stays unfinished. Every other run of a plan
    /// decides about everything.
    pub partial: &'a [&'a str],
}

/// What is unfinished.
#[derive(Debug, Clone, Default)]
pub struct Unfinished {
    /// The records of objects that were found gone, as they were then; nothing is recorded at their addresses now.
    pub lost: BTreeMap<ResourceAddress, Record>,
    /// Objects that one of these runs was the last to work on.
    pub touched: BTreeSet<Uid>,
}

/// What kind of run writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    Asked,
    Partial,
    Other,
}

/// Reads what is unfinished at a state, which was read from the store.
///
/// The whole log is read only if such a run wrote since the last one that decides about everything.
///
/// # Errors
/// When the store cannot be read, or an event does not fit the ones before.
pub async fn unfinished(
    store: &dyn StateStore,
    state: &State,
    operations: Operations<'_>,
) -> Result<Unfinished, StoreError> {
    if nothing_since(store, state, operations).await? {
        return Ok(Unfinished::default());
    }
    let mut found = Unfinished::default();
    let mut run = Run::Other;
    let last = walk(store, state.serial, |before, _, event| match &event.body {
        EventBody::LeaseTaken { .. } => run = Run::Other,
        EventBody::RunStarted(started) if decides(started, operations) => {
            run = Run::Other;
            found = Unfinished::default();
        }
        EventBody::RunStarted(started) => {
            run = match started.operation.as_str() {
                operation if operation == operations.of => Run::Asked,
                operation if operations.partial.contains(&operation) => Run::Partial,
                _ => Run::Other,
            };
        }
        EventBody::Vanished { uid } if run == Run::Asked => {
            if let Some(record) = before.record(*uid).filter(|record| !record.deposed) {
                found.lost.insert(record.address.clone(), record.clone());
            }
        }
        EventBody::Intent(intent) if run == Run::Asked => {
            found.touched.insert(intent.uid);
        }
        EventBody::Intent(intent) => {
            found.touched.remove(&intent.uid);
            // Whoever works on what others are part of decides about those, too.
            let parts = format!("{}/", intent.address.name.as_str());
            found.lost.retain(|address, _| {
                *address != intent.address && !address.name.as_str().starts_with(&parts)
            });
        }
        _ => {}
    })
    .await?;
    found.lost.retain(|address, _| last.current(address).is_none());
    found.touched.retain(|uid| last.record(*uid).is_some());
    Ok(found)
}

/// Returns whether a run is of a plan that decides about everything.
fn decides(started: &RunStarted, operations: Operations<'_>) -> bool {
    let operation = started.operation.as_str();
    started.plan.is_some() && operation != operations.of && !operations.partial.contains(&operation)
}

/// Returns whether the end of the log shows that no such run wrote since the last that decides about everything.
async fn nothing_since(
    store: &dyn StateStore,
    state: &State,
    operations: Operations<'_>,
) -> Result<bool, StoreError> {
    let after = state.serial.saturating_sub(PAGE as u64);
    let end = store.events(after, PAGE).await?;
    for event in end.iter().rev() {
        if let EventBody::RunStarted(started) = &event.event.body {
            if started.operation == operations.of {
                return Ok(false);
            }
            if decides(started, operations) {
                return Ok(true);
            }
        }
    }
    Ok(after == 0)
}
