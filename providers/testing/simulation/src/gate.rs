//! The gate between one process and the rest of the world: everything that leaves the process or reaches it passes here,
//! and here it is struck.
//!
//! A *crash* closes the gate for good: what the process still computes reaches nobody. What it had sent goes on or is
//! lost on the wire. A *pause* closes it until somebody opens it again, as a stopped process that is continued.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use gabion_engine::address::{OperationId, ResourceAddress, Uid};
use gabion_engine::state::Journal;
use gabion_testing::fake::fault::Random;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::aim::{Aim, Strike};
use crate::cell::{Action, Boundary, Moment, Place};
use crate::ledger::Ledger;

/// What can be struck: a write of the log or a request, for one action that it is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) place: Place,
    /// The call that it is about.
    pub(crate) operation: Option<OperationId>,
    /// The sequence number of the event that is written, and the epoch that it is written under.
    pub(crate) event: Option<(u64, u64)>,
}

/// What was struck.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Focus {
    pub(crate) target: Target,
    pub(crate) moment: Moment,
    /// Whether a run has loaded the log since.
    pub(crate) looked_at: bool,
}

/// A call that this process has an intent for.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) action: Option<Action>,
    pub(crate) uid: Uid,
    pub(crate) address: ResourceAddress,
}

/// The gate of one process.
pub(crate) struct Gate {
    /// Which process it is, for the story.
    pub(crate) name: String,
    ledger: Arc<Ledger>,
    inner: Mutex<Inner>,
    /// Told once, when the process is struck.
    struck: Notify,
    /// Told when a paused process is continued.
    resumed: Notify,
    /// Told once, when the process has ended by itself.
    ended: Notify,
}

struct Inner {
    dead: bool,
    paused: bool,
    aim: Option<Aim>,
    random: Random,
    /// What each step of the plan is.
    steps: Vec<Option<Action>>,
    known: BTreeMap<OperationId, Known>,
    hit: Option<Strike>,
    flights: Vec<AbortHandle>,
    journal: Weak<Journal>,
    looked_since: Option<Instant>,
}

impl Gate {
    pub(crate) fn new(name: String, random: Random, ledger: Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self {
            name,
            ledger,
            inner: Mutex::new(Inner {
                dead: false,
                paused: false,
                aim: None,
                random,
                steps: Vec::new(),
                known: BTreeMap::new(),
                hit: None,
                flights: Vec::new(),
                journal: Weak::new(),
                looked_since: None,
            }),
            struck: Notify::new(),
            resumed: Notify::new(),
            ended: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is complete when anything in it could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what the steps of its plan are, and what is aimed at.
    pub(crate) fn prepare(&self, steps: Vec<Option<Action>>, aim: Option<Aim>) {
        let mut inner = self.lock();
        inner.steps = steps;
        inner.aim = aim;
    }

    /// Remembers the journal that the process writes.
    pub(crate) fn writes(&self, journal: &Arc<Journal>) {
        let mut inner = self.lock();
        inner.journal = Arc::downgrade(journal);
        inner.looked_since = Some(Instant::now());
    }

    /// Returns since when the process has looked at the world.
    pub(crate) fn looked_since(&self) -> Option<Instant> {
        self.lock().looked_since
    }

    pub(crate) fn journal(&self) -> Option<Arc<Journal>> {
        self.lock().journal.upgrade()
    }

    /// Returns what a step of the plan is.
    pub(crate) fn step(&self, step: u32) -> Option<Action> {
        self.lock().steps.get(step as usize).copied().flatten()
    }

    pub(crate) fn learn(&self, operation: OperationId, known: Known) {
        self.lock().known.insert(operation, known);
    }

    pub(crate) fn known(&self, operation: OperationId) -> Option<Known> {
        self.lock().known.get(&operation).cloned()
    }

    /// Passes through the gate: at once, once the process is continued, or never.
    pub(crate) async fn pass(&self) {
        loop {
            let resumed = self.resumed.notified();
            tokio::pin!(resumed);
            resumed.as_mut().enable();
            {
                let inner = self.lock();
                if !inner.dead && !inner.paused {
                    return;
                }
            }
            resumed.await;
        }
    }

    /// Returns the aim, if this is the boundary that is aimed at. From then on nothing is aimed at any more.
    pub(crate) fn strikes(&self, foci: &[Target]) -> Option<Aim> {
        let mut inner = self.lock();
        let aim = inner.aim.as_mut()?;
        let matching = foci.iter().filter(|target| target.place == aim.place).count() as u32;
        if aim.skip >= matching {
            aim.skip -= matching;
            return None;
        }
        inner.aim.take()
    }

    /// Aims again, because what would have been struck did not come about.
    pub(crate) fn aim_again(&self, aim: Aim) {
        self.lock().aim = Some(aim);
    }

    /// Strikes: from now on the gate is closed. Returns once the process is continued, if it ever is.
    pub(crate) async fn strike(&self, aim: Aim, targets: &[Target]) {
        self.close(aim, targets);
        self.pass().await;
    }

    /// Closes the gate.
    pub(crate) fn close(&self, aim: Aim, targets: &[Target]) {
        let mut inner = self.lock();
        match aim.strike {
            Strike::Crash => {
                inner.dead = true;
                // What is on the wire arrives or does not.
                for flight in std::mem::take(&mut inner.flights) {
                    if inner.random.below(2) == 0 {
                        flight.abort();
                    }
                }
            }
            Strike::Pause => inner.paused = true,
            Strike::Refuse => {}
        }
        let foci = targets
            .iter()
            .map(|target| Focus {
                target: *target,
                moment: aim.moment,
                looked_at: false,
            })
            .collect();
        // A write that failed leaves a process that goes on.
        if aim.strike != Strike::Refuse {
            self.ledger.struck(foci);
        }
        inner.hit = Some(aim.strike);
        self.struck.notify_one();
    }

    /// Closes the gate a little later, while what follows from an answer begins.
    pub(crate) fn close_soon(self: &Arc<Self>, aim: Aim, targets: Vec<Target>) {
        let delay = {
            let mut inner = self.lock();
            match inner.random.below(3) {
                0 => Duration::ZERO,
                1 => Duration::from_millis(inner.random.below(60)),
                _ => Duration::from_millis(inner.random.below(3000)),
            }
        };
        let gate = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            gate.close(aim, &targets);
        });
    }

    /// Waits until the process is struck.
    pub(crate) async fn struck(&self) {
        self.struck.notified().await;
    }

    /// Ends the process where it stands, whatever was aimed at.
    pub(crate) fn kill(&self) {
        let mut inner = self.lock();
        inner.dead = true;
        inner.paused = false;
    }

    /// Continues a paused process.
    pub(crate) fn resume(&self) {
        self.lock().paused = false;
        self.resumed.notify_waiters();
    }

    /// Returns what was struck, once.
    pub(crate) fn take_hit(&self) -> Option<Strike> {
        self.lock().hit.take()
    }

    /// Keeps a request that is on the wire.
    pub(crate) fn flies(&self, flight: AbortHandle) {
        let mut inner = self.lock();
        inner.flights.retain(|flight| !flight.is_finished());
        inner.flights.push(flight);
    }

    /// Returns whether the network delivers an append twice.
    pub(crate) fn delivers_twice(&self) -> bool {
        self.lock().random.below(24) == 0
    }

    /// Says that the process has ended.
    pub(crate) fn end(&self) {
        self.ended.notify_one();
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }
}

/// Returns a row of the table.
pub(crate) fn place(action: Action, boundary: Boundary) -> Place {
    Place { action, boundary }
}
