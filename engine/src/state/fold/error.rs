//! Why an event is refused.

use std::sync::Arc;

use crate::address::{ObjectId, OperationId, ResourceAddress, Uid};
use crate::state::record::Record;

/// Why an event cannot follow the state that it should change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// An event is missing or was written twice.
    #[error("event {found} cannot come after event {last}: {} was expected", last + 1)]
    Sequence {
        /// The last event folded.
        last: u64,
        /// The event that came.
        found: u64,
    },
    /// The log does not begin with its creation.
    #[error("the log does not begin with its creation")]
    NotCreated,
    /// The log was created already.
    #[error("the log was created a second time, by event {sequence}")]
    CreatedTwice {
        /// The second creation.
        sequence: u64,
    },
    /// The log's format is newer than this build of gabion.
    #[error("the log has format {found}, and this gabion knows formats up to {known}")]
    NewerFormat {
        /// The log's.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// The event was written under a lease that is not the newest one.
    #[error("the event's lease epoch, {found}, does not follow the log's, {current}")]
    Epoch {
        /// The log's.
        current: u64,
        /// The event's.
        found: u64,
    },
    /// The event names an object that is not recorded.
    #[error("no object has the uid {uid}")]
    UnknownObject {
        /// The uid.
        uid: Uid,
    },
    /// The event brings an object whose uid another one has or had.
    #[error("the uid {uid} of `{address}` is in use already")]
    UidTaken {
        /// The uid.
        uid: Uid,
        /// The new object's address.
        address: ResourceAddress,
    },
    /// The event would give an address to two objects.
    #[error("`{address}` is the address of another object, {uid}")]
    AddressTaken {
        /// The address.
        address: ResourceAddress,
        /// The object that has it.
        uid: Uid,
    },
    /// The object has a call whose result is not recorded.
    #[error("`{address}` has a call whose result is not recorded: {operation}")]
    CallOpen {
        /// The object's address.
        address: ResourceAddress,
        /// The call.
        operation: OperationId,
    },
    /// No call with this operation id is waiting for a result.
    #[error("no call {operation} is waiting for a result")]
    UnknownOperation {
        /// The operation id.
        operation: OperationId,
    },
    /// The operation id was used already.
    #[error("the operation id {operation} is in use already")]
    OperationTaken {
        /// The operation id.
        operation: OperationId,
    },
    /// The event does not fit the object or the call that it names.
    #[error("`{address}`: {reason}")]
    Contradiction {
        /// The object's address.
        address: ResourceAddress,
        /// Why, as the rest of a sentence.
        reason: String,
    },
    /// The log goes on in another store.
    #[error("the log goes on at {to}, and nothing is written here any more")]
    LogMoved {
        /// Where.
        to: Arc<str>,
    },
    /// The event does not fit the state.
    #[error("{reason}")]
    Unfit {
        /// Why, as a sentence.
        reason: &'static str,
    },
}

pub(super) fn contradiction(record: &Record, reason: impl Into<String>) -> FoldError {
    FoldError::Contradiction {
        address: record.address.clone(),
        reason: reason.into(),
    }
}

/// Refuses another id than the one that is known.
pub(super) fn same_id(record: &Record, id: &ObjectId) -> Result<(), FoldError> {
    match &record.id {
        Some(known) if known != id => Err(contradiction(
            record,
            format!("its id is `{known}`, and now it is said to be `{id}`"),
        )),
        _ => Ok(()),
    }
}
