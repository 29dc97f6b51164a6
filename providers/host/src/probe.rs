//! When a program counts as ready.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::time::Instant;

use crate::http::{HttpRequest, send};
use crate::transport::{Endpoint, Transport};
use crate::unit::{Exit, UnitDirectory, UnitStatus, inspect, tail};

/// How many lines of the log an error carries, and how many bytes at most.
const LOG_LINES: usize = 20;
const LOG_BYTES: u64 = 8 << 10;

/// How long a program without probes must have run: what cannot start at all ends within moments.
const SETTLE: Duration = Duration::from_millis(500);

/// The longest pause between two tries while a program is not ready yet.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a ready program does: it answers a request with a 2xx status, or at least accepts a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    /// The request; `None` when an accepted connection is enough.
    pub request: Option<ProbeRequest>,
    /// How long one try may take.
    pub timeout: Duration,
    /// Pause between two tries; a program that is not ready is asked again after one second at most.
    pub interval: Duration,
    /// How many tries in a row must succeed.
    pub ready_after: u32,
}

/// The request of a probe.
#[derive(Clone, PartialEq, Eq)]
pub struct ProbeRequest {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: Option<String>,
}

impl ProbeRequest {
    /// A GET without headers.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            headers: BTreeMap::new(),
            body: None,
        }
    }
}

impl fmt::Debug for ProbeRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Path, headers and body may carry secrets.
        formatter
            .debug_struct("ProbeRequest")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl Probe {
    /// A GET that must succeed once.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            request: Some(ProbeRequest::get(path)),
            ..Self::connect()
        }
    }

    /// A connection that must be accepted once.
    #[must_use]
    pub fn connect() -> Self {
        Self {
            request: None,
            timeout: Duration::from_secs(10),
            interval: Duration::from_secs(1),
            ready_after: 1,
        }
    }

    /// Tries once; says why not when the program is not ready.
    pub async fn attempt(&self, transport: &dyn Transport, endpoint: &Endpoint) -> Result<(), String> {
        let Some(wanted) = &self.request else {
            return match tokio::time::timeout(self.timeout, transport.dial(endpoint)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no connection within {} s", self.timeout.as_secs_f32())),
            };
        };
        let mut request = HttpRequest::new(wanted.method.clone(), wanted.path.clone()).timeout(self.timeout);
        request.max_body = 1 << 20;
        for (name, value) in &wanted.headers {
            request = request.header(name, value).map_err(|error| error.to_string())?;
        }
        if let Some(body) = &wanted.body {
            request.body = Bytes::from(body.clone());
        }
        match send(transport, endpoint, request).await {
            Ok(response) if response.status.is_success() => Ok(()),
            Ok(response) => {
                let excerpt = response.excerpt();
                Err(if excerpt.is_empty() {
                    format!("status {}", response.status)
                } else {
                    format!("status {}: {excerpt}", response.status)
                })
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.request {
            Some(request) => write!(formatter, "{} {}", request.method, request.path),
            None => formatter.write_str("connect"),
        }
    }
}

/// Why a program did not become ready.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The program ended.
    #[error("the program ended before it was ready ({}){}", exit.map_or_else(|| "how is not known".to_owned(), |exit| exit.to_string()), quoted(log))]
    Exited {
        /// How, if that is known.
        exit: Option<Exit>,
        /// The log's last lines.
        log: String,
    },
    /// The program runs, and its probe did not pass in time.
    #[error("not ready within {} s: {probe}: {reason}{}", waited.as_secs_f32().round(), quoted(log))]
    Deadline {
        /// How long it was waited for.
        waited: Duration,
        /// The probe that did not pass.
        probe: String,
        /// What the last try said.
        reason: String,
        /// The log's last lines.
        log: String,
    },
    /// The unit cannot be looked at.
    #[error("{reason}")]
    Lost {
        /// Why.
        reason: String,
    },
}

fn quoted(log: &str) -> String {
    if log.trim().is_empty() {
        return "\nits log is empty".to_owned();
    }
    let mut text = "\nlast lines of its log:".to_owned();
    for line in log.lines() {
        text.push_str("\n  | ");
        text.push_str(line);
    }
    text
}

