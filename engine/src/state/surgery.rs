//! Surgery: changes that people make to the state by hand, checked and worded for them. Nothing here calls a provider.

use std::collections::BTreeMap;

use crate::address::{ResourceAddress, Uid};
use crate::diagnostic::did_you_mean;
use crate::state::event::{EventBody, ObjectMove};
use crate::state::record::{Record, Status};
use crate::state::snapshot::State;

/// What a change by hand writes, and what its author should know.
#[derive(Debug, Clone, PartialEq)]
pub struct Surgery {
    /// The event to commit.
    pub event: EventBody,
    /// What follows from it, as sentences.
    pub notes: Vec<String>,
}

/// Why a change by hand is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{summary}: {detail}")]
pub struct SurgeryError {
    /// What, in a few fixed words.
    pub summary: &'static str,
    /// What and why, in full sentences.
    pub detail: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Stops managing the object at an address. It goes on existing.
///
/// # Errors
/// When nothing is recorded there, or the outcome of a call on it is not known.
pub fn forget(state: &State, address: &ResourceAddress) -> Result<Surgery, SurgeryError> {
    forget_record(state, idle(find(state, address)?)?)
}

/// Stops managing an object by its uid, as is needed for a deposed one.
///
/// # Errors
/// As [`forget`].
pub fn forget_object(state: &State, uid: Uid) -> Result<Surgery, SurgeryError> {
    let record = state.record(uid).ok_or_else(|| SurgeryError {
        summary: "no such object",
        detail: format!("No object with the uid {uid} is recorded."),
        hint: Some("gabion state list".to_owned()),
    })?;
    forget_record(state, idle(record)?)
}

fn forget_record(state: &State, record: &Record) -> Result<Surgery, SurgeryError> {
    let mut notes = Vec::new();
    let mut dependants: Vec<String> = state
        .records()
        .filter(|other| {
            let mut dependencies = other.declaration.dependencies.iter();
            other.uid != record.uid && dependencies.any(|dependency| dependency.uid == Some(record.uid))
        })
        .map(|other| format!("`{}`", other.address))
        .collect();
    if !dependants.is_empty() {
        dependants.sort();
        notes.push(format!(
            "Gabion no longer knows what must be deleted before it: {}.",
            dependants.join(", ")
        ));
    }
    let deposed = state
        .deposed_records()
        .filter(|other| other.address == record.address && other.uid != record.uid)
        .count();
    if deposed > 0 && !record.deposed {
        notes.push(format!(
            "Older objects of this address still await deletion, which the next apply does: {deposed}."
        ));
    }
    if let Some(id) = &record.id {
        notes.push(format!(
            "The object {id} goes on existing, and nothing will delete it."
        ));
    }
    Ok(Surgery {
        event: EventBody::Forgotten { uid: record.uid },
        notes,
    })
}

/// Gives objects other addresses, all at once: chains and swaps are fine.
///
/// # Errors
/// When one is not recorded or named twice, would change its type, or would take an address that another one keeps.
pub fn rename(
    state: &State,
    renames: &[(ResourceAddress, ResourceAddress)],
) -> Result<Surgery, SurgeryError> {
    let mut moves = Vec::new();
    let mut sources = BTreeMap::new();
    let mut targets = BTreeMap::new();
    for (from, to) in renames {
        let record = find(state, from)?;
        if from == to {
            return Err(refused(
                "nothing to move",
                format!("`{from}` has that address already."),
            ));
        }
        if from.resource_type != to.resource_type {
            return Err(refused(
                "type would change",
                format!("`{from}` cannot become `{to}`: an object keeps its type."),
            ));
        }
        if sources.insert(from, to).is_some() {
            return Err(refused(
                "moved twice",
                format!("`{from}` is moved to two addresses."),
            ));
        }
        if let Some(other) = targets.insert(to, from) {
            return Err(refused(
                "address taken twice",
                format!("`{other}` and `{from}` cannot both become `{to}`."),
            ));
        }
        moves.push(ObjectMove {
            uid: record.uid,
            from: from.clone(),
            to: to.clone(),
        });
    }
    for (to, from) in targets {
        if state.current(to).is_some() && !sources.contains_key(to) {
            return Err(SurgeryError {
                summary: "address taken",
                detail: format!("`{from}` cannot become `{to}`: another object has that address."),
                hint: Some(format!("gabion state show {to}")),
            });
        }
    }
    Ok(Surgery {
        event: EventBody::Moved { moves },
        notes: vec![
            "Give the resource its new name in the configuration too, or the next plan deletes it and makes another."
                .to_owned(),
        ],
    })
}

/// Marks the object at an address, so that the next plan replaces it.
///
/// # Errors
/// When nothing is recorded there, it is not ready, or the outcome of a call on it is not known.
pub fn taint(state: &State, address: &ResourceAddress) -> Result<Surgery, SurgeryError> {
    let record = idle(find(state, address)?)?;
    let why = match record.status {
        Status::Ready => {
            return Ok(Surgery {
                event: EventBody::Tainted { uid: record.uid },
                notes: Vec::new(),
            });
        }
        Status::Tainted => "it is tainted already.",
        Status::Incomplete | Status::Creating => "it is incomplete, and the next apply sees to it anyway.",
        Status::Deleting => "it is being deleted.",
    };
    let replace = matches!(record.status, Status::Incomplete | Status::Creating);
    Err(SurgeryError {
        summary: "cannot be tainted",
        detail: format!("`{address}` cannot be tainted: {why}"),
        hint: replace.then(|| format!("gabion apply --replace {address}")),
    })
}

/// Takes the mark of [`taint`] away.
///
/// # Errors
/// When nothing is recorded there, it is not tainted, or the outcome of a call on it is not known.
pub fn untaint(state: &State, address: &ResourceAddress) -> Result<Surgery, SurgeryError> {
    let record = idle(find(state, address)?)?;
    if record.status != Status::Tainted {
        return Err(refused("not tainted", format!("`{address}` is not tainted.")));
    }
    Ok(Surgery {
        event: EventBody::Untainted { uid: record.uid },
        notes: Vec::new(),
    })
}

fn refused(summary: &'static str, detail: String) -> SurgeryError {
    SurgeryError {
        summary,
        detail,
        hint: None,
    }
}

fn find<'a>(state: &'a State, address: &ResourceAddress) -> Result<&'a Record, SurgeryError> {
    if let Some(record) = state.current(address) {
        return Ok(record);
    }
    let deposed = state.deposed_records().find(|record| record.address == *address);
    if let Some(record) = deposed {
        return Err(SurgeryError {
            summary: "no such object",
            detail: format!(
                "Only an older object of `{address}` is recorded, which awaits deletion: {}.",
                record.uid
            ),
            hint: Some("gabion apply".to_owned()),
        });
    }
    let wanted = address.to_string();
    let known: Vec<String> = state
        .current_records()
        .map(|record| record.address.to_string())
        .collect();
    let near = did_you_mean(&wanted, known.iter().map(String::as_str));
    Err(SurgeryError {
        summary: "no such object",
        detail: format!("No object with the address `{address}` is recorded."),
        hint: Some(near.map_or_else(
            || "gabion state list".to_owned(),
            |near| format!("did you mean `{near}`?"),
        )),
    })
}

/// Refuses an object that a call was made on whose outcome is not known: that call's intent is all that leads to what
/// it may have left behind.
fn idle(record: &Record) -> Result<&Record, SurgeryError> {
    let Some(open) = &record.open else {
        return Ok(record);
    };
    Err(SurgeryError {
        summary: "a call has no known outcome",
        detail: format!(
            "A call on `{}` was begun at serial {} and its outcome is not recorded.",
            record.address, open.since
        ),
        hint: Some("gabion apply".to_owned()),
    })
}
