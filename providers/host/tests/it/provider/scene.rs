//! A project on this machine, its units, and what the engine would do with them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::address::{Lineage, ObjectId, OperationId, ResourceAddress, ResourceType, Uid};
use gabion_engine::provider::{
    Call, CallAction, CallSink, CreateRequest, ObjectState, Observation, ObserveRequest, PlanRequest,
    PlanResponse, PriorObject, Provider, ProviderError, ReadOutcome, ReadRequest, RecordedObject,
    UpdateRequest,
};
use gabion_engine::value::{Attributes, Comparison, Secret, Value};
use gabion_host::package::PackageStore;
use gabion_host::ports::PortRegistry;
use gabion_host::transport::Machines;
use gabion_host::unit::UnitDirectory;
use gabion_host::{ContainerConfig, HostConfig, HostProvider, SystemdConfig};
use serde_json::json;

use crate::support::{Root, SHIM, pid};

/// Answers `GET /health` with 200 on `$PORT`, or, without a port, on nothing.
pub(super) const SERVER: &str = r#"
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

#[derive(Default)]
pub(super) struct Sink {
    pub(super) checkpoints: Mutex<Vec<(ObjectId, bool)>>,
    pub(super) phases: Mutex<Vec<String>>,
    units: Mutex<PathBuf>,
}

#[async_trait]
impl CallSink for Sink {
    async fn checkpoint(
        &self,
        _: OperationId,
        id: ObjectId,
        _: serde_json::Value,
    ) -> Result<(), ProviderError> {
        let there = self
            .units
            .lock()
            .unwrap()
            .join(id.as_str())
            .join("launch.json")
            .exists();
        self.checkpoints.lock().unwrap().push((id, there));
        Ok(())
    }

    fn phase(&self, _: OperationId, phase: &str) {
        self.phases.lock().unwrap().push(phase.to_owned());
    }
}

/// A project on this machine.
pub(super) struct Scene {
    pub(super) root: Root,
    pub(super) provider: Arc<HostProvider>,
    pub(super) lineage: Lineage,
    pub(super) sink: Arc<Sink>,
}

/// One unit as the engine would record it.
pub(super) struct Unit {
    pub(super) uid: Uid,
    pub(super) inputs: Attributes,
    pub(super) state: ObjectState,
}

impl Scene {
    pub(super) fn new() -> Self {
        Self::with(ContainerConfig::default())
    }

    /// A machine that containers come from there.
    pub(super) fn with(containers: ContainerConfig) -> Self {
        Self::of(Root::new(), containers, SystemdConfig::default())
    }

