//! What a run that died leaves between two steps: promises that a replacement, a deletion or an update made are kept by
//! the next run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::address::ResourceType;
use gabion_engine::plan::step::StepOperation;
use gabion_engine::provider::*;
use gabion_engine::schema::ProviderSchema;
use gabion_engine::state::MemoryStore;
use gabion_engine::state::record::Status;
use gabion_testing::fake::FakeCloud;
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Scenario, data, machine, same, summary};

/// A replacement create-first whose creation has no known outcome: nobody knows yet which of the two will stay.
#[tokio::test(start_paused = true)]
async fn the_old_object_is_kept_while_nobody_knows_whether_its_successor_exists() {
    for fault in [Fault::LoseRequest, Fault::LoseResponse] {
        let scenario = Scenario::new();
        scenario.settle(&machine("a", "one")).await;
        let old = scenario.record("fake_machine.a").await;
        let text = machine("a", "two");
        scenario.cloud.fault(FaultRule::next(Verb::Create, fault));
        assert_eq!(scenario.apply(&text).await.report.uncertain, 1);
        let deny = FaultRule::next(Verb::Find, Fault::Deny);
        scenario.cloud.fault(deny);
        let plan = scenario.plan(&text).await;
        assert_eq!(plan.unsettled.len(), 1);
        assert_eq!(summary(&plan), "nothing", "{fault:?}");
        assert!(scenario.apply_plan(&plan).await.report.steps.is_empty());
        assert!(scenario.state().await.record(old.uid).unwrap().deposed);
        scenario.apply(&text).await;
        scenario.expect_empty(&text).await;
        assert_eq!(scenario.cloud.objects("fake_machine").len(), 1, "{fault:?}");
        assert!(scenario.state().await.record(old.uid).is_none());
    }
}

/// The run died after the new object was made and before it was ready.
#[tokio::test(start_paused = true)]
async fn the_old_object_goes_only_when_its_unfinished_successor_is_ready() {
    let scenario = Scenario::new();
    scenario.settle(&machine("a", "one")).await;
    let text = machine("a", "two");
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::LoseResponse));
    scenario.apply(&text).await;
    let plan = scenario.plan(&text).await;
    same(
        &summary(&plan),
        "found fake_machine.a present
         update fake_machine.a
         delete deposed fake_machine.a",
    );
    assert_eq!(plan.steps[0].operation, StepOperation::Update);
    assert_eq!(plan.steps[1].after, [plan.steps[0].id]);
    // It never becomes ready: the old one stays.
    scenario.cloud.fault(FaultRule::next(Verb::Describe, Fault::Hang));
    let applied = scenario.apply_plan(&plan).await;
    same(
        &applied.outcomes(),
        "update fake_machine.a: uncertain: It did not end within 60 s.
         delete fake_machine.a: skipped because fake_machine.a",
    );
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 2);
    scenario.apply(&text).await;
    scenario.expect_empty(&text).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
}

/// A deleted object may still be seen for a while: it must not be taken for one that is there to stay.
#[tokio::test(start_paused = true)]
async fn what_is_seen_right_after_its_deletion_was_sent_is_not_kept() {
    for seed in 0..8 {
        let store = Arc::new(MemoryStore::new());
        let cloud = FakeCloud::new(seed);
        let fake = Arc::new(cloud.provider());
        let scenario = Scenario::with(store, cloud, fake);
        scenario
            .cloud
            .configure(|settings| settings.consistency = Duration::from_secs(9));
        let (text, rest) = (machine("a", "one") + &data("d", "1"), data("d", "1"));
        scenario.settle(&text).await;
        scenario
            .cloud
            .fault(FaultRule::next(Verb::Delete, Fault::LoseResponse));
        assert_eq!(scenario.apply(&rest).await.report.uncertain, 1);
        let plan = scenario.plan(&text).await;
        same(
            &summary(&plan),
            "found fake_machine.a absent
             create fake_machine.a",
        );
        scenario.apply_plan(&plan).await;
        scenario.expect_empty(&text).await;
        // One that was never sent leaves the object as it is.
        scenario
            .cloud
            .fault(FaultRule::next(Verb::Delete, Fault::LoseRequest));
        scenario.apply(&rest).await;
        let plan = scenario.plan(&text).await;
        same(
            &summary(&plan),
            "found fake_machine.a present
             update fake_machine.a",
        );
        scenario.apply_plan(&plan).await;
        scenario.expect_empty(&text).await;
    }
}

/// A provider that does not see some objects for a few looks.
struct ShortSighted {
    inner: Arc<dyn Provider>,
    blind: AtomicU32,
}

#[async_trait]
impl Provider for ShortSighted {
    fn schema(&self) -> &ProviderSchema {
        self.inner.schema()
    }

