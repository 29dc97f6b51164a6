//! A project in a temporary directory, with a user's directories of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::cargo::CommandCargoExt;
use tempfile::TempDir;

use crate::json_schema::check_printed;
pub(crate) use crate::said::assert_said;

/// How long a command may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A project and its user.
pub(crate) struct Project {
    root: TempDir,
    variables: Vec<(String, String)>,
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Project {
    /// Makes an empty project directory named `demo`.
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("demo")).unwrap();
        Self {
            root,
            variables: Vec::new(),
        }
    }

    /// Makes a project with one file of documents.
    pub(crate) fn with(documents: &str) -> Self {
        let project = Self::new();
        project.write("main.gabion.yml", documents);
        project
    }

    /// Sets a variable of the commands' environment.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Returns the project's directory.
    pub(crate) fn directory(&self) -> PathBuf {
        self.root.path().join("demo")
    }

    /// Returns the directory with the user's own directories.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// Writes a file of the project.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.directory().join(name), text).unwrap();
    }

    /// Returns the names of what is in the project directory.
    pub(crate) fn entries(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.directory())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Returns a command in the project directory.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::cargo_bin("gabion").unwrap();
        command
            .args(arguments)
            .current_dir(self.directory())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .env("USER", "ada")
            .env("COLUMNS", "100")
            .stdin(Stdio::null());
        for (name, directory) in [
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_CACHE_HOME", "cache"),
        ] {
            command.env(name, self.home().join(directory));
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().unwrap();
        let said = Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        check_printed(arguments.iter().copied(), Some(said.code), &said.out);
        said
    }

    /// Runs a command that must end with this code.
    #[track_caller]
    pub(crate) fn exits(&self, code: i32, arguments: &[&str]) -> Said {
        let said = self.run(arguments);
        assert_eq!(said.code, code, "gabion {}\n{}", arguments.join(" "), said.all());
        said
    }

    /// Applies the configuration.
    #[track_caller]
    pub(crate) fn apply(&self) -> Said {
        self.exits(0, &["apply", "-y"])
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // Whatever a test left running ends with its project.
        if self.directory().join(".gabion").exists() {
            let destroyed = self
                .command(&["destroy", "-y"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if !std::thread::panicking() {
                assert!(destroyed.unwrap().success(), "the project could not be destroyed");
            }
        }
    }
}

impl Said {
    /// Returns everything that was said.
    pub(crate) fn all(&self) -> String {
        format!(
            "exit code: {}\n--- stdout\n{}--- stderr\n{}",
            self.code, self.out, self.err
        )
    }

    /// Returns what was said with JSON as data.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{}", self.all()))
    }
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns every file below a directory.
pub(crate) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found
}

/// Three levels of resources that refer to each other.
pub(crate) const THREE_LEVELS: &str = "\
type: resource
kind: gabion_data
name: base
properties:
  input: {host: example.org, port: 80}
---
type: resource
kind: gabion_data
name: middle
properties:
  input:
    url: http://${{ gabion_data.base.output.host }}/${{ gabion_data.base.id }}
---
type: resource
kind: gabion_data
name: top
properties:
  input: ${{ gabion_data.middle.output.url }}/v1
";
