//! What gabion and the agent on a machine say to each other.
//!
//! The agent does there what the providers do here: requests are the engine's own. Each has a number; what answers it
//! carries that number, so that many are under way at a time on one connection.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gabion_agent::metrics::Snapshot;
use gabion_engine::address::{Lineage, ObjectId, OperationId, ResourceAddress, Uid};
use gabion_engine::provider::{
    CreateRequest, DeleteRequest, ListRequest, Listed, ListedObject, ObjectState, Observation,
    ObserveRequest, ProviderError, ReadOutcome, ReadRequest, UpdateRequest,
};
use gabion_host::systemd::Sudo;
use gabion_host::unit::Exit;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::exposed::Exposed;
use crate::facts::Facts;

/// The protocol of this build.
///
/// | | |
/// | --- | --- |
/// | 4 | what an agent's gateways count |
/// | 3 | connections to ports, commands beside programs, and logs from a time on |
/// | 2 | a listing names what could not be asked |
/// | 1 | a listing is the objects alone |
pub const PROTOCOL: u32 = 4;

/// The oldest protocol that this build still speaks.
pub const OLDEST_PROTOCOL: u32 = 1;

/// Who asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The newest protocol that gabion speaks.
    pub(crate) protocol: u32,
    /// The project, for people.
    pub(crate) project: String,
    /// What the project calls the machine.
    pub(crate) machine: String,
    /// How root is become there; `None` means never. An agent that does not know of it never does.
    #[serde(default)]
    pub(crate) sudo: Option<Sudo>,
}

/// Who answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// The protocol that both speak.
    pub protocol: u32,
    /// The agent's version.
    pub version: String,
}

/// What gabion says.
#[derive(Serialize, Deserialize)]
pub(crate) enum ToAgent {
    Hello(Hello),
    Ask {
        id: u64,
        request: Request,
    },
    /// A checkpoint is durable, or is not; a piece of a log or of a stream has been taken.
    Acknowledge {
        id: u64,
        error: Option<ProviderError>,
    },
    /// Bytes of a stream; none of them at its end.
    Data {
        id: u64,
        bytes: Octets,
    },
    /// Nobody waits for the answer any more: end it soon.
    Cancel {
        id: u64,
    },
    /// Somebody is there.
    Ping,
}

/// What the agent says.
#[derive(Serialize, Deserialize)]
pub(crate) enum FromAgent {
    Welcome(Welcome),
    /// It does not speak the protocol; a sentence for people.
    Refused(String),
    Event {
        id: u64,
        event: Event,
    },
    Done {
        id: u64,
        result: Result<Answer, ProviderError>,
    },
    Pong,
}

/// What happens while a request is worked on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    Phase(String),
    Waiting(bool),
    /// To be made durable and acknowledged before it goes on.
    Checkpoint {
        id: ObjectId,
        private: serde_json::Value,
    },
    /// A piece of a log; the next one comes when it is acknowledged.
    Log(Vec<u8>),
    /// The connection is made, or the command runs.
    Opened,
    /// Bytes of a connection, or of a command's standard output; none of them at the end of a connection.
    Data(Octets),
    /// Bytes of a command's standard error.
    Errors(Octets),
    /// A piece of a stream has been taken.
    Taken,
}

/// Bytes that JSON has as a text.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Octets(pub(crate) Vec<u8>);

impl std::fmt::Debug for Octets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text.as_bytes());
        bytes.map(Self).map_err(serde::de::Error::custom)
    }
}

/// What is asked.
#[derive(Serialize, Deserialize)]
pub(crate) enum Request {
    Read(ReadRequest),
    Create(Exposed<CreateRequest>, Circumstances),
    Update(Exposed<UpdateRequest>, Circumstances),
    Delete(DeleteRequest, Circumstances),
    Observe(ObserveRequest),
    List(String, ListRequest),
    /// What the machine is.
    Facts,
    /// Takes away what gabion has put on the machine, if nothing of any project is left there.
    Leave,
    /// How programs are, by their units' uids.
    Units(Vec<String>),
    /// The last lines of a unit's log.
    Tail {
        unit: String,
        lines: usize,
    },
    /// A unit's log from a byte or else from its end on, for as long as it is asked for.
    Follow {
        unit: String,
        #[serde(default)]
        from: Option<u64>,
    },
    /// What is wanted of a unit's log: the last lines, or what was written so many milliseconds ago or later.
    Log {
        unit: String,
        lines: Option<usize>,
        since_milliseconds: Option<u64>,
    },
    /// A connection to a port of a unit's program.
    Dial {
        unit: String,
        port: u16,
    },
    /// A command beside a unit's program.
    Beside {
        unit: String,
        argv: Vec<String>,
    },
    /// What the gateways of an agent have counted, by the uid of its unit.
    Traffic {
        agent: String,
    },
}

