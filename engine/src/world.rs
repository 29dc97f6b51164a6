//! What gathering found: everything about the real world that a plan may depend on.
//!
//! A plan is a pure function of documents, state and one of these; it is serialisable so that a plan can be made again
//! from the same three, byte for byte.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::{OperationId, ProviderName, ResourceAddress, Uid};
use crate::provider::{ListedObject, ObjectState, Observation, ReadOutcome};
use crate::state::State;
use crate::state::event::Holder;
use crate::value::Value;

/// What gathering found. Secrets in it are sealed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct World {
    /// When it was gathered.
    pub gathered_at: Timestamp,
    /// How much was read.
    pub refresh: Refresh,
    /// What reading each recorded object gave; those not read are missing.
    pub objects: BTreeMap<Uid, ReadOutcome>,
    /// What observing each call without a recorded result gave; also creations that had been given up as absent and
    /// whose object turned up after all.
    pub observations: BTreeMap<OperationId, Observation>,
    /// The objects that are to be imported, by the address they get; an error is a sentence for people.
    pub imports: BTreeMap<ResourceAddress, Result<ObjectState, String>>,
    /// Each provider's facts.
    pub facts: BTreeMap<ProviderName, BTreeMap<String, Value>>,
    /// Objects that carry the project's mark and are in no record; gathered for drift only.
    pub unmanaged: Vec<ListedObject>,
    /// What could not be asked for such objects, sorted; gathered for drift only.
    #[serde(default)]
    pub unasked: Vec<NotAsked>,
    /// The live lease, if somebody holds one: calls without a result are then in flight, not lost.
    pub lease: Option<Holder>,
}

/// A part of the world that could not be asked for objects with the project's mark.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NotAsked {
    /// Which, as people know it.
    pub part: String,
    /// Why, as a sentence.
    pub why: String,
    /// Whose objects may be there.
    pub providers: BTreeSet<ProviderName>,
}

/// How much of the world is read before planning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refresh {
    /// Every recorded object.
    #[default]
    Full,
    /// Objects that the configuration changes, and those whose status is not ready.
    Minimal,
    /// None but those whose status is not ready: they must never be relied on unread.
    None,
}

impl World {
    /// Returns a world in which only the records were looked at: no provider was asked anything. What must never be relied
    /// on unread cannot be told.
    pub fn recorded(state: &State, lease: Option<Holder>, gathered_at: Timestamp) -> Self {
        let unreliable = state
            .records()
            .filter(|record| record.open.is_none() && record.status.must_be_read());
        let reason = "An earlier run did not finish it, and nothing is read for a plan of somebody who is not trusted.";
        let objects = unreliable.map(|record| {
            let reason = reason.to_owned();
            (record.uid, ReadOutcome::CannotTell { reason })
        });
        Self {
            objects: objects.collect(),
            lease,
            ..Self::unread(gathered_at)
        }
    }

    /// Returns a world in which nothing was looked at.
    pub fn unread(gathered_at: Timestamp) -> Self {
        Self {
            gathered_at,
            refresh: Refresh::None,
            objects: BTreeMap::new(),
            observations: BTreeMap::new(),
            imports: BTreeMap::new(),
            facts: BTreeMap::new(),
            unmanaged: Vec::new(),
            unasked: Vec::new(),
            lease: None,
        }
    }
}
