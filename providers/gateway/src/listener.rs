//! `gateway_listener`: read, create, update, delete.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use gabion_agent::access::{Agents, fence, provider_error};
use gabion_agent::client::{AgentClient, ClientError};
use gabion_agent::offline::Deletion;
use gabion_agent::protocol::{AgentError, Listener, Operation, Status, Stored};
use gabion_engine::address::ObjectId;
use gabion_engine::provider::{
    AttributeProblem, Call, Claim, CreateRequest, Effect, ErrorClass, ObjectState, PlanRequest, PlanResponse,
    ProviderError, ReadOutcome, RecordedObject, UpdateRequest, propose,
};
use gabion_engine::schema::{ReplaceOrder, ResourceSchema};
use gabion_engine::value::{AttributePath, Attributes, Value};
use gabion_host::ports::{PortError, PortLease, PortOwner, PortRequest, parse_range};

use crate::place::{Place, moves, parts_of};
use crate::provider::GatewayConfig;
use crate::values::{Reader, invalid, set};

/// The names of the leases in the port registry: of the port that routes are served on, and of plain HTTP beside HTTPS.
const LEASE: &str = "http";
const PLAIN_LEASE: &str = "plain";

/// How often another port of a range is tried when somebody was quicker to bind the one that was leased.
const TRIES: u32 = 5;

/// Seconds that requests may take to finish when a listener goes; its routes are gone by then.
const DRAIN_SECONDS: u32 = 10;

/// Attributes of which the agent knows nothing.
const UNREADABLE: [&str; 4] = ["machine", "ports", "http_ports", "host"];

/// Returns the id of a listener.
pub(crate) fn id(agent: &str, name: &str) -> String {
    format!("{agent}/{name}")
}

/// Returns the inputs that an id tells.
pub(crate) fn inputs_of_id(id: &str) -> Option<Attributes> {
    let (agent, name) = id.split_once('/')?;
    let inputs = [("agent", agent), ("name", name), ("machine", "local")];
    let known = inputs.iter().all(|(_, value)| !value.is_empty()) && !name.contains('/');
    known.then(|| {
        inputs
            .into_iter()
            .map(|(key, value)| (Arc::from(key), Value::from(value)))
            .collect()
    })
}

pub(crate) fn validate(inputs: &Attributes) -> Vec<AttributeProblem> {
    let mut problems = Vec::new();
    let reader = Reader(inputs);
    for name in ["ports", "http_ports"] {
        if let Some(ports) = reader.get(name).filter(|ports| ports.is_wholly_known())
            && let Err(error) = port_request(name, ports)
        {
            problems.push(AttributeProblem {
                path: AttributePath::root(name),
                message: error.message,
                hint: Some(
                    "`{range: 8080-8999}` leases the first free port, `{port: 8080}` claims that very one"
                        .to_owned(),
                ),
            });
        }
    }
    if let Some(address) = reader.text("address")
        && address.parse::<IpAddr>().is_err()
    {
        problems.push(AttributeProblem {
            path: AttributePath::root("address"),
            message: format!("`{address}` is not an IP address."),
            hint: None,
        });
    }
    problems
}

pub(crate) fn plan(schema: &ResourceSchema, request: &PlanRequest) -> PlanResponse {
    let mut response = propose(schema, request);
    // It is always meant to listen; when it does not, that is a difference.
    response.planned.insert("listening".into(), true.into());
    let planned = Reader(&response.planned);
    let replaced = !response.replace.is_empty();
    let fixed = |name: &str| {
        let ports = planned.get(name).and_then(Value::as_map)?;
        ports.get("port").and_then(Value::as_int)
    };
    let is_secure = planned.get("http_ports").is_some();
    let fixed_ports = [("ports", fixed("ports")), ("http_ports", fixed("http_ports"))];
    let all_fixed = fixed("ports").is_some() && (!is_secure || fixed("http_ports").is_some());
    let machine = planned.text("machine");
    // A leased port is the registry's to guard: claimed here, it would change what the record says after every creation.
    let mut claims: Vec<Claim> = fixed_ports
        .into_iter()
        .filter_map(|(name, port)| {
            Some(Claim {
                key: format!("tcp/{}/{}", machine?, port?).into(),
                path: AttributePath::root(name),
            })
        })
        .collect();
    if let (Some(agent), Some(name)) = (planned.text("agent"), planned.text("name")) {
        claims.push(Claim {
            key: format!("gateway/{}", id(agent, name)).into(),
            path: AttributePath::root("name"),
        });
    }
    let moves = moves(request, &response);
    response.claims = claims;
    if moves {
        response.replace_order = Some(ReplaceOrder::CreateThenDelete);
        let host =
            |attributes: &Attributes| attributes.get("host").and_then(Value::as_str).map(str::to_owned);
        let before = request.replaces.as_ref().and_then(host);
        if before.is_some() && before == host(&response.planned) {
            response
                .notes
                .push("The address moves to the new machine: open connections are cut then.".to_owned());
        }
    }
    let fresh: &[&str] = match &request.prior {
        _ if replaced && is_secure => &["id", "port", "url", "http_port"],
        _ if replaced => &["id", "port", "url"],
        // Somebody took its port: the range may give it another one.
        Some(prior) if !all_fixed && !Reader(&prior.attributes).truth("listening", true) => match is_secure {
            true => &["port", "url", "http_port"],
            false => &["port", "url"],
        },
        _ => &[],
    };
    if !is_secure {
        response.planned.remove("http_port");
    }
    for name in fresh {
        response.planned.insert(Arc::from(*name), Value::unknown());
    }
    response
}

