//! What is said over the agent's admin socket: the objects it holds, the operations on them, and its errors.
//!
//! One request is one JSON [`AdminRequest`], answered by one [`AdminReply`]. Everything that changes something carries a
//! [`Fence`]: the agent remembers the highest lease epoch it has seen, durably, and refuses older ones, so that
//! a writer whose lease was taken over can do no more harm here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use crate::certificates::types::{Certificate, CertificateFacts, CertificateReport, Progress, Zone};
pub use crate::error::AgentError;

/// The version of the protocol that this build speaks. 2 added [`Operation::HandOver`], 3 [`Operation::LetGo`], 4
/// [`Flavour::VllmRouter`].
pub const PROTOCOL_VERSION: u32 = 4;

/// The oldest version that this build still speaks, as an agent and to one.
pub const OLDEST_PROTOCOL: u32 = 1;

/// Refuses a request in a version that this build does not speak.
pub(crate) fn check_protocol(given: u32) -> Result<(), AgentError> {
    if (OLDEST_PROTOCOL..=PROTOCOL_VERSION).contains(&given) {
        return Ok(());
    }
    Err(AgentError::Protocol {
        supported: PROTOCOL_VERSION,
        given,
    })
}

/// The label that carries a worker's own name in every router that knows labels.
pub const WORKER_LABEL: &str = "gabion/worker";

/// A named place where the gateway accepts requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// The gateway's name, unique in one agent.
    pub name: String,
    /// The address to listen on.
    pub address: IpAddr,
    /// The port to listen on, never 0.
    pub port: u16,
    /// With a domain the model endpoint answers at `gateway.<domain>` only; without one, for every host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// With this the listener speaks HTTPS on `port`, with the [certificates](Certificate) of its host names. On this port
    /// it speaks plain HTTP: it answers what authorities ask, and sends everybody else to HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_port: Option<u16>,
}

/// How requests of one service are recognised, who may send them, and where they go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The service's name.
    pub service: String,
    /// The listener the route belongs to.
    pub gateway: String,
    /// Host names, lower case, that lead to the service; with none, every host name does (then a prefix is needed).
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The path below which the service answers, `/services/<service>/`; `None` takes the whole host.
    #[serde(default)]
    pub path_prefix: Option<String>,
    /// Whether the prefix is cut off before the request goes on.
    #[serde(default)]
    pub strip_prefix: bool,
    /// The model name under which the gateway's model endpoint serves it.
    #[serde(default)]
    pub model: Option<String>,
    /// Where the service itself has its OpenAI API; the model endpoint's `/v1` is replaced by it.
    #[serde(default = "default_model_prefix")]
    pub model_prefix: String,
    /// Who may send requests.
    #[serde(default)]
    pub auth: Auth,
    /// Which paths pass.
    #[serde(default)]
    pub paths: Paths,
    /// How many requests pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// Where requests go.
    pub upstream: Upstream,
}

/// Returns the place of the OpenAI API in a service that does not say.
#[must_use]
pub fn default_model_prefix() -> String {
    "/v1".to_owned()
}

/// Bearer tokens of a route, as digests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Whether a request needs one of the tokens.
    pub required: bool,
    /// The SHA-256 of each accepted token in lower-case hexadecimal, by label.
    #[serde(default)]
    pub token_digests: BTreeMap<String, String>,
}

/// Which paths of a service are reachable from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paths {
    /// Whether only the inference paths (`/v1/`, `/generate`, `/chat/completions`) and `extra` pass. Services with a
    /// model or a router are restricted: the admin API of router and engine is on the same port.
    pub restricted: bool,
    /// More prefixes that pass when restricted, matched at path segments.
    #[serde(default)]
    pub extra: Vec<String>,
}

/// How many requests a part of a service takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// The prefix of the service's paths that it holds for; of several, the longest that fits counts.
    pub prefix: String,
    /// The time between two requests at the full rate.
    pub interval_nanos: u64,
    /// How many more may come at once.
    #[serde(default)]
    pub burst: u32,
    /// What requests are counted by.
    #[serde(default)]
    pub key: RateKey,
}

impl RateLimit {
    /// Returns the interval of a rate in requests per second; `None` when it is not above zero.
    #[must_use]
    pub fn interval_of(rate: f64) -> Option<u64> {
        let nanos = 1e9 / rate;
        // One nanosecond is faster than anything.
        (rate > 0.0 && nanos < 1e18).then(|| (nanos.round() as u64).max(1))
    }
}

/// What requests are counted by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateKey {
    /// The client's address; of IPv6 the network that a client is given.
    #[default]
    Address,
    /// The value of this header; requests without it are not counted.
    Header(String),
}

