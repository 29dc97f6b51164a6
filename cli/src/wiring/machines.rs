//! Programs on machines: the providers that run them, and what `ps` and `logs` want to know about them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gabion_engine::address::ResourceAddress;
use gabion_engine::provider::ProviderRegistry;
use gabion_engine::state::State;
use gabion_engine::state::record::Record;
use gabion_host::transport::Machines;
use gabion_host::unit::{self, Exit, UnitDirectory};
use gabion_host::{AgentBuilds, ContainerConfig, HOST_UNIT};
use gabion_machines::agent::{self, AgentSettings};
use gabion_machines::protocol::{Directories, UnitView};
use gabion_machines::{SSH_HOST, Spread, SshProvider, units};

use super::remote;
use crate::failure::Failure;
use crate::options::{Environment, Options};

/// The user's variables that programs get below their own: what a program needs to start, and never a secret.
const BASE_VARIABLES: [&str; 11] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "XDG_CACHE_HOME",
];

/// Adds the providers of what runs on machines.
pub(super) fn register(
    registry: &mut ProviderRegistry,
    options: &Options,
    project: &str,
    state: &State,
) -> Result<(), Failure> {
    remote::declare_recorded(options, state);
    let settings = AgentSettings {
        directories: Directories {
            root: units_root(options, state),
            ports: options.dirs.state.join("ports.json"),
            cache: options.dirs.cache.clone(),
        },
        shim: shim()?,
        base_env: base_environment(&options.environment),
        containers: containers(options),
        systemd: gabion_host::SystemdConfig::default(),
        builds: agent_builds(options, state),
        python: options
            .environment
            .set("GABION_PYTHON")
            .unwrap_or("python3")
            .to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let here = agent::providers(&settings, project, Machines::local());
    for provider in here.providers() {
        registry.register(Arc::new(Spread::new(
            Arc::clone(provider),
            options.machines.clone(),
        )));
    }
    registry.register(Arc::new(SshProvider::new(options.machines.clone())));
    Ok(())
}

/// Returns what the project's agents are to run: this gabion here, the agent's program elsewhere. Programs are only read when
/// there is an agent that may run another one.
fn agent_builds(options: &Options, state: &State) -> AgentBuilds {
    let agents = || {
        let records = state.current_records().filter(|record| is_unit(record));
        records.filter(|record| record.attributes.contains_key("agent_digest"))
    };
    let here = agents().any(|record| machine_of(record) == Machines::LOCAL);
    let elsewhere = agents().any(|record| machine_of(record) != Machines::LOCAL);
    // What cannot be read is told by whoever needs it; agents go on with what they run.
    let digest = |path: PathBuf| unit::program_digest(&path).ok();
    AgentBuilds {
        here: here
            .then(|| own_program().ok().map(PathBuf::from).and_then(digest))
            .flatten(),
        elsewhere: elsewhere
            .then(|| options.machines.program_path().and_then(digest))
            .flatten(),
    }
}

/// Returns where the units of a project are.
///
/// The records know: whoever runs gabion with another `HOME` (`sudo`, a scheduled job) must find them, not miss them all.
pub(crate) fn units_root(options: &Options, state: &State) -> PathBuf {
    let recorded = state
        .current_records()
        .chain(state.deposed_records())
        .filter(|record| is_unit(record) && machine_of(record) == Machines::LOCAL)
        .find_map(|record| {
            let root = Path::new(recorded_directory(record)?).parent()?.parent()?;
            root.is_absolute().then(|| root.to_owned())
        });
    recorded.unwrap_or_else(|| data_root(options))
}

/// Returns where the units of all projects of the user are.
pub(super) fn data_root(options: &Options) -> PathBuf {
    options.dirs.data.clone()
}

fn base_environment(environment: &Environment) -> BTreeMap<String, String> {
    BASE_VARIABLES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), environment.get(name)?.to_owned())))
        .collect()
}

