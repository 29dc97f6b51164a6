//! The seam to where a state lives: the log, the records that it gives, and the lease.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::RunId;
use crate::state::chain::ChainedEvent;
use crate::state::copy::LogCopy;
use crate::state::envelope::EnvelopeError;
use crate::state::event::{Created, Event, EventBody, Holder, Writer};
use crate::state::fold::FoldError;
use crate::state::folded::Folded;
use crate::state::snapshot::{Head, State};

/// Where a state lives.
///
/// # The contract
/// * A store never invents: what was never created is [`StoreError::NotFound`], and what is there but cannot be read
///   whole is [`StoreError::Unreadable`]. It never answers either with an empty state.
/// * [`append`](StateStore::append) is atomic and durable: when it returns, the events and the head are on stable
///   storage, all or none, and whoever loads gets the records that they give. It succeeds only while the lease epoch and the head are those that the
///   request names, so that of two writers at most one succeeds. It folds the events and refuses illegal ones.
/// * An append whose answer is lost may have happened. Its caller stops writing, and the next one loads.
/// * Loading, reading events and looking at the lease take no lease and disturb no writer; what they return is a state
///   that some append left behind, never half of one.
/// * The lease knows no clock. A holder renews it, an observer watches whether it does, and
///   [`take_lease`](StateStore::take_lease) replaces exactly the lease that the observer saw, or nothing. When one may
///   be replaced is decided in [`lease`](crate::state::lease), the same for every store.
/// * Epochs only grow, also across releases and a lease that was lost.
/// * A format newer than this build's is [`StoreError::NewerFormat`] from every method that reads or writes.
/// * Dropping a future that a method returned may leave its work running to its end; nothing is left half done.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// Creates the log with its first event.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is one already: of two callers at once, one gets this.
    async fn create(&self, request: CreateRequest) -> Result<Head, StoreError>;

    /// Returns the state as the last append left it.
    async fn load(&self) -> Result<Loaded, StoreError>;

    /// Appends events, all or none.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when the lease is not the caller's, [`StoreError::Moved`] when the log has moved on,
    /// [`StoreError::Illegal`] when an event contradicts the state: nothing was written then. After any other error the
    /// events may or may not have been written.
    async fn append(&self, request: AppendRequest) -> Result<Head, StoreError>;

    /// Appends events that are folded already, all or none, as [`append`](Self::append) does.
    ///
    /// A store that implements it neither folds nor hashes them again: they prove that they fit the state that they
    /// follow, and the store that its log ends there, with the same hash.
    ///
    /// # Errors
    /// As those of [`append`](Self::append).
    async fn append_folded(&self, epoch: u64, folded: Arc<Folded>) -> Result<Head, StoreError> {
        self.append(AppendRequest::of(epoch, &folded)).await
    }

    /// Returns what appends on the calling thread, for a store whose work is the thread's own and no waiting for others'
    /// answers: a thread that has nothing else to do then saves the way to another one and back.
    fn on_this_thread(&self) -> Option<Arc<dyn AppendHere>> {
        None
    }

    /// Returns up to `limit` events after the one with the sequence number `after` (0: from the start), in order.
    ///
    /// Events that compaction dropped are left out: the first one returned says where the kept history starts. Who wrote an
    /// event is known from the state that it follows where it does not say so itself.
    async fn events(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, StoreError>;

    /// Returns the state that the kept history starts from: empty unless compaction dropped events.
    async fn base(&self) -> Result<State, StoreError>;

    /// Drops history up to and including the event with the sequence number `up_to`, keeping the state it gave as the
    /// base that the kept events chain to. Returns how many events were dropped.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when the lease is not the caller's.
    async fn compact(&self, epoch: u64, up_to: u64) -> Result<u64, StoreError>;

    /// Writes again what is not kept under the current encryption key, history included, and returns how many pieces of
    /// content that were. A store that encrypts nothing has nothing to do.
    ///
    /// What it was interrupted in can be read all the same, and is finished by the next one.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when the lease is not the caller's.
    async fn reseal(&self, epoch: u64) -> Result<u64, StoreError> {
        let _ = epoch;
        Ok(0)
    }

    /// Makes the log a copy of another one: the same base, the same events to the byte, the same hashes.
    ///
    /// It is there whole afterwards or not at all; one that was interrupted is simply begun again. Epochs go on above
    /// those of the copied log, and above those of a log that is replaced.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is a log already and none is to be replaced; [`StoreError::LostLease`] when one
    /// is to be replaced and its lease is not the caller's.
    async fn adopt(&self, request: AdoptRequest) -> Result<Head, StoreError> {
        let _ = request;
        Err(StoreError::Io {
            location: self.location(),
            what: "taking a copy of a log".to_owned(),
            source: std::io::Error::from(std::io::ErrorKind::Unsupported).into(),
        })
    }

    /// Takes the lease.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when somebody holds it and the request does not replace exactly that lease as it stands.
    async fn take_lease(&self, request: LeaseRequest) -> Result<LeaseGrant, StoreError>;

    /// Shows that the holder is alive, and says how long it may be silent from now on.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when the lease is another's by now.
    async fn renew(&self, epoch: u64, length: Duration, at: Timestamp) -> Result<(), StoreError>;

    /// Gives the lease back. Giving back one that is lost already succeeds and changes nothing.
    async fn release(&self, epoch: u64) -> Result<(), StoreError>;

    /// Returns the lease, if somebody holds it, alive or not.
    async fn lease(&self) -> Result<Option<LeaseView>, StoreError>;

    /// Returns what the store could not do of what it does by itself to keep the state small, and was not asked for.
    ///
    /// Nothing of it endangers the state; people should hear of it all the same.
    async fn warnings(&self) -> Result<Vec<StoreWarning>, StoreError> {
        Ok(Vec::new())
    }

    /// Returns whether only processes of this machine can reach the state: one that ran under an earlier boot is gone.
    fn is_local(&self) -> bool {
        false
    }

    /// Returns where the state is, for messages: a path, a URL without credentials, `memory`.
    fn location(&self) -> String;
}

