//! Machines with addresses of their own, on a network that the test makes, for projects with fleets.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use gabion_host::package::{PackageStore, ensure};
use gabion_testing::network::{Machine, Network, Wanted};

use super::machines::agent;
use super::project::{Project, example, packages, root};

/// Who logs in, as on the images of clouds.
const USER: &str = "ubuntu";

/// A network on which the test has an address.
pub(crate) struct Lan {
    pub(crate) network: Network,
    /// The Python of this machine, which the others have too.
    python: String,
}

/// What is on a machine before gabion was.
pub(crate) struct Before(BTreeSet<PathBuf>);

impl Lan {
    /// Makes a network; `None`, with a word, where that cannot be. Router packages are at hand on its machines: nothing
    /// is fetched from there.
    pub(crate) fn start() -> Option<Self> {
        if agent().is_none() {
            eprintln!("skipped: there is no gabion-agent; `cargo xtask test` builds it");
            return None;
        }
        let network = match Network::start(address(1)) {
            Ok(network) => network,
            Err(why) => {
                eprintln!("skipped: no network of the tests' own can be made: {why}");
                return None;
            }
        };
        let output = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output()
            .unwrap();
        let python = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        install_routers(&python);
        Some(Self { network, python })
    }

    /// Starts the three machines that most tests have: one for the gateway and two for replicas. Each has a Docker daemon of
    /// its own if the program of one is given.
    pub(crate) fn three(&self, docker: Option<&Path>) -> [Machine; 3] {
        [("edge", 11), ("first", 12), ("second", 13)]
            .map(|(name, number)| self.machine_at(name, address(number), None, docker))
    }

    /// Starts a machine at any address, with a key of its SSH server that is known before, and with a Docker daemon of its
    /// own if the program of one is given.
    pub(crate) fn machine_at(
        &self,
        name: &str,
        address: Ipv4Addr,
        host_key: Option<&Path>,
        docker: Option<&Path>,
    ) -> Machine {
        let cache = packages().join("gabion");
        let installed = cache.join("packages");
        let environment = [
            ("GABION_AGENT_CACHE", cache.to_str().unwrap()),
            ("GABION_PYTHON", &self.python),
        ];
        let wanted = Wanted {
            name,
            addresses: &[address],
            user: USER,
            environment: &environment,
            shown: &[&root(), &installed, Path::new(&self.python)],
            host_key,
            docker,
        };
        self.network.machine(&wanted).unwrap()
    }

    /// The command of the quickstart's engine, by a Python that the machines have.
    pub(crate) fn engine(&self) -> String {
        let program = example("quickstart").join("engine.py");
        format!("{} {}", self.python, program.display())
    }

    /// Makes a project of the quickstart's files for machines of fleets.
    pub(crate) fn project(&self) -> Project {
        let mut project = Project::from_example("quickstart");
        project.set("GABION_AGENT", &agent().unwrap().display().to_string());
        project.edit("gabion.yml", "backends: [local]", "backends: [ssh]");
        project.edit("service.dstack.yml", "python3 engine.py", &self.engine());
        project.edit("service.dstack.yml", "interval: 5s", "interval: 1s");
        project
    }

    /// Gives a project two fleets: the first of three machines for the gateway, and the others, each for two replicas.
    pub(crate) fn fleets(project: &Project, [edge, first, second]: &[Machine; 3]) {
        project.write("edge.dstack.yml", &fleet("edge", "1", &[edge]));
        project.write("gpu.dstack.yml", &fleet("gpu", "2", &[first, second]));
    }
}

/// Returns a fleet document; each machine is known by its key.
pub(crate) fn fleet(name: &str, blocks: &str, machines: &[&Machine]) -> String {
    let mut text =
        format!("type: fleet\nname: {name}\nblocks: {blocks}\nssh_config:\n  user: {USER}\n  hosts:\n");
    for machine in machines {
        let key = machine.host_key().unwrap();
        let mut words = key.split_whitespace();
        text.push_str(&format!(
            "    - {{hostname: {}, identity_file: {}, host_key: {} {}}}\n",
            machine.address(),
            machine.identity_file().display(),
            words.next().unwrap(),
            words.next().unwrap(),
        ));
    }
    text
}

impl Before {
    /// Takes down what is there.
    pub(crate) fn of(machine: &Machine) -> Self {
        assert_eq!(machine.processes().unwrap(), Vec::<String>::new());
        Self(machine.files().unwrap())
    }

    /// Checks that nothing has come, and that nothing runs.
    #[track_caller]
    pub(crate) fn is_as_left(&self, machine: &Machine) {
        // A connection that has just been closed takes a moment to be gone.
        super::eventually("nothing runs", Duration::from_secs(20), || {
            let left = machine.processes().unwrap();
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:#?}"))
            }
        });
        // Directories that are everybody's stay.
        let shared = [".local", ".local/share"]
            .map(|name| machine.path(&format!("/run/machine/changes/home/{USER}/{name}")));
        let now = machine.files().unwrap();
        let come: Vec<_> = now
            .difference(&self.0)
            .filter(|path| !shared.contains(path))
            .collect();
        let gone: Vec<_> = self.0.difference(&now).collect();
        assert!(
            come.is_empty() && gone.is_empty(),
            "new: {come:#?}, gone: {gone:#?}"
        );
    }
}

/// Addresses of nobody else: they are in namespaces of the test.
fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 88, 7, number)
}

/// Has the routers' packages installed where tests keep them, from where there is a way to them.
fn install_routers(python: &str) {
    let store = PackageStore {
        cache_root: packages().join("gabion"),
        python: python.to_owned(),
        timeout: Duration::from_secs(600),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for package in gabion_machines::agent::packages().values() {
        runtime.block_on(ensure(&store, package, &|_| {})).unwrap();
    }
}
