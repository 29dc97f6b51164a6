//! Requests in flight, by route and by upstream, and the wait until there are none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plane::{RouteKey, Target};
use crate::metrics::ServiceStats;
use crate::protocol::Drain;

/// All requests in flight.
#[derive(Debug, Default)]
pub(crate) struct FlightDeck {
    entries: Mutex<BTreeMap<FlightKey, Entry>>,
    next: AtomicU64,
    changed: Notify,
}

/// What a request in flight occupies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FlightKey {
    pub(crate) route: RouteKey,
    /// `host:port` of the upstream.
    pub(crate) upstream: String,
}

#[derive(Debug, Default)]
struct Entry {
    /// The serial numbers of the requests.
    flights: BTreeSet<u64>,
    cut: CancellationToken,
}

impl FlightDeck {
    /// Takes a request up; it counts until the returned value is dropped.
    pub(crate) fn take_up(
        self: &Arc<Self>,
        route: &RouteKey,
        target: &Target,
        stats: &Arc<ServiceStats>,
    ) -> Flight {
        let key = FlightKey {
            route: route.clone(),
            upstream: target.authority(),
        };
        let mut entries = self.lock();
        let entry = entries.entry(key.clone()).or_default();
        let serial = self.next.fetch_add(1, Ordering::Relaxed);
        entry.flights.insert(serial);
        stats.in_flight.fetch_add(1, Ordering::Relaxed);
        Flight {
            deck: Arc::clone(self),
            serial,
            key,
            cut: entry.cut.clone(),
            stats: Arc::clone(stats),
        }
    }

    /// Returns how many requests match.
    pub(crate) fn count(&self, matches: impl Fn(&FlightKey) -> bool) -> u64 {
        self.count_before(u64::MAX, matches)
    }

    /// Returns a number that all requests taken up so far are below.
    pub(crate) fn horizon(&self) -> u64 {
        let _entries = self.lock();
        self.next.load(Ordering::Relaxed)
    }

    /// Returns how many requests match that were taken up before a [`FlightDeck::horizon`].
    pub(crate) fn count_before(&self, horizon: u64, matches: impl Fn(&FlightKey) -> bool) -> u64 {
        let matching = self.matching(matches);
        let entries = self.lock();
        matching
            .iter()
            .filter_map(|key| entries.get(key))
            .map(|entry| entry.flights.range(..horizon).count() as u64)
            .sum()
    }

    /// Returns the keys that match. They are judged without the deck's lock: what judges them may wait for the routing
    /// table, whose readers wait for the deck.
    fn matching(&self, matches: impl Fn(&FlightKey) -> bool) -> Vec<FlightKey> {
        let keys: Vec<FlightKey> = self.lock().keys().cloned().collect();
        keys.into_iter().filter(|key| matches(key)).collect()
    }

    /// Waits until no request matches; at the deadline cuts those that are left.
    pub(crate) async fn drain(&self, matches: impl Fn(&FlightKey) -> bool, deadline: Instant) -> Drain {
        let waited_for = self.count(&matches);
        if self.settle(&matches, deadline).await {
            return Drain { waited_for, cut: 0 };
        }
        let matching = self.matching(&matches);
        let mut cut = 0;
        let mut entries = self.lock();
        for entry in matching.iter().filter_map(|key| entries.remove(key)) {
            entry.cut.cancel();
            cut += entry.flights.len() as u64;
        }
        Drain { waited_for, cut }
    }

    /// Waits until no request matches; returns `false` when the deadline came first.
    pub(crate) async fn settle(&self, matches: impl Fn(&FlightKey) -> bool, deadline: Instant) -> bool {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.count(&matches) == 0 {
                return true;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return false;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<FlightKey, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request in flight.
#[derive(Debug)]
pub(crate) struct Flight {
    deck: Arc<FlightDeck>,
    serial: u64,
    key: FlightKey,
    cut: CancellationToken,
    stats: Arc<ServiceStats>,
}

impl Flight {
    /// Returns what is cancelled when the request is to be cut.
    pub(crate) fn cut_token(&self) -> CancellationToken {
        self.cut.clone()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.stats.in_flight.fetch_sub(1, Ordering::Relaxed);
        // What was cut has left the deck already, and its place may have been taken by newer requests.
        if !self.cut.is_cancelled() {
            let mut entries = self.deck.lock();
            if let Some(entry) = entries.get_mut(&self.key) {
                entry.flights.remove(&self.serial);
                if entry.flights.is_empty() {
                    entries.remove(&self.key);
                }
            }
        }
        self.deck.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Metrics;

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_and_then_cuts() {
        let deck = Arc::new(FlightDeck::default());
        let stats = Metrics::default().service("g", "s");
        let route = RouteKey {
            gateway: "g".to_owned(),
            service: "s".to_owned(),
        };
        let old = Target {
            name: "a".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 1,
        };
        let new = Target {
            port: 2,
            ..old.clone()
        };
        let first = deck.take_up(&route, &old, &stats);
        let second = deck.take_up(&route, &old, &stats);
        let other = deck.take_up(&route, &new, &stats);
        let matches = |key: &FlightKey| key.upstream == "127.0.0.1:1";
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            drop(first);
        });
        let drain = deck.drain(matches, Instant::now() + Duration::from_secs(5)).await;
        assert_eq!(
            drain,
            Drain {
                waited_for: 2,
                cut: 1
            }
        );
        assert!(second.cut_token().is_cancelled() && !other.cut_token().is_cancelled());
        let horizon = deck.horizon();
        let newer = deck.take_up(&route, &old, &stats);
        assert_eq!(deck.count_before(horizon, matches), 0);
        drop(second);
        assert_eq!(deck.count(matches), 1);
        drop(newer);
        assert!(deck.settle(matches, Instant::now()).await);
        assert_eq!(stats.in_flight.load(Ordering::Relaxed), 1);
    }
}
