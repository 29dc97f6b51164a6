//! The state: what folding the log's events gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::{Lineage, OperationId, ResourceAddress, RunId, Uid};
use crate::state::event::{Destination, RunStarted};
use crate::state::map::SharedMap;
use crate::state::record::{OpenCall, Record};
use crate::value::Attributes;

/// All recorded objects, and where the log stands.
///
/// A copy costs next to nothing: it shares with the original whatever neither changes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(into = "WrittenState", try_from = "WrittenState")]
pub struct State {
    /// The identifier for life; `None` before the log is created.
    pub lineage: Option<Lineage>,
    /// The project's name when the log was created.
    pub project: Arc<str>,
    /// The sequence number of the last event: the serial that people see. 0 before the log is created.
    pub serial: u64,
    /// The hash of the last event, in hexadecimal; empty before the log is created.
    pub chain: Arc<str>,
    /// The highest lease epoch seen.
    pub epoch: u64,
    /// The run that wrote the last event.
    pub run: LastWriter,
    /// Every record, by uid.
    pub(crate) records: SharedMap<Uid, Arc<Record>>,
    /// The current (not deposed) object of each address.
    pub(crate) current: SharedMap<ResourceAddress, Uid>,
    /// The object of each call whose result is not recorded.
    pub(crate) open: SharedMap<OperationId, Uid>,
    /// Creations that were settled as absent, and may still turn up late.
    pub tombstones: BTreeMap<OperationId, Tombstone>,
    /// For each address, the one from which the object there was moved last: `moved` documents may stay after they were
    /// carried out, and a swap must not be carried out twice.
    pub moved: BTreeMap<ResourceAddress, ResourceAddress>,
    /// The project's outputs, sealed.
    pub outputs: Attributes,
    /// The last run that started, for resuming the same plan.
    pub last_run: Option<LastRun>,
    /// Where the log goes on, when it is not in this store any more.
    pub moved_to: Option<Arc<str>>,
    /// Objects that are on their way into another log.
    pub leaving: BTreeMap<Uid, Destination>,
}

/// A creation that was settled as absent.
///
/// Two are equal when nothing in them differs: the record, which earlier versions did not keep, follows from the log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Tombstone {
    /// The uid that the object would have.
    pub uid: Uid,
    /// Its address.
    pub address: ResourceAddress,
    /// When it was settled, by the writer's clock. Later runs look for it for 24 hours.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The record that it had, without its call: all that it takes to read, adopt or delete what turns up after all.
    /// `None` in logs of earlier versions; such an object is only reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Arc<Record>>,
}

/// For how long what a call may still make is looked for.
const SOUGHT: SignedDuration = SignedDuration::from_hours(24);

impl PartialEq for Tombstone {
    fn eq(&self, other: &Self) -> bool {
        let records = match (&self.record, &other.record) {
            (Some(record), Some(other)) => record == other,
            (None, _) | (_, None) => true,
        };
        records && (self.uid, &self.address, self.at) == (other.uid, &other.address, other.at)
    }
}

impl Tombstone {
    /// Returns whether what the call was to make is still looked for. One that was settled by a clock that is ahead is.
    pub fn is_sought(&self, now: Timestamp) -> bool {
        now.duration_since(self.at) < SOUGHT
    }
}

/// The last run that started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LastRun {
    /// Its identifier.
    pub run: RunId,
    /// What it was.
    pub started: RunStarted,
    /// Whether it ended by itself.
    pub finished: bool,
}

/// The run that wrote the last event of a log; `None` before there is one, and in states of earlier versions.
///
/// It follows from the log, so a state without it is the same as one with it.
#[derive(Debug, Clone, Copy, Default)]
pub struct LastWriter(pub Option<RunId>);

impl PartialEq for LastWriter {
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (Some(run), Some(other)) => run == other,
            _ => true,
        }
    }
}

/// Where a log stands: which one, how far, and the hash that proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The log's identifier for life.
    pub lineage: Lineage,
    /// The sequence number of the last event.
    pub sequence: u64,
    /// The hash of the last event, in hexadecimal.
    pub chain: Arc<str>,
    /// How many objects are recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<usize>,
}

