//! A Docker daemon of the tests' own, with an image of nothing but static programs.

use std::path::PathBuf;
use std::process::{Command, Output};

use super::project::Project;

/// Where `cargo xtask test` says that they are.
const DAEMON: &str = "GABION_TEST_DOCKER";
const AGENT: &str = "GABION_TEST_AGENT";
const ENGINE: &str = "GABION_TEST_ENGINE";

/// A daemon, with an image that goes when this is dropped.
pub(crate) struct Daemon {
    socket: PathBuf,
    agent: PathBuf,
    pub(crate) image: String,
}

impl Daemon {
    /// Finds the daemon and makes the image; `None`, with a word, where there is none.
    pub(crate) fn new() -> Option<Self> {
        let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let (Some(socket), Some(agent), Some(engine)) = (set(DAEMON), set(AGENT), set(ENGINE)) else {
            eprintln!("skipped: {DAEMON}, {AGENT} and {ENGINE} name no Docker daemon and no static programs");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        for inner in ["bin", "etc", "tmp"] {
            std::fs::create_dir_all(root.join(inner)).unwrap();
        }
        std::fs::copy(engine, root.join("bin/engine")).unwrap();
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for tool in ["sh", "cat", "id", "tail"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(tool)).unwrap();
        }
        std::fs::write(
            root.join("etc/passwd"),
            "root:x:0:0::/:/bin/sh\nllm:x:1000:1000::/tmp:/bin/sh\n",
        )
        .unwrap();
        // Tests run side by side, each with an image of its own.
        let name = directory
            .path()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .to_lowercase();
        let daemon = Self {
            socket,
            agent,
            image: format!("gabion-e2e{}:1", name.replace('.', "-")),
        };
        let archive = directory.path().join("image.tar");
        let packed = Command::new("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .status();
        assert!(packed.unwrap().success());
        daemon.said(&["import", &archive.display().to_string(), &daemon.image]);
        Some(daemon)
    }

    /// Where it listens, as `DOCKER_HOST` has it.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Lets a project find it.
    pub(crate) fn show_to(&self, project: &mut Project) {
        project.set("DOCKER_HOST", &self.host());
        project.set("GABION_AGENT", &self.agent.display().to_string());
    }

    fn docker(&self, arguments: &[&str]) -> Output {
        let mut docker = Command::new("docker");
        docker
            .args(arguments)
            .env("DOCKER_HOST", self.host())
            .output()
            .unwrap()
    }

    /// Runs the `docker` command, which must succeed, and returns what it says.
    pub(crate) fn said(&self, arguments: &[&str]) -> String {
        let output = self.docker(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The names of a project's containers, running or not.
    pub(crate) fn containers(&self, project: &Project) -> Vec<String> {
        let state = project.run(&["state", "pull"]).succeeds().json();
        let lineage = state["lineage"].as_str().unwrap().to_owned();
        let filter = format!("label=gabion.lineage={lineage}");
        let said = self.said(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"]);
        said.lines().map(str::to_owned).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let of_image = format!("label=gabion.image={}", self.image);
        let left = self.docker(&["ps", "-aq", "--filter", &of_image]);
        for container in String::from_utf8_lossy(&left.stdout).lines() {
            self.docker(&["rm", "-f", "-v", container]);
        }
        self.docker(&["rmi", "-f", &self.image]);
    }
}
