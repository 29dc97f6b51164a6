//! A task on the local backend: one unit for each node, which runs to its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{Lowered, Purpose, RecordedView, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use gabion_engine::value::{AttributePath, Attributes, Value};

use super::backend::{self, LOCAL, Usable};
use super::builder::{ResourceBuilder, address};
use super::check;
use super::container::{self, Wish};
use super::files::{self, Files};
use super::local::{self, Need};
use super::program::{self, LOOPBACK, seconds, text};
use super::project::{Context, Placed};
use super::run_keys::{self, unsupported};
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

/// The tasks of a project, and what they are beside.
#[derive(Clone, Copy)]
pub(crate) struct RunningTasks<'a> {
    /// The tasks.
    pub(crate) tasks: &'a [Placed<Task>],
    /// The services.
    pub(crate) services: &'a [Placed<Service>],
    /// What is recorded.
    pub(crate) recorded: &'a dyn RecordedView,
}

/// Adds the units of a project's tasks.
pub(crate) fn lower(
    running: RunningTasks<'_>,
    context: &Context,
    lowered: &mut Lowered,
    problems: &mut Diagnostics,
) {
    let RunningTasks {
        tasks,
        services,
        recorded,
    } = running;
    for placed in tasks {
        let task = &placed.document;
        let mut good = name_is_free(task, services, problems);
        for nodes in nodes(task) {
            check::commands(nodes.commands, problems);
        }
        good &= backend::of_task(&task.profile, &placed.type_span, context, problems);
        let mut cannot = Diagnostics::new();
        check_on_local(placed, context, recorded, &mut cannot);
        let directory = &context.project_directory;
        match task.run.image {
            Some(_) => container::check_run(&task.run, &placed.node, directory, &mut cannot),
            None => run_keys::check_places(&task.run, &placed.node, directory, &mut cannot),
        }
        let files = files::read(&task.run, &placed.node, context, &mut cannot);
        // A task for another backend is well formed, and this one makes nothing of it.
        good &= !cannot.has_errors();
        if context.purpose == Purpose::Plan {
            problems.extend(cannot);
        }
        if good {
            let count = u32::try_from(node_count(task)).unwrap_or(MOST_NODES);
            let run = Run {
                placed,
                files,
                count,
                context,
            };
            run.add(lowered);
        }
    }
}

/// Runs are told apart by name, whatever their type is.
fn name_is_free(task: &Task, services: &[Placed<Service>], problems: &mut Diagnostics) -> bool {
    let same = services
        .iter()
        .map(|service| &service.document.name)
        .find(|name| name.value == task.name.value);
    if let Some(other) = same {
        problems.push(
            Diagnostic::error("duplicate-name", "duplicate name")
                .detail(format!(
                    "A service and a task are both named `{}`, and their programs could not be told apart.",
                    task.name.value
                ))
                .at(task.name.span.clone())
                .related(other.span.clone(), "the service")
                .hint("give one of them another name"),
        );
    }
    same.is_none()
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

/// Reports what the local backend cannot do for a task.
fn check_on_local(
    placed: &Placed<Task>,
    context: &Context,
    recorded: &dyn RecordedView,
    problems: &mut Diagnostics,
) {
    let task = &placed.document;
    let image = task.run.image.as_ref();
    run_keys::check::<Task>(
        &placed.node,
        &write_map(task),
        Usable::Local,
        image.is_some(),
        problems,
    );
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
            what: "task",
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
        let key = if task.groups.is_some() { "groups" } else { "nodes" };
        let place = placed.node.entry(key).map(|(key, _)| key.span.clone());
        problems.push(unsupported(
            &place.unwrap_or_else(|| task.name.span.clone()),
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
    files: Files,
    /// How many nodes it has.
    count: u32,
    context: &'a Context,
}

impl Run<'_> {
    fn add(&self, lowered: &mut Lowered) {
        let task = &self.placed.document;
        if let Some(image) = &task.run.image {
            container::note_absent(image, self.context, lowered);
        }
        let name = task.name.value.as_str();
        let mut addresses: Vec<ResourceAddress> = Vec::new();
        let mut units: Vec<ResourceBuilder> = Vec::new();
        for nodes in nodes(task) {
            for position in 0..nodes.count {
                let rank = u32::try_from(units.len()).unwrap_or(u32::MAX);
                let path = match self.count {
                    1 => format!("{name}/{}/0", nodes.group),
                    _ => format!("{name}/{}/0/{rank}", nodes.group),
                };
                let unit = address("host_unit", &path);
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
        let builder = ResourceBuilder::new(unit, &placed.reference);
        let (mut builder, directory) = match task.run.image {
            None => program::place(&task.run, &placed.node, &self.files, self.context, builder),
            Some(_) => {
                let directory = task
                    .run
                    .working_dir
                    .as_ref()
                    .map(|directory| directory.value.clone());
                (
                    container::place(&task.run, &placed.node, &self.files, builder),
                    directory.unwrap_or_else(|| files::DIRECTORY.to_owned()),
                )
            }
        };
        let number = |number: u32| Value::from(number.to_string());
        let addresses = vec![LOOPBACK; usize::try_from(count).unwrap_or(usize::MAX)].join("\n");
        let mut env: Attributes = [
            ("DSTACK_RUN_NAME", Value::from(task.name.value.as_str())),
            ("DSTACK_WORKING_DIR", Value::from(directory.as_str())),
            ("DSTACK_NODE_RANK", number(rank)),
            ("DSTACK_NODES_NUM", number(count)),
            ("DSTACK_NODES_IPS", Value::from(addresses.as_str())),
            ("DSTACK_MASTER_NODE_IP", LOOPBACK.into()),
            // The local backend offers no accelerators.
            ("DSTACK_GPUS_PER_NODE", number(0)),
            ("DSTACK_GPUS_NUM", number(0)),
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
            let claimed: BTreeMap<String, Value> = ports
                .iter()
                .map(|port| {
                    // A process listens on the machine's own port.
                    let outside = port
                        .local
                        .filter(|_| task.run.image.is_some())
                        .unwrap_or(port.container);
                    (
                        port.container.0.to_string(),
                        Value::map([("port", Value::Int(i64::from(outside.0)))]),
                    )
                })
                .collect();
            builder = builder.input("ports", Value::map(claimed));
            if let Some((key, _)) = placed.node.entry("ports") {
                builder = builder.at("ports", &key.span);
            }
        }
        let commands = program::commands(nodes.commands);
        let argv = match &task.run.image {
            None => Some(program::argv(&task.run, commands)),
            Some(image) => {
                let wish = Wish {
                    image,
                    privileged: task.run.privileged,
                    resources: nodes.resources,
                    run: &task.run,
                    takes_gpus: false,
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
            .input("machine", LOCAL)
            .input("role", "task")
            .input("env", Value::Map(env))
            .input("completes", true)
            .inputs(program::supervision(&task.profile))
            .input("stop_timeout", seconds(program::stop_duration(&task.profile)))
    }
}
