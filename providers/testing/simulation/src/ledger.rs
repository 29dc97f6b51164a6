//! What the store and the cloud promised in one life, kept apart from both; and what was found broken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gabion_engine::address::{Lineage, OperationId, Uid};
use gabion_engine::provider::Observation;
use gabion_engine::state::store::{AppendRequest, LeaseGrant, Loaded};
use gabion_engine::state::{Head, State};
use tokio::time::Instant;

use crate::cell::{Boundary, Cell, Outcome};
use crate::expected::{Expected, expected};
use crate::gate::Focus;
use crate::story::Story;

/// What is known of a life from outside.
pub(crate) struct Ledger {
    pub(crate) story: Story,
    inner: Mutex<Inner>,
}

/// Events that were appended.
struct Append {
    epoch: u64,
    after: u64,
    last: u64,
}

impl Append {
    fn has(&self, sequence: u64) -> bool {
        self.after < sequence && sequence <= self.last
    }
}

#[derive(Default)]
struct Inner {
    lineage: Option<Lineage>,
    /// The sequence number of the last event that a process was told to be durable.
    acknowledged: u64,
    /// The highest epoch that was granted.
    epoch: u64,
    /// What was appended, as far as it was answered.
    written: Vec<Append>,
    /// Creations with a durable intent.
    creations: BTreeSet<OperationId>,
    /// Creations that the cloud carried out while somebody might still listen.
    effects: BTreeMap<OperationId, Instant>,
    /// Objects that were given up.
    forgotten: BTreeSet<Uid>,
    /// What was struck and not found out about yet.
    pending: Vec<Focus>,
    cells: BTreeMap<Cell, u64>,
    violations: Vec<String>,
}

