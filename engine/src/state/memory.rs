//! A store in memory: the reference for what a store does, and the one that tests and simulations use.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::state::chain::{self, ChainedEvent};
use crate::state::snapshot::{Head, State};
use crate::state::store::{
    AdoptRequest, AppendRequest, CreateRequest, LeaseGrant, LeaseRequest, LeaseView, Loaded, StateStore,
    StoreError,
};

/// A state in this process's memory. Copies are the same store.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    base: State,
    state: State,
    events: Vec<ChainedEvent>,
    lease: Option<LeaseView>,
    /// The highest epoch ever granted.
    epoch: u64,
}

impl MemoryStore {
    /// Makes a store in which nothing was created yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is complete or not begun when anything in it could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn created(&self) -> Result<Head, StoreError> {
        self.state.head().ok_or_else(|| StoreError::NotFound {
            location: LOCATION.to_owned(),
        })
    }

    fn holds(&self, epoch: u64) -> Result<(), StoreError> {
        match &self.lease {
            Some(lease) if lease.epoch == epoch => Ok(()),
            other => Err(StoreError::LostLease {
                epoch,
                now: other.clone().map(Box::new),
            }),
        }
    }

    fn append(&mut self, request: AppendRequest) -> Result<Head, StoreError> {
        self.created()?;
        self.holds(request.epoch)?;
        if self.state.serial != request.expected_sequence {
            return Err(StoreError::Moved {
                expected: request.expected_sequence,
                found: self.state.serial,
            });
        }
        let mut state = self.state.clone();
        let mut chained = Vec::with_capacity(request.events.len());
        for event in request.events {
            let event = ChainedEvent::new(&state.chain, event);
            state.fold_hashed(&event.event, event.hash.clone())?;
            chained.push(event);
        }
        self.state = state;
        self.events.append(&mut chained);
        self.created()
    }
}

const LOCATION: &str = "memory";

#[async_trait]
impl StateStore for MemoryStore {
    async fn create(&self, request: CreateRequest) -> Result<Head, StoreError> {
        let mut inner = self.lock();
        if inner.state.lineage.is_some() {
            return Err(StoreError::Exists {
                location: LOCATION.to_owned(),
            });
        }
        let mut state = State::default();
        let event = ChainedEvent::new("", request.event());
        state.fold_hashed(&event.event, event.hash.clone())?;
        inner.state = state;
        inner.events.push(event);
        inner.created()
    }

    async fn load(&self) -> Result<Loaded, StoreError> {
        let inner = self.lock();
        Ok(Loaded {
            head: inner.created()?,
            state: inner.state.clone(),
        })
    }

    async fn append(&self, request: AppendRequest) -> Result<Head, StoreError> {
        self.lock().append(request)
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, StoreError> {
        let inner = self.lock();
        inner.created()?;
        let skip = usize::try_from(after.saturating_sub(inner.base.serial)).unwrap_or(usize::MAX);
        Ok(inner.events.iter().skip(skip).take(limit).cloned().collect())
    }

    async fn base(&self) -> Result<State, StoreError> {
        let inner = self.lock();
        inner.created()?;
        Ok(inner.base.clone())
    }

    async fn compact(&self, epoch: u64, up_to: u64) -> Result<u64, StoreError> {
        let mut inner = self.lock();
        inner.created()?;
        inner.holds(epoch)?;
        let mut base = inner.base.clone();
        let mut dropped = 0;
        for event in &inner.events {
            if event.event.sequence > up_to {
                break;
            }
            base.fold_hashed(&event.event, chain::link(&base.chain, &event.encoded))?;
            dropped += 1;
        }
        inner.base = base;
        inner.events.drain(..dropped);
        Ok(dropped as u64)
    }

    async fn adopt(&self, request: AdoptRequest) -> Result<Head, StoreError> {
        let mut inner = self.lock();
        match request.over {
            Some(epoch) => {
                inner.created()?;
                inner.holds(epoch)?;
            }
            None if inner.state.lineage.is_some() => {
                return Err(StoreError::Exists {
                    location: LOCATION.to_owned(),
                });
            }
            None => {}
        }
        inner.base = request.log.base().clone();
        inner.events = request.log.events().to_vec();
        inner.state = request.log.state().clone();
        inner.epoch = inner.epoch.max(request.log.epoch());
        inner.created()
    }

    async fn take_lease(&self, request: LeaseRequest) -> Result<LeaseGrant, StoreError> {
        let mut inner = self.lock();
        inner.created()?;
        if let Some(lease) = &inner.lease
            && request.replaces != Some(lease.seen())
        {
            return Err(StoreError::Locked(Box::new(lease.clone())));
        }
        let epoch = inner.epoch.max(inner.state.epoch) + 1;
        inner.epoch = epoch;
        inner.lease = Some(LeaseView {
            epoch,
            holder: request.holder,
            since: request.at,
            renewed: request.at,
            beat: 0,
            length: request.length,
        });
        Ok(LeaseGrant { epoch })
    }

    async fn renew(&self, epoch: u64, length: Duration, at: Timestamp) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.created()?;
        inner.holds(epoch)?;
        if let Some(lease) = &mut inner.lease {
            lease.beat += 1;
            lease.length = length;
            lease.renewed = at;
        }
        Ok(())
    }

    async fn release(&self, epoch: u64) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.created()?;
        if inner.lease.as_ref().is_some_and(|lease| lease.epoch == epoch) {
            inner.lease = None;
        }
        Ok(())
    }

    async fn lease(&self) -> Result<Option<LeaseView>, StoreError> {
        let inner = self.lock();
        inner.created()?;
        Ok(inner.lease.clone())
    }

    fn is_local(&self) -> bool {
        true
    }

    fn location(&self) -> String {
        LOCATION.to_owned()
    }
}