/// A store that appends on the calling thread, which it blocks.
pub trait AppendHere: Send + Sync {
    /// Does what [`StateStore::append_folded`] does.
    ///
    /// # Errors
    /// As those of [`StateStore::append`].
    fn append_here(&self, epoch: u64, folded: &Folded) -> Result<Head, StoreError>;

    /// Does the same if only the disk has to be waited for; `None` when others who use the store would have to be, and
    /// nothing was written.
    fn append_at_once(&self, epoch: u64, folded: &Folded) -> Option<Result<Head, StoreError>>;
}

/// What [`StateStore::create`] gets.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    /// What the log is.
    pub created: Created,
    /// When it is created.
    pub at: Timestamp,
    /// The run that creates it.
    pub run: RunId,
}

impl CreateRequest {
    /// Returns the log's first event.
    pub fn event(&self) -> Event {
        let writer = Writer {
            run: self.run,
            epoch: 0,
        };
        let body = EventBody::Created(self.created.clone());
        Event::after(&State::default(), writer, self.at, body)
    }
}

/// A state, and where its log stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The state.
    pub state: State,
    /// Where its log stands.
    pub head: Head,
}

/// What [`StateStore::append`] gets.
#[derive(Debug, Clone)]
pub struct AppendRequest {
    /// The lease epoch of the writer.
    pub epoch: u64,
    /// The sequence number of the last event that the writer knows.
    pub expected_sequence: u64,
    /// The events, numbered from the next sequence number on. An empty list only checks epoch and sequence.
    pub events: Vec<Event>,
}

impl AppendRequest {
    /// Asks for events that were folded, to be folded again.
    pub fn of(epoch: u64, folded: &Folded) -> Self {
        Self {
            epoch,
            expected_sequence: folded.before().serial,
            events: folded
                .events()
                .iter()
                .map(|chained| chained.event.clone())
                .collect(),
        }
    }
}

/// What [`StateStore::adopt`] gets.
#[derive(Debug, Clone)]
pub struct AdoptRequest {
    /// The log to copy.
    pub log: LogCopy,
    /// Under which lease epoch the log that is there is replaced; `None` when there must be none.
    pub over: Option<u64>,
}

/// What [`StateStore::take_lease`] gets.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    /// Who wants it.
    pub holder: Holder,
    /// How long the holder may be silent before it is taken for dead.
    pub length: Duration,
    /// When it is taken, for people.
    pub at: Timestamp,
    /// The lease that was seen and may be replaced; `None` takes only a free one.
    pub replaces: Option<LeaseSeen>,
}

/// A lease that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseGrant {
    /// Its epoch, greater than every one before.
    pub epoch: u64,
}

/// A lease as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseView {
    /// Its epoch.
    pub epoch: u64,
    /// Who holds it.
    pub holder: Holder,
    /// Since when, by the holder's clock. For people.
    pub since: Timestamp,
    /// When it was last renewed, by the holder's clock. For people: observers watch `beat`.
    pub renewed: Timestamp,
    /// How often it was renewed. An observer to whom it stands still for `length` may replace the holder.
    pub beat: u64,
    /// How long the holder may be silent.
    pub length: Duration,
}

impl LeaseView {
    /// Returns what names this lease as it stands.
    pub fn seen(&self) -> LeaseSeen {
        LeaseSeen {
            epoch: self.epoch,
            beat: self.beat,
        }
    }
}

/// A lease at one moment: it moves with every renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseSeen {
    /// Its epoch.
    pub epoch: u64,
    /// How often it had been renewed.
    pub beat: u64,
}

/// Something that a store does by itself and could not do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreWarning {
    /// What failed and why, as a sentence.
    pub what: String,
    /// The serial of the state when it first failed.
    pub serial: u64,
    /// When that was; `None` when it is not known any more.
    pub since: Option<Timestamp>,
    /// What it costs as long as it stays so, as sentences.
    pub cost: String,
    /// What to do about it.
    pub hint: String,
}

