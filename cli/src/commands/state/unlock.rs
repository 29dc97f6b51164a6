//! `gabion state unlock`.

use gabion_engine::state::SystemClock;
use gabion_engine::state::lease::unlock;
use gabion_engine::state::store::{LeaseView, StoreError, describe_holder};

use crate::asking::{approve, nobody_to_ask};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupts;
use crate::project::LoadedProject;
use crate::render::words::plain;
use crate::state_access::StateAccess;
use crate::state_failure::store_failure;

/// Takes the lease away from its holder, because a person says that nothing runs there any more.
pub(crate) async fn run(yes: bool, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let interrupts = Interrupts::listen(printer)?;
    let project = LoadedProject::read_settings(options);
    let access = StateAccess::of(&project, options)?;
    access.load_existing().await?;
    let Some(view) = access
        .store
        .lease()
        .await
        .map_err(|error| store_failure(&error))?
    else {
        printer.status("Nobody holds the state.");
        return Ok(Exit::Done);
    };
    printer.error(&format!(
        "{} has held it since {:.0}; its last sign of life was at {:.0}.\nIf it still runs, what it sent goes on, and its \
         next write fails.",
        plain(&describe_holder(&view.holder)),
        view.since,
        view.renewed
    ));
    if !yes {
        if !printer.can_ask() {
            return Err(nobody_to_ask(format!("{} state unlock -y", options.program)));
        }
        approve("Take it away?", printer, &interrupts).await?;
    }
    unlock(
        &*access.store,
        &view,
        access.holder(options, "state unlock"),
        &SystemClock,
    )
    .await
    .map_err(|error| match error {
        StoreError::Locked(now) => not_taken(&view, &now),
        error => store_failure(&error),
    })?;
    printer.status("Nobody holds the state now.");
    Ok(Exit::Done)
}

/// Words why a lease could not be taken away from its holder.
fn not_taken(seen: &LeaseView, now: &LeaseView) -> Failure {
    let holder = plain(&describe_holder(&now.holder));
    let failure = if now.seen() == seen.seen() {
        // It gave no sign of life, and yet nothing can be written: it was stopped in the middle of a write of its own.
        let failure = Failure::new("the state is busy").detail(format!(
            "{holder} was stopped while it wrote, and nobody can write until it goes on or ends."
        ));
        match &now.holder.process {
            Some(process) => failure.hint(format!(
                "let it go on, or end it; one that is gone is replaced at once:\n    kill -CONT {0}\n    kill -KILL {0}",
                process.pid
            )),
            None => failure,
        }
    } else {
        Failure::new("the state is locked").detail(format!(
            "{holder} holds it, and gave a sign of life just now: it runs."
        ))
    };
    failure.exit(Exit::Locked)
}
