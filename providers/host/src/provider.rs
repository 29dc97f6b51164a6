//! The provider `host`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::address::{ObjectId, ResourceType};
use gabion_engine::provider::{
    AttributeProblem, Call, CreateRequest, DeleteRequest, ErrorClass, ImportRequest, ListRequest, Listed,
    ListedObject, ObjectState, Observation, ObserveRequest, PlanRequest, PlanResponse, Provider,
    ProviderError, ReadOutcome, ReadRequest, UpdateRequest, ValidateRequest,
};
use gabion_engine::schema::ProviderSchema;

use crate::host_unit;
use crate::package::{PackageSpec, PackageStore};
use crate::ports::PortRegistry;
use crate::schema::provider_schema;
use crate::systemd::Sudo;
use crate::transport::Machines;
use crate::unit::{self, Fence, UnitDirectory};

/// What the provider is told; it reads no environment of its own.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Where this project's unit directories are, outside the state directory.
    pub data_root: PathBuf,
    /// Where packages are installed, and with what.
    pub package_store: PackageStore,
    /// The packages that there is a lock for, by `NAME==VERSION`.
    pub packages: BTreeMap<String, PackageSpec>,
    /// The port registry of the user.
    pub ports: PortRegistry,
    /// The command that becomes a unit's program, an absolute path first: `/…/gabion agent unit-exec`.
    pub shim: Vec<String>,
    /// The user's basic variables that programs get: PATH, HOME and their like. Never secrets.
    pub base_env: BTreeMap<String, String>,
    /// Where containers come from.
    pub containers: ContainerConfig,
    /// How services of systemd are made.
    pub systemd: SystemdConfig,
    /// How agents are upgraded; `None` upgrades none.
    pub agents: Option<AgentConfig>,
    /// The machines of the project.
    pub machines: Machines,
    /// The project's name, for people.
    pub project: String,
}

/// How agents, which are units that run gabion's own program, are upgraded in place.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Asks an agent to hand over.
    pub upgrade: Arc<dyn AgentUpgrade>,
    /// What agents are to run, for plans.
    pub builds: AgentBuilds,
}

/// The SHA-256 of the programs that agents are to run, in hexadecimal digits. Without one, agents go on with what they run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentBuilds {
    /// On the machine that runs gabion.
    pub here: Option<String>,
    /// On other machines.
    pub elsewhere: Option<String>,
}

impl AgentBuilds {
    /// Returns what agents of a machine are to run.
    #[must_use]
    pub fn of(&self, machine: &str) -> Option<&str> {
        match machine {
            Machines::LOCAL => self.here.as_deref(),
            _ => self.elsewhere.as_deref(),
        }
    }
}

/// What an agent is to hand over to.
#[derive(Clone, Debug)]
pub struct Handover {
    /// The file of the program.
    pub program: PathBuf,
    /// Its SHA-256, in hexadecimal digits.
    pub digest: String,
    /// How long the successor may take to be ready.
    pub patience: Duration,
    /// On whose behalf.
    pub fence: Fence,
}

/// Why an agent goes on with the program that it ran.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HandoverError {
    /// It did not hand over, and serves as before.
    #[error("{reason}")]
    Refused {
        /// What happened, in a sentence's words.
        reason: String,
    },
    /// It cannot be told whether it did: the unit's mark says.
    #[error("{reason}")]
    Uncertain {
        /// What happened, in a sentence's words.
        reason: String,
    },
}

/// Asks agents to hand over to another build.
#[async_trait]
pub trait AgentUpgrade: Send + Sync + fmt::Debug {
    /// Has the agent in a unit's directory, on this machine, hand over. Returns when the successor accepts connections and the
    /// unit's mark names it; the one before it may still finish what it had begun.
    ///
    /// # Cancellation
    /// The handover goes on; the mark tells what became of it.
    async fn hand_over(&self, directory: &UnitDirectory, handover: &Handover) -> Result<(), HandoverError>;
}

