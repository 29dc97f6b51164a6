//! A project with an agent in this process and a router beside it, and calls as the engine makes them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gabion_agent::access::Agents;
use gabion_agent::{ServeOptions, serve};
use gabion_engine::address::{Lineage, ObjectId, OperationId, ResourceAddress, Uid};
use gabion_engine::provider::{
    Call, CallAction, CallSink, CreateRequest, DeleteRequest, ObjectState, Observation, ObserveRequest,
    PlanRequest, PlanResponse, PriorObject, Provider, ProviderError, ReadOutcome, ReadRequest,
    RecordedObject, UpdateRequest,
};
use gabion_engine::value::{Attributes, Value};
use gabion_host::process::ProcessIdentity;
use gabion_host::transport::Machines;
use gabion_router::RouterProvider;
pub(crate) use gabion_testing::wait::eventually;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::router::Router;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The id of the agent's unit.
pub(crate) const AGENT: &str = "agent-unit";

/// The id of the router's unit.
pub(crate) const ROUTER: &str = "router-unit";

/// Remembers what calls say.
#[derive(Default)]
pub(crate) struct Sink {
    pub(crate) checkpoints: Mutex<Vec<ObjectId>>,
    pub(crate) phases: Mutex<Vec<String>>,
}

#[async_trait]
impl CallSink for Sink {
    async fn checkpoint(
        &self,
        _operation: OperationId,
        id: ObjectId,
        _private: serde_json::Value,
    ) -> Result<(), ProviderError> {
        self.checkpoints.lock().unwrap().push(id);
        Ok(())
    }

    fn phase(&self, _operation: OperationId, phase: &str) {
        self.phases.lock().unwrap().push(phase.to_owned());
    }
}

pub(crate) struct Project {
    pub(crate) provider: Arc<RouterProvider>,
    pub(crate) router: Router,
    pub(crate) sink: Arc<Sink>,
    /// The lease epoch that calls are made under.
    pub(crate) epoch: AtomicU64,
    root: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<std::io::Result<()>>>,
    number: AtomicU64,
}

fn numbered(number: u64) -> uuid::Uuid {
    uuid::Uuid::from_u128(u128::from(number) + (1 << 100))
}

impl Project {
    /// Starts agent and router.
    pub(crate) async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let agents = Agents::new(Machines::local(), root.path());
        let router = Router::start(agents.unit_directory(ROUTER)).await;
        let mut project = Self {
            provider: Arc::new(RouterProvider::new(agents)),
            router,
            sink: Arc::default(),
            epoch: AtomicU64::new(1),
            root,
            stop: None,
            task: None,
            number: AtomicU64::new(1),
        };
        std::fs::create_dir_all(project.unit(AGENT)).unwrap();
        project.start_agent().await;
        project
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn unit(&self, id: &str) -> PathBuf {
        self.root.path().join("units").join(id)
    }

    pub(crate) async fn start_agent(&mut self) {
        let (stop, stopped) = oneshot::channel();
        self.stop = Some(stop);
        let process = ProcessIdentity::current().unwrap();
        let mark = serde_json::json!({
            "format": 1, "uid": AGENT, "operation": "op", "epoch": 1, "pid": process.pid,
            "start_time": process.start_time, "boot_id": process.boot_id, "launched": "",
        });
        std::fs::write(self.unit(AGENT).join("mark.json"), mark.to_string()).unwrap();
        let options = ServeOptions::new(self.unit(AGENT));
        self.task = Some(tokio::spawn(serve(options, async move {
            let _ = stopped.await;
        })));
        let socket = self.unit(AGENT).join("agent.sock");
        eventually("the agent's start", || async {
            gabion_host::unix_path::connect_unix(&socket).await.ok()
        })
        .await;
    }

    /// Stops the agent as a crash of its process would look from outside.
    pub(crate) async fn stop_agent(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.take().unwrap().await.unwrap().unwrap();
        std::fs::remove_file(self.unit(AGENT).join("mark.json")).unwrap();
    }

    /// What makes a worker of an engine.
    pub(crate) fn inputs(&self, url: &str) -> Attributes {
        attributes([
            ("agent", AGENT.into()),
            ("router", ROUTER.into()),
            ("router_url", self.router.url().into()),
            ("router_type", "smg".into()),
            ("name", "qwen/default/0".into()),
            ("url", url.into()),
            ("labels", labels("blue")),
            ("ready_timeout", Value::Int(30)),
            ("drain_timeout", Value::Int(30)),
        ])
    }

