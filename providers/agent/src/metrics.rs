//! What the data plane counts per service, as OpenMetrics text and as a serialisable snapshot.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};

/// Upper bounds, in seconds, of the time to first token.
const TTFT_BOUNDS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0, 25.0, 60.0, 120.0, 300.0,
];

/// Upper bounds, in seconds, of the time between tokens.
const ITL_BOUNDS: [f64; 16] = [
    0.001, 0.002, 0.004, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5,
];

/// A histogram that can be read back.
#[derive(Debug)]
struct Histogram {
    bounds: &'static [f64],
    /// One per bound and one for what is above all of them; not cumulative.
    counts: Vec<AtomicU64>,
    sum_micros: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self {
            bounds,
            counts,
            sum_micros: AtomicU64::new(0),
        }
    }

    fn observe(&self, value: Duration) {
        let seconds = value.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn snapshot(&self) -> HistogramSnapshot {
        let counts: Vec<u64> = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect();
        HistogramSnapshot {
            bounds: self.bounds.to_vec(),
            count: counts.iter().sum(),
            sum_seconds: Duration::from_micros(self.sum_micros.load(Ordering::Relaxed)).as_secs_f64(),
            counts,
        }
    }
}

/// The counters of one service on one gateway.
#[derive(Debug)]
pub(crate) struct ServiceStats {
    pub(crate) requests: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    /// Requests whose client went away before the answer was complete.
    pub(crate) aborted: AtomicU64,
    /// Requests whose upstream failed, before or during its answer.
    pub(crate) upstream_failures: AtomicU64,
    /// Connections that another replica had to take over before a byte was sent.
    pub(crate) retries: AtomicU64,
    /// Requests that went around a router that was down or not filled.
    pub(crate) direct: AtomicU64,
    /// Requests the gateway answered itself with an error.
    pub(crate) refused: AtomicU64,
    /// Requests that were cut when a drain's deadline passed.
    pub(crate) cut: AtomicU64,
    ttft: Histogram,
    itl_by_usage: Histogram,
    itl_by_events: Histogram,
}

impl ServiceStats {
    fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            requests: zero(),
            in_flight: zero(),
            aborted: zero(),
            upstream_failures: zero(),
            retries: zero(),
            direct: zero(),
            refused: zero(),
            cut: zero(),
            ttft: Histogram::new(&TTFT_BOUNDS),
            itl_by_usage: Histogram::new(&ITL_BOUNDS),
            itl_by_events: Histogram::new(&ITL_BOUNDS),
        }
    }

    /// Counts one more of something.
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Records the time from the complete request to the first event with content.
    pub(crate) fn observe_first_token(&self, elapsed: Duration) {
        self.ttft.observe(elapsed);
    }

    /// Records the mean time between the tokens of one answer.
    pub(crate) fn observe_token_gap(&self, gap: Duration, basis: GapBasis) {
        match basis {
            GapBasis::Usage => self.itl_by_usage.observe(gap),
            GapBasis::Events => self.itl_by_events.observe(gap),
        }
    }

    fn snapshot(&self) -> ServiceSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServiceSnapshot {
            requests: read(&self.requests),
            in_flight: read(&self.in_flight),
            aborted: read(&self.aborted),
            upstream_failures: read(&self.upstream_failures),
            retries: read(&self.retries),
            direct: read(&self.direct),
            refused: read(&self.refused),
            cut: read(&self.cut),
            time_to_first_token: self.ttft.snapshot(),
            inter_token_latency: self.itl_by_usage.snapshot(),
            inter_token_latency_estimate: self.itl_by_events.snapshot(),
        }
    }
}

/// Where the number of tokens of an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GapBasis {
    /// The `usage` the engine sent.
    Usage,
    /// The number of events with content: an estimate, engines may put several tokens in one.
    Events,
}

/// The counters of all services, by gateway and service. They outlive their routes, so that counters never go back.
#[derive(Debug)]
pub(crate) struct Metrics {
    began: u64,
    services: Mutex<BTreeMap<(String, String), Arc<ServiceStats>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            began: u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX),
            services: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Returns the counters of a service.
    pub(crate) fn service(&self, gateway: &str, service: &str) -> Arc<ServiceStats> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (gateway.to_owned(), service.to_owned());
        Arc::clone(
            services
                .entry(key)
                .or_insert_with(|| Arc::new(ServiceStats::new())),
        )
    }

    /// Returns all counters.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let mut snapshot = Snapshot {
            began: self.began,
            ..Snapshot::default()
        };
        for ((gateway, service), stats) in services.iter() {
            snapshot
                .gateways
                .entry(gateway.clone())
                .or_default()
                .insert(service.clone(), stats.snapshot());
        }
        snapshot
    }

    /// Returns all counters as OpenMetrics text.
    pub(crate) fn to_openmetrics(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.snapshot()));
        let mut text = String::new();
        // Writing to a `String` does not fail.
        if prometheus_client::encoding::text::encode(&mut text, &registry).is_err() {
            text.clear();
        }
        text
    }
}

/// The counters of the data plane at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When counting began, in microseconds since 1970: counts with another beginning cannot be compared. 0 of an agent
    /// that does not tell.
    #[serde(default)]
    pub began: u64,
    /// By gateway and service; a service that was not asked for anything since then may be missing.
    pub gateways: BTreeMap<String, BTreeMap<String, ServiceSnapshot>>,
}

