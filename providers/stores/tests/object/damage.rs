//! Damage to any object: what is loaded is the right state, or an error names the object. Never less, never another one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::store::AppendRequest;
use gabion_engine::state::{State, StateStore, StoreError};
use gabion_stores::object::{ObjectOptions, ObjectStateStore, Upkeep};
use gabion_testing::store_conformance::StorePlace;
use gabion_testing::store_events::{checkpoint, create, creation, events, holder, lease_taken, succeeded};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::memory::Memory;

const PREFIX: &str = "team/web/default";

/// The objects below the prefix, by name.
type Objects = BTreeMap<String, Bytes>;

async fn copied(objects: &Arc<dyn ObjectStore>) -> Objects {
    let listed: Vec<_> = objects.list(None).try_collect().await.expect("it can be listed");
    let mut copy = Objects::new();
    for meta in listed {
        let bytes = objects.get(&meta.location).await.expect("it is there");
        let bytes = bytes.bytes().await.expect("it can be read");
        let name = meta.location.to_string();
        let name = name.strip_prefix(PREFIX).expect("nothing else is there");
        copy.insert(name.trim_start_matches('/').to_owned(), bytes);
    }
    copy
}

async fn store_of(objects: &Objects) -> ObjectStateStore {
    let copy = InMemory::new();
    for (name, bytes) in objects {
        let path = Path::from(format!("{PREFIX}/{name}"));
        copy.put(&path, bytes.clone().into())
            .await
            .expect("it can be written");
    }
    ObjectStateStore::new(Arc::new(copy), PREFIX, ObjectOptions::default())
}

/// All that a store says about its past and present.
#[derive(Debug, PartialEq)]
struct Told {
    state: State,
    base: State,
    events: Vec<ChainedEvent>,
}

async fn told(store: &dyn StateStore) -> Result<Told, StoreError> {
    let loaded = store.load().await?;
    assert_eq!(Some(loaded.head), loaded.state.head());
    Ok(Told {
        state: loaded.state,
        base: store.base().await?,
        events: store.events(0, 10_000).await?,
    })
}

/// A log of some forty appends with merged segments, a page of older ones, snapshots, a base, and what was replaced.
async fn log() -> (Objects, Told) {
    let memory = Memory::new(Upkeep {
        fanout: 3,
        largest_segment: 4 << 10,
        listed: 5,
        snapshot_after: 3 << 10,
        grace: Duration::from_secs(3600),
    });
    let store = memory.open();
    store.create(creation()).await.expect("nothing is there");
    let request = gabion_engine::state::store::LeaseRequest {
        holder: holder("ada"),
        length: Duration::from_secs(30),
        at: jiff::Timestamp::UNIX_EPOCH,
        replaces: None,
    };
    let epoch = store.take_lease(request).await.expect("it is free").epoch;
    let mut serial = 1;
    let mut bodies = vec![vec![lease_taken()]];
    for number in 1..=20 {
        bodies.push(vec![create(number, number, &format!("r{number}"))]);
        let id = format!("id-{number}");
        bodies.push(vec![checkpoint(number, &id), succeeded(number, &id, 7)]);
    }
    for bodies in bodies {
        let request = AppendRequest {
            epoch,
            expected_sequence: serial,
            events: events(serial + 1, epoch, bodies),
        };
        serial = store.append(request).await.expect("it fits").sequence;
        if serial == 20 {
            store.compact(epoch, 9).await.expect("it holds the lease");
        }
    }
    let told = told(&*memory.open()).await.expect("nothing is damaged");
    let objects = copied(&memory.objects).await;
    let count = |kind: &str| objects.keys().filter(|name| name.starts_with(kind)).count();
    let counts = [count("segments/"), count("snapshots/"), count("index/")];
    assert!(counts[0] > 30 && counts[1] >= 3 && counts[2] >= 1, "{counts:?}");
    assert_eq!((told.base.serial, told.state.serial), (9, serial));
    (objects, told)
}

/// Checks that a damaged store tells the truth, or names one of these objects. Returns whether it told the truth.
async fn check(objects: &Objects, expected: &Told, damaged: &[&str], how: &str) -> bool {
    let store = store_of(objects).await;
    match told(&store).await {
        Ok(found) => {
            assert_eq!(found, *expected, "{damaged:?} {how}");
            true
        }
        Err(StoreError::Unreadable { what, why, .. }) => {
            let named = |name: &&str| what.contains(*name) || why.contains(*name);
            assert!(damaged.iter().any(named), "{damaged:?} {how}: {what}: {why}");
            false
        }
        Err(error) => panic!("{damaged:?} {how}: {error}"),
    }
}

