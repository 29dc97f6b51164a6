//! The engine's conformance suite over `object_store`'s in-memory implementation.

use std::sync::Arc;

use gabion_engine::state::StateStore;
use gabion_engine::state::envelope::{Envelope, StoreKey};
use gabion_stores::object::{ObjectOptions, ObjectStateStore, Upkeep};
use gabion_testing::store_adopt::check_adoption;
use gabion_testing::store_conformance::{StorePlace, check_store};
use object_store::ObjectStore;
use object_store::memory::InMemory;

/// Objects in memory, and how stores over them work.
pub(crate) struct Memory {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) options: ObjectOptions,
}

impl Memory {
    pub(crate) fn new(upkeep: Upkeep) -> Self {
        Self {
            objects: Arc::new(InMemory::new()),
            options: ObjectOptions {
                upkeep,
                ..ObjectOptions::default()
            },
        }
    }
}

impl StorePlace for Memory {
    fn open(&self) -> Arc<dyn StateStore> {
        Arc::new(ObjectStateStore::new(
            self.objects.clone(),
            "team/web/default",
            self.options.clone(),
        ))
    }
}

/// Limits so small that everything happens all the time.
pub(crate) fn small() -> Upkeep {
    Upkeep {
        fanout: 3,
        largest_segment: 8 << 10,
        listed: 6,
        snapshot_after: 2 << 10,
        grace: std::time::Duration::ZERO,
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    check_store(|| Memory::new(Upkeep::default())).await;
    check_adoption(|| Memory::new(Upkeep::default())).await;
}

#[tokio::test]
async fn it_keeps_the_contract_with_upkeep_at_every_turn() {
    check_store(|| Memory::new(small())).await;
    check_adoption(|| Memory::new(small())).await;
}

#[tokio::test]
async fn it_keeps_the_contract_encrypted() {
    check_store(|| {
        let mut memory = Memory::new(small());
        memory.options.envelope = Envelope::new(StoreKey::new([7; 32]), []);
        memory
    })
    .await;
}
