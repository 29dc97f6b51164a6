//! The provider `host` through the engine's contract, with real programs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::address::{Lineage, ObjectId, OperationId, ResourceAddress, ResourceType, Uid};
use gabion_engine::provider::{
    Call, CallAction, CallSink, CreateRequest, DeleteRequest, Effect, ErrorClass, ImportRequest, ListRequest,
    ObjectState, Observation, ObserveRequest, PlanRequest, PlanResponse, PriorObject, Provider,
    ProviderError, ReadOutcome, ReadRequest, RecordedObject, UpdateRequest, ValidateRequest,
};
use gabion_engine::value::{Attributes, Comparison, Secret, Value};
use gabion_host::package::PackageStore;
use gabion_host::ports::PortRegistry;
use gabion_host::transport::Machines;
use gabion_host::unit::{StartRequest, UnitDirectory, start};
use gabion_host::{HostConfig, HostProvider};
use serde_json::json;

use crate::support::{Root, SHIM, kill, log, pid, until};

/// Answers `GET /health` with 200 on `$PORT`, or, without a port, on nothing.
const SERVER: &str = r#"
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

#[derive(Default)]
struct Sink {
    checkpoints: Mutex<Vec<(ObjectId, bool)>>,
    phases: Mutex<Vec<String>>,
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
struct Scene {
    root: Root,
    provider: HostProvider,
    lineage: Lineage,
    sink: Arc<Sink>,
}

/// One unit as the engine would record it.
struct Unit {
    uid: Uid,
    inputs: Attributes,
    state: ObjectState,
}

impl Scene {
    fn new() -> Self {
        let root = Root::new();
        let provider = HostProvider::new(HostConfig {
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
            machines: Machines::local(),
            project: "shop".to_owned(),
        });
        let sink = Arc::new(Sink::default());
        *sink.units.lock().unwrap() = root.path().join("units");
        Self {
            root,
            provider,
            lineage: Lineage::from_uuid(uuid::Uuid::now_v7()),
            sink,
        }
    }

