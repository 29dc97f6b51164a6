//! `gabion state mv`, `rm`, `taint` and `untaint`: changes by hand, each written to the log.

use gabion_engine::address::ResourceAddress;
use gabion_engine::state::State;
use gabion_engine::state::surgery::{self, Surgery, SurgeryError};

use crate::args::Locking;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::project::LoadedProject;
use crate::render::words::{count, plain};
use crate::state_access::StateAccess;
use crate::state_failure::journal_failure;

/// Gives an object another address.
pub(crate) async fn mv(
    from: &ResourceAddress,
    to: &ResourceAddress,
    locking: Locking,
    context: &Context,
) -> Outcome {
    write("state mv", locking, context, |state| {
        Ok(vec![surgery::rename(state, &[(from.clone(), to.clone())])?])
    })
    .await?;
    context.printer.status(&format!("{from} is now {to}."));
    Ok(Exit::Done)
}

/// Stops managing objects; they go on existing.
pub(crate) async fn rm(addresses: &[ResourceAddress], locking: Locking, context: &Context) -> Outcome {
    each("state rm", addresses, locking, context, surgery::forget).await?;
    context
        .printer
        .status(&format!("{} no longer managed.", are(addresses.len())));
    Ok(Exit::Done)
}

/// Marks objects, so that the next apply replaces them.
pub(crate) async fn taint(addresses: &[ResourceAddress], locking: Locking, context: &Context) -> Outcome {
    each("state taint", addresses, locking, context, surgery::taint).await?;
    let them = if addresses.len() == 1 { "it" } else { "them" };
    context.printer.status(&format!(
        "{} marked; the next apply replaces {them}.",
        are(addresses.len())
    ));
    Ok(Exit::Done)
}

/// Takes such marks away.
pub(crate) async fn untaint(addresses: &[ResourceAddress], locking: Locking, context: &Context) -> Outcome {
    each("state untaint", addresses, locking, context, surgery::untaint).await?;
    context
        .printer
        .status(&format!("{} no longer marked.", are(addresses.len())));
    Ok(Exit::Done)
}

fn are(number: usize) -> String {
    format!(
        "{} {}",
        count(number, "object"),
        if number == 1 { "is" } else { "are" }
    )
}

async fn each(
    operation: &str,
    addresses: &[ResourceAddress],
    locking: Locking,
    context: &Context,
    change: impl Fn(&State, &ResourceAddress) -> Result<Surgery, SurgeryError>,
) -> Result<(), Failure> {
    let mut addresses: Vec<&ResourceAddress> = addresses.iter().collect();
    addresses.sort();
    addresses.dedup();
    write(operation, locking, context, |state| {
        addresses
            .into_iter()
            .map(|address| change(state, address))
            .collect()
    })
    .await
}

/// Takes the lease, works out the changes from the state as it is now, and writes them all or none.
async fn write(
    operation: &str,
    locking: Locking,
    context: &Context,
    changes: impl FnOnce(&State) -> Result<Vec<Surgery>, SurgeryError>,
) -> Result<(), Failure> {
    let Context { options, printer } = context;
    let project = LoadedProject::read_settings(options);
    let access = StateAccess::of(&project, options)?;
    access.load_existing().await?;
    let journal = access
        .journal(options, operation, locking.lock_timeout, None)
        .await?;
    let written = match changes(&journal.state()) {
        Err(refused) => Err(refusal(refused)),
        Ok(changes) => {
            let (events, notes): (Vec<_>, Vec<_>) = changes
                .into_iter()
                .map(|change| (change.event, change.notes))
                .unzip();
            let done = journal.commit(events).await.map(|_| notes);
            done.map_err(|error| journal_failure(&error))
        }
    };
    let closed = journal.close().await.map_err(|error| journal_failure(&error));
    let notes = written?;
    closed?;
    for note in notes.into_iter().flatten() {
        printer.status(&plain(&note));
    }
    Ok(())
}

/// Words why a change by hand is refused.
pub(super) fn refusal(refused: SurgeryError) -> Failure {
    let failure = Failure::new(refused.summary).detail(refused.detail);
    match refused.hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
