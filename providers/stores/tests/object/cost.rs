//! What the store asks of the service: measured, and held to bounds.

use std::sync::Arc;
use std::time::Instant;

use gabion_engine::state::StateStore;
use gabion_engine::state::store::{AppendRequest, LeaseRequest};
use gabion_stores::object::{ObjectOptions, ObjectStateStore};
use gabion_testing::objects::{FaultyObjects, ObjectFault, Traffic};
use gabion_testing::store_events::{create, creation, events, holder, lease_taken, succeeded};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

struct Measured {
    traffic: FaultyObjects,
    options: ObjectOptions,
}

impl Measured {
    fn new() -> Self {
        Self {
            traffic: FaultyObjects::new(Arc::new(InMemory::new()), |_, _| ObjectFault::None),
            options: ObjectOptions::default(),
        }
    }

    fn open(&self) -> ObjectStateStore {
        ObjectStateStore::new(Arc::new(self.traffic.clone()), "p", self.options.clone())
    }

    fn since(&self, before: Traffic) -> Traffic {
        let now = self.traffic.traffic();
        Traffic {
            puts: now.puts - before.puts,
            gets: now.gets - before.gets,
            lists: now.lists - before.lists,
            deletes: now.deletes - before.deletes,
            written: now.written - before.written,
        }
    }

    /// Appends this many events, one an append, and returns what that took.
    async fn filled(&self, count: u64) -> Traffic {
        let store = self.open();
        store.create(creation()).await.expect("nothing is there");
        let request = LeaseRequest {
            holder: holder("ada"),
            length: std::time::Duration::from_secs(30),
            at: jiff::Timestamp::UNIX_EPOCH,
            replaces: None,
        };
        let epoch = store.take_lease(request).await.expect("it is free").epoch;
        let before = self.traffic.traffic();
        for number in 1..=count {
            // Two events in a row make an object.
            let object = number / 2;
            let body = match number {
                1 => lease_taken(),
                number if number % 2 == 0 => create(object, object, &format!("r{object}")),
                _ => succeeded(object, &format!("id-{object}"), 7),
            };
            let request = AppendRequest {
                epoch,
                expected_sequence: number,
                events: events(number + 1, epoch, [body]),
            };
            store.append(request).await.expect("it fits");
        }
        self.since(before)
    }
}

#[tokio::test]
async fn an_append_costs_what_it_changes() {
    let measured = Measured::new();
    let appends = 600;
    let traffic = measured.filled(appends).await;
    assert!(traffic.puts as f64 <= 2.2 * appends as f64, "{traffic:?}");
    assert!(traffic.gets as f64 <= 0.2 * appends as f64, "{traffic:?}");
    assert!(traffic.lists <= appends / 100, "{traffic:?}");
    // Each append writes its segment, the manifest, and its share of what is merged later.
    assert!(traffic.written <= appends * 24 * 1024, "{traffic:?}");

    let before = measured.traffic.traffic();
    let store = measured.open();
    store.load().await.expect("it can be read");
    let first = measured.since(before);
    assert!(first.gets <= 40, "{first:?}");
    store.load().await.expect("it can be read");
    assert_eq!(measured.since(before).gets, first.gets + 1);
}

#[tokio::test]
async fn a_renewal_is_one_request() {
    let measured = Measured::new();
    let store = measured.open();
    store.create(creation()).await.expect("nothing is there");
    let length = std::time::Duration::from_secs(30);
    let request = LeaseRequest {
        holder: holder("ada"),
        length,
        at: jiff::Timestamp::UNIX_EPOCH,
        replaces: None,
    };
    let epoch = store.take_lease(request).await.expect("it is free").epoch;
    let before = measured.traffic.traffic();
    for _ in 0..5 {
        store
            .renew(epoch, length, jiff::Timestamp::UNIX_EPOCH)
            .await
            .expect("it holds the lease");
    }
    let traffic = measured.since(before);
    assert_eq!((traffic.puts, traffic.gets, traffic.lists), (5, 0, 0));
}

/// `cargo test -p gabion-stores --test object -- --ignored --nocapture cost`
#[tokio::test]
#[ignore = "a measurement"]
async fn figures() {
    for appends in [1000, 10_000] {
        let measured = Measured::new();
        let begun = Instant::now();
        let traffic = measured.filled(appends).await;
        let took = begun.elapsed();
        let before = measured.traffic.traffic();
        let begun = Instant::now();
        let loaded = measured.open().load().await.expect("it can be read");
        let load = begun.elapsed();
        let reading = measured.since(before);
        let path = object_store::path::Path::from("p/manifest.json");
        let manifest = measured.traffic.head(&path).await.expect("it is there");
        let per = |count: u64| count as f64 / appends as f64;
        println!(
            "manifest: {} bytes; {appends} appends: {:.2} puts, {:.3} gets, {:.4} lists, {:.0} bytes written each, {:.2} ms each; \
             load of {} objects: {} gets, {} ms",
            manifest.size,
            per(traffic.puts),
            per(traffic.gets),
            per(traffic.lists),
            per(traffic.written),
            took.as_secs_f64() * 1000.0 / appends as f64,
            loaded.state.len(),
            reading.gets,
            load.as_millis()
        );
    }
}
