//! Where a project's state is, and how a command gets at it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gabion_engine::address::{IdSource, Lineage, RandomIds, RunId};
use gabion_engine::config::{Plugin, Settings, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use gabion_engine::state::event::Holder;
use gabion_engine::state::fingerprint::{FingerprintKey, read_key_file, read_or_create_key_file};
use gabion_engine::state::head::HeadMark;
use gabion_engine::state::lease::{DEFAULT_LEASE_LENGTH, HeartbeatMode};
use gabion_engine::state::load_for_reading;
use gabion_engine::state::process::{Liveness, Processes};
use gabion_engine::state::store::{LeaseView, StoreError};
use gabion_engine::state::{Journal, JournalOptions, OpenError, State, StateStore, SystemClock};

use crate::failure::Failure;
use crate::lasting::lasting;
use crate::options::Options;
use crate::output::Printer;
use crate::project::{LoadedProject, print_warnings};
use crate::state_failure::{key_failure, open_failure, store_failure};
use crate::wiring::{self, StorePlace};

/// The variable that holds the fingerprint key instead of the file.
const KEY_VARIABLE: &str = "GABION_KEY";

/// A project's store, and what shows that it lost nothing.
pub(crate) struct StateAccess {
    /// The store.
    pub(crate) store: Arc<dyn StateStore>,
    /// What shows that it lost nothing.
    pub(crate) mark: HeadMark,
    project: Arc<str>,
    settings: Settings,
    stack: Option<String>,
}

impl StateAccess {
    /// Finds the state of a project. Nothing is opened or made yet.
    pub(crate) fn of(project: &LoadedProject, options: &Options) -> Result<Self, Failure> {
        Self::in_store(project, options, project.project.settings.state.as_ref())
    }

    /// Finds the state of a project in a store that its settings do not name, or not yet.
    pub(crate) fn in_store(
        project: &LoadedProject,
        options: &Options,
        state: Option<&Plugin>,
    ) -> Result<Self, Failure> {
        let directory = project.directory()?;
        let settings = &project.project.settings;
        // Settings that cannot be read name no store, and a wrong one would look like a new project.
        if project.settings_have_errors() {
            return Err(project.every_problem(options)?.into());
        }
        let place = StorePlace {
            directory,
            settings: project.settings_directory()?,
            project: &settings.project.value,
            stack: options.stack.as_deref(),
            environment: &options.environment,
        };
        let store = match project.early_store(state) {
            Some(store) => store,
            None => wiring::open_store(state, place)?,
        };
        let mark = HeadMark::new(
            &options.dirs.state,
            directory,
            options.stack.as_deref().unwrap_or_default(),
        );
        Ok(Self {
            store,
            mark,
            project: settings.project.value.as_str().into(),
            settings: settings.clone(),
            stack: options.stack.clone(),
        })
    }

    /// Loads the state, for a command that only reads. A new project's is empty.
    pub(crate) async fn load(&self) -> Result<State, Failure> {
        let state = self.load_anew().await?;
        // Every later state shares most of it.
        lasting(state.clone());
        Ok(state)
    }

    /// Loads the state, for a command that does so again and again and keeps none of it.
    pub(crate) async fn load_anew(&self) -> Result<State, Failure> {
        let state = load_for_reading(&*self.store, Some(&self.mark))
            .await
            .map_err(open_failure)?;
        self.check_lineage(state.lineage)?;
        Ok(state)
    }

    /// Returns whether the state was created, without reading it. Whoever opens its log reads it.
    pub(crate) async fn is_there(&self) -> Result<bool, Failure> {
        match self.store.lease().await {
            Ok(_) => Ok(true),
            // One that is pinned and missing, or that was there before, is an error.
            Err(StoreError::NotFound { .. }) => Ok(self.load().await?.lineage.is_some()),
            Err(error) => Err(store_failure(&error)),
        }
    }

    /// Loads the state of a project that has one.
    pub(crate) async fn load_existing(&self) -> Result<State, Failure> {
        self.existing(self.load().await?)
    }

    /// Loads the state of a project that has one, for a command that keeps none of it.
    pub(crate) async fn load_existing_anew(&self) -> Result<State, Failure> {
        self.existing(self.load_anew().await?)
    }

    fn existing(&self, state: State) -> Result<State, Failure> {
        if state.lineage.is_none() {
            return Err(Failure::new("nothing is recorded yet")
                .detail(format!("There is no state at {}.", self.store.location()))
                .hint("the first apply makes it:\n    gabion apply"));
        }
        Ok(state)
    }

    /// Takes the lease and opens the log for writing; a new project's log is created.
    pub(crate) async fn journal(
        &self,
        options: &Options,
        operation: &str,
        lock_timeout: Duration,
        key: Option<Arc<FingerprintKey>>,
    ) -> Result<Journal, Failure> {
        let journal = self.open_journal(options, operation, lock_timeout, key).await?;
        if let Some(failure) = leaving(&journal.state(), options) {
            // Nothing was written; the lease would run out by itself.
            let _ = journal.close().await;
            return Err(failure);
        }
        Ok(journal)
    }

    /// Like [`journal`](Self::journal), for moving objects to another stack: also when an earlier attempt was
    /// interrupted, which nothing but another one can finish.
    pub(crate) async fn moving_journal(
        &self,
        options: &Options,
        operation: &str,
        lock_timeout: Duration,
    ) -> Result<Journal, Failure> {
        self.open_journal(options, operation, lock_timeout, None).await
    }

    async fn open_journal(
        &self,
        options: &Options,
        operation: &str,
        lock_timeout: Duration,
        key: Option<Arc<FingerprintKey>>,
    ) -> Result<Journal, Failure> {
        let journal_options = JournalOptions {
            lineage: self.pinned().map(|pinned| pinned.value),
            ..self.journal_options(options, operation, lock_timeout, key)
        };
        match Journal::open(self.store.clone(), journal_options).await {
            Ok(journal) => Ok(journal),
            Err(error) => {
                if let OpenError::OtherLineage { found, .. } = error {
                    self.check_lineage(found)?;
                }
                Err(open_failure(error))
            }
        }
    }

    /// Returns how this process writes, to whatever state there is.
    pub(crate) fn journal_options(
        &self,
        options: &Options,
        operation: &str,
        lock_timeout: Duration,
        key: Option<Arc<FingerprintKey>>,
    ) -> JournalOptions {
        let ids = RandomIds;
        JournalOptions {
            project: self.project.clone(),
            holder: self.holder(options, operation),
            run: RunId::from_uuid(ids.next()),
            lease_length: self
                .settings
                .lease
                .as_ref()
                .map_or(DEFAULT_LEASE_LENGTH, |lease| lease.value),
            lock_timeout,
            heartbeat: HeartbeatMode::Thread,
            processes: Processes::default(),
            key,
            head_mark: Some(self.mark.clone()),
            lineage: None,
            clock: Arc::new(SystemClock),
            ids: Arc::new(ids),
        }
    }

    /// Returns this process as a holder of the lease.
    pub(crate) fn holder(&self, options: &Options, operation: &str) -> Holder {
        Holder {
            who: options.who(),
            host: options.host(),
            // Without /proc the holder's life cannot be looked at, and its heartbeat decides.
            process: Processes::default().own().ok(),
            operation: operation.to_owned(),
        }
    }

    /// Returns who holds the lease, unless it is a process of this machine that is gone.
    pub(crate) async fn live_holder(&self) -> Result<Option<Holder>, Failure> {
        let view = match self.store.lease().await {
            Ok(view) => view,
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => return Err(store_failure(&error)),
        };
        let alive = |view: &LeaseView| {
            Processes::default().holder_liveness(&view.holder, self.store.is_local()) != Liveness::Gone
        };
        Ok(view.filter(alive).map(|view| view.holder))
    }

    /// Returns the lineage that the project pins for this state.
    pub(crate) fn pinned(&self) -> Option<&Spanned<Lineage>> {
        self.settings.lineage_of(self.stack.as_deref())
    }

    /// Says that a state which others can reach should be pinned, when it is not.
    pub(crate) fn remind_to_pin(&self, state: &State, printer: &Printer) {
        let (None, Some(lineage), Some(store)) = (self.pinned(), state.lineage, &self.settings.state) else {
            return;
        };
        if !wiring::is_remote(Some(store)) {
            return;
        }
        let warning = Diagnostic::warning("unpinned", "the state is not pinned")
            .detail(format!(
                "If the state at {} were lost, a machine that never used it would take this for a new project.",
                self.store.location()
            ))
            .at(store.plugin_type.span.clone())
            .hint(format!(
                "`gabion init` writes its lineage into `{}`:\n{}",
                self.settings.file.path(),
                pin_lines(self.stack.as_deref(), lineage)
            ));
        print_warnings(printer, &Diagnostics::from(warning));
    }

    /// Checks that a lineage is the one that the project pins; having none is as wrong as having another one.
    pub(crate) fn check_lineage(&self, lineage: Option<Lineage>) -> Result<(), Failure> {
        let Some(pinned) = self.pinned() else {
            return Ok(());
        };
        let location = self.store.location();
        let problem = match lineage {
            Some(found) if found == pinned.value => return Ok(()),
            Some(found) => Diagnostic::error("other-lineage", "this is another project's state")
                .detail(format!(
                    "The project pins the lineage {}, and the state at {location} has the lineage {found}.",
                    pinned.value
                ))
                .hint("name the right store under `state`, or take the pinned lineage out"),
            None => Diagnostic::error("missing-state", "the state is missing")
                .detail(format!(
                    "The project pins the lineage {}, and there is no state at {location}.",
                    pinned.value
                ))
                .hint(
                    "name the right store under `state`, restore the state from a copy (`gabion state push FILE`), or find the \
                     project's objects again:\n    gabion state rebuild\nOnly to begin a new project, take the pinned lineage out",
                ),
        };
        Err(problem.at(pinned.span.clone()).into())
    }
}

/// Words that objects are on their way to another stack, if any are.
fn leaving(state: &State, options: &Options) -> Option<Failure> {
    let to = state.leaving.values().next()?;
    let addresses: Vec<String> = state
        .leaving
        .iter()
        .filter(|(_, other)| *other == to)
        .filter_map(|(uid, _)| state.record(*uid))
        .map(|record| record.address.to_string())
        .collect();
    let stack = match &*to.stack {
        "" => "default",
        stack => stack,
    };
    Some(
        Failure::new("objects are on their way to another stack")
            .detail(format!(
                "Moving {} to the stack `{stack}` was interrupted. Nothing was changed.",
                addresses.join(", ")
            ))
            .hint(format!(
                "finish it:\n    {} state mv --to-stack {stack} {}",
                options.program,
                addresses.join(" ")
            )),
    )
}

/// Returns the lines of the settings that pin a state.
pub(crate) fn pin_lines(stack: Option<&str>, lineage: Lineage) -> String {
    match stack {
        None => format!("lineage: {lineage}"),
        Some(stack) => format!("stacks:\n  {stack}:\n    lineage: {lineage}"),
    }
}

/// Returns where the user's fingerprint key is.
pub(crate) fn key_path(options: &Options) -> PathBuf {
    options.dirs.config.join("fingerprint.key")
}

/// Returns the key that secrets are fingerprinted with, if the user has one.
pub(crate) fn existing_key(options: &Options) -> Result<Option<Arc<FingerprintKey>>, Failure> {
    match options.environment.set(KEY_VARIABLE) {
        Some(text) => FingerprintKey::parse(text, KEY_VARIABLE).map(Some),
        None => read_key_file(&key_path(options)),
    }
    .map(|key| key.map(Arc::new))
    .map_err(|error| key_failure(&error))
}

/// Returns the key that secrets are fingerprinted with, made now if the user has none.
pub(crate) fn key_for_writing(options: &Options) -> Result<Arc<FingerprintKey>, Failure> {
    match options.environment.set(KEY_VARIABLE) {
        Some(text) => FingerprintKey::parse(text, KEY_VARIABLE),
        None => read_or_create_key_file(&key_path(options)),
    }
    .map(Arc::new)
    .map_err(|error| key_failure(&error))
}
