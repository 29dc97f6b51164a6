//! The store over the database.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior};

use crate::state::chain::{self, ChainedEvent};
use crate::state::envelope::Envelope;
use crate::state::folded::Folded;
use crate::state::snapshot::{Head, State};
use crate::state::sqlite::file::{DatabaseFile, FileIdentity, PATIENCE};
use crate::state::sqlite::layout;
use crate::state::sqlite::lease::LeaseRow;
use crate::state::sqlite::reseal::Progress;
use crate::state::sqlite::rows::{HeadRow, Rows, Written};
use crate::state::store::{
    AdoptRequest, AppendHere, AppendRequest, CreateRequest, LeaseGrant, LeaseRequest, LeaseView, Loaded,
    StateStore, StoreError,
};

/// A state in an SQLite database. Copies share one connection; the work is done off the runtime's threads,
/// except what is appended here.
#[derive(Clone)]
pub struct SqliteStore {
    file: DatabaseFile,
    /// What the writer uses.
    writing: Arc<Mutex<Session>>,
    /// What the lease uses, so that a heartbeat does not queue behind long reads of its own process.
    leasing: Arc<Mutex<Session>>,
}

/// A connection, opened when it is first needed, and the state that it last saw.
#[derive(Default)]
struct Session {
    open: Option<(Connection, FileIdentity)>,
    /// How long the connection waits for another process's commit.
    patience: Duration,
    known: Option<Known>,
}

/// A state that was read or written whole, and the head that was there then: as long as the head is the same, so is it.
struct Known {
    head: HeadRow,
    written: Written,
    /// What was checked when it was written, if it was.
    checked: Option<Checked>,
}

/// What was found in a transaction that wrote: it is so until another connection commits something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Checked {
    /// What SQLite called the content then, for this connection.
    version: i64,
    /// The epoch of the lease that was held.
    epoch: u64,
}

impl Known {
    /// Takes the state that is there, which is read only if it is another one.
    fn take(known: &mut Option<Self>, rows: &Rows<'_>, head: &HeadRow) -> Result<Written, StoreError> {
        match known.take() {
            Some(known) if known.head == *head => Ok(known.written),
            _ => rows.state_of(head),
        }
    }

    /// Returns the head that is there and what is known of it, for whoever holds the lease of this epoch.
    ///
    /// While no other connection committed anything, both are as they were when this one wrote last.
    fn of_writer(
        known: &mut Option<Self>,
        rows: &Rows<'_>,
        epoch: u64,
    ) -> Result<(HeadRow, Option<Self>, Checked), StoreError> {
        let version = rows.data_version()?;
        let checked = Checked { version, epoch };
        match known.take() {
            Some(known) if known.checked == Some(checked) => Ok((known.head.clone(), Some(known), checked)),
            before => {
                // Another process may have brought it to another layout.
                layout::version(rows.connection, rows.file)?;
                let head = rows.head()?;
                holds(rows, epoch)?;
                Ok((head, before, checked))
            }
        }
    }
}

impl SqliteStore {
    /// Names the database of a state; nothing is opened or made yet.
    ///
    /// Its content is written as it is, and what is encrypted in it cannot be read.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self::sealed_at(path, Envelope::plain())
    }

    /// Names the database of a state whose content goes through an envelope; nothing is opened or made yet.
    ///
    /// Content that is there already is read as it is, and written again only when it changes or by
    /// [`reseal`](StateStore::reseal).
    pub fn sealed_at(path: impl Into<PathBuf>, envelope: Envelope) -> Self {
        Self {
            file: DatabaseFile {
                path: path.into(),
                envelope,
                patience: PATIENCE,
            },
            writing: Arc::default(),
            leasing: Arc::default(),
        }
    }

    /// Returns the same store, which waits so long for a write of another process before it is busy.
    #[must_use]
    pub fn patient_for(self, patience: Duration) -> Self {
        Self {
            file: DatabaseFile {
                patience,
                ..self.file
            },
            writing: Arc::default(),
            leasing: Arc::default(),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        session: &Arc<Mutex<Session>>,
        work: impl FnOnce(&DatabaseFile, &mut Session) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (file, session) = (self.file.clone(), session.clone());
        let location = self.location();
        let done = tokio::task::spawn_blocking(move || {
            let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
            session.run(&file, work)
        });
        done.await.unwrap_or_else(|error| {
            Err(StoreError::Io {
                location,
                what: "working on the database".to_owned(),
                source: error.into(),
            })
        })
    }
}

