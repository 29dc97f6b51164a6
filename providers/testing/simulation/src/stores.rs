//! The stores that lives are led on.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::address::CountedIds;
use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::folded::Folded;
use gabion_engine::state::store::{
    AppendRequest, CreateRequest, LeaseGrant, LeaseRequest, LeaseView, Loaded,
};
use gabion_engine::state::{Head, MemoryStore, SqliteStore, State, StateStore, StoreError};
use gabion_stores::object::{ObjectOptions, ObjectStateStore, Upkeep};
use gabion_testing::fake::fault::Random;
use gabion_testing::objects::{FaultyObjects, ObjectFault, RacyObjects};
use jiff::Timestamp;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::objects::SlowObjects;

/// Which store a life is led on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreKind {
    /// The engine's memory store.
    Memory,
    /// The engine's SQLite store, on a file system in memory if there is one.
    Sqlite,
    /// The object store's own code over objects in memory, which take their time and fail in storms.
    Object,
    /// The same over objects whose compare-and-set is broken: nothing holds on it, and the simulation must say so.
    Racy,
}

impl StoreKind {
    /// Those that keep their promises.
    pub const ALL: &[Self] = &[Self::Memory, Self::Sqlite, Self::Object];

    /// Each as often as lives are led on it: most on the one that costs least.
    pub const SPREAD: &[Self] = {
        use StoreKind::{Memory as M, Object as O, Sqlite as S};
        &[M, M, O, M, M, S, M, M, O, M, M, M, O, M, M, S, M, M, O, M]
    };

    /// Returns the store with a name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Memory, Self::Sqlite, Self::Object, Self::Racy];
        all.into_iter().find(|kind| kind.name() == name)
    }

    /// Returns its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Object => "object",
            Self::Racy => "racy",
        }
    }
}

/// Where one life's state is: it opens a store for each process.
pub(crate) trait Shelf {
    /// Opens the store as a new process does.
    fn open(&self) -> Arc<dyn StateStore>;

    /// Makes what is below the store fail now and then, or no longer.
    fn storm(&self, on: bool) {
        let _ = on;
    }
}

impl Shelf for MemoryStore {
    fn open(&self) -> Arc<dyn StateStore> {
        Arc::new(self.clone())
    }
}

/// What a thread needs to lead lives on any store.
pub(crate) struct Warehouse {
    directory: TempDir,
    /// Does the work of stores that work on threads of their own, so that it takes no virtual time.
    runtime: Runtime,
    lives: u64,
}

impl Warehouse {
    /// # Errors
    /// When no directory or thread can be made.
    pub(crate) fn new() -> std::io::Result<Self> {
        let memory = std::path::Path::new("/dev/shm");
        let directory = match memory.is_dir() {
            true => tempfile::Builder::new()
                .prefix("gabion-simulation-")
                .tempdir_in(memory),
            false => tempfile::Builder::new().prefix("gabion-simulation-").tempdir(),
        };
        Ok(Self {
            directory: directory?,
            runtime: Builder::new_multi_thread()
                .worker_threads(1)
                .max_blocking_threads(2)
                .enable_all()
                .build()?,
            lives: 0,
        })
    }

    /// Makes room for a new life's state.
    pub(crate) fn shelf(&mut self, kind: StoreKind, seed: u64) -> Box<dyn Shelf> {
        self.lives += 1;
        match kind {
            StoreKind::Memory => Box::new(MemoryStore::new()),
            StoreKind::Sqlite => Box::new(SqliteShelf {
                path: self.directory.path().join(format!("{}.db", self.lives)),
                runtime: self.runtime.handle().clone(),
            }),
            StoreKind::Object => Box::new(ObjectShelf::new(seed, slow(seed))),
            StoreKind::Racy => Box::new(ObjectShelf::new(seed, Arc::new(RacyObjects::new(slow(seed), 3)))),
        }
    }

    /// Returns the directory of everything that lives keep on disk.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
}

struct SqliteShelf {
    path: PathBuf,
    runtime: tokio::runtime::Handle,
}

impl Shelf for SqliteShelf {
    fn open(&self) -> Arc<dyn StateStore> {
        Arc::new(AtOnce {
            inner: Arc::new(SqliteStore::at(&self.path)),
            runtime: self.runtime.clone(),
        })
    }
}

