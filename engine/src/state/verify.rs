//! Verification: whether the log is whole, the records are what it gives, and nothing contradicts itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::provider::CallAction;
use crate::state::chain;
use crate::state::record::{Record, Status};
use crate::state::snapshot::State;
use crate::state::store::{StateStore, StoreError, StoreWarning};

/// How many events are read at a time.
const PAGE: usize = 1000;

/// What verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verification {
    /// The serial of the state that was verified.
    pub serial: u64,
    /// How many events were checked.
    pub events: u64,
    /// How many records were compared.
    pub records: usize,
    /// What is wrong with the state itself, as sentences: it must not be written to.
    pub damage: Vec<String>,
    /// What deserves a look and breaks nothing, as sentences.
    pub notes: Vec<String>,
    /// What the store could not do by itself.
    pub warnings: Vec<StoreWarning>,
}

/// Verifies a state: its chain, that its records are what folding its events gives, its edges and its invariants.
///
/// # Errors
/// When the store cannot be read. What can be read and is wrong is in the answer.
pub async fn verify(store: &dyn StateStore) -> Result<Verification, StoreError> {
    let loaded = store.load().await?.state;
    let mut found = Verification {
        serial: loaded.serial,
        records: loaded.len(),
        ..Verification::default()
    };
    let mut folded = store.base().await?;
    let first = folded.serial;
    'log: while folded.serial < loaded.serial {
        let page = match store.events(folded.serial, PAGE).await {
            Ok(page) => page,
            Err(StoreError::Unreadable { what, why, .. }) => {
                found
                    .damage
                    .push(format!("The log cannot be read: {what}: {why}."));
                break;
            }
            Err(error) => return Err(error),
        };
        if page.is_empty() {
            found.damage.push(format!(
                "The log ends with event {}, and its head says {}.",
                folded.serial, loaded.serial
            ));
            break;
        }
        for event in page {
            if folded.serial == loaded.serial {
                // Somebody appended since the state was loaded.
                break;
            }
            if let Err(error) = chain::verify(folded.serial, &folded.chain, [&event]) {
                found.damage.push(format!("The chain is broken: {error}."));
                break 'log;
            }
            if let Err(error) = folded.fold_hashed(&event.event, event.hash.clone()) {
                found
                    .damage
                    .push(format!("Event {} does not fit: {error}.", event.event.sequence));
                break 'log;
            }
        }
    }
    found.events = folded.serial - first;
    if found.damage.is_empty() {
        found.damage.extend(differences(&folded, &loaded));
    }
    found.damage.extend(contradictions(&loaded));
    found.notes.extend(loose_edges(&loaded));
    found.warnings = store.warnings().await?;
    Ok(found)
}

/// Returns where the recorded state is not what the log gives.
fn differences(folded: &State, loaded: &State) -> Vec<String> {
    let mut found = Vec::new();
    let uids: BTreeSet<_> = folded
        .records()
        .chain(loaded.records())
        .map(|record| record.uid)
        .collect();
    for uid in uids {
        match (folded.record(uid), loaded.record(uid)) {
            (Some(record), None) => {
                found.push(format!("The record of `{}` ({uid}) is missing.", record.address));
            }
            (None, Some(record)) => found.push(format!(
                "There is a record of `{}` ({uid}), and the log has no such object.",
                record.address
            )),
            (Some(folded), Some(loaded)) if folded != loaded => found.push(format!(
                "The record of `{}` ({uid}) is not what the log gives.",
                loaded.address
            )),
            _ => {}
        }
    }
    if found.is_empty() && folded != loaded {
        found.push("What is recorded beside the objects is not what the log gives.".to_owned());
    }
    found
}

/// Returns where a state contradicts itself. Folding never leads to such a state.
pub fn contradictions(state: &State) -> Vec<String> {
    let mut found = Vec::new();
    let mut owners = BTreeMap::new();
    for record in state.records() {
        if !record.deposed
            && let Some(other) = owners.insert(&record.address, record.uid)
        {
            found.push(format!(
                "Two objects have the address `{}`: {other} and {}.",
                record.address, record.uid
            ));
        }
        if let Some(why) = contradiction(state, record) {
            found.push(format!("`{}` ({}) {why}.", record.address, record.uid));
        }
    }
    found
}

fn contradiction(state: &State, record: &Record) -> Option<&'static str> {
    let open = record.open.as_ref();
    let action = open.map(|open| open.action);
    let holds_address = state
        .current(&record.address)
        .is_some_and(|other| other.uid == record.uid);
    if record.deposed == holds_address {
        return Some("is deposed and has its address, or neither");
    }
    if open.is_some_and(|open| {
        state
            .open_call(open.operation)
            .is_none_or(|other| other.uid != record.uid)
    }) {
        return Some("has an open call that is not listed");
    }
    if (record.status == Status::Creating) != (action == Some(CallAction::Create)) {
        return Some("is being created without an intent, or the other way round");
    }
    if action == Some(CallAction::Delete) && record.status != Status::Deleting {
        return Some("has an intent to delete it and is not being deleted");
    }
    if record.status == Status::Ready && record.id.is_none() {
        return Some("is ready and has no id");
    }
    if record.created_at > record.changed_at || record.changed_at > state.serial {
        return Some("changed before it was created, or after the last event");
    }
    if open.is_some_and(|open| open.epoch > state.epoch || open.since > state.serial) {
        return Some("has an open call that was sent after the last event");
    }
    None
}

/// Returns edges that lead nowhere, as after `state rm`.
fn loose_edges(state: &State) -> Vec<String> {
    let mut found = Vec::new();
    for record in state.records() {
        for dependency in &record.declaration.dependencies {
            let Some(uid) = dependency.uid else { continue };
            match state.record(uid) {
                None => found.push(format!(
                    "`{}` depends on `{}`, which is not recorded any more.",
                    record.address, dependency.address
                )),
                Some(other) if other.address != dependency.address => found.push(format!(
                    "`{}` depends on `{}`, whose object is `{}` now.",
                    record.address, dependency.address, other.address
                )),
                Some(_) => {}
            }
        }
    }
    found
}
