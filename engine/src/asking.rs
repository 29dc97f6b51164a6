//! One call to a provider that changes nothing: bounded in time, and apart from whoever asks.

use std::future::Future;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::panic::panic_message;
use crate::provider::{ErrorClass, ProviderError};

/// Makes a call as a task of its own; dropping this stops it. `what` names it in an error, and `timeout` is how long it had
/// until its deadline.
///
/// # Errors
/// The call's own, or that the provider panicked or did not answer in time.
pub(crate) async fn ask<T>(
    what: &str,
    deadline: Instant,
    timeout: Duration,
    call: impl Future<Output = Result<T, ProviderError>> + Send + 'static,
) -> Result<T, ProviderError>
where
    T: Send + 'static,
{
    let mut task = JoinSet::new();
    task.spawn(call);
    match tokio::time::timeout_at(deadline.max(Instant::now()), task.join_next()).await {
        Ok(Some(Ok(result))) => result,
        Ok(Some(Err(error))) => Err(panicked(what, error)),
        Ok(None) => unreachable!("one task was spawned"),
        Err(_) => Err(ProviderError::new(
            ErrorClass::Uncertain,
            format!("{what} did not end within {} s.", timeout.as_secs()),
        )),
    }
}

fn panicked(what: &str, error: JoinError) -> ProviderError {
    let why = match error.try_into_panic() {
        Ok(payload) => panic_message(&*payload),
        Err(_) => "it was stopped".to_owned(),
    };
    ProviderError::new(
        ErrorClass::Uncertain,
        format!("{what} failed because the provider panicked: {why}."),
    )
    .with_hint("this is a bug in the provider; please report it to its authors")
}
