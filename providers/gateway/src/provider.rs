//! The provider itself: which type does what, and which agents there are.

use std::path::PathBuf;

use async_trait::async_trait;
use gabion_agent::access::{Agents, provider_error};
use gabion_agent::client::ClientError;
use gabion_engine::address::{ObjectId, ResourceAddress, ResourceType};
use gabion_engine::provider::{
    AttributeProblem, Call, CreateRequest, DeleteRequest, ErrorClass, ImportRequest, ListRequest, Listed,
    ListedObject, ObjectState, Observation, ObserveRequest, PlanRequest, PlanResponse, Provider,
    ProviderError, ReadOutcome, ReadRequest, RecordedObject, Unasked, UpdateRequest, ValidateRequest,
    propose,
};
use gabion_engine::schema::ProviderSchema;
use gabion_engine::value::Attributes;
use gabion_host::ports::PortRegistry;
use gabion_host::transport::Machines;
use gabion_host::unit;

use crate::schema::{GATEWAY_CERTIFICATE, GATEWAY_LISTENER, GATEWAY_REPLICA, GATEWAY_ROUTE, provider_schema};
use crate::{certificate, listener, replica, route};

/// What the provider is told; it reads no environment of its own.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where this project's unit directories are, the agents' among them.
    pub data_root: PathBuf,
    /// The port registry of the user.
    pub ports: PortRegistry,
    /// The machines of the project.
    pub machines: Machines,
    /// The project's name, for people.
    pub project: String,
}

/// The provider `gateway`: listeners, routes and the replicas of routes without a router.
#[derive(Debug)]
pub struct GatewayProvider {
    config: GatewayConfig,
    agents: Agents,
    schema: ProviderSchema,
}

/// The types of this provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Certificate,
    Listener,
    Route,
    Replica,
}

impl Kind {
    fn of(resource_type: &ResourceType) -> Result<Self, ProviderError> {
        match resource_type.as_str() {
            GATEWAY_CERTIFICATE => Ok(Self::Certificate),
            GATEWAY_LISTENER => Ok(Self::Listener),
            GATEWAY_ROUTE => Ok(Self::Route),
            GATEWAY_REPLICA => Ok(Self::Replica),
            other => Err(ProviderError::new(
                ErrorClass::Invalid,
                format!("The provider `gateway` does not manage `{other}`."),
            )),
        }
    }
}

impl GatewayProvider {
    /// Configures the provider. Nothing is touched yet.
    #[must_use]
    pub fn new(config: GatewayConfig) -> Self {
        Self {
            agents: Agents::new(config.machines.clone(), &config.data_root),
            config,
            schema: provider_schema(),
        }
    }

    /// Lists what one agent holds.
    async fn list_at(&self, agent: &str) -> Result<Vec<ListedObject>, ProviderError> {
        let client = self.agents.client(Machines::LOCAL, agent)?;
        let silent = |error: ClientError| provider_error(&error);
        let listeners = client.listeners().await.map_err(silent)?;
        let routes = client.routes().await.map_err(silent)?;
        let members = client.members(None).await.map_err(silent)?;
        let certificates = client.certificates().await.map_err(silent)?;
        let certificates: Vec<(String, String)> = certificates
            .iter()
            .map(|report| {
                let wanted = &report.wanted.object;
                let label = wanted.host.split('.').next().unwrap_or_default();
                let id = certificate::id(agent, &wanted.gateway, &wanted.host);
                (format!("{}/{label}", wanted.gateway), id)
            })
            .collect();
        let listeners = listeners.iter().map(|stored| {
            let name = &stored.object.name;
            (GATEWAY_LISTENER, name.as_str(), listener::id(agent, name))
        });
        let routes = routes.iter().map(|stored| {
            let route = &stored.object;
            let id = route::id(agent, &route.gateway, &route.service);
            (GATEWAY_ROUTE, route.service.as_str(), id)
        });
        let replicas = members.iter().filter_map(|stored| {
            let member = &stored.object;
            let (gateway, service) = member.router.split_once('/')?;
            let id = replica::id(agent, gateway, service, &member.name);
            Some((GATEWAY_REPLICA, member.name.as_str(), id))
        });
        Ok(listeners
            .chain(routes)
            .chain(replicas)
            .chain(
                certificates
                    .iter()
                    .map(|(name, id)| (GATEWAY_CERTIFICATE, name.as_str(), id.clone())),
            )
            .filter_map(|(kind, name, id)| {
                Some(ListedObject {
                    resource_type: ResourceType::new(kind).ok()?,
                    uid: None,
                    address: ResourceAddress::of(kind, name).ok(),
                    id: ObjectId::new(id),
                })
            })
            .collect())
    }

    async fn read_one(&self, kind: Kind, object: RecordedObject) -> Result<ReadOutcome, ProviderError> {
        let objects = [object];
        let outcomes = match kind {
            Kind::Certificate => certificate::read(&self.agents, &objects).await,
            Kind::Listener => listener::read(&self.agents, &objects).await,
            Kind::Route => route::read(&self.agents, &objects).await,
            Kind::Replica => replica::read(&self.agents, &objects).await,
        };
        outcomes
            .into_iter()
            .next()
            .ok_or_else(|| ProviderError::new(ErrorClass::Invalid, "One object was read and none came back."))
    }
}

#[async_trait]
impl Provider for GatewayProvider {
    fn schema(&self) -> &ProviderSchema {
        &self.schema
    }

