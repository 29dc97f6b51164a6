//! `gateway_route`: read, create, update, delete.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use gabion_agent::access::{Agents, fence, provider_error, seconds_within};
use gabion_agent::client::{AgentClient, ClientError};
use gabion_agent::offline::Deletion;
use gabion_agent::protocol::{
    Auth, Flavour, Operation, Paths, Replica, Route, Router, Stored, Upstream, default_model_prefix,
};
use gabion_engine::address::ObjectId;
use gabion_engine::provider::{
    AttributeProblem, Call, Claim, CreateRequest, DeleteRequest, Effect, ErrorClass, ObjectState,
    PlanRequest, PlanResponse, ProviderError, ReadOutcome, RecordedObject, UpdateRequest, propose,
};
use gabion_engine::schema::{ReplaceOrder, ResourceSchema};
use gabion_engine::value::{AttributePath, Attributes, Secret, Value};
use gabion_host::transport::Machines;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::place::{Place, moves, parts_of};
use crate::rates;
use crate::urls::{addresses, host_and_port, spelled, url_of};
use crate::values::{Reader, invalid, set, text_list};

/// How long requests may take to finish unless a route says otherwise, in seconds.
const DRAIN_TIMEOUT: u64 = 300;

/// Attributes of which the agent knows nothing.
const UNREADABLE: [&str; 4] = ["machine", "gateway_url", "drain_timeout", "linger"];

/// Returns the id of a route.
pub(crate) fn id(agent: &str, gateway: &str, service: &str) -> String {
    format!("{agent}/{gateway}/{service}")
}

/// Returns the inputs that an id tells.
pub(crate) fn inputs_of_id(id: &str) -> Option<Attributes> {
    let parts: Vec<&str> = id.split('/').collect();
    let [agent, gateway, service] = parts.as_slice() else {
        return None;
    };
    let inputs = [("agent", *agent), ("gateway", *gateway), ("service", *service)];
    let known = inputs.iter().all(|(_, value)| !value.is_empty());
    known.then(|| {
        inputs
            .into_iter()
            .map(|(key, value)| (Arc::from(key), Value::from(value)))
            .collect()
    })
}

/// What the provider keeps for itself.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Private {
    /// The operation that wrote the route last. As long as the agent has the route from it, the tokens are those recorded:
    /// their digests are not kept anywhere but in the agent.
    operation: Option<String>,
}

pub(crate) fn validate(inputs: &Attributes) -> Vec<AttributeProblem> {
    let reader = Reader(inputs);
    let mut problems = Vec::new();
    let mut problem = |name: &str, message: &str| {
        problems.push(AttributeProblem {
            path: AttributePath::root(name),
            message: message.to_owned(),
            hint: None,
        });
    };
    if reader.get("router").is_some() && reader.get("replicas").is_some() {
        problem(
            "replicas",
            "A route goes through a router or to replicas, not both.",
        );
    }
    let nowhere = |name: &str| reader.get(name).is_none();
    if nowhere("hosts") && nowhere("path_prefix") && nowhere("model") {
        problem(
            "path_prefix",
            "A route needs a host, a path prefix or a model by which requests find it.",
        );
    }
    let limits_are_known = reader.get("rate_limits").is_none_or(Value::is_wholly_known);
    if limits_are_known && let Err(error) = rates::wanted(reader) {
        problem("rate_limits", &error.message);
    }
    if let Some(prefix) = reader.text("path_prefix")
        && !(prefix.starts_with('/') && prefix.ends_with('/'))
    {
        problem("path_prefix", "A path prefix begins and ends with a slash.");
    }
    if reader
        .text("model_prefix")
        .is_some_and(|prefix| !prefix.starts_with('/'))
    {
        problem("model_prefix", "A model's prefix begins with a slash.");
    }
    problems
}

