//! A service on the local backend: replica units, a router with its workers if there is one, and the route.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{Lowered, Template};
use gabion_engine::diagnostic::Span;
use gabion_engine::resource::{DocumentRef, Resource};
use gabion_engine::value::{AttributePath, Attributes, Value};
use gabion_router::launch::RouterLaunch;
use gabion_router::packages::Package;

use super::backend::LOCAL;
use super::builder::{ResourceBuilder, address, reference};
use super::check::uses_port;
use super::gateway::GatewayTarget;
use super::project::{Context, Placed};
use super::slots;
use crate::document::probe::{Method, Probe};
use crate::document::router::{RouterPackage, RouterSpec};
use crate::document::service::{Model, Service};
use crate::grammar::env::EnvValue;

/// The ports that replicas are leased from.
const PORT_RANGE: &str = "25000-29999";

/// The replica group of a service that names none.
const DEFAULT_GROUP: &str = "default";

/// A replica: its path, and its unit.
type Replica = (String, ResourceAddress);

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
    let group = format!("{name}/{DEFAULT_GROUP}");
    let recorded = context.slots.get(&group).map_or(&[][..], Vec::as_slice);
    let count = service.replicas.value.min.unwrap_or(0);
    let slots = slots::choose(usize::try_from(count).unwrap_or(usize::MAX), recorded);
    let replicas: Vec<Replica> = slots
        .iter()
        .map(|slot| format!("{group}/{slot}"))
        .map(|path| (path.clone(), address("host_unit", &path)))
        .collect();
    for (_, unit) in &replicas {
        lowered
            .resources
            .push(replica(service, document, unit.clone(), context));
    }
    let upstream = match service.router.as_ref().or(gateway.router) {
        Some(spec) => Upstream::Router(add_router(spec, service, document, gateway, &replicas, lowered)),
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

fn seconds(duration: Duration) -> Value {
    Value::Int(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
}

/// Returns a text, or the template that it is.
fn text(text: &str) -> Value {
    if Template::is_in(text) {
        Value::template(text)
    } else {
        Value::from(text)
    }
}

/// One replica.
fn replica(service: &Service, document: &DocumentRef, unit: ResourceAddress, context: &Context) -> Resource {
    let commands: Vec<String> = service
        .commands
        .iter()
        .map(|command| grouped(&command.value))
        .collect();
    // dstack's own default: images may lack bash, machines hardly do.
    let shell = match service.shell.as_ref().map(|shell| shell.value.as_str()) {
        Some("sh") => "/bin/sh",
        None | Some("bash") => "/bin/bash",
        Some(path) => path,
    };
    let mut env: Attributes = BTreeMap::from([
        (Arc::from("PORT"), Value::from("{ports.http}")),
        (
            Arc::from("DSTACK_RUN_NAME"),
            Value::from(service.name.value.as_str()),
        ),
    ]);
    let mut builder = ResourceBuilder::new(unit, document).at("ports", &service.port.span);
    for (name, (value, span)) in &service.env.0 {
        let value = match value {
            EnvValue::Passthrough => Value::template(format!("${{{{ env.{name} }}}}")),
            EnvValue::Text(value) => text(value),
        };
        env.insert(name.as_str().into(), value);
        builder = builder.at_path(AttributePath::root("env").key(name), span);
    }
    if let Some(first) = service.commands.first() {
        builder = builder.at("argv", &first.span);
    }
    let directory = match &service.working_dir {
        Some(directory) => {
            builder = builder.at("working_dir", &directory.span);
            directory.value.as_str()
        }
        None => context.project_directory.as_str(),
    };
    let port = if uses_port(service) {
        ("range", Value::from(PORT_RANGE))
    } else {
        ("port", Value::Int(i64::from(service.port.value)))
    };
    builder
        .input("machine", LOCAL)
        .input("role", "replica")
        .input(
            "argv",
            Value::List(vec![shell.into(), "-c".into(), text(&commands.join(" && "))]),
        )
        .input("env", Value::Map(env))
        .input("working_dir", directory)
        .input("ports", Value::map([("http", Value::map([port]))]))
        .input("probes", Value::List(probes(service)))
        .input("ready_timeout", seconds(context.ready_timeout))
        .input("stop_timeout", seconds(service.stop_duration))
        .build()
}

/// Groups a command that ends in `&`, so that `&&` can follow it.
fn grouped(command: &str) -> String {
    let trimmed = command.trim();
    if trimmed.ends_with('&') && !trimmed.ends_with("&&") {
        format!("{{ {trimmed} }}")
    } else {
        trimmed.to_owned()
    }
}

/// The probes of a replica: the document's, or else one short completion when there is a model.
fn probes(service: &Service) -> Vec<Value> {
    match (&service.probes, &service.model) {
        (Some(probes), _) => probes.iter().map(probe).collect(),
        (None, Some(model)) => vec![probe(&model_probe(model))],
        (None, None) => Vec::new(),
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
        url: format!("{}/chat/completions", model.prefix.trim_end_matches('/')),
        method: Method::Post,
        headers: BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]),
        body: Some(body.to_string()),
        timeout: Duration::from_secs(30),
        interval: Duration::from_secs(15),
        ready_after: 1,
    }
}

