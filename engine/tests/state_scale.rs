//! The cost of a commit is what it changes, and not what is recorded.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use gabion_engine::address::CountedIds;
use gabion_engine::state::clock::StoppedClock;
use gabion_engine::state::lease::HeartbeatMode;
use gabion_engine::state::process::Processes;
use gabion_engine::state::{Journal, JournalOptions, SqliteStore, StateStore};
use gabion_testing::store_events::{create, holder, run, succeeded};

/// Makes `count` objects, 10 tasks at once, and returns how large the store is.
async fn apply(count: u64) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = SqliteStore::at(&path);
    let options = JournalOptions {
        project: "tests".into(),
        holder: holder("ada"),
        run: run(1),
        lease_length: Duration::from_secs(30),
        lock_timeout: Duration::ZERO,
        heartbeat: HeartbeatMode::Thread,
        processes: Processes::default(),
        key: None,
        head_mark: None,
        lineage: None,
        clock: Arc::new(StoppedClock::default()),
        ids: Arc::new(CountedIds::default()),
    };
    let journal = Arc::new(Journal::open(Arc::new(store.clone()), options).await.unwrap());
    let tasks: Vec<_> = (0..10)
        .map(|task| {
            let journal = journal.clone();
            tokio::spawn(async move {
                for number in (task..count).step_by(10) {
                    journal
                        .commit(vec![create(number, number, &format!("r{number}"))])
                        .await
                        .unwrap();
                    let state = journal
                        .commit(vec![succeeded(number, &format!("id-{number}"), 1)])
                        .await
                        .unwrap();
                    // Somebody always looks at an earlier state while the next one is made.
                    tokio::task::yield_now().await;
                    drop(state);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(journal.state().len() as u64, count);
    journal.close().await.unwrap();
    drop(journal);
    assert_eq!(store.load().await.unwrap().state.len() as u64, count);
    drop(store);
    std::fs::metadata(&path).unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn size_grows_with_the_number_of_changes() {
    let (small, large) = (apply(300).await, apply(3000).await);
    assert!(large < small * 12, "{small} bytes, then {large}");
}