pub(crate) fn plan(schema: &ResourceSchema, request: &PlanRequest) -> PlanResponse {
    let mut response = propose(schema, request);
    let reader = Reader(&response.planned);
    let addresses = addresses(reader);
    if let (Some(agent), Some(gateway), Some(service)) = (
        reader.text("agent"),
        reader.text("gateway"),
        reader.text("service"),
    ) {
        let id = id(agent, gateway, service);
        response.claims.push(Claim {
            key: format!("gateway-route/{id}").into(),
            path: AttributePath::root("service"),
        });
        response.planned.insert("id".into(), id.into());
    } else {
        response.planned.insert("id".into(), Value::unknown());
    }
    if moves(request, &response) {
        response.replace_order = Some(ReplaceOrder::CreateThenDelete);
        let lingers = |attributes: &Attributes| Reader(attributes).seconds("linger", 0);
        let (new, old) = (
            lingers(&response.planned),
            request.replaces.as_ref().map_or(0, lingers),
        );
        match (new, old) {
            (0, 0) => {}
            // What the old one is told is what it was made with.
            (_, 0) => response.notes.push(
                "The old machine serves only until the record leads to the new one: its route was made before `linger` was \
                 known, and clients that remember the old address are not answered. A `gabion apply` without the replacement \
                 lets it know first."
                    .to_owned(),
            ),
            (_, seconds) => {
                let drains = request.replaces.as_ref().map(|old| drain_timeout(Reader(old)));
                response.notes.push(format!(
                    "The old machine goes on serving until names lead to the new one, for {} more, and until its running requests \
                     have ended, for which it waits {} at most.",
                    lasting(seconds),
                    lasting(drains.unwrap_or(DRAIN_TIMEOUT))
                ));
            }
        }
    }
    for (name, value) in addresses {
        if value.is_null() {
            response.planned.remove(name);
        } else {
            response.planned.insert(name.into(), value);
        }
    }
    response
}

/// What a route needs of its router.
struct WantedRouter {
    id: String,
    url: String,
    flavour: Flavour,
    /// Whether it is on another machine than the gateway.
    is_elsewhere: bool,
}

fn wanted_router(reader: Reader<'_>) -> Result<Option<WantedRouter>, ProviderError> {
    let Some(router) = reader.get("router") else {
        return Ok(None);
    };
    let entries = router
        .as_map()
        .ok_or_else(|| invalid("router", "must be a map"))?;
    let entry = |name: &str| {
        entries
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| invalid("router", "needs `id`, `url` and `type`"))
    };
    let flavour = match entry("type")? {
        "smg" => Flavour::Smg,
        "sglang-router" => Flavour::SglangRouter,
        "vllm-router" => Flavour::VllmRouter,
        _ => {
            return Err(invalid(
                "router",
                "has the type `smg`, `sglang-router` or `vllm-router`",
            ));
        }
    };
    let machine = entries.get("machine").and_then(Value::as_str);
    let own = reader.text("machine").unwrap_or(Machines::LOCAL);
    Ok(Some(WantedRouter {
        id: entry("id")?.to_owned(),
        url: entry("url")?.to_owned(),
        flavour,
        is_elsewhere: machine.is_some_and(|machine| machine != own),
    }))
}

fn wanted_replicas(reader: Reader<'_>) -> Result<Vec<Replica>, ProviderError> {
    let Some(replicas) = reader.get("replicas") else {
        return Ok(Vec::new());
    };
    let items = replicas
        .as_list()
        .ok_or_else(|| invalid("replicas", "must be a list"))?;
    items
        .iter()
        .map(|item| {
            let entries = item.as_map();
            let text = |name: &str| entries.and_then(|entries| entries.get(name)?.as_str());
            let (Some(name), Some(url)) = (text("name"), text("url")) else {
                return Err(invalid("replicas", "needs `name` and `url` for each"));
            };
            let (host, port) = host_and_port(url, "replicas")?;
            Ok(Replica {
                name: name.to_owned(),
                host,
                port,
            })
        })
        .collect()
}

fn wanted_route(reader: Reader<'_>, router: Option<&WantedRouter>) -> Result<Route, ProviderError> {
    let tokens = reader.secrets("tokens")?;
    let digest = |token: &String| hex::encode(Sha256::digest(token.as_bytes()));
    let upstream = match router {
        Some(router) => Upstream::Router {
            uid: router.id.clone(),
        },
        None if reader.get("replicas").is_some() => Upstream::Replicas(wanted_replicas(reader)?),
        None => Upstream::Pool,
    };
    Ok(Route {
        service: reader.need("service")?.to_owned(),
        gateway: reader.need("gateway")?.to_owned(),
        hosts: reader
            .texts("hosts")?
            .iter()
            .map(|host| host.to_ascii_lowercase())
            .collect(),
        path_prefix: reader.text("path_prefix").map(str::to_owned),
        strip_prefix: reader.truth("strip_prefix", true),
        model: reader.text("model").map(str::to_owned),
        model_prefix: reader
            .text("model_prefix")
            .map_or_else(default_model_prefix, str::to_owned),
        auth: Auth {
            required: reader.truth("auth", true),
            token_digests: tokens
                .iter()
                .map(|(label, token)| (label.clone(), digest(token)))
                .collect(),
        },
        paths: Paths {
            restricted: reader.truth("restricted", true),
            extra: reader.texts("extra_paths")?,
        },
        rate_limits: rates::wanted(reader)?,
        upstream,
    })
}

