//! Events that go on from a state, folded and chained once for whoever writes them.

use std::collections::BTreeSet;

use crate::address::Uid;
use crate::state::chain::ChainedEvent;
use crate::state::event::Event;
use crate::state::fold::FoldError;
use crate::state::snapshot::State;

/// Events that go on from a state, and the state that they give. There is no way to make one of events that do not fit.
#[derive(Debug, Clone)]
pub struct Folded {
    before: State,
    after: State,
    events: Vec<ChainedEvent>,
    touched: BTreeSet<Uid>,
}

impl Folded {
    /// Begins after a state, with no event yet.
    pub fn new(before: State) -> Self {
        Self {
            after: before.clone(),
            before,
            events: Vec::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Adds an event.
    ///
    /// # Errors
    /// When it contradicts the state that the events before it give; nothing has changed then.
    pub fn push(&mut self, event: Event) -> Result<(), FoldError> {
        let event = ChainedEvent::new(&self.after.chain, event);
        // Nobody else has this state: it is changed in place, and made again in the rare case that an event does not fit.
        let after = std::mem::take(&mut self.after);
        match after.folded(&event.event, event.hash.clone()) {
            Ok((after, mut touched)) => {
                self.after = after;
                self.touched.append(&mut touched);
                self.events.push(event);
                Ok(())
            }
            Err(error) => {
                self.truncate(self.events.len());
                Err(error)
            }
        }
    }

    /// Keeps the first events only.
    pub fn truncate(&mut self, length: usize) {
        self.events.truncate(length);
        self.touched.clear();
        self.after = self.before.clone();
        for event in &self.events {
            let mut touched = self
                .after
                .fold_hashed(&event.event, event.hash.clone())
                .expect("these events were folded before, after the same state");
            self.touched.append(&mut touched);
        }
    }

    /// Returns the state that the events follow.
    pub fn before(&self) -> &State {
        &self.before
    }

    /// Returns the state that the events give.
    pub fn after(&self) -> &State {
        &self.after
    }

    /// Returns the events, in order.
    pub fn events(&self) -> &[ChainedEvent] {
        &self.events
    }

    /// Returns the objects whose records the events make, change or remove.
    pub fn touched(&self) -> &BTreeSet<Uid> {
        &self.touched
    }

    /// Returns how many events there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Returns whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Returns whether the events follow this state: the same log, as far.
    pub fn follows(&self, state: &State) -> bool {
        let before = &self.before;
        (before.lineage, before.serial, &before.chain) == (state.lineage, state.serial, &state.chain)
    }

    /// Returns the events alone, without what they give.
    pub fn into_events(self) -> impl Iterator<Item = Event> {
        self.events.into_iter().map(|chained| chained.event)
    }
}
