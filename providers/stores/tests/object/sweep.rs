//! What is deleted, and what is left alone.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::TryStreamExt;
use gabion_engine::state::StateStore;
use gabion_engine::state::store::{AppendRequest, LeaseRequest};
use gabion_testing::store_conformance::StorePlace;
use gabion_testing::store_events::{create, creation, events, holder, lease_taken};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::memory::{Memory, small};

const PREFIX: &str = "team/web/default";

async fn names(memory: &Memory) -> BTreeSet<String> {
    let listed: Vec<_> = memory
        .objects
        .list(None)
        .try_collect()
        .await
        .expect("it can be listed");
    let name = |path: &Path| {
        path.to_string()
            .trim_start_matches(&format!("{PREFIX}/"))
            .to_owned()
    };
    listed.iter().map(|meta| name(&meta.location)).collect()
}

pub(crate) async fn taken(store: &dyn StateStore) -> u64 {
    let request = LeaseRequest {
        holder: holder("ada"),
        length: Duration::from_secs(30),
        at: jiff::Timestamp::UNIX_EPOCH,
        replaces: None,
    };
    store.take_lease(request).await.expect("it is free").epoch
}

pub(crate) async fn append(store: &dyn StateStore, epoch: u64, serials: std::ops::Range<u64>) {
    for serial in serials {
        let mut bodies = vec![create(serial, serial, &format!("r{serial}"))];
        let loaded = store.load().await.expect("it can be read");
        if loaded.state.epoch < epoch {
            bodies = vec![lease_taken()];
        }
        let request = AppendRequest {
            epoch,
            expected_sequence: serial,
            events: events(serial + 1, epoch, bodies),
        };
        store.append(request).await.expect("it fits");
    }
}

#[tokio::test]
async fn only_what_nobody_can_refer_to_any_more_is_deleted() {
    let memory = Memory::new(small());
    let store = memory.open();
    store.create(creation()).await.expect("nothing is there");
    let first = taken(&*store).await;
    append(&*store, first, 1..30).await;
    store.release(first).await.expect("it holds the lease");
    let epoch = taken(&*store).await;
    let of = |epoch: u64| format!("segments/000000000040-000000000040.{epoch}.somebody.1.jsonl");
    let others = [
        // Somebody else of this epoch may be about to refer to it.
        (of(epoch), true),
        // Nobody of an earlier epoch can.
        (of(first), false),
        // It is not the store's.
        ("segments/notes.txt".to_owned(), true),
        ("README".to_owned(), true),
    ];
    for (name, _) in &others {
        let path = Path::from(format!("{PREFIX}/{name}"));
        memory
            .objects
            .put(&path, "text".into())
            .await
            .expect("it can be written");
    }
    append(&*store, epoch, 30..60).await;
    let left = names(&memory).await;
    for (name, stays) in others {
        assert_eq!(left.contains(&name), stays, "{name}");
    }
    // The manifest, the lease, a snapshot, some pages, and segments: most of the 60 appends' are gone.
    assert!(left.len() < 45, "{left:?}");
    assert_eq!(
        memory.open().load().await.expect("it can be read").head.sequence,
        60
    );
}

#[tokio::test]
async fn nothing_is_deleted_within_the_grace_period() {
    let mut upkeep = small();
    upkeep.grace = Duration::from_secs(3600);
    let memory = Memory::new(upkeep);
    let store = memory.open();
    store.create(creation()).await.expect("nothing is there");
    let epoch = taken(&*store).await;
    let mut ever = BTreeSet::new();
    for serial in 1..60 {
        append(&*store, epoch, serial..serial + 1).await;
        ever.extend(names(&memory).await);
    }
    let probes = |name: &String| !name.starts_with("probes/");
    assert_eq!(names(&memory).await, ever.into_iter().filter(probes).collect());
}