/// What one agent says of its routes.
struct AgentView {
    routes: Vec<Stored<Route>>,
    routers: Vec<Stored<Router>>,
}

/// Reads routes, asking each agent once.
pub(crate) async fn read(agents: &Agents, objects: &[RecordedObject]) -> Vec<ReadOutcome> {
    let mut views = BTreeMap::new();
    let mut outcomes = Vec::with_capacity(objects.len());
    for object in objects {
        let reader = Reader(&object.inputs);
        let Some([agent, gateway, service]) = parts_of(object, ["agent", "gateway", "service"]) else {
            outcomes.push(ReadOutcome::Absent);
            continue;
        };
        let place = Place::new(agents, reader, agent);
        if let Entry::Vacant(entry) = views.entry(place.key()) {
            entry.insert(place.ask(view).await);
        }
        let named =
            |stored: &&Stored<Route>| stored.object.gateway == gateway && stored.object.service == service;
        outcomes.push(match &views[&place.key()] {
            Err(reason) => ReadOutcome::CannotTell {
                reason: reason.clone(),
            },
            Ok(None) => ReadOutcome::Absent,
            Ok(Some(view)) => match view.routes.iter().find(named) {
                None => ReadOutcome::Absent,
                Some(stored) => ReadOutcome::Present(describe(place.agent(), stored, &view.routers, object)),
            },
        });
    }
    outcomes
}

async fn view(client: AgentClient) -> Result<AgentView, ClientError> {
    Ok(AgentView {
        routes: client.routes().await?,
        routers: client.routers().await?,
    })
}

/// Describes a route in the words of the schema. What was recorded decides what cannot be read and how things are spelled.
fn describe(
    agent: &str,
    stored: &Stored<Route>,
    routers: &[Stored<Router>],
    recorded: &RecordedObject,
) -> ObjectState {
    let route = &stored.object;
    let inputs = Reader(&recorded.inputs);
    let mut attributes = Attributes::new();
    let mut put = |name: &str, value: Value| set(&mut attributes, name, value);
    let text = |text: &Option<String>| text.as_ref().map_or(Value::Null, Value::string);
    let id = id(agent, &route.gateway, &route.service);
    put("id", Value::string(&id));
    put("agent", agent.into());
    put("gateway", Value::string(&route.gateway));
    put("service", Value::string(&route.service));
    put("hosts", text_list(&route.hosts, inputs.get("hosts")));
    put("path_prefix", text(&route.path_prefix));
    put("strip_prefix", route.strip_prefix.into());
    put("model", text(&route.model));
    put("model_prefix", Value::string(&route.model_prefix));
    put("auth", route.auth.required.into());
    put("restricted", route.paths.restricted.into());
    put(
        "extra_paths",
        text_list(&route.paths.extra, inputs.get("extra_paths")),
    );
    put("rate_limits", rates::describe(&route.rate_limits, inputs));
    match &route.upstream {
        Upstream::Router { uid } => put("router", describe_router(uid, routers, inputs)),
        Upstream::Replicas(replicas) => put("replicas", describe_replicas(replicas, inputs)),
        Upstream::Pool => {}
    }
    let mut unreadable: Vec<AttributePath> = UNREADABLE.iter().map(AttributePath::root).collect();
    let private: Private = serde_json::from_value(recorded.private.clone()).unwrap_or_default();
    let recorded_labels: Vec<&str> = match inputs.get("tokens").and_then(Value::as_map) {
        Some(tokens) => tokens.keys().map(|label| &**label).collect(),
        None => Vec::new(),
    };
    let labels: Vec<&str> = route.auth.token_digests.keys().map(String::as_str).collect();
    if labels == recorded_labels
        && private
            .operation
            .as_ref()
            .is_none_or(|known| *known == stored.operation)
    {
        unreadable.push(AttributePath::root("tokens"));
    } else if !labels.is_empty() {
        // Their values are not there to be read; that they are others than recorded is.
        let foreign = || Value::Secret(Secret::sealed(None, None));
        put(
            "tokens",
            Value::map(labels.iter().map(|label| (*label, foreign()))),
        );
    }
    let mut known = recorded.inputs.clone();
    known.extend(attributes.clone());
    for (name, value) in addresses(Reader(&known)) {
        // Without the gateway's URL, as on import, the recorded one stands.
        if value.is_wholly_known() {
            set(&mut attributes, name, value);
        } else {
            unreadable.push(AttributePath::root(name));
        }
    }
    ObjectState {
        id: ObjectId::new(id),
        attributes,
        private: serde_json::to_value(Private {
            operation: Some(stored.operation.clone()),
        })
        .unwrap_or_default(),
        unreadable,
    }
}