/// Returns where containers of this machine come from.
pub(super) fn containers(options: &Options) -> ContainerConfig {
    let environment = &options.environment;
    ContainerConfig {
        sockets: ContainerConfig::sockets(environment.set("DOCKER_HOST"), environment.set("XDG_RUNTIME_DIR")),
        agent: options.machines.program_path(),
    }
}

/// Returns the command that becomes a unit's program.
pub(super) fn shim() -> Result<Vec<String>, Failure> {
    Ok(vec![own_program()?, "agent".into(), "unit-exec".into()])
}

/// Returns the path of this program.
fn own_program() -> Result<String, Failure> {
    let unknown = |why: String| Failure::new("cannot find gabion's own program").detail(why);
    std::env::current_exe()
        .map_err(|error| unknown(format!("{error}.")))?
        .into_os_string()
        .into_string()
        .map_err(|path| unknown(format!("Its path is no text: {}.", PathBuf::from(path).display())))
}

/// What a program on a machine is doing.
pub(crate) struct UnitReport {
    /// What it is for: `replica`, `router`, `agent`.
    pub(crate) role: String,
    /// The machine.
    pub(crate) machine: String,
    /// `running`, `exited`, `never started`, `gone` and the like.
    pub(crate) status: String,
    /// The status in one word, for programs.
    pub(crate) state: String,
    /// Whether it runs.
    pub(crate) running: bool,
    /// Whether it is as it should be: it runs, or it was meant to end and did.
    pub(crate) good: bool,
    /// How it ended, if it did and that is known.
    pub(crate) exit: Option<Exit>,
    /// When it ended, if it did and that is known.
    pub(crate) ended_at: Option<String>,
    /// Its process.
    pub(crate) pid: Option<i32>,
    /// How long it has run.
    pub(crate) uptime: Option<Duration>,
    /// Its ports.
    pub(crate) ports: Vec<i64>,
    /// How often it was started again; `None` when nobody can tell.
    pub(crate) restarts: Option<u32>,
    /// What runs it: `process`, `docker` or `systemd`.
    pub(crate) runtime: String,
    /// Accelerators that it can use, in words; `None` for none.
    pub(crate) gpu: Option<String>,
    /// Where it serves, seen from its machine.
    pub(crate) url: Option<String>,
    /// Why its machine could not be asked.
    pub(crate) unreachable: Option<String>,
}

/// Returns whether a record is of a program.
pub(crate) fn is_unit(record: &Record) -> bool {
    record.address.resource_type.as_str() == HOST_UNIT
}

/// Returns the machine that a program is on.
pub(super) fn machine_of(record: &Record) -> &str {
    let machine = record.inputs.get("machine").and_then(|machine| machine.as_str());
    machine.unwrap_or(Machines::LOCAL)
}

/// Returns the name of a unit's directory.
pub(super) fn unit_name(record: &Record) -> String {
    match &record.id {
        Some(id) => id.to_string(),
        None => record.uid.to_string(),
    }
}

/// Returns what the programs behind records are doing, in the order of the records; each machine is asked once.
pub(crate) async fn unit_reports(
    options: &Options,
    state: &State,
    records: &[&Record],
    root: &Path,
) -> Vec<UnitReport> {
    let mut here: Vec<(usize, UnitDirectory)> = Vec::new();
    let mut elsewhere: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut views: BTreeMap<usize, UnitView> = BTreeMap::new();
    for (position, record) in records.iter().enumerate() {
        match machine_of(record) {
            Machines::LOCAL => {
                here.extend(unit_directory(record, root).map(|directory| (position, directory)));
            }
            machine => elsewhere.entry(machine).or_default().push(position),
        }
    }
    let asked = elsewhere.into_iter().map(|(machine, positions)| async move {
        let names = positions
            .iter()
            .map(|position| unit_name(records[*position]))
            .collect();
        let answer = options.machines.units(machine, names).await;
        (positions, answer)
    });
    let (positions, directories): (Vec<usize>, Vec<UnitDirectory>) = here.into_iter().unzip();
    let (here, there) = tokio::join!(units::views(directories), join_all(asked));
    views.extend(positions.into_iter().zip(here));
    for (positions, answer) in there {
        match answer {
            Ok(found) => views.extend(positions.into_iter().zip(found)),
            Err(error) => views.extend(
                positions
                    .into_iter()
                    .map(|position| (position, UnitView::unreachable(error.message.clone()))),
            ),
        }
    }
    records
        .iter()
        .enumerate()
        .map(|(position, record)| report(state, record, views.remove(&position)))
        .collect()
}

