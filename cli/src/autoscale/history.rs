//! What a gateway has counted for a service, and how much of it falls into a window.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::wiring::{HistogramSnapshot, ServiceSnapshot};

/// Counts of one service, as they were read one after the other.
#[derive(Debug, Default)]
pub(crate) struct History {
    counted: VecDeque<(Instant, ServiceSnapshot)>,
    /// Whose counts they are: another agent begins anew.
    agent: String,
}

/// What happened within a window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    /// How long it really was.
    pub(crate) lasted: Duration,
    /// Requests that came in.
    pub(crate) requests: u64,
    /// Requests that are in flight at its end.
    pub(crate) in_flight: u64,
    /// Times to the first token, in seconds.
    pub(crate) ttft: HistogramSnapshot,
    /// Times between tokens, in seconds.
    pub(crate) itl: HistogramSnapshot,
}

impl History {
    /// Adds what was read. Counts of another agent, or ones that went back as its process is another one, say nothing of
    /// those before.
    pub(crate) fn add(&mut self, at: Instant, agent: &str, counts: ServiceSnapshot) {
        let has_gone_back = |(_, last): &(Instant, ServiceSnapshot)| went_back(last, &counts);
        if self.counted.back().is_some_and(has_gone_back) || self.agent != agent {
            self.counted.clear();
            agent.clone_into(&mut self.agent);
        }
        self.counted.push_back((at, counts));
    }

    /// Forgets what is older than the longest window.
    pub(crate) fn forget(&mut self, now: Instant, longest: Duration) {
        let is_old = |(at, _): &(Instant, ServiceSnapshot)| now.duration_since(*at) >= longest;
        // The one before the window is where it begins.
        while self.counted.get(1).is_some_and(is_old) {
            self.counted.pop_front();
        }
    }

    /// Returns what happened within a window that ends now; `None` while it is not known as a whole, or when the newest
    /// counts are older than `stale`: what is not known is never taken for no load. Nor is what came long before the window
    /// taken for what happened within it, as it would be after a time in which nobody answered.
    pub(crate) fn over(&self, now: Instant, window: Duration, stale: Duration) -> Option<Measured> {
        let (newest_at, newest) = self.counted.back()?;
        if now.duration_since(*newest_at) > stale {
            return None;
        }
        let begins = |(at, _): &&(Instant, ServiceSnapshot)| newest_at.duration_since(*at) >= window;
        let first = self.counted.iter().rev().find(begins)?;
        let is_near = newest_at.duration_since(first.0) <= window + stale;
        is_near.then(|| between(first, (*newest_at, newest)))
    }

    /// Returns what happened since the first counts that are known, however short that is.
    pub(crate) fn so_far(&self, now: Instant, stale: Duration) -> Option<Measured> {
        let (newest_at, newest) = self.counted.back()?;
        let first = self.counted.front()?;
        (now.duration_since(*newest_at) <= stale).then(|| between(first, (*newest_at, newest)))
    }
}

/// Returns whether any count is less than it was, as those of a process that began anew are.
fn went_back(last: &ServiceSnapshot, counts: &ServiceSnapshot) -> bool {
    let all = |counts: &ServiceSnapshot| {
        [
            counts.requests,
            counts.aborted,
            counts.upstream_failures,
            counts.retries,
            counts.direct,
            counts.refused,
            counts.cut,
            counts.time_to_first_token.count,
            counts.inter_token_latency.count,
            counts.inter_token_latency_estimate.count,
        ]
    };
    all(counts)
        .iter()
        .zip(all(last))
        .any(|(now, before)| *now < before)
}

fn between(first: &(Instant, ServiceSnapshot), newest: (Instant, &ServiceSnapshot)) -> Measured {
    let (began, before) = first;
    let (ended, after) = newest;
    let by_usage = difference(&before.inter_token_latency, &after.inter_token_latency);
    let itl = match by_usage.count {
        // Engines that report no usage are measured by their events.
        0 => difference(
            &before.inter_token_latency_estimate,
            &after.inter_token_latency_estimate,
        ),
        _ => by_usage,
    };
    Measured {
        lasted: ended.duration_since(*began),
        requests: after.requests.saturating_sub(before.requests),
        in_flight: after.in_flight,
        ttft: difference(&before.time_to_first_token, &after.time_to_first_token),
        itl,
    }
}

fn difference(before: &HistogramSnapshot, after: &HistogramSnapshot) -> HistogramSnapshot {
    let mut difference = after.clone();
    for (count, before) in difference.counts.iter_mut().zip(&before.counts) {
        *count = count.saturating_sub(*before);
    }
    difference.count = difference.counts.iter().sum();
    difference.sum_seconds = (after.sum_seconds - before.sum_seconds).max(0.0);
    difference
}

/// The time within which a share of the observations lies, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Quantile {
    /// About this.
    About(f64),
    /// More than the histogram tells apart: above this.
    Above(f64),
}

