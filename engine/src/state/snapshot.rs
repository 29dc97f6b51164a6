//! The state: what folding the log's events gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::{Lineage, OperationId, ResourceAddress, RunId, Uid};
use crate::state::event::RunStarted;
use crate::state::record::{OpenCall, Record};
use crate::value::Value;

/// All recorded objects, and where the log stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
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
    /// Every record, by uid.
    pub(crate) records: BTreeMap<Uid, Record>,
    /// The current (not deposed) object of each address.
    pub(crate) current: BTreeMap<ResourceAddress, Uid>,
    /// Creations that were settled as absent, and may still turn up late.
    pub tombstones: BTreeMap<OperationId, Tombstone>,
    /// The project's outputs, sealed.
    pub outputs: BTreeMap<Arc<str>, Value>,
    /// The last run that started, for resuming the same plan.
    pub last_run: Option<LastRun>,
}

/// A creation that was settled as absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The uid that the object would have.
    pub uid: Uid,
    /// Its address.
    pub address: ResourceAddress,
    /// When it was settled, by the writer's clock. Later runs look for it for 24 hours.
    pub at: Timestamp,
}

/// The last run that started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastRun {
    /// Its identifier.
    pub run: RunId,
    /// What it was.
    pub started: RunStarted,
    /// Whether it ended by itself.
    pub finished: bool,
}

impl State {
    /// Returns a record by its uid.
    pub fn record(&self, uid: Uid) -> Option<&Record> {
        self.records.get(&uid)
    }

    /// Returns the record of the object that has an address now.
    pub fn current(&self, address: &ResourceAddress) -> Option<&Record> {
        self.records.get(self.current.get(address)?)
    }

    /// Returns all records, by uid, deposed ones included.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Returns the records of objects that have an address now, by address.
    pub fn current_records(&self) -> impl Iterator<Item = &Record> {
        self.current.values().filter_map(|uid| self.records.get(uid))
    }

    /// Returns the records of deposed objects, by uid.
    pub fn deposed_records(&self) -> impl Iterator<Item = &Record> {
        self.records.values().filter(|record| record.deposed)
    }

    /// Returns every call whose result is not recorded, with its record.
    pub fn open_calls(&self) -> impl Iterator<Item = (&Record, &OpenCall)> {
        self.records
            .values()
            .filter_map(|record| record.open.as_ref().map(|open| (record, open)))
    }

    /// Returns whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}
