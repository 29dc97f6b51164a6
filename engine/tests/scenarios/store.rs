//! What the run does with its store: group commits, a log that cannot be written, SQLite.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::apply::event::{ApplyEvent, StepOutcome};
use gabion_engine::apply::{ApplyControl, ApplyError};
use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::record::Status;
use gabion_engine::state::snapshot::Head;
use gabion_engine::state::store::{
    AppendRequest, CreateRequest, LeaseGrant, LeaseRequest, LeaseView, Loaded,
};
use gabion_engine::state::{MemoryStore, State, StateStore, StoreError};
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};
use jiff::Timestamp;

use crate::support::{Notes, Scenario, data, machine, outcomes, same, summary};

/// A memory store that counts appends, and fails them after a number of them.
pub(crate) struct Counting {
    inner: MemoryStore,
    appends: AtomicUsize,
    allowed: AtomicUsize,
    renewals_take: Mutex<Duration>,
}

impl Default for Counting {
    fn default() -> Self {
        Self {
            inner: MemoryStore::new(),
            appends: AtomicUsize::new(0),
            allowed: AtomicUsize::new(usize::MAX),
            renewals_take: Mutex::default(),
        }
    }
}

impl Counting {
    pub(crate) fn appends(&self) -> usize {
        self.appends.load(Ordering::Relaxed)
    }

    /// Makes each renewal of the lease take so long.
    pub(crate) fn slow_renewals(&self, each: Duration) {
        *self.renewals_take.lock().unwrap() = each;
    }

    /// Lets only so many more appends succeed.
    pub(crate) fn allow(&self, more: usize) {
        self.allowed
            .store(self.appends().saturating_add(more), Ordering::Relaxed);
    }
}

#[async_trait]
impl StateStore for Counting {
    async fn create(&self, request: CreateRequest) -> Result<Head, StoreError> {
        self.inner.create(request).await
    }
    async fn load(&self) -> Result<Loaded, StoreError> {
        self.inner.load().await
    }
    async fn append(&self, request: AppendRequest) -> Result<Head, StoreError> {
        if self.appends() >= self.allowed.load(Ordering::Relaxed) {
            return Err(StoreError::Io {
                location: "memory".to_owned(),
                what: "writing".to_owned(),
                source: "the disk is full".into(),
            });
        }
        self.appends.fetch_add(1, Ordering::Relaxed);
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
        let each = *self.renewals_take.lock().unwrap();
        tokio::time::sleep(each).await;
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

/// Whatever the number of the write that fails: no call is sent without an intent, the error says what happened, and
/// the next apply finds everything.
#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_written_stops_the_run_and_loses_nothing() {
    let text = crate::create::CHAIN;
    let mut writes = 0;
    loop {
        let store = Arc::new(Counting::default());
        let scenario = Scenario::on(store.clone());
        let plan = scenario.plan(text).await;
        store.allow(writes);
        let result = scenario.try_apply_plan(&plan).await;
        store.allow(usize::MAX);
        let Err(error) = result else {
            break;
        };
        let ApplyError::Log { report, .. } = error else {
            panic!("{error:?}");
        };
        assert!(
            !report.is_complete() || report.steps.is_empty() || writes > 5,
            "{writes}"
        );
        let intents = scenario.state().await.records().count();
        let made = scenario.cloud.dump().objects.len();
        assert!(
            made <= intents,
            "after {writes} writes {made} objects for {intents} records"
        );
        scenario.settle(text).await;
        assert_eq!(scenario.cloud.dump().objects.len(), 3, "after {writes} writes");
        writes += 1;
        assert!(writes < 50);
    }
    assert!(writes > 5, "{writes}");
}

/// Whatever the number of the write that fails: each step that is said to end was said to start, once each, and each
/// step is told of; only what is skipped never starts.
#[tokio::test(start_paused = true)]
async fn what_is_said_of_a_step_begins_with_its_start() {
    let mut cut_short = 0;
    for writes in 0..12 {
        let store = Arc::new(Counting::default());
        let scenario = Scenario::on(store.clone());
        let plan = scenario.plan(crate::create::CHAIN).await;
        scenario
            .cloud
            .fault(FaultRule::next(Verb::Create, Fault::Deny).of_type("fake_machine"));
        scenario.apply_plan(&plan).await;
        // Of the plan that is gone on with, the first step is done: it makes no call.
        let journal = scenario.open().await;
        store.allow(writes);
        let mut notes = Notes::default();
        let ended = scenario
            .carry_out(&plan, &journal, &ApplyControl::new(), &mut notes)
            .await;
        cut_short += usize::from(ended.is_err());
        let (mut running, mut told) = (BTreeSet::new(), BTreeSet::new());
        for event in &notes.events {
            match event {
                ApplyEvent::StepStarted { step, .. } => {
                    assert!(running.insert(*step) && !told.contains(step), "{event:?}");
                }
                ApplyEvent::StepFinished { step, outcome, .. } => {
                    let skipped = matches!(outcome, StepOutcome::Skipped { .. });
                    assert_eq!(running.remove(step), !skipped, "after {writes} writes: {event:?}");
                    assert!(told.insert(*step), "{event:?}");
                }
                _ => {}
            }
        }
        assert!(running.is_empty(), "after {writes} writes: {running:?}");
        assert!(notes.events.is_empty() || told.len() == plan.steps.len());
    }
    assert!(cut_short > 4, "{cut_short}");
}

#[tokio::test(start_paused = true)]
async fn a_result_that_cannot_be_written_is_uncertain_and_found_by_the_next_plan() {
    let store = Arc::new(Counting::default());
    let scenario = Scenario::on(store.clone());
    let text = machine("a", "one");
    let plan = scenario.plan(&text).await;
    // The run's start with the intent, and the checkpoint.
    store.allow(2);
    let error = scenario.try_apply_plan(&plan).await.err().unwrap();
    store.allow(usize::MAX);
    let ApplyError::Log { source, report } = error else {
        panic!("{error:?}");
    };
    assert!(source.to_string().contains("the disk is full"), "{source}");
    same(
        &outcomes(&report),
        "create fake_machine.a: uncertain: Its result could not be written to the state.",
    );
    let plan = scenario.plan(&text).await;
    same(
        &summary(&plan),
        "found fake_machine.a present
         update fake_machine.a",
    );
    scenario.apply_plan(&plan).await;
    scenario.expect_empty(&text).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
}

#[tokio::test]
async fn sqlite_keeps_what_was_done() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = Arc::new(gabion_engine::state::sqlite::SqliteStore::at(&path));
    let scenario = Scenario::on(store);
    scenario.cloud.configure(|settings| {
        settings.latency = Duration::ZERO;
        settings.boot = Duration::ZERO;
    });
    let text = format!(
        "{}{}",
        machine("a", "one"),
        data("d", "'${{ fake_machine.a.ip }}'")
    );
    scenario.settle(&text).await;
    let again = gabion_engine::state::sqlite::SqliteStore::at(&path);
    let loaded = again.load().await.unwrap();
    assert_eq!(loaded.state, scenario.state().await);
    assert!(
        loaded
            .state
            .records()
            .all(|record| record.status == Status::Ready)
    );
    scenario.destroy(&text).await;
    assert!(scenario.state().await.is_empty());
}
