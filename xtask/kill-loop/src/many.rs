//! What many hosts cost: a project with a program on each of hundreds, planned, refreshed and looked at for drift.
//!
//! The hosts are loopback addresses of a few SSH servers, each with a directory of its own; the agent's program is on them
//! already, as it is after the first contact. Figures are of the whole command: gabion and the `ssh` processes that it
//! starts. What the hosts do is done by the same processors, so it is kept to what every host does: their user has an empty
//! home directory, and its shell reads nothing of whoever measures.

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gabion_testing::sshd::{MOST_ADDRESSES, Sshd};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::Failure;
use crate::fleet::{Cleaner, MARK};
use crate::project::{Programs, Project, processes};
use crate::run::Run;
use crate::store::StoreKind;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How long sessions may take to end after their command.
const SESSIONS: Duration = Duration::from_secs(2);

/// The kernel's clock ticks in a second, as it counts processor time for programs.
const TICKS: f64 = 100.0;

/// Servers, each with the addresses that are its hosts.
type Servers = [(Sshd, Vec<Ipv4Addr>)];

/// What is measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The programs.
    pub programs: Programs,
    /// The agent's program.
    pub agent: PathBuf,
    /// How many hosts.
    pub hosts: usize,
}

/// What one command cost.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cost {
    /// The command.
    pub command: String,
    /// Seconds on the clock on the wall.
    pub seconds: f64,
    /// Seconds of processor time, those of `ssh` included and those of the hosts not.
    pub cpu_seconds: f64,
    /// Seconds of processor time of the hosts: what their SSH servers, shells and agents took of the same processors.
    pub host_cpu_seconds: f64,
    /// How often it logged in at a host.
    pub logins: usize,
    /// The most `ssh` processes at a time that were seen.
    pub most_connections: usize,
    /// The most memory that was seen in use at a time, in MiB, by gabion and its `ssh` processes; what several share counts
    /// once.
    pub peak_mib: f64,
    /// The same of gabion alone.
    pub gabion_peak_mib: f64,
}

/// What was measured.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ManyFigures {
    /// How many hosts there were.
    pub hosts: usize,
    /// Whether they could be started at all.
    pub skipped: bool,
    /// Each command.
    pub costs: Vec<Cost>,
}

/// Measures.
///
/// # Errors
/// When a command does not do what it should.
pub fn run(plan: &Plan, tell: &dyn Fn(&str)) -> Result<ManyFigures, Failure> {
    let mut figures = ManyFigures {
        hosts: plan.hosts,
        ..ManyFigures::default()
    };
    if Sshd::program().is_none() {
        tell("skipped: there is no sshd on this machine");
        figures.skipped = true;
        return Ok(figures);
    }
    let addresses = addresses(plan.hosts)?;
    let home = tempfile::tempdir().map_err(|error| error.to_string())?;
    let home = home.path().display().to_string();
    let mut servers = Vec::new();
    for part in addresses.chunks(MOST_ADDRESSES) {
        let server = Sshd::start_at(part, &[("HOME", &home)]).map_err(|error| error.to_string())?;
        for address in part {
            place(&plan.agent, &server.gabion_root_at(*address))?;
        }
        servers.push((server, part.to_vec()));
    }
    let mut project = Project::new(&plan.programs, StoreKind::Sqlite, 1)?;
    project.set("GABION_AGENT", &plan.agent.display().to_string());
    let _cleaner = Cleaner(project.name());
    project.write("fleet.dstack.yml", &fleet(&servers))?;
    project.write("units.gabion.yml", &units(&project.name(), &servers))?;
    let mut measure = |arguments: &[&str], codes: &[i32]| -> Result<(), Failure> {
        let cost = measured(&project, &servers, arguments, codes)?;
        tell(&format!("{cost:?}"));
        figures.costs.push(cost);
        Ok(())
    };
    measure(&["plan"], &[0])?;
    measure(&["apply", "-y"], &[0])?;
    measure(&["plan", "--detailed-exitcode"], &[0])?;
    // All hosts share the addresses of this machine, which others may change meanwhile.
    measure(&["drift"], &[0, 2])?;
    measure(&["destroy", "-y"], &[0])?;
    Ok(figures)
}

/// Returns addresses of the loopback network that nothing else listens on in general.
fn addresses(count: usize) -> Result<Vec<Ipv4Addr>, Failure> {
    if !(2..=2000).contains(&count) {
        return Err(format!("{count} hosts: from 2 to 2000 can be measured"));
    }
    let numbers = 0..u16::try_from(count).unwrap_or(u16::MAX);
    Ok(numbers
        .map(|number| Ipv4Addr::new(127, 77, (number / 250) as u8, (1 + number % 250) as u8))
        .collect())
}