/// Appends on the calling thread.
struct Here {
    file: DatabaseFile,
    /// The same, which waits for nobody.
    at_once: DatabaseFile,
    writing: Arc<Mutex<Session>>,
}

impl AppendHere for Here {
    fn append_here(&self, epoch: u64, folded: &Folded) -> Result<Head, StoreError> {
        let mut session = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        session.run(&self.file, |file, session| {
            session.append_folded(file, epoch, folded)
        })
    }

    fn append_at_once(&self, epoch: u64, folded: &Folded) -> Option<Result<Head, StoreError>> {
        let mut session = match self.writing.try_lock() {
            Ok(session) => session,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        match session.run(&self.at_once, |file, session| {
            session.append_folded(file, epoch, folded)
        }) {
            Err(StoreError::Busy { .. }) => None,
            done => Some(done),
        }
    }
}

impl Session {
    fn run<T>(
        &mut self,
        file: &DatabaseFile,
        work: impl FnOnce(&DatabaseFile, &mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let done = work(file, self);
        if done.as_ref().is_err_and(|error| !error.wrote_nothing()) {
            // What this connection knows may be wrong; the next use begins anew.
            *self = Self::default();
        }
        done
    }

    /// Runs work in a transaction, which is committed if it succeeds.
    fn transaction<T>(
        &mut self,
        file: &DatabaseFile,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Rows<'_>, &mut Option<Known>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.unchecked(file, behavior, |rows, known| {
            // Another process may have brought it to another layout since it was opened.
            layout::version(rows.connection, file)?;
            work(rows, known)
        })
    }

    /// Runs work, which looks at the layout itself, in a transaction, which is committed if it succeeds.
    fn unchecked<T>(
        &mut self,
        file: &DatabaseFile,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Rows<'_>, &mut Option<Known>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some((_, identity)) = &self.open
            && file.identity()? != *identity
        {
            *self = Self::default();
            return Err(file.unreadable(
                "the database file",
                "it was replaced by another file while it was in use",
            ));
        }
        if self.open.is_none() {
            self.open = Some(file.open()?);
            self.patience = file.patience;
        }
        let Some((connection, _)) = &mut self.open else {
            return Err(file.unreadable("the database file", "it is not open"));
        };
        if self.patience != file.patience {
            connection
                .busy_timeout(file.patience)
                .map_err(|error| file.error("beginning a transaction", error))?;
            self.patience = file.patience;
        }
        let transaction = connection
            .transaction_with_behavior(behavior)
            .map_err(|error| file.error("beginning a transaction", error))?;
        let rows = Rows {
            connection: &transaction,
            file,
        };
        match work(&rows, &mut self.known) {
            Ok(value) => match transaction.commit() {
                Ok(()) => Ok(value),
                Err(error) => {
                    self.known = None;
                    Err(file.error("committing", error))
                }
            },
            // Dropping the transaction takes back what was written.
            Err(error) => Err(error),
        }
    }