/// What a call that changes something knows beside its request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Circumstances {
    pub(crate) operation: OperationId,
    pub(crate) uid: Uid,
    pub(crate) address: ResourceAddress,
    pub(crate) lineage: Lineage,
    pub(crate) epoch: u64,
    /// How long it may take from now: clocks differ.
    pub(crate) remaining_milliseconds: u64,
}

/// What is answered.
#[derive(Serialize, Deserialize)]
pub(crate) enum Answer {
    Read(Exposed<Vec<ReadOutcome>>),
    State(Exposed<ObjectState>),
    Deleted,
    Observed(Exposed<Observation>),
    Listed(ListedForm),
    Facts(Facts),
    /// What is left, if anything is.
    Left(Vec<String>),
    Units(Vec<UnitView>),
    Text(String),
    Log {
        text: String,
        is_timed: bool,
        end: Option<u64>,
    },
    /// The connection is at its end.
    Closed,
    /// The command has ended.
    Ended(Exit),
    Traffic(Box<Snapshot>),
}

/// A listing, as the two protocols have it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum ListedForm {
    Whole(Listed),
    /// Protocol 1.
    Objects(Vec<ListedObject>),
}

impl ListedForm {
    /// Returns a listing as a protocol has it.
    pub(crate) fn of(listed: Listed, protocol: u32) -> Self {
        match protocol {
            ..=1 => Self::Objects(listed.objects),
            _ => Self::Whole(listed),
        }
    }
}

impl From<ListedForm> for Listed {
    fn from(form: ListedForm) -> Self {
        match form {
            ListedForm::Whole(listed) => listed,
            ListedForm::Objects(objects) => objects.into(),
        }
    }
}

/// How a program on a machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitView {
    /// `running`, `exited`, `never started`, `gone` and the like.
    pub status: String,
    /// The status in one word, for programs.
    pub state: String,
    /// Whether it runs.
    pub running: bool,
    /// Whether it is as it should be: it runs, or it was meant to end and did.
    pub good: bool,
    /// How it ended, if it did and that is known.
    pub exit: Option<Exit>,
    /// When it ended, if it did and that is known.
    pub ended_at: Option<String>,
    /// Its process.
    pub pid: Option<i32>,
    /// How long it has run, in seconds.
    pub uptime_seconds: Option<u64>,
    /// How often it was started again since its launch; `None` when nobody can tell.
    pub restarts: Option<u32>,
    /// Why its machine could not be asked.
    #[serde(skip)]
    pub unreachable: Option<String>,
}

impl UnitView {
    /// A program whose unit is not there.
    #[must_use]
    pub fn gone() -> Self {
        Self::unknown("gone", "gone")
    }

    /// A program on a machine that cannot be reached.
    #[must_use]
    pub fn unreachable(why: String) -> Self {
        Self {
            unreachable: Some(why),
            ..Self::unknown("machine away", "unreachable")
        }
    }

    pub(crate) fn unknown(status: impl Into<String>, state: &str) -> Self {
        Self {
            status: status.into(),
            state: state.to_owned(),
            ..Self::default()
        }
    }
}

/// Where gabion's things are on a machine.
#[derive(Clone, Debug)]
pub struct Directories {
    /// Units and fences; on a machine that is not gabion's own, everything that goes when gabion leaves it.
    pub root: PathBuf,
    /// The port registry.
    pub ports: PathBuf,
    /// Packages; below the root unless the machine's own settings say otherwise.
    pub cache: PathBuf,
}
