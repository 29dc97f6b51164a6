//! Real processes: a holder that is killed, one that is stopped, and what they leave behind.
//!
//! The other process is this test program itself, running [`other_process`].

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gabion_engine::address::{CountedIds, IdSource, RandomIds, RunId};
use gabion_engine::state::clock::SystemClock;
use gabion_engine::state::event::Holder;
use gabion_engine::state::head::HeadMark;
use gabion_engine::state::lease::HeartbeatMode;
use gabion_engine::state::process::Processes;
use gabion_engine::state::verify::verify;
use gabion_engine::state::{Journal, JournalOptions, OpenError, SqliteStore, StateStore, StoreError};
use gabion_testing::store_events::{address, checkpoint, create};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const STORE: &str = "GABION_TEST_STORE";
const LENGTH: &str = "GABION_TEST_LEASE_MS";

/// Nothing may take longer than this; most takes milliseconds.
const BOUND: Duration = Duration::from_secs(60);

fn options(store: &Path, who: &str, lease_length: Duration) -> JournalOptions {
    let directory = store.parent().unwrap();
    JournalOptions {
        project: "tests".into(),
        holder: Holder {
            who: who.to_owned(),
            host: "here".to_owned(),
            process: Some(Processes::default().own().unwrap()),
            operation: "apply".to_owned(),
        },
        run: RunId::from_uuid(RandomIds.next()),
        lease_length,
        lock_timeout: Duration::ZERO,
        heartbeat: HeartbeatMode::Thread,
        processes: Processes::default(),
        key: None,
        head_mark: Some(HeadMark::new(&directory.join("marks"), directory, "")),
        lineage: None,
        clock: Arc::new(SystemClock),
        ids: Arc::new(CountedIds::default()),
    }
}

/// What the other process does: it opens the journal and commits one creation for every line it reads. Run as a test
/// like any other, without the variable, it does nothing.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the other process gets its orders from its parent test"
)]
fn other_process() {
    let Some(store) = std::env::var_os(STORE).map(PathBuf::from) else {
        return;
    };
    let length = std::env::var(LENGTH).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let options = options(&store, "child", Duration::from_millis(length));
        let journal = Journal::open(Arc::new(SqliteStore::at(&store)), options)
            .await
            .unwrap();
        println!("\nheld {}", journal.epoch());
        let mut number = journal.state().serial;
        for line in std::io::stdin().lines() {
            for _ in 0..line.unwrap().parse::<u64>().unwrap() {
                number += 1;
                let bodies = vec![
                    create(number, number, &format!("r{number}")),
                    checkpoint(number, "id"),
                ];
                match journal.commit(bodies).await {
                    Ok(state) => println!("\nserial {}", state.serial),
                    Err(error) => println!("\nerror {error}"),
                }
            }
        }
    });
}

struct Other {
    child: Child,
    orders: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(store: &Path, lease: Duration) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "other_process", "--nocapture", "--test-threads=1"])
            .env(STORE, store)
            .env(LENGTH, lease.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut other = Self {
            orders: child.stdin.take().unwrap(),
            lines: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
        };
        other.wait_for("held");
        other
    }

    /// Reads until a line that starts with a word, and returns the rest of it.
    fn wait_for(&mut self, word: &str) -> String {
        for line in self.lines.by_ref() {
            if let Some(rest) = line.unwrap().strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
        panic!("the other process ended before it said `{word}`");
    }

    fn order(&mut self, count: u64) {
        writeln!(self.orders, "{count}").unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may be gone already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

async fn open(store: &Path, timeout: Duration) -> Result<Journal, OpenError> {
    let mut options = options(store, "parent", Duration::from_secs(30));
    options.lock_timeout = timeout;
    Journal::open(Arc::new(SqliteStore::at(store)), options).await
}

#[tokio::test]
async fn a_killed_holder_is_replaced_at_once_and_its_call_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("state.db");
    let mut other = Other::start(&store, Duration::from_secs(3600));
    other.order(1);
    other.wait_for("serial");
    match open(&store, Duration::ZERO).await {
        Err(OpenError::Store(StoreError::Locked(view))) => {
            assert_eq!(view.holder.process.unwrap().pid, other.child.id());
        }
        other => panic!("{:?}", other.err()),
    }
    other.signal(Signal::SIGKILL);
    // It is a zombie now, which nobody has waited for: gone all the same, as soon as its threads are.
    let began = Instant::now();
    let journal = loop {
        match open(&store, Duration::ZERO).await {
            Ok(journal) => break journal,
            Err(OpenError::Store(StoreError::Locked(_))) if began.elapsed() < BOUND => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(journal.epoch(), 2);
    assert_eq!(journal.state().open_calls().count(), 1);
    assert!(journal.state().current(&address("r2")).is_some());
    journal.close().await.unwrap();
}

#[tokio::test]
async fn whatever_was_acknowledged_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("state.db");
    for round in 0..5 {
        let mut other = Other::start(&store, Duration::from_secs(3600));
        other.order(10_000);
        let mut acknowledged = 0;
        for _ in 0..=round * 3 {
            acknowledged = other.wait_for("serial").parse::<u64>().unwrap();
        }
        drop(other);
        let reader = SqliteStore::at(&store);
        let loaded = reader.load().await.unwrap();
        assert!(loaded.head.sequence >= acknowledged, "round {round}");
        assert_eq!(verify(&reader).await.unwrap().damage, Vec::<String>::new());
        assert_eq!(
            (loaded.head.sequence - loaded.state.epoch - 1) % 2,
            0,
            "half a commit"
        );
    }
}

#[tokio::test]
async fn a_stopped_holder_is_replaced_after_its_silence_and_then_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("state.db");
    let length = Duration::from_millis(1500);
    let mut other = Other::start(&store, length);
    other.order(1);
    other.wait_for("serial");
    other.signal(Signal::SIGSTOP);
    // It exists, so it may go on at any moment.
    let refused = open(&store, Duration::ZERO).await;
    assert!(
        matches!(refused, Err(OpenError::Store(StoreError::Locked(_)))),
        "{:?}",
        refused.err()
    );

    let began = Instant::now();
    let journal = open(&store, BOUND).await.unwrap();
    assert!(began.elapsed() >= length, "{:?}", began.elapsed());
    let before = journal.state();
    other.signal(Signal::SIGCONT);
    other.order(1);
    let error = other.wait_for("error");
    assert!(error.contains("`apply` by parent on here"), "{error}");
    journal.commit(vec![checkpoint(2, "id")]).await.unwrap();
    assert_eq!(journal.state().serial, before.serial + 2);
    journal.close().await.unwrap();
}
