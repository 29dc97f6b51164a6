//! A provider that itself asks for a change: nothing in the configuration differs, and nothing has drifted.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gabion_engine::provider::{
    Call, CreateRequest, DeleteRequest, ImportRequest, ObjectState, Observation, ObserveRequest, PlanRequest,
    PlanResponse, Provider, ProviderError, ReadOutcome, ReadRequest, UpdateRequest,
};
use gabion_engine::schema::ProviderSchema;
use gabion_engine::state::MemoryStore;
use gabion_engine::value::Value;
use gabion_testing::fake::{FakeCloud, FakeProvider};

use crate::support::{Scenario, machine, same, summary};

/// Its machines have the address that it was last asked to give them.
struct Asking {
    inner: FakeProvider,
    asks: Mutex<&'static str>,
    gave: Mutex<&'static str>,
}

impl Asking {
    fn addressed(&self, mut state: ObjectState) -> ObjectState {
        state
            .attributes
            .insert("ip".into(), (*self.gave.lock().unwrap()).into());
        state
    }
}

#[async_trait]
impl Provider for Asking {
    fn schema(&self) -> &ProviderSchema {
        self.inner.schema()
    }
    fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, ProviderError> {
        let mut response = self.inner.plan(request)?;
        if request.prior.is_some() {
            let asked = Value::from(*self.asks.lock().unwrap());
            response.planned.insert("ip".into(), asked);
        }
        Ok(response)
    }
    async fn read(&self, request: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError> {
        let read = self.inner.read(request).await?;
        let addressed = |outcome| match outcome {
            ReadOutcome::Present(state) => ReadOutcome::Present(self.addressed(state)),
            other => other,
        };
        Ok(read.into_iter().map(addressed).collect())
    }
    async fn create(&self, request: CreateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        Ok(self.addressed(self.inner.create(request, call).await?))
    }
    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        let state = self.inner.update(request, call).await?;
        *self.gave.lock().unwrap() = *self.asks.lock().unwrap();
        Ok(self.addressed(state))
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
}

#[tokio::test(start_paused = true)]
async fn a_value_that_the_provider_asks_for_is_an_update_that_is_carried_out() {
    let cloud = FakeCloud::new(7);
    let provider = Arc::new(Asking {
        inner: cloud.provider(),
        asks: Mutex::new("10.0.0.1"),
        gave: Mutex::new("10.0.0.1"),
    });
    let scenario = Scenario::with(Arc::new(MemoryStore::new()), cloud, provider.clone());
    let text = machine("a", "one");
    scenario.settle(&text).await;

    *provider.asks.lock().unwrap() = "10.0.0.2";
    let plan = scenario.plan(&text).await;
    same(&summary(&plan), "update fake_machine.a (ip)");
    same(
        &scenario.apply_plan(&plan).await.outcomes(),
        "update fake_machine.a: done",
    );
    let record = scenario.record("fake_machine.a").await;
    assert_eq!(record.attributes["ip"], "10.0.0.2".into());
    scenario.expect_empty(&text).await;
}