/// The counters of one service at one moment. Counters start at 0 with the agent's process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceSnapshot {
    /// Requests that were routed to the service.
    pub requests: u64,
    /// Requests that are in flight now.
    pub in_flight: u64,
    /// Requests whose client went away before the answer was complete.
    pub aborted: u64,
    /// Requests whose upstream failed.
    pub upstream_failures: u64,
    /// Connections that another replica took over before a byte was sent.
    pub retries: u64,
    /// Requests that went around a router that was down or not filled.
    pub direct: u64,
    /// Requests the gateway answered itself with an error.
    pub refused: u64,
    /// Requests cut when a drain's deadline passed.
    pub cut: u64,
    /// From the complete request to the first event with content, on upstream read.
    pub time_to_first_token: HistogramSnapshot,
    /// Mean time between tokens per answer whose engine reported `usage`; time blocked by the client excluded.
    pub inter_token_latency: HistogramSnapshot,
    /// The same from the events of answers without `usage`: an estimate.
    pub inter_token_latency_estimate: HistogramSnapshot,
}

/// A histogram at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HistogramSnapshot {
    /// Upper bounds in seconds.
    pub bounds: Vec<f64>,
    /// Observations per bucket, not cumulative; one more than bounds, for what is above.
    pub counts: Vec<u64>,
    /// All observations.
    pub count: u64,
    /// Their sum in seconds.
    pub sum_seconds: f64,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        type Reader = fn(&ServiceSnapshot) -> u64;
        let counters: [(&str, &str, Reader); 7] = [
            ("requests", "Requests routed to the service", |s| s.requests),
            ("aborted", "Requests whose client went away", |s| s.aborted),
            ("upstream_failures", "Requests whose upstream failed", |s| {
                s.upstream_failures
            }),
            ("retries", "Connections taken over by another replica", |s| {
                s.retries
            }),
            ("direct", "Requests that went around the router", |s| s.direct),
            ("refused", "Requests the gateway answered with an error", |s| {
                s.refused
            }),
            ("cut", "Requests cut at the end of a drain", |s| s.cut),
        ];
        for (name, help, read) in counters {
            let name = format!("gabion_gateway_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            for (labels, service) in self.rows() {
                family
                    .encode_family(&labels.as_slice())?
                    .encode_counter::<NoLabelSet, u64, u64>(&read(service), None)?;
            }
        }
        let mut family = encoder.encode_descriptor(
            "gabion_gateway_in_flight",
            "Requests in flight",
            None,
            MetricType::Gauge,
        )?;
        for (labels, service) in self.rows() {
            family
                .encode_family(&labels.as_slice())?
                .encode_gauge(&service.in_flight)?;
        }
        let family = encoder.encode_descriptor(
            "gabion_gateway_time_to_first_token_seconds",
            "From the complete request to the first event with content",
            None,
            MetricType::Histogram,
        )?;
        self.encode_histograms(family, |service| vec![(None, &service.time_to_first_token)])?;
        let family = encoder.encode_descriptor(
            "gabion_gateway_inter_token_latency_seconds",
            "Mean time between the tokens of one answer",
            None,
            MetricType::Histogram,
        )?;
        self.encode_histograms(family, |service| {
            vec![
                (Some("usage"), &service.inter_token_latency),
                (Some("estimate"), &service.inter_token_latency_estimate),
            ]
        })
    }
}

impl Snapshot {
    fn rows(&self) -> impl Iterator<Item = ([(&str, &str); 2], &ServiceSnapshot)> {
        self.gateways.iter().flat_map(|(gateway, services)| {
            services.iter().map(move |(service, stats)| {
                (
                    [("gateway", gateway.as_str()), ("service", service.as_str())],
                    stats,
                )
            })
        })
    }

    fn encode_histograms<'s>(
        &'s self,
        mut encoder: MetricEncoder<'_>,
        read: impl Fn(&'s ServiceSnapshot) -> Vec<(Option<&'static str>, &'s HistogramSnapshot)>,
    ) -> std::fmt::Result {
        for (labels, service) in self.rows() {
            for (basis, histogram) in read(service) {
                let mut labels = labels.to_vec();
                labels.extend(basis.map(|basis| ("basis", basis)));
                let bounds = histogram.bounds.iter().copied().chain([f64::MAX]);
                let buckets: Vec<(f64, u64)> = bounds.zip(histogram.counts.iter().copied()).collect();
                encoder
                    .encode_family(&labels.as_slice())?
                    .encode_histogram::<NoLabelSet>(histogram.sum_seconds, histogram.count, &buckets, None)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_tell_the_same() {
        let metrics = Metrics::default();
        let stats = metrics.service("loopback", "qwen");
        ServiceStats::count(&stats.requests);
        ServiceStats::count(&stats.requests);
        stats.observe_first_token(Duration::from_millis(30));
        stats.observe_token_gap(Duration::from_millis(12), GapBasis::Events);
        let snapshot = metrics.snapshot();
        let service = &snapshot.gateways["loopback"]["qwen"];
        assert_eq!((service.requests, service.time_to_first_token.count), (2, 1));
        assert!((service.time_to_first_token.sum_seconds - 0.03).abs() < 1e-9);
        let text = metrics.to_openmetrics();
        for line in [
            "gabion_gateway_requests_total{gateway=\"loopback\",service=\"qwen\"} 2",
            "gabion_gateway_time_to_first_token_seconds_bucket{le=\"0.05\",gateway=\"loopback\",service=\"qwen\"} 1",
            "gabion_gateway_inter_token_latency_seconds_count{gateway=\"loopback\",service=\"qwen\",basis=\"estimate\"} 1",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} not in:\n{text}");
        }
    }
}
