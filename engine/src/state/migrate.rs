//! Moving a log from one store to another: the same events to the byte, the same lineage, serial and chain.
//!
//! 1. The lease of the source is taken, and the whole log copied to the target.
//! 2. `LogMoved` ends the log in the source. From now on the target is what counts, and whoever still comes to the
//!    source is told so.
//! 3. The same event is appended in the target, and `LogArrived` after it.
//!
//! Interrupted before 2, the source is what counts and the copy is brought up to date by the next attempt. Interrupted
//! afterwards, the next attempt does what is missing. A log can come back: the target then holds its beginning, closed by
//! `LogMoved`, and the rest is appended.

use std::sync::Arc;

use crate::address::RunId;
use crate::state::chain::{self, ChainedEvent};
use crate::state::copy::LogCopy;
use crate::state::event::{Event, EventBody, Writer};
use crate::state::journal::{Journal, JournalError, JournalOptions, OpenError};
use crate::state::lease::{self, LeaseOptions};
use crate::state::snapshot::Head;
use crate::state::store::{AdoptRequest, AppendRequest, StateStore, StoreError};

/// How many events one append carries at most.
const LARGEST_APPEND: usize = 4096;

/// What a migration is called in the log.
pub struct Migration {
    /// Where the log goes, as the next person types it.
    pub to: Arc<str>,
    /// Who writes, and how; the head mark is that of the project.
    pub options: JournalOptions,
}

/// How a migration ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// Where the log stands now, in the target.
    pub head: Head,
    /// How many events were kept before it was moved.
    pub events: usize,
    /// Whether an earlier attempt had moved it already, and only the rest was done.
    pub resumed: bool,
}

/// Why a log was not moved.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The source could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A store could not do what was needed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log was moved somewhere else already.
    #[error("the state that was at {location} was moved to {to} already")]
    Elsewhere {
        /// The source.
        location: String,
        /// Where it went.
        to: Arc<str>,
    },
    /// The target holds a log that is not this one.
    #[error(
        "there is another state at {location}: its lineage is {found}, and the one to move is {expected}"
    )]
    OtherLineage {
        /// The target.
        location: String,
        /// What is there.
        found: crate::address::Lineage,
        /// What should be moved.
        expected: crate::address::Lineage,
    },
    /// The target holds a log of the same lineage that goes further than the source, or another way.
    #[error(
        "the state at {location} is not a beginning of the one to move: it is at serial {found}, the one to move at {expected}"
    )]
    NotABeginning {
        /// The target.
        location: String,
        /// Its serial.
        found: u64,
        /// The source's serial.
        expected: u64,
    },
    /// What the target holds after copying is not what was copied.
    #[error("the state at {location} does not read back as it was written: {why}")]
    Unequal {
        /// The target.
        location: String,
        /// Why.
        why: String,
    },
    /// Ending the log in the source failed; the source may or may not be ended.
    #[error("the state could not be closed where it was: {0}")]
    Close(JournalError),
}

/// Moves a log. Repeating it after a crash or an error does what is missing.
///
/// # Errors
/// When one of the stores fails, the target holds another log or a longer one, or the source was moved elsewhere. The
/// source is what counts then, unless it says that it was moved.
pub async fn migrate(
    source: Arc<dyn StateStore>,
    target: &dyn StateStore,
    migration: Migration,
) -> Result<Migrated, MigrateError> {
    let Migration { to, options } = migration;
    let lease_options = LeaseOptions {
        holder: options.holder.clone(),
        length: options.lease_length,
        timeout: options.lock_timeout,
        processes: options.processes.clone(),
    };
    let clock = options.clock.clone();
    let from: Arc<str> = source.location().into();
    let loaded = source.load().await?;
    if let Some(gone) = &loaded.state.moved_to {
        // An earlier attempt got past the point of no return.
        let copy = LogCopy::read(&*source, loaded.state.epoch).await?;
        let there = match target.load().await {
            Ok(there) => there,
            Err(StoreError::NotFound { .. }) if **gone != *to => {
                return Err(MigrateError::Elsewhere {
                    location: source.location(),
                    to: gone.clone(),
                });
            }
            Err(StoreError::NotFound { .. }) => {
                bring(target, &copy, &lease_options, &*clock).await?;
                target.load().await?
            }
            Err(error) => return Err(error.into()),
        };
        let goes_on = there.head.lineage == copy.head().lineage
            && there.head.sequence > copy.head().sequence
            && LogCopy::read(target, 0).await?.continues(copy.head());
        if !goes_on {
            if **gone != *to {
                return Err(MigrateError::Elsewhere {
                    location: source.location(),
                    to: gone.clone(),
                });
            }
            bring(target, &copy, &lease_options, &*clock).await?;
            arrive(target, &copy, from, &lease_options, &*clock).await?;
        }
        return Ok(Migrated {
            head: target.load().await?.head,
            events: copy.events().len(),
            resumed: true,
        });
    }
    let journal = Journal::open(source.clone(), options).await?;
    let moved = async {
        let copy = LogCopy::read(&*source, journal.epoch()).await?;
        bring(target, &copy, &lease_options, &*clock).await?;
        let events = copy.events().len();
        journal
            .commit(vec![EventBody::LogMoved { to }])
            .await
            .map_err(MigrateError::Close)?;
        let copy = LogCopy::read(&*source, journal.epoch()).await?;
        bring(target, &copy, &lease_options, &*clock).await?;
        let head = arrive(target, &copy, from, &lease_options, &*clock).await?;
        Ok::<_, MigrateError>(Migrated {
            head,
            events,
            resumed: false,
        })
    }
    .await;
    let closed = journal.close().await;
    let moved = moved?;
    closed.map_err(MigrateError::Close)?;
    Ok(moved)
}