    fn read<T>(
        &mut self,
        file: &DatabaseFile,
        work: impl FnOnce(&Rows<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.transaction(file, TransactionBehavior::Deferred, |rows, _| work(rows))
    }

    fn write<T>(
        &mut self,
        file: &DatabaseFile,
        work: impl FnOnce(&Rows<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.transaction(file, TransactionBehavior::Immediate, |rows, _| work(rows))
    }

    fn load(&mut self, file: &DatabaseFile) -> Result<State, StoreError> {
        self.transaction(file, TransactionBehavior::Deferred, |rows, known| {
            let head = rows.head()?;
            let written = Known::take(known, rows, &head)?;
            let state = written.state.clone();
            *known = Some(Known {
                head,
                written,
                checked: None,
            });
            Ok(state)
        })
    }

    fn append(&mut self, file: &DatabaseFile, request: AppendRequest) -> Result<Head, StoreError> {
        let mut appended = None;
        let head = self.unchecked(file, TransactionBehavior::Immediate, |rows, known| {
            let (head, mut known, checked) = Known::of_writer(known, rows, request.epoch)?;
            if head.head.sequence != request.expected_sequence {
                return Err(StoreError::Moved {
                    expected: request.expected_sequence,
                    found: head.head.sequence,
                });
            }
            let written = Known::take(&mut known, rows, &head)?;
            let mut folded = Folded::new(written.state.clone());
            for event in request.events {
                folded.push(event)?;
            }
            put(rows, head, written, &folded, checked, &mut appended)
        })?;
        self.known = appended;
        Ok(head)
    }

    fn append_folded(
        &mut self,
        file: &DatabaseFile,
        epoch: u64,
        folded: &Folded,
    ) -> Result<Head, StoreError> {
        let mut appended = None;
        let head = self.unchecked(file, TransactionBehavior::Immediate, |rows, known| {
            let (head, mut known, checked) = Known::of_writer(known, rows, epoch)?;
            // The hash included: what they follow is what is there, and nothing that only is as long.
            let Head {
                lineage,
                sequence,
                chain,
                ..
            } = &head.head;
            let before = folded.before();
            if (before.lineage, before.serial, &before.chain) != (Some(*lineage), *sequence, chain) {
                return Err(StoreError::Moved {
                    expected: before.serial,
                    found: *sequence,
                });
            }
            let written = Known::take(&mut known, rows, &head)?;
            put(rows, head, written, folded, checked, &mut appended)
        })?;
        self.known = appended;
        Ok(head)
    }

    fn compact(&mut self, file: &DatabaseFile, epoch: u64, up_to: u64) -> Result<u64, StoreError> {
        self.write(file, |rows| {
            let head = rows.head()?;
            holds(rows, epoch)?;
            // What the records do not have yet is not dropped from under them.
            let mut written = rows.state_of(&head)?;
            rows.put_table(&mut written)?;
            let mut base = rows.base()?;
            let before = base.serial;
            loop {
                let left = usize::try_from(up_to.saturating_sub(base.serial)).unwrap_or(usize::MAX);
                let events = rows.events(base.serial, left.min(1000))?;
                if events.is_empty() {
                    break;
                }
                for event in events {
                    let hash = chain::link(&base.chain, &event.encoded);
                    if hash != event.hash {
                        return Err(file.unreadable(
                            format!("event {}", event.event.sequence),
                            "it was altered after it was written",
                        ));
                    }
                    (base, _) = base.folded(&event.event, hash)?;
                }
            }
            if base.serial > before {
                rows.put_base(&base)?;
            }
            Ok(base.serial - before)
        })
    }

    /// Writes a bounded piece of what is not kept under the current key again.
    fn reseal(
        &mut self,
        file: &DatabaseFile,
        epoch: u64,
        from: Progress,
    ) -> Result<(u64, Progress), StoreError> {
        self.write(file, |rows| {
            rows.head()?;
            holds(rows, epoch)?;
            rows.reseal(from)
        })
    }

    /// Removes from the files what was there before everything was written again under the current key.
    fn scrub(&mut self, file: &DatabaseFile, epoch: u64) -> Result<(), StoreError> {
        let left = self.read(file, |rows| {
            Ok(file.envelope.is_sealing() && rows.sealed_with()? != file.envelope.key_id())
        })?;
        if !left {
            return Ok(());
        }
        if let Some((connection, _)) = &self.open {
            // Freed pages, and the unused ends of others, keep what was in them; so does the write-ahead log.
            let busy = connection
                .execute_batch("VACUUM")
                .and_then(|()| {
                    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))
                })
                .map_err(|error| file.error("removing what was not encrypted", error))?;
            if busy {
                return Err(StoreError::Busy {
                    location: file.location(),
                    what: "another process reads an earlier state, which is therefore still in the files"
                        .to_owned(),
                });
            }
        }
        self.write(file, |rows| {
            holds(rows, epoch)?;
            rows.put_sealed_with()
        })
    }

