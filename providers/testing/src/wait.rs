//! Waiting for what happens by itself: asked again and again, with a bound, and never for a fixed time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long anything may take, on a slow machine with much other work too.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until an answer is a value, and returns it.
///
/// # Panics
/// When there is none in time; `what` says what did not happen.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ask().await {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "{what} did not happen within {PATIENCE:?}"
        );
        sleep(PAUSE).await;
    }
}
