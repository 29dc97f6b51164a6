//! Since when a group stands as it does, as far as looks at its records tell.

use std::time::{Duration, Instant};

use gabion_engine::state::State;
use jiff::Timestamp;

use super::rule::Rule;

/// What was seen of one group.
///
/// Clocks of machines differ, and may be set: how long ago something was recorded is asked of the clock once, and what passes
/// after that is measured here.
#[derive(Debug)]
pub(crate) struct Standing {
    /// When it was looked at last.
    looked: Instant,
    number: Number,
    /// The objects of the group, each with the serial of its last change.
    objects: Vec<(String, u64)>,
    /// When all replicas were first seen as they are; `None` if they were so from the first look on.
    complete: Option<Instant>,
}

/// The number, as it was first seen.
#[derive(Debug)]
struct Number {
    changed_at: Option<Timestamp>,
    seen: Instant,
    /// How old it was then; `None` when nobody knows, which is old.
    age: Option<Duration>,
}

impl Standing {
    /// Takes note of what is recorded of a group.
    pub(crate) fn look(
        known: Option<Self>,
        rule: &Rule,
        state: &State,
        now: Instant,
        clock: Timestamp,
    ) -> Self {
        Self::seen(known, rule.changed_at, objects(rule, state), now, clock)
    }

    fn seen(
        known: Option<Self>,
        changed_at: Option<Timestamp>,
        objects: Vec<(String, u64)>,
        now: Instant,
        clock: Timestamp,
    ) -> Self {
        // Of what is in the future no more is known than that it is there now.
        let age = changed_at.map(|at| Duration::try_from(clock.duration_since(at)).unwrap_or_default());
        let number = Number {
            changed_at,
            seen: now,
            age,
        };
        let Some(mut standing) = known else {
            return Self {
                looked: now,
                number,
                objects,
                complete: None,
            };
        };
        if standing.number.changed_at != changed_at {
            let since_last = now.duration_since(standing.looked);
            standing.number = Number {
                age: Some(age.unwrap_or_default().min(since_last)),
                ..number
            };
        }
        if standing.objects != objects {
            standing.objects = objects;
            standing.complete = Some(now);
        }
        standing.looked = now;
        standing
    }

    /// Returns how long ago the number was recorded; `None` when nobody knows, which is long ago.
    pub(crate) fn since_change(&self, now: Instant) -> Option<Duration> {
        let age = self.number.age?;
        Some(age.saturating_add(now.duration_since(self.number.seen)))
    }

    /// Returns how long ago the replicas were last seen to change; `None` if they never were.
    pub(crate) fn complete_for(&self, now: Instant) -> Option<Duration> {
        Some(now.duration_since(self.complete?))
    }
}

fn objects(rule: &Rule, state: &State) -> Vec<(String, u64)> {
    let prefix = format!("{}/", rule.group);
    let of_group = state.current_records().filter(|record| {
        let name = record.address.name.as_str();
        name.starts_with(&prefix)
    });
    let mut objects: Vec<(String, u64)> = of_group
        .map(|record| (record.address.to_string(), record.changed_at))
        .collect();
    objects.sort_unstable();
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp::from_second(seconds).unwrap())
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn seconds(duration: Option<Duration>) -> Option<u64> {
        duration.map(|duration| duration.as_secs())
    }

    #[test]
    fn what_was_recorded_in_the_future_has_just_been_recorded_and_grows_old_whatever_the_clock_does() {
        let start = Instant::now();
        let clock = at(1_000).unwrap();
        let standing = Standing::seen(None, at(9_000), Vec::new(), start, clock);
        assert_eq!(seconds(standing.since_change(start)), Some(0));
        assert_eq!(seconds(standing.since_change(after(start, 70))), Some(70));
        // The clock is set back by a day, and forward by one.
        for clock in [at(-85_400), at(87_400)] {
            let standing = Standing::seen(None, at(900), Vec::new(), start, at(1_000).unwrap());
            let later = Standing::seen(
                Some(standing),
                at(900),
                Vec::new(),
                after(start, 10),
                clock.unwrap(),
            );
            assert_eq!(seconds(later.since_change(after(start, 10))), Some(110));
        }
        let unknown = Standing::seen(None, None, Vec::new(), start, clock);
        assert_eq!(unknown.since_change(start), None);
    }

    #[test]
    fn a_number_that_changed_between_two_looks_is_no_older_than_the_time_between_them() {
        let start = Instant::now();
        let before = Standing::seen(None, at(500), Vec::new(), start, at(1_000).unwrap());
        // The clock of whoever wrote it is an hour behind.
        let now = after(start, 10);
        let standing = Standing::seen(Some(before), at(-2_590), Vec::new(), now, at(1_010).unwrap());
        assert_eq!(seconds(standing.since_change(now)), Some(10));
    }

    #[test]
    fn replicas_are_complete_since_the_last_of_them_was_seen_to_change_whoever_changed_it() {
        let start = Instant::now();
        let clock = at(1_000).unwrap();
        let objects = |serial| vec![("host_unit.qwen/default/0".to_owned(), serial)];
        let look = |known, serial, seconds| {
            Standing::seen(known, at(0), objects(serial), after(start, seconds), clock)
        };
        let standing = look(None, 5, 0);
        assert_eq!(standing.complete_for(start), None);
        let standing = look(Some(standing), 9, 10);
        let standing = look(Some(standing), 9, 20);
        assert_eq!(seconds(standing.complete_for(after(start, 20))), Some(10));
    }
}
