//! The journal: the one writer of a log while a command runs.
//!
//! Whoever writes opens a journal, which takes the lease, loads the state and keeps it folded in memory. Commits from
//! many tasks at once are merged: while one append is being made durable, those that come in wait for the next one, so
//! the cost of a busy run is bounded by how often the store can append and not by how much there is to write.
//!
//! After an append whose success is not certain the journal is *poisoned*: nobody knows any more what the log says, so
//! every later commit fails, and whoever comes next loads the log and observes what is open.

mod marker;
mod writer;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use self::marker::Marker;
use self::writer::{Uncommitted, Writer, WriterHandle};
use crate::address::{IdSource, Lineage, RunId};
use crate::state::clock::Clock;
use crate::state::event::{self, Created, Event, EventBody, Holder};
use crate::state::fingerprint::{FingerprintKey, seal_event};
use crate::state::fold::{FORMAT_VERSION, FoldError};
use crate::state::folded::Folded;
use crate::state::head::{HeadError, HeadMark};
use crate::state::lease::{self, Cover, Heartbeat, HeartbeatMode, LeaseOptions, Taken};
use crate::state::process::Processes;
use crate::state::snapshot::State;
use crate::state::store::{CreateRequest, StateStore, StoreError};

/// For how long an append is tried again while another process keeps the store busy.
const BUSY_PATIENCE: Duration = Duration::from_secs(120);

/// How long to wait before a store that is busy is asked again.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// How a journal is opened.
pub struct JournalOptions {
    /// The project's name, for a log that is created now.
    pub project: Arc<str>,
    /// Who writes.
    pub holder: Holder,
    /// This run.
    pub run: RunId,
    /// How long the holder may be silent before others may replace it.
    pub lease_length: Duration,
    /// How long to wait for another holder.
    pub lock_timeout: Duration,
    /// Where the heartbeat and the journal run.
    pub heartbeat: HeartbeatMode,
    /// Where local holders are looked for.
    pub processes: Processes,
    /// The key that secrets are fingerprinted with before they are written; `None` leaves them without.
    pub key: Option<Arc<FingerprintKey>>,
    /// Where the head mark is; `None` keeps none, for tests and stores whose lineage is pinned otherwise.
    pub head_mark: Option<HeadMark>,
    /// The lineage that the state has to have. Nothing is written to one that has another, and a missing one is not
    /// created. `None` takes every state.
    pub lineage: Option<Lineage>,
    /// Where timestamps come from.
    pub clock: Arc<dyn Clock>,
    /// Where the lineage of a log that is created now comes from.
    pub ids: Arc<dyn IdSource>,
}

/// Why a journal could not be opened, or a state not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store refused, is locked or cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store is not what it was when it was last used from here.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The log goes on in another store.
    #[error("the state that was at {location} is at {to} now")]
    Moved {
        /// Where it was.
        location: String,
        /// Where it is.
        to: Arc<str>,
    },
    /// The state is another project's, or there is none.
    #[error("{}", words_of_lineage(location, *wanted, *found))]
    OtherLineage {
        /// Where the state is looked for.
        location: String,
        /// The lineage that it has to have.
        wanted: Lineage,
        /// The lineage that it has; `None` where there is no state.
        found: Option<Lineage>,
    },
    /// A thread of the journal cannot be started.
    #[error("the thread that keeps the lease or the one that writes the log cannot be started: {0}")]
    Thread(std::io::Error),
}

impl OpenError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Head(error) => error.hint(),
            Self::Moved { to, .. } => Some(format!(
                "get the `gabion.yml` that names the new place, or finish the move:\n    gabion state migrate --to {to}"
            )),
            Self::OtherLineage { .. } | Self::Thread(_) => None,
        }
    }
}

fn words_of_lineage(location: &str, wanted: Lineage, found: Option<Lineage>) -> String {
    match found {
        Some(found) => format!("the state at {location} has the lineage {found} and not {wanted}"),
        None => format!("there is no state at {location}, where one of the lineage {wanted} is wanted"),
    }
}

