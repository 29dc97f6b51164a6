//! All gateways and services of a project at once: services need gateways, and gateways need what is behind them.

use std::collections::BTreeMap;
use std::time::Duration;

use gabion_engine::config::{Lowered, Node, Purpose, RecordedView, Root};
use gabion_engine::diagnostic::{Diagnostics, Span};
use gabion_engine::resource::{DocumentRef, Resource};
use gabion_engine::value::Value;

use super::acme::{self, AcmeSettings, Https};
use super::aws::{self, AwsSettings, CloudMachine};
use super::backend::{self, LOCAL, Usable};
use super::builder::ResourceBuilder;
use super::gateway::{GatewayTarget, agent_of, listener};
use super::local::LocalRuntime;
use super::machines::{Machine, MachineFacts};
use super::placement::{Board, Choice};
use super::task::{self, RunningTasks, Settled};
use super::unread::Unread;
use super::{check, local, machines, names, placing, separation, service};
use crate::document::dialect::DEFAULT_GROUP;
use crate::document::fleet::Fleet;
use crate::document::gateway::Gateway;
use crate::document::service::Service;
use crate::document::task::Task;

/// The name of the gateway that a service without one is reached through.
pub(crate) const LOOPBACK: &str = "loopback";

/// What lowering needs to know beyond the documents.
#[derive(Debug, Clone)]
pub struct Context {
    /// Why it is done.
    pub purpose: Purpose,
    /// The project's directory, absolute: where process replicas start.
    pub project_directory: String,
    /// What no path may lead out of, when whoever wrote the documents is not trusted.
    pub root: Option<Root>,
    /// The names of the backends that the project uses; none means `local`.
    pub backends: Vec<String>,
    /// How long a replica on the local backend may take to become ready.
    pub ready_timeout: Duration,
    /// How long one on a machine of a fleet may take.
    pub machine_ready_timeout: Duration,
    /// What is set for AWS.
    pub(crate) aws: AwsSettings,
    /// Whom gateways on other backends ask for certificates, by backend.
    pub(crate) acme: BTreeMap<&'static str, AcmeSettings>,
    /// Bearer tokens that services accept: label and template.
    pub tokens: BTreeMap<String, String>,
    /// The slots that replica groups have, by the path before the slot: `qwen/default`.
    pub slots: BTreeMap<String, Vec<RecordedSlot>>,
    /// How many replicas were chosen for groups with a range, by the same path.
    pub counts: BTreeMap<String, u32>,
    /// The container runtime of the machine that runs gabion, or why it has none; `None` when nobody has looked.
    pub local_runtime: Option<Result<LocalRuntime, String>>,
    /// What the machine that runs gabion is; `None` when nobody has looked.
    pub(crate) local_facts: Option<MachineFacts>,
    /// The documents that have errors of their own.
    pub(crate) unread: Unread,
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

/// The documents of a project that resources are made of.
#[derive(Clone, Copy, Debug)]
pub struct Serving<'a> {
    /// Gateways.
    pub gateways: &'a [Placed<Gateway>],
    /// Services.
    pub services: &'a [Placed<Service>],
    /// Fleets; those without `ssh_config` are left out.
    pub fleets: &'a [Placed<Fleet>],
    /// Tasks, and development environments as the tasks that they are.
    pub tasks: &'a [Placed<Task>],
}

/// Lowers a project's fleets, gateways, services, tasks and development environments.
pub fn lower(
    documents: Serving<'_>,
    context: &Context,
    recorded: &dyn RecordedView,
    problems: &mut Diagnostics,
) -> Lowered {
    let machines = machines::all(documents.fleets, recorded, problems);
    let mut board = Board::new(&machines);
    // What runs keeps its place before anything new is given one.
    let mut runs = task::kept(
        documents.tasks,
        &machines,
        &mut board,
        context,
        recorded,
        problems,
    );
    let mut lowered = lower_serving(
        documents, &machines, &mut runs, &mut board, context, recorded, problems,
    );
    let running = RunningTasks {
        services: documents.services,
        recorded,
    };
    task::lower(running, runs, &mut board, context, &mut lowered, problems);
    lowered
}

