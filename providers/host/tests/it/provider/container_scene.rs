//! A machine with a Docker daemon of the tests' own, and an image that is made there.

#![expect(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "`cargo xtask test` says in the environment where the daemon is, and a skipped test says so"
)]

use std::path::PathBuf;
use std::process::{Command, Output};

use gabion_host::ContainerConfig;
use serde_json::json;

use super::scene::{Scene, Unit};

/// The socket of the tests' daemon.
const DAEMON: &str = "GABION_TEST_DOCKER";
/// The agent's static program.
const AGENT: &str = "GABION_TEST_AGENT";

/// An engine that listens on loopback and port 8000, as a static program.
const ENGINE: &str = "GABION_TEST_ENGINE";

/// Returns the agent's static program, where the tests have one.
pub(super) fn agent() -> Option<PathBuf> {
    std::env::var_os(AGENT).map(PathBuf::from)
}

/// A scene whose containers are gone when it ends, however it ends.
pub(super) struct ContainerScene {
    pub(super) scene: Scene,
    socket: PathBuf,
    engine: PathBuf,
    pub(super) image: String,
}

impl ContainerScene {
    /// Returns a scene; `None`, said aloud, where there is no daemon.
    pub(super) fn new() -> Option<Self> {
        let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let (Some(socket), Some(agent), Some(engine)) = (set(DAEMON), agent(), set(ENGINE)) else {
            eprintln!("skipped: {DAEMON}, {AGENT} and {ENGINE} name no Docker daemon and no static programs");
            return None;
        };
        let scene = Scene::with(ContainerConfig {
            sockets: vec![socket.clone()],
            agent: Some(agent),
        });
        let mut made = Self {
            scene,
            socket,
            engine,
            image: String::new(),
        };
        made.image = made.make_image("one");
        Some(made)
    }

    /// Runs the `docker` command against the tests' daemon.
    pub(super) fn docker(&self, arguments: &[&str]) -> Output {
        Command::new("docker")
            .args(arguments)
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .output()
            .unwrap()
    }

    /// Runs the `docker` command, which must succeed, and returns what it says.
    pub(super) fn said(&self, arguments: &[&str]) -> String {
        let output = self.docker(arguments);
        assert!(
            output.status.success(),
            "docker {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Makes what an image holds: static programs and two users; `word` tells it from others.
    pub(super) fn make_root(&self, word: &str) -> PathBuf {
        let root = self.scene.root.path().join(format!("image-{word}"));
        let bin = root.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::create_dir_all(root.join("tmp")).unwrap();
        std::fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for tool in [
            "sh", "sleep", "cat", "id", "env", "ls", "echo", "ps", "pwd", "kill",
        ] {
            std::os::unix::fs::symlink("busybox", bin.join(tool)).unwrap();
        }
        std::fs::copy(&self.engine, bin.join("engine")).unwrap();
        let passwd = "root:x:0:0:root:/root:/bin/sh\nllm:x:1000:1001::/home/llm:/bin/sh\n";
        std::fs::write(root.join("etc/passwd"), passwd).unwrap();
        std::fs::write(root.join("etc/group"), "root:x:0:\nllm:x:1001:\nvideo:x:44:llm\n").unwrap();
        std::fs::write(root.join("word"), word).unwrap();
        root
    }

    /// Makes an image from nothing but that. Returns its name.
    pub(super) fn make_image(&self, word: &str) -> String {
        let root = self.make_root(word);
        let archive = self.scene.root.path().join(format!("{word}.tar"));
        let packed = Command::new("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .status()
            .unwrap();
        assert!(packed.success());
        // One of its own for each scene: tests run side by side.
        let name = format!("gabion-test-{}:{word}", self.scene.lineage);
        self.said(&[
            "import",
            "-c",
            "CMD [\"/bin/engine\", \"--port\", \"8000\"]",
            "-c",
            "ENV OF_IMAGE=yes",
            &archive.display().to_string(),
            &name,
        ]);
        name
    }

    /// A server on the container's loopback port 8000.
    pub(super) fn server(&self) -> serde_json::Value {
        json!({
            "machine": "local",
            "role": "replica",
            "runtime": "docker",
            "container": {"image": self.image, "ports": {"http": 8000}},
            "argv": ["/bin/sh", "-c", "/bin/engine --port 8000"],
            "ports": {"http": {"range": "24000-24999"}},
            "probes": [{"path": "/health"}],
            "ready_timeout": 30,
            "stop_timeout": 2,
        })
    }

    /// A program that prints what a script finds, and goes on.
    pub(super) fn script(&self, script: &str) -> serde_json::Value {
        json!({
            "machine": "local",
            "runtime": "docker",
            "container": {"image": self.image},
            "argv": ["/bin/sh", "-c", format!("{script}; sleep 600")],
            "stop_timeout": 2,
        })
    }

    /// Returns the name of a unit's container.
    pub(super) fn name(unit: &Unit) -> String {
        format!("gabion-{}", unit.uid)
    }

    /// Returns what the daemon says of a unit's container.
    pub(super) fn inspected(&self, unit: &Unit, what: &str) -> String {
        self.said(&["inspect", "-f", what, &Self::name(unit)])
    }

    /// Returns the names of this scene's containers, running or not.
    pub(super) fn containers(&self) -> Vec<String> {
        let filter = format!("label=gabion.lineage={}", self.scene.lineage);
        let said = self.said(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"]);
        said.lines().map(str::to_owned).collect()
    }
}

impl Drop for ContainerScene {
    fn drop(&mut self) {
        for container in self.containers() {
            self.docker(&["rm", "-f", "-v", &container]);
        }
        let images = self.docker(&["images", "-q", &format!("gabion-test-{}", self.scene.lineage)]);
        for image in String::from_utf8_lossy(&images.stdout).lines() {
            self.docker(&["rmi", "-f", image]);
        }
    }
}
