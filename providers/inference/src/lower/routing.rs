//! A service's router, which gabion starts beside the gateway or a replica group is, and the workers that it knows; or,
//! without one, the replicas that the gateway knows.

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{Lowered, Spanned};
use gabion_engine::diagnostic::Span;
use gabion_engine::resource::{DocumentRef, Resource, Roll};
use gabion_engine::value::{AttributePath, Value};
use gabion_router::launch::{RouterLaunch, liveness_probe};
use gabion_router::packages::Package;

use super::builder::{ResourceBuilder, address, reference};
use super::gateway::{GatewayTarget, agent_of};
use super::machines::Machine;
use super::program::{seconds, stop_duration};
use super::role::{self, BootstrapPort, Part};
use super::service::PORT_RANGE;
use crate::document::dialect::{Member, Routing};
use crate::document::replica_group::GroupRole;
use crate::document::router::{Policy, RouterKind, RouterPackage};
use crate::document::service::Service;
use crate::term::Text;

/// The variable that holds the port leased for a router's metrics: a router has two ports, and dies of one in use.
const METRICS_VARIABLE: &str = "METRICS_PORT";

/// A replica that answers requests.
pub(crate) struct Replica {
    /// `SERVICE/GROUP/SLOT`.
    pub(crate) path: String,
    /// Its unit.
    pub(crate) unit: ResourceAddress,
    /// The URL at which whoever sends it requests reaches it.
    pub(crate) url: Value,
    part: Part,
    bootstrap_port: BootstrapPort,
    roll: Option<Roll>,
}

impl Replica {
    pub(crate) fn new(
        path: String,
        unit: ResourceAddress,
        url: Value,
        member: &Member<'_>,
        roll: Option<Roll>,
    ) -> Self {
        Self {
            roll,
            path,
            unit,
            url,
            part: Part::of(member),
            bootstrap_port: BootstrapPort::of(member.commands),
        }
    }
}

/// A service's router and its workers.
pub(crate) struct Router<'a> {
    pub(crate) unit: ResourceAddress,
    /// The URL at which the gateway's machine reaches it.
    pub(crate) url: Value,
    /// The machine that it is on; `None` for the one that runs gabion. The agent there registers its workers.
    pub(crate) machine: Option<&'a Machine>,
    pub(crate) package: Package,
    pub(crate) workers: Vec<ResourceAddress>,
    pub(crate) span: Span,
}

/// Returns what goes before the commands of a router group: gabion's own pinned router is at hand behind whatever is in
/// `PATH` already, so that `smg launch` works without installing anything.
pub(crate) fn preparation(member: &Member<'_>) -> Option<String> {
    member
        .router
        .map(|_| "export PATH=\"$PATH:{package.dir}/bin\"".to_owned())
}

/// Gives the unit of a replica what its part needs: a router's package, probe and second port, or a prefill worker's
/// bootstrap port.
pub(crate) fn equip(unit: &mut Resource, member: &Member<'_>) {
    let lease = || Value::map([("range", Value::from(PORT_RANGE))]);
    if member.router.is_some() {
        set(unit, "role", "router".into());
        // A container has the program of its image.
        if member.image.is_none() {
            set(unit, "package", package_of(member.commands).pin().into());
        }
        set(unit, "probes", Value::List(vec![liveness_probe()]));
        if role::uses_variable(member.commands, METRICS_VARIABLE) {
            add_port(unit, "metrics", METRICS_VARIABLE, lease());
        }
        return;
    }
    match (Part::of(member), BootstrapPort::of(member.commands)) {
        (Part::Half(GroupRole::Prefill, role), BootstrapPort::Fixed(port, written)) => {
            let claim = Value::map([("port", Value::Int(i64::from(port)))]);
            add_port(unit, "bootstrap", role::BOOTSTRAP_VARIABLE, claim);
            let path = AttributePath::root("ports").key("bootstrap");
            unit.places.insert(path, written.unwrap_or(role).place());
        }
        (_, BootstrapPort::Leased) => add_port(unit, "bootstrap", role::BOOTSTRAP_VARIABLE, lease()),
        _ => {}
    }
}

fn set(unit: &mut Resource, name: &str, value: Value) {
    unit.inputs.insert(name.into(), value);
}

/// Adds a port, and the variable that tells the program which one it is.
fn add_port(unit: &mut Resource, name: &str, variable: &str, request: Value) {
    for (attribute, key, value) in [
        ("ports", name, request),
        ("env", variable, format!("{{ports.{name}}}").into()),
    ] {
        let before = unit.inputs.remove(attribute);
        let mut entries = match before {
            Some(Value::Map(entries)) => entries,
            _ => gabion_engine::value::Attributes::new(),
        };
        entries.insert(key.into(), value);
        unit.inputs.insert(attribute.into(), Value::Map(entries));
    }
}

