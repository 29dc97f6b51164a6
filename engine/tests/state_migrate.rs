//! A log moves from one store to another, and whatever fails on the way, repeating it does what is missing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::address::{IdSource, RandomIds, RunId};
use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::clock::StoppedClock;
use gabion_engine::state::copy::LogCopy;
use gabion_engine::state::lease::HeartbeatMode;
use gabion_engine::state::migrate::{MigrateError, Migrated, Migration, migrate};
use gabion_engine::state::process::Processes;
use gabion_engine::state::store::{
    AdoptRequest, AppendRequest, CreateRequest, LeaseGrant, LeaseRequest, LeaseView, Loaded, StoreError,
};
use gabion_engine::state::verify::verify;
use gabion_engine::state::{
    Head, Journal, JournalOptions, MemoryStore, OpenError, SqliteStore, State, StateStore,
};
use gabion_testing::store_events::{create, creation, holder, succeeded};
use jiff::Timestamp;

fn options() -> JournalOptions {
    JournalOptions {
        project: "tests".into(),
        holder: holder("ada"),
        run: RunId::from_uuid(RandomIds.next()),
        lease_length: Duration::from_secs(30),
        lock_timeout: Duration::ZERO,
        heartbeat: HeartbeatMode::Task,
        processes: Processes::default(),
        key: None,
        head_mark: None,
        lineage: None,
        clock: Arc::new(StoppedClock::default()),
        ids: Arc::new(RandomIds),
    }
}

async fn write(store: &Arc<dyn StateStore>, number: u64) {
    let journal = Journal::open(store.clone(), options()).await.unwrap();
    let name = format!("r{number}");
    journal
        .commit(vec![create(number, number, &name), succeeded(number, &name, 1)])
        .await
        .unwrap();
    journal.close().await.unwrap();
}

async fn source() -> Arc<dyn StateStore> {
    let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new());
    write(&store, 1).await;
    write(&store, 2).await;
    store
}

async fn go(
    source: &Arc<dyn StateStore>,
    target: &dyn StateStore,
    to: &str,
) -> Result<Migrated, MigrateError> {
    let migration = Migration {
        to: to.into(),
        options: options(),
    };
    migrate(source.clone(), target, migration).await
}

/// Checks that the source is closed, and that the target has all of it and can be written.
async fn arrived(source: &Arc<dyn StateStore>, target: &Arc<dyn StateStore>) {
    let old = LogCopy::read(&**source, 0).await.unwrap();
    let new = LogCopy::read(&**target, 0).await.unwrap();
    assert!(old.state().moved_to.is_some() && new.state().moved_to.is_none());
    assert!(new.continues(old.head()));
    assert_eq!(new.events()[..old.events().len()], *old.events());
    assert_eq!(verify(&**target).await.unwrap().damage, Vec::<String>::new());
    let refused = Journal::open(source.clone(), options()).await.err();
    assert!(matches!(refused, Some(OpenError::Moved { .. })), "{refused:?}");
    assert_eq!(target.lease().await.unwrap(), None);
    write(target, 77).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_moves_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (source().await, {
        let store: Arc<dyn StateStore> = Arc::new(SqliteStore::at(directory.path().join("state.db")));
        store
    });
    let before = first.load().await.unwrap();
    let moved = go(&first, &*second, "second").await.unwrap();
    assert_eq!(moved.events as u64, before.head.sequence);
    assert_eq!(moved.head.lineage, before.head.lineage);
    arrived(&first, &second).await;
    // Doing it once more changes nothing.
    let again = go(&first, &*second, "second").await.unwrap();
    assert!(again.resumed);
    assert_eq!(again.head, second.load().await.unwrap().head);
    // Elsewhere is refused: it is not there any more.
    let other = MemoryStore::new();
    let refused = go(&first, &other, "third").await;
    assert!(
        matches!(refused, Err(MigrateError::Elsewhere { .. })),
        "{refused:?}"
    );
    // And back, to where its beginning still is.
    go(&second, &*first, "first").await.unwrap();
    let records = first.load().await.unwrap().state;
    assert_eq!((records.len(), &records.moved_to), (3, &None));
    write(&first, 78).await;
    // Also when compaction dropped what both have.
    let journal = Journal::open(first.clone(), options()).await.unwrap();
    first.compact(journal.epoch(), u64::MAX).await.unwrap();
    journal.close().await.unwrap();
    go(&first, &*second, "second").await.unwrap();
    assert_eq!(second.load().await.unwrap().state.len(), 4);
    write(&second, 79).await;
}

