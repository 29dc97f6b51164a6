//! Programs on machines: the providers that run them, and what `ps` and `logs` want to know about them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gabion_agent::access::Agents;
use gabion_engine::provider::ProviderRegistry;
use gabion_engine::state::State;
use gabion_engine::state::record::Record;
use gabion_gateway::{GatewayConfig, GatewayProvider};
use gabion_host::package::{Ecosystem, PackageSpec, PackageStore};
use gabion_host::ports::PortRegistry;
use gabion_host::transport::Machines;
use gabion_host::unit::{self, Exit, LogFollower, LogPosition, Standing, UnitDirectory, UnitError};
use gabion_host::{HOST_UNIT, HostConfig, HostProvider};
use gabion_router::RouterProvider;
use gabion_router::packages::Package;

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
    let data_root = units_root(options, state);
    let machines = Machines::local();
    let agents = Agents::new(machines.clone(), &data_root);
    let ports = PortRegistry::new(options.dirs.state.join("ports.json"));
    let gateway = GatewayConfig {
        data_root: data_root.clone(),
        ports: ports.clone(),
        machines: machines.clone(),
        project: project.to_owned(),
    };
    let config = HostConfig {
        data_root,
        package_store: PackageStore {
            cache_root: options.dirs.cache.clone(),
            python: options
                .environment
                .set("GABION_PYTHON")
                .unwrap_or("python3")
                .to_owned(),
            timeout: Duration::from_secs(600),
        },
        packages: packages(),
        ports,
        shim: shim()?,
        base_env: base_environment(&options.environment),
        machines,
        project: project.to_owned(),
    };
    registry.register(Arc::new(HostProvider::new(config)));
    registry.register(Arc::new(RouterProvider::new(agents)));
    registry.register(Arc::new(GatewayProvider::new(gateway)));
    Ok(())
}

/// Returns where the units of a project are.
///
/// The records know: whoever runs gabion with another `HOME` (`sudo`, a scheduled job) must find them, not miss them all.
pub(crate) fn units_root(options: &Options, state: &State) -> PathBuf {
    let recorded = state
        .current_records()
        .chain(state.deposed_records())
        .filter(|record| record.address.resource_type.as_str() == HOST_UNIT)
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

fn packages() -> BTreeMap<String, PackageSpec> {
    Package::ALL
        .into_iter()
        .map(|package| {
            let spec = PackageSpec {
                ecosystem: Ecosystem::Pypi,
                name: package.name().to_owned(),
                version: package.version().to_owned(),
                requirements: package.lock().to_owned(),
            };
            (package.pin(), spec)
        })
        .collect()
}

fn base_environment(environment: &Environment) -> BTreeMap<String, String> {
    BASE_VARIABLES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), environment.get(name)?.to_owned())))
        .collect()
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
    pub(crate) state: &'static str,
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
    /// Where it serves.
    pub(crate) url: Option<String>,
}

/// Returns what the program behind a record is doing; `None` when the record is of no program.
pub(crate) fn unit_report(record: &Record, root: &Path) -> Option<UnitReport> {
    let directory = unit_directory(record, root)?;
    let text = |name: &str| {
        let value = record.attributes.get(name).or_else(|| record.inputs.get(name));
        value.and_then(|value| value.as_str()).map(str::to_owned)
    };
    let standing = unit::standing(&directory);
    let running = matches!(standing, Ok(Standing::Running { .. } | Standing::Retrying { .. }));
    let mark = directory.mark().ok().flatten().filter(|_| running);
    let (status, state) = match &standing {
        Err(UnitError::NotFound { .. }) => ("gone".to_owned(), "gone"),
        Err(error) => (format!("unreadable: {error}"), "unreadable"),
        Ok(standing) => (standing.to_string(), standing.word()),
    };
    let standing = standing.ok();
    let ports = record.attributes.get("port").and_then(|ports| ports.as_map());
    Some(UnitReport {
        role: text("role").unwrap_or_else(|| "program".into()),
        machine: text("machine").unwrap_or_else(|| "local".into()),
        status,
        state,
        running,
        good: standing.as_ref().is_some_and(Standing::is_good),
        exit: standing.as_ref().and_then(Standing::exit),
        ended_at: standing
            .as_ref()
            .and_then(Standing::ended_at)
            .map(|at| format!("{at:.0}")),
        pid: mark.as_ref().map(|mark| mark.process.pid),
        uptime: mark.and_then(|mark| uptime(mark.process.start_time)),
        ports: ports
            .into_iter()
            .flat_map(|ports| ports.values())
            .filter_map(|port| port.as_int())
            .collect(),
        url: text("url"),
    })
}

/// Returns the directory of a unit; of one that was never finished, by its name below `root`.
fn unit_directory(record: &Record, root: &Path) -> Option<UnitDirectory> {
    if record.address.resource_type.as_str() != HOST_UNIT {
        return None;
    }
    if let Some(path) = recorded_directory(record) {
        return Some(UnitDirectory::at(path));
    }
    let name = match &record.id {
        Some(id) => id.to_string(),
        None => record.uid.to_string(),
    };
    UnitDirectory::new(root, &name).ok()
}

fn recorded_directory(record: &Record) -> Option<&str> {
    record.attributes.get("unit_dir")?.as_str()
}

/// Returns how long ago a process started, by the kernel's clocks.
fn uptime(start_ticks: u64) -> Option<Duration> {
    let ticks_per_second =
        u64::try_from(nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??).ok()?;
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let up: f64 = text.split_whitespace().next()?.parse().ok()?;
    let started = start_ticks as f64 / ticks_per_second as f64;
    Duration::try_from_secs_f64((up - started).max(0.0)).ok()
}

/// The log of one program.
pub(crate) struct LogPart {
    directory: UnitDirectory,
}

/// Returns the last lines of a program's log; `None` when the record is of no program.
pub(crate) fn log_tail(
    record: &Record,
    root: &Path,
    lines: usize,
) -> Option<(LogPart, std::io::Result<String>)> {
    const MOST: u64 = 16 << 20;
    let directory = unit_directory(record, root)?;
    let text = unit::tail(&directory, lines, MOST);
    Some((LogPart { directory }, text))
}

/// Follows a log from its present end.
pub(crate) fn follow_log(part: &LogPart) -> LogFollower {
    unit::follow(&part.directory, LogPosition::End)
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