/// Lowers fleets, gateways and services, and places new runs between the replicas and what these need to be replaced.
fn lower_serving<'a>(
    documents: Serving<'_>,
    machines: &'a [Machine],
    runs: &mut [Settled<'_, 'a>],
    board: &mut Board<'a>,
    context: &Context,
    recorded: &dyn RecordedView,
    problems: &mut Diagnostics,
) -> Lowered {
    let Serving {
        gateways,
        services,
        fleets,
        ..
    } = documents;
    let names_are_good = names::check(gateways, services, problems);
    let cloud_gateways = aws::gateways(gateways, context, recorded, problems);
    let targets: Vec<GatewayTarget<'_>> = gateways
        .iter()
        .map(|gateway| {
            let backend = &gateway.document.backend;
            let usable = backend::usable(backend.value.name(), &backend.span, machines, context, problems);
            if let Some(usable) = usable {
                check::gateway(gateway, usable, problems);
            }
            let name = &gateway.document.name.value;
            let machine = match usable {
                Some(Usable::Ssh) => {
                    let choice = Choice {
                        fleets: &gateway.document.fleets,
                        instances: None,
                    };
                    placing::gateway(gateway, choice, board, recorded, context, problems)
                }
                Some(Usable::Aws) => cloud_gateways
                    .iter()
                    .map(|cloud| &cloud.machine)
                    .find(|machine| machine.name == *name),
                Some(Usable::Local) | None => None,
            };
            let https = usable.and_then(|usable| Https::of(gateway, usable, context, problems));
            let usable = usable.is_some_and(|usable| usable == Usable::Local || machine.is_some());
            let has_record = cloud_gateways
                .iter()
                .any(|cloud| cloud.machine.name == *name && cloud.zone().is_some());
            GatewayTarget {
                linger: has_record.then_some(context.aws.record_ttl),
                ..GatewayTarget::declared(&gateway.document, &gateway.reference, machine, https, usable)
            }
        })
        .collect();
    let loopback = GatewayTarget::loopback();

    let mut chosen: Vec<(&Placed<Service>, &GatewayTarget<'_>, Option<Usable>)> = Vec::new();
    for service in services {
        let gateway = names::gateway_of(&service.document, &targets, &loopback, context, problems);
        let mut usable = backend::of_run(
            &service.document.profile,
            &service.type_span,
            machines,
            context,
            problems,
        );
        check::service(&service.document, gateway, problems);
        let mut cannot = Diagnostics::new();
        if let Some(backend) = usable {
            check::service_on(service, backend, context, &mut cannot);
            if backend == Usable::Local {
                local::check_service(service, context, recorded, &mut cannot);
            }
            check::reach(service, backend, gateway, &mut cannot);
            if let Some(gateway) = gateway {
                check::https(&service.document, gateway, &mut cannot);
                separation::check(&service.document, backend, gateway, &mut cannot);
            }
        }
        // A service for another backend is well formed, and this one makes nothing of it.
        let fits =
            context.purpose == Purpose::Plan || cannot.iter().all(|problem| problem.code == "no-tokens");
        if context.purpose == Purpose::Plan {
            problems.extend(cannot);
        }
        usable = usable.filter(|_| fits);
        chosen.extend(gateway.map(|gateway| (service, gateway, usable.filter(|_| gateway.usable))));
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
    lowered.resources.extend(machines::resources(fleets, recorded));
    let on = |backend: Usable| -> Vec<(&Placed<Service>, &GatewayTarget<'_>)> {
        let chosen = chosen.iter().filter(|(_, _, usable)| *usable == Some(backend));
        chosen.map(|(service, gateway, _)| (*service, *gateway)).collect()
    };
    let placements = placing::replicas(&on(Usable::Ssh), board, context, recorded, problems);
    task::place_new(runs, board, context, problems);
    let mut placements = placing::crowd(placements, &on(Usable::Ssh), board, context);
    let cloud_replicas = aws::replicas(&on(Usable::Aws), &cloud_gateways, context, recorded, problems);
    for cloud in &cloud_replicas {
        placements.add(&cloud.machine.name, &cloud.machine);
    }
    let mut listeners: BTreeMap<&str, (&GatewayTarget<'_>, &DocumentRef)> = BTreeMap::new();
    for target in &targets {
        if let Some(document) = target.document.filter(|_| target.usable) {
            listeners.insert(target.name, (target, document));
        }
    }
    for (service, gateway, usable) in &chosen {
        if usable.is_some() {
            listeners
                .entry(gateway.name)
                .or_insert((*gateway, &service.reference));
            service::lower(service, gateway, &placements, context, &mut lowered);
            note_scaling(&service.document, &mut lowered);
        }
    }
    let made: Vec<&CloudMachine> = cloud_gateways
        .iter()
        .filter(|cloud| listeners.contains_key(cloud.machine.name.as_str()))
        .collect();
    aws::lower(&made, &cloud_replicas, context, recorded, &mut lowered);
    for (target, _) in listeners.values() {
        let served = chosen
            .iter()
            .filter(|(_, gateway, usable)| usable.is_some() && gateway.name == target.name)
            .map(|(service, ..)| {
                let name = &service.document.name;
                (name.value.as_str(), &service.reference, &name.span)
            });
        let cloud = made.iter().find(|cloud| cloud.machine.name == target.name);
        let zone = cloud.and_then(|cloud| cloud.zone());
        acme::lower(target, &served.collect::<Vec<_>>(), zone, &mut lowered);
    }
    acme::note_plain_http(gateways, &targets, &mut lowered);
    let mut agents: BTreeMap<&str, (Option<&Machine>, &DocumentRef)> = BTreeMap::new();
    for (target, document) in listeners.values() {
        agents
            .entry(target.machine_name())
            .or_insert((target.machine, document));
    }
    // A router that is a replica group has one beside it too.
    for (service, _, _) in chosen.iter().filter(|(.., usable)| usable.is_some()) {
        if let Some(machine) = service::router_machine(&service.document, &placements, context) {
            agents
                .entry(machine.name.as_str())
                .or_insert((Some(machine), &service.reference));
        }
    }
    let agents = agents.into_values();
    lowered
        .resources
        .extend(agents.map(|(machine, document)| agent(machine, document)));
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

/// The agent of a machine that has a gateway or a router.
fn agent(machine: Option<&Machine>, document: &DocumentRef) -> Resource {
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
    let builder = ResourceBuilder::new(agent_of(machine), document);
    let builder = match machine {
        Some(machine) => machine.carry(builder, &document.place),
        None => builder,
    };
    builder
        .input("machine", machine.map_or_else(|| LOCAL.into(), Machine::id))
        .input("role", "agent")
        .input("argv", Value::List(argv.into_iter().map(Value::from).collect()))
        .input("probes", Value::List(vec![probe]))
        .input("ready_timeout", Value::Int(60))
        .input("stop_timeout", Value::Int(60))
        .build()
}
