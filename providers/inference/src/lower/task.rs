//! A task: one unit for each node, which runs to its end, on the machine that runs gabion or on one of a fleet.

use std::collections::BTreeMap;
use std::sync::Arc;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{Lowered, Purpose, RecordedView, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};
use gabion_engine::value::{AttributePath, Attributes, Value};

use super::backend::{self, LOCAL, Usable};
use super::builder::{ResourceBuilder, address};
use super::check;
use super::container::{self, Wish};
use super::files::{self, Files};
use super::local::{self, Need};
use super::machines::Machine;
use super::placement::{self, Board, Choice};
use super::placing;
use super::program::{self, LOOPBACK, seconds, text};
use super::project::{Context, Placed};
use super::run_keys::{self, unsupported};
use super::service::PORT_RANGE;
use crate::document::profile::{StartupOrder, StopCriteria};
use crate::document::resources::Resources;
use crate::document::service::Service;
use crate::document::task::Task;
use crate::grammar::env::EnvValue;
use crate::grammar::port::PortMapping;
use crate::term::{Text, write_map};

/// The name of the nodes of a task without groups.
const DEFAULT_GROUP: &str = "default";

/// The most nodes of a task, all of them processes of one machine.
const MOST_NODES: u32 = 256;

/// The file of a unit that names a run's nodes for MPI.
const MPI_HOSTFILE: &str = "mpi_hostfile";

/// What the tasks of a project are beside.
#[derive(Clone, Copy)]
pub(crate) struct RunningTasks<'a> {
    /// The services.
    pub(crate) services: &'a [Placed<Service>],
    /// What is recorded.
    pub(crate) recorded: &'a dyn RecordedView,
}

/// A task, and where it runs as far as that is settled.
pub(crate) struct Settled<'t, 'm> {
    placed: &'t Placed<Task>,
    /// `None` when it was reported why there is none.
    backend: Option<Usable>,
    /// The machine of a fleet that it is on.
    machine: Option<&'m Machine>,
    /// Whether it was reported that no machine can take it.
    is_refused: bool,
}

/// Finds the backend of each task, and keeps those that are placed where they are, if that can be.
pub(crate) fn kept<'t, 'm>(
    tasks: &'t [Placed<Task>],
    machines: &'m [Machine],
    board: &mut Board<'m>,
    context: &Context,
    recorded: &dyn RecordedView,
    problems: &mut Diagnostics,
) -> Vec<Settled<'t, 'm>> {
    let settle = |placed: &'t Placed<Task>| {
        let task = &placed.document;
        let backend = backend::of_task(&task.profile, &placed.type_span, machines, context, problems);
        let machine = nodes(task)
            .first()
            .filter(|_| backend == Some(Usable::Ssh))
            .and_then(|nodes| {
                let path = path(task, nodes.group, 1, 0);
                let machine = placing::recorded_machine(recorded, "host_unit", &path)?;
                board.keep(&need(task, nodes), &machine)
            });
        Settled {
            placed,
            backend,
            machine,
            is_refused: false,
        }
    };
    tasks.iter().map(settle).collect()
}

/// What a node of a task needs of a machine of a fleet.
fn need<'a>(task: &'a Task, nodes: &Nodes<'a>) -> placement::Need<'a> {
    let in_container = task.run.image.is_some();
    placement::Need {
        choice: Choice {
            fleets: &task.profile.fleets,
            instances: task.profile.instances.as_deref(),
        },
        resources: nodes.resources,
        // A container's port is its own.
        ports: [
            nodes
                .ports
                .first()
                .filter(|_| !in_container)
                .map(|port| port.container.0),
            None,
        ],
        in_container,
        apart_from: &[],
    }
}

/// Places the tasks that are nowhere yet, reporting those that fit nowhere.
pub(crate) fn place_new<'m>(
    tasks: &mut [Settled<'_, 'm>],
    board: &mut Board<'m>,
    context: &Context,
    problems: &mut Diagnostics,
) {
    for task in tasks {
        if task.backend == Some(Usable::Ssh) && task.machine.is_none() {
            task.machine = place(task.placed, board, context, problems);
            task.is_refused = task.machine.is_none();
        }
    }
}

