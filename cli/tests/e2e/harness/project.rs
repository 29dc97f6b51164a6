//! A project of a user of its own: directories, commands, files, and an end that leaves nothing running.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::chat::Endpoint;
use super::command::{Outcome, Running};
use super::files::copy;
use super::http::get;
use super::plan::PlanView;
use super::process::{Unit, kill_process, units_below, with_environment};
use super::wait::eventually;

/// Longer than any one command takes here; the first one may have to install a router's package.
const COMMAND: Duration = Duration::from_secs(240);

/// How long a project may take to end its units.
const CLEANUP: Duration = Duration::from_secs(60);

/// Returns the top of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns the directory of an example.
pub(crate) fn example(name: &str) -> PathBuf {
    root().join("examples").join(name)
}

/// The directories of one user, which several projects may share.
struct Home(TempDir);

impl Home {
    fn xdg(&self, name: &str) -> PathBuf {
        self.0.path().join("home").join(name)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Whatever is left was not ended by `destroy`: by pid and session, never by name.
        let deadline = Instant::now() + CLEANUP;
        while Instant::now() < deadline {
            let left: Vec<i32> = units_below(self.0.path())
                .iter()
                .flat_map(Unit::session)
                .collect();
            if left.is_empty() {
                return;
            }
            left.into_iter().for_each(kill_process);
            thread::sleep(Duration::from_millis(50));
        }
        eprintln!("units below {} could not be ended", self.0.path().display());
    }
}

/// A project in a directory of its own.
pub(crate) struct Project {
    home: Arc<Home>,
    directory: PathBuf,
    program: PathBuf,
    environment: BTreeMap<String, String>,
    destroyed: bool,
}

impl Project {
    /// Makes an empty project of a new user.
    pub(crate) fn empty() -> Self {
        let home = Arc::new(Home(
            tempfile::Builder::new().prefix("gabion-e2e-").tempdir().unwrap(),
        ));
        Self::of(home, "project")
    }

    fn of(home: Arc<Home>, name: &str) -> Self {
        let directory = home.0.path().join(name);
        fs::create_dir_all(&directory).unwrap();
        Self {
            home,
            directory,
            program: PathBuf::from(env!("CARGO_BIN_EXE_gabion")),
            environment: BTreeMap::new(),
            destroyed: false,
        }
    }

    /// Makes a project of a new user from an example's files.
    pub(crate) fn from_example(name: &str) -> Self {
        let project = Self::empty();
        copy(&example(name), &project.directory);
        project
    }

    /// Makes the prefill/decode example, whose engine is that of the quickstart beside it; it answers at once.
    pub(crate) fn separate() -> Self {
        let project = Self::from_example("prefill-decode");
        project.with_engine_beside();
        let text = project.read("service.dstack.yml");
        project.write(
            "service.dstack.yml",
            &text.replace("--model $MODEL_ID", "--model $MODEL_ID --ttft-ms 5 --itl-ms 4"),
        );
        project
    }

    /// Puts the quickstart's engine where examples beside it find it.
    pub(crate) fn with_engine_beside(&self) {
        copy(&example("quickstart"), &self.home.0.path().join("quickstart"));
    }

    /// Makes a quickstart whose engine answers at once, so that what is measured is not the engine.
    pub(crate) fn quick() -> Self {
        let project = Self::from_example("quickstart");
        project.hurry();
        project
    }

    /// Makes another quick quickstart of the same user, in a directory of this name.
    pub(crate) fn beside(&self, name: &str) -> Self {
        let project = Self::of(Arc::clone(&self.home), name);
        copy(&example("quickstart"), &project.directory);
        project.hurry();
        project.edit("gabion.yml", "project: quickstart", &format!("project: {name}"));
        project
    }

    fn hurry(&self) {
        self.engine("--ttft-ms 5 --itl-ms 4");
        self.edit("service.dstack.yml", "interval: 5s", "interval: 1s");
    }

    /// Adds options to the engine's command.
    pub(crate) fn engine(&self, options: &str) {
        self.edit(
            "service.dstack.yml",
            "--model $MODEL_ID",
            &format!("--model $MODEL_ID {options}"),
        );
    }

    /// Sets a variable of the environment that gabion runs in.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Has another gabion manage the project from now on.
    pub(crate) fn use_program(&mut self, program: &Path) {
        self.program = program.to_owned();
    }

    /// The project's directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory above all of the user's own: settings, state, data.
    pub(crate) fn user_directory(&self) -> PathBuf {
        self.home.0.path().join("home")
    }

