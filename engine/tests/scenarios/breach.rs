//! Providers that break their contract: said to their authors, and nothing is lost or called healthy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::address::ObjectId;
use gabion_engine::apply::ApplyControl;
use gabion_engine::apply::event::StepOutcome;
use gabion_engine::plan::step::StepId;
use gabion_engine::provider::{
    Call, CreateRequest, DeleteRequest, FactsRequest, ImportRequest, ObjectState, Observation,
    ObserveRequest, PlanRequest, PlanResponse, Provider, ProviderError, ReadOutcome, ReadRequest,
    UpdateRequest,
};
use gabion_engine::schema::ProviderSchema;
use gabion_engine::state::MemoryStore;
use gabion_engine::state::record::Status;
use gabion_engine::value::Value;
use gabion_testing::fake::{FakeCloud, FakeProvider};

use crate::support::{Notes, Scenario, data, is, machine, outcomes, resource, same, summary};

/// What the provider does wrong when it creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breach {
    OtherThanPlanned,
    NotInTheSchema,
    Unknown,
    OtherId,
    TwoIds,
    TwoIdsAtOnce,
    NoId,
    EmptyCheckpoint,
    IdWhileDeleting,
    IdAfterTheEnd,
}

struct Breaking {
    inner: FakeProvider,
    breach: Breach,
    /// What checkpoints after the end of their call were answered.
    late: Arc<Mutex<Vec<Result<(), ProviderError>>>>,
}

impl Breaking {
    fn scenario(breach: Breach) -> (Scenario, Arc<Self>) {
        let cloud = FakeCloud::new(7);
        let provider = Arc::new(Self {
            inner: cloud.provider(),
            breach,
            late: Arc::default(),
        });
        let scenario = Scenario::with(Arc::new(MemoryStore::new()), cloud, provider.clone());
        (scenario, provider)
    }
}

