//! A service: replica units, a router with its workers if there is one, and the route.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::Lowered;
use gabion_engine::diagnostic::Diagnostics;
use gabion_engine::resource::{DocumentRef, Resource, Roll};
use gabion_engine::schema::ReplaceOrder;
use gabion_engine::value::{AttributePath, Attributes, Value};

use super::backend::LOCAL;
use super::builder::{ResourceBuilder, address, reference};
use super::container::{self, Wish};
use super::count;
use super::files;
use super::gateway::GatewayTarget;
use super::machines::Machine;
use super::nodes::{self, Whole};
use super::peers::Peers;
use super::placing::Placements;
use super::program::{self, seconds, stop_duration, text};
use super::project::{Context, Placed};
use super::role::{Part, uses_variable};
use super::routing::{self, Replica, Router};
use super::slots;
use crate::document::dialect::Member;
use crate::document::model::Model;
use crate::document::probe::{Header, Method, Probe, ProbeType};
use crate::document::rate_limit::RateLimit;
use crate::document::service::Service;
use crate::grammar::env::EnvValue;
use crate::term::Text;

/// The ports that replicas are leased from.
pub(super) const PORT_RANGE: &str = "25000-29999";

/// The ports that relays are leased from.
const RELAY_RANGE: &str = "30000-34999";

/// The same, as numbers.
pub(super) const RELAY_PORTS: (u16, u16) = (30_000, 34_999);

/// How long the deletion of a route may take where nothing says otherwise.
const ROUTE_DELETED_WITHIN: Duration = Duration::from_secs(900);

/// What the deletion of a route takes beside its waits.
const BESIDE_WAITS: Duration = Duration::from_secs(60);

/// Returns the replica groups of a service, each with the paths of its replicas.
pub(crate) fn slots_of<'a>(service: &'a Service, context: &Context) -> Vec<(Member<'a>, Vec<String>)> {
    let of_member = |member: Member<'a>| {
        let group = group_of(service, &member);
        let recorded = context.slots.get(&group).map_or(&[][..], Vec::as_slice);
        let count = count::of(&group, member.replicas.value, context);
        let slots = slots::choose(usize::try_from(count).unwrap_or(usize::MAX), recorded);
        let paths = slots.into_iter().map(|slot| format!("{group}/{slot}")).collect();
        (member, paths)
    };
    service.members().into_iter().map(of_member).collect()
}

/// Returns the machine of a service's router that is a replica group, if it is on one.
pub(crate) fn router_machine<'a>(
    service: &Service,
    placements: &Placements<'a>,
    context: &Context,
) -> Option<&'a Machine> {
    let slots = slots_of(service, context);
    let mut routers = slots.iter().filter(|(member, _)| member.router.is_some());
    let path = routers.find_map(|(_, paths)| paths.first())?;
    placements.machine(path)
}

/// Returns the path of a replica group, `qwen/default`.
fn group_of(service: &Service, member: &Member<'_>) -> String {
    format!("{}/{}", service.name.value, member.name)
}

/// The part of a replica's resources in the rolling changes of its group.
fn roll(service: &Service, group: &str, path: &str) -> Roll {
    Roll {
        group: group.into(),
        member: Some(path.into()),
        max_surge: service.rolling.max_surge,
        max_unavailable: service.rolling.max_unavailable,
    }
}