/// Adds the units of a project's tasks.
pub(crate) fn lower<'m>(
    running: RunningTasks<'_>,
    tasks: Vec<Settled<'_, 'm>>,
    board: &mut Board<'m>,
    context: &Context,
    lowered: &mut Lowered,
    problems: &mut Diagnostics,
) {
    let mut names: Vec<&Placed<Task>> = Vec::new();
    for Settled {
        placed,
        backend,
        machine,
        is_refused,
    } in tasks
    {
        let task = &placed.document;
        let mut good = name_is_free(placed, running.services, &names, problems);
        names.push(placed);
        for nodes in nodes(task) {
            check::commands(nodes.commands, problems);
        }
        let Some(backend) = backend else { continue };
        let is_here = backend == Usable::Local;
        let mut cannot = Diagnostics::new();
        check_keys(placed, backend, &mut cannot);
        if is_here {
            check_on_local(placed, context, running.recorded, &mut cannot);
        }
        let directory = &context.project_directory;
        match task.run.image {
            Some(_) => container::check_run(&task.run, &placed.node, directory, &mut cannot),
            None if is_here => run_keys::check_places(&task.run, &placed.node, directory, &mut cannot),
            None => {}
        }
        let files = files::read(&task.run, &placed.node, is_here, context, &mut cannot);
        // A task for another backend is well formed, and this one makes nothing of it.
        good &= !cannot.has_errors();
        if context.purpose == Purpose::Plan {
            problems.extend(cannot);
        }
        if !good {
            continue;
        }
        // Where services have errors nothing was placed yet.
        let machine = match machine {
            None if !is_here && !is_refused => place(placed, board, context, problems),
            found => found,
        };
        if !is_here && machine.is_none() {
            continue;
        }
        let count = u32::try_from(node_count(task)).unwrap_or(MOST_NODES);
        let run = Run {
            placed,
            machine,
            files,
            count,
            context,
        };
        run.add(lowered);
    }
}

/// Places a task that is nowhere yet, reporting that it fits nowhere.
fn place<'m>(
    placed: &Placed<Task>,
    board: &mut Board<'m>,
    context: &Context,
    problems: &mut Diagnostics,
) -> Option<&'m Machine> {
    let task = &placed.document;
    let nodes = nodes(task);
    let first = nodes.first()?;
    match board.place(&need(task, first)) {
        Ok(machine) => Some(machine),
        Err(refusals) => {
            // A fleet with an error may have one.
            if context.purpose == Purpose::Plan && !context.unread.may_have("fleet") {
                let what = format!("the {} `{}`", what(placed), task.name.value);
                let summary = "no machine for a run";
                problems.push(placing::no_machine(summary, &what, refusals, &task.name.span));
            }
            None
        }
    }
}

/// What a run is called in sentences.
fn what(placed: &Placed<Task>) -> &'static str {
    match &*placed.reference.document_type {
        "dev-environment" => "development environment",
        _ => "task",
    }
}

/// Runs are told apart by name, whatever their type is.
fn name_is_free(
    placed: &Placed<Task>,
    services: &[Placed<Service>],
    before: &[&Placed<Task>],
    problems: &mut Diagnostics,
) -> bool {
    let task = &placed.document;
    let of_service = services.iter().map(|service| (&service.document.name, "service"));
    let of_task = before
        .iter()
        // Two of one type are told by whoever reads the project.
        .filter(|other| other.reference.document_type != placed.reference.document_type)
        .map(|other| (&other.document.name, what(other)));
    let same = of_service
        .chain(of_task)
        .find(|(name, _)| name.value == task.name.value);
    if let Some((other, kind)) = same {
        problems.push(
            Diagnostic::error("duplicate-name", "duplicate name")
                .detail(format!(
                    "A {kind} and a {} are both named `{}`, and their programs could not be told apart.",
                    what(placed),
                    task.name.value
                ))
                .at(task.name.span.clone())
                .related(other.span.clone(), format!("the {kind}"))
                .hint("give one of them another name"),
        );
    }
    same.is_none()
}

