//! What the tests begin with.

use std::path::PathBuf;
use std::time::Duration;

use gabion_engine::state::event::Holder;
use gabion_engine::state::process::Processes;
use gabion_engine::state::sqlite::SqliteStore;
use gabion_engine::state::store::{LeaseRequest, StateStore};
use gabion_kill_loop::Failure;
use gabion_kill_loop::cloud::lively;
use gabion_kill_loop::project::{Programs, Project};
use gabion_kill_loop::run::Run;
use gabion_kill_loop::store::StoreKind;
use gabion_testing::fake::api::{Described, Settings};

/// How a test ends.
pub(crate) type Ends = Result<(), Failure>;

pub(crate) fn programs() -> Programs {
    Programs {
        gabion: env!("CARGO_BIN_EXE_gabion-over-fake-cloud").into(),
        driver: env!("CARGO_BIN_EXE_gabion-kill-loop").into(),
    }
}

/// Makes a project on SQLite with these documents, whose cloud is quick and consistent.
pub(crate) fn project(documents: &str) -> Result<Project, Failure> {
    project_on(StoreKind::Sqlite, documents)
}

/// Makes such a project on another store.
pub(crate) fn project_on(store: StoreKind, documents: &str) -> Result<Project, Failure> {
    let project = Project::new(&programs(), store, 1)?;
    project.cloud.configure(Settings {
        consistency: Duration::ZERO,
        ..lively()
    })?;
    project.write("main.gabion.yml", documents)?;
    Ok(project)
}

/// One machine of the cloud.
pub(crate) fn machine(name: &str, more: &str) -> String {
    format!(
        "type: resource\nkind: fake_machine\nname: {name}\nproperties: {{name: {name}, image: one{more}}}\n"
    )
}

/// Something that is made after something else.
pub(crate) fn after(name: &str, of: &str) -> String {
    format!("type: resource\nkind: gabion_data\nname: {name}\nproperties: {{input: '${{{{ {of}.id }}}}'}}\n")
}

/// Returns the machines of the cloud.
pub(crate) fn machines(project: &Project) -> Result<Vec<Described>, Failure> {
    let mut objects = project.cloud.dump()?.objects;
    objects.retain(|object| object.resource_type == "fake_machine");
    Ok(objects)
}

/// Checks that an apply succeeds, and that nothing is left to do after it.
pub(crate) fn settles(project: &Project) -> Ends {
    project.run(&["apply", "-y"])?.exits(0)?;
    empty(project)
}

/// Checks that nothing is left to do.
pub(crate) fn empty(project: &Project) -> Ends {
    project.run(&["plan", "--detailed-exitcode"])?.exits(0)?;
    project.run(&["state", "verify"])?.exits(0)?;
    Ok(())
}

/// Returns the serial of the state.
pub(crate) fn serial(project: &Project) -> Result<u64, Failure> {
    let list = project
        .run(&["state", "list", "--format", "json"])?
        .exits(0)?
        .json()?;
    list["serial"].as_u64().ok_or_else(|| "no serial".to_owned())
}

/// Returns the database of a project on SQLite.
pub(crate) fn database(project: &Project) -> PathBuf {
    project.directory().join(".gabion/state.db")
}

/// Takes the lease of a project as this test's process, which lives on.
pub(crate) fn hold(project: &Project) -> Result<SqliteStore, Failure> {
    let store = SqliteStore::at(database(project));
    let request = LeaseRequest {
        holder: Holder {
            who: "grace".to_owned(),
            host: "here".to_owned(),
            process: Processes::default().own().ok(),
            operation: "apply".to_owned(),
        },
        length: Duration::from_secs(300),
        at: "2026-01-01T00:00:00Z"
            .parse()
            .map_err(|error| format!("{error}"))?,
        replaces: None,
    };
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    runtime
        .block_on(store.take_lease(request))
        .map_err(|error| error.to_string())?;
    Ok(store)
}

/// SQLite's write lock, held by this test's process as by one that was stopped within a commit.
pub(crate) struct WriteLock(rusqlite::Connection);

/// Makes a run stand still where it holds no lock on the store: stopped within a write to SQLite it would keep everybody
/// waiting, which is another test's matter.
pub(crate) fn stand_still(
    project: &Project,
    run: &mut Run,
    mut stop: impl FnMut(&mut Run) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for _ in 0..100 {
        stop(run)?;
        let local = project.store().kind() == StoreKind::Sqlite;
        if !local || WriteLock::within(project, Duration::from_millis(100)).is_ok() {
            return Ok(());
        }
        run.resume()?;
    }
    Err("the run writes all the time".to_owned())
}

impl WriteLock {
    pub(crate) fn take(project: &Project) -> Result<Self, Failure> {
        Self::within(project, Duration::from_secs(30))
    }

    fn within(project: &Project, patience: Duration) -> Result<Self, Failure> {
        let text = |error: rusqlite::Error| error.to_string();
        let connection = rusqlite::Connection::open(database(project)).map_err(text)?;
        connection
            .busy_timeout(patience)
            .and_then(|()| connection.execute_batch("BEGIN IMMEDIATE"))
            .map_err(text)?;
        Ok(Self(connection))
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        // Closing the connection would do it too.
        drop(self.0.execute_batch("ROLLBACK"));
    }
}
