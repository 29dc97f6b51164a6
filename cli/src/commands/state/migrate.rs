//! `gabion state migrate`: the state goes on in another store, with its history.

use std::collections::BTreeSet;

use gabion_engine::state::migrate::{MigrateError, Migrated, Migration, migrate};
use gabion_engine::state::store::StoreError;
use gabion_engine::words::sentence;

use crate::args::Locking;
use crate::commands::init_store::plugin_of;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::options::Options;
use crate::project::LoadedProject;
use crate::render::words::count;
use crate::shell::shell_word;
use crate::state_access::StateAccess;
use crate::state_failure::{journal_failure, open_failure, store_failure};
use crate::store::{Kept, SettingsFile, StoreUrl};
use crate::wiring;

/// Moves the state of every stack, then writes the settings.
pub(crate) async fn run(to: &str, locking: Locking, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let url = wiring::store_of_url(to)?;
    if let Some(stack) = &options.stack {
        return Err(Failure::new("one stack cannot move alone")
            .detail(format!(
                "`state` in the settings holds for all stacks, so `{stack}` moves with the others."
            ))
            .hint(format!("gabion state migrate --to {}", shell_word(to))));
    }
    let project = LoadedProject::read_settings(options);
    let kept = Kept::of(&project.project.settings);
    let plugin = plugin_of(&url, &kept)?;
    let mut file = SettingsFile::of(&project)?;
    file.set_store(&url, &kept);
    let (mut known, mut moved) = (0, 0);
    for stack in stacks(&project)? {
        let options = of_stack(options, stack.as_deref());
        let source = StateAccess::of(&project, &options)?;
        let target = StateAccess::in_store(&project, &options, Some(&plugin))?;
        let same = source.store.location() == target.store.location();
        let state = match source.store.load().await {
            Ok(loaded) => loaded.state,
            Err(StoreError::NotFound { .. }) => {
                source.check_lineage(None)?;
                continue;
            }
            Err(error) => return Err(store_failure(&error)),
        };
        source.check_lineage(state.lineage)?;
        known += 1;
        if same {
            continue;
        }
        let migration = Migration {
            to: url.text.as_str().into(),
            options: source.journal_options(&options, "state migrate", locking.lock_timeout, None),
        };
        let done = migrate(source.store.clone(), &*target.store, migration)
            .await
            .map_err(|error| failure(error, &target, &url, &options))?;
        printer.status(&told(&done, stack.as_deref(), &source, &target));
        file.pin(stack.as_deref(), done.head.lineage);
        moved += 1;
    }
    if known == 0 {
        return Err(Failure::new("there is no state to move")
            .detail("Nothing is recorded for this project yet.")
            .hint(format!(
                "make it where it should be:\n    {} init --store {}",
                options.program,
                shell_word(to)
            )));
    }
    let written = file.write()?;
    if moved == 0 && !written {
        printer.status("The state is there already.");
        return Ok(Exit::Done);
    }
    printer.status(&format!(
        "{} names the store now: commit it. Who still has the old one is told where the state went.",
        project.project.settings.file.path()
    ));
    Ok(Exit::Done)
}

fn told(done: &Migrated, stack: Option<&str>, source: &StateAccess, target: &StateAccess) -> String {
    let stack = stack
        .map(|stack| format!(" of stack {stack}"))
        .unwrap_or_default();
    let (from, to) = (source.store.location(), target.store.location());
    if done.resumed {
        return format!("The state{stack} had been moved from {from} to {to} already.");
    }
    format!(
        "Moved the state{stack} from {from} to {to}: {}, serial {}, lineage {}.",
        count(done.events, "event"),
        done.head.sequence,
        done.head.lineage
    )
}

/// Returns every stack that is known to have a state: none's, those of the settings, those with a database here.
fn stacks(project: &LoadedProject) -> Result<BTreeSet<Option<String>>, Failure> {
    let mut stacks = BTreeSet::from([None]);
    stacks.extend(project.project.settings.stacks.keys().cloned().map(Some));
    let local = project.directory()?.join(".gabion/stacks");
    for entry in std::fs::read_dir(local).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(stack) = name.to_str().and_then(|name| name.strip_suffix(".db")) {
            stacks.insert(Some(stack.to_owned()));
        }
    }
    Ok(stacks)
}

fn of_stack(options: &Options, stack: Option<&str>) -> Options {
    let mut options = options.clone();
    options.stack = stack.map(str::to_owned);
    options
}

fn failure(error: MigrateError, target: &StateAccess, url: &StoreUrl, options: &Options) -> Failure {
    let detail = sentence(&error.to_string());
    match error {
        MigrateError::Open(error) => open_failure(error),
        MigrateError::Store(error) => store_failure(&error),
        MigrateError::Close(error) => journal_failure(&error).hint(format!(
            "what was done is not lost; do the rest:\n    {} state migrate --to {}",
            options.program,
            shell_word(&url.text)
        )),
        MigrateError::Elsewhere { to, .. } => Failure::new("the state was moved elsewhere")
            .detail(detail)
            .hint(format!(
                "finish that first, and move it on from there:\n    {} state migrate --to {}",
                options.program,
                shell_word(&to)
            )),
        MigrateError::OtherLineage { .. } => Failure::new("there is another state")
            .detail(format!("{detail} Nothing was written."))
            .hint("give each project a place of its own: another prefix, another schema or database"),
        MigrateError::NotABeginning { .. } => Failure::new("there is another state")
            .detail(format!("{detail} Nothing was written."))
            .hint(format!(
                "look at both with `{} state history`; remove the one at {} only if nobody uses it",
                options.program,
                target.store.location()
            )),
        MigrateError::Unequal { .. } => Failure::new("the copy is not what was copied").detail(format!(
            "{detail} The state was not moved: the old store is what counts."
        )),
    }
}