/// Adds the resources of a service.
pub(crate) fn lower(
    placed: &Placed<Service>,
    gateway: &GatewayTarget<'_>,
    placements: &Placements<'_>,
    context: &Context,
    lowered: &mut Lowered,
) {
    let service = &placed.document;
    let document = &placed.reference;
    let name = service.name.value.as_str();
    let mut replicas: Vec<Replica> = Vec::new();
    let mut in_group = None;
    let of_gateway = gateway.router.map(|router| &router.value);
    let routing = service.routing(of_gateway);
    let placed_groups = slots_of(service, context);
    let peers = Peers::of(&placed_groups, gateway, |path| placements.machine(path));
    // Where other replicas are, for commands that name them.
    let found = |group: usize, index: usize| {
        let path = placed_groups
            .get(group)
            .and_then(|(member, paths)| Some(nodes::leader(member, paths.get(index)?)));
        let machine = path.and_then(|path| placements.machine(&path));
        machine.map_or_else(
            || program::LOOPBACK.to_owned(),
            |machine| {
                machine
                    .neighbour_address()
                    .unwrap_or_else(|| machine.hostname.clone())
            },
        )
    };
    for (member, paths) in &placed_groups {
        let group = group_of(service, member);
        let chosen = count::of(&group, member.replicas.value, context);
        // Replicas do not refer to it: a plan about some of them stands when their number changes.
        lowered
            .resources
            .extend(count::resource(&group, member, chosen, document));
        if let Some(image) = member.image.filter(|_| {
            paths
                .iter()
                .any(|path| placements.machine(&nodes::leader(member, path)).is_none())
        }) {
            container::note_absent(image, context, lowered);
        }
        for path in paths {
            // A router is one.
            let roll = member.router.is_none().then(|| roll(service, &group, path));
            let whole = Whole::of(member, path, |path| placements.machine(path));
            for (rank, (unit, machine)) in whole.nodes().enumerate() {
                let mut resource = replica(placed, member, unit.clone(), machine, &found, context);
                routing::equip(&mut resource, member);
                resource.lifecycle.roll.clone_from(&roll);
                if roll.is_some() && (service.rolling.max_surge == 0 || placements.is_crowded(path)) {
                    resource.lifecycle.replace_order = Some(ReplaceOrder::DeleteThenCreate);
                }
                whole.join(rank, &mut resource);
                lowered.resources.push(resource);
            }
            let leader = nodes::leader(member, path);
            let unit = address("host_unit", &leader);
            let machine = placements.machine(&leader);
            let url = match machine.filter(|machine| peers.are_away(member, machine)) {
                None => reference(&unit, "url"),
                Some(machine) => {
                    let from = peers.client(member);
                    let mut relay = relay(service, document, path, &unit, machine, from);
                    relay.lifecycle.roll.clone_from(&roll);
                    let url = relay_url(&relay.address, machine);
                    lowered.resources.push(relay);
                    url
                }
            };
            if member.router.is_some() {
                in_group = Some(routing::of_group(member, unit, url, machine));
                continue;
            }
            replicas.push(Replica::new(path.clone(), unit, url, member, roll));
        }
    }
    let router = in_group.or_else(|| {
        let routing = routing?;
        Some(routing::add_beside_gateway(
            &routing, service, document, gateway, lowered,
        ))
    });
    let upstream = match router {
        Some(mut router) => {
            routing::add_workers(&mut router, service, document, &replicas, lowered);
            Upstream::Router(router)
        }
        None => Upstream::Replicas(routing::add_replicas(
            service, document, gateway, &replicas, lowered,
        )),
    };
    let route = route(service, document, gateway, &upstream, context);
    let address = route.address.clone();
    lowered.resources.push(route);
    lowered.endpoints.insert(name.into(), reference(&address, "url"));
    if let Some(model) = &service.model {
        let label = format!("{name} (model {})", model.name.value);
        lowered
            .endpoints
            .insert(label.into(), reference(&address, "model_url"));
    }
}

fn rate_limit(limit: &RateLimit) -> Value {
    let burst = i64::try_from(limit.burst).unwrap_or(i64::MAX);
    let mut entries = vec![
        ("prefix", Value::from(limit.prefix.value.as_str())),
        ("rps", Value::Float(limit.rps.value.0)),
        ("burst", Value::Int(burst)),
    ];
    if let Some(header) = &limit.key.header {
        entries.push(("header", header.value.as_str().into()));
    }
    Value::map(entries)
}

/// One replica.
fn replica(
    placed: &Placed<Service>,
    member: &Member<'_>,
    unit: ResourceAddress,
    machine: Option<&Machine>,
    found: &dyn Fn(usize, usize) -> String,
    context: &Context,
) -> Resource {
    let (service, document) = (&placed.document, &placed.reference);
    let mut env = Attributes::from([
        (Arc::from("PORT"), Value::from("{ports.http}")),
        (
            Arc::from("DSTACK_RUN_NAME"),
            Value::from(service.name.value.as_str()),
        ),
    ]);
    let mut builder = ResourceBuilder::new(unit, document).at("ports", &service.port.span);
    for (name, (value, span)) in &service.run.env.0 {
        let value = match value {
            EnvValue::Passthrough => Value::template(format!("${{{{ env.{name} }}}}")),
            EnvValue::Text(value) => text(value),
        };
        env.insert(name.as_str().into(), value);
        builder = builder.at_path(AttributePath::root("env").key(name), span);
    }
    if let Some(first) = member.commands.first() {
        builder = builder.at("argv", &first.span);
    }
    // What cannot be copied was reported before.
    let is_here = machine.is_none();
    let copied = files::read(
        &service.run,
        &placed.node,
        is_here,
        context,
        &mut Diagnostics::new(),
    );
    if let Some(machine) = machine {
        builder = machine.carry(builder, &document.place);
    }
    builder = if is_here && member.image.is_none() {
        program::place(&service.run, &placed.node, &copied, context, builder).0
    } else {
        files::place(&service.run, &placed.node, &copied, builder)
    };
    let commands = program::commands(member.commands, found);
    let argv = match member.image {
        None => Some(program::argv(
            &service.run,
            routing::preparation(member).into_iter().chain(commands),
        )),
        Some(image) => {
            let wish = Wish {
                image,
                privileged: member.privileged,
                resources: member.resources,
                run: &service.run,
                takes_gpus: machine.is_some(),
                shares_network: container::shares_network(member),
            };
            let own = (!wish.shares_network).then(|| ("http".to_owned(), service.port.value.0.0));
            builder = container::equip(builder, wish, own);
            container::argv(&service.run, commands)
        }
    };
    if let Some(argv) = argv {
        builder = builder.input("argv", argv);
    }
    let port = if container::has_own_ports(member) || uses_variable(member.commands, "PORT") {
        ("range", Value::from(PORT_RANGE))
    } else {
        ("port", Value::Int(i64::from(service.port.value.0.0)))
    };
    builder
        .input("machine", machine.map_or_else(|| LOCAL.into(), Machine::id))
        .input("role", "replica")
        .inputs(program::supervision(&service.profile))
        .input("env", Value::Map(env))
        .input("ports", Value::map([("http", Value::map([port]))]))
        .input("probes", Value::List(probes(service, member)))
        .input(
            "ready_timeout",
            seconds(match machine {
                Some(machine) if machine.made.is_some() => context.aws.ready_timeout,
                Some(_) => context.machine_ready_timeout,
                None => context.ready_timeout,
            }),
        )
        .input("stop_timeout", seconds(stop_duration(&service.profile)))
        .build()
}