fn describe_router(uid: &str, routers: &[Stored<Router>], inputs: Reader<'_>) -> Value {
    let recorded = inputs.get("router").and_then(Value::as_map);
    let Some(router) = routers
        .iter()
        .map(|stored| &stored.object)
        .find(|router| router.uid == uid)
    else {
        return Value::map([("id", Value::from(uid))]);
    };
    let flavour = match router.flavour {
        Flavour::Smg => "smg",
        Flavour::SglangRouter => "sglang-router",
        Flavour::VllmRouter => "vllm-router",
    };
    let url = url_of(&router.host, router.port);
    let mut entries = vec![
        ("id", Value::from(uid)),
        ("url", spelled(recorded.and_then(|router| router.get("url")), url)),
        ("type", flavour.into()),
    ];
    // The agent knows only that it is not its own.
    let machine = recorded.and_then(|router| router.get("machine"));
    entries.extend(
        machine
            .filter(|_| router.unit_directory.is_none())
            .map(|machine| ("machine", machine.clone())),
    );
    Value::map(entries)
}

fn describe_replicas(replicas: &[Replica], inputs: Reader<'_>) -> Value {
    let recorded = inputs
        .get("replicas")
        .and_then(Value::as_list)
        .unwrap_or_default();
    let own_url = |name: &str| {
        let entries = recorded.iter().filter_map(Value::as_map);
        let mut named = entries.filter(|entries| entries.get("name").and_then(Value::as_str) == Some(name));
        named.next().and_then(|entries| entries.get("url"))
    };
    let describe = |replica: &Replica| {
        let url = spelled(own_url(&replica.name), url_of(&replica.host, replica.port));
        Value::map([("name", Value::string(&replica.name)), ("url", url)])
    };
    Value::List(replicas.iter().map(describe).collect())
}

pub(crate) async fn create(
    agents: &Agents,
    request: CreateRequest,
    call: &Call,
) -> Result<ObjectState, ProviderError> {
    let recorded = RecordedObject {
        uid: call.uid,
        address: request.address,
        id: None,
        inputs: request.inputs,
        attributes: Attributes::new(),
        private: serde_json::Value::Null,
    };
    put(agents, recorded, &request.planned, call).await
}

pub(crate) async fn update(
    agents: &Agents,
    request: UpdateRequest,
    call: &Call,
) -> Result<ObjectState, ProviderError> {
    let recorded = RecordedObject {
        inputs: request.inputs,
        private: serde_json::Value::Null,
        ..request.object
    };
    put(agents, recorded, &request.planned, call).await
}

/// Swaps the route and waits for what it no longer uses; the same when done again.
async fn put(
    agents: &Agents,
    recorded: RecordedObject,
    planned: &Attributes,
    call: &Call,
) -> Result<ObjectState, ProviderError> {
    let reader = Reader(&recorded.inputs);
    let agent_id = reader.need("agent")?;
    let client = Place::new(agents, reader, agent_id).client()?;
    let fence = fence(call);
    let router = wanted_router(reader)?;
    let route = wanted_route(reader, router.as_ref())?;
    let private = serde_json::to_value(Private {
        operation: Some(fence.operation.clone()),
    })
    .unwrap_or_default();
    call.checkpoint(
        &ObjectId::new(id(agent_id, &route.gateway, &route.service)),
        &private,
    )
    .await?;
    if let Some(router) = router {
        let (host, port) = host_and_port(&router.url, "router")?;
        let known = Router {
            unit_directory: (!router.is_elsewhere).then(|| agents.unit_directory(&router.id)),
            address: format!("of {}", call.address),
            uid: router.id,
            host,
            port,
            flavour: router.flavour,
        };
        put_router(&client, &fence, known).await?;
    }
    // A new route takes requests from nobody.
    let drains = recorded.id.is_some();
    if drains {
        call.phase("drain");
    }
    let waiting = drains.then(|| call.waiting());
    let drain = drain_seconds(reader, call);
    let drained = client
        .put_route(&fence, route.clone(), drain)
        .await
        .map_err(|error| provider_error(&error))?;
    drop(waiting);
    if drained.cut > 0 {
        call.phase(&format!("{} requests cut", drained.cut));
    }
    let view = view(client).await.map_err(|error| uncertain(&error))?;
    let named = |stored: &&Stored<Route>| {
        stored.object.gateway == route.gateway && stored.object.service == route.service
    };
    let Some(stored) = view.routes.iter().find(named) else {
        return Err(ProviderError::new(
            ErrorClass::Uncertain,
            "The route went away while it was being made.",
        ));
    };
    let mut state = describe(agent_id, stored, &view.routers, &recorded);
    for path in std::mem::take(&mut state.unreadable) {
        let Some(name) = path.first_key() else { continue };
        if let Some(value) = recorded.inputs.get(name).or_else(|| planned.get(name)) {
            set(&mut state.attributes, name, value.clone());
        }
    }
    Ok(state)
}