/// Why a commit did not succeed. Nothing of it is in the log, except where it says otherwise.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// An event contradicts the state. Other commits are not affected.
    #[error("an event does not fit the state: {0}")]
    Illegal(#[from] FoldError),
    /// Writing the log failed; the events may or may not be in it. Nothing more can be written.
    #[error("writing the state failed, and nothing more will be written: {0}")]
    Failed(Arc<StoreError>),
    /// Writing the log failed earlier.
    #[error("the state cannot be written since an earlier write failed: {0}")]
    Poisoned(Arc<StoreError>),
    /// Writing the head mark failed earlier.
    #[error("the state is not written further, because its loss could not be seen: {0}")]
    HeadMark(Arc<HeadError>),
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

/// The one writer of a log while a command runs.
pub struct Journal {
    stamp: Arc<Stamp>,
    store: Arc<dyn StateStore>,
    key: Option<Arc<FingerprintKey>>,
    heartbeat: Heartbeat,
    latest: Arc<RwLock<Arc<State>>>,
    writer: WriterHandle,
    closed: Mutex<Closed>,
}

/// Events of one commit, which are put together one by one: each is sealed, stamped, folded and chained as it is added.
///
/// It is written without being folded again unless something else was committed meanwhile.
pub struct Draft {
    folded: Folded,
    stamp: Arc<Stamp>,
    key: Option<Arc<FingerprintKey>>,
}

/// What a journal's events have from it.
struct Stamp {
    writer: event::Writer,
    holder: Holder,
    clock: Arc<dyn Clock>,
}

impl Stamp {
    /// Adds an event. The first one of the journal says that the lease was taken, or another does before it.
    fn push(&self, folded: &mut Folded, body: EventBody) -> Result<(), FoldError> {
        let before = folded.len();
        let body = self.announce(folded, body)?;
        let pushed = self.add(folded, body);
        if pushed.is_err() {
            folded.truncate(before);
        }
        pushed
    }

    fn announce(&self, folded: &mut Folded, body: EventBody) -> Result<EventBody, FoldError> {
        let holder = &self.holder;
        match body {
            body if folded.after().epoch == self.writer.epoch => Ok(body),
            EventBody::RunStarted(mut started)
                if started.who == holder.who && started.operation == holder.operation =>
            {
                started.host = Some(holder.host.as_str().into());
                Ok(EventBody::RunStarted(started))
            }
            body => {
                let holder = holder.for_log();
                self.add(folded, EventBody::LeaseTaken { holder })?;
                Ok(body)
            }
        }
    }

    fn add(&self, folded: &mut Folded, body: EventBody) -> Result<(), FoldError> {
        let event = Event::after(folded.after(), self.writer, self.clock.now(), body);
        folded.push(event)
    }
}

impl Draft {
    /// Adds an event.
    ///
    /// # Errors
    /// When it does not fit the state that the events before it lead to; it is left out then.
    pub fn push(&mut self, body: EventBody) -> Result<(), FoldError> {
        let body = seal_event(body, self.key.as_deref());
        self.stamp.push(&mut self.folded, body)
    }

    /// Returns the state that the events give.
    pub fn state(&self) -> &State {
        self.folded.after()
    }

    /// Returns whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.folded.is_empty()
    }
}