#[async_trait]
impl Provider for Breaking {
    fn schema(&self) -> &ProviderSchema {
        self.inner.schema()
    }
    fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, ProviderError> {
        self.inner.plan(request)
    }
    async fn read(&self, request: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError> {
        self.inner.read(request).await
    }
    async fn create(&self, request: CreateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        let checkpoint = |id: &str| {
            let id = ObjectId::new(id);
            async move { call.checkpoint(&id, &serde_json::Value::Null).await }
        };
        if self.breach == Breach::TwoIdsAtOnce && request.resource_type.as_str() == "fake_machine" {
            tokio::try_join!(checkpoint("machine-0001"), checkpoint("machine-9999"))?;
        }
        let mut state = self.inner.create(request, call).await?;
        match self.breach {
            Breach::TwoIdsAtOnce | Breach::IdWhileDeleting => {}
            Breach::EmptyCheckpoint => checkpoint("").await?,
            Breach::IdAfterTheEnd => {
                let (sink, operation, late) = (call.sink.clone(), call.operation, self.late.clone());
                let id = state.id.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    let said = sink.checkpoint(operation, id, serde_json::Value::Null).await;
                    late.lock().unwrap().push(said);
                });
            }
            Breach::OtherThanPlanned => drop(state.attributes.insert("image".into(), "other".into())),
            Breach::NotInTheSchema => drop(state.attributes.insert("colour".into(), "red".into())),
            Breach::Unknown => drop(state.attributes.insert("ip".into(), Value::unknown())),
            Breach::OtherId => state.id = ObjectId::new("machine-9999"),
            Breach::NoId => state.id = ObjectId::new(""),
            Breach::TwoIds => checkpoint("machine-9999").await?,
        }
        Ok(state)
    }
    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        self.inner.update(request, call).await
    }
    async fn delete(&self, request: DeleteRequest, call: &Call) -> Result<(), ProviderError> {
        if self.breach == Breach::IdWhileDeleting && request.object.address.name.to_string() == "a" {
            let id = request.object.id.clone().unwrap();
            call.checkpoint(&id, &serde_json::Value::Null).await?;
        }
        self.inner.delete(request, call).await
    }
    async fn observe(&self, request: ObserveRequest) -> Result<Observation, ProviderError> {
        self.inner.observe(request).await
    }
    async fn import(&self, request: ImportRequest) -> Result<ObjectState, ProviderError> {
        self.inner.import(request).await
    }
    async fn facts(&self, request: FactsRequest) -> Result<BTreeMap<String, Value>, ProviderError> {
        self.inner.facts(request).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_as_planned_is_incomplete_and_worded_for_the_author() {
    for (breach, line) in [
        (
            Breach::OtherThanPlanned,
            "image: wanted `\"one\"`, got `\"other\"`",
        ),
        (
            Breach::NotInTheSchema,
            "colour: wanted an attribute of the schema, got one that it does not have",
        ),
        (Breach::Unknown, "ip: wanted a known value, got an unknown one"),
        (
            Breach::OtherId,
            "id: wanted `machine-0001`, as checkpointed, got `machine-9999`",
        ),
        (Breach::NoId, "id: wanted the object's id, got nothing"),
        (Breach::TwoIds, ""),
        (Breach::EmptyCheckpoint, ""),
    ] {
        let (scenario, _) = Breaking::scenario(breach);
        let text = machine("a", "one");
        let applied = scenario.apply(&text).await;
        let StepOutcome::Failed(error) = &applied.report.steps[0].outcome else {
            panic!("{breach:?}: {}", applied.outcomes());
        };
        assert!(error.message.contains("broke its contract"), "{}", error.message);
        assert_eq!(
            error.hint.as_deref(),
            Some("report this to the provider's authors")
        );
        assert!(
            line.is_empty() || error.detail.iter().any(|said| said == line),
            "{:?}",
            error.detail
        );
        let record = scenario.record("fake_machine.a").await;
        assert!(is(&record, Status::Incomplete), "{breach:?}: {record:?}");
        assert_eq!(record.id.unwrap().as_str(), "machine-0001");
        let applied = scenario.settle(&text).await;
        same(&applied.outcomes(), "update fake_machine.a: done");
        assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
    }
}

/// Of two ids told at once, one is taken; the other is refused before either is durable, and what other steps did in
/// the same moment is kept.
#[tokio::test(start_paused = true)]
async fn two_ids_at_once_cost_nobody_else_anything() {
    let (scenario, _) = Breaking::scenario(Breach::TwoIdsAtOnce);
    let text = machine("a", "one") + &data("d", "1") + &resource("fake_disk", "e", "name: e, size: 1");
    let applied = scenario.apply(&text).await;
    same(
        &applied.outcomes(),
        "create fake_disk.e: done
         create fake_machine.a: failed: Provider `fake` broke its contract: it called one object `machine-0001` and then `machine-9999`.
         create gabion_data.d: done",
    );
    assert!(is(&scenario.record("fake_disk.e").await, Status::Ready));
    assert!(is(&scenario.record("gabion_data.d").await, Status::Ready));
}

#[tokio::test(start_paused = true)]
async fn an_id_told_during_a_deletion_is_refused_and_the_other_deletions_are_kept() {
    let (scenario, _) = Breaking::scenario(Breach::IdWhileDeleting);
    let text = machine("a", "one") + &machine("b", "one") + &data("d", "1");
    scenario.settle(&text).await;
    let applied = scenario.destroy(&text).await;
    same(
        &applied.outcomes().replace("machine-0001", "machine-0002"),
        "delete fake_machine.a: failed: Provider `fake` broke its contract: it told the id `machine-0002` during a deletion, whose object is recorded already.
         delete fake_machine.b: done
         delete gabion_data.d: done",
    );
    let state = scenario.state().await;
    let left: Vec<_> = state.records().map(|record| record.address.to_string()).collect();
    assert_eq!(left, ["fake_machine.a"]);
    assert!(is(&scenario.record("fake_machine.a").await, Status::Deleting));
    same(
        &summary(&scenario.destroy_plan(&text).await),
        "delete fake_machine.a",
    );
}

#[tokio::test(start_paused = true)]
async fn an_id_told_after_the_end_of_its_call_is_dropped() {
    let (scenario, provider) = Breaking::scenario(Breach::IdAfterTheEnd);
    scenario.settle(crate::create::CHAIN).await;
    let late = provider.late.lock().unwrap().clone();
    assert!(!late.is_empty());
    for said in late {
        assert!(said.unwrap_err().message.contains("came after the call's end"));
    }
}

/// No planner makes such a plan; if one did, the step whose event does not fit fails alone.
#[tokio::test(start_paused = true)]
async fn a_step_that_does_not_fit_the_state_fails_alone() {
    let scenario = Scenario::new();
    let text = machine("a", "one") + &data("d", "1");
    let mut plan = scenario.plan(&text).await;
    let mut twice = plan.steps[0].clone();
    twice.id = StepId(u32::try_from(plan.steps.len()).unwrap());
    plan.steps.push(twice);
    let journal = scenario.open().await;
    let report = scenario
        .carry_out(&plan, &journal, &ApplyControl::new(), &mut Notes::default())
        .await
        .unwrap();
    journal.close().await.unwrap();
    let outcomes = outcomes(&report);
    let lines: Vec<_> = outcomes.lines().collect();
    assert_eq!(
        lines[..2],
        ["create fake_machine.a: done", "create gabion_data.d: done"]
    );
    assert!(
        lines[2].starts_with(
            "create fake_machine.a: failed: It was not sent, because it does not fit the state: `fake_machine.a` is the \
             address of another object"
        ),
        "{}",
        lines[2]
    );
    scenario.expect_empty(&text).await;
}