impl State {
    /// Puts a state together from its records and what is beside them.
    ///
    /// # Errors
    /// When two records contradict each other, with a sentence that names them.
    pub fn from_parts(parts: StateParts, records: impl IntoIterator<Item = Record>) -> Result<Self, String> {
        let StateParts {
            lineage,
            project,
            serial,
            chain,
            epoch,
            run,
            tombstones,
            moved,
            outputs,
            last_run,
            moved_to,
            leaving,
        } = parts;
        let mut state = Self {
            lineage,
            project,
            serial,
            chain,
            epoch,
            run: LastWriter(run),
            tombstones,
            moved,
            outputs,
            last_run,
            moved_to,
            leaving,
            ..Self::default()
        };
        for mut record in records {
            record.share();
            let uid = record.uid;
            if state.records.contains_key(&uid) {
                return Err(format!("two records have the uid {uid}"));
            }
            if !record.deposed {
                if let Some(other) = state.current.get(&record.address) {
                    return Err(format!(
                        "the objects {other} and {uid} both have the address `{}`",
                        record.address
                    ));
                }
                state.current.insert(record.address.clone(), uid);
            }
            if let Some(open) = &record.open {
                if let Some(other) = state.open.get(&open.operation) {
                    return Err(format!(
                        "the objects {other} and {uid} both have the open call {}",
                        open.operation
                    ));
                }
                state.open.insert(open.operation, uid);
            }
            if record.changed_at > state.serial {
                return Err(format!(
                    "`{}` changed at serial {}, which is after the last event, {}",
                    record.address, record.changed_at, state.serial
                ));
            }
            state.records.insert(uid, Arc::new(record));
        }
        Ok(state)
    }

    /// Returns what is beside the records.
    pub fn parts(&self) -> StateParts {
        StateParts {
            lineage: self.lineage,
            project: self.project.clone(),
            serial: self.serial,
            chain: self.chain.clone(),
            epoch: self.epoch,
            run: self.run.0,
            tombstones: self.tombstones.clone(),
            moved: self.moved.clone(),
            outputs: self.outputs.clone(),
            last_run: self.last_run.clone(),
            moved_to: self.moved_to.clone(),
            leaving: self.leaving.clone(),
        }
    }

    /// Returns where the log stands; `None` before it is created.
    pub fn head(&self) -> Option<Head> {
        Some(Head {
            lineage: self.lineage?,
            sequence: self.serial,
            chain: self.chain.clone(),
            objects: Some(self.records.len()),
        })
    }

    /// Returns a record by its uid.
    pub fn record(&self, uid: Uid) -> Option<&Record> {
        self.records.get(&uid).map(Arc::as_ref)
    }

    /// Returns the record of the object that has an address now.
    pub fn current(&self, address: &ResourceAddress) -> Option<&Record> {
        self.record(*self.current.get(address)?)
    }

    /// Returns all records, by uid, deposed ones included.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values().map(Arc::as_ref)
    }

    /// Returns the records of objects that have an address now, by address.
    pub fn current_records(&self) -> impl Iterator<Item = &Record> {
        self.current.values().filter_map(|uid| self.record(*uid))
    }

    /// Returns the records of deposed objects, by uid.
    pub fn deposed_records(&self) -> impl Iterator<Item = &Record> {
        self.records().filter(|record| record.deposed)
    }

    /// Returns the record whose call has this operation id and no recorded result.
    pub fn open_call(&self, operation: OperationId) -> Option<&Record> {
        self.record(*self.open.get(&operation)?)
    }

    /// Returns every call whose result is not recorded, with its record, by operation id.
    pub fn open_calls(&self) -> impl Iterator<Item = (&Record, &OpenCall)> {
        self.open
            .values()
            .filter_map(|uid| self.record(*uid))
            .filter_map(|record| record.open.as_deref().map(|open| (record, open)))
    }

    /// Returns how many objects are recorded, deposed ones included.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// What a [`State`] has beside its records.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StateParts {
    /// The identifier for life; none before the log is created.
    pub lineage: Option<Lineage>,
    /// The project's name when the log was created.
    pub project: Arc<str>,
    /// The sequence number of the last event.
    pub serial: u64,
    /// The hash of the last event, in hexadecimal.
    pub chain: Arc<str>,
    /// The highest lease epoch seen.
    pub epoch: u64,
    /// The run that wrote the last event; earlier versions did not keep it, and each of their events says its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Creations that were settled as absent, and may still turn up late.
    #[serde(default)]
    pub tombstones: BTreeMap<OperationId, Tombstone>,
    /// For each address, the one from which the object there was moved last.
    #[serde(default)]
    pub moved: BTreeMap<ResourceAddress, ResourceAddress>,
    /// The project's outputs, sealed.
    #[serde(default)]
    pub outputs: Attributes,
    /// The last run that started.
    #[serde(default)]
    pub last_run: Option<LastRun>,
    /// Where the log goes on, when it is not in this store any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_to: Option<Arc<str>>,
    /// Objects that are on their way into another log.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub leaving: BTreeMap<Uid, Destination>,
}

/// A state as it is written.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "State")]
pub(super) struct WrittenState {
    #[serde(flatten)]
    parts: StateParts,
    /// Every record, by uid.
    records: Vec<Record>,
}

impl From<State> for WrittenState {
    fn from(state: State) -> Self {
        Self {
            parts: state.parts(),
            records: state.records().cloned().collect(),
        }
    }
}

impl TryFrom<WrittenState> for State {
    type Error = String;

    fn try_from(written: WrittenState) -> Result<Self, String> {
        Self::from_parts(written.parts, written.records)
    }
}
