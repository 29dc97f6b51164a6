//! Requests that go on while something else happens.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::chat::Endpoint;
use super::wait::eventually;

/// The pause between two requests of a client, so that clients do not take the cores from what they test.
const PACE: Duration = Duration::from_millis(25);

/// Clients that ask without end: some for short completions over new connections, one over a connection that it keeps,
/// some for streams.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
    started: Instant,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    served: AtomicU64,
    report: Mutex<LoadReport>,
}

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoadReport {
    /// Requests that were answered in full, by replica.
    pub(crate) served: BTreeMap<String, u64>,
    /// How many of them were streams.
    pub(crate) streams: u64,
    /// What went wrong, with the second in which the request began.
    pub(crate) failures: Vec<(f32, String)>,
    /// The slowest answer to a short request.
    pub(crate) slowest: Duration,
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} served ({} streams), slowest short one {:.2} s, {:?}",
            self.total(),
            self.streams,
            self.slowest.as_secs_f32(),
            self.served
        )?;
        writeln!(f, "{} failed", self.failures.len())?;
        for (second, failure) in self.failures.iter().take(20) {
            writeln!(f, "  at {second:.2} s: {failure}")?;
        }
        Ok(())
    }
}

impl LoadReport {
    /// Returns how many requests were served.
    pub(crate) fn total(&self) -> u64 {
        self.served.values().sum()
    }

    /// Checks that no request failed.
    #[track_caller]
    pub(crate) fn without_failures(self) -> Self {
        assert!(self.failures.is_empty(), "{self}");
        self
    }
}

/// What one client does.
#[derive(Clone, Copy)]
enum Habit {
    Short,
    ShortOverOneConnection,
    Stream,
}

impl Load {
    /// Starts four clients and waits until each kind was served.
    pub(crate) fn start(endpoint: &Endpoint) -> Self {
        let shared = Arc::new(Shared::default());
        let started = Instant::now();
        let habits = [
            Habit::Short,
            Habit::ShortOverOneConnection,
            Habit::Stream,
            Habit::Stream,
        ];
        let clients = habits
            .into_iter()
            .enumerate()
            .map(|(number, habit)| {
                let (shared, endpoint) = (Arc::clone(&shared), endpoint.clone());
                thread::spawn(move || client(&shared, &endpoint, habit, number, started))
            })
            .collect();
        let load = Self {
            shared,
            clients,
            started,
        };
        load.goes_on(8);
        load
    }

    /// Waits until this many further requests were served.
    #[track_caller]
    pub(crate) fn goes_on(&self, requests: u64) {
        let goal = self.shared.served.load(Ordering::SeqCst) + requests;
        eventually("more served requests", Duration::from_secs(20), || {
            let served = self.shared.served.load(Ordering::SeqCst);
            if served >= goal {
                Ok(())
            } else {
                Err(self.report().to_string())
            }
        });
    }

    /// Returns how long it has been running, in the seconds of its report.
    pub(crate) fn now(&self) -> f32 {
        self.started.elapsed().as_secs_f32()
    }

    /// Returns what became of the requests so far.
    pub(crate) fn report(&self) -> LoadReport {
        self.shared.report.lock().unwrap().clone()
    }

    /// Lets running requests end and returns what became of all.
    pub(crate) fn stop(mut self) -> LoadReport {
        self.shared.stop.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().unwrap();
        }
        self.report()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

fn client(shared: &Shared, endpoint: &Endpoint, habit: Habit, number: usize, started: Instant) {
    let mut kept = None;
    for round in 0_u64.. {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let began = Instant::now();
        let prompt = format!("client {number} asks for the {round}th time");
        let result = match habit {
            Habit::Short => endpoint.ask(&prompt).map(|completion| completion.replica),
            Habit::ShortOverOneConnection => {
                endpoint
                    .ask_over(kept.take(), &prompt)
                    .map(|(completion, connection)| {
                        kept = connection;
                        completion.replica
                    })
            }
            Habit::Stream => endpoint.stream(&prompt, 40).and_then(|stream| {
                let replica = stream.replica.clone();
                stream.finish().map(|_| replica)
            }),
        };
        {
            let mut report = shared.report.lock().unwrap();
            match result {
                Ok(replica) => {
                    *report.served.entry(replica).or_default() += 1;
                    match habit {
                        Habit::Stream => report.streams += 1,
                        _ => report.slowest = report.slowest.max(began.elapsed()),
                    }
                    shared.served.fetch_add(1, Ordering::SeqCst);
                }
                Err(failure) => report.failures.push(((began - started).as_secs_f32(), failure)),
            }
        }
        thread::sleep(PACE);
    }
}
