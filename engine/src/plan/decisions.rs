//! What was decided, by the position of the resource.

use super::decide::Decision;

/// Decisions about some of a configuration's resources. Most are about all of them.
#[derive(Debug, Default)]
pub(super) struct Decisions(Vec<Option<Box<Decision>>>);

impl Decisions {
    /// Makes room for decisions about so many resources; there is none yet.
    pub(super) fn of(resources: usize) -> Self {
        Self(std::iter::repeat_with(|| None).take(resources).collect())
    }

    /// Takes a decision in, in place of an earlier one about the same resource.
    ///
    /// # Panics
    /// When there is no such resource.
    pub(super) fn insert(&mut self, decision: Decision) {
        let position = decision.position;
        self.0[position] = Some(Box::new(decision));
    }

    /// Returns the decision about the resource at a position.
    pub(super) fn get(&self, position: usize) -> Option<&Decision> {
        self.0.get(position)?.as_deref()
    }

    /// Returns the decision about the resource at a position, to be changed.
    pub(super) fn get_mut(&mut self, position: usize) -> Option<&mut Decision> {
        self.0.get_mut(position)?.as_deref_mut()
    }

    /// Returns all of them, by position.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Decision> {
        self.0.iter().filter_map(|decision| decision.as_deref())
    }

    /// Gives all of them up, by position.
    pub(super) fn into_values(self) -> impl Iterator<Item = Decision> {
        self.0.into_iter().flatten().map(|decision| *decision)
    }
}
