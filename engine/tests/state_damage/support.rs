//! A store as a crash leaves it, and what may be seen of it after its files were damaged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::envelope::Envelope;
use gabion_engine::state::event::EventBody;
use gabion_engine::state::head::{Continuity, HeadError, HeadMark};
use gabion_engine::state::snapshot::Head;
use gabion_engine::state::store::{AppendRequest, CreateRequest, LeaseRequest};
use gabion_engine::state::{SqliteStore, State, StateStore, StoreError};
use gabion_testing::store_events::{
    create, creation, delete, deleted, events, holder, lease_taken, moved, succeeded,
};
use rusqlite::Connection;

/// The files of a store, and what it held.
pub(crate) struct Files {
    pub(crate) database: Vec<u8>,
    pub(crate) log: Vec<u8>,
    pub(crate) known: Known,
}

/// What a store held after each of its commits.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) states: BTreeMap<u64, State>,
    pub(crate) events: Vec<ChainedEvent>,
    pub(crate) envelope: Envelope,
}

impl Known {
    pub(crate) fn last(&self) -> &State {
        self.states.last_key_value().unwrap().1
    }

    pub(crate) fn mark(&self) -> Head {
        self.last().head().unwrap()
    }
}

/// Small pages make small files, whose every byte can be damaged in turn.
pub(crate) const PAGE: usize = 512;

pub(crate) fn temporary() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    }
    .unwrap()
}

/// A store that a writer has open.
pub(crate) struct Writer {
    directory: tempfile::TempDir,
    store: SqliteStore,
    epoch: u64,
    known: Known,
}

impl Writer {
    pub(crate) async fn new(envelope: Envelope) -> Self {
        Self::of(envelope, creation()).await
    }

    /// Makes another project's.
    pub(crate) async fn of(envelope: Envelope, creation: CreateRequest) -> Self {
        let directory = temporary();
        let path = directory.path().join("state.db");
        let store = SqliteStore::sealed_at(&path, envelope.clone());
        store.create(creation.clone()).await.unwrap();
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = DELETE; PRAGMA page_size = {PAGE}; VACUUM; PRAGMA journal_mode = WAL;"
            ))
            .unwrap();
        drop(connection);
        let mut writer = Self {
            directory,
            store,
            epoch: 0,
            known: Known {
                states: BTreeMap::new(),
                events: Vec::new(),
                envelope,
            },
        };
        writer.note().await;
        let request = LeaseRequest {
            holder: holder("ada"),
            length: Duration::from_secs(30),
            at: creation.at,
            replaces: None,
        };
        writer.epoch = writer.store.take_lease(request).await.unwrap().epoch;
        writer.commit(vec![lease_taken()]).await;
        writer
    }

    async fn note(&mut self) {
        let state = self.store.load().await.unwrap().state;
        self.known.states.insert(state.serial, state);
    }

    pub(crate) async fn commit(&mut self, bodies: Vec<EventBody>) {
        let sequence = self.known.last().serial;
        let request = AppendRequest {
            epoch: self.epoch,
            expected_sequence: sequence,
            events: events(sequence + 1, self.epoch, bodies),
        };
        self.store.append(request).await.unwrap();
        self.note().await;
    }

    /// Commits a little of everything: objects that come, change, move and go.
    pub(crate) async fn work(&mut self, from: u64, to: u64) {
        for n in from..to {
            self.commit(vec![create(n, n, &format!("r{n}"))]).await;
            self.commit(vec![succeeded(n, &format!("id-{n}"), 1)]).await;
        }
        self.commit(vec![moved(&[(
            from,
            &format!("r{from}"),
            &format!("moved{from}"),
        )])])
        .await;
        self.commit(vec![delete(1000 + from, from, &format!("moved{from}"))])
            .await;
        self.commit(vec![deleted(1000 + from)]).await;
    }

    /// Brings what is in the write-ahead log into the database; the next commit begins the log anew.
    pub(crate) fn checkpoint(&self) {
        let connection = Connection::open(self.directory.path().join("state.db")).unwrap();
        let busy: bool = connection
            .query_row("PRAGMA wal_checkpoint(FULL)", [], |row| row.get(0))
            .unwrap();
        assert!(!busy);
    }

    /// Returns the files as they are now, while the writer has them open: what a crash would leave.
    pub(crate) async fn crash(&mut self) -> Files {
        self.known.events = self.store.events(0, 1000).await.unwrap();
        Files {
            database: std::fs::read(self.directory.path().join("state.db")).unwrap(),
            log: std::fs::read(self.directory.path().join("state.db-wal")).unwrap(),
            known: self.known.clone(),
        }
    }
}