/// Waits until every probe has passed, one after the other.
///
/// Fails as soon as the program has ended. Without probes, a program is ready that did not end at once.
///
/// # Cancellation
/// Safe; nothing is changed.
pub async fn wait_ready(
    transport: &dyn Transport,
    endpoint: &Endpoint,
    probes: &[Probe],
    unit: &UnitDirectory,
    deadline: Duration,
) -> Result<(), NotReady> {
    let begun = Instant::now();
    let end = begun + deadline;
    for probe in probes {
        let wanted = probe.ready_after.max(1);
        let mut passed = 0;
        let mut reason = "no answer yet".to_owned();
        loop {
            check_alive(unit).await?;
            let left = end.saturating_duration_since(Instant::now());
            let pause = match tokio::time::timeout(left, probe.attempt(transport, endpoint)).await {
                Ok(Ok(())) => {
                    passed += 1;
                    if passed >= wanted {
                        break;
                    }
                    reason = format!("passed {passed} times in a row, and should {wanted} times");
                    probe.interval
                }
                Ok(Err(refusal)) => {
                    passed = 0;
                    reason = refusal;
                    retry_pause(begun.elapsed(), probe.interval)
                }
                // Time is up; what the last try said says more than that this one was cut short.
                Err(_) => Duration::ZERO,
            };
            sleep_while_alive((Instant::now() + pause).min(end), unit).await?;
            if Instant::now() >= end {
                check_alive(unit).await?;
                return Err(late(begun, probe, reason, unit));
            }
        }
    }
    if probes.is_empty() {
        sleep_while_alive(end.min(begun + SETTLE), unit).await?;
    }
    check_alive(unit).await
}

/// Quick at first, since many programs are up within moments.
fn retry_pause(elapsed: Duration, interval: Duration) -> Duration {
    (elapsed / 10)
        .clamp(Duration::from_millis(100), PATIENCE)
        .min(interval.max(Duration::from_millis(50)))
}

fn late(begun: Instant, probe: &Probe, reason: String, unit: &UnitDirectory) -> NotReady {
    NotReady::Deadline {
        waited: begun.elapsed(),
        probe: probe.to_string(),
        reason,
        log: last_log(unit),
    }
}

async fn sleep_while_alive(until: Instant, unit: &UnitDirectory) -> Result<(), NotReady> {
    while Instant::now() < until {
        check_alive(unit).await?;
        tokio::time::sleep_until(until.min(Instant::now() + Duration::from_millis(200))).await;
    }
    Ok(())
}

async fn check_alive(unit: &UnitDirectory) -> Result<(), NotReady> {
    match look(unit)? {
        UnitStatus::Running { .. } => Ok(()),
        UnitStatus::Exited { exit: Some(exit), .. } => Err(ended(Some(exit), unit)),
        _ => {
            // Whoever reaps the program may be about to write down how it ended.
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                match look(unit)? {
                    UnitStatus::Running { .. } => return Ok(()),
                    UnitStatus::Exited { exit: Some(exit), .. } => return Err(ended(Some(exit), unit)),
                    _ => {}
                }
            }
            let seen = crate::systemd::look(unit).await.ok().flatten();
            Err(ended(seen.and_then(|look| Some(look.ended?.0)), unit))
        }
    }
}

fn look(unit: &UnitDirectory) -> Result<UnitStatus, NotReady> {
    inspect(unit).map_err(|error| NotReady::Lost {
        reason: error.to_string(),
    })
}

fn ended(exit: Option<Exit>, unit: &UnitDirectory) -> NotReady {
    NotReady::Exited {
        exit,
        log: last_log(unit),
    }
}

/// Returns the end of a unit's log as errors quote it.
fn last_log(unit: &UnitDirectory) -> String {
    tail(unit, LOG_LINES, LOG_BYTES).unwrap_or_else(|error| format!("(the log cannot be read: {error})"))
}
