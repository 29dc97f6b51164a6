//! `gabion state compact`: old history is dropped.

use gabion_engine::state::history::{RunEntry, runs};
use jiff::Timestamp;

use crate::args::Locking;
use crate::asking::{approve, nobody_to_ask};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupts;
use crate::project::LoadedProject;
use crate::render::words::count;
use crate::state_access::StateAccess;
use crate::state_failure::{journal_failure, store_failure};

/// Which history is kept.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kept {
    /// That of the last runs.
    Runs(usize),
    /// That of runs which ended then or later.
    Since(Timestamp),
}

impl Kept {
    pub(super) fn of(runs: Option<usize>, since: Option<Timestamp>) -> Self {
        match since {
            Some(since) => Self::Since(since),
            None => Self::Runs(runs.unwrap_or(usize::MAX)),
        }
    }

    /// Returns the last serial that goes: whole runs only, from the oldest on.
    fn drops_up_to(self, runs: &[RunEntry]) -> u64 {
        let dropped = match self {
            Self::Runs(kept) => runs.len().saturating_sub(kept),
            Self::Since(since) => runs.iter().take_while(|run| run.ended < since).count(),
        };
        dropped
            .checked_sub(1)
            .and_then(|last| runs.get(last))
            .map_or(0, |run| run.after)
    }
}

/// Drops history of whole runs, after asking.
pub(super) async fn run(kept: Kept, yes: bool, locking: Locking, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let interrupts = Interrupts::listen(printer)?;
    let project = LoadedProject::read_settings(options);
    let access = StateAccess::of(&project, options)?;
    let state = access.load_existing().await?;
    let all = runs(&*access.store)
        .await
        .map_err(|error| store_failure(&error))?;
    let up_to = kept.drops_up_to(&all);
    let dropped = all.iter().filter(|run| run.after <= up_to).count();
    if dropped == 0 {
        printer.status(&format!(
            "Nothing to drop: the history has {}.",
            count(all.len(), "run")
        ));
        return Ok(Exit::Done);
    }
    printer.status(&format!(
        "This drops the history of {} of {}, up to serial {up_to} of {}. The state stays as it is; `history`, `show --at` \
         and `diff` reach back to serial {up_to} then.",
        dropped,
        count(all.len(), "run"),
        state.serial
    ));
    if !yes {
        if !printer.can_ask() {
            return Err(nobody_to_ask("run it again with -y".to_owned()));
        }
        approve("Drop it?", printer, &interrupts).await?;
    }
    let opening = access.journal(options, "state compact", locking.lock_timeout, None);
    let journal = interrupts.unless(opening).await??;
    let compacted = access.store.compact(journal.epoch(), up_to).await;
    let closed = journal.close().await;
    let events = compacted.map_err(|error| store_failure(&error))?;
    closed.map_err(|error| journal_failure(&error))?;
    let events = usize::try_from(events).map_err(|_| Failure::bug("more events than memory"))?;
    printer.status(&format!("Dropped {}.", count(events, "event")));
    Ok(Exit::Done)
}
