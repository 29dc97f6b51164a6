//! When a machine that is away is tried again.
//!
//! To find out that a machine is away takes seconds, and one run has many calls about it. So it is tried once for all of
//! them: what is asked of it afterwards gets the same answer, until a rest is over that grows from try to try.

use std::time::{Duration, Instant};

use gabion_engine::provider::ProviderError;

/// How long a machine rests after each further try that failed; the last one stands for all that follow.
#[derive(Debug, Clone)]
pub struct Rests(pub Vec<Duration>);

impl Default for Rests {
    fn default() -> Self {
        Self([15, 30, 60].map(Duration::from_secs).to_vec())
    }
}

impl Rests {
    fn after(&self, failures: usize) -> Duration {
        let position = failures.saturating_sub(1).min(self.0.len().saturating_sub(1));
        self.0.get(position).copied().unwrap_or_default()
    }
}

/// Why there is no connection to a machine.
#[derive(Debug, Clone)]
pub(crate) struct NoConnection {
    /// Whether it is the machine that is away: where it was nobody answers, or another one does.
    pub(crate) is_away: bool,
    pub(crate) error: ProviderError,
}

impl From<ProviderError> for NoConnection {
    /// Something else is in the way: of the machine it says nothing.
    fn from(error: ProviderError) -> Self {
        Self {
            is_away: false,
            error,
        }
    }
}

impl From<NoConnection> for ProviderError {
    fn from(none: NoConnection) -> Self {
        none.error
    }
}

/// What is known of the way to one machine.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// How many tries in a row failed.
    failures: usize,
    last: Option<(Instant, NoConnection)>,
}

impl Reach {
    /// Returns what to answer without another try; `None` when the machine is to be tried.
    pub(crate) fn refusal(&self, now: Instant, rests: &Rests) -> Option<&NoConnection> {
        let (when, why) = self.last.as_ref()?;
        let rested = now.saturating_duration_since(*when);
        (rested < rests.after(self.failures)).then_some(why)
    }

    /// Takes down that a try failed.
    pub(crate) fn failed(&mut self, now: Instant, why: NoConnection) {
        self.failures += 1;
        self.last = Some((now, why));
    }

    /// Takes down that the machine was reached.
    pub(crate) fn reached(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use gabion_engine::provider::ErrorClass;

    use super::*;

    #[test]
    fn a_machine_that_is_away_rests_longer_from_try_to_try_until_it_is_reached() {
        let rests = Rests::default();
        let mut reach = Reach::default();
        let mut now = Instant::now();
        let error = |text: &str| NoConnection::from(ProviderError::new(ErrorClass::Transient, text));
        assert!(reach.refusal(now, &rests).is_none());
        for (number, rest) in [15, 30, 60, 60, 60].into_iter().enumerate() {
            reach.failed(now, error(&number.to_string()));
            let almost = now + Duration::from_secs(rest) - Duration::from_millis(1);
            let said = reach.refusal(almost, &rests).unwrap();
            assert_eq!(said.error.message, number.to_string());
            now += Duration::from_secs(rest);
            assert!(reach.refusal(now, &rests).is_none(), "{rest}");
        }
        reach.reached();
        reach.failed(now, error("again"));
        assert!(reach.refusal(now + Duration::from_secs(14), &rests).is_some());
        assert!(reach.refusal(now + Duration::from_secs(15), &rests).is_none());
    }
}
