//! What is done when: looks for names, asks for certificates, renews them, and waits after failures.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::acme::{self, AcmeFailure};
use super::files::{Files, Held};
use super::types::{Certificate, CertificateReport, Progress};
use crate::agent::Agent;
use crate::dns::{self, Lead};
use crate::protocol::AgentError;
use crate::store::CertificateRecord;

/// How often it is seen what is due.
const TICK: Duration = Duration::from_secs(2);

/// The wait after the first failure, which doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(60);

/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(12 * 60 * 60);

/// The shortest wait when an authority takes no more requests.
const LIMITED_WAIT: Duration = Duration::from_secs(60 * 60);

/// What is said of a certificate that would be renewed as soon as it is there.
const DUE_ALREADY: &str =
    "the certificate that it made is due for renewal already: the clock of one of the two machines is wrong";

/// How long until a name that did not lead here is looked up again: at first, and at most.
const NAME_WAITS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// How long it may take to find out why a name does not lead here.
const ZONE_PATIENCE: Duration = Duration::from_secs(10);

/// The clock by which certificates are judged.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// Returns a clock that is asked what time it is.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Returns the seconds since 1970.
    fn seconds(&self) -> u64 {
        let since = (self.0)().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(SystemTime::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// What is going on for the certificates of an agent.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) files: Files,
    pub(crate) clock: Clock,
    attempts: Mutex<BTreeMap<String, Attempt>>,
    wake: Notify,
}

/// What is remembered of a host name while the agent runs.
#[derive(Debug)]
struct Attempt {
    progress: Progress,
    /// When a name that did not lead here is looked up again, and the wait after that.
    again: Option<(Instant, Duration)>,
    task: Option<JoinHandle<()>>,
    /// Whether the files were looked at since the last change of what is wanted.
    looked: bool,
}

impl Default for Attempt {
    fn default() -> Self {
        Self {
            progress: Progress::Begins,
            again: None,
            task: None,
            looked: false,
        }
    }
}

impl Certificates {
    pub(crate) fn new(files: Files, clock: Clock) -> Self {
        Self {
            files,
            clock,
            attempts: Mutex::default(),
            wake: Notify::new(),
        }
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<String, Attempt>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a host name looked at now.
    pub(crate) fn look_at(&self, host: &str) {
        let mut attempts = self.attempts();
        let attempt = attempts.entry(host.to_owned()).or_default();
        attempt.looked = false;
        attempt.again = None;
        if !matches!(attempt.progress, Progress::Orders) {
            attempt.progress = Progress::Begins;
        }
        drop(attempts);
        self.wake.notify_one();
    }

    /// Ends whatever goes on for a host name; when this returns nothing is written for it any more.
    pub(crate) async fn forget(&self, host: &str) {
        let attempt = self.attempts().remove(host);
        if let Some(task) = attempt.and_then(|attempt| attempt.task) {
            task.abort();
            // It ends at its next wait; what it wrote is then removed by whoever asked.
            drop(task.await);
        }
    }

    fn note(&self, host: &str, progress: Progress) {
        if let Some(attempt) = self.attempts().get_mut(host) {
            attempt.progress = progress;
        }
    }

    /// Returns how a certificate is; looks at its files.
    pub(crate) fn report(&self, record: &CertificateRecord) -> CertificateReport {
        let host = &record.stored.object.host;
        let now = self.clock.seconds();
        let (held, defect) = match self.files.held(host) {
            Ok(held) => {
                let defect = defect(held.as_ref(), record, now);
                (held, defect)
            }
            Err(error) => (None, Some(error.to_string())),
        };
        let progress = match &record.failed {
            Some(failed) => Progress::Failed {
                reason: failed.reason.clone(),
                failures: failed.failures,
                next_attempt: failed.next_attempt,
            },
            None => self
                .attempts()
                .get(host)
                .map_or(Progress::Begins, |attempt| attempt.progress.clone()),
        };
        CertificateReport {
            wanted: record.stored.clone(),
            held: held.map(|held| held.facts),
            defect,
            progress,
        }
    }
}

/// Returns what is wrong with what is held, if anything is.
fn defect(held: Option<&Held>, record: &CertificateRecord, now: u64) -> Option<String> {
    let Some(held) = held else {
        return Some(match &record.issued {
            None => "there is none yet".to_owned(),
            Some(_) => "its file is gone".to_owned(),
        });
    };
    match &record.issued {
        Some(issued) if is_issued(held, record) => {
            if issued.directory != record.stored.object.directory {
                Some(format!("it comes from {}", issued.directory))
            } else if held.facts.not_after <= now {
                Some("it has expired".to_owned())
            } else {
                None
            }
        }
        _ => Some(format!(
            "the one in the file is not the one that this agent got: its serial number is {}",
            held.facts.serial_number
        )),
    }
}

/// Returns whether what is held is what the agent got last.
fn is_issued(held: &Held, record: &CertificateRecord) -> bool {
    let issued = record.issued.as_ref();
    issued.is_some_and(|issued| issued.fingerprint == held.facts.fingerprint)
}

/// Returns when a certificate is renewed: after two thirds of its life.
fn renewal_time(not_before: u64, not_after: u64) -> u64 {
    not_before + not_after.saturating_sub(not_before) / 3 * 2
}

/// Sees to it that every host name has a certificate, until it is dropped.
pub(crate) async fn keep(agent: Arc<Agent>) {
    let sweeper = Arc::clone(&agent);
    // What cannot be removed now is removed with the agent's directory.
    drop(tokio::task::spawn_blocking(move || sweep(&sweeper)).await);
    loop {
        for host in due(&agent) {
            let mut attempts = agent.certificates.attempts();
            let Some(attempt) = attempts.get_mut(&host) else {
                continue;
            };
            // Whoever asks again while this runs is heard after it.
            attempt.looked = true;
            let (agent, host) = (Arc::clone(&agent), host.clone());
            attempt.task = Some(tokio::spawn(async move { attempt_one(&agent, &host).await }));
        }
        let woken = agent.certificates.wake.notified();
        drop(tokio::time::timeout(TICK, woken).await);
    }
}

/// Serves the certificates that there are, before anything is done for them.
pub(crate) fn serve_held(agent: &Agent) {
    for (host, record) in agent.read(|contents| contents.certificates.clone()) {
        // What cannot be read is said, and replaced, by whoever looks after it.
        if let Ok(Some(held)) = agent.certificates.files.held(&host)
            && is_issued(&held, &record)
        {
            agent.plane.served.put(&host, held.facts, held.key);
        }
    }
}

/// Removes keys that nothing is known of any more.
fn sweep(agent: &Agent) -> std::io::Result<()> {
    let files = &agent.certificates.files;
    // Whoever wants a host name is known before anything is written for it.
    files.sweep(|host| agent.read(|contents| contents.certificates.contains_key(host)))?;
    if agent.read(|contents| contents.certificates.is_empty()) {
        files.remove_accounts()?;
    }
    Ok(())
}

/// Ends everything that goes on.
pub(crate) async fn stop(agent: &Agent) {
    let hosts: Vec<String> = agent.certificates.attempts().keys().cloned().collect();
    for host in hosts {
        agent.certificates.forget(&host).await;
    }
}

/// Returns the host names that something is to be done for now.
fn due(agent: &Agent) -> Vec<String> {
    if agent.is_frozen() {
        return Vec::new();
    }
    let records = agent.read(|contents| contents.certificates.clone());
    let now = agent.certificates.clock.seconds();
    let mut attempts = agent.certificates.attempts();
    let mut due = Vec::new();
    for (host, record) in records {
        let attempt = attempts.entry(host.clone()).or_default();
        let runs = attempt.task.as_ref().is_some_and(|task| !task.is_finished());
        if runs {
            continue;
        }
        let is_young = agent.plane.served.facts(&host).is_some_and(|facts| {
            let issued = record.issued.as_ref();
            issued.is_some_and(|issued| {
                issued.fingerprint == facts.fingerprint && issued.directory == record.stored.object.directory
            }) && now < renewal_time(facts.not_before, facts.not_after)
        });
        let waits_for_name = attempt.again.is_some_and(|(at, _)| Instant::now() < at);
        let waits = record
            .failed
            .as_ref()
            .is_some_and(|failed| now < failed.next_attempt);
        if !attempt.looked || !(is_young || waits_for_name || waits) {
            due.push(host);
        }
    }
    due
}

async fn attempt_one(agent: &Arc<Agent>, host: &str) {
    let certificates = &agent.certificates;
    let Some(record) = agent.read(|contents| contents.certificates.get(host).cloned()) else {
        return;
    };
    let now = certificates.clock.seconds();
    let wanted = record.stored.object.clone();
    // What cannot be read is not there; it is replaced once there is something better.
    if let Ok(Some(held)) = certificates.files.held(host)
        && is_issued(&held, &record)
    {
        let is_good = defect(Some(&held), &record, now).is_none();
        let is_young = now < renewal_time(held.facts.not_before, held.facts.not_after);
        // One that has expired too: it is replaced by a better one, not taken away.
        agent.plane.served.put(host, held.facts, held.key);
        if is_good && is_young {
            // The last steps of an attempt that was cut short.
            drop(certificates.files.end_order(host));
            certificates.note(host, Progress::Rests);
            return;
        }
    }
    if record
        .failed
        .as_ref()
        .is_some_and(|failed| now < failed.next_attempt)
    {
        return;
    }
    let found = match dns::leads_to(host, &wanted.address, wanted.nameserver).await {
        Ok(Lead::Right) => None,
        Ok(Lead::Wrong(found)) => Some(found),
        Err(error) => Some(format!("cannot be looked up: {error}")),
    };
    if let Some(found) = found {
        return await_name(certificates, host, found, delegated_to(&wanted).await);
    }
    certificates.note(host, Progress::Orders);
    match acme::obtain(&wanted, &certificates.files, &agent.plane.served).await {
        Ok(obtained) => {
            let facts = obtained.held.facts.clone();
            if let Err(error) = take(agent, &wanted, obtained).await {
                fail(agent, host, &AcmeFailure::Files(std::io::Error::other(error))).await;
            } else if certificates.clock.seconds() >= renewal_time(facts.not_before, facts.not_after) {
                // It serves; but nobody is asked for the next one at once, and the next, and the next.
                fail(agent, host, &AcmeFailure::Authority(DUE_ALREADY.to_owned())).await;
            }
        }
        Err(failure) => fail(agent, host, &failure).await,
    }
}

/// Returns the name servers that are asked in place of those of a host name's zone. Where nobody tells, it may be as it
/// should be.
async fn delegated_to(wanted: &Certificate) -> Option<Vec<String>> {
    let zone = wanted.zone.as_ref()?;
    let asked = dns::delegated_elsewhere(zone, wanted.nameserver);
    tokio::time::timeout(ZONE_PATIENCE, asked).await.ok()?.ok()?
}

fn await_name(certificates: &Certificates, host: &str, found: String, delegated_to: Option<Vec<String>>) {
    let mut attempts = certificates.attempts();
    let Some(attempt) = attempts.get_mut(host) else {
        return;
    };
    let wait = attempt
        .again
        .map_or(NAME_WAITS.0, |(_, wait)| (wait * 2).min(NAME_WAITS.1));
    attempt.again = Some((Instant::now() + wait, wait));
    attempt.progress = Progress::AwaitsName { found, delegated_to };
}

/// Makes a certificate the one that serves.
///
/// That it was got is durable first: until the file follows, the noted order leads to the same certificate again.
async fn take(agent: &Arc<Agent>, wanted: &Certificate, obtained: acme::Obtained) -> Result<(), AgentError> {
    let host = wanted.host.clone();
    let issued = crate::store::Issued {
        fingerprint: obtained.held.facts.fingerprint.clone(),
        directory: wanted.directory.clone(),
    };
    let key = host.clone();
    agent
        .change(move |contents| {
            let Some(record) = contents.certificates.get_mut(&key) else {
                return Err(AgentError::Invalid {
                    reason: "nobody wants the certificate any more".to_owned(),
                });
            };
            record.issued = Some(issued);
            record.failed = None;
            Ok(())
        })
        .await?;
    let certificates = &agent.certificates;
    let storage = |error: std::io::Error| AgentError::Storage {
        reason: error.to_string(),
    };
    certificates
        .files
        .put_held(&host, &obtained.pem)
        .map_err(storage)?;
    certificates.files.end_order(&host).map_err(storage)?;
    let held = obtained.held;
    agent.plane.served.put(&host, held.facts, held.key);
    certificates.note(&host, Progress::Rests);
    Ok(())
}

/// Remembers a failure durably: an agent that is started again and again must not ask again and again.
async fn fail(agent: &Arc<Agent>, host: &str, failure: &AcmeFailure) {
    let now = agent.certificates.clock.seconds();
    let (name, reason) = (host.to_owned(), failure.to_string());
    let is_limited = matches!(failure, AcmeFailure::RateLimited(_));
    let changed = agent
        .change(move |contents| {
            if let Some(record) = contents.certificates.get_mut(&name) {
                let failures = record.failed.as_ref().map_or(0, |failed| failed.failures) + 1;
                let wait = wait_after(failures, is_limited);
                record.failed = Some(crate::store::FailedAttempt {
                    reason,
                    failures,
                    next_attempt: now + wait.as_secs(),
                    is_limited,
                });
            }
            Ok(())
        })
        .await;
    // When the disk is full or broken, what is remembered here has to do for as long as the agent runs.
    if let Err(error) = changed
        && let Some(attempt) = agent.certificates.attempts().get_mut(host)
    {
        attempt.again = Some((Instant::now() + FIRST_WAIT, FIRST_WAIT));
        attempt.progress = Progress::Failed {
            reason: format!("{failure}; {error}"),
            failures: 1,
            next_attempt: now + FIRST_WAIT.as_secs(),
        };
    }
}

/// Returns how long to wait after so many failures in a row.
fn wait_after(failures: u32, is_limited: bool) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let wait = doubled.min(LONGEST_WAIT);
    if is_limited { wait.max(LIMITED_WAIT) } else { wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_day_and_a_limit_is_an_hour_at_least() {
        let seconds = |failures, limited| wait_after(failures, limited).as_secs();
        assert_eq!(
            [1, 2, 3, 10, 11, u32::MAX].map(|failures| seconds(failures, false)),
            [60, 120, 240, 30_720, 43_200, 43_200]
        );
        assert_eq!([1, 10].map(|failures| seconds(failures, true)), [3600, 30_720]);
    }

    #[test]
    fn a_certificate_of_ninety_days_is_renewed_after_sixty() {
        let day = 24 * 60 * 60;
        assert_eq!(renewal_time(10 * day, 100 * day), 70 * day);
        assert_eq!(renewal_time(100, 50), 100);
    }
}
