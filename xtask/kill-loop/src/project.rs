//! A project of a user of its own, and an end that leaves nothing running.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gabion_host::process::{ProcessIdentity, ProcessStat};
use gabion_host::unit::{self, UnitDirectory, UnitStatus};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::Failure;
use crate::cloud::{Cloud, SOCKET, lively};
use crate::gate::{GATE, held};
use crate::run::{Files, Run, Said};
use crate::store::{Store, StoreKind};

/// How long what is left at the end may take to die.
const CLEANUP: Duration = Duration::from_secs(30);

/// The programs that a project needs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// gabion with the fake cloud's provider.
    pub gabion: PathBuf,
    /// The driver, which is the fake cloud too.
    pub driver: PathBuf,
}

/// A project, its user's directories and its cloud.
pub struct Project {
    root: Option<TempDir>,
    directory: PathBuf,
    home: PathBuf,
    programs: Programs,
    store: Store,
    /// Its cloud.
    pub cloud: Cloud,
    variables: Vec<(String, String)>,
    runs: std::cell::Cell<u32>,
}

/// A unit.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its uid.
    pub uid: String,
    /// Its directory.
    pub directory: PathBuf,
    /// The process of its last launch.
    pub process: Option<ProcessIdentity>,
}

impl Unit {
    /// Returns whether its process runs.
    pub fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(ProcessIdentity::is_alive)
    }

    /// Returns every process of its session.
    pub fn session(&self) -> Vec<i32> {
        match unit::inspect(&UnitDirectory::at(&self.directory)) {
            Ok(UnitStatus::Running { mark }) => processes()
                .filter(|stat| stat.session == mark.process.pid)
                .map(|stat| stat.pid)
                .collect(),
            Ok(UnitStatus::Exited { left, .. }) => left,
            _ => Vec::new(),
        }
    }
}

impl Project {
    /// Makes a project without documents, with a lively cloud.
    ///
    /// # Errors
    /// When the operating system or the environment refuse something.
    pub fn new(programs: &Programs, kind: StoreKind, seed: u64) -> Result<Self, Failure> {
        let root = tempfile::Builder::new()
            .prefix("gabion-kill-")
            .tempdir()
            .map_err(|error| error.to_string())?;
        let name = root
            .path()
            .file_name()
            .map(|name| name.to_string_lossy().to_lowercase())
            .unwrap_or_default();
        let store = Store::new(kind, &name, &crate::environment)?;
        let directory = root.path().join("project");
        let home = root.path().join("home");
        for made in [&directory, &home, &root.path().join("runs")] {
            fs::create_dir_all(made).map_err(|error| error.to_string())?;
        }
        let cloud = Cloud::start(&programs.driver, root.path().join("cloud"), seed)?;
        cloud.configure(lively())?;
        let project = Self {
            directory,
            home,
            programs: programs.clone(),
            store,
            cloud,
            variables: Vec::new(),
            runs: std::cell::Cell::new(0),
            root: Some(root),
        };
        project.set_state("")?;
        Ok(project)
    }

    /// Returns the project's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the directory with everything that belongs to it.
    pub fn root(&self) -> &Path {
        self.directory.parent().unwrap_or(&self.directory)
    }

    /// Returns its store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns a name that no other project has.
    pub fn name(&self) -> String {
        let name = self.root().file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Has its commands run with one more variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Writes a file of the project.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.directory.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Returns a command in the project directory, with nothing of this process's environment but PATH.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.programs.gabion);
        command
            .args(arguments)
            .current_dir(&self.directory)
            .env_clear()
            .env("PATH", crate::environment("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .env("USER", "ada")
            .env("COLUMNS", "100")
            .env(SOCKET, self.cloud.socket())
            .env(GATE, self.gate());
        for (name, directory) in [
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_CACHE_HOME", "cache"),
        ] {
            command.env(name, self.home.join(directory));
        }
        let variables = self.store.variables().iter().chain(&self.variables);
        command.envs(variables.map(|(name, value)| (name, value)));
        command
    }

    /// Returns where a gate's file is; see [`gate`](crate::gate).
    fn gate(&self) -> PathBuf {
        self.root().join("gate")
    }

    /// Makes the next call of this name stop its process, as in `create fake_machine`.
    ///
    /// # Errors
    /// When the gate cannot be written.
    pub fn close_gate(&self, call: &str) -> Result<(), Failure> {
        // One that was killed at the gate left this behind.
        drop(fs::remove_file(held(&self.gate())));
        fs::write(self.gate(), call).map_err(|error| error.to_string())
    }

    /// Waits until a run stands still at the gate.
    ///
    /// # Errors
    /// When it ends or goes on instead.
    pub fn at_gate(&self, run: &mut Run) -> Result<(), Failure> {
        let held = held(&self.gate());
        run.until("it stands still at the gate", |run| {
            held.exists() && run.stands_still()
        })
    }

    /// Lets a run that stands still at the gate go on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn open_gate(&self, run: &Run) -> Result<(), Failure> {
        fs::remove_file(held(&self.gate())).map_err(|error| error.to_string())?;
        run.resume()
    }

    /// Sets what the project's state is, beside its store: lines such as `lease: 10s`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_state(&self, more: &str) -> Result<(), Failure> {
        self.write("gabion.yml", &self.store.settings_file("kills", more))
    }

