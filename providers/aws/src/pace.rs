//! How fast each API is called: as fast as one likes, until AWS says that it is too fast.
//!
//! AWS counts calls per account, region and operation. After a throttled call the next ones of the same operation are
//! spaced out, twice as far with each further refusal; each success brings them closer again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How far apart calls are after the first refusal.
const FIRST: Duration = Duration::from_millis(100);
/// How far apart they are at most.
const MOST: Duration = Duration::from_secs(5);
/// Closer than this is no limit any more.
const NONE: Duration = Duration::from_millis(20);

/// The paces of the operations of one place.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<BTreeMap<&'static str, Spacing>>);

#[derive(Debug)]
struct Spacing {
    apart: Duration,
    next: Instant,
}

impl Pace {
    fn spacings(&self) -> MutexGuard<'_, BTreeMap<&'static str, Spacing>> {
        // Every change is a plain assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the operation may be called.
    pub(crate) async fn turn(&self, operation: &'static str) {
        let at = match self.spacings().get_mut(operation) {
            None => return,
            Some(spacing) => {
                let at = spacing.next.max(Instant::now());
                spacing.next = at + spacing.apart;
                at
            }
        };
        tokio::time::sleep_until(at).await;
    }

    /// Notes that a call was refused for being too fast.
    pub(crate) fn throttled(&self, operation: &'static str) {
        let mut spacings = self.spacings();
        let now = Instant::now();
        let spacing = spacings.entry(operation).or_insert(Spacing {
            apart: Duration::ZERO,
            next: now,
        });
        spacing.apart = (spacing.apart * 2).clamp(FIRST, MOST);
        spacing.next = spacing.next.max(now + spacing.apart);
    }

    /// Notes that a call was served.
    pub(crate) fn went_well(&self, operation: &'static str) {
        let mut spacings = self.spacings();
        if let Some(spacing) = spacings.get_mut(operation) {
            spacing.apart = spacing.apart * 4 / 5;
            if spacing.apart < NONE {
                spacings.remove(operation);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_spaces_the_calls_of_its_operation_only_and_successes_end_that() {
        let pace = Pace::default();
        let began = Instant::now();
        pace.turn("A").await;
        pace.throttled("A");
        pace.throttled("A");
        pace.turn("B").await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        pace.turn("A").await;
        pace.turn("A").await;
        assert!(
            began.elapsed() >= Duration::from_millis(400),
            "{:?}",
            began.elapsed()
        );
        for _ in 0..12 {
            pace.went_well("A");
        }
        assert!(pace.spacings().is_empty());
    }
}