/// Returns the path of a node's unit: `train/default/0`, and with the rank after it where there are several.
fn path(task: &Task, group: &str, count: u32, rank: u32) -> String {
    let name = &task.name.value;
    match count {
        1 => format!("{name}/{group}/0"),
        _ => format!("{name}/{group}/0/{rank}"),
    }
}

/// Nodes of a task that are alike.
struct Nodes<'a> {
    group: &'a str,
    count: u32,
    commands: &'a [Spanned<Text>],
    resources: &'a Resources,
    ports: &'a [PortMapping],
}

fn nodes(task: &Task) -> Vec<Nodes<'_>> {
    match &task.groups {
        Some(groups) => groups
            .value
            .0
            .iter()
            .map(|group| Nodes {
                group: group.value.name(),
                count: group.value.nodes.0,
                commands: &group.value.commands,
                resources: &group.value.resources,
                ports: &group.value.ports,
            })
            .collect(),
        None => vec![Nodes {
            group: DEFAULT_GROUP,
            count: task.nodes.as_ref().map_or(1, |nodes| nodes.value.0),
            commands: &task.commands,
            resources: &task.run.resources,
            ports: &task.ports,
        }],
    }
}

fn node_count(task: &Task) -> u64 {
    nodes(task).iter().map(|nodes| u64::from(nodes.count)).sum()
}

/// Reports keys that a backend cannot carry out for a task.
fn check_keys(placed: &Placed<Task>, backend: Usable, problems: &mut Diagnostics) {
    let task = &placed.document;
    let in_container = task.run.image.is_some();
    run_keys::check::<Task>(&placed.node, &write_map(task), backend, in_container, problems);
    let count = node_count(task);
    if backend != Usable::Local && count > 1 {
        problems.push(unsupported(
            &nodes_span(placed),
            format!(
                "The {count} nodes of a task live and die together, and this build sees to that on one machine only, with backend `{LOCAL}`."
            ),
            "ask for one node, or write `backends: [local]`",
        ));
    }
}

/// Returns the place of the number of nodes.
fn nodes_span(placed: &Placed<Task>) -> Span {
    let task = &placed.document;
    let key = if task.groups.is_some() { "groups" } else { "nodes" };
    let place = placed.node.entry(key).map(|(key, _)| key.span.clone());
    place.unwrap_or_else(|| task.name.span.clone())
}

/// Reports what the local backend cannot do for a task.
fn check_on_local(
    placed: &Placed<Task>,
    context: &Context,
    recorded: &dyn RecordedView,
    problems: &mut Diagnostics,
) {
    let task = &placed.document;
    let image = task.run.image.as_ref();
    if let Some(image) = image {
        container::check_local(image, context.local_runtime.as_ref(), problems);
    }
    let groups = placed.node.get("groups").and_then(|node| node.as_list());
    let written = match &task.groups {
        Some(_) => groups.unwrap_or_default(),
        None => std::slice::from_ref(&placed.node),
    };
    for (nodes, node) in nodes(task).iter().zip(written) {
        let need = Need {
            node,
            resources: nodes.resources,
            what: what(placed),
            units: &format!("{}/{}/", task.name.value, nodes.group),
        };
        local::check(need, context, recorded, problems);
    }
    let of_ports = std::iter::once(&placed.node).chain(groups.unwrap_or_default());
    let written: Vec<_> = of_ports.filter_map(|node| node.entry("ports")).collect();
    let mapped = nodes(task)
        .iter()
        .flat_map(|nodes| nodes.ports)
        .find(|port| image.is_none() && port.local.is_some_and(|local| local != port.container));
    if let (Some(port), Some((_, node))) = (mapped, written.first()) {
        problems.push(unsupported(
            &node.span,
            format!(
                "`{port}` forwards one port to another; on backend `{LOCAL}` a program listens on this machine's ports itself."
            ),
            &format!("write `{}`, and use that port", port.container.0),
        ));
    }
    let count = node_count(task);
    if count > u64::from(MOST_NODES) {
        problems.push(unsupported(
            &nodes_span(placed),
            format!("{count} nodes would be as many processes of one machine; backend `{LOCAL}` runs up to {MOST_NODES}."),
            "ask for fewer nodes",
        ));
    }
    if let Some(image) = image.filter(|_| count > 1) {
        problems.push(unsupported(
            &image.span,
            format!("The {count} nodes of a task find each other at one address, and containers have each their own network."),
            "remove `image`, or ask for one node",
        ));
    }
    if count > 1
        && program::retry_duration(&task.profile).is_some()
        && let Some((key, _)) = placed.node.entry("retry")
    {
        problems.push(unsupported(
            &key.span,
            format!(
                "The {count} nodes of a task live and die together, and backend `{LOCAL}` can start again one program, not a run of several."
            ),
            "remove `retry`; `gabion apply --replace ADDRESS` runs a node again",
        ));
    }
}