/// Returns the program that a router group's commands start.
fn package_of(commands: &[Spanned<Text>]) -> Package {
    let starts = |words: &[&str]| words.iter().any(|word| role::word(commands, word).is_some());
    if starts(&["sglang_router.launch_router", "sglang-router"]) {
        Package::SglangRouter
    } else if starts(&["vllm-router", "vllm_router.launch_router"]) {
        Package::VllmRouter
    } else {
        Package::Smg
    }
}

/// Adds the router that gabion starts beside the gateway.
pub(crate) fn add_beside_gateway<'a>(
    routing: &Routing,
    service: &Service,
    document: &DocumentRef,
    gateway: &GatewayTarget<'a>,
    lowered: &mut Lowered,
) -> Router<'a> {
    let package = match (routing.kind, routing.package) {
        (RouterKind::Vllm, _) => Package::VllmRouter,
        (_, Some(RouterPackage::SglangRouter)) => Package::SglangRouter,
        (_, Some(RouterPackage::Smg) | None) => Package::Smg,
    };
    let policy = routing.policy.as_ref();
    let unit = address(
        "host_unit",
        &format!("{}/router/{}", gateway.name, service.name.value),
    );
    let launch = RouterLaunch {
        package,
        policy: policy
            .map_or(Policy::CacheAware, |policy| policy.value)
            .as_str()
            .to_owned(),
        separates_prefill: routing
            .separates_prefill
            .as_ref()
            .is_some_and(|separates| separates.value),
    };
    let span = policy.map_or(&routing.span, |policy| &policy.span);
    let mut builder = ResourceBuilder::new(unit.clone(), document)
        .inputs(launch.unit_inputs(gateway.machine_name()))
        .input("machine", gateway.machine_id())
        .at("argv", span);
    if let Some(machine) = gateway.machine {
        builder = machine.carry(builder, &document.place);
    }
    lowered.resources.push(builder.build());
    Router {
        url: reference(&unit, "url"),
        unit,
        machine: gateway.machine,
        package,
        workers: Vec::new(),
        span: span.clone(),
    }
}

/// Returns the router that the replica of a group is.
pub(crate) fn of_group<'a>(
    member: &Member<'_>,
    unit: ResourceAddress,
    url: Value,
    machine: Option<&'a Machine>,
) -> Router<'a> {
    Router {
        unit,
        url,
        machine,
        package: package_of(member.commands),
        workers: Vec::new(),
        span: member.replicas.span.clone(),
    }
}

/// Adds the registration of each replica with the router.
pub(crate) fn add_workers(
    router: &mut Router<'_>,
    service: &Service,
    document: &DocumentRef,
    replicas: &[Replica],
    lowered: &mut Lowered,
) {
    let agent = agent_of(router.machine);
    for replica in replicas {
        let worker = address("router_worker", &replica.path);
        let mut builder = ResourceBuilder::new(worker.clone(), document)
            .rolled(replica.roll.clone())
            .input("agent", reference(&agent, "id"))
            .input("router", reference(&router.unit, "id"))
            .input("router_url", reference(&router.unit, "url"))
            .input("router_type", router.package.name())
            .input("name", replica.path.as_str())
            .input("url", replica.url.clone())
            .input("drain_timeout", seconds(stop_duration(&service.profile)));
        if let Some(machine) = router.machine {
            builder = builder.input("machine", machine.id());
        }
        if let Some(model) = &service.model {
            builder = builder
                .input("model_id", model.name.value.as_str())
                .at("model_id", &model.name.span);
        }
        if let Part::Half(role, span) = &replica.part {
            builder = builder
                .input("worker_type", role.as_str())
                .at("worker_type", span);
            if *role == GroupRole::Prefill {
                builder = builder.input("bootstrap_port", reference(&replica.unit, "port.bootstrap"));
                if let BootstrapPort::Fixed(_, Some(span)) = &replica.bootstrap_port {
                    builder = builder.at("bootstrap_port", span);
                }
            }
        }
        lowered.resources.push(builder.build());
        router.workers.push(worker);
    }
}

/// Adds what makes each replica of a service without a router known to the gateway.
pub(crate) fn add_replicas(
    service: &Service,
    document: &DocumentRef,
    gateway: &GatewayTarget<'_>,
    replicas: &[Replica],
    lowered: &mut Lowered,
) -> Vec<ResourceAddress> {
    let (agent, listener) = (gateway.agent(), gateway.listener());
    let add = |replica: &Replica| {
        let own = address("gateway_replica", &replica.path);
        let mut builder = ResourceBuilder::new(own.clone(), document)
            .rolled(replica.roll.clone())
            .input("agent", reference(&agent, "id"))
            .input("gateway", reference(&listener, "name"))
            .input("service", service.name.value.as_str())
            .input("name", replica.path.as_str())
            .input("url", replica.url.clone())
            .input("drain_timeout", seconds(stop_duration(&service.profile)));
        if let Some(machine) = gateway.machine {
            builder = builder.input("machine", machine.id());
        }
        lowered.resources.push(builder.build());
        own
    };
    replicas.iter().map(add).collect()
}
