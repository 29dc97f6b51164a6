//! `gabion state push`: a state is put back from a file.

use std::path::Path;

use gabion_engine::state::copy::LogCopy;
use gabion_engine::state::log_file;
use gabion_engine::state::store::{AdoptRequest, StoreError};
use gabion_engine::state::{Head, Journal, JournalOptions, State};

use super::pull::write;
use crate::args::Locking;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::project::LoadedProject;
use crate::render::words::count;
use crate::shell::shell_word;
use crate::state_access::StateAccess;
use crate::state_failure::{open_failure, store_failure};

/// Puts the log of a file where the project's state is.
pub(crate) async fn run(path: &Path, force: bool, locking: Locking, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read_settings(options);
    let access = StateAccess::of(&project, options)?;
    let log = read(path)?;
    access.check_lineage(log.state().lineage)?;
    let there = match access.store.load().await {
        Ok(loaded) => Some(loaded.state),
        Err(StoreError::NotFound { .. }) => None,
        Err(error) => return Err(store_failure(&error)),
    };
    let forced = format!(
        "only if the file is right, replace what is there:\n    {} state push --force {}",
        options.program,
        shell_word(&path.to_string_lossy())
    );
    if !force {
        let mark = access.mark.read().map_err(|error| open_failure(error.into()))?;
        let known = there.as_ref().and_then(State::head).or(mark);
        refuse(&log, known.as_ref(), path, &access).map_err(|failure| failure.hint(forced))?;
    }
    if there.as_ref().and_then(State::head).as_ref() == Some(log.head()) {
        printer.status("The state is there already, as it is in the file.");
        return Ok(Exit::Done);
    }
    match &there {
        None => {
            let request = AdoptRequest {
                log: log.clone(),
                over: None,
            };
            access
                .store
                .adopt(request)
                .await
                .map_err(|error| store_failure(&error))?;
        }
        Some(state) => {
            let replaced = !log.continues(&state.head().unwrap_or_else(|| log.head().clone()));
            // What the mark says is about what is replaced now.
            let journal_options = JournalOptions {
                head_mark: None,
                ..access.journal_options(options, "state push", locking.lock_timeout, None)
            };
            let journal = Journal::open(access.store.clone(), journal_options)
                .await
                .map_err(open_failure)?;
            let done = replace(&access, &journal, &log, replaced, project.directory()?, context).await;
            // What counts is whether it was replaced; the lease would run out by itself.
            let _ = journal.close().await;
            done?;
        }
    }
    access
        .mark
        .write(log.head())
        .map_err(|error| open_failure(error.into()))?;
    printer.status(&format!(
        "The state at {} is that of {} now: {}, serial {}, lineage {}.",
        access.store.location(),
        path.display(),
        count(log.state().len(), "object"),
        log.head().sequence,
        log.head().lineage
    ));
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<LogCopy, Failure> {
    let text = std::fs::read(path).map_err(|error| {
        Failure::new("the file cannot be read").detail(format!("{}: {error}.", path.display()))
    })?;
    log_file::read(&text).map_err(|error| {
        Failure::new("the file holds no state").detail(format!(
            "{}: {}. Nothing was written.",
            path.display(),
            error
        ))
    })
}

/// Refuses what would lose something.
fn refuse(log: &LogCopy, known: Option<&Head>, path: &Path, access: &StateAccess) -> Result<(), Failure> {
    let Some(known) = known else {
        return Ok(());
    };
    let (file, location) = (path.display(), access.store.location());
    let refused =
        |summary: &str, why: String| Err(Failure::new(summary).detail(format!("{why} Nothing was written.")));
    if known.lineage != log.head().lineage {
        return refused(
            "this is another project's state",
            format!(
                "The state of {file} has the lineage {}, and the one at {location} has {}.",
                log.head().lineage,
                known.lineage
            ),
        );
    }
    if log.head().sequence < known.sequence {
        return refused(
            "the file is older",
            format!(
                "The state of {file} ends at serial {}, and the state at {location} at {}.",
                log.head().sequence,
                known.sequence
            ),
        );
    }
    // What compaction dropped cannot be compared.
    let same = log.chain_at(known.sequence);
    if same.is_some_and(|chain| *chain != *known.chain) {
        return refused(
            "the file has another history",
            format!(
                "Event {} of {file} is not the one that was written at {location}.",
                known.sequence
            ),
        );
    }
    Ok(())
}

/// Replaces the log under the lease, after a copy of it was kept if it is not part of the new one.
async fn replace(
    access: &StateAccess,
    journal: &Journal,
    log: &LogCopy,
    replaced: bool,
    directory: &Path,
    context: &Context,
) -> Result<(), Failure> {
    let now = journal.state();
    if replaced {
        let copy = LogCopy::read(&*access.store, journal.epoch())
            .await
            .map_err(|error| store_failure(&error))?;
        let kept = directory.join(".gabion");
        std::fs::create_dir_all(&kept).map_err(|error| {
            Failure::new("no copy can be kept").detail(format!("{}: {error}.", kept.display()))
        })?;
        let lineage = copy.head().lineage.to_string();
        let name = format!("replaced-{}-{}.json", &lineage[..8], copy.head().sequence);
        write(&kept.join(&name), &copy)?;
        context.printer.status(&format!(
            "Kept what was there, serial {}, in .gabion/{name}.",
            now.serial
        ));
    }
    let request = AdoptRequest {
        log: log.clone(),
        over: Some(journal.epoch()),
    };
    access
        .store
        .adopt(request)
        .await
        .map(|_| ())
        .map_err(|error| store_failure(&error))
}
