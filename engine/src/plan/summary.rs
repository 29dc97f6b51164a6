//! How much a plan does.

use crate::plan::Plan;
use crate::plan::change::{Action, Change, Summary};

impl Plan {
    /// Counts what the plan does.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for change in &self.changes {
            let count = match change.action {
                Action::NoOp => None,
                Action::Create => Some(&mut summary.create),
                Action::Update => Some(&mut summary.update),
                Action::Replace(_) => Some(&mut summary.replace),
                Action::Delete => Some(&mut summary.destroy),
                Action::Forget => Some(&mut summary.forget),
            };
            if let Some(count) = count {
                *count += 1;
            }
            summary.moved += usize::from(change.previous_address.is_some());
            summary.import += usize::from(change.importing.is_some());
        }
        summary
    }

    /// Returns whether people have anything to review: an action on an object, a rename, an import, a loss, a call to
    /// settle, an object that loses its protection, or an output that changes.
    pub fn has_changes(&self) -> bool {
        self.summary() != Summary::default()
            || !self.moves.is_empty()
            || !self.settlements.is_empty()
            || !self.vanished.is_empty()
            || self.changes.iter().any(|change| change.unprotects)
            || self.outputs.values().any(|output| output.changes())
    }

    /// Returns whether the world is not as the configuration says, as far as is known: there are changes, or calls of an
    /// earlier run whose outcome nobody knows yet.
    pub fn is_open(&self) -> bool {
        self.has_changes() || !self.unsettled.is_empty()
    }

    /// Returns whether apply has nothing at all to do, not even something to record.
    pub fn is_empty(&self) -> bool {
        !self.has_changes()
            && self.steps.is_empty()
            && self.accepted.is_empty()
            && self.upgrades.is_empty()
            && !self.changes.iter().any(Change::only_declares)
    }

    /// Returns what changes, without the objects that are left as they are.
    pub fn effective_changes(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| {
            change.action != Action::NoOp
                || change.previous_address.is_some()
                || change.importing.is_some()
                || change.unprotects
        })
    }
}

impl Change {
    /// Returns whether apply only records what the configuration now says about the object.
    pub fn only_declares(&self) -> bool {
        self.action == Action::NoOp && self.uid.is_some() && self.declaration.is_some()
    }
}

impl super::OutputChange {
    /// Returns whether the output changes, as far as can be told.
    pub fn changes(&self) -> bool {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => before.compare(after) == crate::value::Comparison::Different,
            (before, after) => before.is_some() != after.is_some(),
        }
    }
}