impl Drop for SqliteShelf {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let mut path = self.path.clone().into_os_string();
            path.push(suffix);
            // The directory goes in the end; this only keeps it small.
            let _left = std::fs::remove_file(path);
        }
    }
}

fn slow(seed: u64) -> Arc<dyn ObjectStore> {
    Arc::new(SlowObjects::new(Arc::new(InMemory::new()), Random::new(!seed)))
}

struct ObjectShelf {
    objects: Arc<dyn ObjectStore>,
    options: ObjectOptions,
    stormy: Arc<AtomicBool>,
}

impl ObjectShelf {
    fn new(seed: u64, objects: Arc<dyn ObjectStore>) -> Self {
        let stormy = Arc::new(AtomicBool::new(false));
        let (storm, faults) = (stormy.clone(), Mutex::new(Random::new(seed)));
        let faulty = FaultyObjects::new(objects, move |_, _| {
            if !storm.load(Ordering::Relaxed) {
                return ObjectFault::None;
            }
            // A number is drawn or not.
            let mut faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
            match faults.below(400) {
                0 => ObjectFault::Before,
                1 => ObjectFault::After,
                2 => ObjectFault::SilentBefore,
                3 => ObjectFault::SilentAfter,
                _ => ObjectFault::None,
            }
        });
        Self {
            objects: Arc::new(faulty),
            options: ObjectOptions {
                ids: Arc::new(CountedIds::default()),
                timeout: Duration::from_secs(5),
                check_service: false,
                // So little that everything happens in one life.
                upkeep: Upkeep {
                    fanout: 4,
                    largest_segment: 32 << 10,
                    listed: 8,
                    snapshot_after: 16 << 10,
                    grace: Duration::from_secs(3600),
                },
                ..ObjectOptions::default()
            },
            stormy,
        }
    }
}

impl Shelf for ObjectShelf {
    fn open(&self) -> Arc<dyn StateStore> {
        let options = self.options.clone();
        Arc::new(ObjectStateStore::new(self.objects.clone(), "simulation", options))
    }

    fn storm(&self, on: bool) {
        self.stormy.store(on, Ordering::Relaxed);
    }
}

/// A store whose operations take no virtual time and happen in the order in which they are asked for, although it works
/// on other threads: the same seed is the same life.
struct AtOnce {
    inner: Arc<dyn StateStore>,
    runtime: tokio::runtime::Handle,
}

impl AtOnce {
    fn run<T, F>(&self, work: impl FnOnce(Arc<dyn StateStore>) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (sender, answer) = std::sync::mpsc::channel();
        let work = work(self.inner.clone());
        self.runtime.spawn(async move {
            // Whoever asked waits for it.
            let _heard = sender.send(work.await);
        });
        answer.recv().expect("the store answers")
    }
}

#[async_trait]
impl StateStore for AtOnce {
    async fn create(&self, request: CreateRequest) -> Result<Head, StoreError> {
        self.run(|store| async move { store.create(request).await })
    }

    async fn load(&self) -> Result<Loaded, StoreError> {
        self.run(|store| async move { store.load().await })
    }

    async fn append(&self, request: AppendRequest) -> Result<Head, StoreError> {
        self.run(|store| async move { store.append(request).await })
    }

    async fn append_folded(&self, epoch: u64, folded: Arc<Folded>) -> Result<Head, StoreError> {
        self.run(|store| async move { store.append_folded(epoch, folded).await })
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, StoreError> {
        self.run(|store| async move { store.events(after, limit).await })
    }

    async fn base(&self) -> Result<State, StoreError> {
        self.run(|store| async move { store.base().await })
    }

    async fn compact(&self, epoch: u64, up_to: u64) -> Result<u64, StoreError> {
        self.run(|store| async move { store.compact(epoch, up_to).await })
    }

    async fn take_lease(&self, request: LeaseRequest) -> Result<LeaseGrant, StoreError> {
        self.run(|store| async move { store.take_lease(request).await })
    }

    async fn renew(&self, epoch: u64, length: Duration, at: Timestamp) -> Result<(), StoreError> {
        self.run(|store| async move { store.renew(epoch, length, at).await })
    }

    async fn release(&self, epoch: u64) -> Result<(), StoreError> {
        self.run(|store| async move { store.release(epoch).await })
    }

    async fn lease(&self) -> Result<Option<LeaseView>, StoreError> {
        self.run(|store| async move { store.lease().await })
    }

    fn is_local(&self) -> bool {
        self.inner.is_local()
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
