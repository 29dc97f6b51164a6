//! What is acknowledged is durable: intents before their calls, results before whatever depends on them starts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::address::ResourceType;
use gabion_engine::address::{OperationId, ResourceAddress};
use gabion_engine::apply::ApplyControl;
use gabion_engine::apply::event::{ApplyEvent, ApplyObserver, StepOutcome};
use gabion_engine::provider::{
    Call, CallAction, CreateRequest as CreateCall, DeleteRequest, ImportRequest, ListRequest, Listed,
    ObjectState, Observation, ObserveRequest, PlanRequest, PlanResponse, Provider, ProviderError,
    ReadOutcome, ReadRequest, UpdateRequest, ValidateRequest,
};
use gabion_engine::schema::{ProviderSchema, ResourceSchema};
use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::event::EventBody;
use gabion_engine::state::snapshot::Head;
use gabion_engine::state::store::{
    AppendRequest, CreateRequest, LeaseGrant, LeaseRequest, LeaseView, Loaded,
};
use gabion_engine::state::{SqliteStore, State, StateStore, StoreError};
use gabion_testing::fake::FakeCloud;
use jiff::Timestamp;

use crate::support::Scenario;

/// What happened, in order.
#[derive(Debug, Clone)]
enum Note {
    /// Events are on stable storage.
    Durable(Vec<EventBody>),
    /// A call reached the provider.
    Called(OperationId),
    /// Whoever watches the run was told that a step is done.
    Told(ResourceAddress),
}

type Notes = Arc<Mutex<Vec<Note>>>;

struct Watched {
    inner: SqliteStore,
    notes: Notes,
}