impl Ledger {
    pub(crate) fn new(story: Story) -> Self {
        Self {
            story,
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is complete when anything in it could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something promised does not hold.
    pub(crate) fn violated(&self, what: impl Into<String>) {
        let what = what.into();
        self.story.tell(|| format!("VIOLATION: {what}"));
        self.lock().violations.push(what);
    }

    /// Returns what was found broken first.
    pub(crate) fn violation(&self) -> Option<String> {
        let inner = self.lock();
        let impossible = impossible(&inner.cells);
        inner
            .violations
            .first()
            .cloned()
            .or_else(|| Some(format!("what recovery found cannot be: {}", impossible?)))
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.lock().acknowledged
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    pub(crate) fn created(&self, head: &Head) {
        let mut inner = self.lock();
        inner.lineage = Some(head.lineage);
        inner.acknowledged = inner.acknowledged.max(head.sequence);
    }

    pub(crate) fn acknowledge(&self, head: &Head) {
        let mut inner = self.lock();
        inner.acknowledged = inner.acknowledged.max(head.sequence);
    }

    /// Checks a load: nothing acknowledged before it is missing, and it is the same log.
    pub(crate) fn loaded(&self, acknowledged: u64, loaded: &Loaded) {
        let found = loaded.head.sequence;
        if found < acknowledged {
            self.violated(format!(
                "the log ends with event {found}, and event {acknowledged} had been acknowledged"
            ));
        }
        if loaded.state.serial != found {
            self.violated(format!(
                "the head says event {found}, and the state is that of event {}",
                loaded.state.serial
            ));
        }
        let lineage = *self.lock().lineage.get_or_insert(loaded.head.lineage);
        if lineage != loaded.head.lineage {
            self.violated(format!(
                "the lineage was {lineage} and is {}",
                loaded.head.lineage
            ));
        }
    }

    /// Checks an append: it moved the serial by as many as there are events, and nobody had fenced its writer.
    pub(crate) fn appended(&self, process: &str, request: &AppendRequest, head: &Head, fenced: bool) {
        let expected = request.expected_sequence + request.events.len() as u64;
        self.lock().written.push(Append {
            epoch: request.epoch,
            after: request.expected_sequence,
            last: expected,
        });
        if head.sequence != expected {
            self.violated(format!(
                "an append of {} events after event {} left the serial at {}",
                request.events.len(),
                request.expected_sequence,
                head.sequence
            ));
        }
        if fenced {
            self.violated(format!(
                "{process} wrote under epoch {} after epoch {} had been granted",
                request.epoch,
                self.epoch()
            ));
        }
    }

    /// Checks a lease: epochs only grow.
    pub(crate) fn granted(&self, process: &str, grant: LeaseGrant) {
        let before = {
            let mut inner = self.lock();
            let before = inner.epoch;
            inner.epoch = before.max(grant.epoch);
            before
        };
        if grant.epoch <= before {
            self.violated(format!(
                "{process} was granted epoch {}, and epoch {before} had been granted before",
                grant.epoch
            ));
        }
    }

    pub(crate) fn creation(&self, operation: OperationId) {
        self.lock().creations.insert(operation);
    }

    pub(crate) fn creates(&self, operation: OperationId) -> bool {
        self.lock().creations.contains(&operation)
    }

    pub(crate) fn forget(&self, uid: Uid) {
        self.lock().forgotten.insert(uid);
    }

    pub(crate) fn forgotten(&self) -> BTreeSet<Uid> {
        self.lock().forgotten.clone()
    }

    /// Notes that the cloud carried out a creation.
    pub(crate) fn took_effect(&self, operation: OperationId) {
        self.lock().effects.entry(operation).or_insert_with(Instant::now);
    }

    /// Notes that an observation, which began at some time, settled a call. What had taken effect by then must not be
    /// settled as absent.
    pub(crate) fn settled(&self, operation: OperationId, observation: &Observation, began: Option<Instant>) {
        let outcome = match observation {
            Observation::Present(_) => Outcome::Present,
            Observation::Absent => Outcome::Absent,
            Observation::Unknown { .. } => Outcome::Unknown,
        };
        let lied = {
            let mut inner = self.lock();
            let (found, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut inner.pending)
                .into_iter()
                .partition(|focus| focus.target.operation == Some(operation));
            inner.pending = rest;
            for focus in found {
                count(&mut inner.cells, &focus, outcome);
            }
            let effect = inner.effects.get(&operation);
            outcome == Outcome::Absent
                && effect.is_some_and(|effect| began.is_some_and(|began| *effect < began))
        };
        if lied {
            self.violated(format!(
                "the creation {operation} took effect, and was settled as absent"
            ));
        }
    }

    /// Takes in what was struck.
    pub(crate) fn struck(&self, foci: Vec<Focus>) {
        self.lock().pending.extend(foci);
    }

    /// Takes back what was struck.
    pub(crate) fn withdraw(&self) {
        self.lock().pending.clear();
    }

    /// Finds out about what was struck, as far as the log that the next run loads says it.
    pub(crate) fn reloaded(&self, state: &State) {
        let mut inner = self.lock();
        for mut focus in std::mem::take(&mut inner.pending) {
            focus.looked_at = true;
            let written = focus.target.event.is_none_or(|(sequence, epoch)| {
                // Another one may have written an event of its own in this place by now.
                match inner.written.iter().find(|append| append.has(sequence)) {
                    Some(append) => append.epoch == epoch,
                    None => state.serial >= sequence,
                }
            });
            let open = focus
                .target
                .operation
                .is_some_and(|operation| state.open_call(operation).is_some());
            let outcome = match focus.target.place.boundary {
                Boundary::Intent | Boundary::Opening if !written && !open => Outcome::Untouched,
                _ if open => {
                    inner.pending.push(focus);
                    continue;
                }
                _ => Outcome::Recorded,
            };
            count(&mut inner.cells, &focus, outcome);
        }
    }

    /// A run ended by itself: what it did not find out is unknown for now.
    pub(crate) fn ended(&self) {
        let mut inner = self.lock();
        let (unknown, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut inner.pending)
            .into_iter()
            .partition(|focus| focus.looked_at);
        inner.pending = rest;
        for focus in unknown {
            count(&mut inner.cells, &focus, Outcome::Unknown);
        }
    }

    /// Returns how often each cell was hit.
    pub(crate) fn cells(&self) -> BTreeMap<Cell, u64> {
        self.lock().cells.clone()
    }
}

fn count(cells: &mut BTreeMap<Cell, u64>, focus: &Focus, outcome: Outcome) {
    let cell = Cell {
        place: focus.target.place,
        moment: focus.moment,
        outcome,
    };
    *cells.entry(cell).or_default() += 1;
}

/// Returns the first cell that was hit and cannot be.
fn impossible(cells: &BTreeMap<Cell, u64>) -> Option<Cell> {
    cells
        .keys()
        .copied()
        .find(|cell| expected(*cell) == Expected::Never)
}