/// Loads a state for a command that only reads. A new project's is empty, with serial 0.
///
/// # Errors
/// When the store cannot be read, is missing, or is not what it was when it was last used from here.
pub async fn load_for_reading(
    store: &dyn StateStore,
    head_mark: Option<&HeadMark>,
) -> Result<State, OpenError> {
    let known = match head_mark {
        Some(mark) => mark.read()?,
        None => None,
    };
    let loaded = match store.load().await {
        Ok(loaded) => Some(loaded.state),
        Err(StoreError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(mark) = head_mark {
        mark.check(known, store, loaded.as_ref()).await?;
    }
    match loaded {
        Some(State {
            moved_to: Some(to), ..
        }) => Err(OpenError::Moved {
            location: store.location(),
            to,
        }),
        loaded => Ok(loaded.unwrap_or_default()),
    }
}

/// Loads a state that will be written: it is the one that is wanted.
async fn load_for_writing(store: &dyn StateStore, options: &JournalOptions) -> Result<State, OpenError> {
    let state = load_for_reading(store, options.head_mark.as_ref()).await?;
    match options.lineage {
        Some(wanted) if state.lineage != Some(wanted) => Err(OpenError::OtherLineage {
            location: store.location(),
            wanted,
            found: state.lineage,
        }),
        _ => Ok(state),
    }
}

impl Journal {
    /// Takes the lease and loads the state. A log that was never created is created first.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when somebody else holds the lease; [`OpenError::OtherLineage`], before the lease is taken,
    /// when the state is not the one that is wanted; otherwise as [`load_for_reading`].
    pub async fn open(store: Arc<dyn StateStore>, options: JournalOptions) -> Result<Self, OpenError> {
        if let Some(mark) = &options.head_mark {
            mark.prepare()?;
        }
        let state = load_for_writing(&*store, &options).await?;
        if state.lineage.is_none() {
            create(&*store, &options).await?;
        }
        let lease_options = LeaseOptions {
            holder: options.holder.clone(),
            length: options.lease_length,
            timeout: options.lock_timeout,
            processes: options.processes.clone(),
        };
        let taken = lease::acquire(&*store, &lease_options, &*options.clock).await?;
        match Self::start(store.clone(), options, taken).await {
            Ok(journal) => Ok(journal),
            Err(error) => {
                // What keeps the journal from opening is the error to report; the lease would run out by itself.
                let _released = store.release(taken.epoch).await;
                Err(error)
            }
        }
    }

    async fn start(
        store: Arc<dyn StateStore>,
        options: JournalOptions,
        taken: Taken,
    ) -> Result<Self, OpenError> {
        let heartbeat = Heartbeat::start(
            store.clone(),
            options.clock.clone(),
            taken,
            options.lease_length,
            options.heartbeat,
        )
        .map_err(OpenError::Thread)?;
        // Only now is it certain that nobody else writes.
        let state = load_for_writing(&*store, &options).await?;
        if let (Some(mark), Some(head)) = (&options.head_mark, state.head()) {
            mark.write(&head)?;
        }
        let latest = Arc::new(RwLock::new(Arc::new(state.clone())));
        let stamp = Arc::new(Stamp {
            writer: event::Writer {
                run: options.run,
                epoch: taken.epoch,
            },
            holder: options.holder,
            clock: options.clock,
        });
        let writer = Writer {
            store: store.clone(),
            state,
            latest: latest.clone(),
            stamp: stamp.clone(),
            ended: false,
            marker: options.head_mark.map(Marker::start),
            failed: None,
            closed: false,
            here: match options.heartbeat {
                HeartbeatMode::Thread => store.on_this_thread(),
                HeartbeatMode::Task => None,
            },
        };
        let writer = writer.start().map_err(OpenError::Thread)?;
        Ok(Self {
            stamp,
            store,
            key: options.key,
            heartbeat,
            latest,
            writer,
            closed: Mutex::default(),
        })
    }

    /// Makes events durable, all or none, and returns the state after them.
    ///
    /// Commits of several tasks at once are merged into one append, in the order in which they came. Secrets are sealed
    /// first. Dropping the future does not take the commit back.
    ///
    /// # Errors
    /// [`JournalError::Illegal`] concerns this commit alone. After any other error nothing more can be written.
    pub async fn commit(&self, bodies: Vec<EventBody>) -> Result<Arc<State>, JournalError> {
        let key = self.key.as_deref();
        let bodies = bodies.into_iter().map(|body| seal_event(body, key)).collect();
        self.writer.commit(Uncommitted::Bodies(bodies)).await
    }

    /// Begins a commit after the state as it is now.
    pub fn draft(&self) -> Draft {
        Draft {
            folded: Folded::new(State::clone(&self.state())),
            stamp: self.stamp.clone(),
            key: self.key.clone(),
        }
    }

    /// Makes the events of a draft durable, as [`commit`](Self::commit) does.
    ///
    /// # Errors
    /// As those of [`commit`](Self::commit).
    pub async fn commit_draft(&self, draft: Draft) -> Result<Arc<State>, JournalError> {
        self.writer.commit(Uncommitted::Folded(draft.folded)).await
    }

    /// Makes the events of a draft durable, as [`commit_draft`](Self::commit_draft) does, and blocks the calling thread
    /// until the disk has them: for whoever has nothing else to do, and saves the way to another thread and back.
    ///
    /// Only the disk is waited for so: where the store's work is not the [calling thread's](StateStore::on_this_thread),
    /// other commits are under way or another process writes, this is [`commit_draft`](Self::commit_draft).
    ///
    /// # Errors
    /// As those of [`commit`](Self::commit).
    pub async fn commit_draft_here(&self, draft: Draft) -> Result<Arc<State>, JournalError> {
        match self.writer.commit_here(&draft.folded) {
            Some(outcome) => outcome,
            None => self.commit_draft(draft).await,
        }
    }

    /// Returns the state after the last commit.
    pub fn state(&self) -> Arc<State> {
        self.latest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the lease epoch that this journal writes under.
    pub fn epoch(&self) -> u64 {
        self.stamp.writer.epoch
    }

    /// Returns this run.
    pub fn run_id(&self) -> RunId {
        self.stamp.writer.run
    }

    /// Returns how long the holder may be silent while no call runs.
    pub fn lease_length(&self) -> Duration {
        self.heartbeat.length()
    }

    /// Returns whether nobody can take the lease before then, so that a call with this deadline may be sent.
    pub fn lease_outlives(&self, deadline: Instant) -> bool {
        self.heartbeat.outlives(deadline)
    }

    /// Asks that the lease last until then, for as long as what is returned is kept.
    pub fn reserve_lease(&self, deadline: Instant) -> Cover {
        self.heartbeat.reserve(deadline)
    }

    /// Makes the lease last until then, for as long as what is returned is kept; `None` when the lease is lost or cannot
    /// be renewed.
    ///
    /// Every call that changes the world waits for this with its deadline before it is sent, and keeps it to its end.
    pub async fn cover_until(&self, deadline: Instant) -> Option<Cover> {
        let cover = self.heartbeat.reserve(deadline);
        self.heartbeat.covers(deadline).await.then_some(cover)
    }

    /// Returns whether the lease was found to be another's.
    pub fn lease_is_lost(&self) -> bool {
        self.heartbeat.is_lost()
    }

    /// Writes what is left to write, the head mark included, and unless the log says that the run finished, that the lease
    /// is given back. Nothing can be written afterwards: the serial is what the next one sees. The lease itself is held until [`close`](Self::close).
    ///
    /// # Errors
    /// When the journal was poisoned, or its last write fails. Finishing again does nothing.
    pub async fn finish(&self) -> Result<(), JournalError> {
        self.end(&mut *self.closed.lock().await).await
    }

    async fn end(&self, closed: &mut Closed) -> Result<(), JournalError> {
        if std::mem::replace(&mut closed.finished, true) {
            return Ok(());
        }
        self.writer.close().await
    }

    /// Writes what is left to write, the head mark included, and gives the lease back. Closing again does nothing.
    ///
    /// A journal that is dropped instead keeps its lease until its process ends.
    ///
    /// # Errors
    /// When the journal was poisoned, or its last write fails. The lease is given back in any case, if that is possible.
    pub async fn close(&self) -> Result<(), JournalError> {
        let mut closed = self.closed.lock().await;
        if std::mem::replace(&mut closed.released, true) {
            return Ok(());
        }
        let ended = self.end(&mut closed).await;
        self.heartbeat.stop().await;
        let give_up = Instant::now() + BUSY_PATIENCE;
        let released = loop {
            match self.store.release(self.epoch()).await {
                Err(StoreError::Busy { .. }) if Instant::now() < give_up => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                other => break other,
            }
        };
        ended?;
        released.map_err(|error| JournalError::Failed(Arc::new(error)))
    }
}

async fn create(store: &dyn StateStore, options: &JournalOptions) -> Result<(), OpenError> {
    let request = CreateRequest {
        created: Created {
            format_version: FORMAT_VERSION,
            lineage: Lineage::from_uuid(options.ids.next()),
            project: options.project.clone(),
        },
        at: options.clock.now(),
        run: options.run,
    };
    match store.create(request).await {
        // Somebody else was first; theirs is as good.
        Ok(_) | Err(StoreError::Exists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// How far a journal's end is.
#[derive(Default)]
struct Closed {
    finished: bool,
    released: bool,
}