fn report(state: &State, record: &Record, view: Option<UnitView>) -> UnitReport {
    let text = |name: &str| {
        let value = record.attributes.get(name).or_else(|| record.inputs.get(name));
        value.and_then(|value| value.as_str()).map(str::to_owned)
    };
    let view = view.unwrap_or_else(UnitView::gone);
    let ports = record.attributes.get("port").and_then(|ports| ports.as_map());
    UnitReport {
        role: text("role").unwrap_or_else(|| "program".into()),
        machine: machine_of(record).to_owned(),
        status: view.status,
        state: view.state,
        running: view.running,
        good: view.good,
        exit: view.exit,
        ended_at: view.ended_at,
        pid: view.pid,
        uptime: view.uptime_seconds.map(Duration::from_secs),
        ports: ports
            .into_iter()
            .flat_map(|ports| ports.values())
            .filter_map(|port| port.as_int())
            .collect(),
        restarts: view.restarts,
        runtime: text("runtime").unwrap_or_else(|| "process".into()),
        gpu: accelerators(state, record),
        url: text("url"),
        unreachable: view.unreachable,
    }
}

/// Words the accelerators that a program can use: those that its container was given, or all of a machine's where a replica
/// or a run is a process.
fn accelerators(state: &State, record: &Record) -> Option<String> {
    let host = ResourceAddress::of(SSH_HOST, machine_of(record)).ok()?;
    let of_machine = state
        .current(&host)
        .and_then(|host| host.attributes.get("gpus")?.as_list());
    let name = of_machine
        .and_then(|gpus| gpus.first()?.as_map()?.get("name")?.as_str())
        .unwrap_or("GPU");
    let all = of_machine.map(<[_]>::len);
    let given = match record
        .inputs
        .get("container")
        .and_then(|container| container.as_map())
    {
        Some(container) => container.get("gpus")?.as_str()?.to_owned(),
        None => {
            let role = record.inputs.get("role").and_then(|role| role.as_str());
            let uses = matches!(role, Some("replica" | "task" | "dev-environment"));
            all.filter(|count| uses && *count > 0).map(|_| "all".to_owned())?
        }
    };
    Some(match (given.as_str(), all) {
        ("all", Some(count)) => format!("{count}x {name}"),
        ("all", None) => format!("all {name}s"),
        (count, _) => format!("{count}x {name}"),
    })
}

/// Returns the directory of a unit of this machine; of one that was never finished, by its name below `root`.
pub(super) fn unit_directory(record: &Record, root: &Path) -> Option<UnitDirectory> {
    if let Some(path) = recorded_directory(record) {
        return Some(UnitDirectory::at(path));
    }
    UnitDirectory::new(root, &unit_name(record)).ok()
}

fn recorded_directory(record: &Record) -> Option<&str> {
    record.attributes.get("unit_dir")?.as_str()
}

/// Returns the directory of a unit of the user by its uid.
pub(super) fn unit_by_uid(data_root: &Path, uid: &str) -> Result<UnitDirectory, Failure> {
    let wrong = |why: String| {
        Failure::new("no such unit")
            .detail(why)
            .hint("list them: gabion ps")
    };
    let directory = UnitDirectory::new(data_root, uid).map_err(|error| wrong(format!("{error}.")))?;
    if directory.exists() {
        Ok(directory)
    } else {
        Err(wrong(format!(
            "There is no unit at {}.",
            directory.path().display()
        )))
    }
}