    fn call(&self, uid: Uid, epoch: u64) -> Call {
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

    fn plan(&self, desired: &Attributes, prior: Option<PriorObject>) -> PlanResponse {
        self.provider
            .plan(&PlanRequest {
                resource_type: host_unit(),
                address: address(),
                desired: desired.clone(),
                prior,
                facts: BTreeMap::new(),
            })
            .unwrap()
    }

    async fn try_create(&self, uid: Uid, inputs: &Attributes) -> Result<ObjectState, ProviderError> {
        let request = CreateRequest {
            resource_type: host_unit(),
            address: address(),
            inputs: inputs.clone(),
            planned: self.plan(inputs, None).planned,
        };
        self.provider.create(request, &self.call(uid, 1)).await
    }

    async fn create(&self, inputs: serde_json::Value) -> Unit {
        self.create_from(attributes(inputs)).await
    }

    async fn create_from(&self, inputs: Attributes) -> Unit {
        let uid = new_uid();
        let planned = self.plan(&inputs, None).planned;
        let state = self.try_create(uid, &inputs).await.unwrap();
        assert_agrees(&planned, &state.attributes);
        Unit { uid, inputs, state }
    }

    async fn read(&self, unit: &Unit) -> ReadOutcome {
        let request = ReadRequest {
            resource_type: host_unit(),
            objects: vec![unit.recorded()],
        };
        self.provider.read(request).await.unwrap().remove(0)
    }

    /// The unit as the planner sees it after reading: what cannot be read is as recorded.
    async fn prior(&self, unit: &Unit) -> PriorObject {
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
    async fn differences(&self, unit: &Unit, desired: &Attributes) -> (Vec<String>, Vec<String>) {
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

    async fn drift(&self, unit: &Unit) -> Vec<String> {
        let (changed, replace) = self.differences(unit, &unit.inputs).await;
        assert!(replace.is_empty(), "drift alone replaces nothing: {replace:?}");
        changed
    }

    async fn update(&self, unit: &mut Unit, inputs: Attributes) {
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

    async fn repair(&self, unit: &mut Unit) {
        let inputs = unit.inputs.clone();
        self.update(unit, inputs).await;
        assert!(self.drift(unit).await.is_empty());
    }

    async fn observe(&self, uid: Uid, action: CallAction, inputs: &Attributes) -> Observation {
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

    fn leases(&self) -> usize {
        PortRegistry::new(self.root.path().join("ports.json"))
            .leases()
            .unwrap()
            .len()
    }
}

impl Unit {
    fn recorded(&self) -> RecordedObject {
        RecordedObject {
            uid: self.uid,
            address: address(),
            id: Some(self.state.id.clone()),
            inputs: gabion_engine::value::seal_attributes(&self.inputs),
            attributes: gabion_engine::value::seal_attributes(&self.state.attributes),
            private: self.state.private.clone(),
        }
    }

    fn directory(&self) -> UnitDirectory {
        UnitDirectory::at(self.state.attributes["unit_dir"].as_str().unwrap())
    }

    fn pid(&self) -> i32 {
        pid(&self.directory())
    }

    fn port(&self) -> i64 {
        self.state.attributes["port"].as_map().unwrap()["http"]
            .as_int()
            .unwrap()
    }
}

fn host_unit() -> ResourceType {
    ResourceType::new("host_unit").unwrap()
}

fn address() -> ResourceAddress {
    "host_unit.qwen/default/0".parse().unwrap()
}

fn new_uid() -> Uid {
    Uid::from_uuid(uuid::Uuid::now_v7())
}

fn attributes(json: serde_json::Value) -> Attributes {
    Value::from_json(&json).as_map().unwrap().clone()
}

fn with_secret(mut inputs: Attributes, name: &str, value: &str) -> Attributes {
    let mut env = inputs
        .get("env")
        .and_then(Value::as_map)
        .cloned()
        .unwrap_or_default();
    env.insert(name.into(), Value::Secret(Secret::new(None, value.into())));
    inputs.insert("env".into(), Value::Map(env));
    inputs
}

fn server() -> serde_json::Value {
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

fn sleeper() -> serde_json::Value {
    json!({"machine": "local", "argv": ["sh", "-c", "echo up; exec sleep 600"]})
}

/// What was planned and known is what came about.
fn assert_agrees(planned: &Attributes, actual: &Attributes) {
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

#[tokio::test]
async fn a_unit_is_made_read_back_and_deleted_without_a_trace() {
    let scene = Scene::new();
    let planned = scene.plan(&attributes(server()), None);
    assert!(planned.claims.is_empty());
    assert_eq!(planned.planned["running"], Value::Bool(true));
    assert_eq!(
        planned.planned["port"].as_map().unwrap()["http"],
        Value::unknown()
    );
    let unit = scene.create(server()).await;
    assert_eq!(unit.state.id.as_str(), unit.uid.to_string());
    assert_eq!(
        *scene.sink.checkpoints.lock().unwrap(),
        [(unit.state.id.clone(), true)]
    );
    assert_eq!(*scene.sink.phases.lock().unwrap(), ["start", "ready"]);
    assert!((24000..=24999).contains(&unit.port()));
    assert_eq!(
        unit.state.attributes["url"],
        format!("http://127.0.0.1:{}", unit.port()).into()
    );
    assert!(unit.state.unreadable.is_empty());
    assert!(scene.drift(&unit).await.is_empty());

    let listed = scene
        .provider
        .list(ListRequest {
            lineage: scene.lineage,
        })
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].uid, listed[0].address.clone()),
        (Some(unit.uid), Some(address()))
    );
    let other = Lineage::from_uuid(uuid::Uuid::now_v7());
    assert!(
        scene
            .provider
            .list(ListRequest { lineage: other })
            .await
            .unwrap()
            .is_empty()
    );

    let object = unit.recorded();
    for _ in 0..2 {
        let request = DeleteRequest {
            object: object.clone(),
        };
        scene
            .provider
            .delete(request, &scene.call(unit.uid, 1))
            .await
            .unwrap();
        assert_eq!(scene.read(&unit).await, ReadOutcome::Absent);
    }
    assert_eq!(scene.leases(), 0);
    let left: Vec<_> = std::fs::read_dir(scene.root.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| name == "ports.json" || name == "ports.lock"),
        "{left:?}"
    );
}

#[tokio::test]
async fn a_killed_program_is_drift_and_starts_again_on_its_port() {
    let scene = Scene::new();
    let mut unit = scene.create(server()).await;
    let (first, port) = (unit.pid(), unit.port());
    kill(first);
    until("its end is known", || {
        unit.directory().path().join("exit.json").exists()
    })
    .await;
    assert_eq!(scene.drift(&unit).await, ["ended", "running"]);
    let prior = scene.prior(&unit).await;
    assert_eq!(prior.attributes["ended"], "it ended with signal SIGKILL".into());
    scene.repair(&mut unit).await;
    assert_ne!(unit.pid(), first);
    assert_eq!(unit.port(), port);
}

#[tokio::test]
async fn an_edited_or_missing_file_is_put_back_without_a_restart() {
    let scene = Scene::new();
    let mut unit = scene.create(server()).await;
    let first = unit.pid();
    let file = unit.directory().files().join("server.py");
    std::fs::write(&file, "edited").unwrap();
    assert_eq!(scene.drift(&unit).await, ["files"]);
    scene.repair(&mut unit).await;
    std::fs::remove_file(&file).unwrap();
    assert_eq!(scene.drift(&unit).await, ["files"]);
    scene.repair(&mut unit).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), SERVER);
    assert_eq!(unit.pid(), first);
    // What the program itself leaves beside its files is its own.
    std::fs::write(unit.directory().files().join("cache.bin"), "x").unwrap();
    assert!(scene.drift(&unit).await.is_empty());
}

#[tokio::test]
async fn an_edited_record_is_put_back_and_a_program_launched_from_it_restarted() {
    let scene = Scene::new();
    let mut unit = scene.create(sleeper()).await;
    let first = unit.pid();
    let launch = unit.directory().path().join("launch.json");
    let edited = std::fs::read_to_string(&launch)
        .unwrap()
        .replace("echo up", "echo edited");
    std::fs::write(&launch, &edited).unwrap();
    assert_eq!(scene.drift(&unit).await, ["argv"]);
    scene.repair(&mut unit).await;
    assert_eq!(unit.pid(), first);

    std::fs::write(&launch, &edited).unwrap();
    kill(first);
    until("it ended", || {
        !gabion_host::unit::inspect(&unit.directory())
            .unwrap()
            .is_running()
    })
    .await;
    let again = StartRequest {
        directory: unit.directory(),
        shim: vec![SHIM.to_owned(), "exec".to_owned()],
        fence: None,
    };
    start(&again).await.unwrap();
    let second = unit.pid();
    assert_eq!(scene.drift(&unit).await, ["argv"]);
    scene.repair(&mut unit).await;
    assert_ne!(unit.pid(), second);
    until("it says what it should", || log(&unit.directory()) == "up\n").await;
}

#[tokio::test]
async fn damaged_records_are_differences_and_put_right() {
    let scene = Scene::new();
    let mut unit = scene.create(server()).await;
    for name in ["launch.json", "mark.json", "env"] {
        std::fs::write(unit.directory().path().join(name), "{").unwrap();
        let drift = scene.drift(&unit).await;
        assert_eq!(drift.is_empty(), name == "env", "{name}: {drift:?}");
        scene.repair(&mut unit).await;
        assert!(unit.pid() > 0);
    }
    assert_eq!(scene.leases(), 1);
}

#[tokio::test]
async fn an_edited_secret_is_drift_and_put_back() {
    let scene = Scene::new();
    let mut unit = scene
        .create_from(with_secret(attributes(sleeper()), "TOKEN", "right"))
        .await;
    assert!(scene.drift(&unit).await.is_empty());
    let env = unit.directory().path().join("env");
    std::fs::write(&env, r#"{"TOKEN": "wrong"}"#).unwrap();
    assert_eq!(scene.drift(&unit).await, ["env"]);
    scene.repair(&mut unit).await;
    std::fs::write(&env, "{}").unwrap();
    assert_eq!(scene.drift(&unit).await, ["env"]);
    scene.repair(&mut unit).await;
    assert!(!serde_json::to_string(&unit.state).unwrap().contains("right"));
}

#[tokio::test]
async fn a_reboot_is_reported_as_one() {
    let scene = Scene::new();
    let mut unit = scene.create(sleeper()).await;
    let first = unit.pid();
    let mark = unit.directory().path().join("mark.json");
    let text = std::fs::read_to_string(&mark).unwrap();
    kill(first);
    let boot = gabion_host::process::boot_id().unwrap();
    std::fs::write(&mark, text.replace(&boot, "before")).unwrap();
    assert_eq!(
        scene.prior(&unit).await.attributes["ended"],
        "the machine was restarted".into()
    );
    scene.repair(&mut unit).await;
    assert_ne!(unit.pid(), first);
}

#[tokio::test]
async fn what_the_program_reads_replaces_it_and_the_rest_does_not() {
    let scene = Scene::new();
    let mut unit = scene.create(server()).await;
    let first = unit.pid();
    let set = |name: &str, value: serde_json::Value| {
        let mut inputs = attributes(server());
        inputs.insert(name.into(), Value::from_json(&value));
        inputs
    };
    for (name, value) in [
        ("argv", json!(["python3", "-u", "server.py"])),
        ("env", json!({"PORT": "{ports.http}", "A": "b"})),
        ("files", json!({"server.py": "other"})),
        ("working_dir", json!("/tmp")),
        ("package", json!("smg==1.13.0")),
        ("machine", json!("other")),
    ] {
        let (_, replace) = scene.differences(&unit, &set(name, value)).await;
        assert_eq!(replace, [name]);
    }
    for (name, value) in [
        (
            "probes",
            json!([{"path": "/health", "ready_after": 2, "interval_seconds": 0.01}]),
        ),
        ("ready_timeout", json!(31)),
        ("stop_timeout", json!(7)),
        ("role", json!("router")),
        ("ports", json!({"http": {"range": "24000-25000"}})),
        ("ports", json!({"http": {"port": unit.port()}})),
    ] {
        let desired = set(name, value);
        let (changed, replace) = scene.differences(&unit, &desired).await;
        assert_eq!((changed, replace), (vec![name.to_owned()], Vec::new()));
        scene.update(&mut unit, desired).await;
        assert_eq!(unit.pid(), first);
        assert!(scene.drift(&unit).await.is_empty());
        scene.update(&mut unit, attributes(server())).await;
    }
    let port = unit.port();
    for (ports, path, why) in [
        (
            json!({"http": {"range": "25000-25999"}}),
            "ports.http",
            format!("It has port {port}, which 25000-25999 does not hold."),
        ),
        (
            json!({"http": {"port": 25000}}),
            "ports.http",
            format!("It has port {port}."),
        ),
        (
            json!({}),
            "ports.http",
            "A running program cannot give back a port.".to_owned(),
        ),
        (
            json!({"http": {"range": "24000-24999"}, "m": {"range": "24000-24999"}}),
            "ports.m",
            "A running program is given no further ports.".to_owned(),
        ),
    ] {
        let response = scene.plan(&set("ports", ports), Some(scene.prior(&unit).await));
        let causes: Vec<_> = response
            .replace
            .iter()
            .map(|cause| (cause.path.to_string(), cause.why.clone()))
            .collect();
        assert_eq!(causes, [(path.to_owned(), Some(why))]);
    }
}

#[tokio::test]
async fn a_program_that_is_never_ready_fails_with_its_log_and_stays_for_the_next_apply() {
    let scene = Scene::new();
    let mut inputs = server();
    inputs["argv"] = json!(["sh", "-c", "echo using $TOKEN; exec python3 server.py"]);
    inputs["probes"] = json!([{"path": "/never"}]);
    inputs["ready_timeout"] = json!(1);
    let inputs = with_secret(attributes(inputs), "TOKEN", "swordfish");
    let uid = new_uid();
    let error = scene.try_create(uid, &inputs).await.unwrap_err();
    assert_eq!(
        (error.class, error.effect),
        (ErrorClass::Invalid, Effect::Partial)
    );
    assert!(
        error.message.starts_with("The program was not ready within"),
        "{}",
        error.message
    );
    assert!(
        error.detail.contains(&"using (secret)".to_owned()),
        "{:?}",
        error.detail
    );
    assert!(!format!("{error:?}").contains("swordfish"), "{error:?}");
    let Observation::Present(state) = scene.observe(uid, CallAction::Create, &inputs).await else {
        panic!("not there");
    };
    assert_eq!(state.attributes["running"], Value::Bool(true));

    let mut unit = Unit { uid, inputs, state };
    let first = unit.pid();
    scene.update(&mut unit, attributes(server())).await;
    assert_ne!(unit.pid(), first, "its environment changed");
    assert!(scene.drift(&unit).await.is_empty());
}

#[tokio::test]
async fn a_program_that_ends_at_once_says_how() {
    let scene = Scene::new();
    let inputs = attributes(json!({"machine": "local", "argv": ["sh", "-c", "echo no GPU found; exit 7"]}));
    let error = scene.try_create(new_uid(), &inputs).await.unwrap_err();
    assert_eq!(
        (error.class, error.effect),
        (ErrorClass::Invalid, Effect::Partial)
    );
    assert_eq!(
        error.message,
        "The program ended before it was ready, with exit code 7."
    );
    assert_eq!(error.detail, ["no GPU found"]);

    let inputs = attributes(json!({"machine": "local", "argv": ["no-such-program"]}));
    let error = scene.try_create(new_uid(), &inputs).await.unwrap_err();
    assert_eq!(
        (error.class, error.effect),
        (ErrorClass::Invalid, Effect::Partial)
    );
    assert_eq!(error.message, "The program \"no-such-program\" is not there.");
}

#[tokio::test]
async fn a_creation_that_never_began_is_absent_and_one_that_is_repeated_is_one() {
    let scene = Scene::new();
    let uid = new_uid();
    let inputs = attributes(server());
    assert_eq!(
        scene.observe(uid, CallAction::Create, &inputs).await,
        Observation::Absent
    );
    let first = scene.try_create(uid, &inputs).await.unwrap();
    let again = scene.try_create(uid, &inputs).await.unwrap();
    assert_eq!(first.attributes, again.attributes);
    assert_eq!(first.private, again.private);
    assert_eq!(scene.leases(), 1);
}

#[tokio::test]
async fn a_fixed_port_is_claimed_and_its_owner_named() {
    let scene = Scene::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut inputs = sleeper();
    inputs["ports"] = json!({"http": {"port": port}});
    let planned = scene.plan(&attributes(inputs.clone()), None);
    assert_eq!(&*planned.claims[0].key, format!("tcp/local/{port}"));
    assert_eq!(planned.claims[0].path.to_string(), "ports.http.port");
    assert_eq!(planned.planned["url"], format!("http://127.0.0.1:{port}").into());
    let unit = scene.create(inputs.clone()).await;
    let second = new_uid();
    inputs["ports"]["metrics"] = json!({"range": "24000-24999"});
    let error = scene.try_create(second, &attributes(inputs)).await.unwrap_err();
    assert_eq!((error.class, error.effect), (ErrorClass::Conflict, Effect::None));
    assert_eq!(
        error.message,
        format!(
            "Port {port} belongs to host_unit.qwen/default/0 of project shop (unit {})",
            unit.uid
        )
    );
    assert_eq!(error.path.unwrap().to_string(), "ports.http");
    assert_eq!(scene.leases(), 1);
    assert_eq!(
        scene
            .observe(second, CallAction::Create, &Attributes::new())
            .await,
        Observation::Absent
    );
}

#[tokio::test]
async fn a_run_whose_lease_was_taken_over_changes_nothing() {
    let scene = Scene::new();
    let unit = scene.create(sleeper()).await;
    let newer = UpdateRequest {
        object: unit.recorded(),
        inputs: unit.inputs.clone(),
        planned: Attributes::new(),
        changed: Vec::new(),
    };
    scene
        .provider
        .update(newer.clone(), &scene.call(unit.uid, 2))
        .await
        .unwrap();
    let first = unit.pid();
    let error = scene
        .provider
        .update(newer, &scene.call(unit.uid, 1))
        .await
        .unwrap_err();
    assert_eq!((error.class, error.effect), (ErrorClass::Conflict, Effect::None));
    let request = DeleteRequest {
        object: unit.recorded(),
    };
    let error = scene
        .provider
        .delete(request, &scene.call(unit.uid, 1))
        .await
        .unwrap_err();
    assert_eq!((error.class, error.effect), (ErrorClass::Conflict, Effect::None));
    assert_eq!(unit.pid(), first);
}

#[tokio::test]
async fn an_interrupted_call_returns_and_the_program_goes_on() {
    let scene = Scene::new();
    let mut inputs = attributes(server());
    inputs.insert("probes".into(), Value::from_json(&json!([{"path": "/never"}])));
    let uid = new_uid();
    let call = scene.call(uid, 1);
    let cancel = call.cancel.clone();
    let request = CreateRequest {
        resource_type: host_unit(),
        address: address(),
        inputs: inputs.clone(),
        planned: Attributes::new(),
    };
    let sink = scene.sink.clone();
    let (outcome, ()) = tokio::join!(scene.provider.create(request, &call), async {
        until("it waits", || {
            sink.phases
                .lock()
                .unwrap()
                .last()
                .is_some_and(|phase| phase == "ready")
        })
        .await;
        cancel.cancel();
    });
    let error = outcome.unwrap_err();
    assert_eq!(
        (error.class, error.effect),
        (ErrorClass::Uncertain, Effect::Unknown)
    );
    assert!(matches!(
        scene.observe(uid, CallAction::Create, &inputs).await,
        Observation::Present(_)
    ));
}

#[tokio::test]
async fn a_unit_is_imported_by_its_uid() {
    let scene = Scene::new();
    let unit = scene.create(server()).await;
    let import = |id: &str| ImportRequest {
        resource_type: host_unit(),
        address: address(),
        id: ObjectId::new(id),
    };
    let state = scene
        .provider
        .import(import(&unit.uid.to_string()))
        .await
        .unwrap();
    assert_eq!(state.attributes["port"], unit.state.attributes["port"]);
    assert_eq!(state.attributes["argv"], unit.state.attributes["argv"]);
    let prior = PriorObject {
        inputs: Attributes::new(),
        attributes: state.attributes,
        private: state.private,
    };
    assert_eq!(scene.plan(&unit.inputs, Some(prior.clone())).replace, []);
    let mut other = unit.inputs.clone();
    other.insert("argv".into(), Value::List(vec!["other".into()]));
    assert_eq!(scene.plan(&other, Some(prior)).replace.len(), 1);
    for id in ["no-such-unit", "../x"] {
        assert!(scene.provider.import(import(id)).await.is_err());
    }
}

#[tokio::test]
async fn numbers_that_references_gave_read_back_as_numbers() {
    let scene = Scene::new();
    let mut inputs = sleeper();
    inputs["env"] = json!({"UPSTREAM_PORT": 20001, "FLAG": true});
    inputs["argv"] = json!(["sleep", 600]);
    let mut unit = scene.create(inputs).await;
    assert!(scene.drift(&unit).await.is_empty());
    let launch = unit.directory().path().join("launch.json");
    let edited = std::fs::read_to_string(&launch)
        .unwrap()
        .replace("20001", "20002");
    std::fs::write(&launch, edited).unwrap();
    assert_eq!(scene.drift(&unit).await, ["env"]);
    scene.repair(&mut unit).await;
}

#[tokio::test]
async fn an_ignored_difference_replaces_nothing() {
    let scene = Scene::new();
    let unit = scene.create(sleeper()).await;
    let launch = unit.directory().path().join("launch.json");
    let edited = std::fs::read_to_string(&launch)
        .unwrap()
        .replace("echo up", "echo edited");
    std::fs::write(&launch, edited).unwrap();
    // With `ignore_changes: [argv]` the engine asks for what is there.
    let mut desired = unit.inputs.clone();
    desired.insert("argv".into(), scene.prior(&unit).await.attributes["argv"].clone());
    assert_eq!(scene.differences(&unit, &desired).await, (Vec::new(), Vec::new()));
}

#[test]
fn every_problem_of_bad_inputs_is_reported_at_its_place() {
    let scene = Scene::new();
    let secret = || Value::Secret(Secret::sealed(None, None));
    let mut inputs = attributes(json!({
        "machine": "gpu-7",
        "argv": ["", "--port={ports.nope}", "{package.dir}/bin/x"],
        "env": {"A=B": "x", "PORT": "{ports.grpc}"},
        "working_dir": "relative",
        "files": {"../x": "", "ok/fine": "{ports.http} is text here"},
        "ports": {"http": {"range": "9-1"}, "a b": {"port": 1}, "both": {"range": "1-2", "port": 1}, "big": {"port": 70000}},
        "probes": [
            {"port": "nope", "path": "health"},
            {"socket": "/abs", "method": "GE T", "path": "/", "ready_after": 0},
            {"headers": {"x": "y"}},
        ],
        "ready_timeout": -1,
    }));
    inputs.insert("role".into(), secret());
    let problems = scene.provider.validate(&ValidateRequest {
        resource_type: host_unit(),
        address: address(),
        inputs,
    });
    let paths: Vec<String> = problems.iter().map(|problem| problem.path.to_string()).collect();
    let expected = [
        "ports[\"a b\"]",
        "ports.big.port",
        "ports.both",
        "ports.http.range",
        "argv",
        "env[\"A=B\"]",
        "files[\"../x\"]",
        "probes[0].port",
        "probes[0].path",
        "probes[1].socket",
        "probes[1].ready_after",
        "probes[1].method",
        "probes[2].headers",
        "ready_timeout",
        "role",
        "argv[1]",
        "argv[2]",
        "env.PORT",
        "working_dir",
        "machine",
    ];
    let mut sorted = (paths.clone(), expected.map(str::to_owned).to_vec());
    sorted.0.sort();
    sorted.1.sort();
    assert_eq!(sorted.0, sorted.1, "{problems:#?}");
    assert!(problems.iter().all(|problem| problem.hint.is_some()));
}

#[test]
fn what_is_not_known_yet_is_not_a_problem() {
    let scene = Scene::new();
    let mut inputs = attributes(server());
    for name in [
        "machine",
        "env",
        "files",
        "ports",
        "working_dir",
        "package",
        "ready_timeout",
    ] {
        inputs.insert(name.into(), Value::template("${{ a.b.c }}"));
    }
    inputs.insert("argv".into(), Value::List(vec![Value::template("${{ a.b.c }}")]));
    let request = ValidateRequest {
        resource_type: host_unit(),
        address: address(),
        inputs: inputs.clone(),
    };
    assert_eq!(scene.provider.validate(&request), []);
    let planned = scene.plan(&inputs, None);
    assert_eq!(planned.planned["port"], Value::unknown());
    assert_eq!(planned.planned["url"], Value::unknown());
}