/// Puts the agent's program where a host has it after the first contact.
fn place(agent: &Path, root: &Path) -> Result<(), Failure> {
    let at = |error: std::io::Error| format!("{}: {error}", root.display());
    let bytes = fs::read(agent).map_err(at)?;
    let digest = Sha256::digest(&bytes);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let directory = root.join("program").join(digest);
    fs::create_dir_all(&directory).map_err(at)?;
    let program = directory.join("gabion-agent");
    // One file for all of them, where they are on one file system.
    if fs::hard_link(agent, &program).is_err() {
        fs::copy(agent, &program).map_err(at)?;
    }
    Ok(())
}

fn fleet(servers: &Servers) -> String {
    let mut text = format!(
        "type: fleet\nname: many\nssh_config:\n  user: {}\n  trust_on_first_use: true\n  hosts:\n",
        Sshd::user(),
    );
    for (server, addresses) in servers {
        let (port, key) = (server.port(), server.identity_file());
        for address in addresses {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "    - {{hostname: {address}, port: {port}, identity_file: {}, internal_ip: {address}}}",
                key.display()
            );
        }
    }
    text
}

fn units(project: &str, servers: &Servers) -> String {
    let mut text = String::new();
    let hosts = servers.iter().flat_map(|(server, addresses)| {
        let port = server.port();
        addresses
            .iter()
            .map(move |address| format!("many/{address}-{port}"))
    });
    for (number, machine) in hosts.enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "type: resource\nkind: host_unit\nname: u{number}\nproperties:\n  machine: {machine}\n  \
             argv: [sleep, '1000000']\n  env: {{{MARK}: {project}/u{number}}}\n---\n"
        );
    }
    text
}

fn logins(servers: &Servers) -> usize {
    servers.iter().map(|(server, _)| server.logins()).sum()
}

/// Returns the processor time of the hosts' sessions that have ended, in seconds.
fn cpu_of_hosts(servers: &Servers) -> f64 {
    servers.iter().map(|(server, _)| server.processor_seconds()).sum()
}

fn measured(
    project: &Project,
    servers: &Servers,
    arguments: &[&str],
    codes: &[i32],
) -> Result<Cost, Failure> {
    let before = logins(servers);
    let (cpu, host_cpu) = (cpu_of_children(), cpu_of_hosts(servers));
    let mut run = project.start(arguments)?;
    let mut cost = Cost {
        command: arguments.join(" "),
        ..Cost::default()
    };
    while run.is_running() {
        look(&run, &mut cost);
        // Watching costs what is watched.
        std::thread::sleep(LOOK);
    }
    let said = run.finish()?;
    if !said.code.is_some_and(|code| codes.contains(&code)) {
        return Err(format!("not exit code {codes:?}:\n{said}"));
    }
    // What cannot be read is not changed, and would look quick.
    if ["cannot be read", "Not asked"]
        .iter()
        .any(|words| said.out.contains(words))
    {
        return Err(format!("not everything was read:\n{said}"));
    }
    cost.seconds = rounded(said.took.as_secs_f64());
    cost.cpu_seconds = rounded(cpu_of_children() - cpu);
    // Sessions take a moment to end.
    std::thread::sleep(SESSIONS);
    cost.host_cpu_seconds = rounded(cpu_of_hosts(servers) - host_cpu);
    cost.logins = logins(servers) - before;
    Ok(cost)
}

fn look(run: &Run, cost: &mut Cost) {
    let own = memory(run.pid());
    let connections: Vec<i32> = processes()
        .filter(|stat| stat.parent == run.pid())
        .map(|stat| stat.pid)
        .collect();
    let all = own + connections.iter().map(|pid| memory(*pid)).sum::<f64>();
    cost.most_connections = cost.most_connections.max(connections.len());
    cost.gabion_peak_mib = cost.gabion_peak_mib.max(rounded(own));
    cost.peak_mib = cost.peak_mib.max(rounded(all));
}

/// Returns what a process holds, in MiB; of what it shares its part.
fn memory(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

/// Returns the processor time of every child that has ended, in seconds, and of theirs.
fn cpu_of_children() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // What comes before may hold anything.
    let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks: f64 = fields
        .split_whitespace()
        .skip(13)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / TICKS
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