    fn validate(&self, request: &ValidateRequest) -> Vec<AttributeProblem> {
        self.inner.validate(request)
    }

    fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, ProviderError> {
        self.inner.plan(request)
    }

    async fn read(&self, request: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError> {
        self.inner.read(request).await
    }

    async fn create(&self, request: CreateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        self.inner.create(request, call).await
    }

    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        self.inner.update(request, call).await
    }

    async fn delete(&self, request: DeleteRequest, call: &Call) -> Result<(), ProviderError> {
        self.inner.delete(request, call).await
    }

    async fn observe(&self, request: ObserveRequest) -> Result<Observation, ProviderError> {
        let blind = |left: u32| left.checked_sub(1);
        if self
            .blind
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, blind)
            .is_ok()
        {
            return Ok(Observation::Absent);
        }
        self.inner.observe(request).await
    }

    async fn list(&self, request: ListRequest) -> Result<Listed, ProviderError> {
        self.inner.list(request).await
    }

    async fn import(&self, request: ImportRequest) -> Result<ObjectState, ProviderError> {
        self.inner.import(request).await
    }

    fn resource_schema(&self, resource_type: &ResourceType) -> &gabion_engine::schema::ResourceSchema {
        self.inner.resource_schema(resource_type)
    }
}

/// One look at the id of a young object proves nothing, whatever the call was.
#[tokio::test(start_paused = true)]
async fn a_young_object_is_not_given_up_at_the_first_look() {
    for verb in [Verb::Update, Verb::Delete] {
        let cloud = FakeCloud::new(7);
        let provider = Arc::new(ShortSighted {
            inner: Arc::new(cloud.provider()),
            blind: AtomicU32::new(0),
        });
        let mut scenario = Scenario::with(Arc::new(MemoryStore::new()), cloud, provider.clone());
        let text = |size: &str| {
            crate::support::resource("fake_machine", "a", &format!("name: a, image: one, size: {size}"))
        };
        scenario.settle(&text("small")).await;
        scenario.cloud.fault(FaultRule::next(verb, Fault::LoseRequest));
        let changed = if verb == Verb::Update {
            text("large")
        } else {
            data("d", "1")
        };
        assert_eq!(scenario.apply(&changed).await.report.uncertain, 1);
        provider.blind.store(2, Ordering::Relaxed);
        let plan = scenario.plan(&changed).await;
        assert!(
            summary(&plan).starts_with("found fake_machine.a present"),
            "{}",
            summary(&plan)
        );
        // Of one that was made long ago the first look is proof enough.
        scenario.now += jiff::SignedDuration::from_hours(1);
        provider.blind.store(1, Ordering::Relaxed);
        let plan = scenario.plan(&changed).await;
        assert!(
            summary(&plan).starts_with("found fake_machine.a absent"),
            "{}",
            summary(&plan)
        );
        scenario.now -= jiff::SignedDuration::from_hours(1);
        scenario.apply(&changed).await;
        scenario.expect_empty(&changed).await;
    }
}

/// A run that dies right after it recorded what recovery found has done no harm.
#[tokio::test(start_paused = true)]
async fn a_run_may_die_between_its_settlements_and_its_first_step() {
    for fault in [Fault::LoseRequest, Fault::LoseResponse] {
        for verb in [Verb::Create, Verb::Update, Verb::Delete] {
            let scenario = Scenario::new();
            let text = |size: &str| {
                crate::support::resource("fake_machine", "a", &format!("name: a, image: one, size: {size}"))
            };
            let wanted = match verb {
                Verb::Create => text("small"),
                Verb::Update => {
                    scenario.settle(&text("small")).await;
                    text("large")
                }
                _ => {
                    scenario.settle(&text("small")).await;
                    data("d", "1")
                }
            };
            scenario.cloud.fault(FaultRule::next(verb, fault));
            scenario.apply(&wanted).await;
            let plan = scenario.plan(&wanted).await;
            let journal = scenario.open().await;
            let control = gabion_engine::apply::ApplyControl::new();
            // Stopped at once: the settlements are recorded, no step begins.
            control.stop();
            let mut notes = crate::support::Notes::default();
            scenario
                .carry_out(&plan, &journal, &control, &mut notes)
                .await
                .unwrap();
            drop(journal);
            let state = scenario.state().await;
            assert_eq!(state.open_calls().count(), 0);
            assert!(state.records().all(|record| record.status != Status::Creating));
            // The very plan again, and a new one.
            let applied = scenario.apply_plan(&plan).await;
            assert!(
                applied.report.is_complete(),
                "{verb:?} {fault:?}: {}",
                applied.outcomes()
            );
            scenario.expect_empty(&wanted).await;
            assert!(scenario.cloud.objects("fake_machine").len() <= 1);
        }
    }
}
