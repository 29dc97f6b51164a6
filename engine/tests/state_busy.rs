//! Somebody is stuck in the middle of a write: others wait, and in the end say who it is.
//!
//! The other process is this test program itself, running [`other_process`].

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use gabion_engine::address::{CountedIds, IdSource, RandomIds, RunId};
use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::clock::SystemClock;
use gabion_engine::state::event::Holder;
use gabion_engine::state::lease::HeartbeatMode;
use gabion_engine::state::process::Processes;
use gabion_engine::state::snapshot::Head;
use gabion_engine::state::store::{
    AppendRequest, CreateRequest, LeaseGrant, LeaseRequest, LeaseView, Loaded,
};
use gabion_engine::state::{
    Journal, JournalError, JournalOptions, MemoryStore, OpenError, SqliteStore, State, StateStore, StoreError,
};
use gabion_testing::store_events::{create, creation};
use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rusqlite::Connection;

const STORE: &str = "GABION_TEST_BUSY_STORE";
const LEASE: &str = "GABION_TEST_BUSY_LEASE";

/// How long a store of these tests waits for another process.
const PATIENCE: Duration = Duration::from_millis(200);

fn options(who: &str) -> JournalOptions {
    JournalOptions {
        project: "tests".into(),
        holder: Holder {
            who: who.to_owned(),
            host: "here".to_owned(),
            process: Some(Processes::default().own().unwrap()),
            operation: "apply".to_owned(),
        },
        run: RunId::from_uuid(RandomIds.next()),
        lease_length: Duration::from_secs(30),
        lock_timeout: Duration::ZERO,
        heartbeat: HeartbeatMode::Thread,
        processes: Processes::default(),
        key: None,
        head_mark: None,
        lineage: None,
        clock: Arc::new(SystemClock),
        ids: Arc::new(CountedIds::default()),
    }
}

fn store(path: &Path) -> SqliteStore {
    SqliteStore::at(path).patient_for(PATIENCE)
}

/// What the other process does: it takes the lease if it shall, begins a write, and ends it when it is told to.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the other process gets its orders from its parent test"
)]
fn other_process() {
    let Some(path) = std::env::var_os(STORE).map(PathBuf::from) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let journal = std::env::var_os(LEASE).map(|_| {
        let opening = Journal::open(Arc::new(SqliteStore::at(&path)), options("child"));
        runtime.block_on(opening).unwrap()
    });
    let mut connection = Connection::open(&path).unwrap();
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .unwrap();
    transaction
        .execute("INSERT INTO meta VALUES ('left', '{}', '')", [])
        .unwrap();
    println!("\nwriting");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    transaction.rollback().unwrap();
    drop(journal);
}

struct Stuck {
    child: Child,
    /// Kept, so that what it says at its end finds a reader.
    _said: Lines<BufReader<ChildStdout>>,
}

impl Stuck {
    fn start(path: &Path, with_lease: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "other_process", "--nocapture", "--test-threads=1"])
            .env(STORE, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if with_lease {
            command.env(LEASE, "1");
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "writing"));
        let stuck = Self { child, _said: lines };
        stuck.signal(Signal::SIGSTOP);
        let stat = format!("/proc/{}/stat", stuck.child.id());
        let began = Instant::now();
        while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
            assert!(began.elapsed() < Duration::from_secs(30));
            std::thread::yield_now();
        }
        stuck
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    fn go_on(&mut self) {
        self.signal(Signal::SIGCONT);
        let orders = self.child.stdin.as_mut().unwrap();
        writeln!(orders, "end").unwrap();
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        // It may be gone already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[tokio::test]
async fn a_holder_stopped_within_a_commit_is_named_and_disturbs_no_reader() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let stuck = Stuck::start(&path, true);
    let before = store(&path).load().await.unwrap().state;
    assert_eq!(
        store(&path).events(0, 10).await.unwrap().len() as u64,
        before.serial
    );
    assert!(store(&path).lease().await.unwrap().is_some());

    let began = Instant::now();
    let mut waiting = options("parent");
    waiting.lock_timeout = Duration::from_millis(700);
    match Journal::open(Arc::new(store(&path)), waiting).await {
        Err(OpenError::Store(StoreError::Locked(view))) => {
            assert_eq!(view.holder.process.unwrap().pid, stuck.child.id());
        }
        other => panic!("{:?}", other.err()),
    }
    assert!(began.elapsed() >= Duration::from_millis(700));
}