    /// Writes a file of the project.
    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.directory.join(file), text).unwrap();
    }

    /// Reads a file of the project.
    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.directory.join(file)).unwrap()
    }

    /// Replaces a text in a file, which must have it exactly once.
    #[track_caller]
    pub(crate) fn edit(&self, file: &str, old: &str, new: &str) {
        let text = self.read(file);
        assert_eq!(text.matches(old).count(), 1, "`{old}` in {file}:\n{text}");
        self.write(file, &text.replace(old, new));
    }

    /// Returns a gabion command in the project's directory, with nothing of this process's environment but PATH.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(&self.directory)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.user_directory())
            .env("XDG_CONFIG_HOME", self.home.xdg("config"))
            .env("XDG_STATE_HOME", self.home.xdg("state"))
            .env("XDG_DATA_HOME", self.home.xdg("data"))
            .env("XDG_CACHE_HOME", packages())
            .envs(&self.environment);
        command
    }

    /// Runs gabion to its end.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.start(arguments).finish(COMMAND)
    }

    /// Starts gabion.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    /// Applies the configuration, which must succeed.
    #[track_caller]
    pub(crate) fn apply(&self) -> Outcome {
        self.run(&["apply", "-y"]).succeeds()
    }

    /// Plans.
    #[track_caller]
    pub(crate) fn plan(&self) -> PlanView {
        PlanView(self.run(&["plan", "--format", "json"]).succeeds().json())
    }

    /// Checks that there is nothing to do.
    #[track_caller]
    pub(crate) fn plan_is_empty(&self) {
        self.run(&["plan", "--detailed-exitcode"]).exits(0);
        self.plan().changes_are(&[]);
    }

    /// Destroys everything, which must succeed.
    #[track_caller]
    pub(crate) fn destroy(&mut self) -> Outcome {
        self.destroyed = true;
        self.run(&["destroy", "-y"]).succeeds()
    }

    /// Returns the model endpoint of the project's only model.
    #[track_caller]
    pub(crate) fn endpoint(&self) -> Endpoint {
        let output = self.run(&["output", "--format", "json"]).succeeds().json();
        let endpoints = output["endpoints"]
            .as_object()
            .unwrap_or_else(|| panic!("no endpoints: {output:#}"));
        let base = endpoints
            .values()
            .filter_map(Value::as_str)
            .find(|url| url.ends_with("/v1"))
            .unwrap_or_else(|| panic!("no model endpoint: {output:#}"));
        Endpoint {
            base: base.to_owned(),
            model: "qwen/qwen2.5-0.5b-instruct".to_owned(),
            token: None,
        }
    }

    /// Returns the record of an object.
    #[track_caller]
    pub(crate) fn record(&self, address: &str) -> Value {
        self.run(&["state", "show", address, "--format", "json"])
            .succeeds()
            .json()
    }

    /// Returns an output that is recorded for an object.
    #[track_caller]
    pub(crate) fn attribute(&self, address: &str, name: &str) -> Value {
        let record = self.record(address);
        let found = ["outputs", "inputs"]
            .iter()
            .map(|part| &record[part][name])
            .find(|value| !value.is_null());
        found
            .unwrap_or_else(|| panic!("{address} has no {name}: {record:#}"))
            .clone()
    }

    /// Returns where a unit serves.
    #[track_caller]
    pub(crate) fn url(&self, address: &str) -> String {
        self.attribute(address, "url").as_str().unwrap().to_owned()
    }

    /// Returns the unit of an object.
    #[track_caller]
    pub(crate) fn unit(&self, address: &str) -> Unit {
        let uid = self.attribute(address, "id").as_str().unwrap().to_owned();
        let unit = self.units().into_iter().find(|unit| unit.uid == uid);
        unit.unwrap_or_else(|| panic!("{address} has no unit {uid}"))
    }

    /// Returns every process that was started by the user's projects and still runs.
    pub(crate) fn processes(&self) -> Vec<i32> {
        with_environment(&format!("HOME={}", self.user_directory().display()))
    }

    /// Returns all units of the user.
    pub(crate) fn units(&self) -> Vec<Unit> {
        units_below(&self.user_directory())
    }

    /// Returns the workers that a router has, by URL, with whether it takes them for healthy.
    pub(crate) fn workers(&self, router_url: &str) -> Result<BTreeMap<String, bool>, String> {
        workers_of(router_url)
    }

    /// Returns the workers that a router has, in its own words.
    pub(crate) fn workers_as_told(&self, router_url: &str) -> Result<Vec<Value>, String> {
        workers_as_told(router_url)
    }

    /// Waits until a router has exactly these workers, all healthy.
    #[track_caller]
    pub(crate) fn workers_become(&self, router_url: &str, expected: &[String], limit: Duration) {
        let expected: BTreeMap<String, bool> = expected.iter().map(|url| (url.clone(), true)).collect();
        eventually("the router's workers", limit, || match self.workers(router_url) {
            Ok(workers) if workers == expected => Ok(()),
            Ok(workers) => Err(format!("it has {workers:?}, not {expected:?}")),
            Err(error) => Err(error),
        });
    }

    /// Prints what units said last, for whoever reads why a test failed.
    fn explain(&self) {
        for unit in self.units() {
            let state = if unit.is_running() { "runs" } else { "does not run" };
            eprintln!(
                "--- unit {} {state}; its log ends with\n{}",
                unit.uid,
                unit.log(12)
            );
        }
    }
}

/// Returns the workers that a router has, by URL, with whether it takes them for healthy.
pub(crate) fn workers_of(router_url: &str) -> Result<BTreeMap<String, bool>, String> {
    let of_worker = |worker: &Value| {
        let url = worker["url"].as_str().unwrap_or_default();
        (url.to_owned(), worker["is_healthy"] == true)
    };
    Ok(workers_as_told(router_url)?.iter().map(of_worker).collect())
}

fn workers_as_told(router_url: &str) -> Result<Vec<Value>, String> {
    let workers = get(&format!("{router_url}/workers"))?.json()?;
    let workers = workers["workers"].as_array();
    workers.cloned().ok_or_else(|| "no workers".to_owned())
}

impl Drop for Project {
    fn drop(&mut self) {
        if thread::panicking() {
            self.explain();
        }
        if self.destroyed || !self.directory.join(".gabion").exists() {
            return;
        }
        // Its outputs go nowhere: `Home` ends whatever this does not.
        let mut destroy = self.command(&["destroy", "-y"]);
        destroy
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let Ok(mut child) = destroy.spawn() else { return };
        let deadline = Instant::now() + CLEANUP;
        while child.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() >= deadline {
                child.kill().ok();
                child.wait().ok();
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Returns the directory that router packages are kept in, shared by all tests and all runs.
pub(crate) fn packages() -> PathBuf {
    match std::env::var_os("GABION_TEST_PACKAGES") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(env!("CARGO_TARGET_TMPDIR"))
            .parent()
            .unwrap()
            .join("test-packages"),
    }
}
