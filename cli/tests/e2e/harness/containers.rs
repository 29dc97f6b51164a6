//! Docker daemons of the tests' own, with an image of nothing but static programs.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::project::Project;

/// Where `cargo xtask test` says that they are.
const DAEMON: &str = "GABION_TEST_DOCKER";
const AGENT: &str = "GABION_TEST_AGENT";
const ENGINE: &str = "GABION_TEST_ENGINE";

/// What is the article's `python3 -m sglang.launch_server` in the image: the tests' engine, with the same options.
const LAUNCH_SERVER: &str = "#!/bin/sh\n\
    if [ \"$1 $2\" != '-m sglang.launch_server' ]; then echo 'python3: there is sglang.launch_server alone' >&2; exit 2; fi\n\
    shift 2\nexec engine \"$@\"\n";

/// An image of nothing but static programs, as a file.
pub(crate) struct Image(TempDir);

impl Image {
    /// Packs it; `None`, with a word, where there are no programs for it.
    pub(crate) fn pack() -> Option<Self> {
        let Some(engine) = set(ENGINE) else {
            eprintln!("skipped: {ENGINE} names no static program");
            return None;
        };
        let image = Self(tempfile::tempdir().unwrap());
        let root = image.0.path().join("root");
        for inner in ["bin", "etc", "tmp"] {
            std::fs::create_dir_all(root.join(inner)).unwrap();
        }
        std::fs::copy(engine, root.join("bin/engine")).unwrap();
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for tool in ["sh", "cat", "id", "tail"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(tool)).unwrap();
        }
        let python = root.join("bin/python3");
        std::fs::write(&python, LAUNCH_SERVER).unwrap();
        std::fs::set_permissions(&python, Permissions::from_mode(0o755)).unwrap();
        std::fs::write(
            root.join("etc/passwd"),
            "root:x:0:0::/:/bin/sh\nllm:x:1000:1000::/tmp:/bin/sh\n",
        )
        .unwrap();
        let packed = Command::new("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(image.archive())
            .arg(".")
            .status();
        assert!(packed.unwrap().success());
        Some(image)
    }

    fn archive(&self) -> PathBuf {
        self.0.path().join("image.tar")
    }
}

/// A Docker daemon, asked by its own client.
pub(crate) struct Docker(String);

impl Docker {
    /// One that listens there, as `DOCKER_HOST` has it.
    pub(crate) fn at(host: String) -> Self {
        Self(host)
    }

    /// Gives it an image under a name.
    pub(crate) fn import(&self, image: &Image, name: &str) {
        self.said(&["import", &image.archive().display().to_string(), name]);
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let mut docker = Command::new("docker");
        docker
            .args(arguments)
            .env("DOCKER_HOST", &self.0)
            .output()
            .unwrap()
    }

    /// Runs the `docker` command, which must succeed, and returns what it says.
    pub(crate) fn said(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The host names of its containers, running or not.
    pub(crate) fn names(&self) -> Vec<String> {
        let ids = self.said(&["ps", "-aq"]);
        let name = |id: &str| self.said(&["inspect", "-f", "{{.Config.Hostname}}", id]);
        ids.lines().map(name).collect()
    }

    /// All containers, volumes, images and networks that it has.
    pub(crate) fn all(&self) -> [BTreeSet<String>; 4] {
        [
            ["ps", "-aq"].as_slice(),
            &["volume", "ls", "-q"],
            &["images", "-q"],
            &["network", "ls", "-q"],
        ]
        .map(|listing| self.said(listing).lines().map(str::to_owned).collect())
    }
}

/// The program of the system's own Docker daemon, where tests may start it; `None` with a word.
pub(crate) fn dockerd() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::iter::once(PathBuf::from("/usr/sbin"))
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join("dockerd"))
        .find(|program| program.is_file());
    let may = set(DAEMON).is_some();
    if found.is_none() || !may {
        eprintln!("skipped: there is no dockerd, or {DAEMON} does not say that it can be started");
    }
    found.filter(|_| may)
}

fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

/// The article's service, but for its image and its engine.
pub(crate) fn service(image: &str, more: &str) -> String {
    format!(
        "type: service\nname: qwen\nimage: {image}\n\
         env:\n  - MODEL_ID=qwen/qwen2.5-0.5b-instruct\n  - HF_TOKEN\n\
         commands:\n  - |\n    engine \\\n      --model $MODEL_ID \\\n      --port 8000\n\
         port: 8000\nmodel: qwen/qwen2.5-0.5b-instruct\nreplicas: 2\nauth: false\n\
         resources: {{cpu: 1.., memory: 1GB.., disk: 1GB.., shm_size: 32MB}}\n{more}"
    )
}

/// The tests' daemon, with an image that goes when this is dropped.
pub(crate) struct Daemon {
    docker: Docker,
    agent: PathBuf,
    pub(crate) image: String,
}

impl Daemon {
    /// Finds the daemon and makes the image; `None`, with a word, where there is none.
    pub(crate) fn new() -> Option<Self> {
        let (Some(socket), Some(agent)) = (set(DAEMON), set(AGENT)) else {
            eprintln!("skipped: {DAEMON} and {AGENT} name no Docker daemon and no static program");
            return None;
        };
        let image = Image::pack()?;
        // Tests run side by side, each with an image of its own.
        let name = image.0.path().file_name().unwrap();
        let name = name.to_string_lossy().to_lowercase();
        let daemon = Self {
            docker: Docker::at(format!("unix://{}", socket.display())),
            agent,
            image: format!("gabion-e2e{}:1", name.replace('.', "-")),
        };
        daemon.docker.import(&image, &daemon.image);
        Some(daemon)
    }

    /// Where it listens, as `DOCKER_HOST` has it.
    pub(crate) fn host(&self) -> String {
        self.docker.0.clone()
    }

    /// Lets a project find it.
    pub(crate) fn show_to(&self, project: &mut Project) {
        project.set("DOCKER_HOST", &self.host());
        project.set("GABION_AGENT", &self.agent.display().to_string());
    }

    /// Runs the `docker` command, which must succeed, and returns what it says.
    pub(crate) fn said(&self, arguments: &[&str]) -> String {
        self.docker.said(arguments)
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
        let left = self.docker.ask(&["ps", "-aq", "--filter", &of_image]);
        for container in String::from_utf8_lossy(&left.stdout).lines() {
            self.docker.ask(&["rm", "-f", "-v", container]);
        }
        self.docker.ask(&["rmi", "-f", &self.image]);
    }
}
