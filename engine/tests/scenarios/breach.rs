//! Providers that break their contract: said to their authors, and nothing is lost or called healthy.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use gabion_engine::address::ObjectId;
use gabion_engine::apply::event::StepOutcome;
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

use crate::support::{Scenario, is, machine, same};

/// What the provider does wrong when it creates.
#[derive(Clone, Copy, Debug)]
enum Breach {
    OtherThanPlanned,
    NotInTheSchema,
    Unknown,
    OtherId,
    TwoIds,
    NoId,
}

struct Breaking {
    inner: FakeProvider,
    breach: Breach,
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
        let mut state = self.inner.create(request, call).await?;
        match self.breach {
            Breach::OtherThanPlanned => drop(state.attributes.insert("image".into(), "other".into())),
            Breach::NotInTheSchema => drop(state.attributes.insert("colour".into(), "red".into())),
            Breach::Unknown => drop(state.attributes.insert("ip".into(), Value::unknown())),
            Breach::OtherId => state.id = ObjectId::new("machine-9999"),
            Breach::NoId => state.id = ObjectId::new(""),
            Breach::TwoIds => {
                let second = ObjectId::new("machine-9999");
                call.checkpoint(&second, &serde_json::Value::Null).await?;
            }
        }
        Ok(state)
    }
    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        self.inner.update(request, call).await
    }
    async fn delete(&self, request: DeleteRequest, call: &Call) -> Result<(), ProviderError> {
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
    ] {
        let cloud = FakeCloud::new(7);
        let provider = Breaking {
            inner: cloud.provider(),
            breach,
        };
        let scenario = Scenario::with(Arc::new(MemoryStore::new()), cloud, Arc::new(provider));
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
