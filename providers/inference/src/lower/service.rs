//! A service on the local backend: replica units, a router with its workers if there is one, and the route.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::Lowered;
use gabion_engine::diagnostic::Diagnostics;
use gabion_engine::resource::{DocumentRef, Resource};
use gabion_engine::value::{AttributePath, Attributes, Value};

use super::backend::LOCAL;
use super::builder::{ResourceBuilder, address, reference};
use super::count;
use super::files;
use super::gateway::GatewayTarget;
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

/// Adds the resources of a service.
pub(crate) fn lower(
    placed: &Placed<Service>,
    gateway: &GatewayTarget<'_>,
    context: &Context,
    lowered: &mut Lowered,
) {
    let service = &placed.document;
    let document = &placed.reference;
    let name = service.name.value.as_str();
    let mut replicas: Vec<Replica> = Vec::new();
    let mut in_group = None;
    for member in service.members() {
        let group = format!("{name}/{}", member.name);
        let recorded = context.slots.get(&group).map_or(&[][..], Vec::as_slice);
        let chosen = count::of(&group, member.replicas.value, context);
        // Replicas do not refer to it: a plan about some of them stands when their number changes.
        lowered
            .resources
            .extend(count::resource(&group, &member, chosen, document));
        let count = usize::try_from(chosen).unwrap_or(usize::MAX);
        for slot in slots::choose(count, recorded) {
            let path = format!("{group}/{slot}");
            let unit = address("host_unit", &path);
            let mut resource = replica(placed, &member, unit.clone(), context);
            routing::equip(&mut resource, &member);
            lowered.resources.push(resource);
            if member.router.is_some() {
                in_group = Some(routing::of_group(&member, unit));
            } else {
                replicas.push(Replica::new(path, unit, &member));
            }
        }
    }
    let of_gateway = gateway.router.map(|router| &router.value);
    let router = in_group.or_else(|| {
        let routing = service.routing(of_gateway)?;
        Some(routing::add_beside_gateway(
            &routing, service, document, gateway, lowered,
        ))
    });
    let upstream = match router {
        Some(mut router) => {
            routing::add_workers(&mut router, service, document, &replicas, lowered);
            Upstream::Router(router)
        }
        None => Upstream::Replicas(replicas),
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
    context: &Context,
) -> Resource {
    let (service, document) = (&placed.document, &placed.reference);
    let mut env: Attributes = BTreeMap::from([
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
    let files = files::read(
        &service.run,
        &placed.node,
        &context.project_directory,
        &mut Diagnostics::new(),
    );
    let (builder, _) = program::place(&service.run, &placed.node, &files, context, builder);
    let port = if uses_variable(member.commands, "PORT") {
        ("range", Value::from(PORT_RANGE))
    } else {
        ("port", Value::Int(i64::from(service.port.value.0.0)))
    };
    builder
        .input("machine", LOCAL)
        .input("role", "replica")
        .input(
            "argv",
            program::argv(
                &service.run,
                routing::preparation(member)
                    .into_iter()
                    .chain(program::commands(member.commands)),
            ),
        )
        .inputs(program::supervision(&service.profile))
        .input("env", Value::Map(env))
        .input("ports", Value::map([("http", Value::map([port]))]))
        .input("probes", Value::List(probes(service, member)))
        .input("ready_timeout", seconds(context.ready_timeout))
        .input("stop_timeout", seconds(stop_duration(&service.profile)))
        .build()
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
enum Upstream {
    Router(Router),
    Replicas(Vec<Replica>),
}

fn route(
    service: &Service,
    document: &DocumentRef,
    gateway: &GatewayTarget<'_>,
    upstream: &Upstream,
    context: &Context,
) -> Resource {
    let name = service.name.value.as_str();
    let listener = gateway.listener();
    let agent = address("host_unit", &format!("agent/{LOCAL}"));
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
            builder = builder.input(
                "router",
                Value::map([
                    ("id", reference(&router.unit, "id")),
                    ("url", reference(&router.unit, "url")),
                    ("type", router.package.name().into()),
                ]),
            );
            for worker in &router.workers {
                builder = builder.depends_on(worker.clone(), router.span.place());
            }
        }
        Upstream::Replicas(replicas) => {
            let replicas = replicas.iter().map(|replica| {
                Value::map([
                    ("name", Value::from(replica.path.as_str())),
                    ("url", reference(&replica.unit, "url")),
                ])
            });
            builder = builder.input("replicas", Value::List(replicas.collect()));
        }
    }
    builder.build()
}
