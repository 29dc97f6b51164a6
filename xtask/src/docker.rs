//! The Docker daemon that tests of containers use: the system's own program, installed if that is allowed, on a socket,
//! a directory and a bridge of its own. What else the machine has of Docker, and its packet filter, is left alone.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::system::{is_root, quietly, which};
use crate::{Failure, process, system};

/// What tests of containers need of the system.
const PROGRAMS: [&str; 4] = [
    "/usr/sbin/dockerd",
    "/usr/sbin/iptables",
    "/bin/busybox",
    "/usr/bin/docker",
];

/// The packages that have it on a Debian system.
const PACKAGES: [&str; 3] = ["docker.io", "iptables", "busybox-static"];

/// How long the daemon may take until it listens, and until it has ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon, the agent's static program and the engine, as tests find them.
const DAEMON: &str = "GABION_TEST_DOCKER";
const AGENT: &str = "GABION_TEST_AGENT";
const ENGINE: &str = "GABION_TEST_ENGINE";

/// A running daemon with what its containers hold, which ends when this is dropped.
pub(crate) struct Docker {
    child: Child,
    directory: PathBuf,
    bridge: String,
}

impl Docker {
    /// Starts a daemon and builds what containers hold; `None`, said aloud, where that cannot be.
    pub(crate) fn start() -> Result<Option<Self>, Failure> {
        if PROGRAMS.iter().any(|program| which(program).is_none()) {
            system::install(&PACKAGES, "the tests of containers");
        }
        let skipped = |why: &str| {
            eprintln!("{why}: tests of containers are skipped");
            Ok(None)
        };
        if let Some(missing) = PROGRAMS.iter().find(|program| which(program).is_none()) {
            return skipped(&format!("there is no {missing}"));
        }
        if !is_root() {
            return skipped("a Docker daemon is started by root alone");
        }
        let directory = crate::target()
            .join("tmp")
            .join(format!("docker-{}", std::process::id()));
        std::fs::create_dir_all(&directory).map_err(|error| at(&directory, &error))?;
        agent(&directory)?;
        engine(&directory)?;
        // A name by which facts of a machine know bridges of containers: it comes and goes beside tests that read them.
        let bridge = format!("br-gbt{}", std::process::id());
        if !make_bridge(&bridge) {
            drop_bridge(&bridge);
            return skipped("no bridge can be made for a Docker daemon");
        }
        let child = spawn(&directory, &bridge)?;
        let mut docker = Self {
            child,
            directory,
            bridge,
        };
        if docker.listens() {
            return Ok(Some(docker));
        }
        let said = std::fs::read_to_string(docker.directory.join("log")).unwrap_or_default();
        let last = said.lines().last().unwrap_or_default().to_owned();
        skipped(&format!("the Docker daemon of the tests does not start ({last})"))
    }

    /// Lets tests find the daemon.
    pub(crate) fn export(&self, tests: &mut Command) {
        tests.env(DAEMON, self.directory.join("docker.sock"));
        tests.env(AGENT, self.directory.join("gabion-agent"));
        tests.env(ENGINE, self.directory.join("loopback-engine"));
    }

    fn listens(&mut self) -> bool {
        let socket = self.directory.join("docker.sock");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
                return true;
            }
            if !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // By its own number; it ends what it started.
        quietly(Command::new("kill").arg(self.child.id().to_string()));
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(50));
        }
        self.child.kill().ok();
        self.child.wait().ok();
        drop_bridge(&self.bridge);
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

fn spawn(directory: &Path, bridge: &str) -> Result<Child, Failure> {
    let log = directory.join("log");
    let output = File::create(&log).map_err(|error| at(&log, &error))?;
    let errors = output.try_clone().map_err(|error| at(&log, &error))?;
    let mut command = Command::new(which("/usr/sbin/dockerd").unwrap_or_else(|| "dockerd".into()));
    command
        .arg("--data-root")
        .arg(directory.join("data"))
        .arg("--exec-root")
        .arg(directory.join("exec"))
        .arg("--pidfile")
        .arg(directory.join("pid"))
        .arg("--host")
        .arg(format!("unix://{}", directory.join("docker.sock").display()))
        .args(["--bridge", bridge])
        // By itself it changes the packet filter of the whole machine, and leaves it so.
        .args([
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            "--ip-masq=false",
        ])
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    command
        .spawn()
        .map_err(|error| format!("cannot start `{}`: {error}", process::shown(&command)))
}

/// Builds the agent's program as one that needs no library of the machine. Its parts are those of every other build:
/// only the last step differs.
fn agent(directory: &Path) -> Result<(), Failure> {
    process::run(process::cargo().args([
        "rustc",
        "-p",
        "gabion-machines",
        "--bin",
        "gabion-agent",
        "--",
        "-C",
        "target-feature=+crt-static",
    ]))?;
    let built = crate::target().join("debug").join("gabion-agent");
    std::fs::copy(&built, directory.join("gabion-agent")).map_err(|error| at(&built, &error))?;
    Ok(())
}

/// Builds the engine of the tests' containers.
fn engine(directory: &Path) -> Result<(), Failure> {
    let source = crate::root().join("xtask/fixtures/loopback-engine.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    process::run(
        Command::new(rustc)
            .args([
                "--edition",
                "2024",
                "-O",
                "-C",
                "target-feature=+crt-static",
                "-o",
            ])
            .arg(directory.join("loopback-engine"))
            .arg(source),
    )
}

/// Makes a bridge of the daemon's own: the one that it makes by itself is the machine's.
fn make_bridge(name: &str) -> bool {
    let network = format!("10.213.{}.1/24", std::process::id() % 250);
    [
        vec!["link", "add", name, "type", "bridge"],
        vec!["addr", "add", &network, "dev", name],
        vec!["link", "set", name, "up"],
    ]
    .into_iter()
    .all(|arguments| quietly(Command::new("ip").args(arguments)))
}

fn drop_bridge(name: &str) {
    quietly(Command::new("ip").args(["link", "del", name]));
}

fn at(path: &Path, error: &std::io::Error) -> Failure {
    format!("{}: {error}", path.display())
}
