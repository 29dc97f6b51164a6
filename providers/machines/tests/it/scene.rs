//! A host, a way to it, and calls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::address::{Lineage, ObjectId, OperationId, ResourceAddress, ResourceType, Uid};
use gabion_engine::provider::{
    Call, CallSink, CreateRequest, DeleteRequest, ObjectState, PlanRequest, Provider, ProviderError,
    ReadOutcome, ReadRequest, RecordedObject,
};
use gabion_engine::value::{Attributes, Value};
use gabion_host::transport::Machines;
use gabion_machines::agent::{AgentSettings, providers};
use gabion_machines::program::ProgramSource;
use gabion_machines::protocol::Directories;
use gabion_machines::ssh::{SshAddress, Trust};
use gabion_machines::{Hosts, Spread};
use gabion_testing::sshd::Sshd;
pub(crate) use gabion_testing::wait::eventually;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What the project calls the host.
pub(crate) const HOST: &str = "gpu/h1";

/// Starts an SSH server; `None`, with a word, on a machine that has none.
pub(crate) fn sshd() -> Option<Sshd> {
    if Sshd::program().is_none() {
        eprintln!("skipped: there is no sshd on this machine");
        return None;
    }
    Some(Sshd::start(&[]).unwrap())
}

/// Returns the way to a server.
pub(crate) fn address(server: &Sshd, trust: Trust) -> SshAddress {
    SshAddress {
        hostname: "127.0.0.1".to_owned(),
        own_hostname: None,
        port: Some(server.port()),
        user: Some(Sshd::user()),
        identity_file: Some(server.identity_file().display().to_string()),
        proxy_jump: None,
        trust,
    }
}

/// The host's own key.
pub(crate) fn key_of(server: &Sshd) -> Trust {
    Trust::Key(server.host_key().unwrap())
}

/// Returns the machines of a new run of gabion.
pub(crate) fn hosts(address: SshAddress) -> Hosts {
    let hosts = configured(Hosts::default());
    hosts.declare(HOST, address);
    hosts
}

/// Tells machines where the agent's program is.
pub(crate) fn configured(hosts: Hosts) -> Hosts {
    let program = ProgramSource {
        configured: Some(PathBuf::from(env!("CARGO_BIN_EXE_gabion-agent"))),
        candidates: Vec::new(),
    };
    hosts.configure("test", PathBuf::from("/"), program);
    hosts
}

/// Returns the provider of units, here and on the host.
pub(crate) fn provider(hosts: &Hosts, directory: &Path) -> Spread {
    let here = unit_provider(directory, &directory.join("here"), Vec::new());
    Spread::new(here, hosts.clone())
}

/// Returns the provider of units of this machine, for whose programs the shim is this one.
pub(crate) fn provider_here(data_root: &Path, shim: &Path) -> Arc<dyn Provider> {
    let shim = [shim.to_str().unwrap(), "agent", "unit-exec"].map(str::to_owned);
    unit_provider(data_root, data_root, shim.to_vec())
}

fn unit_provider(directory: &Path, root: &Path, shim: Vec<String>) -> Arc<dyn Provider> {
    let settings = AgentSettings {
        directories: Directories {
            root: root.to_owned(),
            ports: directory.join("ports.json"),
            cache: directory.join("cache"),
        },
        shim,
        base_env: BTreeMap::new(),
        containers: gabion_host::ContainerConfig::default(),
        systemd: gabion_host::SystemdConfig::default(),
        builds: gabion_host::AgentBuilds::default(),
        python: "python3".to_owned(),
        version: "test".to_owned(),
    };
    let registry = providers(&settings, "test", Machines::local());
    let unit = ResourceType::new("host_unit").unwrap();
    Arc::clone(registry.provider(&unit).unwrap())
}

/// What a call said on its way.
#[derive(Default)]
pub(crate) struct Sink {
    pub(crate) phases: Mutex<Vec<String>>,
    pub(crate) checkpoints: Mutex<Vec<ObjectId>>,
}

#[async_trait]
impl CallSink for Sink {
    async fn checkpoint(
        &self,
        _: OperationId,
        id: ObjectId,
        _: serde_json::Value,
    ) -> Result<(), ProviderError> {
        self.checkpoints.lock().unwrap().push(id);
        Ok(())
    }

    fn phase(&self, _: OperationId, phase: &str) {
        self.phases.lock().unwrap().push(phase.to_owned());
    }
}

/// Returns a call under a lease of this epoch.
pub(crate) fn call(uid: Uid, epoch: u64, sink: &Arc<Sink>) -> Call {
    let sink: Arc<dyn CallSink> = sink.clone();
    Call {
        operation: OperationId::from_uuid(Uuid::now_v7()),
        uid,
        address: unit_address(),
        lineage: Lineage::from_uuid(Uuid::from_u128(7)),
        epoch,
        deadline: tokio::time::Instant::now() + Duration::from_secs(60),
        cancel: CancellationToken::new(),
        sink,
    }
}

pub(crate) fn unit_address() -> ResourceAddress {
    "host_unit.qwen/default/0".parse().unwrap()
}

pub(crate) fn new_uid() -> Uid {
    Uid::from_uuid(Uuid::now_v7())
}

/// Returns the inputs of a unit on the host.
pub(crate) fn inputs(entries: Vec<(&str, Value)>) -> Attributes {
    let mut inputs: Attributes = entries
        .into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect();
    inputs.insert("machine".into(), HOST.into());
    inputs
}

pub(crate) async fn create(
    provider: &dyn Provider,
    inputs: &Attributes,
    call: &Call,
) -> Result<ObjectState, ProviderError> {
    let planned = provider
        .plan(&PlanRequest {
            resource_type: call.address.resource_type.clone(),
            address: call.address.clone(),
            desired: inputs.clone(),
            prior: None,
            replaces: None,
            facts: BTreeMap::new(),
        })
        .unwrap()
        .planned;
    let request = CreateRequest {
        resource_type: call.address.resource_type.clone(),
        address: call.address.clone(),
        inputs: inputs.clone(),
        planned,
    };
    provider.create(request, call).await
}

pub(crate) fn recorded(uid: Uid, inputs: &Attributes, state: Option<&ObjectState>) -> RecordedObject {
    RecordedObject {
        uid,
        address: unit_address(),
        id: state.map(|state| state.id.clone()),
        inputs: inputs.clone(),
        attributes: state.map(|state| state.attributes.clone()).unwrap_or_default(),
        private: state.map(|state| state.private.clone()).unwrap_or_default(),
    }
}

pub(crate) async fn read(provider: &dyn Provider, object: RecordedObject) -> ReadOutcome {
    let request = ReadRequest {
        resource_type: object.address.resource_type.clone(),
        objects: vec![object],
    };
    provider.read(request).await.unwrap().remove(0)
}

pub(crate) async fn delete(
    provider: &dyn Provider,
    object: RecordedObject,
    call: &Call,
) -> Result<(), ProviderError> {
    provider
        .delete(
            DeleteRequest {
                object,
                deposed: false,
            },
            call,
        )
        .await
}

/// Returns machines of which one is connected. Under load a connection may take longer than the product waits for it.
pub(crate) async fn connected(prepare: impl Fn() -> Hosts) -> Hosts {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let machines = prepare();
        match machines.facts(HOST).await {
            Err(error) if attempts < 4 && is_late(&error) => {}
            outcome => {
                outcome.unwrap();
                return machines;
            }
        }
    }
}

/// Whether a connection only took too long.
pub(crate) fn is_late(error: &ProviderError) -> bool {
    error.message.contains("no answer within")
}
