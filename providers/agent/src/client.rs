//! Speaks to an agent's admin socket, through the transport of its machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gabion_host::http::{HttpError, HttpRequest, send};
use gabion_host::transport::{Endpoint, Transport};
use http::Method;

use crate::admin::ADMIN_PATH;
use crate::protocol::{
    AdminReply, AdminRequest, AdminResponse, AgentError, CertificateReport, Deregistration, Drain, Fence,
    Listener, Member, OLDEST_PROTOCOL, Operation, PROTOCOL_VERSION, Route, Router, Status, Stored, Worker,
};

/// Name of the admin socket in the directory of the agent's unit.
pub const SOCKET_NAME: &str = "agent.sock";

/// What an answer may take beyond the deadlines inside the request.
const OVERHEAD: Duration = Duration::from_secs(10);

/// The largest answer: snapshots and lists of large projects fit.
const LARGEST_ANSWER: usize = 64 << 20;

/// Returns the admin socket of the agent whose unit has this uid, below a machine's data root.
#[must_use]
pub fn socket_path(data_root: &Path, agent_uid: &str) -> PathBuf {
    data_root.join("units").join(agent_uid).join(SOCKET_NAME)
}

/// Why an agent did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It could not be reached: whatever it holds is unknown, and nothing was done.
    #[error("the agent does not answer: {reason}")]
    Unreachable {
        /// What happened.
        reason: String,
        /// The machine that it is on, where that is known.
        machine: Option<String>,
    },
    /// The request was sent and no answer came: it may have been done.
    #[error("the agent broke off: {reason}")]
    Uncertain {
        /// What happened.
        reason: String,
    },
    /// It answered with an error.
    #[error(transparent)]
    Refused(#[from] AgentError),
    /// The agent is of a gabion that is too old for this one, or for what is asked of it.
    #[error("the agent speaks protocol {agent}, and this takes {needed}: it is of an older gabion")]
    TooOld {
        /// What the agent speaks.
        agent: u32,
        /// What is needed at least.
        needed: u32,
        /// The machine that it is on, where that is known.
        machine: Option<String>,
    },
    /// The agent is of a gabion that is too new for this one.
    #[error(
        "the agent speaks protocol {agent} and none up to {}: it is of a newer gabion",
        PROTOCOL_VERSION
    )]
    TooNew {
        /// What the agent speaks.
        agent: u32,
    },
    /// It answered something that does not belong to the question.
    #[error("the agent answered something else than was asked; agent and gabion must be of one version")]
    Mismatch,
}

/// A way to one agent.
#[derive(Clone)]
pub struct AgentClient {
    transport: Arc<dyn Transport>,
    socket: PathBuf,
    machine: Option<String>,
    /// What is spoken with the agent: the newest that both know, once that has been found out.
    protocol: Arc<AtomicU32>,
}