    /// A machine whose services are made so.
    pub(super) fn of(root: Root, containers: ContainerConfig, systemd: SystemdConfig) -> Self {
        let provider = Arc::new(HostProvider::new(HostConfig {
            data_root: root.path().to_owned(),
            package_store: PackageStore {
                cache_root: root.path().join("cache"),
                python: "python3".to_owned(),
                timeout: Duration::from_secs(60),
            },
            packages: BTreeMap::new(),
            ports: PortRegistry::new(root.path().join("ports.json")),
            shim: vec![SHIM.to_owned(), "exec".to_owned()],
            base_env: BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]),
            containers,
            systemd,
            agents: None,
            machines: Machines::local(),
            project: "shop".to_owned(),
        }));
        let sink = Arc::new(Sink::default());
        *sink.units.lock().unwrap() = root.path().join("units");
        Self {
            root,
            provider,
            lineage: Lineage::from_uuid(uuid::Uuid::now_v7()),
            sink,
        }
    }

    pub(super) fn call(&self, uid: Uid, epoch: u64) -> Call {
        Call {
            operation: OperationId::from_uuid(uuid::Uuid::now_v7()),
            uid,
            address: address(),
            lineage: self.lineage,
            epoch,
            deadline: tokio::time::Instant::now() + Duration::from_secs(60),
            cancel: Default::default(),
            sink: self.sink.clone(),
        }
    }

    pub(super) fn plan(&self, desired: &Attributes, prior: Option<PriorObject>) -> PlanResponse {
        self.provider
            .plan(&PlanRequest {
                resource_type: host_unit(),
                address: address(),
                desired: desired.clone(),
                prior,
                replaces: None,
                facts: BTreeMap::new(),
            })
            .unwrap()
    }

    pub(super) async fn try_create(
        &self,
        uid: Uid,
        inputs: &Attributes,
    ) -> Result<ObjectState, ProviderError> {
        let request = CreateRequest {
            resource_type: host_unit(),
            address: address(),
            inputs: inputs.clone(),
            planned: self.plan(inputs, None).planned,
        };
        self.provider.create(request, &self.call(uid, 1)).await
    }

    pub(super) async fn create(&self, inputs: serde_json::Value) -> Unit {
        self.create_from(attributes(inputs)).await
    }

    pub(super) async fn create_from(&self, inputs: Attributes) -> Unit {
        let uid = new_uid();
        let planned = self.plan(&inputs, None).planned;
        let state = self.try_create(uid, &inputs).await.unwrap();
        assert_agrees(&planned, &state.attributes);
        Unit { uid, inputs, state }
    }

    pub(super) async fn read(&self, unit: &Unit) -> ReadOutcome {
        let request = ReadRequest {
            resource_type: host_unit(),
            objects: vec![unit.recorded()],
        };
        self.provider.read(request).await.unwrap().remove(0)
    }

    /// The unit as the planner sees it after reading: what cannot be read is as recorded.
    pub(super) async fn prior(&self, unit: &Unit) -> PriorObject {
        let ReadOutcome::Present(state) = self.read(unit).await else {
            panic!("not there");
        };
        let mut attributes = state.attributes;
        for path in &state.unreadable {
            let name = path.first_key().unwrap();
            if let Some(value) = unit.state.attributes.get(name) {
                attributes.insert(name.into(), value.clone());
            }
        }
        PriorObject {
            inputs: unit.inputs.clone(),
            attributes,
            private: state.private,
        }
    }

    /// Plans these inputs over the unit as it is; returns the names that differ, and the names that force a replacement.
    pub(super) async fn differences(&self, unit: &Unit, desired: &Attributes) -> (Vec<String>, Vec<String>) {
        let prior = self.prior(unit).await;
        let response = self.plan(desired, Some(prior.clone()));
        let names = prior.attributes.keys().chain(response.planned.keys());
        let mut changed: Vec<String> = names
            .filter(|name| {
                let of = |attributes: &Attributes| attributes.get(*name).cloned().unwrap_or_default();
                of(&prior.attributes).compare(&of(&response.planned)) != Comparison::Equal
            })
            .map(ToString::to_string)
            .collect();
        changed.sort();
        changed.dedup();
        let replace = response
            .replace
            .iter()
            .map(|cause| cause.path.to_string())
            .collect();
        (changed, replace)
    }

    pub(super) async fn drift(&self, unit: &Unit) -> Vec<String> {
        let (changed, replace) = self.differences(unit, &unit.inputs).await;
        assert!(replace.is_empty(), "drift alone replaces nothing: {replace:?}");
        changed
    }

    pub(super) async fn update(&self, unit: &mut Unit, inputs: Attributes) {
        let request = UpdateRequest {
            object: unit.recorded(),
            planned: self.plan(&inputs, Some(self.prior(unit).await)).planned,
            inputs: inputs.clone(),
            changed: Vec::new(),
        };
        let planned = request.planned.clone();
        unit.state = self
            .provider
            .update(request, &self.call(unit.uid, 1))
            .await
            .unwrap();
        unit.inputs = inputs;
        assert_agrees(&planned, &unit.state.attributes);
    }

    pub(super) async fn repair(&self, unit: &mut Unit) {
        let inputs = unit.inputs.clone();
        self.update(unit, inputs).await;
        assert!(self.drift(unit).await.is_empty());
    }

    pub(super) async fn observe(&self, uid: Uid, action: CallAction, inputs: &Attributes) -> Observation {
        let object = RecordedObject {
            uid,
            address: address(),
            id: None,
            inputs: inputs.clone(),
            attributes: Attributes::new(),
            private: serde_json::Value::Null,
        };
        let request = ObserveRequest {
            action,
            operation: OperationId::from_uuid(uuid::Uuid::now_v7()),
            object,
            inputs: inputs.clone(),
            lineage: self.lineage,
        };
        self.provider.observe(request).await.unwrap()
    }

    pub(super) fn leases(&self) -> usize {
        PortRegistry::new(self.root.path().join("ports.json"))
            .leases()
            .unwrap()
            .len()
    }
}

