//! The journal: durable and folded on return, merged commits, poison, the lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::address::{CountedIds, Lineage};
use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::clock::StoppedClock;
use gabion_engine::state::event::EventBody;
use gabion_engine::state::head::{HeadError, HeadMark};
use gabion_engine::state::lease::HeartbeatMode;
use gabion_engine::state::process::Processes;
use gabion_engine::state::snapshot::Head;
use gabion_engine::state::store::{
    AppendRequest, CreateRequest, LeaseGrant, LeaseRequest, LeaseView, Loaded,
};
use gabion_engine::state::{
    Journal, JournalError, JournalOptions, MemoryStore, OpenError, State, StateStore, StoreError,
    load_for_reading,
};
use gabion_testing::store_events::{
    address, checkpoint, create, deleted, holder, run, run_started, succeeded, uid,
};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;

fn options() -> JournalOptions {
    JournalOptions {
        project: "tests".into(),
        holder: holder("ada"),
        run: run(1),
        lease_length: Duration::from_secs(30),
        lock_timeout: Duration::ZERO,
        heartbeat: HeartbeatMode::Task,
        processes: Processes::default(),
        key: None,
        head_mark: None,
        lineage: None,
        clock: Arc::new(StoppedClock::default()),
        ids: Arc::new(CountedIds::default()),
    }
}

/// A memory store whose appends wait for permission, are counted, and can be made to fail.
#[derive(Clone)]
struct Gated {
    inner: MemoryStore,
    gate: Arc<Semaphore>,
    appends: Arc<AtomicUsize>,
    failing: Arc<AtomicBool>,
    mute: Arc<AtomicBool>,
}

impl Gated {
    fn open() -> Self {
        Self {
            inner: MemoryStore::new(),
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            appends: Arc::default(),
            failing: Arc::default(),
            mute: Arc::default(),
        }
    }
}

#[async_trait]
impl StateStore for Gated {
    async fn create(&self, request: CreateRequest) -> Result<Head, StoreError> {
        self.inner.create(request).await
    }
    async fn load(&self) -> Result<Loaded, StoreError> {
        self.inner.load().await
    }
    async fn append(&self, request: AppendRequest) -> Result<Head, StoreError> {
        let _permit = self.gate.acquire().await.expect("the gate is never closed");
        self.appends.fetch_add(1, Ordering::Relaxed);
        let head = self.inner.append(request).await?;
        if self.failing.load(Ordering::Relaxed) {
            // The answer is lost after the effect.
            return Err(StoreError::io("/gone", "writing", std::io::Error::other("lost")));
        }
        Ok(head)
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
        if self.mute.load(Ordering::Relaxed) {
            return Err(StoreError::io(
                "/gone",
                "renewing",
                std::io::Error::other("unreachable"),
            ));
        }
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
async fn a_commit_is_durable_and_folded_when_it_returns() {
    let store = MemoryStore::new();
    let journal = Journal::open(Arc::new(store.clone()), options()).await.unwrap();
    let state = journal
        .commit(vec![create(1, 1, "a"), checkpoint(1, "id-1")])
        .await
        .unwrap();
    assert_eq!(state.current(&address("a")).unwrap().uid, uid(1));
    assert_eq!(store.load().await.unwrap().state, *state);
    assert_eq!(journal.state(), state);
    journal.close().await.unwrap();
    assert_eq!(store.lease().await.unwrap(), None);
    let last = store.events(4, 10).await.unwrap();
    assert_eq!(last[0].event.body, EventBody::LeaseReleased);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_writes_nothing_leaves_no_event() {
    let store = MemoryStore::new();
    let journal = Journal::open(Arc::new(store.clone()), options()).await.unwrap();
    journal.commit(Vec::new()).await.unwrap();
    journal.close().await.unwrap();
    assert_eq!(store.load().await.unwrap().head.sequence, 1);
}

#[tokio::test(start_paused = true)]
async fn commits_at_once_are_one_append() {
    let store = Gated::open();
    let journal = Arc::new(Journal::open(Arc::new(store.clone()), options()).await.unwrap());
    store.gate.forget_permits(usize::MAX);
    let tasks: Vec<_> = (1..=50)
        .map(|number| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let body = create(number, number, &format!("r{number}"));
                journal.commit(vec![body]).await
            })
        })
        .collect();
    tokio::task::yield_now().await;
    store.gate.add_permits(1000);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(journal.state().len(), 50);
    let appends = store.appends.load(Ordering::Relaxed);
    assert!(appends <= 2, "{appends} appends");
}