fn probe(probe: &Probe) -> Value {
    let mut entries = vec![
        ("method", Value::from(probe.method.as_str())),
        ("path", text(&probe.url)),
        ("timeout_seconds", seconds(probe.timeout)),
        ("interval_seconds", seconds(probe.interval)),
        ("ready_after", Value::Int(i64::from(probe.ready_after))),
    ];
    if !probe.headers.is_empty() {
        entries.push((
            "headers",
            Value::map(probe.headers.iter().map(|(name, value)| (name, text(value)))),
        ));
    }
    entries.extend(probe.body.as_deref().map(|body| ("body", text(body))));
    Value::map(entries)
}

/// Where a route's requests go.
enum Upstream {
    Router(Router),
    Replicas(Vec<Replica>),
}

/// A service's router and its workers.
struct Router {
    unit: ResourceAddress,
    package: Package,
    workers: Vec<ResourceAddress>,
    span: Span,
}

fn add_router(
    spec: &RouterSpec,
    service: &Service,
    document: &DocumentRef,
    gateway: &GatewayTarget<'_>,
    replicas: &[Replica],
    lowered: &mut Lowered,
) -> Router {
    let package = match spec.package {
        RouterPackage::Smg => Package::Smg,
        RouterPackage::SglangRouter => Package::SglangRouter,
    };
    let unit = address(
        "host_unit",
        &format!("{}/router/{}", gateway.name, service.name.value),
    );
    let agent = address("host_unit", &format!("agent/{LOCAL}"));
    let launch = RouterLaunch {
        package,
        policy: spec.policy.value.as_str().to_owned(),
    };
    lowered.resources.push(
        ResourceBuilder::new(unit.clone(), document)
            .inputs(launch.unit_inputs(LOCAL))
            .at("argv", &spec.policy.span)
            .build(),
    );
    let mut workers = Vec::new();
    for (path, replica) in replicas {
        let worker = address("router_worker", path);
        let mut builder = ResourceBuilder::new(worker.clone(), document)
            .input("agent", reference(&agent, "id"))
            .input("router", reference(&unit, "id"))
            .input("router_url", reference(&unit, "url"))
            .input("router_type", package.name())
            .input("name", path.as_str())
            .input("url", reference(replica, "url"))
            .input("drain_timeout", seconds(service.stop_duration));
        if let Some(model) = &service.model {
            builder = builder
                .input("model_id", model.name.value.as_str())
                .at("model_id", &model.name.span);
        }
        lowered.resources.push(builder.build());
        workers.push(worker);
    }
    Router {
        unit,
        package,
        workers,
        span: spec.policy.span.clone(),
    }
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
        .input("drain_timeout", seconds(service.stop_duration))
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
            .input("model_prefix", model.prefix.as_str())
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
            let replicas = replicas.iter().map(|(path, unit)| {
                Value::map([
                    ("name", Value::from(path.as_str())),
                    ("url", reference(unit, "url")),
                ])
            });
            builder = builder.input("replicas", Value::List(replicas.collect()));
        }
    }
    builder.build()
}