/// Where a route's requests go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Upstream {
    /// Through a router; while that is down or not yet filled, straight to its members.
    Router {
        /// The router's uid.
        uid: String,
    },
    /// Round-robin over replicas.
    Replicas(Vec<Replica>),
    /// Round-robin over the replicas that were [put](Operation::PutReplica) into the service's pool, one by one.
    Pool,
}

/// Returns what names the pool of a service among [memberships](Member::router): never a router's uid, which has no slash.
#[must_use]
pub fn pool_id(gateway: &str, service: &str) -> String {
    format!("{gateway}/{service}")
}

/// One program that answers requests of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    /// Its name, `qwen/default/0`.
    pub name: String,
    /// The host or address to connect to.
    pub host: String,
    /// The port to connect to.
    pub port: u16,
}

/// Which dialect of the worker API a router speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flavour {
    /// The SGLang Model Gateway, `smg` on PyPI (1.13).
    Smg,
    /// Its predecessor, `sglang-router` (0.3).
    SglangRouter,
    /// vLLM's own, `vllm-router` (0.1).
    VllmRouter,
}

/// A router on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// The uid of the router's object.
    pub uid: String,
    /// The resource address, for messages.
    pub address: String,
    /// Where it serves.
    pub host: String,
    /// The port it serves on (not the metrics port).
    pub port: u16,
    /// The dialect of its worker API.
    pub flavour: Flavour,
    /// The directory of its unit, whose mark tells which process runs; `None` when nothing on this machine tells.
    #[serde(default)]
    pub unit_directory: Option<PathBuf>,
}

/// One worker that a router is to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The uid of the router it belongs to.
    pub router: String,
    /// The worker's name, `qwen/default/0`.
    pub name: String,
    /// The worker's base URL, `http://127.0.0.1:30000`.
    pub url: String,
    /// What it does.
    #[serde(default)]
    pub worker_type: WorkerType,
    /// The bootstrap port of a prefill worker.
    #[serde(default)]
    pub bootstrap_port: Option<u16>,
    /// The model it serves. `smg` prefers what the worker itself reports.
    #[serde(default)]
    pub model_id: Option<String>,
    /// Further labels; [`WORKER_LABEL`] is always set to the name.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// The part a worker plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerType {
    /// Prefill and decode in one.
    #[default]
    Regular,
    /// Prefill only.
    Prefill,
    /// Decode only.
    Decode,
}

impl WorkerType {
    /// Returns the name that router APIs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        }
    }
}

/// Proof that a request comes from the holder of the project's lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fence {
    /// The epoch of the lease under which the request was made.
    pub epoch: u64,
    /// The id of the operation in the project's log; recorded with what it wrote.
    pub operation: String,
    /// The lineage of the state; an agent bound to another one refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<String>,
}

/// One request to the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdminRequest {
    /// The version that the sender speaks with this agent.
    pub protocol: u32,
    /// Required by operations that change something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// What to do.
    pub operation: Operation,
}