fn port_request(name: &str, ports: &Value) -> Result<PortRequest, ProviderError> {
    let wrong = || invalid(name, "holds either `range: FIRST-LAST` or `port: NUMBER`");
    let entries = ports.as_map().ok_or_else(wrong)?;
    let entry = |name: &str| entries.get(name).filter(|value| !value.is_null());
    match (entry("range"), entry("port")) {
        (Some(range), None) => range
            .as_str()
            .and_then(parse_range)
            .map(PortRequest::Range)
            .ok_or_else(wrong),
        (None, Some(port)) => {
            let port = port
                .as_int()
                .and_then(|port| u16::try_from(port).ok())
                .filter(|port| *port > 0);
            port.map(PortRequest::Exact).ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}

/// What one agent says of its listeners.
struct AgentView {
    status: Status,
    listeners: Vec<Stored<Listener>>,
}

/// Reads listeners, asking each agent once.
pub(crate) async fn read(agents: &Agents, objects: &[RecordedObject]) -> Vec<ReadOutcome> {
    let mut views = BTreeMap::new();
    let mut outcomes = Vec::with_capacity(objects.len());
    for object in objects {
        let reader = Reader(&object.inputs);
        let Some([agent, name]) = parts_of(object, ["agent", "name"]) else {
            outcomes.push(ReadOutcome::Absent);
            continue;
        };
        let place = Place::new(agents, reader, agent);
        if let Entry::Vacant(entry) = views.entry(place.key()) {
            entry.insert(place.ask(view).await);
        }
        outcomes.push(match &views[&place.key()] {
            Err(reason) => ReadOutcome::CannotTell {
                reason: reason.clone(),
            },
            Ok(None) => ReadOutcome::Absent,
            Ok(Some(view)) => match view.listeners.iter().find(|stored| stored.object.name == name) {
                None => ReadOutcome::Absent,
                Some(stored) => {
                    let listening = !view.status.not_listening.contains_key(name);
                    ReadOutcome::Present(describe(place.agent(), &stored.object, listening, reader))
                }
            },
        });
    }
    outcomes
}

async fn view(client: AgentClient) -> Result<AgentView, ClientError> {
    Ok(AgentView {
        status: client.status().await?,
        listeners: client.listeners().await?,
    })
}

/// Describes a listener in the words of the schema, spelled as the inputs spell it.
fn describe(agent: &str, listener: &Listener, listening: bool, inputs: Reader<'_>) -> ObjectState {
    let mut attributes = Attributes::new();
    let id = id(agent, &listener.name);
    let host = match (inputs.text("host"), listener.address) {
        (Some(host), _) if host.contains(':') => format!("[{host}]"),
        (Some(host), _) => host.to_owned(),
        (None, IpAddr::V4(address)) => address.to_string(),
        (None, IpAddr::V6(address)) => format!("[{address}]"),
    };
    set(&mut attributes, "id", Value::string(&id));
    set(&mut attributes, "agent", agent.into());
    set(&mut attributes, "name", Value::string(&listener.name));
    let address = match inputs.text("address") {
        Some(own) if own.parse() == Ok(listener.address) => own.into(),
        _ => listener.address.to_string().into(),
    };
    set(&mut attributes, "address", address);
    let domain = match (&listener.domain, inputs.text("domain")) {
        (Some(domain), Some(own)) if own.eq_ignore_ascii_case(domain) => own.into(),
        (domain, _) => domain.as_ref().map_or(Value::Null, Value::string),
    };
    set(&mut attributes, "domain", domain);
    set(&mut attributes, "port", Value::Int(i64::from(listener.port)));
    let scheme = match listener.http_port {
        Some(port) => {
            set(&mut attributes, "http_port", Value::Int(i64::from(port)));
            "https"
        }
        None => "http",
    };
    set(
        &mut attributes,
        "url",
        format!("{scheme}://{host}:{}", listener.port).into(),
    );
    set(&mut attributes, "listening", listening.into());
    ObjectState {
        id: ObjectId::new(id),
        attributes,
        private: private(listener.port, listener.http_port),
        unreadable: UNREADABLE.iter().map(AttributePath::root).collect(),
    }
}

/// Returns what the record keeps for itself: the ports, as soon as they are leased.
fn private(port: u16, http_port: Option<u16>) -> serde_json::Value {
    match http_port {
        None => serde_json::json!({"port": port}),
        Some(http_port) => serde_json::json!({"port": port, "http_port": http_port}),
    }
}

/// Returns the state after a call, in which what cannot be read is what was planned.
fn achieved(agent: &str, listener: &Listener, planned: &Attributes, inputs: &Attributes) -> ObjectState {
    let mut state = describe(agent, listener, true, Reader(inputs));
    for path in std::mem::take(&mut state.unreadable) {
        let Some(name) = path.first_key() else { continue };
        if let Some(value) = inputs.get(name).or_else(|| planned.get(name)) {
            set(&mut state.attributes, name, value.clone());
        }
    }
    state
}

pub(crate) async fn create(
    config: &GatewayConfig,
    agents: &Agents,
    request: CreateRequest,
    call: &Call,
) -> Result<ObjectState, ProviderError> {
    put(config, agents, &request.inputs, &request.planned, call).await
}

pub(crate) async fn update(
    config: &GatewayConfig,
    agents: &Agents,
    request: UpdateRequest,
    call: &Call,
) -> Result<ObjectState, ProviderError> {
    put(config, agents, &request.inputs, &request.planned, call).await
}

/// Leases a port and has the agent listen there; both are the same when done again.
async fn put(
    config: &GatewayConfig,
    agents: &Agents,
    inputs: &Attributes,
    planned: &Attributes,
    call: &Call,
) -> Result<ObjectState, ProviderError> {
    let reader = Reader(inputs);
    let (agent_id, name) = (reader.need("agent")?, reader.need("name")?);
    let client = Place::new(agents, reader, agent_id).client()?;
    let address = reader.text("address").unwrap_or("127.0.0.1");
    let address: IpAddr = address
        .parse()
        .map_err(|_| invalid("address", "must be an IP address"))?;
    let wanted = Wanted {
        port: port_request("ports", reader.get("ports").unwrap_or(&Value::Null))?,
        http_port: reader
            .get("http_ports")
            .map(|ports| port_request("http_ports", ports))
            .transpose()?,
    };
    let domain = reader.text("domain").map(str::to_ascii_lowercase);
    let object = ObjectId::new(id(agent_id, name));
    let mut tries = 0;
    loop {
        tries += 1;
        // What it listens on already it keeps, also when the registry has forgotten that.
        let (port, http_port) = match held_ports(&client, name, address, &wanted).await {
            Some(ports) => ports,
            None => {
                release_forerunners(config, agents, agent_id, (&client, name), call).await?;
                let port = lease(config, agents, agent_id, (LEASE, &wanted.port), call).await?;
                let http_port = match &wanted.http_port {
                    Some(plain) => {
                        let leased = lease(config, agents, agent_id, (PLAIN_LEASE, plain), call).await;
                        match leased {
                            Ok(port) => Some(port),
                            Err(error) => {
                                release_unless_held(config, &client, name, call).await?;
                                return Err(error);
                            }
                        }
                    }
                    None => None,
                };
                (port, http_port)
            }
        };
        call.checkpoint(&object, &private(port, http_port)).await?;
        let listener = Listener {
            name: name.to_owned(),
            address,
            port,
            domain: domain.clone(),
            http_port,
        };
        let put = client
            .change(&fence(call), Operation::PutListener(listener.clone()))
            .await;
        match put {
            Ok(()) => return Ok(achieved(agent_id, &listener, planned, inputs)),
            // A program without a lease was quicker: the next lease passes its port over.
            Err(ClientError::Refused(AgentError::Bind { .. })) if wanted.has_choice() && tries < TRIES => {
                release(config, call.uid.to_string()).await?;
            }
            Err(error) => {
                let words = provider_error(&error);
                if words.effect == Effect::None {
                    release_unless_held(config, &client, name, call).await?;
                }
                return Err(words);
            }
        }
    }
}

/// The ports that a listener is to have.
struct Wanted {
    port: PortRequest,
    http_port: Option<PortRequest>,
}

impl Wanted {
    /// Returns whether other ports would do as well.
    fn has_choice(&self) -> bool {
        let mut wanted = [Some(&self.port), self.http_port.as_ref()].into_iter().flatten();
        wanted.any(|wanted| matches!(wanted, PortRequest::Range(_)))
    }
}

fn fits(port: u16, wanted: &PortRequest) -> bool {
    match wanted {
        PortRequest::Range(range) => range.contains(&port),
        PortRequest::Exact(exact) => *exact == port,
    }
}

/// Returns the ports on which the agent serves the listener now, if those are what is wanted.
async fn held_ports(
    client: &AgentClient,
    name: &str,
    address: IpAddr,
    wanted: &Wanted,
) -> Option<(u16, Option<u16>)> {
    let view = view(client.clone()).await.ok()?;
    let held = view
        .listeners
        .iter()
        .map(|stored| &stored.object)
        .find(|held| held.name == name)?;
    let plain_fits = match (held.http_port, &wanted.http_port) {
        (Some(port), Some(wanted)) => fits(port, wanted),
        (None, None) => true,
        _ => false,
    };
    let listens = !view.status.not_listening.contains_key(name);
    let is_right = fits(held.port, &wanted.port) && plain_fits && listens && held.address == address;
    is_right.then_some((held.port, held.http_port))
}

async fn lease(
    config: &GatewayConfig,
    agents: &Agents,
    agent: &str,
    (name, wanted): (&'static str, &PortRequest),
    call: &Call,
) -> Result<u16, ProviderError> {
    let owner = owner(config, agents, agent, call);
    let (ports, wanted) = (config.ports.clone(), wanted.clone());
    blocking(move || ports.lease(&owner, name, &wanted)).await
}

fn owner(config: &GatewayConfig, agents: &Agents, agent: &str, call: &Call) -> PortOwner {
    PortOwner {
        uid: call.uid.to_string(),
        label: format!("{} of project {}", call.address, config.project),
        directory: agents.unit_directory(agent),
    }
}

/// Releases what creations have leased that were cut off before the agent heard of their listener. As it is not there, they
/// never happened: the listener is made anew, under another uid.
async fn release_forerunners(
    config: &GatewayConfig,
    agents: &Agents,
    agent: &str,
    (client, name): (&AgentClient, &str),
    call: &Call,
) -> Result<(), ProviderError> {
    if is_held(client, name).await.unwrap_or(true) {
        return Ok(());
    }
    let owner = owner(config, agents, agent, call);
    let ports = config.ports.clone();
    blocking(move || {
        let is_forerunner = |lease: &PortLease| {
            lease.owner != owner.uid && lease.label == owner.label && lease.directory == owner.directory
        };
        let leases = ports.leases()?.into_values();
        let mut forerunners = leases.filter(is_forerunner).map(|lease| lease.owner);
        forerunners.try_for_each(|uid| ports.release(&uid).map(drop))
    })
    .await
}

/// Returns whether the agent has a listener; `None` when it cannot be asked.
async fn is_held(client: &AgentClient, name: &str) -> Option<bool> {
    let listeners = client.listeners().await.ok()?;
    Some(listeners.iter().any(|stored| stored.object.name == name))
}

async fn release(config: &GatewayConfig, uid: String) -> Result<(), ProviderError> {
    let ports = config.ports.clone();
    blocking(move || ports.release(&uid).map(|_| ())).await
}

/// Releases the port of a listener that was not made, unless the agent has one from an earlier call.
async fn release_unless_held(
    config: &GatewayConfig,
    client: &AgentClient,
    name: &str,
    call: &Call,
) -> Result<(), ProviderError> {
    match is_held(client, name).await {
        Some(true) => Ok(()),
        Some(false) | None => release(config, call.uid.to_string()).await,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PortError> + Send + 'static,
) -> Result<T, ProviderError> {
    let failed = |class, message: String| {
        ProviderError::new(class, format!("{message}.")).at(AttributePath::root("ports"))
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(
            error @ (PortError::Leased { .. } | PortError::InUse { .. } | PortError::Exhausted { .. }),
        )) => Err(failed(ErrorClass::Conflict, error.to_string())),
        Ok(Err(error)) => Err(failed(ErrorClass::Transient, error.to_string())),
        Err(error) => Err(failed(ErrorClass::Transient, error.to_string())),
    }
}

pub(crate) async fn delete(
    config: &GatewayConfig,
    agents: &Agents,
    object: &RecordedObject,
    call: &Call,
) -> Result<(), ProviderError> {
    if let Some([agent, name]) = parts_of(object, ["agent", "name"]) {
        let place = Place::new(agents, Reader(&object.inputs), agent);
        call.phase("drain");
        let _waiting = call.waiting();
        let name = name.to_owned();
        let operation = Operation::DeleteListener {
            name: name.clone(),
            drain_seconds: DRAIN_SECONDS,
        };
        if let Err(error) = place.client()?.change(&fence(call), operation).await {
            let deletion = Deletion::Listener { name };
            place.delete_without_agent(error, fence(call), deletion).await?;
        }
    }
    release(config, object.uid.to_string()).await
}