#[async_trait]
impl StateStore for Watched {
    async fn create(&self, request: CreateRequest) -> Result<Head, StoreError> {
        self.inner.create(request).await
    }
    async fn load(&self) -> Result<Loaded, StoreError> {
        self.inner.load().await
    }
    async fn append(&self, request: AppendRequest) -> Result<Head, StoreError> {
        let bodies = request.events.iter().map(|event| event.body.clone()).collect();
        let head = self.inner.append(request).await?;
        self.notes.lock().unwrap().push(Note::Durable(bodies));
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

struct Called {
    inner: Arc<dyn Provider>,
    notes: Notes,
}

impl Called {
    fn note(&self, call: &Call) {
        self.notes.lock().unwrap().push(Note::Called(call.operation));
    }
}

#[async_trait]
impl Provider for Called {
    fn schema(&self) -> &ProviderSchema {
        self.inner.schema()
    }
    fn validate(&self, request: &ValidateRequest) -> Vec<gabion_engine::provider::AttributeProblem> {
        self.inner.validate(request)
    }
    fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, ProviderError> {
        self.inner.plan(request)
    }
    async fn read(&self, request: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError> {
        self.inner.read(request).await
    }
    async fn create(&self, request: CreateCall, call: &Call) -> Result<ObjectState, ProviderError> {
        self.note(call);
        self.inner.create(request, call).await
    }
    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        self.note(call);
        self.inner.update(request, call).await
    }
    async fn delete(&self, request: DeleteRequest, call: &Call) -> Result<(), ProviderError> {
        self.note(call);
        self.inner.delete(request, call).await
    }
    async fn observe(&self, request: ObserveRequest) -> Result<Observation, ProviderError> {
        self.inner.observe(request).await
    }
    async fn list(&self, request: ListRequest) -> Result<Listed, ProviderError> {
        self.inner.list(request).await
    }
    async fn import(&self, request: ImportRequest) -> Result<ObjectState, ProviderError> {
        self.inner.import(request).await
    }
    fn resource_schema(&self, resource_type: &ResourceType) -> &ResourceSchema {
        self.inner.resource_schema(resource_type)
    }
}

struct Teller(Notes);

impl ApplyObserver for Teller {
    fn observe(&mut self, event: &ApplyEvent) {
        if let ApplyEvent::StepFinished {
            address,
            outcome: StepOutcome::Done,
            ..
        } = event
        {
            self.0.lock().unwrap().push(Note::Told(address.clone()));
        }
    }
}

/// Objects in layers, each depending on three of the layer before.
fn layers(size: &str) -> (String, BTreeMap<ResourceAddress, Vec<ResourceAddress>>) {
    let (mut text, mut edges) = (String::new(), BTreeMap::new());
    let address =
        |layer: usize, n: usize| -> ResourceAddress { format!("fake_machine.m{layer}-{n}").parse().unwrap() };
    for layer in 0..6 {
        for n in 0..8 {
            let before: Vec<_> = match layer {
                0 => Vec::new(),
                _ => (0..3).map(|k| address(layer - 1, (n + k) % 8)).collect(),
            };
            let names: Vec<_> = before.iter().map(ToString::to_string).collect();
            text += &format!(
                "---\ntype: resource\nkind: fake_machine\nname: m{layer}-{n}\ndepends_on: [{}]\nproperties: {{name: m{layer}-{n}, image: one, size: {size}}}\n",
                names.join(", ")
            );
            edges.insert(address(layer, n), before);
        }
    }
    (text, edges)
}

/// Asserts that nothing came before what it rests on; returns how many calls were made.
fn in_order(notes: &[Note], edges: &BTreeMap<ResourceAddress, Vec<ResourceAddress>>) -> usize {
    let mut intents = BTreeMap::new();
    let mut done = BTreeMap::new();
    let mut calls = 0;
    for note in notes {
        match note {
            Note::Durable(bodies) => {
                for body in bodies {
                    match body {
                        EventBody::Intent(intent) => {
                            intents.insert(intent.operation, (intent.address.clone(), intent.action));
                        }
                        EventBody::Succeeded { operation, .. } => {
                            let (address, action) = &intents[operation];
                            done.insert(address.clone(), *action);
                        }
                        _ => {}
                    }
                }
            }
            Note::Called(operation) => {
                calls += 1;
                let (address, action) = intents.get(operation).expect("its intent is durable");
                let rests_on: Vec<_> = match action {
                    // What depends on it is gone.
                    CallAction::Delete => edges
                        .iter()
                        .filter(|(_, before)| before.contains(address))
                        .map(|(other, _)| other)
                        .collect(),
                    _ => edges[address].iter().collect(),
                };
                for other in rests_on {
                    assert_eq!(
                        done.get(other),
                        Some(action),
                        "{action:?} of {address} before {other}"
                    );
                }
            }
            Note::Told(address) => assert!(done.contains_key(address), "{address} is told, and not durable"),
        }
    }
    calls
}

#[tokio::test]
async fn what_is_acknowledged_is_durable_before_its_dependants_start() {
    let directory = tempfile::tempdir().unwrap();
    let notes = Notes::default();
    let cloud = FakeCloud::new(7);
    cloud.configure(|settings| {
        settings.latency = Duration::ZERO;
        settings.boot = Duration::ZERO;
    });
    let provider = Called {
        inner: Arc::new(cloud.provider()),
        notes: notes.clone(),
    };
    let store = Watched {
        inner: SqliteStore::at(directory.path().join("state.db")),
        notes: notes.clone(),
    };
    let scenario = Scenario::with(Arc::new(store), cloud, Arc::new(provider));
    let apply = async |text: &str| {
        notes.lock().unwrap().clear();
        let plan = match text {
            "" => scenario.destroy_plan(&layers("large").0).await,
            text => scenario.plan(text).await,
        };
        let journal = scenario.open().await;
        let mut teller = Teller(notes.clone());
        let report = scenario
            .carry_out(&plan, &journal, &ApplyControl::new(), &mut teller)
            .await
            .unwrap();
        journal.close().await.unwrap();
        assert!(report.is_complete());
        let notes = notes.lock().unwrap().clone();
        let told = notes.iter().filter(|note| matches!(note, Note::Told(_))).count();
        assert_eq!(told, 48);
        notes
    };
    let (text, edges) = layers("small");
    assert_eq!(in_order(&apply(&text).await, &edges), 48);
    assert_eq!(in_order(&apply(&layers("large").0).await, &edges), 48);
    assert_eq!(in_order(&apply("").await, &edges), 48);
}