/// Makes a router known, unless the agent knows just that one: its workers may have told it more about it.
async fn put_router(
    client: &AgentClient,
    fence: &gabion_agent::protocol::Fence,
    router: Router,
) -> Result<(), ProviderError> {
    let known = client.routers().await.map_err(|error| provider_error(&error))?;
    let same = known.iter().map(|stored| &stored.object).any(|known| {
        known.uid == router.uid
            && (&known.host, known.port, known.flavour) == (&router.host, router.port, router.flavour)
            && known.unit_directory == router.unit_directory
    });
    if same {
        return Ok(());
    }
    client
        .change(fence, Operation::PutRouter(router))
        .await
        .map_err(|error| provider_error(&error))
}

/// The change was made; only what it looks like now is not known.
fn uncertain(error: &ClientError) -> ProviderError {
    ProviderError::new(ErrorClass::Uncertain, provider_error(error).message)
}

/// Returns how long requests may take to finish, in seconds.
fn drain_timeout(reader: Reader<'_>) -> u64 {
    reader.seconds("drain_timeout", DRAIN_TIMEOUT)
}

/// Returns how long requests may take to finish, within the call's own deadline.
fn drain_seconds(reader: Reader<'_>, call: &Call) -> u32 {
    seconds_within(call, drain_timeout(reader))
}

/// Words a number of seconds.
fn lasting(seconds: u64) -> String {
    let whole = |unit: u64| seconds >= 2 * unit && seconds.is_multiple_of(unit);
    match () {
        () if whole(3600) => format!("{} h", seconds / 3600),
        () if whole(60) => format!("{} min", seconds / 60),
        () => format!("{seconds} s"),
    }
}

/// Goes on serving for as long as names may lead here, although another route has taken this one's place.
///
/// # Errors
/// When the call is cancelled: the route serves on.
async fn linger(
    place: Place<'_>,
    gateway: &str,
    reader: Reader<'_>,
    call: &Call,
) -> Result<(), ProviderError> {
    let seconds = seconds_within(call, reader.seconds("linger", 0));
    if seconds == 0 {
        return Ok(());
    }
    call.phase("names may still lead here");
    let _waiting = call.waiting();
    let gateway = gateway.to_owned();
    let asked = place
        .client()?
        .change(&fence(call), Operation::LetGo { gateway })
        .await;
    // One that was not asked may serve all the same; one of an older gabion keeps its connections for as long as clients do.
    if asked.is_err() && place.serves_nobody().await {
        return Ok(());
    }
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(seconds.into())) => Ok(()),
        () = call.cancel.cancelled() => Err(ProviderError::new(
            ErrorClass::Invalid,
            "The route goes on serving: names may still lead here.",
        )
        .with_effect(Effect::None)),
    }
}

pub(crate) async fn delete(
    agents: &Agents,
    request: &DeleteRequest,
    call: &Call,
) -> Result<(), ProviderError> {
    let object = &request.object;
    let reader = Reader(&object.inputs);
    let Some([agent, gateway, service]) = parts_of(object, ["agent", "gateway", "service"]) else {
        return Ok(());
    };
    let place = Place::new(agents, reader, agent);
    if request.deposed {
        linger(place, gateway, reader, call).await?;
    }
    call.phase("drain");
    let _waiting = call.waiting();
    let drain = drain_seconds(reader, call);
    let deleted = place
        .client()?
        .delete_route(&fence(call), gateway, service, drain)
        .await;
    match deleted {
        Ok(_) => Ok(()),
        Err(error) => {
            let (gateway, service) = (gateway.to_owned(), service.to_owned());
            let deletion = Deletion::Route { gateway, service };
            place.delete_without_agent(error, fence(call), deletion).await
        }
    }
}