    fn take_lease(&mut self, file: &DatabaseFile, request: LeaseRequest) -> Result<LeaseGrant, StoreError> {
        let taken = self.write(file, |rows| {
            // Whoever cannot read the log does not come to hold its lease.
            let logged = rows.head_epoch()?;
            let LeaseRow { epoch: highest, held } = rows.lease()?;
            if let Some(view) = held
                && request.replaces != Some(view.seen())
            {
                return Err(StoreError::Locked(Box::new(view)));
            }
            layout::upgrade(rows)?;
            let epoch = highest.max(logged) + 1;
            rows.put_lease(&LeaseRow {
                epoch,
                held: Some(LeaseView {
                    epoch,
                    holder: request.holder,
                    since: request.at,
                    renewed: request.at,
                    beat: 0,
                    length: request.length,
                }),
            })?;
            Ok(LeaseGrant { epoch })
        });
        match taken {
            // Somebody is stuck within a commit. Whoever holds the lease is the one to name, unless it is another.
            Err(busy @ StoreError::Busy { .. }) => {
                let held = self.read(file, |rows| rows.lease())?.held;
                let holder = held.as_ref().and_then(|view| view.holder.process.as_ref());
                let another = file
                    .blocker()
                    .is_some_and(|blocker| holder.is_none_or(|holder| holder.pid != blocker.pid));
                match held {
                    Some(view) if !another => Err(StoreError::Locked(Box::new(view))),
                    _ => Err(busy),
                }
            }
            other => other,
        }
    }
}

/// Writes events that follow the head that is there; says what is known once that is committed.
fn put(
    rows: &Rows<'_>,
    head: HeadRow,
    mut written: Written,
    folded: &Folded,
    checked: Checked,
    appended: &mut Option<Known>,
) -> Result<Head, StoreError> {
    let mut row = head;
    if !folded.is_empty() {
        row = rows.put_events(folded.events(), folded.after())?;
        written.follow(folded);
        let is_last = |event: &ChainedEvent| event.event.body.is_last();
        if written.is_far_behind() || folded.events().iter().any(is_last) {
            rows.put_table(&mut written)?;
        }
    }
    let head = row.head.clone();
    *appended = Some(Known {
        head: row,
        written,
        checked: Some(checked),
    });
    Ok(head)
}

/// Returns the lease, which must be the one of this epoch, after the highest epoch ever granted.
fn holds(rows: &Rows<'_>, epoch: u64) -> Result<(u64, LeaseView), StoreError> {
    let row = rows.lease()?;
    match row.held {
        // A lease that an earlier version granted is no writer's of this one.
        Some(view) if view.epoch == epoch && layout::is_current(rows)? => Ok((row.epoch, view)),
        now => Err(StoreError::LostLease {
            epoch,
            now: now.map(Box::new),
        }),
    }
}

#[async_trait]
impl StateStore for SqliteStore {
    async fn create(&self, request: CreateRequest) -> Result<Head, StoreError> {
        self.run(&self.writing, move |file, _| {
            let mut folded = Folded::new(State::default());
            folded.push(request.event())?;
            let head = folded
                .after()
                .head()
                .ok_or_else(|| file.unreadable("the new state", "it has no head"))?;
            file.create(|connection| {
                let transaction = connection
                    .transaction()
                    .map_err(|error| file.error("creating", error))?;
                let rows = Rows {
                    connection: &transaction,
                    file,
                };
                rows.put_events(folded.events(), folded.after())?;
                rows.put_table(&mut Written::new_log(folded.after().clone()))?;
                rows.put_lease(&LeaseRow { epoch: 0, held: None })?;
                rows.put_sealed_with()?;
                transaction
                    .commit()
                    .map_err(|error| file.error("creating", error))
            })?;
            Ok(head)
        })
        .await
    }

    async fn load(&self) -> Result<Loaded, StoreError> {
        self.run(&self.writing, |file, session| {
            let state = session.load(file)?;
            let head = state
                .head()
                .ok_or_else(|| file.unreadable("the state", "it has no head"))?;
            Ok(Loaded { state, head })
        })
        .await
    }

    async fn append(&self, request: AppendRequest) -> Result<Head, StoreError> {
        self.run(&self.writing, |file, session| session.append(file, request))
            .await
    }