    fn validate(&self, request: &ValidateRequest) -> Vec<AttributeProblem> {
        match Kind::of(&request.resource_type) {
            Ok(Kind::Certificate) => certificate::validate(&request.inputs),
            Ok(Kind::Listener) => listener::validate(&request.inputs),
            Ok(Kind::Route) => route::validate(&request.inputs),
            Ok(Kind::Replica) => replica::validate(&request.inputs),
            Err(_) => Vec::new(),
        }
    }

    fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, ProviderError> {
        let schema = self.resource_schema(&request.resource_type);
        Ok(match Kind::of(&request.resource_type)? {
            Kind::Certificate => certificate::plan(schema, request),
            Kind::Listener => listener::plan(schema, request),
            Kind::Route => route::plan(schema, request),
            Kind::Replica => propose(schema, request),
        })
    }

    async fn read(&self, request: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError> {
        Ok(match Kind::of(&request.resource_type)? {
            Kind::Certificate => certificate::read(&self.agents, &request.objects).await,
            Kind::Listener => listener::read(&self.agents, &request.objects).await,
            Kind::Route => route::read(&self.agents, &request.objects).await,
            Kind::Replica => replica::read(&self.agents, &request.objects).await,
        })
    }

    async fn create(&self, request: CreateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        match Kind::of(&request.resource_type)? {
            Kind::Certificate => certificate::create(&self.agents, request, call).await,
            Kind::Listener => listener::create(&self.config, &self.agents, request, call).await,
            Kind::Route => route::create(&self.agents, request, call).await,
            Kind::Replica => replica::create(&self.agents, request, call).await,
        }
    }

    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        match Kind::of(&request.object.address.resource_type)? {
            Kind::Certificate => certificate::update(&self.agents, request, call).await,
            Kind::Listener => listener::update(&self.config, &self.agents, request, call).await,
            Kind::Route => route::update(&self.agents, request, call).await,
            Kind::Replica => Ok(replica::update(&request)),
        }
    }

    async fn delete(&self, request: DeleteRequest, call: &Call) -> Result<(), ProviderError> {
        match Kind::of(&request.object.address.resource_type)? {
            Kind::Certificate => certificate::delete(&self.agents, &request.object, call).await,
            Kind::Listener => listener::delete(&self.config, &self.agents, &request.object, call).await,
            Kind::Route => route::delete(&self.agents, &request, call).await,
            Kind::Replica => replica::delete(&self.agents, &request.object, call).await,
        }
    }

    async fn observe(&self, request: ObserveRequest) -> Result<Observation, ProviderError> {
        let kind = Kind::of(&request.object.address.resource_type)?;
        let object = RecordedObject {
            inputs: request.inputs,
            ..request.object
        };
        // The agent answers for itself at once: there is no delay to wait out.
        Ok(match self.read_one(kind, object).await? {
            ReadOutcome::Present(state) => Observation::Present(state),
            ReadOutcome::Absent => Observation::Absent,
            ReadOutcome::CannotTell { reason } => Observation::Unknown { reason },
        })
    }

    async fn list(&self, request: ListRequest) -> Result<Listed, ProviderError> {
        let root = self.config.data_root.clone();
        let units = tokio::task::spawn_blocking(move || unit::list(&root)).await;
        let failed = |reason: String| ProviderError::new(ErrorClass::Transient, reason);
        let units = units.map_err(|error| failed(error.to_string()))?;
        let units = units.map_err(|error| failed(error.to_string()))?;
        let lineage = request.lineage.to_string();
        let mut found = Listed::default();
        for unit in units {
            let Ok(launch) = unit.launch else { continue };
            if launch.project != lineage || launch.role.as_deref() != Some("agent") {
                continue;
            }
            match self.list_at(&unit.uid).await {
                Ok(objects) => found.objects.extend(objects),
                // Its unit is listed in any case; what it holds only it can tell.
                Err(error) => found.unasked.push(Unasked {
                    part: format!("agent `{}` ({})", launch.address, unit.uid),
                    why: error.message,
                }),
            }
        }
        Ok(found)
    }

    async fn import(&self, request: ImportRequest) -> Result<ObjectState, ProviderError> {
        let kind = Kind::of(&request.resource_type)?;
        let inputs = match kind {
            Kind::Certificate => certificate::inputs_of_id(request.id.as_str()),
            Kind::Listener => listener::inputs_of_id(request.id.as_str()),
            Kind::Route => route::inputs_of_id(request.id.as_str()),
            Kind::Replica => replica::inputs_of_id(request.id.as_str()),
        };
        let not_found = |reason: String| ProviderError::new(ErrorClass::NotFound, reason);
        let Some(inputs) = inputs else {
            let form = match kind {
                Kind::Certificate => "AGENT/GATEWAY/HOST",
                Kind::Listener => "AGENT/GATEWAY",
                Kind::Route => "AGENT/GATEWAY/SERVICE",
                Kind::Replica => "AGENT/GATEWAY/SERVICE/NAME",
            };
            return Err(not_found(format!(
                "The id of such an object is `{form}`, with the agent's unit id."
            )));
        };
        let object = RecordedObject {
            uid: gabion_engine::address::Uid::from_uuid(uuid::Uuid::nil()),
            address: request.address,
            id: Some(request.id.clone()),
            inputs,
            attributes: Attributes::new(),
            private: serde_json::Value::Null,
        };
        match self.read_one(kind, object).await? {
            ReadOutcome::Present(state) => Ok(state),
            ReadOutcome::Absent => Err(not_found(format!("The agent has no `{}`.", request.id.as_str()))),
            ReadOutcome::CannotTell { reason } => Err(ProviderError::new(ErrorClass::Transient, reason)),
        }
    }
}