/// How services of systemd are made on a machine.
#[derive(Clone, Debug, Default)]
pub struct SystemdConfig {
    /// How root is become where that is needed; `None` means never.
    pub sudo: Option<Sudo>,
}

/// Where containers come from on a machine.
#[derive(Clone, Debug, Default)]
pub struct ContainerConfig {
    /// The sockets that a Docker daemon may listen on, best first.
    pub sockets: Vec<PathBuf>,
    /// The static program that becomes a container's first process; `None` when there is none.
    pub agent: Option<PathBuf>,
}

impl ContainerConfig {
    /// Returns where the daemon of a machine listens: where `DOCKER_HOST` says, else where it does by itself, for all
    /// users or for the one whose runtime directory is given.
    #[must_use]
    pub fn sockets(docker_host: Option<&str>, runtime_dir: Option<&str>) -> Vec<PathBuf> {
        match docker_host.and_then(|host| host.strip_prefix("unix://")) {
            Some(socket) => vec![PathBuf::from(socket)],
            None => std::iter::once(PathBuf::from("/var/run/docker.sock"))
                .chain(runtime_dir.map(|directory| PathBuf::from(directory).join("docker.sock")))
                .collect(),
        }
    }
}

/// The provider `host`: programs on machines.
#[derive(Debug)]
pub struct HostProvider {
    config: HostConfig,
    schema: ProviderSchema,
}

impl HostProvider {
    /// Configures the provider. Nothing is touched yet.
    #[must_use]
    pub fn new(config: HostConfig) -> Self {
        Self {
            config,
            schema: provider_schema(),
        }
    }

    fn host_unit(&self) -> &ResourceType {
        self.schema
            .resource_types
            .keys()
            .next()
            .expect("the schema has the one type it was made with")
    }
}

#[async_trait]
impl Provider for HostProvider {
    fn schema(&self) -> &ProviderSchema {
        &self.schema
    }

    fn validate(&self, request: &ValidateRequest) -> Vec<AttributeProblem> {
        host_unit::validate(&request.inputs, &self.config)
    }

    fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, ProviderError> {
        Ok(host_unit::plan(
            self.resource_schema(&request.resource_type),
            self.config.agents.as_ref().map(|agents| &agents.builds),
            request,
        ))
    }

    async fn read(&self, request: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError> {
        let config = self.config.clone();
        blocking(move || host_unit::read(&config, &request)).await
    }

    async fn create(&self, request: CreateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        host_unit::create(&self.config, request, call).await
    }

    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        host_unit::update(&self.config, request, call).await
    }

    async fn delete(&self, request: DeleteRequest, call: &Call) -> Result<(), ProviderError> {
        host_unit::delete(&self.config, request, call).await
    }

    async fn observe(&self, request: ObserveRequest) -> Result<Observation, ProviderError> {
        let config = self.config.clone();
        blocking(move || host_unit::observe(&config, &request)).await
    }

    async fn list(&self, request: ListRequest) -> Result<Listed, ProviderError> {
        let config = self.config.clone();
        let resource_type = self.host_unit().clone();
        let found = blocking(move || unit::list(&config.data_root)).await?;
        let units = found.map_err(|error| ProviderError::new(ErrorClass::Transient, error.to_string()))?;
        let lineage = request.lineage.to_string();
        let objects: Vec<ListedObject> = units
            .into_iter()
            .filter_map(|unit| {
                let launch = unit.launch.ok()?;
                (launch.project == lineage).then(|| ListedObject {
                    resource_type: resource_type.clone(),
                    uid: unit.uid.parse().ok(),
                    address: launch.address.parse().ok(),
                    id: ObjectId::new(&unit.uid),
                })
            })
            .collect();
        Ok(objects.into())
    }

    async fn import(&self, request: ImportRequest) -> Result<ObjectState, ProviderError> {
        let config = self.config.clone();
        blocking(move || host_unit::import(&config, &request)).await?
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ProviderError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ProviderError::new(ErrorClass::Transient, error.to_string()))
}