/// What the agent can be asked to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Version, epoch and counts.
    Status,
    /// Starts (or moves) a listener. Binding failures are errors and leave what was there.
    PutListener(Listener),
    /// Reads one listener.
    GetListener {
        /// Its name.
        name: String,
    },
    /// Reads all listeners.
    ListListeners,
    /// Stops a listener. Done when it was not there; refused while routes use it.
    DeleteListener {
        /// Its name.
        name: String,
        /// How long running requests may finish.
        drain_seconds: u32,
    },
    /// Has the connections of a listener end with the answers to their next requests, while it goes on accepting others: the
    /// names of the gateway lead elsewhere by now. Done when it does not listen. From protocol 3 on.
    LetGo {
        /// The listener's name.
        gateway: String,
    },
    /// Creates a route or swaps it atomically, then waits until nothing is in flight on upstreams it no longer uses.
    PutRoute {
        /// The route.
        route: Route,
        /// How long running requests on the old upstreams may finish; what is left then is cut.
        drain_seconds: u32,
    },
    /// Reads one route.
    GetRoute {
        /// Its listener.
        gateway: String,
        /// Its service.
        service: String,
    },
    /// Reads all routes.
    ListRoutes,
    /// Removes a route, then waits until nothing is in flight on it. Done when it was not there.
    DeleteRoute {
        /// Its listener.
        gateway: String,
        /// Its service.
        service: String,
        /// How long running requests may finish; what is left then is cut.
        drain_seconds: u32,
    },
    /// Makes a router known, or changes what is known of it.
    PutRouter(Router),
    /// Reads one router.
    GetRouter {
        /// Its uid.
        uid: String,
    },
    /// Reads all routers.
    ListRouters,
    /// Forgets a router and its members. Done when it was not there; refused while routes use it.
    DeleteRouter {
        /// Its uid.
        uid: String,
    },
    /// Makes a worker a durable member and registers it, until the router reports it healthy.
    RegisterMember {
        /// The worker.
        member: Member,
        /// How long the router may take.
        timeout_seconds: u32,
    },
    /// Ends a membership, removes the worker from the running router, and waits until it has nothing left to do.
    DeregisterMember {
        /// The router's uid.
        router: String,
        /// The worker's name.
        name: String,
        /// The worker's URL, for a router that has it although no membership is known, or that of a successor under
        /// the same name.
        #[serde(default)]
        url: Option<String>,
        /// How long the router may take to let go of it.
        timeout_seconds: u32,
        /// How long its running requests may take to end; 0 does not wait.
        drain_seconds: u32,
    },
    /// Records a membership without asking the router.
    PutMember(Member),
    /// Puts a replica into the pool of a service, whether or not that has a route yet; requests go there from then on.
    /// One of the same name is replaced at once.
    PutReplica {
        /// The listener of the service's route.
        gateway: String,
        /// The service.
        service: String,
        /// The replica's name, unique in the pool.
        name: String,
        /// Its base URL.
        url: String,
    },
    /// Takes a replica out of the pool of a service and waits until it has nothing left to do. Done when it was not there;
    /// a successor under the same name stays.
    DeleteReplica {
        /// The listener of the service's route.
        gateway: String,
        /// The service.
        service: String,
        /// The replica's name.
        name: String,
        /// Its base URL.
        url: String,
        /// How long its running requests may take to end; 0 does not wait.
        drain_seconds: u32,
    },
    /// Removes a membership without asking the router.
    DeleteMember {
        /// The router's uid.
        router: String,
        /// The worker's name.
        name: String,
    },
    /// Reads one membership.
    GetMember {
        /// The router's uid.
        router: String,
        /// The worker's name.
        name: String,
    },
    /// Reads the memberships of one router or [pool](pool_id), or all.
    ListMembers {
        /// The router's uid; `None` for all.
        #[serde(default)]
        router: Option<String>,
    },
    /// Asks a router for the workers it really has.
    ListWorkers {
        /// The router's uid.
        router: String,
    },
    /// Has a host name get a certificate and keep it, or looks after it again. Returns before there is one.
    PutCertificate(Certificate),
    /// Reads all certificates and how they are.
    ListCertificates,
    /// Removes a certificate with its keys. Done when it was not there.
    DeleteCertificate {
        /// Its host name.
        host: String,
    },
    /// Reads the counters of the data plane.
    Snapshot,
    /// Hands over to another build of the agent, without an end to what is open. After an error the agent serves as before.
    /// From protocol 2 on.
    HandOver {
        /// The file of its program, on the agent's machine.
        program: PathBuf,
        /// The SHA-256 of that, in hexadecimal digits.
        digest: String,
        /// How long the successor may take to be ready.
        ready_seconds: u32,
    },
}

impl Operation {
    /// Returns the oldest version of the protocol that has it.
    #[must_use]
    pub fn since(&self) -> u32 {
        match self {
            Self::HandOver { .. } => 2,
            Self::LetGo { .. } => 3,
            Self::PutRouter(router) if router.flavour == Flavour::VllmRouter => 4,
            _ => 1,
        }
    }

    /// Returns whether it changes something and therefore needs a [`Fence`].
    #[must_use]
    pub fn is_mutating(&self) -> bool {
        match self {
            Self::PutListener(_)
            | Self::DeleteListener { .. }
            | Self::LetGo { .. }
            | Self::PutRoute { .. }
            | Self::DeleteRoute { .. }
            | Self::PutRouter(_)
            | Self::DeleteRouter { .. }
            | Self::RegisterMember { .. }
            | Self::DeregisterMember { .. }
            | Self::PutMember(_)
            | Self::PutReplica { .. }
            | Self::DeleteReplica { .. }
            | Self::DeleteMember { .. }
            | Self::PutCertificate(_)
            | Self::DeleteCertificate { .. }
            | Self::HandOver { .. } => true,
            Self::Status
            | Self::GetListener { .. }
            | Self::ListListeners
            | Self::GetRoute { .. }
            | Self::ListRoutes
            | Self::GetRouter { .. }
            | Self::ListRouters
            | Self::GetMember { .. }
            | Self::ListMembers { .. }
            | Self::ListWorkers { .. }
            | Self::ListCertificates
            | Self::Snapshot => false,
        }
    }
}

/// What the agent answers: one line of JSON, `{"ok": …}` or `{"error": …}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminReply {
    /// It was done.
    Ok(AdminResponse),
    /// It was not.
    Error(AgentError),
}

