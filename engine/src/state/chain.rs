//! The hash chain: each event's hash covers its canonical bytes and the hash before it.
//!
//! An altered, missing or reordered event changes every hash after it, so the last hash stands for the whole log.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::form::in_first_form;
use crate::state::event::Event;

/// An event as a store keeps it: the bytes that were written, and the hash that chains them to those before.
///
/// The bytes are kept beside the event because a later version of gabion may write the same event otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct ChainedEvent {
    /// The event.
    pub event: Event,
    /// Its canonical bytes, as written.
    pub encoded: Arc<[u8]>,
    /// Its hash, in hexadecimal.
    pub hash: Arc<str>,
}

impl ChainedEvent {
    /// Chains an event to the hash before it (empty for the first).
    pub fn new(previous: &str, event: Event) -> Self {
        let encoded = encode(&event);
        Self {
            hash: link(previous, &encoded),
            encoded: encoded.into(),
            event,
        }
    }

    /// Reads an event from its bytes. Whether the hash is right is [`verify`]'s to say.
    ///
    /// # Errors
    /// When the bytes are no event.
    pub fn read(encoded: impl Into<Arc<[u8]>>, hash: impl Into<Arc<str>>) -> Result<Self, serde_json::Error> {
        let encoded = encoded.into();
        Ok(Self {
            event: serde_json::from_slice(&encoded)?,
            encoded,
            hash: hash.into(),
        })
    }
}

/// A place where a chain of events does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// An event is missing or in the wrong place.
    #[error("event {expected} is missing: event {found} stands in its place")]
    Gap {
        /// The sequence number that should come.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// An event is not the one that was written.
    #[error("event {sequence} was altered: its hash is {recorded} and should be {computed}")]
    Altered {
        /// Its sequence number.
        sequence: u64,
        /// The hash beside it.
        recorded: Arc<str>,
        /// The hash of what it says.
        computed: Arc<str>,
    },
}

/// Returns the canonical bytes of an event: JSON without white space, fields in the order of their declaration, maps by
/// key. Reading them back and writing them again gives the same bytes, but for events of format 1.
pub fn encode(event: &Event) -> Vec<u8> {
    serde_json::to_vec(event).expect("an event has only text keys and finite numbers")
}

/// Returns the bytes of an event that its hash covers: its canonical ones, or those that format 1 gives it. Where neither
/// fits, its canonical ones, for whoever checks the chain to refuse.
pub(crate) fn encode_for(previous: &str, event: &Event, hash: &str) -> Vec<u8> {
    let encoded = encode(event);
    if *link(previous, &encoded) != *hash {
        let first = in_first_form(|| encode(event));
        if *link(previous, &first) == *hash {
            return first;
        }
    }
    encoded
}

/// Returns the hash of an event's canonical bytes, chained to the hash before it (empty for the first), in hexadecimal.
pub fn link(previous: &str, encoded: &[u8]) -> Arc<str> {
    let mut hash = Sha256::new();
    hash.update(b"gabion event 1\n");
    hash.update(previous.as_bytes());
    hash.update(b"\n");
    hash.update(encoded);
    hex::encode(hash.finalize()).into()
}

/// Checks that events follow each other without a gap and that each has the hash that it should have.
///
/// `sequence` and `hash` are those of the event before the first one: 0 and empty at the log's start. Returns the last
/// hash.
///
/// # Errors
/// The first place where the chain does not hold.
pub fn verify<'a>(
    mut sequence: u64,
    hash: &str,
    events: impl IntoIterator<Item = &'a ChainedEvent>,
) -> Result<Arc<str>, ChainError> {
    let mut hash: Arc<str> = hash.into();
    for ChainedEvent {
        event,
        encoded,
        hash: recorded,
    } in events
    {
        if event.sequence != sequence + 1 {
            return Err(ChainError::Gap {
                expected: sequence + 1,
                found: event.sequence,
            });
        }
        let computed = link(&hash, encoded);
        if computed != *recorded {
            return Err(ChainError::Altered {
                sequence: event.sequence,
                recorded: recorded.clone(),
                computed,
            });
        }
        sequence = event.sequence;
        hash = computed;
    }
    Ok(hash)
}
