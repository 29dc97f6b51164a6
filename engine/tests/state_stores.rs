//! The stores of the engine keep what the store contract promises.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::Arc;

use gabion_engine::state::envelope::{Envelope, StoreKey};
use gabion_engine::state::{MemoryStore, SqliteStore, StateStore};
use gabion_testing::store_adopt::check_adoption;
use gabion_testing::store_conformance::{StorePlace, check_store, random_events_fold_the_same};
use proptest::prelude::*;

struct MemoryPlace(MemoryStore);

impl StorePlace for MemoryPlace {
    fn open(&self) -> Arc<dyn StateStore> {
        Arc::new(self.0.clone())
    }
}

struct SqlitePlace {
    directory: tempfile::TempDir,
    envelope: Envelope,
}

impl SqlitePlace {
    fn new() -> Self {
        Self::sealed(Envelope::plain())
    }

    fn sealed(envelope: Envelope) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory, envelope }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(".gabion/state.db")
    }
}

impl StorePlace for SqlitePlace {
    fn open(&self) -> Arc<dyn StateStore> {
        Arc::new(SqliteStore::sealed_at(self.path(), self.envelope.clone()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_store_conforms() {
    check_store(|| MemoryPlace(MemoryStore::new())).await;
    check_adoption(|| MemoryPlace(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_store_conforms() {
    check_store(SqlitePlace::new).await;
    check_adoption(SqlitePlace::new).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypted_sqlite_store_conforms() {
    let place = || SqlitePlace::sealed(Envelope::new(StoreKey::new([7; 32]), []));
    check_store(place).await;
    check_adoption(place).await;
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_events_fold_the_same_in_memory(seed: u64) {
        block_on(random_events_fold_the_same(&MemoryPlace(MemoryStore::new()), seed, 120));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_events_fold_the_same_in_sqlite(seed: u64) {
        block_on(random_events_fold_the_same(&SqlitePlace::new(), seed, 60));
    }
}
