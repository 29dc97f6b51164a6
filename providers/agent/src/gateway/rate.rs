//! Rate limits of a route.
//!
//! They mean what nginx's `limit_req` with `nodelay` means, as dstack's do: each key has a bucket that holds `burst`
//! requests beside the one that the rate allows, and whatever does not fit is refused at once. Of several limits the one
//! with the longest prefix of the canonical path holds. A request without the header that a limit counts by is not
//! limited.
//!
//! Keys come from clients, so what is kept of them is bounded whatever they send: a hash, in two generations of slots.
//! Once the younger one is full the older one is forgotten: clients that were silent longest, whose buckets are fresh
//! again then.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use http::header::{HeaderMap, HeaderName};

use super::error::Refusal;
use super::path::canonical_path;
use crate::protocol::{RateKey, RateLimit};

/// The keys that one limit remembers at least; it never remembers more than twice as many.
const REMEMBERED: usize = 1 << 16;

/// The limits of one route, with what they have counted.
#[derive(Debug)]
pub(crate) struct RateLimits {
    rules: Vec<RateLimit>,
    /// The longest prefix first.
    limits: Vec<Limit<MonotonicClock>>,
}

impl RateLimits {
    /// Begins to count.
    pub(crate) fn new(rules: &[RateLimit]) -> Self {
        let mut limits: Vec<_> = rules
            .iter()
            .filter_map(|rule| Limit::new(rule, REMEMBERED, MonotonicClock))
            .collect();
        limits.sort_by_key(|limit| std::cmp::Reverse(limit.prefix.len()));
        Self {
            rules: rules.to_vec(),
            limits,
        }
    }

    /// Returns whether these are the limits that rules describe, so that what was counted still holds.
    pub(crate) fn are(&self, rules: &[RateLimit]) -> bool {
        self.rules == rules
    }

    /// Counts a request to a canonical path of the service, or refuses it.
    pub(crate) fn admit(&self, path: &str, client: IpAddr, headers: &HeaderMap) -> Result<(), Refusal> {
        let limit = self.limits.iter().find(|limit| path.starts_with(&limit.prefix));
        match limit.and_then(|limit| limit.wait(client, headers)) {
            Some(wait) => Err(Refusal::RateLimited(whole_seconds(wait))),
            None => Ok(()),
        }
    }
}

/// Returns a wait in whole seconds, never less than it is.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// Returns why a limit cannot be one, if it cannot.
pub(crate) fn problem(rule: &RateLimit) -> Option<&'static str> {
    if canonical_path(&rule.prefix).is_err() {
        return Some("the prefix of a rate limit is a path that begins with a slash");
    }
    if rule.interval_nanos == 0 {
        return Some("a rate limit needs an interval between requests");
    }
    match &rule.key {
        RateKey::Header(name) if name.parse::<HeaderName>().is_err() => {
            Some("the header that a rate limit counts by has no good name")
        }
        _ => None,
    }
}

/// One limit.
struct Limit<C: Clock> {
    prefix: String,
    header: Option<HeaderName>,
    hasher: RandomState,
    limiter: RateLimiter<u64, Slots, C, NoOpMiddleware<C::Instant>>,
    clock: C,
}

impl<C: Clock> fmt::Debug for Limit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl<C: Clock + Clone> Limit<C> {
    fn new(rule: &RateLimit, remembered: usize, clock: C) -> Option<Self> {
        let burst = NonZeroU32::new(rule.burst.saturating_add(1))?;
        let quota = Quota::with_period(Duration::from_nanos(rule.interval_nanos))?.allow_burst(burst);
        let header = match &rule.key {
            RateKey::Address => None,
            RateKey::Header(name) => Some(name.parse().ok()?),
        };
        Some(Self {
            prefix: canonical_path(&rule.prefix).ok()?,
            header,
            hasher: RandomState::new(),
            limiter: RateLimiter::new(quota, Slots::new(remembered), clock.clone()),
            clock,
        })
    }

    /// Counts a request; returns how long it is too early.
    fn wait(&self, client: IpAddr, headers: &HeaderMap) -> Option<Duration> {
        let key = self.key(client, headers)?;
        let early = self.limiter.check_key(&key).err()?;
        Some(early.wait_time_from(self.clock.now()))
    }

    /// Returns what a request is counted by; `None` when it is not counted.
    fn key(&self, client: IpAddr, headers: &HeaderMap) -> Option<u64> {
        let Some(name) = &self.header else {
            return Some(self.hasher.hash_one(client));
        };
        let values: Vec<&[u8]> = headers
            .get_all(name)
            .iter()
            .map(|value| value.as_bytes())
            .collect();
        let is_empty = values.iter().all(|value| value.is_empty());
        (!is_empty).then(|| self.hasher.hash_one(values))
    }
}