/// A place where damaged files are looked at.
pub(crate) struct Bench {
    directory: tempfile::TempDir,
    known: Known,
    mark: HeadMark,
}

/// What was seen of damaged files.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    /// How often everything was there.
    pub(crate) whole: usize,
    /// How often an earlier commit's state was, which the head mark tells.
    pub(crate) shorter: usize,
    /// How often nothing could be read.
    pub(crate) refused: usize,
}

impl Seen {
    pub(crate) fn add(self, other: Self) -> Self {
        Self {
            whole: self.whole + other.whole,
            shorter: self.shorter + other.shorter,
            refused: self.refused + other.refused,
        }
    }
}

impl Bench {
    pub(crate) fn new(known: &Known) -> Self {
        let directory = temporary();
        Self {
            mark: HeadMark::new(&directory.path().join("marks"), directory.path(), ""),
            directory,
            known: known.clone(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("state.db")
    }

    /// Lays out files; without a log there is none.
    pub(crate) fn lay(&self, database: Option<&[u8]>, log: Option<&[u8]>) {
        let path = self.path();
        for (name, content) in [
            ("state.db", database),
            ("state.db-wal", log),
            ("state.db-shm", None),
        ] {
            let path = path.with_file_name(name);
            match content {
                Some(content) => std::fs::write(path, content).unwrap(),
                None => match std::fs::remove_file(path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
                    _ => {}
                },
            }
        }
    }

    /// Looks at what is laid out, and asserts that it is what may be seen of damaged files.
    pub(crate) async fn look(&self, what: &str) -> Seen {
        let store = SqliteStore::sealed_at(self.path(), self.known.envelope.clone());
        let state = match store.load().await {
            Ok(loaded) => loaded.state,
            Err(error) => {
                self.names_the_file(&error, what);
                if matches!(error, StoreError::NotFound { .. }) {
                    // Without its mark it would be a new project.
                    let told = self.mark.check(Some(self.known.mark()), &store, None).await;
                    assert!(matches!(told, Err(HeadError::Missing { .. })), "{what}: {told:?}");
                }
                let refused = 1;
                return Seen {
                    refused,
                    ..Seen::default()
                };
            }
        };
        let expected = self.known.states.get(&state.serial);
        assert_eq!(Some(&state), expected, "{what}");
        match store.events(0, 1000).await {
            Ok(events) => {
                let expected = &self.known.events[..events.len()];
                assert_eq!(
                    (events.as_slice(), events.len() as u64),
                    (expected, state.serial),
                    "{what}"
                );
            }
            Err(error) => self.names_the_file(&error, what),
        }
        let told = self
            .mark
            .check(Some(self.known.mark()), &store, Some(&state))
            .await;
        let last = self.known.last().serial;
        if state.serial < last {
            match told {
                Err(error @ HeadError::Behind { .. }) => {
                    let missing = format!("events {} to {last} are missing", state.serial + 1);
                    assert!(error.to_string().contains(&missing), "{what}: {error}");
                }
                other => panic!("{what}: {other:?}"),
            }
            let shorter = 1;
            return Seen {
                shorter,
                ..Seen::default()
            };
        }
        assert!(matches!(told, Ok(Continuity::Continued)), "{what}: {told:?}");
        let whole = 1;
        Seen {
            whole,
            ..Seen::default()
        }
    }

    /// Asserts that an error names the file and what cannot be read.
    pub(crate) fn names_the_file(&self, error: &StoreError, what: &str) {
        let text = error.to_string();
        assert!(
            text.contains(&self.path().display().to_string()),
            "{what}: {text}"
        );
        match error {
            StoreError::Unreadable { what: part, why, .. } => {
                assert!(!part.is_empty() && !why.is_empty(), "{what}: {text}");
                assert!(
                    error.hint().unwrap().contains("gabion state rebuild"),
                    "{what}: {text}"
                );
            }
            // A bit of the key's name.
            StoreError::MissingKey { key, .. } => assert!(!key.is_empty(), "{what}: {text}"),
            StoreError::NewerFormat { .. } | StoreError::NotFound { .. } => {}
            other => panic!("{what}: {other:?}"),
        }
    }
}

/// Does work for every number, on two threads with a bench each, and adds up what was seen.
pub(crate) fn for_each(
    known: &Known,
    numbers: std::ops::Range<usize>,
    work: impl AsyncFn(&Bench, usize) -> Seen + Sync,
) -> Seen {
    let seen = |part: usize| {
        let bench = Bench::new(known);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut seen = Seen::default();
            for number in numbers.clone().filter(|number| number % 2 == part) {
                seen = seen.add(work(&bench, number).await);
            }
            seen
        })
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| seen(1));
        seen(0).add(other.join().unwrap())
    })
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(work)
}
