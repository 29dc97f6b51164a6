//! The events of the log. Records are what folding them gives; nothing else changes a record.
//!
//! Every write to the state is one of these. An event carries a hash chained to the previous one, so that a log that
//! lost or altered an event shows it. What an event has in common with the one before it is not said again, and folding
//! knows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::{Lineage, ObjectId, OperationId, ResourceAddress, RunId, Uid};
use crate::form::is_left_out;
use crate::provider::{CallAction, ObjectState, Observation, ProviderError};
use crate::state::record::{Declaration, Record};
use crate::state::snapshot::State;
use crate::value::Attributes;

/// One event of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its number, from 1 without gaps. The last one's is the serial that people see.
    pub sequence: u64,
    /// When it was written, by the writer's clock. For people; all that is decided by it is how long an object that was
    /// made then is looked for.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The run that wrote it; `None` for the one that wrote the event before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The lease epoch under which it was written, 0 for the log's creation; `None` for that of the event before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// What happened.
    pub body: EventBody,
}

/// Who writes an event, and under which lease epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writer {
    /// The run.
    pub run: RunId,
    /// The epoch.
    pub epoch: u64,
}

impl Event {
    /// Returns the event that follows a state, to the millisecond. It says of its writer what the event before does not.
    pub fn after(state: &State, writer: Writer, at: Timestamp, body: EventBody) -> Self {
        let run = (state.run.0 != Some(writer.run)).then_some(writer.run);
        let epoch = (state.epoch != writer.epoch).then_some(writer.epoch);
        Self {
            sequence: state.serial + 1,
            at: to_the_millisecond(at),
            run,
            epoch,
            body,
        }
    }
}

/// Returns the moment without what is finer than a millisecond.
fn to_the_millisecond(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventBody {
    /// The log was created.
    Created(Created),
    /// A run took the lease.
    LeaseTaken {
        /// Who holds it.
        holder: Holder,
    },
    /// A run gave the lease back without having finished.
    LeaseReleased,
    /// A run began to carry out a plan, or another command that writes. If it says the host, the run took the lease with
    /// it.
    RunStarted(RunStarted),
    /// A run ended by itself. It writes nothing more: no `lease_released` follows.
    RunFinished {
        /// How many changes were done, failed, skipped and left uncertain; what there is none of is not said.
        summary: BTreeMap<Arc<str>, u64>,
    },
    /// A call that changes the world is about to be made.
    Intent(Intent),
    /// A call's object has an id.
    Checkpoint {
        /// The call.
        operation: OperationId,
        /// The id.
        id: ObjectId,
        /// Data that only the provider reads.
        #[serde(default)]
        private: serde_json::Value,
    },
    /// A call succeeded. A deletion leaves no state.
    Succeeded {
        /// The call.
        operation: OperationId,
        /// The object as it is now, sealed; `None` after a deletion.
        #[serde(default, skip_serializing_if = "is_left_out")]
        state: Option<ObjectState>,
        /// What the configuration now says about it; `None` leaves it as it was or as the intent has it.
        #[serde(default, skip_serializing_if = "is_left_out")]
        declaration: Option<Arc<Declaration>>,
    },
    /// A call failed, or its answer was lost.
    Failed {
        /// The call.
        operation: OperationId,
        /// Why, and what it may have done.
        error: ProviderError,
    },
    /// An observation settled a call whose result was not recorded.
    Settled {
        /// The call.
        operation: OperationId,
        /// What was found. Never `Unknown`: such a call stays open.
        observation: Observation,
    },
    /// An object turned up whose creation had been settled as absent. It is recorded again, as incomplete: at its
    /// address when that is free, else as deposed.
    TurnedUp {
        /// The creation.
        operation: OperationId,
        /// The record that it had.
        record: Box<Record>,
        /// What was found, sealed.
        state: ObjectState,
    },
    /// An object that was recorded is proved to be gone.
    Vanished {
        /// The object.
        uid: Uid,
    },
    /// An object was deleted together with the one that holds it, without a call of its own.
    DeletedWith {
        /// The object.
        uid: Uid,
        /// The object whose deletion takes it along.
        with: Uid,
    },
    /// Addresses of objects changed, all at once: chains and swaps are one event.
    Moved {
        /// Each object with its new address.
        moves: Vec<ObjectMove>,
    },
    /// An object is no longer managed. It goes on existing.
    Forgotten {
        /// The object.
        uid: Uid,
    },
    /// An existing object came under management.
    Imported {
        /// Its record.
        record: Box<Record>,
    },
    /// Records were made again for objects that were found by their marks, after the log lost its end or the whole of
    /// itself.
    Rebuilt {
        /// The records, incomplete.
        records: Vec<Record>,
        /// Recorded objects of which it is not known what happened to them since: they are incomplete now.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        doubted: Vec<Uid>,
    },
    /// A record of an older schema version was brought to the provider's present one.
    Upgraded {
        /// The object.
        uid: Uid,
        /// The record in its new form.
        upgrade: Box<RecordUpgrade>,
    },
    /// What the configuration says about an object changed, without a call.
    Declared {
        /// The object.
        uid: Uid,
        /// What it says now.
        declaration: Arc<Declaration>,
    },
    /// A difference between record and world was accepted: the record now says what the world says.
    Accepted {
        /// The object.
        uid: Uid,
        /// Its attributes as read, sealed.
        attributes: Attributes,
    },
    /// A person marked an object for replacement.
    Tainted {
        /// The object.
        uid: Uid,
    },
    /// A person took such a mark away.
    Untainted {
        /// The object.
        uid: Uid,
    },
    /// The project's outputs are now these, sealed.
    OutputsSet {
        /// By name.
        outputs: Attributes,
    },
    /// The log goes on in another store. Here nothing may follow: who still writes to this store is told where it went.
    LogMoved {
        /// Where it goes on: a path, or a URL without credentials.
        to: Arc<str>,
    },
    /// The log goes on here. It follows a `log_moved` that came along with the log.
    LogArrived {
        /// Where it was before.
        from: Arc<str>,
    },
    /// Objects are on their way into another log. Until each is forgotten here or `staying`, no
    /// call may be made on it.
    Leaving {
        /// The objects.
        uids: Vec<Uid>,
        /// The log that takes them in.
        to: Destination,
    },
    /// Objects that were on their way into another log, and were not taken in there, stay.
    Staying {
        /// The objects.
        uids: Vec<Uid>,
    },
}

/// The log that an object is on its way to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Destination {
    /// Its lineage.
    pub lineage: Lineage,
    /// Its stack's name; empty for none.
    pub stack: Arc<str>,
}