impl Unit {
    pub(super) fn recorded(&self) -> RecordedObject {
        RecordedObject {
            uid: self.uid,
            address: address(),
            id: Some(self.state.id.clone()),
            inputs: gabion_engine::value::seal_attributes(&self.inputs),
            attributes: gabion_engine::value::seal_attributes(&self.state.attributes),
            private: self.state.private.clone(),
        }
    }

    pub(super) fn directory(&self) -> UnitDirectory {
        UnitDirectory::at(self.state.attributes["unit_dir"].as_str().unwrap())
    }

    /// Its process, if it runs.
    pub(super) fn pid_if_running(&self) -> Option<i32> {
        match gabion_host::unit::inspect(&self.directory()).unwrap() {
            gabion_host::unit::UnitStatus::Running { mark } => Some(mark.process.pid),
            _ => None,
        }
    }

    pub(super) fn pid(&self) -> i32 {
        pid(&self.directory())
    }

    pub(super) fn port(&self) -> i64 {
        self.state.attributes["port"].as_map().unwrap()["http"]
            .as_int()
            .unwrap()
    }
}

pub(super) fn host_unit() -> ResourceType {
    ResourceType::new("host_unit").unwrap()
}

pub(super) fn address() -> ResourceAddress {
    "host_unit.qwen/default/0".parse().unwrap()
}

pub(super) fn new_uid() -> Uid {
    Uid::from_uuid(uuid::Uuid::now_v7())
}

pub(super) fn attributes(json: serde_json::Value) -> Attributes {
    Value::from_json(&json).as_map().unwrap().clone()
}

pub(super) fn with_secret(mut inputs: Attributes, name: &str, value: &str) -> Attributes {
    let mut env = inputs
        .get("env")
        .and_then(Value::as_map)
        .cloned()
        .unwrap_or_default();
    env.insert(name.into(), Value::Secret(Secret::new(None, value.into())));
    inputs.insert("env".into(), Value::Map(env));
    inputs
}

pub(super) fn server() -> serde_json::Value {
    json!({
        "machine": "local",
        "role": "replica",
        "argv": ["python3", "server.py"],
        "env": {"PORT": "{ports.http}"},
        "files": {"server.py": SERVER},
        "ports": {"http": {"range": "24000-24999"}},
        "probes": [{"path": "/health"}],
        "ready_timeout": 30,
    })
}

pub(super) fn sleeper() -> serde_json::Value {
    json!({"machine": "local", "argv": ["sh", "-c", "echo up; exec sleep 600"]})
}

/// What was planned and known is what came about.
pub(super) fn assert_agrees(planned: &Attributes, actual: &Attributes) {
    for (name, value) in planned.iter().filter(|(_, value)| value.is_wholly_known()) {
        let now = actual.get(name).cloned().unwrap_or_default();
        assert_eq!(
            value.compare(&now),
            Comparison::Equal,
            "{name}: planned {value:?}, got {now:?}"
        );
    }
    for name in actual.keys() {
        assert!(planned.contains_key(name), "{name} was not planned");
    }
}
