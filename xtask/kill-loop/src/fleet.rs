//! Hosts behind real SSH servers, each behind a network of its own that can be cut.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use gabion_testing::proxy::{Network, Proxy};
use gabion_testing::sshd::Sshd;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Failure;
use crate::project::{Unit, processes, units_below};

/// The variable by which programs on hosts are told from everything else that runs: `PROJECT/UNIT`.
pub const MARK: &str = "GABION_CUT_LOOP";

/// A host.
pub struct Host {
    /// What projects call it: `net/h0`.
    pub machine: String,
    server: Sshd,
    network: Proxy,
}

impl Host {
    /// Makes its network so.
    pub fn set(&self, network: Network) {
        self.network.set(network);
    }

    /// Returns its units, running or not.
    pub fn units(&self) -> Vec<Unit> {
        units_below(&self.root())
    }

    /// Returns where gabion puts its things on it.
    pub fn root(&self) -> PathBuf {
        self.server.gabion_root()
    }
}

/// The hosts of one project.
pub struct Fleet {
    /// Each of them.
    pub hosts: Vec<Host>,
}

impl Fleet {
    /// Starts hosts whose networks are whole; `None` where there is no SSH server to start.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(count: usize) -> Result<Option<Self>, Failure> {
        if Sshd::program().is_none() {
            return Ok(None);
        }
        let hosts = (0..count).map(|number| {
            let server = Sshd::start(&[]).map_err(|error| error.to_string())?;
            let to = ([127, 0, 0, 1], server.port()).into();
            let network = Proxy::start(to).map_err(|error| error.to_string())?;
            Ok(Host {
                machine: format!("net/h{number}"),
                server,
                network,
            })
        });
        Ok(Some(Self {
            hosts: hosts.collect::<Result<_, Failure>>()?,
        }))
    }

    /// Returns the hosts as resources: `ssh_host.h0` and so on.
    ///
    /// # Errors
    /// When a host's key cannot be read.
    pub fn documents(&self) -> Result<String, Failure> {
        let mut text = String::new();
        for (number, host) in self.hosts.iter().enumerate() {
            let key = host.server.host_key().map_err(|error| error.to_string())?;
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "type: resource\nkind: ssh_host\nname: h{number}\nproperties:\n  machine: {}\n  hostname: 127.0.0.1\n  \
                 port: {}\n  user: {}\n  identity_file: {}\n  host_key: '{key}'\n---\n",
                host.machine,
                host.network.port(),
                Sshd::user(),
                host.server.identity_file().display(),
            );
        }
        Ok(text)
    }

    /// Makes every network whole.
    pub fn heal(&self) {
        for host in &self.hosts {
            host.set(Network::Whole);
        }
    }
}

/// Returns the programs of a project that run, by their units: what the kernel says, whatever anybody's records say.
pub fn programs(project: &str) -> BTreeMap<String, Vec<i32>> {
    let mut found: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    let wanted = format!("{MARK}={project}/");
    for stat in processes() {
        // It may have ended meanwhile.
        let environment = std::fs::read(format!("/proc/{}/environ", stat.pid)).unwrap_or_default();
        let marks = environment.split(|byte| *byte == 0);
        let unit = marks
            .filter_map(|entry| std::str::from_utf8(entry).ok()?.strip_prefix(&wanted))
            .next();
        if let Some(unit) = unit {
            found.entry(unit.to_owned()).or_default().push(stat.pid);
        }
    }
    found
}

/// Ends what is left of a project's programs on hosts, whatever way its use ends.
pub struct Cleaner(pub String);

impl Drop for Cleaner {
    fn drop(&mut self) {
        for pid in programs(&self.0).into_values().flatten() {
            // It may be gone by now.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