/// The first event of every log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Created {
    /// The version of the log's format.
    pub format_version: u32,
    /// The state's identifier for life.
    pub lineage: Lineage,
    /// The project's name when it was created.
    pub project: Arc<str>,
}

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// The user's name, or the CI run's URL.
    pub who: String,
    /// The host's name.
    pub host: String,
    /// The process, when it runs on a host whose processes can be looked at. The lease has it; the log does not.
    #[serde(default, skip_serializing_if = "is_left_out")]
    pub process: Option<ProcessIdentity>,
    /// The command: `apply`, `destroy`, `state mv`.
    pub operation: String,
}

impl EventBody {
    /// Returns whether the lease is taken with this event.
    pub fn takes_lease(&self) -> bool {
        match self {
            Self::LeaseTaken { .. } => true,
            Self::RunStarted(started) => started.host.is_some(),
            _ => false,
        }
    }

    /// Returns whether this is the last event of its writer.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::RunFinished { .. } | Self::LeaseReleased)
    }
}

impl Holder {
    /// Returns what the log keeps of it: what says whether a process still runs is for the lease.
    #[must_use]
    pub fn for_log(&self) -> Self {
        Self {
            process: None,
            ..self.clone()
        }
    }
}

/// What makes a process the same one: its id alone is used again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ProcessIdentity {
    /// The process id.
    pub pid: u32,
    /// When it started, in clock ticks since boot, from `/proc/PID/stat`.
    pub start_time: u64,
    /// The boot that it runs in, from `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The namespace that its id counts in, from `/proc/PID/ns/pid`: the same id is another process in a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<String>,
}

/// The start of a run that writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunStarted {
    /// The command.
    pub operation: String,
    /// Who ran it.
    pub who: String,
    /// The host's name, of a run that takes the lease with this event; `None` when it was taken before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Arc<str>>,
    /// The digest of the plan that it carries out, if it does.
    #[serde(default, skip_serializing_if = "is_left_out")]
    pub plan: Option<Arc<str>>,
    /// The commit of the configuration, if it is in a git checkout.
    #[serde(default, skip_serializing_if = "is_left_out")]
    pub commit: Option<Arc<str>>,
}

/// A call that changes the world and is about to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Intent {
    /// The call's idempotency key.
    pub operation: OperationId,
    /// What is to be done.
    pub action: CallAction,
    /// The object; of a creation, one that no earlier event names.
    pub uid: Uid,
    /// Its address.
    pub address: ResourceAddress,
    /// The inputs, wholly known, sealed; none for a deletion, which has those that the object was made with.
    #[serde(default, skip_serializing_if = "is_left_out")]
    pub inputs: Attributes,
    /// What the configuration says about it, of a creation; `None` for others.
    #[serde(default, skip_serializing_if = "is_left_out")]
    pub declaration: Option<Arc<Declaration>>,
    /// The object whose address this one takes, which becomes deposed in this very event.
    #[serde(default, skip_serializing_if = "is_left_out")]
    pub deposes: Option<Uid>,
    /// The plan that asked for it, by its digest. Not said is the plan that the run carries out, and null none at all.
    #[serde(default, rename = "plan", skip_serializing_if = "is_left_out")]
    #[schemars(with = "Option<String>")]
    pub asked_by: AskedBy,
    /// The number of the plan's step.
    pub step: u32,
}

/// Which plan asked for a call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Option<Arc<str>>", into = "Option<Arc<str>>")]
pub enum AskedBy {
    /// The one that its run carries out, if it does.
    #[default]
    Run,
    /// The one with this digest, or none; what an event of format 1 always says.
    Digest(Option<Arc<str>>),
}

impl From<Option<Arc<str>>> for AskedBy {
    fn from(digest: Option<Arc<str>>) -> Self {
        Self::Digest(digest)
    }
}

impl From<AskedBy> for Option<Arc<str>> {
    fn from(asked_by: AskedBy) -> Self {
        match asked_by {
            AskedBy::Run => None,
            AskedBy::Digest(digest) => digest,
        }
    }
}

/// A record in a newer schema version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordUpgrade {
    /// The version that it had.
    pub from: u32,
    /// The version that it has now.
    pub to: u32,
    /// Its inputs, sealed.
    pub inputs: Attributes,
    /// Its attributes, sealed.
    pub attributes: Attributes,
    /// Data that only the provider reads.
    #[serde(default)]
    pub private: serde_json::Value,
}

/// One object's new address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectMove {
    /// The object.
    pub uid: Uid,
    /// Where it was.
    pub from: ResourceAddress,
    /// Where it is now.
    pub to: ResourceAddress,
}