impl std::fmt::Debug for AgentClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentClient")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl AgentClient {
    /// Names an agent by its machine and its socket; connects to nothing yet.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, socket: impl Into<PathBuf>) -> Self {
        Self {
            transport,
            socket: socket.into(),
            machine: None,
            protocol: Arc::new(AtomicU32::new(PROTOCOL_VERSION)),
        }
    }

    /// Says what the machine is called, for the way out of errors.
    #[must_use]
    pub fn on(mut self, machine: &str) -> Self {
        self.machine = Some(machine.to_owned());
        self
    }

    /// Sends a request. `within` is the longest the operation itself may take.
    ///
    /// An agent of the version before is spoken with in its own protocol: it refuses the newer one before it does anything.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when nothing was sent, [`ClientError::Uncertain`] when it may have been done.
    pub async fn call(
        &self,
        fence: Option<&Fence>,
        operation: Operation,
        within: Duration,
    ) -> Result<AdminResponse, ClientError> {
        let needed = operation.since().max(OLDEST_PROTOCOL);
        let known = self.protocol.load(Ordering::Relaxed);
        // An agent that was too old for this may have been upgraded since.
        let protocol = if known < needed { PROTOCOL_VERSION } else { known };
        let supported = match self.call_in(protocol, fence, operation.clone(), within).await {
            Err(ClientError::Refused(AgentError::Protocol { supported, .. })) => supported,
            answer => return answer,
        };
        let next = supported.min(PROTOCOL_VERSION);
        if next < needed {
            return Err(ClientError::TooOld {
                agent: supported,
                needed,
                machine: self.machine.clone(),
            });
        }
        if next == protocol {
            return Err(ClientError::TooNew { agent: supported });
        }
        self.protocol.store(next, Ordering::Relaxed);
        self.call_in(next, fence, operation, within).await
    }

    async fn call_in(
        &self,
        protocol: u32,
        fence: Option<&Fence>,
        operation: Operation,
        within: Duration,
    ) -> Result<AdminResponse, ClientError> {
        let mutating = operation.is_mutating();
        let request = AdminRequest {
            protocol,
            fence: fence.cloned(),
            operation,
        };
        let body = serde_json::to_value(&request).map_err(|error| AgentError::Invalid {
            reason: error.to_string(),
        })?;
        let mut http = HttpRequest::new(Method::POST, ADMIN_PATH)
            .json(&body)
            .timeout(within + OVERHEAD);
        http.max_body = LARGEST_ANSWER;
        let failed = |error: HttpError| {
            let reason = error.to_string();
            if mutating && error.may_have_acted() {
                ClientError::Uncertain { reason }
            } else {
                ClientError::Unreachable {
                    reason,
                    machine: self.machine.clone(),
                }
            }
        };
        let endpoint = Endpoint::Unix(self.socket.clone());
        let answer = send(self.transport.as_ref(), &endpoint, http)
            .await
            .map_err(failed)?;
        match answer.json::<AdminReply>().map_err(failed)? {
            AdminReply::Ok(response) => Ok(response),
            AdminReply::Error(error) => Err(error.into()),
        }
    }

    async fn ask(&self, operation: Operation) -> Result<AdminResponse, ClientError> {
        self.call(None, operation, Duration::from_secs(10)).await
    }

    async fn tell(
        &self,
        fence: &Fence,
        operation: Operation,
        within: Duration,
    ) -> Result<AdminResponse, ClientError> {
        self.call(Some(fence), operation, within).await
    }

    /// Returns how the agent is.
    pub async fn status(&self) -> Result<Status, ClientError> {
        match self.ask(Operation::Status).await? {
            AdminResponse::Status(status) => Ok(status),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// Returns all listeners.
    pub async fn listeners(&self) -> Result<Vec<Stored<Listener>>, ClientError> {
        match self.ask(Operation::ListListeners).await? {
            AdminResponse::Listeners(listeners) => Ok(listeners),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// Returns all routes.
    pub async fn routes(&self) -> Result<Vec<Stored<Route>>, ClientError> {
        match self.ask(Operation::ListRoutes).await? {
            AdminResponse::Routes(routes) => Ok(routes),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// Returns all routers.
    pub async fn routers(&self) -> Result<Vec<Stored<Router>>, ClientError> {
        match self.ask(Operation::ListRouters).await? {
            AdminResponse::Routers(routers) => Ok(routers),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// Returns the memberships of one router, or all.
    pub async fn members(&self, router: Option<&str>) -> Result<Vec<Stored<Member>>, ClientError> {
        match self
            .ask(Operation::ListMembers {
                router: router.map(str::to_owned),
            })
            .await?
        {
            AdminResponse::Members(members) => Ok(members),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// Returns the workers a router really has.
    pub async fn workers(&self, router: &str) -> Result<Vec<Worker>, ClientError> {
        match self
            .ask(Operation::ListWorkers {
                router: router.to_owned(),
            })
            .await?
        {
            AdminResponse::Workers(workers) => Ok(workers),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// Returns all certificates and how they are.
    pub async fn certificates(&self) -> Result<Vec<CertificateReport>, ClientError> {
        match self.ask(Operation::ListCertificates).await? {
            AdminResponse::Certificates(certificates) => Ok(certificates),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// Returns the counters of the data plane.
    pub async fn snapshot(&self) -> Result<crate::metrics::Snapshot, ClientError> {
        match self.ask(Operation::Snapshot).await? {
            AdminResponse::Snapshot(snapshot) => Ok(snapshot),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// Makes an idempotent change that waits for nothing but the disk.
    pub async fn change(&self, fence: &Fence, operation: Operation) -> Result<(), ClientError> {
        match self.tell(fence, operation, Duration::from_secs(20)).await? {
            AdminResponse::Done => Ok(()),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// Creates or swaps a route and waits for the requests on what it no longer uses.
    pub async fn put_route(
        &self,
        fence: &Fence,
        route: Route,
        drain_seconds: u32,
    ) -> Result<Drain, ClientError> {
        self.drained(fence, Operation::PutRoute { route, drain_seconds }, drain_seconds)
            .await
    }

    /// Removes a route and waits for its requests.
    pub async fn delete_route(
        &self,
        fence: &Fence,
        gateway: &str,
        service: &str,
        drain_seconds: u32,
    ) -> Result<Drain, ClientError> {
        let (gateway, service) = (gateway.to_owned(), service.to_owned());
        self.drained(
            fence,
            Operation::DeleteRoute {
                gateway,
                service,
                drain_seconds,
            },
            drain_seconds,
        )
        .await
    }

    async fn drained(
        &self,
        fence: &Fence,
        operation: Operation,
        drain_seconds: u32,
    ) -> Result<Drain, ClientError> {
        // The router of the route is looked at before the change.
        let within = Duration::from_secs(u64::from(drain_seconds) + 20);
        match self.tell(fence, operation, within).await? {
            AdminResponse::Drained(drain) => Ok(drain),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// Has the agent hand over to another build; returns the successor's pid.
    pub async fn hand_over(
        &self,
        fence: &Fence,
        program: &Path,
        digest: &str,
        ready_seconds: u32,
    ) -> Result<i32, ClientError> {
        let operation = Operation::HandOver {
            program: program.to_owned(),
            digest: digest.to_owned(),
            ready_seconds,
        };
        // Changes that are under way end before, and the successor is heard of after it was ready.
        let within = Duration::from_secs(u64::from(ready_seconds) + 60);
        match self.tell(fence, operation, within).await? {
            AdminResponse::HandedOver { pid } => Ok(pid),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// Takes a replica out of the pool of a service and waits until it has nothing left to do.
    pub async fn delete_replica(
        &self,
        fence: &Fence,
        gateway: &str,
        service: &str,
        name: &str,
        url: &str,
        drain_seconds: u32,
    ) -> Result<Deregistration, ClientError> {
        let operation = Operation::DeleteReplica {
            gateway: gateway.to_owned(),
            service: service.to_owned(),
            name: name.to_owned(),
            url: url.to_owned(),
            drain_seconds,
        };
        let within = Duration::from_secs(u64::from(drain_seconds) + 20);
        match self.tell(fence, operation, within).await? {
            AdminResponse::Deregistered(deregistration) => Ok(deregistration),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// Registers a worker with its router and waits until that reports it healthy.
    pub async fn register(
        &self,
        fence: &Fence,
        member: Member,
        timeout_seconds: u32,
    ) -> Result<Worker, ClientError> {
        let within = Duration::from_secs(u64::from(timeout_seconds) + 20);
        match self
            .tell(
                fence,
                Operation::RegisterMember {
                    member,
                    timeout_seconds,
                },
                within,
            )
            .await?
        {
            AdminResponse::Registered(worker) => Ok(worker),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// Takes a worker out of its router and waits until it has nothing left to do.
    pub async fn deregister(
        &self,
        fence: &Fence,
        departure: Departure,
    ) -> Result<Deregistration, ClientError> {
        let Departure {
            router,
            name,
            url,
            timeout_seconds,
            drain_seconds,
        } = departure;
        let within = Duration::from_secs(u64::from(timeout_seconds) + u64::from(drain_seconds) + 30);
        let operation = Operation::DeregisterMember {
            router,
            name,
            url,
            timeout_seconds,
            drain_seconds,
        };
        match self.tell(fence, operation, within).await? {
            AdminResponse::Deregistered(deregistration) => Ok(deregistration),
            _ => Err(ClientError::Mismatch),
        }
    }
}

/// Which worker is to leave which router, and how long that may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The router's uid.
    pub router: String,
    /// The worker's name.
    pub name: String,
    /// The worker's URL, should the agent not know it.
    pub url: Option<String>,
    /// How long the router may take to let go of it.
    pub timeout_seconds: u32,
    /// How long its running requests may take to end; 0 does not wait.
    pub drain_seconds: u32,
}
