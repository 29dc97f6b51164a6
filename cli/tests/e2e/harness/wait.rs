//! Waiting for events: polling with a bound, never for a fixed time.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(40);

/// Waits until `check` gives a value; its errors say why not yet.
///
/// # Panics
/// When the limit passes, with the last error.
#[track_caller]
pub(crate) fn eventually<T, E: Display>(
    what: &str,
    limit: Duration,
    mut check: impl FnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match check() {
            Ok(value) => return value,
            Err(error) => {
                if Instant::now() >= deadline {
                    panic!("{what} did not happen within {} s: {error}", limit.as_secs_f32());
                }
            }
        }
        thread::sleep(POLL);
    }
}

/// Runs something that must end within a limit.
#[track_caller]
pub(crate) fn within<T>(limit: Duration, what: &str, run: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let value = run();
    let took = started.elapsed();
    assert!(
        took <= limit,
        "{what} took {:.1} s, more than {:.1} s",
        took.as_secs_f32(),
        limit.as_secs_f32()
    );
    value
}