/// What a successful operation returns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminResponse {
    /// To [`Operation::Status`].
    Status(Status),
    /// A change without a drain is durable and in effect.
    Done,
    /// A change with a drain.
    Drained(Drain),
    /// To [`Operation::GetListener`].
    Listener(Option<Stored<Listener>>),
    /// To [`Operation::ListListeners`].
    Listeners(Vec<Stored<Listener>>),
    /// To [`Operation::GetRoute`].
    Route(Option<Stored<Route>>),
    /// To [`Operation::ListRoutes`].
    Routes(Vec<Stored<Route>>),
    /// To [`Operation::GetRouter`].
    Router(Option<Stored<Router>>),
    /// To [`Operation::ListRouters`].
    Routers(Vec<Stored<Router>>),
    /// To [`Operation::GetMember`].
    Member(Option<Stored<Member>>),
    /// To [`Operation::ListMembers`].
    Members(Vec<Stored<Member>>),
    /// To [`Operation::RegisterMember`]: the worker as the router has it.
    Registered(Worker),
    /// To [`Operation::DeregisterMember`].
    Deregistered(Deregistration),
    /// To [`Operation::ListWorkers`].
    Workers(Vec<Worker>),
    /// To [`Operation::ListCertificates`].
    Certificates(Vec<CertificateReport>),
    /// To [`Operation::Snapshot`].
    Snapshot(crate::metrics::Snapshot),
    /// To [`Operation::HandOver`]: the successor accepts connections.
    HandedOver {
        /// Its process.
        pid: i32,
    },
}

/// An object with the operation that last wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored<T> {
    /// The object.
    pub object: T,
    /// The id of the operation that wrote it last.
    pub operation: String,
    /// The epoch of that operation's lease.
    pub epoch: u64,
}

/// How the agent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// The protocol it speaks.
    pub protocol: u32,
    /// The lineage it belongs to.
    pub lineage: Option<String>,
    /// The highest lease epoch seen.
    pub epoch: u64,
    /// The process.
    pub pid: u32,
    /// Listeners that are configured but could not be bound, with the reason.
    pub not_listening: BTreeMap<String, String>,
    /// How many listeners there are.
    pub listeners: usize,
    /// How many routes there are.
    pub routes: usize,
    /// How many routers there are.
    pub routers: usize,
    /// How many memberships there are.
    pub members: usize,
    /// How many requests are in flight.
    pub in_flight: u64,
    /// The routers' state, by uid.
    pub router_states: BTreeMap<String, RouterState>,
}

/// What the keeper knows of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterState {
    /// Its process is gone.
    Down,
    /// It runs and does not answer yet.
    Starting,
    /// It answers and its workers are being registered.
    Filling,
    /// It answers, has its workers, and reports none healthy.
    NotReady,
    /// Requests go through it.
    Ready,
}

impl fmt::Display for RouterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::Starting => "starting",
            Self::Filling => "filling",
            Self::NotReady => "not ready",
            Self::Ready => "ready",
        })
    }
}

/// How the wait for running requests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// How many requests were in flight when the wait began.
    pub waited_for: u64,
    /// How many were cut when the deadline passed.
    pub cut: u64,
}

/// A worker as its router reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// The router's own id of it; another one after each registration.
    pub id: String,
    /// Its URL, normalised.
    pub url: String,
    /// Its type as the router has it.
    pub worker_type: String,
    /// Its bootstrap port.
    pub bootstrap_port: Option<u16>,
    /// The model the router takes it to serve.
    pub model_id: Option<String>,
    /// Whether the router sends it requests.
    pub healthy: bool,
    /// The router's word for its state, where it has one (`ready`, `draining`, …).
    pub status: Option<String>,
    /// How the router talks to it, lower case.
    pub connection_mode: Option<String>,
    /// Its labels, the router's own discoveries included.
    pub labels: BTreeMap<String, String>,
}

/// How a worker left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deregistration {
    /// What became of it in the router.
    pub router: RouterDeparture,
    /// How it was known that the worker had nothing left to do.
    pub basis: DrainBasis,
    /// Whether nothing was left when the wait ended.
    pub drained: bool,
    /// How many requests were left, where that is known.
    pub remaining: Option<u64>,
}

/// What became of a worker in its router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterDeparture {
    /// It was removed.
    Removed,
    /// The router did not have it.
    Absent,
    /// The router's process is gone, and with it its membership.
    RouterDown,
    /// The agent does not know the router.
    RouterUnknown,
}

/// What the wait for a worker's running requests went by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainBasis {
    /// The worker's own count of running and queued requests.
    WorkerLoad,
    /// The worker no longer accepts connections.
    WorkerGone,
    /// The worker tells no count: the gateway's own requests to it, and the router having let go of it.
    InFlight,
    /// Nobody waited.
    NotWaited,
}
