//! Whole logs: reading one out of its store, checked, to be adopted by another or kept in a file.

use std::sync::Arc;

use crate::state::chain::{self, ChainError, ChainedEvent};
use crate::state::fold::FoldError;
use crate::state::snapshot::{Head, State};
use crate::state::store::{StateStore, StoreError};

/// How many events are read at a time.
const PAGE: usize = 1000;

/// A whole log whose chain holds and whose events fold.
#[derive(Debug, Clone)]
pub struct LogCopy {
    base: State,
    events: Arc<[ChainedEvent]>,
    state: State,
    head: Head,
    epoch: u64,
}

/// Why something is no whole log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// An event is missing or altered.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// An event contradicts those before.
    #[error("event {sequence} does not fit those before: {why}")]
    Fold {
        /// The event.
        sequence: u64,
        /// Why.
        why: FoldError,
    },
    /// There is no event and no base.
    #[error("it holds no event")]
    Empty,
}

impl LogCopy {
    /// Puts a log together; `base` is the state that its first event follows, empty unless the log was compacted, and
    /// `epoch` the highest lease epoch known to have been granted.
    ///
    /// # Errors
    /// When the chain does not hold, or an event does not fit the ones before.
    pub fn new(base: State, events: Vec<ChainedEvent>, epoch: u64) -> Result<Self, CopyError> {
        chain::verify(base.serial, &base.chain, &events)?;
        let mut state = base.clone();
        for event in &events {
            let sequence = event.event.sequence;
            (state, _) = state
                .folded(&event.event, event.hash.clone())
                .map_err(|why| CopyError::Fold { sequence, why })?;
        }
        let head = state.head().ok_or(CopyError::Empty)?;
        Ok(Self {
            base,
            events: events.into(),
            epoch: epoch.max(state.epoch),
            state,
            head,
        })
    }

    /// Reads a whole log out of its store, as it is now.
    ///
    /// # Errors
    /// When the store cannot be read, or what it holds is no whole log.
    pub async fn read(store: &dyn StateStore, epoch: u64) -> Result<Self, StoreError> {
        let unreadable = |what: &str, why: String| StoreError::Unreadable {
            location: store.location(),
            what: what.to_owned(),
            why,
        };
        let loaded = store.load().await?;
        let base = store.base().await?;
        let mut events: Vec<ChainedEvent> = Vec::new();
        loop {
            let last = events.last().map_or(base.serial, |event| event.event.sequence);
            if last >= loaded.head.sequence {
                break;
            }
            let page = store.events(last, PAGE).await?;
            if page.is_empty() {
                return Err(unreadable(
                    "the log",
                    format!(
                        "it ends with event {last}, and its head says {}",
                        loaded.head.sequence
                    ),
                ));
            }
            events.extend(page);
        }
        // Somebody may have appended since the state was loaded.
        events.retain(|event| event.event.sequence <= loaded.head.sequence);
        let copy =
            Self::new(base, events, epoch).map_err(|error| unreadable("the log", error.to_string()))?;
        if copy.state != loaded.state {
            return Err(unreadable(
                "the records",
                "they are not what the log gives".to_owned(),
            ));
        }
        Ok(copy)
    }

    /// Reads what can be read of a damaged log: its events from the start, up to the first one that is missing or not
    /// what was written. What its records say is not asked.
    pub async fn salvage(store: &dyn StateStore) -> Option<Self> {
        let base = store.base().await.ok()?;
        let mut state = base.clone();
        let mut events: Vec<ChainedEvent> = Vec::new();
        let mut page = PAGE;
        loop {
            match store.events(state.serial, page).await {
                Ok(found) if found.is_empty() => break,
                Ok(found) => {
                    let before = events.len();
                    for event in found {
                        let whole = chain::verify(state.serial, &state.chain, [&event]).is_ok()
                            && state.fold_hashed(&event.event, event.hash.clone()).is_ok();
                        if !whole {
                            return Self::new(base, events, 0).ok();
                        }
                        events.push(event);
                    }
                    if events.len() == before {
                        break;
                    }
                }
                // One event in the page cannot be read: those before it can, one by one.
                Err(_) if page > 1 => page = 1,
                Err(_) => break,
            }
        }
        Self::new(base, events, 0).ok()
    }

    /// Returns the state that the first event follows.
    pub fn base(&self) -> &State {
        &self.base
    }

    /// Returns the events, in order.
    pub fn events(&self) -> &[ChainedEvent] {
        &self.events
    }

    /// Returns the state that the events give.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Returns where the log stands.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Returns the highest lease epoch known to have been granted: a store that adopts the log grants higher ones only.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the hash of the log at a serial; `None` when it does not reach so far, forward or back.
    pub fn chain_at(&self, serial: u64) -> Option<&str> {
        if serial == self.base.serial && serial > 0 {
            return Some(&self.base.chain);
        }
        let at = serial.checked_sub(self.base.serial + 1)?;
        self.events
            .get(usize::try_from(at).ok()?)
            .map(|event| &*event.hash)
    }

    /// Returns whether this log goes on from, or is, what another one's head says.
    pub fn continues(&self, head: &Head) -> bool {
        self.head.lineage == head.lineage && self.chain_at(head.sequence) == Some(&*head.chain)
    }
}