/// A task whose units are put together.
struct Run<'a> {
    placed: &'a Placed<Task>,
    /// The machine of a fleet that it is on; `None` means the one that runs gabion.
    machine: Option<&'a Machine>,
    files: Files,
    /// How many nodes it has.
    count: u32,
    context: &'a Context,
}

impl Run<'_> {
    fn add(&self, lowered: &mut Lowered) {
        let task = &self.placed.document;
        if let Some(image) = task.run.image.as_ref().filter(|_| self.machine.is_none()) {
            container::note_absent(image, self.context, lowered);
        }
        let mut addresses: Vec<ResourceAddress> = Vec::new();
        let mut units: Vec<ResourceBuilder> = Vec::new();
        for nodes in nodes(task) {
            for position in 0..nodes.count {
                let rank = u32::try_from(units.len()).unwrap_or(u32::MAX);
                let unit = address("host_unit", &path(task, nodes.group, self.count, rank));
                addresses.push(unit.clone());
                let ports = if position == 0 { nodes.ports } else { &[] };
                units.push(self.node(&nodes, unit, rank, ports));
            }
        }
        let place = task.name.span.place();
        let order = task.profile.startup_order;
        for (rank, mut unit) in units.into_iter().enumerate() {
            let before = match (order, rank) {
                (StartupOrder::MasterFirst, 1..) => &addresses[..1],
                (StartupOrder::WorkersFirst, 0) => &addresses[1..],
                _ => &[],
            };
            for other in before {
                unit = unit.depends_on(other.clone(), place.clone());
            }
            lowered.resources.push(unit.build());
        }
    }

    fn node(
        &self,
        nodes: &Nodes<'_>,
        unit: ResourceAddress,
        rank: u32,
        ports: &[PortMapping],
    ) -> ResourceBuilder {
        let (placed, count) = (self.placed, self.count);
        let task = &placed.document;
        let mut builder = ResourceBuilder::new(unit, &placed.reference);
        if let Some(machine) = self.machine {
            builder = machine.carry(builder, &placed.reference.place);
        }
        let (mut builder, directory) = if self.machine.is_none() && task.run.image.is_none() {
            program::place(&task.run, &placed.node, &self.files, self.context, builder)
        } else {
            let own = task.run.working_dir.as_ref();
            (
                files::place(&task.run, &placed.node, &self.files, builder),
                own.map_or_else(|| files::DIRECTORY.to_owned(), |own| own.value.clone()),
            )
        };
        let accelerators = self
            .machine
            .filter(|_| nodes.resources.gpu.value.is_needed())
            .and_then(|machine| machine.facts.as_ref())
            .map_or(0, |facts| u32::try_from(facts.gpus.len()).unwrap_or(u32::MAX));
        let number = |number: u32| Value::from(number.to_string());
        let addresses = vec![LOOPBACK; usize::try_from(count).unwrap_or(usize::MAX)].join("\n");
        let mut env: Attributes = [
            ("DSTACK_RUN_NAME", Value::from(task.name.value.as_str())),
            ("DSTACK_WORKING_DIR", Value::from(directory.as_str())),
            ("DSTACK_NODE_RANK", number(rank)),
            ("DSTACK_NODES_NUM", number(count)),
            ("DSTACK_NODES_IPS", Value::from(addresses.as_str())),
            ("DSTACK_MASTER_NODE_IP", LOOPBACK.into()),
            // The local backend offers no accelerators, and on machines of fleets a task has one node.
            ("DSTACK_GPUS_PER_NODE", number(accelerators)),
            ("DSTACK_GPUS_NUM", number(accelerators)),
        ]
        .into_iter()
        .map(|(name, value)| (Arc::from(name), value))
        .collect();
        if count > 1 {
            let file = format!("{{unit.dir}}/files/{MPI_HOSTFILE}");
            env.insert("DSTACK_MPI_HOSTFILE".into(), Value::from(file));
            let mut files = self.files.clone();
            files.insert(MPI_HOSTFILE.to_owned(), format!("{addresses}\n"));
            builder = builder.input("files", files::value(&files)).input(
                "node",
                Value::map([
                    ("run", Value::from(task.name.value.as_str())),
                    ("rank", Value::Int(i64::from(rank))),
                    (
                        "ends_with_master",
                        (task.profile.stop_criteria == StopCriteria::MasterDone).into(),
                    ),
                ]),
            );
        }
        for (name, (value, span)) in &task.run.env.0 {
            let value = match value {
                EnvValue::Passthrough => Value::template(format!("${{{{ env.{name} }}}}")),
                EnvValue::Text(value) => text(value),
            };
            env.insert(name.as_str().into(), value);
            builder = builder.at_path(AttributePath::root("env").key(name), span);
        }
        if let Some(first) = nodes.commands.first() {
            builder = builder.at("argv", &first.span);
        }
        if !ports.is_empty() {
            let in_container = task.run.image.is_some();
            let claimed: BTreeMap<String, Value> = ports
                .iter()
                .map(|port| {
                    let claim = match port.local {
                        // `gabion attach` forwards from wherever it is run to the container itself.
                        _ if in_container && self.machine.is_some() => ("range", Value::from(PORT_RANGE)),
                        Some(local) if in_container => ("port", Value::Int(i64::from(local.0))),
                        // A process listens on the machine's own port.
                        _ => ("port", Value::Int(i64::from(port.container.0))),
                    };
                    (port.container.0.to_string(), Value::map([claim]))
                })
                .collect();
            builder = builder.input("ports", Value::map(claimed));
            if let Some((key, _)) = placed.node.entry("ports") {
                builder = builder.at("ports", &key.span);
            }
        }
        let commands = program::commands(nodes.commands, |_, _| LOOPBACK.to_owned());
        let argv = match &task.run.image {
            None => Some(program::argv(&task.run, commands)),
            Some(image) => {
                let wish = Wish {
                    image,
                    privileged: task.run.privileged,
                    resources: nodes.resources,
                    run: &task.run,
                    takes_gpus: self.machine.is_some(),
                    shares_network: false,
                };
                let own = ports
                    .iter()
                    .map(|port| (port.container.0.to_string(), port.container.0));
                builder = container::equip(builder, wish, own);
                container::argv(&task.run, commands)
            }
        };
        if let Some(argv) = argv {
            builder = builder.input("argv", argv);
        }
        builder
            .delete_first()
            .input("machine", self.machine.map_or(LOCAL, |machine| &machine.name))
            .input("role", &*placed.reference.document_type)
            .input("env", Value::Map(env))
            .input("completes", true)
            .inputs(program::supervision(&task.profile))
            .input("stop_timeout", seconds(program::stop_duration(&task.profile)))
    }
}