/// Why a store could not do what was asked, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No state was ever created here.
    #[error("there is no state at {location}")]
    NotFound {
        /// Where it was looked for.
        location: String,
    },
    /// A state is there already.
    #[error("there is a state at {location} already")]
    Exists {
        /// Where.
        location: String,
    },
    /// Somebody else holds the lease.
    #[error("the state is locked by {}", describe_holder(&.0.holder))]
    Locked(Box<LeaseView>),
    /// The lease is not, or no longer, the caller's.
    #[error("the lease of epoch {epoch} is lost: {}", now.as_ref().map_or_else(
        || "nobody holds it now".to_owned(),
        |view| format!("{} took it over", describe_holder(&view.holder)),
    ))]
    LostLease {
        /// The caller's epoch.
        epoch: u64,
        /// The lease as it is now.
        now: Option<Box<LeaseView>>,
    },
    /// The log has moved on since the caller loaded it.
    #[error("the state was changed by somebody else: its serial is {found}, not {expected}")]
    Moved {
        /// The caller's.
        expected: u64,
        /// The log's.
        found: u64,
    },
    /// An event contradicts the state. Nothing was written.
    #[error("an event does not fit the state: {0}")]
    Illegal(#[from] FoldError),
    /// What is there cannot be read whole.
    #[error("the state at {location} cannot be read: {what}: {why}")]
    Unreadable {
        /// Where.
        location: String,
        /// The part that cannot be read: the file, an event, a record.
        what: String,
        /// Why, without a full stop.
        why: String,
    },
    /// What is there is encrypted with a key that was not given.
    #[error(
        "the state at {location} cannot be read: {what} is encrypted with the key {key}, which is not given"
    )]
    MissingKey {
        /// Where.
        location: String,
        /// The part that cannot be read.
        what: String,
        /// The key's id.
        key: String,
    },
    /// The state is in a format that a later version of gabion writes.
    #[error("the state at {location} has format {found}, which only a later version of gabion knows")]
    NewerFormat {
        /// Where.
        location: String,
        /// Its format.
        found: u32,
    },
    /// Another process kept the store busy for too long.
    #[error("the state at {location} is busy: {what}")]
    Busy {
        /// Where.
        location: String,
        /// What did not end.
        what: String,
    },
    /// The store is where it cannot work.
    #[error(
        "the state at {location} is on a network file system ({kind}), where SQLite can lose what it wrote"
    )]
    NetworkFileSystem {
        /// Where.
        location: String,
        /// The file system's type: `nfs4`, `fuse.sshfs`.
        kind: String,
    },
    /// The store cannot be reached or written.
    #[error("{what} failed at {location}: {source}")]
    Io {
        /// Where.
        location: String,
        /// What was being done.
        what: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Makes an error of a file operation.
    pub fn io(path: impl Into<PathBuf>, what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io {
            location: path.into().display().to_string(),
            what: what.into(),
            source: source.into(),
        }
    }

    /// Makes an error of content that cannot be taken out of its envelope.
    pub fn of_envelope(location: impl Into<String>, what: impl Into<String>, error: EnvelopeError) -> Self {
        let (location, what) = (location.into(), what.into());
        match error {
            EnvelopeError::NoKey { id: key } => Self::MissingKey { location, what, key },
            error @ (EnvelopeError::Altered | EnvelopeError::MalformedKey) => Self::Unreadable {
                location,
                what,
                why: error.to_string(),
            },
        }
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Locked(view) => format!(
                "wait for it with `--lock-timeout 10m`; only if nothing runs any more, after looking at {}:\n    gabion state unlock",
                view.holder.host
            ),
            Self::LostLease { .. } | Self::Moved { .. } => {
                "what was sent is found out by the next run:\n    gabion apply".to_owned()
            }
            Self::Unreadable { .. } => {
                "restore it from a copy; without one, find the objects again by their tags:\n    gabion state rebuild".to_owned()
            }
            Self::MissingKey { key, .. } => format!(
                "say in gabion.yml where the key {key} is: as `key` below `state: encryption:`, or among `previous` if another one encrypts by now"
            ),
            Self::NewerFormat { .. } => "use the version of gabion that wrote it, or a later one".to_owned(),
            Self::NetworkFileSystem { .. } => {
                "keep the project on a disk of this machine, or its state in a store that is made for sharing (`state: {type: s3, …}` or `{type: postgres, …}` in gabion.yml)".to_owned()
            }
            Self::Busy { .. } => "try again; if it stays so, find the process that keeps it busy".to_owned(),
            Self::NotFound { .. } | Self::Exists { .. } | Self::Illegal(_) | Self::Io { .. } => return None,
        };
        Some(text)
    }

    /// Returns whether it is certain that the failed operation wrote nothing.
    pub fn wrote_nothing(&self) -> bool {
        !matches!(self, Self::Io { .. } | Self::Unreadable { .. })
    }
}

/// Returns who holds a lease, as people read it: `apply by ada on build-7 (process 4711)`.
pub fn describe_holder(holder: &Holder) -> String {
    let process = match &holder.process {
        Some(process) => format!(" (process {})", process.pid),
        None => String::new(),
    };
    format!(
        "`{}` by {} on {}{process}",
        holder.operation, holder.who, holder.host
    )
}