/// Makes the target hold exactly the log, and reads it back.
async fn bring(
    target: &dyn StateStore,
    copy: &LogCopy,
    lease_options: &LeaseOptions,
    clock: &dyn crate::state::Clock,
) -> Result<(), MigrateError> {
    let adopted = target
        .adopt(AdoptRequest {
            log: copy.clone(),
            over: None,
        })
        .await;
    match adopted {
        Ok(_) => {}
        Err(StoreError::Exists { .. }) => {
            let there = target.load().await?;
            let location = target.location();
            if there.head.lineage != copy.head().lineage {
                return Err(MigrateError::OtherLineage {
                    location,
                    found: there.head.lineage,
                    expected: copy.head().lineage,
                });
            }
            // What was closed by a move has nothing that did not come along, also where compaction dropped the proof.
            let closed = there.state.moved_to.is_some()
                && there.head.sequence <= copy.head().sequence
                && copy.chain_at(there.head.sequence).is_none();
            if !copy.continues(&there.head) && !closed {
                return Err(MigrateError::NotABeginning {
                    location,
                    found: there.head.sequence,
                    expected: copy.head().sequence,
                });
            }
            if there.head != *copy.head() {
                extend(target, copy, &there.head, lease_options, clock).await?;
            }
        }
        Err(error) => return Err(error.into()),
    }
    let back = LogCopy::read(target, 0).await?;
    if back.head() == copy.head() && back.state() == copy.state() {
        return Ok(());
    }
    Err(MigrateError::Unequal {
        location: target.location(),
        why: format!(
            "it is at serial {}, and {} was written",
            back.head().sequence,
            copy.head().sequence
        ),
    })
}

/// Appends what the target does not have yet.
async fn extend(
    target: &dyn StateStore,
    copy: &LogCopy,
    there: &Head,
    lease_options: &LeaseOptions,
    clock: &dyn crate::state::Clock,
) -> Result<(), MigrateError> {
    let missing: Vec<&ChainedEvent> = copy
        .events()
        .iter()
        .filter(|event| event.event.sequence > there.sequence)
        .collect();
    // An append writes events as this build does; an earlier one may have written other bytes.
    let same_bytes = copy.continues(there)
        && missing
            .iter()
            .all(|event| chain::encode(&event.event) == *event.encoded);
    let grant = lease::acquire(target, lease_options, clock).await?;
    let written = async {
        if !same_bytes {
            let log = copy.clone();
            let over = Some(grant.epoch);
            return target.adopt(AdoptRequest { log, over }).await.map(|_| ());
        }
        let mut expected_sequence = there.sequence;
        for events in missing.chunks(LARGEST_APPEND) {
            let head = target
                .append(AppendRequest {
                    epoch: grant.epoch,
                    expected_sequence,
                    events: events.iter().map(|event| event.event.clone()).collect(),
                })
                .await?;
            expected_sequence = head.sequence;
        }
        Ok::<_, StoreError>(())
    }
    .await;
    // What was written is what matters; the lease would run out by itself.
    let _released = target.release(grant.epoch).await;
    Ok(written?)
}

/// Opens the log in the target, after its `LogMoved`.
async fn arrive(
    target: &dyn StateStore,
    copy: &LogCopy,
    from: Arc<str>,
    lease_options: &LeaseOptions,
    clock: &dyn crate::state::Clock,
) -> Result<Head, MigrateError> {
    let grant = lease::acquire(target, lease_options, clock).await?;
    // It belongs to the run that moved the log.
    let nobody = || RunId::from_uuid(uuid::Uuid::nil());
    let writer = Writer {
        run: copy.state().run.0.unwrap_or_else(nobody),
        epoch: copy.state().epoch,
    };
    let event = Event::after(copy.state(), writer, clock.now(), EventBody::LogArrived { from });
    let appended = target
        .append(AppendRequest {
            epoch: grant.epoch,
            expected_sequence: copy.head().sequence,
            events: vec![event],
        })
        .await;
    let _released = target.release(grant.epoch).await;
    Ok(appended?)
}
