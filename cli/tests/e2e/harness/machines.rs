//! Machines behind real SSH servers on this machine's loopback address, for projects with fleets.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use gabion_testing::sshd::Sshd;

use super::process::{Unit, kill_process, units_below, with_environment};
use super::project::{Project, example, packages};

/// A machine that a project reaches over SSH.
pub(crate) struct Machine(pub(crate) Sshd);

impl Machine {
    /// Starts as many as are wanted; `None`, with a word, where that cannot be.
    pub(crate) fn start(count: usize) -> Option<Vec<Self>> {
        Self::start_with(count, &[])
    }

    /// The same, with more variables in the environment of whoever logs in.
    pub(crate) fn start_with(count: usize, variables: &[(&str, &str)]) -> Option<Vec<Self>> {
        Self::start_at(&vec![Ipv4Addr::LOCALHOST; count], variables)
    }

    /// The same, each with an address of its own.
    pub(crate) fn start_apart(addresses: &[[u8; 4]]) -> Option<Vec<Self>> {
        let addresses: Vec<Ipv4Addr> = addresses.iter().copied().map(Ipv4Addr::from).collect();
        Self::start_at(&addresses, &[])
    }

    fn start_at(addresses: &[Ipv4Addr], variables: &[(&str, &str)]) -> Option<Vec<Self>> {
        if Sshd::program().is_none() {
            eprintln!("skipped: there is no sshd on this machine");
            return None;
        }
        if agent().is_none() {
            eprintln!("skipped: there is no gabion-agent; `cargo xtask test` builds it");
            return None;
        }
        let cache = packages().join("gabion").display().to_string();
        let all: Vec<(&str, &str)> = [("GABION_AGENT_CACHE", cache.as_str())]
            .into_iter()
            .chain(variables.iter().copied())
            .collect();
        let one = |address: &Ipv4Addr| Self(Sshd::start_at(&[*address], &all).unwrap());
        Some(addresses.iter().map(one).collect())
    }

    /// What a project with the fleet calls it.
    pub(crate) fn name(&self, fleet: &str) -> String {
        format!("{fleet}/{}-{}", self.0.address(), self.0.port())
    }

    /// Its units.
    pub(crate) fn units(&self) -> Vec<Unit> {
        units_below(&self.0.gabion_root())
    }

    /// Every process that gabion left on it.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let root = self.0.gabion_root();
        with_environment("GABION_UNIT=")
            .into_iter()
            .filter(|pid| {
                let links = ["exe", "cwd", "fd/1"];
                links.iter().any(|link| {
                    std::fs::read_link(format!("/proc/{pid}/{link}"))
                        .is_ok_and(|path| path.starts_with(&root))
                })
            })
            .collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for unit in self.units() {
            if std::thread::panicking() {
                eprintln!("--- unit {}; its log ends with\n{}", unit.uid, unit.log(12));
            }
            unit.session().into_iter().for_each(kill_process);
        }
    }
}

/// Returns the agent's program, if it was built.
pub(crate) fn agent() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_BIN_EXE_gabion")).with_file_name("gabion-agent");
    let given = std::env::var_os("GABION_TEST_AGENT").map(PathBuf::from);
    given.or(Some(beside)).filter(|path| path.is_file())
}

/// Returns a fleet document.
pub(crate) fn fleet(name: &str, blocks: &str, machines: &[&Machine]) -> String {
    let mut text = format!(
        "type: fleet\nname: {name}\nblocks: {blocks}\nssh_config:\n  user: {}\n  identity_file: {}\n  trust_on_first_use: true\n  hosts:\n",
        Sshd::user(),
        // All machines let each other's users in: one key is enough.
        machines[0].0.identity_file().display(),
    );
    for machine in machines {
        text.push_str(&format!(
            "    - {{hostname: {address}, port: {}, identity_file: {}, internal_ip: {address}}}\n",
            machine.0.port(),
            machine.0.identity_file().display(),
            address = machine.0.address(),
        ));
    }
    text
}

/// Makes a project of the quickstart's files whose gateway is on `edge` and whose replicas are on `gpu`.
pub(crate) fn project(edge: &[&Machine], gpu: &[&Machine]) -> Project {
    let mut project = Project::quick();
    project.set("GABION_AGENT", &agent().unwrap().display().to_string());
    project.write("edge.dstack.yml", &fleet("edge", "1", edge));
    project.write("gpu.dstack.yml", &fleet("gpu", "1", gpu));
    project.edit("gabion.yml", "backends: [local]", "backends: [ssh]");
    project.edit(
        "gateway.dstack.yml",
        "backend: local",
        "backend: ssh\nfleets: [edge]\npublic_ip: false",
    );
    let engine = example("quickstart").join("engine.py").display().to_string();
    project.edit(
        "service.dstack.yml",
        "python3 engine.py",
        &format!("python3 {engine}"),
    );
    project.edit(
        "service.dstack.yml",
        "replicas: 2",
        "replicas: 2\nfleets: [gpu]\nresources: {cpu: 1.., memory: 1GB.., disk: 1GB..}",
    );
    project
}