#[tokio::test]
async fn a_missing_object_is_named() {
    let (objects, expected) = log().await;
    let mut needed = 0;
    for name in objects.keys() {
        let mut left = objects.clone();
        left.remove(name);
        let whole = check(&left, &expected, &[name], "removed").await;
        needed += usize::from(!whole);
        let essential = name == "manifest.json";
        assert!(!(essential && whole), "{name} is needed");
    }
    // The manifest, the base, the snapshot, the page and a handful of segments.
    assert!((8..20).contains(&needed), "{needed} objects are needed");
}

#[tokio::test]
async fn a_cut_off_or_empty_object_is_named() {
    let (objects, expected) = log().await;
    for (name, bytes) in &objects {
        for length in [0, 1, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
            let mut cut = objects.clone();
            cut.insert(name.clone(), bytes.slice(..length));
            check(&cut, &expected, &[name], &format!("cut to {length}")).await;
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_is_seen_and_its_object_named() {
    let (objects, expected) = log().await;
    for (name, bytes) in &objects {
        let step = match name.as_str() {
            "manifest.json" | "lease.json" => 5,
            _ => bytes.len() / 10 + 1,
        };
        for at in (0..bytes.len()).step_by(step) {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << (at % 8);
            let mut damaged = objects.clone();
            damaged.insert(name.clone(), flipped.into());
            check(&damaged, &expected, &[name], &format!("bit in byte {at}")).await;
        }
    }
}

#[tokio::test]
async fn objects_in_each_others_place_are_named() {
    let (objects, expected) = log().await;
    let names: Vec<&String> = objects.keys().collect();
    for (index, one) in names.iter().enumerate() {
        // Each with its neighbour and with one far away.
        for other in [index + 1, index + names.len() / 2] {
            let other = names[other % names.len()];
            let mut swapped = objects.clone();
            swapped.insert((*one).clone(), objects[other].clone());
            swapped.insert(other.clone(), objects[*one].clone());
            check(&swapped, &expected, &[one, other], "swapped").await;
        }
    }
}

#[tokio::test]
async fn a_damaged_lease_is_named_and_a_missing_one_is_free() {
    let (objects, expected) = log().await;
    let mut damaged = objects.clone();
    damaged.insert("lease.json".to_owned(), Bytes::from_static(b"{}"));
    let store = store_of(&damaged).await;
    let error = store.lease().await.expect_err("it cannot be read");
    assert!(
        matches!(&error, StoreError::Unreadable { what, .. } if what == "lease.json"),
        "{error}"
    );
    damaged.remove("lease.json");
    let store = store_of(&damaged).await;
    assert_eq!(store.lease().await.expect("it can be read"), None);
    let request = gabion_engine::state::store::LeaseRequest {
        holder: holder("bob"),
        length: Duration::from_secs(30),
        at: jiff::Timestamp::UNIX_EPOCH,
        replaces: None,
    };
    // Its epoch is new all the same: the former holder, if there is one, can append nothing.
    let epoch = store.take_lease(request).await.expect("it is free").epoch;
    assert!(epoch > expected.state.epoch);
}

#[tokio::test]
async fn a_log_that_became_shorter_while_it_was_in_use_is_an_error() {
    let memory = Memory::new(Upkeep::default());
    let store = memory.open();
    store.create(creation()).await.expect("nothing is there");
    let earlier = copied(&memory.objects).await;
    let request = gabion_engine::state::store::LeaseRequest {
        holder: holder("ada"),
        length: Duration::from_secs(30),
        at: jiff::Timestamp::UNIX_EPOCH,
        replaces: None,
    };
    let epoch = store.take_lease(request).await.expect("it is free").epoch;
    let request = AppendRequest {
        epoch,
        expected_sequence: 1,
        events: events(2, epoch, [lease_taken()]),
    };
    store.append(request).await.expect("it fits");
    let path = Path::from(format!("{PREFIX}/manifest.json"));
    let manifest = earlier["manifest.json"].clone();
    memory
        .objects
        .put(&path, manifest.into())
        .await
        .expect("it can be written");
    let error = store.load().await.expect_err("it lost an event");
    assert!(
        matches!(&error, StoreError::Unreadable { what, .. } if what == "manifest.json"),
        "{error}"
    );
}