/// When each key's bucket is full again, for the keys that were seen last.
struct Slots {
    generations: Mutex<Generations>,
    size: usize,
}

#[derive(Default)]
struct Generations {
    younger: HashMap<u64, Nanos>,
    older: HashMap<u64, Nanos>,
}

impl Slots {
    fn new(size: usize) -> Self {
        Self {
            generations: Mutex::default(),
            size,
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.younger.len() + generations.older.len()
    }
}

impl StateStore for Slots {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let before = generations
            .younger
            .get(key)
            .or(generations.older.get(key))
            .copied();
        let (outcome, after) = match decide(before) {
            Ok((outcome, after)) => (Ok(outcome), Some(after)),
            // Who is refused is not forgotten for it.
            Err(refused) => (Err(refused), before),
        };
        if let Some(after) = after {
            generations.younger.insert(*key, after);
            if generations.younger.len() >= self.size {
                generations.older = std::mem::take(&mut generations.younger);
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use governor::clock::FakeRelativeClock;

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn rule(prefix: &str, interval: Duration, burst: u32, key: RateKey) -> RateLimit {
        RateLimit {
            prefix: prefix.to_owned(),
            interval_nanos: u64::try_from(interval.as_nanos()).unwrap(),
            burst,
            key,
        }
    }

    fn header(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append("x-user", value.parse().unwrap());
        headers
    }

    #[test]
    fn a_bucket_holds_a_burst_and_drains_at_the_rate() {
        let clock = FakeRelativeClock::default();
        let half = Duration::from_millis(500);
        let limit = Limit::new(&rule("/", half, 2, RateKey::Address), 8, clock.clone()).unwrap();
        let ask = || limit.wait(CLIENT, &HeaderMap::new());
        assert_eq!([ask(), ask(), ask()], [None; 3]);
        assert_eq!(ask(), Some(half));
        clock.advance(Duration::from_millis(400));
        assert_eq!(ask(), Some(Duration::from_millis(100)));
        clock.advance(Duration::from_millis(100));
        assert_eq!(ask(), None);
        assert_eq!(ask(), Some(half));
        clock.advance(Duration::from_secs(60));
        assert_eq!([ask(), ask(), ask()], [None; 3]);
        assert!(ask().is_some());
        assert_eq!(
            limit.wait(IpAddr::V4(Ipv4Addr::LOCALHOST), &HeaderMap::new()),
            None
        );
    }

    #[test]
    fn hostile_keys_take_a_bounded_number_of_slots() {
        let minute = Duration::from_secs(60);
        let by_user = RateKey::Header("x-user".to_owned());
        let limit = Limit::new(&rule("/", minute, 0, by_user), 100, FakeRelativeClock::default()).unwrap();
        assert_eq!(limit.wait(CLIENT, &header("steady")), None);
        for number in 0..10_000 {
            assert_eq!(limit.wait(CLIENT, &header(&format!("user-{number}"))), None);
            // Whoever keeps asking is remembered among them.
            assert!(limit.wait(CLIENT, &header("steady")).is_some());
        }
        let kept = limit.limiter.into_state_store().len();
        assert!(kept <= 200, "{kept} keys are kept");
    }

    #[test]
    fn the_longest_prefix_holds_and_requests_without_the_header_are_free() {
        let minute = Duration::from_secs(60);
        let by_user = || RateKey::Header("X-User".to_owned());
        let limits = RateLimits::new(&[
            rule("/", minute, 0, by_user()),
            rule("/v1//chat/", minute, 1, by_user()),
        ]);
        let ask = |path: &str, user: &str| limits.admit(path, CLIENT, &header(user)).is_ok();
        assert_eq!([ask("/v1/chat/x", "a"), ask("/v1/chat/y", "a")], [true, true]);
        assert!(!ask("/v1/chat/x", "a"));
        assert_eq!([ask("/v1/chats", "a"), ask("/other", "a")], [true, false]);
        assert!(ask("/v1/chat/x", "b"));
        for _ in 0..3 {
            assert_eq!(limits.admit("/", CLIENT, &HeaderMap::new()), Ok(()));
            assert_eq!(limits.admit("/", CLIENT, &header("")), Ok(()));
        }
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_short() {
        for (wait, told) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60)] {
            assert_eq!(whole_seconds(Duration::from_millis(wait)), told);
        }
    }
}