    async fn append_folded(&self, epoch: u64, folded: Arc<Folded>) -> Result<Head, StoreError> {
        self.run(&self.writing, move |file, session| {
            session.append_folded(file, epoch, &folded)
        })
        .await
    }

    fn on_this_thread(&self) -> Option<Arc<dyn AppendHere>> {
        Some(Arc::new(Here {
            file: self.file.clone(),
            at_once: DatabaseFile {
                patience: Duration::ZERO,
                ..self.file.clone()
            },
            writing: self.writing.clone(),
        }))
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, StoreError> {
        self.run(&self.writing, move |file, session| {
            session.read(file, |rows| rows.events(after, limit))
        })
        .await
    }

    async fn base(&self) -> Result<State, StoreError> {
        self.run(&self.writing, |file, session| {
            session.read(file, |rows| rows.base())
        })
        .await
    }

    async fn compact(&self, epoch: u64, up_to: u64) -> Result<u64, StoreError> {
        self.run(&self.writing, move |file, session| {
            session.compact(file, epoch, up_to)
        })
        .await
    }

    async fn adopt(&self, request: AdoptRequest) -> Result<Head, StoreError> {
        self.run(&self.writing, move |file, session| {
            let AdoptRequest { log, over } = request;
            match over {
                Some(epoch) => {
                    session.write(file, |rows| {
                        let (highest, lease) = holds(rows, epoch)?;
                        layout::remake(rows)?;
                        rows.put_log(&log)?;
                        // The next one is above all that were granted for either log.
                        rows.put_lease(&LeaseRow {
                            epoch: highest.max(log.epoch()),
                            held: Some(lease),
                        })
                    })?;
                    session.known = None;
                }
                None => file.create(|connection| {
                    let transaction = connection
                        .transaction()
                        .map_err(|error| file.error("creating", error))?;
                    let rows = Rows {
                        connection: &transaction,
                        file,
                    };
                    rows.put_log(&log)?;
                    rows.put_lease(&LeaseRow {
                        epoch: log.epoch(),
                        held: None,
                    })?;
                    rows.put_sealed_with()?;
                    transaction
                        .commit()
                        .map_err(|error| file.error("creating", error))
                })?,
            }
            Ok(log.head().clone())
        })
        .await
    }

    async fn reseal(&self, epoch: u64) -> Result<u64, StoreError> {
        let (mut pieces, mut progress) = (0, Progress::Begun);
        while progress != Progress::Done {
            let step = self.run(&self.writing, move |file, session| {
                session.reseal(file, epoch, progress)
            });
            let (more, reached) = step.await?;
            pieces += more;
            progress = reached;
        }
        self.run(&self.writing, move |file, session| session.scrub(file, epoch))
            .await?;
        Ok(pieces)
    }

    async fn take_lease(&self, request: LeaseRequest) -> Result<LeaseGrant, StoreError> {
        self.run(&self.leasing, |file, session| session.take_lease(file, request))
            .await
    }

    async fn renew(&self, epoch: u64, length: Duration, at: Timestamp) -> Result<(), StoreError> {
        self.run(&self.leasing, move |file, session| {
            session.write(file, |rows| {
                let (highest, mut view) = holds(rows, epoch)?;
                view.beat += 1;
                view.length = length;
                view.renewed = at;
                rows.put_lease(&LeaseRow {
                    epoch: highest,
                    held: Some(view),
                })
            })
        })
        .await
    }

    async fn release(&self, epoch: u64) -> Result<(), StoreError> {
        self.run(&self.leasing, move |file, session| {
            session.write(file, |rows| match holds(rows, epoch) {
                Ok((highest, _)) => rows.put_lease(&LeaseRow {
                    epoch: highest,
                    held: None,
                }),
                Err(StoreError::LostLease { .. }) => Ok(()),
                Err(error) => Err(error),
            })
        })
        .await
    }

    async fn lease(&self) -> Result<Option<LeaseView>, StoreError> {
        self.run(&self.leasing, |file, session| {
            session.read(file, |rows| rows.lease().map(|row| row.held))
        })
        .await
    }

    fn is_local(&self) -> bool {
        true
    }

    fn location(&self) -> String {
        self.file.location()
    }
}