    pub(crate) fn call(&self) -> Call {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        Call {
            operation: OperationId::from_uuid(numbered(1000 + number)),
            uid: Uid::from_uuid(numbered(1)),
            address: address(),
            lineage: Lineage::from_uuid(numbered(7)),
            epoch: self.epoch.load(Ordering::Relaxed),
            deadline: tokio::time::Instant::now() + Duration::from_secs(120),
            cancel: CancellationToken::new(),
            sink: self.sink.clone(),
        }
    }

    /// Plans as the engine does.
    pub(crate) fn plan(&self, desired: &Attributes, prior: Option<&RecordedObject>) -> PlanResponse {
        let request = PlanRequest {
            resource_type: address().resource_type.clone(),
            address: address(),
            desired: desired.clone(),
            prior: prior.map(|prior| PriorObject {
                inputs: prior.inputs.clone(),
                attributes: prior.attributes.clone(),
                private: prior.private.clone(),
            }),
            replaces: None,
            facts: Default::default(),
        };
        self.provider.plan(&request).unwrap()
    }

    /// Plans and creates; returns what is recorded then.
    pub(crate) async fn create(&self, inputs: &Attributes) -> Result<RecordedObject, ProviderError> {
        let request = CreateRequest {
            resource_type: address().resource_type.clone(),
            address: address(),
            inputs: inputs.clone(),
            planned: self.plan(inputs, None).planned,
        };
        let state = self.provider.create(request, &self.call()).await?;
        Ok(record(inputs, state))
    }

    pub(crate) async fn update(
        &self,
        object: &RecordedObject,
        inputs: &Attributes,
    ) -> Result<RecordedObject, ProviderError> {
        let response = self.plan(inputs, Some(object));
        assert_eq!(response.replace, []);
        let request = UpdateRequest {
            object: object.clone(),
            inputs: inputs.clone(),
            planned: response.planned,
            changed: Vec::new(),
        };
        let state = self.provider.update(request, &self.call()).await?;
        Ok(record(inputs, state))
    }

    pub(crate) async fn delete(&self, object: &RecordedObject) -> Result<(), ProviderError> {
        let object = object.clone();
        self.provider
            .delete(
                DeleteRequest {
                    object,
                    deposed: false,
                },
                &self.call(),
            )
            .await
    }

    pub(crate) async fn read(&self, object: &RecordedObject) -> ReadOutcome {
        self.read_all(vec![object.clone()]).await.remove(0)
    }

    pub(crate) async fn read_all(&self, objects: Vec<RecordedObject>) -> Vec<ReadOutcome> {
        let request = ReadRequest {
            resource_type: address().resource_type.clone(),
            objects,
        };
        self.provider.read(request).await.unwrap()
    }

    pub(crate) async fn observe(&self, object: &RecordedObject) -> Observation {
        let request = ObserveRequest {
            action: CallAction::Create,
            operation: OperationId::from_uuid(numbered(5)),
            object: object.clone(),
            inputs: object.inputs.clone(),
            lineage: Lineage::from_uuid(numbered(7)),
        };
        self.provider.observe(request).await.unwrap()
    }

    /// Asserts that what is there is what is recorded, and that nothing is planned.
    pub(crate) async fn assert_settled(&self, object: &RecordedObject) {
        match self.read(object).await {
            ReadOutcome::Present(state) => {
                assert_eq!(state.attributes, object.attributes);
                assert_eq!(Some(&state.id), object.id.as_ref());
            }
            outcome => panic!("{outcome:?}"),
        }
        let response = self.plan(&object.inputs, Some(object));
        assert_eq!(response.replace, []);
        assert_eq!(response.planned, object.attributes);
    }
}

pub(crate) fn address() -> ResourceAddress {
    ResourceAddress::of("router_worker", "qwen/default/0").unwrap()
}

fn record(inputs: &Attributes, state: ObjectState) -> RecordedObject {
    RecordedObject {
        uid: Uid::from_uuid(numbered(1)),
        address: address(),
        id: Some(state.id),
        inputs: inputs.clone(),
        attributes: state.attributes,
        private: state.private,
    }
}

pub(crate) fn attributes<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Attributes {
    entries
        .into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect()
}

/// Labels with one of this value.
pub(crate) fn labels(value: &str) -> Value {
    Value::map([("colour", Value::from(value))])
}

/// Returns inputs with one of them changed.
pub(crate) fn with(mut inputs: Attributes, name: &str, value: Value) -> Attributes {
    inputs.insert(name.into(), value);
    inputs
}