#[tokio::test(start_paused = true)]
async fn an_illegal_commit_concerns_nobody_else() {
    let journal = Journal::open(Arc::new(MemoryStore::new()), options())
        .await
        .unwrap();
    let (bad, good) = tokio::join!(
        journal.commit(vec![create(1, 1, "a"), deleted(99)]),
        journal.commit(vec![create(2, 2, "b")])
    );
    assert!(matches!(bad, Err(JournalError::Illegal(_))), "{bad:?}");
    let state = good.unwrap();
    assert!(state.current(&address("a")).is_none());
    assert!(state.current(&address("b")).is_some());
    journal.commit(vec![succeeded(2, "id", 1)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_append_nothing_is_written_any_more() {
    let store = Gated::open();
    let journal = Journal::open(Arc::new(store.clone()), options()).await.unwrap();
    journal.commit(vec![create(1, 1, "a")]).await.unwrap();
    store.failing.store(true, Ordering::Relaxed);
    let failed = journal.commit(vec![succeeded(1, "id", 1)]).await;
    assert!(matches!(failed, Err(JournalError::Failed(_))), "{failed:?}");
    store.failing.store(false, Ordering::Relaxed);
    let later = journal.commit(vec![create(2, 2, "b")]).await;
    assert!(matches!(later, Err(JournalError::Poisoned(_))), "{later:?}");
    assert!(matches!(journal.close().await, Err(JournalError::Poisoned(_))));
    // The lease is given back all the same, and the log tells what did happen.
    assert_eq!(store.lease().await.unwrap(), None);
    assert!(store.load().await.unwrap().state.open_calls().next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_second_writer_waits_and_is_told_who_holds_the_lease() {
    let store = MemoryStore::new();
    let first = Journal::open(Arc::new(store.clone()), options()).await.unwrap();
    let mut impatient = options();
    impatient.lock_timeout = Duration::from_secs(100);
    let began = Instant::now();
    let refused = Journal::open(Arc::new(store.clone()), impatient).await;
    match refused {
        Err(OpenError::Store(StoreError::Locked(view))) => assert_eq!(view.holder.who, "ada"),
        other => panic!("{:?}", other.err()),
    }
    assert_eq!(began.elapsed(), Duration::from_secs(100));
    first.close().await.unwrap();
    let second = Journal::open(Arc::new(store), options()).await.unwrap();
    assert_eq!(second.epoch(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_holder_is_replaced_after_the_lease_and_writes_nothing_more() {
    let store = Gated::open();
    let first = Journal::open(Arc::new(store.clone()), options()).await.unwrap();
    first.commit(vec![create(1, 1, "a")]).await.unwrap();
    // A call may be under way for 100 seconds more: nobody may take over before.
    assert!(!first.lease_outlives(Instant::now() + Duration::from_secs(100)));
    let cover = first.cover_until(Instant::now() + Duration::from_secs(100)).await;
    assert!(cover.is_some());
    assert!(first.lease_outlives(Instant::now() + Duration::from_secs(100)));
    store.mute.store(true, Ordering::Relaxed);

    let began = Instant::now();
    let mut patient = options();
    patient.lock_timeout = Duration::from_secs(1000);
    let second = Journal::open(Arc::new(store.inner.clone()), patient)
        .await
        .unwrap();
    assert!(
        began.elapsed() >= Duration::from_secs(100),
        "{:?}",
        began.elapsed()
    );
    assert!(
        began.elapsed() <= Duration::from_secs(120),
        "{:?}",
        began.elapsed()
    );
    assert!(!first.lease_outlives(Instant::now() + Duration::from_secs(10)));

    let late = first.commit(vec![succeeded(1, "id", 1)]).await;
    match late {
        Err(JournalError::Failed(error)) => {
            assert!(matches!(&*error, StoreError::LostLease { epoch: 1, .. }));
        }
        other => panic!("{other:?}"),
    }
    let state = second.state();
    assert_eq!(state.open_calls().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_as_long_as_the_calls_that_still_run_need() {
    let store = MemoryStore::new();
    let journal = Journal::open(Arc::new(store.clone()), options()).await.unwrap();
    let length = || async {
        // The next renewal, at the latest.
        tokio::time::sleep(Duration::from_secs(30)).await;
        store.lease().await.unwrap().unwrap().length.as_secs()
    };
    let hour = journal
        .cover_until(Instant::now() + Duration::from_secs(3600))
        .await
        .unwrap();
    // Another call needs less, and finds that the lease is long enough already.
    let ten_minutes = journal
        .cover_until(Instant::now() + Duration::from_secs(600))
        .await
        .unwrap();
    assert!((3500..=3605).contains(&length().await));
    drop(hour);
    assert!((500..=605).contains(&length().await));
    assert!(journal.lease_outlives(Instant::now() + Duration::from_secs(500)));
    drop(ten_minutes);
    assert_eq!(length().await, options().lease_length.as_secs());
    assert!(!journal.lease_outlives(Instant::now() + Duration::from_secs(60)));
}

#[tokio::test]
async fn the_head_mark_shows_a_store_that_lost_something() {
    let directory = tempfile::tempdir().unwrap();
    let mark = HeadMark::new(directory.path(), std::path::Path::new("/project"), "");
    let with_mark = || {
        let mut options = options();
        options.head_mark = Some(mark.clone());
        options.heartbeat = HeartbeatMode::Thread;
        options
    };
    let store = MemoryStore::new();
    assert!(load_for_reading(&store, Some(&mark)).await.unwrap().is_empty());
    let journal = Journal::open(Arc::new(store.clone()), with_mark()).await.unwrap();
    journal.commit(vec![create(1, 1, "a")]).await.unwrap();
    journal.close().await.unwrap();
    let head = store.load().await.unwrap().head;
    assert_eq!(mark.read().unwrap(), Some(head.clone()));

    // The store is gone.
    let missing = load_for_reading(&MemoryStore::new(), Some(&mark)).await;
    assert!(
        matches!(missing, Err(OpenError::Head(HeadError::Missing { .. }))),
        "{missing:?}"
    );
    let missing = Journal::open(Arc::new(MemoryStore::new()), with_mark()).await;
    assert!(matches!(missing, Err(OpenError::Head(HeadError::Missing { .. }))));

    // It lost its end.
    let mut further = head.clone();
    further.sequence += 3;
    mark.write(&further).unwrap();
    match load_for_reading(&store, Some(&mark)).await {
        Err(OpenError::Head(error @ HeadError::Behind { .. })) => {
            assert!(error.to_string().contains("events 5 to 7 are missing"), "{error}");
        }
        other => panic!("{other:?}"),
    }

    // It is ahead, which is normal, unless the marked event is another one.
    let first = store.events(0, 1).await.unwrap().remove(0);
    let mut behind = head.clone();
    (behind.sequence, behind.chain) = (1, first.hash);
    mark.write(&behind).unwrap();
    load_for_reading(&store, Some(&mark)).await.unwrap();
    behind.chain = "00".into();
    mark.write(&behind).unwrap();
    let other = load_for_reading(&store, Some(&mark)).await;
    assert!(
        matches!(other, Err(OpenError::Head(HeadError::OtherHistory { .. }))),
        "{other:?}"
    );
}

#[tokio::test]
async fn a_state_of_another_lineage_is_left_as_it_is_and_a_missing_one_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let mark = HeadMark::new(directory.path(), std::path::Path::new("/project"), "");
    let wanting = |lineage| {
        let mut options = options();
        options.head_mark = Some(mark.clone());
        options.lineage = Some(lineage);
        options
    };
    let wanted = Lineage::from_uuid(uuid::Uuid::from_u64_pair(9, 9));

    let missing = MemoryStore::new();
    let refused = Journal::open(Arc::new(missing.clone()), wanting(wanted)).await;
    assert!(matches!(
        refused,
        Err(OpenError::OtherLineage { found: None, .. })
    ));
    assert!(matches!(missing.load().await, Err(StoreError::NotFound { .. })));

    let store = MemoryStore::new();
    let journal = Journal::open(Arc::new(store.clone()), options()).await.unwrap();
    journal.commit(vec![create(1, 1, "a")]).await.unwrap();
    let there = store.load().await.unwrap().head;
    // Nor is waited for its holder.
    let refused = Journal::open(Arc::new(store.clone()), wanting(wanted)).await;
    assert!(matches!(
        refused,
        Err(OpenError::OtherLineage { found: Some(found), .. }) if found == there.lineage
    ));
    assert_eq!(store.load().await.unwrap().head, there);
    assert_eq!(mark.read().unwrap(), None);

    journal.close().await.unwrap();
    let journal = Journal::open(Arc::new(store), wanting(there.lineage))
        .await
        .unwrap();
    journal.close().await.unwrap();
}

#[tokio::test]
async fn a_store_without_objects_may_go() {
    let directory = tempfile::tempdir().unwrap();
    let mark = HeadMark::new(directory.path(), std::path::Path::new("/project"), "");
    let with_mark = || {
        let mut options = options();
        options.head_mark = Some(mark.clone());
        options
    };
    let journal = Journal::open(Arc::new(MemoryStore::new()), with_mark())
        .await
        .unwrap();
    journal.close().await.unwrap();
    assert_eq!(mark.read().unwrap().unwrap().objects, Some(0));

    // The directory was removed and made again: a new project, whose mark takes the place of the old one.
    let store = MemoryStore::new();
    assert!(load_for_reading(&store, Some(&mark)).await.unwrap().is_empty());
    let journal = Journal::open(Arc::new(store.clone()), with_mark()).await.unwrap();
    journal.commit(vec![create(1, 1, "a")]).await.unwrap();
    journal.close().await.unwrap();
    assert_eq!(mark.read().unwrap().unwrap().objects, Some(1));
    let missing = load_for_reading(&MemoryStore::new(), Some(&mark)).await;
    let Err(OpenError::Head(error @ HeadError::Missing { .. })) = missing else {
        panic!("{missing:?}");
    };
    assert!(error.to_string().contains("it had 1 object and"), "{error}");
}

#[tokio::test]
async fn nothing_is_written_when_its_loss_could_not_be_seen() {
    let directory = tempfile::tempdir().unwrap();
    let mark = HeadMark::new(directory.path(), std::path::Path::new("/project"), "");
    let with_mark = || {
        let mut options = options();
        options.head_mark = Some(mark.clone());
        options
    };
    let store = MemoryStore::new();
    std::fs::write(directory.path().join("heads"), b"in the way").unwrap();
    let refused = Journal::open(Arc::new(store.clone()), with_mark()).await;
    let error = refused.err().unwrap();
    assert!(
        matches!(error, OpenError::Head(HeadError::Write { .. })),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("XDG_STATE_HOME"), "{error}");
    // Nothing was changed before.
    let untouched = store.load().await;
    assert!(
        matches!(untouched, Err(StoreError::NotFound { .. })),
        "{untouched:?}"
    );

    std::fs::remove_file(directory.path().join("heads")).unwrap();
    let journal = Journal::open(Arc::new(store), with_mark()).await.unwrap();
    std::fs::remove_dir_all(directory.path().join("heads")).unwrap();
    std::fs::write(directory.path().join("heads"), b"in the way").unwrap();
    journal.commit(vec![create(1, 1, "a")]).await.unwrap();
    // The mark is written behind the commits, so a few more may still get through.
    let mut number = 1;
    let error = loop {
        number += 1;
        assert!(number < 10_000, "the failure is never noticed");
        let body = create(number, number, &format!("r{number}"));
        match journal.commit(vec![body]).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, JournalError::HeadMark(_)), "{error}");
    assert!(matches!(journal.close().await, Err(JournalError::HeadMark(_))));
}

#[tokio::test]
async fn whoever_closed_has_a_mark_at_the_last_commit() {
    let directory = tempfile::tempdir().unwrap();
    let mark = HeadMark::new(directory.path(), std::path::Path::new("/project"), "");
    let store = MemoryStore::new();
    for round in 0..20 {
        let mut options = options();
        options.head_mark = Some(mark.clone());
        let journal = Journal::open(Arc::new(store.clone()), options).await.unwrap();
        for n in 0..round {
            let number = round * 100 + n;
            let body = create(number, number, &format!("r{number}"));
            journal.commit(vec![body]).await.unwrap();
        }
        journal.close().await.unwrap();
        let head = store.load().await.unwrap().head;
        assert_eq!(mark.read().unwrap(), Some(head), "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_draft_takes_what_fits_and_is_written_as_it_is() {
    let store = MemoryStore::new();
    let journal = Journal::open(Arc::new(store.clone()), options()).await.unwrap();
    // The first one says that the lease was taken, unless nothing else fits.
    let mut draft = journal.draft();
    assert!(draft.push(deleted(99)).is_err());
    assert!(draft.is_empty());
    draft.push(create(1, 1, "a")).unwrap();
    assert_eq!(draft.state().epoch, journal.epoch());
    let state = journal.commit_draft(draft).await.unwrap();
    assert_eq!(state.serial, 3);
    let mut draft = journal.draft();
    assert!(draft.push(create(2, 2, "a")).is_err());
    assert!(draft.push(deleted(99)).is_err());
    draft.push(create(2, 2, "b")).unwrap();
    let state = journal.commit_draft(draft).await.unwrap();
    assert_eq!((state.len(), state.serial), (2, 4));

    let mut draft = journal.draft();
    assert!(draft.is_empty());
    assert!(draft.push(succeeded(3, "id-3", 1)).is_err());
    assert!(draft.is_empty());
    draft.push(succeeded(1, "id-1", 1)).unwrap();
    let state = journal.commit_draft(draft).await.unwrap();
    assert_eq!(*state, store.load().await.unwrap().state);
    assert_eq!(state.open_calls().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_announced_once_whoever_is_first() {
    let store = MemoryStore::new();
    let journal = Journal::open(Arc::new(store.clone()), options()).await.unwrap();
    let (mut first, mut second) = (journal.draft(), journal.draft());
    first.push(create(1, 1, "a")).unwrap();
    second.push(run_started()).unwrap();
    second.push(create(2, 2, "b")).unwrap();
    journal.commit_draft(first).await.unwrap();
    let state = journal.commit_draft(second).await.unwrap();
    assert_eq!((state.len(), state.serial), (2, 5));
    journal.close().await.unwrap();
    let log = store.events(0, 100).await.unwrap();
    let takes: Vec<bool> = log.iter().map(|event| event.event.body.takes_lease()).collect();
    assert_eq!(takes, [false, true, false, false, false, false]);
    // Run and epoch are said once.
    let says: Vec<bool> = log.iter().map(|event| event.event.epoch.is_some()).collect();
    assert_eq!(says, takes);
}

#[tokio::test(start_paused = true)]
async fn a_run_begins_and_ends_with_an_event_each() {
    let store = MemoryStore::new();
    let journal = Journal::open(Arc::new(store.clone()), options()).await.unwrap();
    let holder = options().holder;
    let finished = EventBody::RunFinished {
        summary: Default::default(),
    };
    journal
        .commit(vec![run_started(), finished.clone()])
        .await
        .unwrap();
    journal.close().await.unwrap();
    let log = store.events(1, 100).await.unwrap();
    assert_eq!(log.len(), 2);
    let EventBody::RunStarted(started) = &log[0].event.body else {
        panic!("{:?}", log[0]);
    };
    assert_eq!(started.host.as_deref(), Some(holder.host.as_str()));
    assert_eq!(log[1].event.body, finished);
}

#[tokio::test(start_paused = true)]
async fn a_draft_that_others_were_faster_than_is_folded_again() {
    let store = MemoryStore::new();
    let journal = Journal::open(Arc::new(store.clone()), options()).await.unwrap();
    journal.commit(vec![create(1, 1, "a")]).await.unwrap();
    let (mut fits, mut late) = (journal.draft(), journal.draft());
    fits.push(create(2, 2, "b")).unwrap();
    late.push(create(3, 3, "c")).unwrap();
    journal.commit(vec![create(4, 4, "c")]).await.unwrap();
    let state = journal.commit_draft(fits).await.unwrap();
    assert_eq!((state.len(), state.serial), (3, 5));
    let refused = journal.commit_draft(late).await;
    assert!(matches!(refused, Err(JournalError::Illegal(_))), "{refused:?}");
    assert_eq!(journal.state(), state);
    assert_eq!(store.load().await.unwrap().state, *state);
}
