//! The store: what the engine sees.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::address::{IdSource, RandomIds};
use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::envelope::Envelope;
use gabion_engine::state::snapshot::Head;
use gabion_engine::state::store::{
    AdoptRequest, AppendRequest, CreateRequest, LeaseGrant, LeaseRequest, LeaseView, Loaded, StoreWarning,
};
use gabion_engine::state::{State, StateStore, StoreError};
use jiff::Timestamp;
use object_store::ObjectStore;

use super::core::Core;
use super::place::Place;

/// How a store over objects works.
#[derive(Clone)]
pub struct ObjectOptions {
    /// What seals and opens the content.
    pub envelope: Envelope,
    /// Where the names of objects come from. Two stores over the same objects must never get the same identifier.
    pub ids: Arc<dyn IdSource>,
    /// Where the state is, for messages, without credentials.
    pub location: String,
    /// How long one request may take; one that moves much may take longer, by a second for each 256 KiB.
    pub timeout: Duration,
    /// Whether creating a state checks first that the service does conditional writes.
    pub check_service: bool,
    /// Connections for the heartbeat alone, if it has its own.
    pub renewing: Option<Arc<dyn ObjectStore>>,
    /// When what is kept to keep the state small.
    pub upkeep: Upkeep,
}

/// When the store merges, snapshots and deletes. See the [module](super) for what each costs.
#[derive(Debug, Clone)]
pub struct Upkeep {
    /// How many segments of a kind are merged into one.
    pub fanout: usize,
    /// How many bytes a merged segment has at most.
    pub largest_segment: u64,
    /// How many segments the manifest lists at most; half of them move to a page then.
    pub listed: usize,
    /// How many bytes of events are at least appended between two snapshots. Never less than the last one has.
    pub snapshot_after: u64,
    /// How long something stays after nothing refers to it any more, for those who still read it.
    pub grace: Duration,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            fanout: 16,
            largest_segment: 1 << 20,
            listed: 64,
            snapshot_after: 256 << 10,
            grace: Duration::from_secs(60 * 60),
        }
    }
}

impl Default for ObjectOptions {
    fn default() -> Self {
        Self {
            envelope: Envelope::plain(),
            ids: Arc::new(RandomIds),
            location: "object storage".to_owned(),
            timeout: Duration::from_secs(30),
            check_service: true,
            renewing: None,
            upkeep: Upkeep::default(),
        }
    }
}

impl fmt::Debug for ObjectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectOptions")
            .field("envelope", &self.envelope)
            .field("location", &self.location)
            .field("timeout", &self.timeout)
            .field("check_service", &self.check_service)
            .field("upkeep", &self.upkeep)
            .finish_non_exhaustive()
    }
}

/// A state in object storage. Copies share what they know of it.
#[derive(Clone)]
pub struct ObjectStateStore {
    core: Arc<Core>,
}

impl ObjectStateStore {
    /// Names the state below a prefix; nothing is read or written yet.
    ///
    /// The prefix is the whole one, project and stack included: nothing else may be kept below it.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str, options: ObjectOptions) -> Self {
        let place = Place::new(store, prefix, options.location.clone(), options.timeout);
        let renewing = match &options.renewing {
            Some(store) => place.through(store.clone()),
            None => place.clone(),
        };
        Self {
            core: Arc::new(Core::new(place, renewing, options)),
        }
    }

    /// Runs a change to its end, also when the caller stops waiting for it.
    async fn change<T: Send + 'static>(
        &self,
        what: &'static str,
        change: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        tokio::spawn(change).await.unwrap_or_else(|error| {
            Err(StoreError::Io {
                location: self.location(),
                what: what.to_owned(),
                source: error.into(),
            })
        })
    }
}

impl fmt::Debug for ObjectStateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectStateStore({})", self.location())
    }
}

#[async_trait]
impl StateStore for ObjectStateStore {
    async fn create(&self, request: CreateRequest) -> Result<Head, StoreError> {
        let core = self.core.clone();
        self.change("creating the state", async move { core.create(request).await })
            .await
    }

    async fn load(&self) -> Result<Loaded, StoreError> {
        let known = self.core.refreshed().await?;
        Ok(Loaded {
            head: known.manifest.head.clone(),
            state: known.state,
        })
    }

    async fn append(&self, request: AppendRequest) -> Result<Head, StoreError> {
        let core = self.core.clone();
        self.change("appending", async move { core.append(request).await })
            .await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, StoreError> {
        self.core.events(after, limit).await
    }

    async fn base(&self) -> Result<State, StoreError> {
        self.core.base().await
    }

    async fn compact(&self, epoch: u64, up_to: u64) -> Result<u64, StoreError> {
        let core = self.core.clone();
        self.change("compacting", async move { core.compact(epoch, up_to).await })
            .await
    }

    async fn reseal(&self, epoch: u64) -> Result<u64, StoreError> {
        let core = self.core.clone();
        self.change("sealing anew", async move { core.reseal(epoch).await })
            .await
    }

    async fn adopt(&self, request: AdoptRequest) -> Result<Head, StoreError> {
        let core = self.core.clone();
        self.change("taking over a log", async move { core.adopt(request).await })
            .await
    }

    async fn take_lease(&self, request: LeaseRequest) -> Result<LeaseGrant, StoreError> {
        let core = self.core.clone();
        self.change("taking the lease", async move { core.take_lease(request).await })
            .await
    }

    async fn renew(&self, epoch: u64, length: Duration, at: Timestamp) -> Result<(), StoreError> {
        self.core.renew(epoch, length, at).await
    }

    async fn release(&self, epoch: u64) -> Result<(), StoreError> {
        let core = self.core.clone();
        self.change("giving the lease back", async move { core.release(epoch).await })
            .await
    }

    async fn lease(&self) -> Result<Option<LeaseView>, StoreError> {
        self.core.lease().await
    }

    async fn warnings(&self) -> Result<Vec<StoreWarning>, StoreError> {
        self.core.warnings().await
    }

    fn location(&self) -> String {
        self.core.place.location().to_owned()
    }
}