#[tokio::test]
async fn a_stranger_stopped_within_a_write_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    store(&path).create(creation()).await.unwrap();
    let stuck = Stuck::start(&path, false);
    let refused = Journal::open(Arc::new(store(&path)), options("parent")).await;
    let Err(OpenError::Store(error @ StoreError::Busy { .. })) = refused else {
        panic!("{:?}", refused.err());
    };
    let text = error.to_string();
    let pid = format!("process {} ", stuck.child.id());
    assert!(text.contains(&pid) && text.contains("which is stopped"), "{text}");
    assert!(error.wrote_nothing());
}

#[tokio::test]
async fn the_dead_holder_of_a_busy_store_is_not_asked_for_without_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let holder = Stuck::start(&path, true);
    drop(holder);
    let _stuck = Stuck::start(&path, false);
    let refused = Journal::open(Arc::new(store(&path)), options("parent")).await;
    assert!(
        matches!(
            refused,
            Err(OpenError::Store(StoreError::Busy { .. } | StoreError::Locked(_)))
        ),
        "{:?}",
        refused.err()
    );
}

#[tokio::test]
async fn a_commit_waits_until_a_stuck_write_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let journal = Journal::open(Arc::new(store(&path)), options("parent"))
        .await
        .unwrap();
    let mut stuck = Stuck::start(&path, false);
    let commit = journal.commit(vec![create(1, 1, "a")]);
    tokio::pin!(commit);
    let early = tokio::time::timeout(PATIENCE * 4, &mut commit).await;
    assert!(early.is_err(), "{early:?}");
    stuck.go_on();
    assert_eq!(commit.await.unwrap().len(), 1);
    journal.commit(vec![create(2, 2, "b")]).await.unwrap();
    journal.close().await.unwrap();
    assert_eq!(store(&path).load().await.unwrap().state.len(), 2);
}

/// A store that is busy a number of times.
struct Busy {
    inner: MemoryStore,
    times: AtomicUsize,
}

#[async_trait]
impl StateStore for Busy {
    async fn create(&self, request: CreateRequest) -> Result<Head, StoreError> {
        self.inner.create(request).await
    }
    async fn load(&self) -> Result<Loaded, StoreError> {
        self.inner.load().await
    }
    async fn append(&self, request: AppendRequest) -> Result<Head, StoreError> {
        let left = self.times.load(Ordering::Relaxed);
        if left > 0 {
            self.times.store(left - 1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(10)).await;
            return Err(StoreError::Busy {
                location: "memory".to_owned(),
                what: "process 4711 is in the middle of a write".to_owned(),
            });
        }
        self.inner.append(request).await
    }
    async fn events(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, StoreError> {
        self.inner.events(after, limit).await
    }
    async fn base(&self) -> Result<State, StoreError> {
        self.inner.base().await
    }
    async fn compact(&self, epoch: u64, up_to: u64) -> Result<u64, StoreError> {
        self.inner.compact(epoch, up_to).await
    }
    async fn take_lease(&self, request: LeaseRequest) -> Result<LeaseGrant, StoreError> {
        self.inner.take_lease(request).await
    }
    async fn renew(&self, epoch: u64, length: Duration, at: Timestamp) -> Result<(), StoreError> {
        self.inner.renew(epoch, length, at).await
    }
    async fn release(&self, epoch: u64) -> Result<(), StoreError> {
        self.inner.release(epoch).await
    }
    async fn lease(&self) -> Result<Option<LeaseView>, StoreError> {
        self.inner.lease().await
    }
    fn location(&self) -> String {
        self.inner.location()
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_busy_ends_the_run_and_says_who_keeps_it_so() {
    for (times, ends) in [(5, false), (usize::MAX, true)] {
        let store = Busy {
            inner: MemoryStore::new(),
            times: AtomicUsize::new(times),
        };
        let mut options = options("parent");
        options.heartbeat = HeartbeatMode::Task;
        let journal = Journal::open(Arc::new(store), options).await.unwrap();
        let began = tokio::time::Instant::now();
        match journal.commit(vec![create(1, 1, "a")]).await {
            Ok(_) => assert!(!ends),
            Err(JournalError::Failed(error)) => {
                assert!(ends && error.to_string().contains("process 4711"), "{error}");
                assert!(began.elapsed() < Duration::from_secs(150));
                let after = journal.commit(vec![create(1, 1, "a")]).await;
                assert!(matches!(after, Err(JournalError::Poisoned(_))), "{after:?}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}