/// Returns the time within which a share of the observations lies; `None` without any.
///
/// Within a bucket they are taken to be spread evenly, as Prometheus' `histogram_quantile` does.
pub(crate) fn quantile(histogram: &HistogramSnapshot, percentile: u8) -> Option<Quantile> {
    if histogram.count == 0 {
        return None;
    }
    let rank = histogram.count as f64 * f64::from(percentile) / 100.0;
    let mut below = 0;
    for (bucket, count) in histogram.counts.iter().enumerate() {
        let upto = below + count;
        if *count > 0 && upto as f64 >= rank {
            let lower = bucket
                .checked_sub(1)
                .and_then(|before| histogram.bounds.get(before));
            let lower = lower.copied().unwrap_or(0.0);
            let Some(upper) = histogram.bounds.get(bucket) else {
                return Some(Quantile::Above(lower));
            };
            let share = (rank - below as f64) / *count as f64;
            return Some(Quantile::About(lower + (upper - lower) * share));
        }
        below = upto;
    }
    histogram.bounds.last().copied().map(Quantile::Above)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A histogram of these times.
    pub(crate) fn histogram(times: &[f64]) -> HistogramSnapshot {
        let bounds = vec![0.1, 0.2, 0.4, 0.8];
        let mut counts = vec![0; bounds.len() + 1];
        for time in times {
            let bucket = bounds.partition_point(|bound| bound < time);
            counts[bucket] += 1;
        }
        HistogramSnapshot {
            bounds,
            count: times.len() as u64,
            counts,
            sum_seconds: times.iter().sum(),
        }
    }

    fn counts(requests: u64, times: &[f64]) -> ServiceSnapshot {
        ServiceSnapshot {
            requests,
            in_flight: 0,
            aborted: 0,
            upstream_failures: 0,
            retries: 0,
            direct: 0,
            refused: 0,
            cut: 0,
            time_to_first_token: histogram(times),
            inter_token_latency: histogram(&[]),
            inter_token_latency_estimate: histogram(times),
        }
    }

    const WINDOW: Duration = Duration::from_secs(30);
    const STALE: Duration = Duration::from_secs(30);

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_window_is_known_once_counts_span_it() {
        let start = Instant::now();
        let mut history = History::default();
        for (seconds, requests) in [(0, 100), (10, 110), (20, 130), (29, 150)] {
            history.add(after(start, seconds), "a", counts(requests, &[]));
        }
        assert_eq!(history.over(after(start, 29), WINDOW, STALE), None);
        assert_eq!(history.so_far(after(start, 29), STALE).unwrap().requests, 50);
        history.add(after(start, 40), "a", counts(190, &[0.3]));
        let measured = history.over(after(start, 41), WINDOW, STALE).unwrap();
        assert_eq!((measured.requests, measured.lasted.as_secs()), (80, 30));
        assert_eq!(measured.ttft.count, 1);
        assert_eq!(
            measured.itl.count, 1,
            "the estimate stands in for what no engine reports"
        );
    }

    #[test]
    fn what_is_stale_or_of_another_process_says_nothing() {
        let start = Instant::now();
        let mut history = History::default();
        history.add(start, "a", counts(100, &[]));
        history.add(after(start, 30), "a", counts(200, &[]));
        assert!(history.over(after(start, 31), WINDOW, STALE).is_some());
        assert_eq!(history.over(after(start, 61), WINDOW, STALE), None);
        assert_eq!(history.so_far(after(start, 61), STALE), None);
        history.add(after(start, 62), "a", counts(5, &[]));
        assert_eq!(history.over(after(start, 62), WINDOW, STALE), None);
        history.add(after(start, 92), "a", counts(10, &[]));
        assert_eq!(history.over(after(start, 92), WINDOW, STALE).unwrap().requests, 5);
        history.add(after(start, 93), "b", counts(500, &[]));
        assert_eq!(history.so_far(after(start, 93), STALE).unwrap().requests, 0);
    }

    #[test]
    fn counts_of_a_process_that_began_anew_are_seen_also_when_more_requests_came_than_before() {
        let start = Instant::now();
        let mut history = History::default();
        history.add(start, "a", counts(5, &[0.3; 5]));
        // None of these was answered with a stream.
        history.add(after(start, 30), "a", counts(50, &[]));
        assert_eq!(history.over(after(start, 30), WINDOW, STALE), None);
        assert_eq!(history.so_far(after(start, 30), STALE).unwrap().requests, 0);
    }

    #[test]
    fn what_came_long_before_a_window_is_not_taken_for_what_happened_within_it() {
        let start = Instant::now();
        let mut history = History::default();
        history.add(start, "a", counts(0, &[]));
        // For an hour nobody answered.
        for (seconds, requests) in [(3600, 6000), (3610, 7000), (3620, 8000)] {
            history.add(after(start, seconds), "a", counts(requests, &[]));
            history.forget(after(start, seconds), WINDOW);
        }
        assert_eq!(history.over(after(start, 3620), WINDOW, STALE), None);
        history.add(after(start, 3630), "a", counts(9000, &[]));
        let measured = history.over(after(start, 3630), WINDOW, STALE).unwrap();
        assert_eq!((measured.requests, measured.lasted), (3000, WINDOW));
    }

    #[test]
    fn no_more_is_kept_than_the_longest_window_takes() {
        let start = Instant::now();
        let mut history = History::default();
        for seconds in 0..200 {
            history.add(after(start, seconds), "a", counts(seconds, &[]));
            history.forget(after(start, seconds), WINDOW);
        }
        assert_eq!(history.counted.len(), 31);
        let measured = history.over(after(start, 199), WINDOW, STALE).unwrap();
        assert_eq!((measured.requests, measured.lasted), (30, WINDOW));
    }

    #[test]
    fn quantiles_are_interpolated_within_buckets() {
        assert_eq!(quantile(&histogram(&[]), 90), None);
        // Four of them lie between 0.2 and 0.4: the second is half of the way.
        assert_eq!(
            quantile(&histogram(&[0.3; 4]), 50),
            Some(Quantile::About(0.2 + 0.2 * 0.5))
        );
        assert_eq!(
            quantile(&histogram(&[0.05, 0.05, 0.3, 0.3]), 50),
            Some(Quantile::About(0.1))
        );
        assert_eq!(
            quantile(&histogram(&[0.05, 0.05, 0.3, 0.3]), 100),
            Some(Quantile::About(0.4))
        );
        assert_eq!(
            quantile(&histogram(&[7.0]), 90),
            Some(Quantile::Above(0.8)),
            "above the last bound"
        );
    }
}
