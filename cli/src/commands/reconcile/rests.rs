//! What is left alone for a while because an attempt at it failed, or did not last.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// For how long, at first and at most: the time doubles with each attempt in a row.
const LENGTH: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(600));

/// How long what was brought back must have lasted for the earlier attempts to be forgotten. It is longer than the longest rest.
const LASTING: Duration = Duration::from_secs(1200);

/// Returns the length of a rest that follows one of another length.
fn next(before: Option<Duration>) -> Duration {
    let (first, longest) = LENGTH;
    before.map_or(first, |before| (before * 2).clamp(first, longest))
}

/// A group whose number could not be set, or not with all that belongs to it.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) until: Instant,
    pub(super) length: Duration,
    /// The number that was to be set.
    pub(super) count: u32,
    /// Where the log was when it began: whoever writes to it may have put right what was wrong.
    serial: Option<u64>,
}

/// The groups that rest.
#[derive(Debug, Default)]
pub(super) struct Rests(BTreeMap<String, Rest>);

impl Rests {
    /// Returns the rest of a group, over or not.
    pub(super) fn of(&self, group: &str) -> Option<&Rest> {
        self.0.get(group)
    }

    /// Leaves a group alone, longer than before, and returns for how long.
    pub(super) fn begin(&mut self, group: &str, count: u32, now: Instant) -> Duration {
        let length = next(self.0.get(group).map(|rest| rest.length));
        self.put(group, count, length, now + length);
        length
    }

    /// Leaves a group alone for a moment, as somebody else holds the state: no failure of its own, and those before count on.
    pub(super) fn pause(&mut self, group: &str, count: u32, until: Instant) {
        let length = self.0.get(group).map_or(Duration::ZERO, |rest| rest.length);
        self.put(group, count, length, until);
    }

    fn put(&mut self, group: &str, count: u32, length: Duration, until: Instant) {
        let rest = Rest {
            until,
            length,
            count,
            serial: None,
        };
        self.0.insert(group.to_owned(), rest);
    }

    /// Ends the rest of a group that is as it should be.
    pub(super) fn end(&mut self, group: &str) {
        self.0.remove(group);
    }

    /// Takes note of where the log is: what somebody else wrote ends all rests.
    pub(super) fn note(&mut self, serial: u64, now: Instant) {
        for rest in self.0.values_mut() {
            if *rest.serial.get_or_insert(serial) != serial {
                rest.until = now;
            }
        }
    }

    /// Takes note of that this process has written itself, which has put nothing right.
    pub(super) fn note_own(&mut self) {
        self.0.values_mut().for_each(|rest| rest.serial = None);
    }
}

/// Objects that were brought back lately, or could not be.
#[derive(Debug, Default)]
pub(super) struct Relapses(BTreeMap<String, Relapse>);

#[derive(Debug)]
struct Relapse {
    attempts: u32,
    ended: Instant,
    length: Duration,
}

/// What is to become of an object that needs to be brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is brought back now.
    Due,
    /// It is left alone.
    Rests {
        /// How often it was brought back, or that was tried, in a row.
        attempts: u32,
        /// For how long still.
        remaining: Duration,
    },
}

impl Relapses {
    /// Says whether an object that needs it is brought back now.
    pub(super) fn verdict(&self, address: &str, now: Instant) -> Verdict {
        let Some(relapse) = self.0.get(address) else {
            return Verdict::Due;
        };
        let passed = now.duration_since(relapse.ended);
        match relapse.length.checked_sub(passed).filter(|rest| !rest.is_zero()) {
            Some(remaining) => Verdict::Rests {
                attempts: relapse.attempts,
                remaining,
            },
            None => Verdict::Due,
        }
    }

    /// Takes note of the end of an attempt, whether it succeeded or not: what comes back to end again is brought back less and
    /// less often. Returns for how long it is left alone if it does.
    pub(super) fn note(&mut self, address: &str, now: Instant) -> Duration {
        let before = self.0.get(address);
        let relapse = Relapse {
            attempts: before.map_or(0, |before| before.attempts).saturating_add(1),
            ended: now,
            length: next(before.map(|before| before.length)),
        };
        let length = relapse.length;
        self.0.insert(address.to_owned(), relapse);
        length
    }

    /// Forgets what has lasted.
    pub(super) fn forget(&mut self, now: Instant) {
        self.0
            .retain(|_, relapse| now.duration_since(relapse.ended) < LASTING);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn groups_that_cannot_be_set_do_not_wake_each_other() {
        let start = Instant::now();
        let mut rests = Rests::default();
        assert_eq!(rests.begin("a", 2, start).as_secs(), 15);
        rests.note(7, start);
        assert_eq!(rests.begin("b", 2, start).as_secs(), 15);
        // The attempt at `b` wrote to the log.
        rests.note_own();
        rests.note(12, after(start, 1));
        assert_eq!(rests.of("a").unwrap().until, after(start, 15));
        // Somebody else did.
        rests.note(13, after(start, 2));
        assert_eq!(rests.of("a").unwrap().until, after(start, 2));
        assert_eq!(rests.of("b").unwrap().until, after(start, 2));
        // Failures before count on.
        assert_eq!(rests.begin("a", 2, after(start, 3)).as_secs(), 30);
        rests.pause("a", 2, after(start, 4));
        assert_eq!(rests.begin("a", 2, after(start, 5)).as_secs(), 60);
        rests.end("a");
        assert_eq!(rests.begin("a", 2, after(start, 6)).as_secs(), 15);
    }

    #[test]
    fn what_ends_again_and_again_is_brought_back_less_and_less_often() {
        let start = Instant::now();
        let mut relapses = Relapses::default();
        let mut now = start;
        assert_eq!(relapses.verdict("u", now), Verdict::Due);
        let mut lengths = Vec::new();
        for attempt in 1..9 {
            let length = relapses.note("u", now);
            lengths.push(length.as_secs());
            let just_before = now + length - Duration::from_secs(1);
            assert_eq!(
                relapses.verdict("u", just_before),
                Verdict::Rests {
                    attempts: attempt,
                    remaining: Duration::from_secs(1)
                }
            );
            now += length;
            assert_eq!(relapses.verdict("u", now), Verdict::Due);
            relapses.forget(now);
        }
        assert_eq!(lengths, [15, 30, 60, 120, 240, 480, 600, 600]);
        assert_eq!(relapses.verdict("other", now), Verdict::Due);
    }

    #[test]
    fn what_has_lasted_begins_anew() {
        let start = Instant::now();
        let mut relapses = Relapses::default();
        relapses.note("u", start);
        relapses.note("u", after(start, 20));
        relapses.forget(after(start, 1219));
        assert_eq!(relapses.note("u", after(start, 1219)).as_secs(), 60);
        relapses.forget(after(start, 2419));
        assert_eq!(relapses.0.len(), 0);
    }
}
