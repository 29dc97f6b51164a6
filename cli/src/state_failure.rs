//! Why a state cannot be had or written, in words.

use gabion_engine::state::fingerprint::KeyError;
use gabion_engine::state::head::HeadError;
use gabion_engine::state::store::{StoreError, describe_holder};
use gabion_engine::state::{JournalError, OpenError};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::shell::shell_word;

/// Words why the key that secrets are fingerprinted with cannot be used.
pub(crate) fn key_failure(error: &KeyError) -> Failure {
    let failure = Failure::new("the fingerprint key cannot be used").because(&error);
    with_hint(failure, error.hint())
}

/// Words why a state could not be opened.
pub(crate) fn open_failure(error: OpenError) -> Failure {
    match error {
        OpenError::Store(error) | OpenError::Head(HeadError::Store(error)) => store_failure(&error),
        OpenError::Head(error) => {
            let summary = match error {
                HeadError::Unreadable { .. } | HeadError::Write { .. } => "the state cannot be used",
                _ => "the state lost something",
            };
            with_hint(
                Failure::new(summary).because(&error),
                error.hint(),
            )
        }
        OpenError::Moved { location, to } => Failure::new("the state was moved")
            .detail(format!("The state that was at {location} is at {to} now."))
            .hint(format!(
                "get the `gabion.yml` that names the new place, or finish the move:\n    gabion state migrate --to {}",
                shell_word(&to)
            )),
        // Whoever names a lineage words it with the place that does.
        OpenError::OtherLineage { .. } => Failure::new("this is another project's state")
            .because(&error),
        OpenError::Thread(error) => {
            Failure::new("cannot start").because(&error)
        }
    }
}

/// Words why a store could not do what was asked.
pub(crate) fn store_failure(error: &StoreError) -> Failure {
    let told = |summary: &str| Failure::new(summary).because(error);
    let failure = match error {
        StoreError::Locked(view) => Failure::new("the state is locked")
            .detail(format!(
                "{} has held it since {:.0}.\nIts last sign of life was at {:.0}. A holder that is gone is replaced at \
                 once; one on another machine when it gives no sign of life for {} seconds.",
                describe_holder(&view.holder),
                view.since,
                view.renewed,
                view.length.as_secs()
            ))
            .exit(Exit::Locked),
        StoreError::NewerFormat { .. } => told("the state was written by a newer gabion"),
        StoreError::Busy { .. } => told("the state is busy").exit(Exit::Locked),
        StoreError::MissingKey { .. } => told("the state is encrypted"),
        StoreError::Unreadable { .. } => told("the state cannot be read"),
        _ => told("the state cannot be used"),
    };
    with_hint(failure, error.hint())
}

fn with_hint(failure: Failure, hint: Option<String>) -> Failure {
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Words why the log could not be written.
pub(crate) fn journal_failure(error: &JournalError) -> Failure {
    Failure::new("the state could not be written").because(&error)
}
