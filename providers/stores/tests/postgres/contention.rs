//! Writers at once: exactly one works at a time, and the others are told why they do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gabion_engine::state::clock::SystemClock;
use gabion_engine::state::lease::{self, LeaseOptions};
use gabion_engine::state::process::Processes;
use gabion_engine::state::{StateStore, StoreError};
use gabion_testing::store_events::{creation, holder, lease_taken, run_started};

use crate::damage::append;
use crate::place::Place;

const ROUNDS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_at_once_one_works_at_a_time() {
    let place = Arc::new(Place::new());
    place.store().create(creation()).await.expect("nothing is there");
    let working = Arc::new(AtomicUsize::new(0));
    let worked = Arc::new(AtomicUsize::new(0));
    for round in 0..ROUNDS {
        let writers: Vec<_> = ["ada", "bob"]
            .map(|who| {
                let (place, working, worked) = (place.clone(), working.clone(), worked.clone());
                tokio::spawn(async move {
                    let store = place.store();
                    let options = LeaseOptions {
                        holder: holder(who),
                        length: Duration::from_secs(30),
                        timeout: Duration::from_secs(30),
                        processes: Processes::default(),
                    };
                    // One that believes an old lease is told so.
                    let stale = store
                        .lease()
                        .await
                        .expect("it is there")
                        .map_or(0, |view| view.epoch);
                    let serial = store.load().await.expect("it is there").head.sequence;
                    match append(&store, stale + 1000, serial, [lease_taken()]).await {
                        Err(StoreError::LostLease { .. }) => {}
                        other => panic!("{other:?}"),
                    }
                    let grant = lease::acquire(&store, &options, &SystemClock)
                        .await
                        .expect("its turn comes");
                    assert_eq!(working.fetch_add(1, Ordering::SeqCst), 0, "{who} works alone");
                    let mut serial = store.load().await.expect("it is there").head.sequence;
                    for body in [lease_taken(), run_started(), run_started()] {
                        let appended = append(&store, grant.epoch, serial, [body]).await;
                        serial = appended.expect("nobody else writes").sequence;
                    }
                    worked.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(working.fetch_sub(1, Ordering::SeqCst), 1);
                    store.release(grant.epoch).await.expect("it holds the lease");
                    match append(&store, grant.epoch, serial, [lease_taken()]).await {
                        Err(StoreError::LostLease { .. }) => {}
                        other => panic!("{other:?}"),
                    }
                })
            })
            .into();
        for writer in writers {
            writer
                .await
                .unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
    assert_eq!(worked.load(Ordering::SeqCst), 2 * ROUNDS);
    let head = place.store().load().await.expect("it is there").head;
    assert_eq!(head.sequence, 1 + 6 * ROUNDS as u64);
}
