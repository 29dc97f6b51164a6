//! Places that could not be asked: named, and never taken for empty.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::gather::marks::{FindRequest, find};
use gabion_engine::gather::{GatherLimits, GatherRequest, gather};
use gabion_engine::provider::*;
use gabion_engine::schema::{ProviderSchema, ResourceSchema};
use gabion_engine::state::MemoryStore;
use gabion_engine::world::Refresh;
use gabion_testing::fake::FakeCloud;
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Scenario, data, machine, summary};

const LATE: Duration = Duration::from_secs(300);

/// A provider whose objects are all at a place that sometimes cannot be asked.
struct Distant {
    inner: Arc<dyn Provider>,
    is_away: AtomicBool,
}

#[async_trait]
impl Provider for Distant {
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
        self.inner.observe(request).await
    }
    async fn list(&self, request: ListRequest) -> Result<Listed, ProviderError> {
        if !self.is_away.load(Ordering::Relaxed) {
            return self.inner.list(request).await;
        }
        Ok(Listed {
            objects: Vec::new(),
            unasked: vec![Unasked {
                part: "place `p`".to_owned(),
                why: "It is away.".to_owned(),
            }],
        })
    }
    async fn import(&self, request: ImportRequest) -> Result<ObjectState, ProviderError> {
        self.inner.import(request).await
    }
    fn resource_schema(&self, resource_type: &gabion_engine::address::ResourceType) -> &ResourceSchema {
        self.inner.resource_schema(resource_type)
    }
}

fn scenario() -> (Scenario, Arc<Distant>) {
    let cloud = FakeCloud::new(7);
    let provider = Arc::new(Distant {
        inner: Arc::new(cloud.provider()),
        is_away: AtomicBool::new(false),
    });
    let scenario = Scenario::with(Arc::new(MemoryStore::new()), cloud, provider.clone());
    (scenario, provider)
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked_is_in_the_world_and_in_a_rebuild() {
    let (scenario, provider) = scenario();
    let text = machine("a", "one");
    scenario.settle(&text).await;
    provider.is_away.store(true, Ordering::Relaxed);
    let state = scenario.state().await;
    let configuration = scenario.configuration(&text);
    let request = GatherRequest {
        state: &state,
        configuration: &configuration,
        providers: &scenario.providers,
        refresh: Refresh::Full,
        unmanaged: true,
        lease: None,
        fingerprints: None,
        now: scenario.now,
    };
    let world = gather(request, &GatherLimits::default(), &mut ()).await.unwrap();
    assert_eq!(world.unasked.len(), 1, "{:?}", world.unasked);
    assert_eq!(world.unasked[0].part, "place `p`");
    assert_eq!(world.unasked[0].why, "It is away.");
    let request = FindRequest {
        lineage: state.lineage.unwrap(),
        providers: &scenario.providers,
        readable: None,
        fingerprints: None,
        ids: &gabion_engine::address::RandomIds,
    };
    let rebuild = find(request, &GatherLimits::default(), &mut ()).await;
    assert!(rebuild.found.is_empty());
    assert_eq!(rebuild.unasked.len(), 1);
    assert_eq!(rebuild.unasked[0].part.as_deref(), Some("place `p`"));
}

/// What a lost creation made is not known to be absent while its place cannot be asked.
#[tokio::test(start_paused = true)]
async fn what_may_have_turned_up_where_nobody_could_ask_is_unknown() {
    let (scenario, provider) = scenario();
    let rule = FaultRule::next(Verb::Create, Fault::Late(LATE)).of_type("fake_machine");
    scenario.cloud.fault(rule);
    assert_eq!(scenario.apply(&machine("a", "one")).await.report.uncertain, 1);
    let other = data("d", "1");
    let plan = scenario.plan(&other).await;
    scenario.apply_plan(&plan).await;
    assert_eq!(scenario.state().await.tombstones.len(), 1);
    tokio::time::sleep(LATE).await;

    provider.is_away.store(true, Ordering::Relaxed);
    let plan = scenario.plan(&other).await;
    assert!(
        plan.notes
            .iter()
            .any(|note| note.message.contains("`fake_machine.a`")
                && note.message.contains("It may be at place `p`: It is away.")),
        "{:?}",
        plan.notes
    );
    assert_eq!(
        scenario.state().await.tombstones.len(),
        1,
        "it is looked for again"
    );

    provider.is_away.store(false, Ordering::Relaxed);
    let plan = scenario.plan(&other).await;
    assert!(
        summary(&plan).starts_with("found fake_machine.a late"),
        "{}",
        summary(&plan)
    );
}