#[tokio::test]
async fn another_log_is_never_written_over() {
    let first = source().await;
    let before = first.load().await.unwrap();
    let foreign = MemoryStore::new();
    foreign.create(creation()).await.unwrap();
    let refused = go(&first, &foreign, "second").await;
    assert!(
        matches!(refused, Err(MigrateError::OtherLineage { .. })),
        "{refused:?}"
    );
    // One that went further than the source.
    let further: Arc<dyn StateStore> = Arc::new(MemoryStore::new());
    let log = LogCopy::read(&*first, 0).await.unwrap();
    further.adopt(AdoptRequest { log, over: None }).await.unwrap();
    write(&further, 9).await;
    let refused = go(&first, &*further, "second").await;
    assert!(
        matches!(refused, Err(MigrateError::NotABeginning { .. })),
        "{refused:?}"
    );
    assert_eq!(first.load().await.unwrap().state, before.state);
    write(&first, 3).await;
}

/// A store whose calls fail at one point: before they do anything, or after they did it.
struct Failing {
    inner: Arc<dyn StateStore>,
    left: Arc<AtomicUsize>,
    after: bool,
}

impl Failing {
    async fn call<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let dead = || StoreError::Io {
            location: "here".to_owned(),
            what: "everything".to_owned(),
            source: std::io::Error::other("the process was killed").into(),
        };
        let left = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                Some(left.saturating_sub(1))
            })
            .unwrap();
        match left {
            0 => Err(dead()),
            1 if !self.after => Err(dead()),
            1 => work.await.and(Err(dead())),
            _ => work.await,
        }
    }
}

#[async_trait]
impl StateStore for Failing {
    async fn create(&self, request: CreateRequest) -> Result<Head, StoreError> {
        self.call(self.inner.create(request)).await
    }
    async fn load(&self) -> Result<Loaded, StoreError> {
        self.call(self.inner.load()).await
    }
    async fn append(&self, request: AppendRequest) -> Result<Head, StoreError> {
        self.call(self.inner.append(request)).await
    }
    async fn events(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, StoreError> {
        self.call(self.inner.events(after, limit)).await
    }
    async fn base(&self) -> Result<State, StoreError> {
        self.call(self.inner.base()).await
    }
    async fn compact(&self, epoch: u64, up_to: u64) -> Result<u64, StoreError> {
        self.call(self.inner.compact(epoch, up_to)).await
    }
    async fn adopt(&self, request: AdoptRequest) -> Result<Head, StoreError> {
        self.call(self.inner.adopt(request)).await
    }
    async fn take_lease(&self, request: LeaseRequest) -> Result<LeaseGrant, StoreError> {
        self.call(self.inner.take_lease(request)).await
    }
    async fn renew(&self, epoch: u64, length: Duration, at: Timestamp) -> Result<(), StoreError> {
        self.inner.renew(epoch, length, at).await
    }
    async fn release(&self, epoch: u64) -> Result<(), StoreError> {
        self.call(self.inner.release(epoch)).await
    }
    async fn lease(&self) -> Result<Option<LeaseView>, StoreError> {
        self.inner.lease().await
    }
    fn is_local(&self) -> bool {
        self.inner.is_local()
    }
    fn location(&self) -> String {
        "here".to_owned()
    }
}

/// Frees what a process that is gone left behind, as its successor would.
async fn free(store: &dyn StateStore) {
    if let Ok(Some(view)) = store.lease().await {
        store.release(view.epoch).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_the_next_attempt_does_what_is_missing() {
    for after in [false, true] {
        let mut point = 1;
        loop {
            let (first, second) = (
                source().await,
                Arc::new(MemoryStore::new()) as Arc<dyn StateStore>,
            );
            let before = first.load().await.unwrap();
            let left = Arc::new(AtomicUsize::new(point));
            let failing = |inner: &Arc<dyn StateStore>| Failing {
                inner: inner.clone(),
                left: left.clone(),
                after,
            };
            let source: Arc<dyn StateStore> = Arc::new(failing(&first));
            let failed = go(&source, &failing(&second), "second").await.is_err();
            for store in [&first, &second] {
                free(&**store).await;
            }
            // Until the source says that it was moved, it is whole and can be written.
            let now = first.load().await.unwrap();
            if now.state.moved_to.is_none() {
                assert_eq!(now.state.records().count(), before.state.len());
                write(&first, 50).await;
            }
            go(&first, &*second, "second").await.unwrap();
            arrived(&first, &second).await;
            if !failed && left.load(Ordering::SeqCst) > 1 {
                break;
            }
            point += 1;
        }
        assert!(point > 15, "only {point} points");
    }
}
