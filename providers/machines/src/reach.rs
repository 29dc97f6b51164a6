//! When a machine that is away is tried again.
//!
//! To find out that a machine is away takes seconds, and one run has many calls about it. So it is tried once for all of
//! them: what is asked of it afterwards gets the same answer, until a rest is over that grows from try to try.
//!
//! That nobody answers once says little: a packet is lost, a machine restarts its SSH server. Only when it goes on is the
//! machine taken to be gone; see [`Limits::gone_after`](crate::hosts::Limits::gone_after).

use std::time::Duration;

use gabion_engine::provider::ProviderError;
use tokio::time::Instant;

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

/// Of what happened in between, failures that are further apart say nothing. One try takes less.
const LONGEST_GAP: Duration = Duration::from_secs(60);

/// What is where a machine was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Away {
    /// Nobody answers.
    Silent,
    /// Another machine does, which has another key.
    Another,
}

/// Why there is no connection to a machine.
#[derive(Debug, Clone)]
pub(crate) struct NoConnection {
    /// Whether it is the machine that is away; `None` where something else is in the way.
    pub(crate) away: Option<Away>,
    pub(crate) error: ProviderError,
}

impl From<ProviderError> for NoConnection {
    /// Something else is in the way: of the machine it says nothing.
    fn from(error: ProviderError) -> Self {
        Self { away: None, error }
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
    /// When it was found first that nobody answers, if that went on since.
    silent_since: Option<Instant>,
}

impl Reach {
    /// Returns what to answer without another try; `None` when the machine is to be tried. It rests for no longer than
    /// whoever asks is ready to wait.
    pub(crate) fn refusal(&self, now: Instant, rests: &Rests, at_most: Duration) -> Option<&NoConnection> {
        let (when, why) = self.last.as_ref()?;
        let rested = now.saturating_duration_since(*when);
        (rested < rests.after(self.failures).min(at_most)).then_some(why)
    }

    /// Takes down that a try failed.
    pub(crate) fn failed(&mut self, now: Instant, why: NoConnection) {
        let goes_on = self
            .last
            .as_ref()
            .is_some_and(|(before, _)| now.saturating_duration_since(*before) <= LONGEST_GAP);
        self.silent_since = match why.away {
            Some(Away::Silent) => self.silent_since.filter(|_| goes_on).or(Some(now)),
            // Somebody answered.
            Some(Away::Another) | None => None,
        };
        self.failures += 1;
        self.last = Some((now, why));
    }

    /// Returns whether the machine is taken to be gone: another one is where it was, or nobody has answered there for so
    /// long.
    pub(crate) fn is_gone(&self, after: Duration) -> bool {
        let Some((when, why)) = &self.last else {
            return false;
        };
        match why.away {
            Some(Away::Another) => true,
            Some(Away::Silent) => self
                .silent_since
                .is_some_and(|since| when.saturating_duration_since(since) >= after),
            None => false,
        }
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
        let refusal = |reach: &Reach, now| reach.refusal(now, &rests, Duration::MAX).cloned();
        assert!(refusal(&reach, now).is_none());
        for (number, rest) in [15, 30, 60, 60, 60].into_iter().enumerate() {
            reach.failed(now, error(&number.to_string()));
            let almost = now + Duration::from_secs(rest) - Duration::from_millis(1);
            let said = refusal(&reach, almost).unwrap();
            assert_eq!(said.error.message, number.to_string());
            now += Duration::from_secs(rest);
            assert!(refusal(&reach, now).is_none(), "{rest}");
        }
        reach.reached();
        reach.failed(now, error("again"));
        assert!(refusal(&reach, now + Duration::from_secs(14)).is_some());
        assert!(refusal(&reach, now + Duration::from_secs(15)).is_none());
        // Whoever cannot wait for so long has it tried before.
        let soon =
            |seconds| reach.refusal(now + Duration::from_secs(seconds), &rests, Duration::from_secs(5));
        assert!(soon(4).is_some() && soon(5).is_none());
    }

    /// What a try in a second found; `None` when the machine was reached.
    type Try = (u64, Option<Option<Away>>);

    fn is_gone(tries: &[Try]) -> bool {
        let began = Instant::now();
        let mut reach = Reach::default();
        for (second, found) in tries {
            match found {
                None => reach.reached(),
                Some(away) => reach.failed(
                    began + Duration::from_secs(*second),
                    NoConnection {
                        away: *away,
                        error: ProviderError::new(ErrorClass::Transient, "away"),
                    },
                ),
            }
        }
        reach.is_gone(Duration::from_secs(60))
    }

    #[test]
    fn a_machine_is_gone_when_nobody_answers_for_long_or_another_one_does() {
        let (silent, another, other) = (Some(Some(Away::Silent)), Some(Some(Away::Another)), Some(None));
        let cases: [(&[Try], bool); 9] = [
            (&[], false),
            (&[(0, silent)], false),
            (&[(0, silent), (30, silent), (59, silent)], false),
            (&[(0, silent), (30, silent), (60, silent)], true),
            // It was there in between.
            (&[(0, silent), (30, None), (40, silent), (60, silent)], false),
            (&[(0, silent), (30, other), (40, silent), (60, silent)], false),
            // Nobody knows what was in between.
            (&[(0, silent), (300, silent)], false),
            (&[(0, silent), (300, silent), (330, silent), (360, silent)], true),
            (&[(0, another)], true),
        ];
        for (tries, expected) in cases {
            assert_eq!(is_gone(tries), expected, "{tries:?}");
        }
    }
}
