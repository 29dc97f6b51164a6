//! `gabion state rekey`: the state is encrypted with the key of the settings.

use crate::args::Locking;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::project::LoadedProject;
use crate::render::words::count;
use crate::state_access::StateAccess;
use crate::state_failure::{journal_failure, store_failure};
use crate::wiring;

/// Writes again what is not under the key of the settings.
pub(crate) async fn run(locking: Locking, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read_settings(options);
    let access = StateAccess::of(&project, options)?;
    access.load_existing().await?;
    let journal = access
        .journal(options, "state rekey", locking.lock_timeout, None)
        .await?;
    let sealed = access.store.reseal(journal.epoch()).await;
    let closed = journal.close().await;
    let sealed = sealed.map_err(|error| store_failure(&error))?;
    closed.map_err(|error| journal_failure(&error))?;
    let encrypted = wiring::is_encrypted(project.project.settings.state.as_ref());
    let pieces = usize::try_from(sealed).unwrap_or(usize::MAX);
    printer.status(&match (sealed, encrypted) {
        (0, true) => "Everything is under the present key.".to_owned(),
        (0, false) => "Nothing is encrypted, and the settings name no key.".to_owned(),
        (_, true) => format!(
            "Encrypted {} with the present key; keys under `previous` are not needed any more.",
            count(pieces, "piece")
        ),
        (_, false) => format!(
            "Wrote {} without encryption, as the settings name no key.",
            count(pieces, "piece")
        ),
    });
    Ok(Exit::Done)
}