/// What makes a replica on one machine reachable from others: programs often listen on loopback only.
fn relay(
    service: &Service,
    document: &DocumentRef,
    path: &str,
    unit: &ResourceAddress,
    machine: &Machine,
    from: Option<&Machine>,
) -> Resource {
    let listen = host_of(machine);
    let mut argv: Vec<Value> = ["{gabion}", "agent", "relay", "--listen"].map(Value::from).into();
    argv.push(text(&format!("{listen}:{{ports.http}}")));
    argv.push("--to".into());
    argv.push(Value::template(format!("127.0.0.1:${{{{ {unit}.port.http }}}}")));
    if let Some(from) = from {
        let own = from
            .facts
            .iter()
            .flat_map(|facts| facts.addresses.iter().cloned());
        let known: std::collections::BTreeSet<String> =
            from.neighbour_address().into_iter().chain(own).collect();
        for address in known {
            argv.extend(["--from".into(), text(&address)]);
        }
    }
    let builder = ResourceBuilder::new(address("host_unit", &format!("{path}/relay")), document);
    let mut builder = machine.carry(builder, &document.place);
    for rule in machine.ways_in() {
        builder = builder.depends_on(rule.clone(), document.place.clone());
    }
    builder
        .input("machine", machine.id())
        .input("role", "relay")
        .input("argv", Value::List(argv))
        .input(
            "ports",
            Value::map([("http", Value::map([("range", RELAY_RANGE.into())]))]),
        )
        .input("ready_timeout", Value::Int(60))
        .input("stop_timeout", seconds(stop_duration(&service.profile)))
        .build()
}

/// Returns how its neighbours write a machine in a URL: a text or a template.
fn host_of(machine: &Machine) -> String {
    match machine.private_address {
        Some(std::net::IpAddr::V6(address)) => format!("[{address}]"),
        _ => match machine.neighbour_address() {
            Some(address) => address,
            None if machine.hostname.contains(':') => format!("[{}]", machine.hostname),
            None => machine.hostname.clone(),
        },
    }
}

fn relay_url(relay: &ResourceAddress, machine: &Machine) -> Value {
    let host = host_of(machine);
    Value::template(format!("http://{host}:${{{{ {relay}.port.http }}}}"))
}

/// The probes of a replica: the document's, or else one short completion when there is a model. What does one half of
/// that only is asked to try itself.
fn probes(service: &Service, member: &Member<'_>) -> Vec<Value> {
    let is_half = Part::of(member).role().is_some();
    match (&service.probes, &service.model) {
        (Some(probes), _) => probes.iter().map(|written| probe(&written.value)).collect(),
        (None, _) if is_half => vec![probe(&half_probe())],
        (None, Some(model)) => vec![probe(&model_probe(model))],
        (None, None) => Vec::new(),
    }
}

/// A prefill or decode worker refuses requests that come by no router; it generates one by itself when asked for its
/// health.
fn half_probe() -> Probe {
    Probe {
        probe_type: ProbeType::Http,
        url: Text::from("/health_generate"),
        method: Some(Method::Get),
        headers: Vec::new(),
        body: None,
        timeout: Duration::from_secs(30),
        interval: Duration::from_secs(15),
        ready_after: 1,
        until_ready: false,
    }
}

