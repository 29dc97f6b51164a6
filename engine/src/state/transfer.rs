//! Moving objects from one log to another: between stacks.
//!
//! 1. The source marks them as leaving: no call may be made on them any more.
//! 2. The target takes them in, with their uids. From now on it is the one that manages them.
//! 3. The source forgets them.
//!
//! Interrupted anywhere, doing it again does what is missing; until then the source does nothing with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::address::{ResourceAddress, Uid};
use crate::state::event::{Destination, EventBody};
use crate::state::journal::{Journal, JournalError};
use crate::state::record::{Record, Status};
use crate::state::snapshot::State;
use crate::state::surgery::SurgeryError;

/// What is moved where.
#[derive(Debug, Clone)]
pub struct Transfer<'a> {
    /// The objects, by their addresses.
    pub addresses: &'a BTreeSet<ResourceAddress>,
    /// The stack that takes them in; empty for none.
    pub stack: Arc<str>,
}

/// Why objects were not moved.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// It may not be.
    #[error(transparent)]
    Refused(#[from] SurgeryError),
    /// One of the logs could not be written. Doing it again does what is missing.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Says whether objects may be moved from one state to another, without changing anything; a state that was never created
/// takes in anything.
///
/// # Errors
/// As [`transfer`], where it writes nothing.
pub fn check(from: &State, to: &State, transfer: &Transfer<'_>) -> Result<(), SurgeryError> {
    records(from, to, transfer).map(|_| ())
}

/// Moves objects from one log to another, and returns how many were moved now or by an earlier attempt.
///
/// # Errors
/// When an object is not recorded, has a call without an outcome, depends on something that stays or is depended upon by
/// it, or its address is taken in the target; nothing was written then. When a log cannot be written.
pub async fn transfer(
    source: &Journal,
    target: &Journal,
    transfer: &Transfer<'_>,
) -> Result<usize, TransferError> {
    let (from, to) = (source.state(), target.state());
    let lineage = to
        .lineage
        .ok_or_else(|| refused("no state", "The target has no state.".to_owned()))?;
    let records = records(&from, &to, transfer)?;
    let conflicts = conflicts(&records, &to);
    if !conflicts.is_empty() {
        // An earlier attempt may have marked them before the target got what is in the way.
        let stuck: Vec<Uid> = records
            .iter()
            .map(|record| record.uid)
            .filter(|uid| from.leaving.contains_key(uid) && to.record(*uid).is_none())
            .collect();
        if !stuck.is_empty() {
            source.commit(vec![EventBody::Staying { uids: stuck }]).await?;
        }
        return Err(SurgeryError {
            summary: "address taken",
            detail: format!("The target has other objects at {}.", list(conflicts)),
            hint: Some("give one of them another address first:\n    gabion state mv FROM TO".to_owned()),
        }
        .into());
    }
    let marked: Vec<Uid> = records
        .iter()
        .map(|record| record.uid)
        .filter(|uid| !from.leaving.contains_key(uid))
        .collect();
    if !marked.is_empty() {
        let to = Destination {
            lineage,
            stack: transfer.stack.clone(),
        };
        source
            .commit(vec![EventBody::Leaving { uids: marked, to }])
            .await?;
    }
    let taken: Vec<EventBody> = records
        .iter()
        .filter(|record| to.record(record.uid).is_none())
        .map(|record| EventBody::Imported {
            record: Box::new(Record {
                last_call: None,
                changed_by: None,
                ..record.clone()
            }),
        })
        .collect();
    if !taken.is_empty() {
        target.commit(taken).await?;
    }
    let forgotten: Vec<EventBody> = records
        .iter()
        .map(|record| EventBody::Forgotten { uid: record.uid })
        .collect();
    if !forgotten.is_empty() {
        source.commit(forgotten).await?;
    }
    Ok(transfer.addresses.len())
}

/// Returns the records that are still in the source, after checking that they may leave it.
fn records(from: &State, to: &State, transfer: &Transfer<'_>) -> Result<Vec<Record>, SurgeryError> {
    let mut records = BTreeMap::new();
    for address in transfer.addresses {
        match from.current(address) {
            Some(record) => {
                movable(from, to, record)?;
                records.insert(record.uid, record.clone());
            }
            // An earlier attempt got so far.
            None if to.current(address).is_some() => {}
            None => {
                let known: Vec<String> = from
                    .current_records()
                    .map(|record| record.address.to_string())
                    .collect();
                let near =
                    crate::diagnostic::did_you_mean(&address.to_string(), known.iter().map(String::as_str));
                return Err(SurgeryError {
                    summary: "no such object",
                    detail: format!("No object with the address `{address}` is recorded."),
                    hint: Some(near.map_or_else(
                        || "gabion state list".to_owned(),
                        |near| format!("did you mean `{near}`?"),
                    )),
                });
            }
        }
    }
    let missing = connected(from, &records);
    if !missing.is_empty() {
        let all: BTreeSet<&ResourceAddress> = transfer.addresses.iter().chain(&missing).collect();
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        let stack = match &*transfer.stack {
            "" => "NAME",
            stack => stack,
        };
        return Err(SurgeryError {
            summary: "objects that belong together",
            detail: format!(
                "What depends on each other moves together; these are connected with what you named: {}.",
                list(missing)
            ),
            hint: Some(format!("gabion state mv --to-stack {stack} {}", all.join(" "))),
        });
    }
    Ok(records.into_values().collect())
}

fn movable(from: &State, to: &State, record: &Record) -> Result<(), SurgeryError> {
    let address = &record.address;
    if let Some(open) = &record.open {
        return Err(SurgeryError {
            summary: "a call has no known outcome",
            detail: format!(
                "A call on `{address}` was begun at serial {} and its outcome is not recorded.",
                open.since
            ),
            hint: Some("gabion apply".to_owned()),
        });
    }
    if record.id.is_none() || matches!(record.status, Status::Creating | Status::Deleting) {
        return Err(SurgeryError {
            summary: "object that is not finished",
            detail: format!("`{address}` is being made or deleted."),
            hint: Some("gabion apply".to_owned()),
        });
    }
    let deposed = from.deposed_records().any(|other| other.address == *address);
    if deposed {
        return Err(SurgeryError {
            summary: "object that is not finished",
            detail: format!("An older object of `{address}` still awaits deletion."),
            hint: Some("gabion apply".to_owned()),
        });
    }
    match from.leaving.get(&record.uid) {
        Some(other) if to.lineage.is_some_and(|lineage| lineage != other.lineage) => Err(refused(
            "object that is on its way elsewhere",
            format!(
                "`{address}` is on its way to {}.",
                match &*other.stack {
                    "" => "the state without a stack".to_owned(),
                    stack => format!("the stack `{stack}`"),
                }
            ),
        )),
        _ => Ok(()),
    }
}

/// Returns what the objects depend on and what depends on them, as far as it is not among them, to the end.
fn connected(state: &State, records: &BTreeMap<Uid, Record>) -> BTreeSet<ResourceAddress> {
    let mut found: BTreeSet<Uid> = records.keys().copied().collect();
    loop {
        let before = found.len();
        for record in state.records() {
            let needs: Vec<Uid> = record
                .declaration
                .dependencies
                .iter()
                .filter_map(|dependency| dependency.uid)
                .filter(|uid| state.record(*uid).is_some())
                .collect();
            if found.contains(&record.uid) {
                found.extend(needs);
            } else if needs.iter().any(|uid| found.contains(uid)) {
                found.insert(record.uid);
            }
        }
        if found.len() == before {
            break;
        }
    }
    found
        .iter()
        .filter(|uid| !records.contains_key(uid))
        .filter_map(|uid| state.record(*uid))
        .map(|record| record.address.clone())
        .collect()
}

/// Returns the addresses that other objects have in the target.
fn conflicts(records: &[Record], to: &State) -> BTreeSet<ResourceAddress> {
    records
        .iter()
        .filter(|record| {
            to.current(&record.address)
                .is_some_and(|other| other.uid != record.uid)
        })
        .map(|record| record.address.clone())
        .collect()
}

fn list(addresses: BTreeSet<ResourceAddress>) -> String {
    let addresses: Vec<String> = addresses.iter().map(|address| format!("`{address}`")).collect();
    addresses.join(", ")
}

fn refused(summary: &'static str, detail: String) -> SurgeryError {
    SurgeryError {
        summary,
        detail,
        hint: None,
    }
}