    /// Starts a command that nobody answers.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, arguments: &[&str]) -> Result<Run, Failure> {
        let files = self.files();
        let mut command = self.command(arguments);
        if matches!(arguments.first(), Some(&("apply" | "destroy"))) {
            command.arg("--events").arg(&files.events);
        }
        Run::deaf(&mut command);
        Run::start(command, files)
    }

    /// Starts a command on a terminal of its own, where somebody may type.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_on_terminal(&self, arguments: &[&str]) -> Result<Run, Failure> {
        // Python is there wherever the tests run, and its standard library has a pseudo-terminal.
        const ON_TERMINAL: &str =
            "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
        let gabion = self.command(&[]);
        let mut command = Command::new("python3");
        command
            .args(["-c", ON_TERMINAL])
            .arg(&self.programs.gabion)
            .args(arguments)
            .current_dir(&self.directory)
            .env_clear()
            .env("TERM", "xterm")
            .stdin(Stdio::piped());
        for (name, value) in gabion.get_envs() {
            command.envs(value.map(|value| (name, value)));
        }
        Run::start(command, self.files())
    }

    /// Returns where the next run's outputs go.
    fn files(&self) -> Files {
        let number = self.runs.get();
        self.runs.set(number + 1);
        let file = |kind: &str| self.root().join("runs").join(format!("{number:04}.{kind}"));
        Files {
            stdout: file("out"),
            stderr: file("err"),
            events: file("events"),
        }
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub fn run(&self, arguments: &[&str]) -> Result<Said, Failure> {
        self.start(arguments)?.finish()
    }

    /// Returns the units of its user, running or not.
    pub fn units(&self) -> Vec<Unit> {
        let mut units = units_below(&self.home);
        units.sort_by(|left, right| left.uid.cmp(&right.uid));
        units
    }

    /// Returns every process that runs with this user's HOME.
    pub fn processes(&self) -> Vec<i32> {
        let home = format!("HOME={}\0", self.home.display());
        processes()
            .map(|stat| stat.pid)
            .filter(|pid| {
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                String::from_utf8_lossy(&environment).contains(&home)
            })
            .collect()
    }

    /// Keeps the directory for whoever looks into what failed, and returns it.
    pub fn keep(&mut self) -> PathBuf {
        if let Ok(dump) = self.cloud.dump() {
            // What can be saved helps; the failure is told anyway.
            drop(fs::write(self.root().join("cloud.txt"), format!("{dump:#?}\n")));
        }
        match self.root.take() {
            Some(root) => root.keep(),
            None => self.root().to_owned(),
        }
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // Whatever `destroy` left: by the pids of this user's processes, never by name.
        let end = Instant::now() + CLEANUP;
        loop {
            let left = self.processes();
            if left.is_empty() || Instant::now() >= end {
                return;
            }
            for pid in left {
                // It may be gone by now.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Returns the processes that run; one that ended and was not reaped does not.
pub(crate) fn processes() -> impl Iterator<Item = ProcessStat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| ProcessStat::read(entry.file_name().to_str()?.parse().ok()?))
        .filter(|stat| stat.state != 'Z')
}

pub(crate) fn units_below(directory: &Path) -> Vec<Unit> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        if path.join("launch.json").is_file() || path.join("mark.json").is_file() {
            let mark = UnitDirectory::at(&path).mark().ok().flatten();
            found.push(Unit {
                uid: entry.file_name().to_string_lossy().into_owned(),
                directory: path,
                process: mark.map(|mark| mark.process),
            });
        } else {
            found.extend(units_below(&path));
        }
    }
    found
}
