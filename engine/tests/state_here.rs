//! Commits on the calling thread: nobody is waited for there, and the order is that of all commits.
//!
//! Whether a commit waited for somebody is told by polling it once: one that did not is done then.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use gabion_engine::address::CountedIds;
use gabion_engine::state::clock::StoppedClock;
use gabion_engine::state::event::EventBody;
use gabion_engine::state::lease::HeartbeatMode;
use gabion_engine::state::process::Processes;
use gabion_engine::state::{
    Journal, JournalError, JournalOptions, MemoryStore, SqliteStore, StateStore, StoreError,
};
use gabion_testing::store_events::{address, create, holder, run, succeeded};
use rusqlite::{Connection, TransactionBehavior};

async fn open(store: Arc<dyn StateStore>, heartbeat: HeartbeatMode) -> Arc<Journal> {
    let options = JournalOptions {
        project: "tests".into(),
        holder: holder("ada"),
        run: run(1),
        lease_length: Duration::from_secs(30),
        lock_timeout: Duration::ZERO,
        heartbeat,
        processes: Processes::default(),
        key: None,
        head_mark: None,
        lineage: None,
        clock: Arc::new(StoppedClock::default()),
        ids: Arc::new(CountedIds::default()),
    };
    Arc::new(Journal::open(store, options).await.unwrap())
}

async fn open_at(path: &Path) -> Arc<Journal> {
    open(Arc::new(SqliteStore::at(path)), HeartbeatMode::Thread).await
}

fn once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn a_draft_is_durable_at_once_while_nobody_else_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let journal = open_at(&path).await;
    for number in 1..=10 {
        let mut draft = journal.draft();
        draft.push(create(number, number, &format!("r{number}"))).unwrap();
        draft.push(succeeded(number, &format!("id-{number}"), 1)).unwrap();
        let commit = std::pin::pin!(journal.commit_draft_here(draft));
        let Poll::Ready(state) = once(commit) else {
            panic!("commit {number} waited for somebody");
        };
        let there = SqliteStore::at(&path).load().await.unwrap().state;
        assert_eq!((&there, there.len() as u64), (&*state.unwrap(), number));
    }
    // Nothing to write is done as soon.
    assert!(once(std::pin::pin!(journal.commit_draft_here(journal.draft()))).is_ready());
    journal.close().await.unwrap();
    let mut late = journal.draft();
    late.push(create(11, 11, "late")).unwrap();
    let refused = journal.commit_draft_here(late).await;
    assert!(matches!(refused, Err(JournalError::Closed)), "{refused:?}");
    let log = SqliteStore::at(&path).events(0, 100).await.unwrap();
    assert_eq!(log.last().unwrap().event.body, EventBody::LeaseReleased);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_works_elsewhere_is_waited_for() {
    let journal = open(Arc::new(MemoryStore::new()), HeartbeatMode::Task).await;
    let mut draft = journal.draft();
    draft.push(create(1, 1, "a")).unwrap();
    let mut commit = std::pin::pin!(journal.commit_draft_here(draft));
    assert!(once(commit.as_mut()).is_pending());
    assert_eq!(commit.await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_sent_before_is_written_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let journal = open_at(&path).await;
    for round in 0..50 {
        let (first, second) = (2 * round + 1, 2 * round + 2);
        let mut draft = journal.draft();
        draft.push(create(second, second, &format!("r{second}"))).unwrap();
        let mut sent = std::pin::pin!(journal.commit(vec![create(first, first, &format!("r{first}"))]));
        // It is on its way, or done already; in neither case waited for.
        let early = once(sent.as_mut());
        let state = journal.commit_draft_here(draft).await.unwrap();
        assert_eq!(state.len() as u64, second);
        assert!(state.current(&address(&format!("r{first}"))).is_some());
        if early.is_pending() {
            sent.await.unwrap();
        }
    }
    journal.close().await.unwrap();
    let log = SqliteStore::at(&path).events(0, 1000).await.unwrap();
    let order: Vec<u64> = log
        .iter()
        .filter_map(|event| match &event.event.body {
            EventBody::Intent(intent) => intent.address.name.as_str()[1..].parse().ok(),
            _ => None,
        })
        .collect();
    assert_eq!(order, (1..=100).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commits_of_many_tasks_beside_those_made_here_are_all_written_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let journal = open_at(&path).await;
    let tasks: Vec<_> = (0..4_u64)
        .map(|task| {
            let journal = journal.clone();
            tokio::spawn(async move {
                for number in (0..25).map(|number| 1000 + task * 100 + number) {
                    let body = create(number, number, &format!("t{number}"));
                    let state = journal.commit(vec![body]).await.unwrap();
                    assert!(state.current(&address(&format!("t{number}"))).is_some());
                }
            })
        })
        .collect();
    for number in 1..=100 {
        let mut draft = journal.draft();
        draft.push(create(number, number, &format!("h{number}"))).unwrap();
        let state = journal.commit_draft_here(draft).await.unwrap();
        assert!(state.current(&address(&format!("h{number}"))).is_some());
    }
    for task in tasks {
        task.await.unwrap();
    }
    journal.close().await.unwrap();
    // Loading checks the chain and folds all of it.
    assert_eq!(SqliteStore::at(&path).load().await.unwrap().state.len(), 200);
}

#[tokio::test]
async fn while_another_process_writes_the_thread_of_the_journal_waits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let journal = open_at(&path).await;
    let mut other = Connection::open(&path).unwrap();
    let writing = other
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    let mut draft = journal.draft();
    draft.push(create(1, 1, "a")).unwrap();
    let mut commit = std::pin::pin!(journal.commit_draft_here(draft));
    assert!(once(commit.as_mut()).is_pending());
    assert!(journal.state().is_empty());
    writing.rollback().unwrap();
    assert_eq!(commit.await.unwrap().len(), 1);
    // The store is as patient as before, and free again.
    let mut draft = journal.draft();
    draft.push(create(2, 2, "b")).unwrap();
    let state = journal.commit_draft_here(draft).await.unwrap();
    assert_eq!(state.len(), 2);
    journal.close().await.unwrap();
}

#[tokio::test]
async fn after_a_failure_here_nothing_is_written_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let journal = open_at(&path).await;
    let mut draft = journal.draft();
    draft.push(create(1, 1, "a")).unwrap();
    // Another writer took the lease over.
    let lease = SqliteStore::at(&path);
    lease.release(journal.epoch()).await.unwrap();
    let failed = journal.commit_draft_here(draft).await;
    let Err(JournalError::Failed(error)) = &failed else {
        panic!("{failed:?}");
    };
    assert!(matches!(**error, StoreError::LostLease { .. }), "{error}");
    let after = journal.commit(vec![create(2, 2, "b")]).await;
    assert!(matches!(after, Err(JournalError::Poisoned(_))), "{after:?}");
    let mut draft = journal.draft();
    draft.push(create(3, 3, "c")).unwrap();
    let after = journal.commit_draft_here(draft).await;
    assert!(matches!(after, Err(JournalError::Poisoned(_))), "{after:?}");
}
