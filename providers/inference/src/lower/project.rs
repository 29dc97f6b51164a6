//! All gateways and services of a project at once: services need gateways, and gateways need what is behind them.

use std::collections::BTreeMap;
use std::time::Duration;

use gabion_engine::config::{Lowered, Node, Purpose};
use gabion_engine::diagnostic::{Diagnostics, Span};
use gabion_engine::resource::{DocumentRef, Resource};
use gabion_engine::value::Value;

use super::backend::{self, LOCAL};
use super::builder::{ResourceBuilder, address};
use super::gateway::{GatewayTarget, listener};
use super::{check, names, separation, service};
use crate::document::dialect::DEFAULT_GROUP;
use crate::document::gateway::Gateway;
use crate::document::service::Service;

/// The name of the gateway that a service without one is reached through.
pub(crate) const LOOPBACK: &str = "loopback";

/// What lowering needs to know beyond the documents.
#[derive(Debug, Clone)]
pub struct Context {
    /// Why it is done.
    pub purpose: Purpose,
    /// The project's directory, absolute: where process replicas start.
    pub project_directory: String,
    /// The names of the backends that the project uses; none means `local`.
    pub backends: Vec<String>,
    /// How long a replica on the local backend may take to become ready.
    pub ready_timeout: Duration,
    /// Bearer tokens that services accept: label and template.
    pub tokens: BTreeMap<String, String>,
    /// The slots that replica groups have, by the path before the slot: `qwen/default`.
    pub slots: BTreeMap<String, Vec<RecordedSlot>>,
    /// How many replicas were chosen for groups with a range, by the same path.
    pub counts: BTreeMap<String, u32>,
}

/// A slot of a replica group that has an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedSlot {
    /// Its number.
    pub slot: u32,
    /// Whether its object is tainted, incomplete or dead, so that it goes first when the group shrinks.
    pub needs_repair: bool,
}

/// A document with where it stands.
#[derive(Debug, Clone)]
pub struct Placed<T> {
    /// The document.
    pub document: T,
    /// All of what is written, with what comes from a profile.
    pub node: Node,
    /// What records call it.
    pub reference: DocumentRef,
    /// The span of the value of its `type`.
    pub type_span: Span,
}

/// Lowers a project's gateways and services.
pub fn lower(
    gateways: &[Placed<Gateway>],
    services: &[Placed<Service>],
    context: &Context,
    problems: &mut Diagnostics,
) -> Lowered {
    let names_are_good = names::check(gateways, services, problems);
    let targets: Vec<GatewayTarget<'_>> = gateways
        .iter()
        .map(|gateway| {
            let backend = &gateway.document.backend;
            let usable = backend::is_usable(backend.value.name(), &backend.span, context.purpose, problems);
            if usable {
                check::gateway(gateway, problems);
            }
            GatewayTarget::declared(&gateway.document, &gateway.reference, usable)
        })
        .collect();
    let loopback = GatewayTarget::loopback();

    let mut chosen: Vec<(&Placed<Service>, &GatewayTarget<'_>, bool)> = Vec::new();
    for service in services {
        let gateway = names::gateway_of(&service.document, &targets, &loopback, context.purpose, problems);
        let usable = backend::of_run(&service.document.profile, &service.type_span, context, problems);
        check::service(&service.document, gateway, problems);
        let mut cannot = Diagnostics::new();
        if usable {
            check::service_on_local(service, context, &mut cannot);
            if let Some(gateway) = gateway {
                separation::check(&service.document, gateway, &mut cannot);
            }
        }
        // A service for another backend is well formed, and this one makes nothing of it.
        let fits =
            context.purpose == Purpose::Plan || cannot.iter().all(|problem| problem.code == "no-tokens");
        if context.purpose == Purpose::Plan {
            problems.extend(cannot);
        }
        chosen.extend(gateway.map(|gateway| (service, gateway, usable && fits && gateway.usable)));
    }
    names::check_models(
        chosen
            .iter()
            .map(|(service, gateway, _)| (&service.document, *gateway)),
        problems,
    );

    let mut lowered = Lowered::default();
    if !names_are_good {
        return lowered;
    }
    let mut listeners: BTreeMap<&str, (&GatewayTarget<'_>, &DocumentRef)> = BTreeMap::new();
    for target in &targets {
        if let Some(document) = target.document.filter(|_| target.usable) {
            listeners.insert(target.name, (target, document));
        }
    }
    for (service, gateway, usable) in &chosen {
        if *usable {
            listeners
                .entry(gateway.name)
                .or_insert((*gateway, &service.reference));
            service::lower(service, gateway, context, &mut lowered);
            note_scaling(&service.document, &mut lowered);
        }
    }
    if let Some((_, document)) = listeners.values().next() {
        lowered.resources.push(agent(document));
    }
    lowered.resources.extend(
        listeners
            .values()
            .map(|(target, document)| listener(target, document)),
    );
    lowered
}

/// Says that a number of replicas does not change by itself.
fn note_scaling(service: &Service, lowered: &mut Lowered) {
    let name = service.name.value.as_str();
    for member in service.members() {
        let Some(scaling) = member.scaling else { continue };
        let group = match member.name {
            DEFAULT_GROUP => name.to_owned(),
            group => format!("{name}/{group}"),
        };
        let note = format!(
            "This build does not follow `scaling` by itself: `gabion scale {group} N` sets the number of replicas, and plans keep it."
        );
        lowered.notes.push((note.into(), Some(scaling.span.place())));
    }
}

/// The agent of the machine that runs gabion.
fn agent(document: &DocumentRef) -> Resource {
    let argv = [
        "{gabion}",
        "agent",
        "serve",
        "--directory",
        "{unit.dir}",
        "--data-root",
        "{unit.dir}/../..",
    ];
    let probe = Value::map([
        ("socket", Value::from("agent.sock")),
        ("timeout_seconds", Value::Int(5)),
        ("interval_seconds", Value::Int(1)),
        ("ready_after", Value::Int(1)),
    ]);
    ResourceBuilder::new(address("host_unit", &format!("agent/{LOCAL}")), document)
        .input("machine", LOCAL)
        .input("role", "agent")
        .input("argv", Value::List(argv.into_iter().map(Value::from).collect()))
        .input("probes", Value::List(vec![probe]))
        .input("ready_timeout", Value::Int(60))
        .input("stop_timeout", Value::Int(60))
        .build()
}
