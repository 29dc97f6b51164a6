//! Leading many lives, on several threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cell::Cell;
use crate::life::{self, LifeReport};
use crate::stores::{StoreKind, Warehouse};

/// What to lead.
#[derive(Debug, Clone)]
pub struct Request {
    /// The first life's seed.
    pub seed: u64,
    /// On which stores, in turn.
    pub stores: Vec<StoreKind>,
    /// How many crash points to reach.
    pub points: u64,
    /// After how many violations no new life begins.
    pub violations: u64,
    /// On how many threads.
    pub threads: usize,
}

/// What many lives came to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// How many lives were led.
    pub lives: u64,
    /// How many processes there were.
    pub processes: u64,
    /// How many crash points were reached, by store.
    pub points: BTreeMap<StoreKind, u64>,
    /// How often each cell of the table was hit.
    pub cells: BTreeMap<Cell, u64>,
    /// What does not hold, with the life's seed and store, in the order of the seeds.
    pub violations: Vec<(u64, StoreKind, String)>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Outcome {
    /// Returns how many crash points were reached in all.
    pub fn all_points(&self) -> u64 {
        self.points.values().sum()
    }

    fn take(&mut self, seed: u64, store: StoreKind, report: LifeReport) {
        self.lives += 1;
        self.processes += report.processes;
        *self.points.entry(store).or_default() += report.points;
        for (cell, count) in report.cells {
            *self.cells.entry(cell).or_default() += count;
        }
        if let Some(violation) = report.violation {
            self.violations.push((seed, store, violation));
        }
    }
}

/// Leads one life and tells its story.
///
/// # Errors
/// When the machine does not let the simulation make its files.
pub fn tell(seed: u64, store: StoreKind) -> std::io::Result<LifeReport> {
    let mut warehouse = Warehouse::new()?;
    Ok(life::lead(seed, store, &mut warehouse, true))
}

/// Leads lives until enough crash points are reached, or too many violations are found.
///
/// `watch` is called now and then with the points so far.
///
/// # Errors
/// When the machine does not let the simulation make its files.
pub fn run(request: &Request, watch: &(dyn Fn(u64) + Sync)) -> std::io::Result<Outcome> {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let reached = AtomicU64::new(0);
    let broken = AtomicU64::new(0);
    let outcome = Mutex::new(Outcome::default());
    let work = || -> std::io::Result<()> {
        let mut warehouse = Warehouse::new()?;
        while reached.load(Ordering::Relaxed) < request.points
            && broken.load(Ordering::Relaxed) < request.violations
        {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let seed = request.seed + number;
            let store = request.stores[(number % request.stores.len() as u64) as usize];
            let report = life::lead(seed, store, &mut warehouse, false);
            let points = reached.fetch_add(report.points, Ordering::Relaxed) + report.points;
            if report.violation.is_some() {
                broken.fetch_add(1, Ordering::Relaxed);
            }
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.take(seed, store, report);
            drop(outcome);
            watch(points);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..request.threads.max(1)).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            match thread.join() {
                Ok(ended) => ended?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<(), std::io::Error>(())
    })?;
    let mut outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcome.violations.sort();
    outcome.elapsed = began.elapsed();
    Ok(outcome)
}
