//! A project with an agent in this process, and calls as the engine makes them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gabion_agent::{ServeOptions, serve};
use gabion_engine::address::{Lineage, ObjectId, OperationId, ResourceAddress, Uid};
use gabion_engine::provider::{
    Call, CallAction, CallSink, CreateRequest, DeleteRequest, ObjectState, Observation, ObserveRequest,
    PlanRequest, PriorObject, Provider, ProviderError, ReadOutcome, ReadRequest, RecordedObject,
    UpdateRequest,
};
use gabion_engine::value::{Attributes, Value, seal_attributes};
use gabion_gateway::{GatewayConfig, GatewayProvider};
use gabion_host::ports::PortRegistry;
use gabion_host::process::ProcessIdentity;
use gabion_host::transport::Machines;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The id of the agent's unit.
pub(crate) const AGENT: &str = "agent-unit";

/// Remembers checkpoints.
#[derive(Default)]
pub(crate) struct Sink(pub(crate) Mutex<Vec<ObjectId>>);

#[async_trait]
impl CallSink for Sink {
    async fn checkpoint(
        &self,
        _operation: OperationId,
        id: ObjectId,
        _private: serde_json::Value,
    ) -> Result<(), ProviderError> {
        self.0.lock().unwrap().push(id);
        Ok(())
    }

    fn phase(&self, _operation: OperationId, _phase: &str) {}
}

pub(crate) struct Project {
    pub(crate) provider: Arc<GatewayProvider>,
    pub(crate) ports: PortRegistry,
    pub(crate) sink: Arc<Sink>,
    root: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<std::io::Result<()>>>,
    number: std::sync::atomic::AtomicU64,
}

fn numbered(number: u64) -> uuid::Uuid {
    uuid::Uuid::from_u128(u128::from(number) + (1 << 100))
}

impl Project {
    pub(crate) async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let ports = PortRegistry::new(root.path().join("ports.json"));
        let provider = GatewayProvider::new(GatewayConfig {
            data_root: root.path().to_owned(),
            ports: ports.clone(),
            machines: Machines::local(),
            project: "demo".to_owned(),
        });
        let sink = Arc::default();
        let mut project = Self {
            provider: Arc::new(provider),
            ports,
            sink,
            root,
            stop: None,
            task: None,
            number: std::sync::atomic::AtomicU64::new(1),
        };
        std::fs::create_dir_all(project.unit(AGENT)).unwrap();
        project.start_agent().await;
        project
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
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while gabion_host::unix_path::connect_unix(&socket).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "the agent does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops the agent as a crash of its process would look from outside.
    pub(crate) async fn stop_agent(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.take().unwrap().await.unwrap().unwrap();
        std::fs::remove_file(self.unit(AGENT).join("mark.json")).unwrap();
    }

    pub(crate) fn call(&self, uid: u64) -> Call {
        let number = self.number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Call {
            operation: OperationId::from_uuid(numbered(1000 + number)),
            uid: Uid::from_uuid(numbered(uid)),
            address: address("gateway_route", "qwen"),
            lineage: Lineage::from_uuid(numbered(7)),
            epoch: 1,
            deadline: tokio::time::Instant::now() + Duration::from_secs(60),
            cancel: CancellationToken::new(),
            sink: self.sink.clone(),
        }
    }

    /// Plans as the engine does.
    pub(crate) fn plan(
        &self,
        address: &ResourceAddress,
        desired: &Attributes,
        prior: Option<&RecordedObject>,
    ) -> gabion_engine::provider::PlanResponse {
        let request = PlanRequest {
            resource_type: address.resource_type.clone(),
            address: address.clone(),
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
    pub(crate) async fn create(
        &self,
        uid: u64,
        address: &ResourceAddress,
        inputs: Attributes,
    ) -> Result<RecordedObject, ProviderError> {
        let planned = self.plan(address, &inputs, None).planned;
        let request = CreateRequest {
            resource_type: address.resource_type.clone(),
            address: address.clone(),
            inputs: inputs.clone(),
            planned,
        };
        let state = self.provider.create(request, &self.call(uid)).await?;
        Ok(record(uid, address, &inputs, state))
    }

    pub(crate) async fn update(
        &self,
        uid: u64,
        object: &RecordedObject,
        inputs: Attributes,
    ) -> Result<RecordedObject, ProviderError> {
        let planned = self.plan(&object.address, &inputs, Some(object)).planned;
        let request = UpdateRequest {
            object: object.clone(),
            inputs: inputs.clone(),
            planned,
            changed: Vec::new(),
        };
        let state = self.provider.update(request, &self.call(uid)).await?;
        Ok(record(uid, &object.address, &inputs, state))
    }

    pub(crate) async fn delete(&self, uid: u64, object: &RecordedObject) -> Result<(), ProviderError> {
        self.provider
            .delete(
                DeleteRequest {
                    object: object.clone(),
                    deposed: false,
                },
                &self.call(uid),
            )
            .await
    }

    /// Deletes an object whose address another one has taken, until that is cancelled.
    pub(crate) async fn delete_deposed(
        &self,
        uid: u64,
        object: &RecordedObject,
        cancel: &CancellationToken,
    ) -> Result<(), ProviderError> {
        let call = Call {
            cancel: cancel.clone(),
            ..self.call(uid)
        };
        let request = DeleteRequest {
            object: object.clone(),
            deposed: true,
        };
        self.provider.delete(request, &call).await
    }

    pub(crate) async fn read(&self, object: &RecordedObject) -> ReadOutcome {
        let request = ReadRequest {
            resource_type: object.address.resource_type.clone(),
            objects: vec![object.clone()],
        };
        self.provider.read(request).await.unwrap().remove(0)
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

    /// Asserts that what is there is what is recorded.
    pub(crate) async fn assert_settled(&self, object: &RecordedObject, inputs: &Attributes) {
        let ReadOutcome::Present(state) = self.read(object).await else {
            panic!("{:?}", self.read(object).await)
        };
        for (name, value) in &object.attributes {
            let unread = state.unreadable.iter().any(|path| path.first_key() == Some(name));
            assert!(
                unread || state.attributes.get(name) == Some(value),
                "{name}: {:?}",
                state.attributes.get(name)
            );
        }
        for name in state.attributes.keys() {
            assert!(object.attributes.contains_key(name), "{name} was not recorded");
        }
        let response = self.plan(&object.address, inputs, Some(object));
        assert_eq!(response.replace, []);
        assert_eq!(seal_attributes(&response.planned), object.attributes);
    }
}

pub(crate) fn address(kind: &str, name: &str) -> ResourceAddress {
    ResourceAddress::of(kind, name).unwrap()
}

fn record(uid: u64, address: &ResourceAddress, inputs: &Attributes, state: ObjectState) -> RecordedObject {
    RecordedObject {
        uid: Uid::from_uuid(numbered(uid)),
        address: address.clone(),
        id: Some(state.id),
        inputs: seal_attributes(inputs),
        attributes: seal_attributes(&state.attributes),
        private: state.private,
    }
}

pub(crate) fn attributes<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Attributes {
    entries
        .into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect()
}

pub(crate) fn listener_inputs() -> Attributes {
    attributes([
        ("agent", AGENT.into()),
        ("name", "my-gateway".into()),
        ("machine", "local".into()),
        ("ports", Value::map([("range", Value::from("18080-18999"))])),
    ])
}