/// dstack's default: one token from the model, 30 s for an answer, every 15 s.
fn model_probe(model: &Model) -> Probe {
    let body = serde_json::json!({
        "model": model.name.value,
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 1,
    });
    Probe {
        probe_type: ProbeType::Http,
        url: Text(format!(
            "{}/chat/completions",
            model.prefix().trim_end_matches('/')
        )),
        method: Some(Method::Post),
        headers: vec![Header {
            name: "content-type".to_owned(),
            value: Text::from("application/json"),
        }],
        body: Some(Text(body.to_string())),
        timeout: Duration::from_secs(30),
        interval: Duration::from_secs(15),
        ready_after: 1,
        until_ready: false,
    }
}

fn probe(probe: &Probe) -> Value {
    let mut entries = vec![
        ("method", Value::from(probe.method.unwrap_or(Method::Get).http())),
        ("path", text(&probe.url)),
        ("timeout_seconds", seconds(probe.timeout)),
        ("interval_seconds", seconds(probe.interval)),
        ("ready_after", Value::Int(i64::from(probe.ready_after))),
    ];
    let headers: BTreeMap<&str, Value> = probe
        .headers
        .iter()
        .map(|header| (header.name.as_str(), text(&header.value)))
        .collect();
    if !headers.is_empty() {
        entries.push(("headers", Value::map(headers)));
    }
    entries.extend(probe.body.as_deref().map(|body| ("body", text(body))));
    Value::map(entries)
}

/// Where a route's requests go.
enum Upstream<'a> {
    Router(Router<'a>),
    /// To these resources, each one replica.
    Replicas(Vec<ResourceAddress>),
}

fn route(
    service: &Service,
    document: &DocumentRef,
    gateway: &GatewayTarget<'_>,
    upstream: &Upstream<'_>,
    context: &Context,
) -> Resource {
    let name = service.name.value.as_str();
    let listener = gateway.listener();
    let agent = gateway.agent();
    let has_router = matches!(upstream, Upstream::Router(_));
    let mut builder = ResourceBuilder::new(address("gateway_route", name), document)
        .input("agent", reference(&agent, "id"))
        .input("gateway", reference(&listener, "name"))
        .input("gateway_url", reference(&listener, "url"))
        .input("service", name)
        .input("auth", service.auth.value)
        .input("restricted", service.model.is_some() || has_router)
        .input("drain_timeout", seconds(stop_duration(&service.profile)))
        .at("service", &service.name.span)
        .at("auth", &service.auth.span);
    if let Some(machine) = gateway.machine {
        builder = builder.input("machine", machine.id());
    }
    if let Some(linger) = gateway.linger {
        builder = builder.input("linger", seconds(linger));
        // Once it has lingered, its requests finish.
        let needed = linger
            .saturating_add(stop_duration(&service.profile))
            .saturating_add(BESIDE_WAITS);
        if needed > ROUTE_DELETED_WITHIN {
            builder = builder.delete_within(needed);
        }
    }
    if let Some(certificate) = gateway.certificate(name) {
        builder = builder.depends_on(certificate, service.name.span.place());
    }
    builder = match gateway.domain {
        Some(domain) => builder.input(
            "hosts",
            Value::List(vec![format!("{name}.{}", domain.value).into()]),
        ),
        None => builder
            .input("path_prefix", format!("/services/{name}/"))
            .input("strip_prefix", service.strip_prefix),
    };
    if let Some(model) = &service.model {
        builder = builder
            .input("model", model.name.value.as_str())
            .input("model_prefix", model.prefix())
            .at("model", &model.name.span);
    }
    if service.auth.value && !context.tokens.is_empty() {
        let tokens = context
            .tokens
            .iter()
            .map(|(label, template)| (label, Value::template(template)));
        builder = builder.input("tokens", Value::map(tokens));
    }
    if !service.paths.is_empty() {
        let paths = service
            .paths
            .iter()
            .map(|path| Value::from(path.value.as_str()))
            .collect();
        builder = builder.input("extra_paths", Value::List(paths));
    }
    if let Some(first) = service.rate_limits.first() {
        let limits = service.rate_limits.iter().map(|limit| rate_limit(&limit.value));
        builder = builder
            .input("rate_limits", Value::List(limits.collect()))
            .at("rate_limits", &first.span);
    }
    match upstream {
        Upstream::Router(router) => {
            let mut entries = vec![
                ("id", reference(&router.unit, "id")),
                ("url", router.url.clone()),
                ("type", router.package.name().into()),
            ];
            let elsewhere = router
                .machine
                .filter(|machine| machine.name != gateway.machine_name());
            entries.extend(elsewhere.map(|machine| ("machine", machine.id())));
            builder = builder.input("router", Value::map(entries));
            for worker in &router.workers {
                builder = builder.depends_on(worker.clone(), router.span.place());
            }
        }
        Upstream::Replicas(replicas) => {
            for replica in replicas {
                builder = builder.depends_on(replica.clone(), service.name.span.place());
            }
        }
    }
    builder.build()
}
