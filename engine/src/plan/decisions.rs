//! What was decided, by the position of the resource.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::change::Change;
use super::decide::{Beside, Decision};

static NOTHING: LazyLock<Beside> = LazyLock::new(Beside::default);

/// Decisions about some of a configuration's resources. Most are about all of them, and most have nothing beside their
/// changes: those become the plan's as they lie here.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    changes: Vec<Option<Change>>,
    beside: BTreeMap<usize, Beside>,
}

/// A decision about the resource at a position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decided<'a> {
    pub(super) position: usize,
    pub(super) change: &'a Change,
    pub(super) beside: &'a Beside,
}

impl Decisions {
    /// Makes room for decisions about so many resources; there is none yet.
    pub(super) fn of(resources: usize) -> Self {
        Self {
            changes: Vec::with_capacity(resources),
            beside: BTreeMap::new(),
        }
    }

    /// Takes a decision in, in place of an earlier one about the same resource.
    pub(super) fn insert(&mut self, decision: Decision) {
        let Decision {
            position,
            change,
            beside,
        } = decision;
        if self.changes.len() <= position {
            self.changes.resize_with(position + 1, || None);
        }
        self.changes[position] = Some(change);
        match beside == *NOTHING {
            true => self.beside.remove(&position),
            false => self.beside.insert(position, beside),
        };
    }

    /// Returns the decision about the resource at a position.
    pub(super) fn get(&self, position: usize) -> Option<Decided<'_>> {
        let change = self.changes.get(position)?.as_ref()?;
        Some(Decided {
            position,
            change,
            beside: self.beside.get(&position).unwrap_or(&NOTHING),
        })
    }

    /// Returns the parts of the decision about the resource at a position, to be changed.
    pub(super) fn get_mut(&mut self, position: usize) -> Option<(&mut Change, &mut Beside)> {
        let change = self.changes.get_mut(position)?.as_mut()?;
        Some((change, self.beside.entry(position).or_default()))
    }

    /// Returns all of them, by position.
    pub(super) fn iter(&self) -> impl Iterator<Item = Decided<'_>> {
        (0..self.changes.len()).filter_map(|position| self.get(position))
    }

    /// Goes through those that have something beside their changes, by position.
    pub(super) fn each_beside(&mut self, mut each: impl FnMut(&mut Change, &Beside)) {
        for (position, beside) in &self.beside {
            if let Some(change) = &mut self.changes[*position] {
                each(change, beside);
            }
        }
    }

    /// Gives all changes up, by position.
    pub(super) fn into_changes(self) -> Vec<Change> {
        // `filter_map` and not `flatten`: the changes stay where they lie in memory.
        #[expect(clippy::filter_map_identity, reason = "`flatten` would copy all of them")]
        let changes = self.changes.into_iter().filter_map(|change| change);
        changes.collect()
    }
}
