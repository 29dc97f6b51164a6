//! The conformance checks of [`StateStore::adopt`]: a store takes over another one's log, byte for byte.

use std::time::Duration;

use gabion_engine::state::chain::{self, ChainedEvent};
use gabion_engine::state::clock::StoppedClock;
use gabion_engine::state::copy::LogCopy;
use gabion_engine::state::event::EventBody;
use gabion_engine::state::store::{AdoptRequest, AppendRequest, LeaseRequest};
use gabion_engine::state::verify::verify;
use gabion_engine::state::{Clock, FoldError, MemoryStore, State, StateStore, StoreError};

use crate::store_conformance::StorePlace;
use crate::store_events::{create, creation, events, holder, lease_taken, succeeded};

/// Runs the checks; `place` makes a new empty place for each.
///
/// # Panics
/// When the store breaks a promise.
pub async fn check_adoption<P: StorePlace>(place: impl Fn() -> P) {
    for compacted in [0, 7, 1000] {
        a_whole_log_is_adopted(&place(), &source(compacted).await).await;
    }
    a_whole_log_is_adopted(&place(), &written_otherwise()).await;
    of_adopters_at_once_one_wins(&place()).await;
    a_log_is_replaced_under_its_lease_only(&place()).await;
    where_a_log_left_nothing_follows(&place()).await;
}

/// Makes a log of 12 events under lease epoch 1, of which `compacted` are dropped.
async fn source(compacted: u64) -> LogCopy {
    let store = MemoryStore::new();
    store.create(creation()).await.expect("nothing is there");
    let epoch = take(&store, "ada").await;
    let mut bodies = vec![lease_taken()];
    bodies.extend((1..=9).map(|n| create(n, n, &format!("r{n}"))));
    bodies.push(succeeded(1, "id-1", 1));
    append(&store, epoch, 1, bodies).await.expect("it fits");
    store.compact(epoch, compacted).await.expect("it holds the lease");
    LogCopy::read(&store, epoch + 4).await.expect("it is whole")
}

async fn a_whole_log_is_adopted(place: &dyn StorePlace, log: &LogCopy) {
    let store = place.open();
    let request = AdoptRequest {
        log: log.clone(),
        over: None,
    };
    assert_eq!(
        &store.adopt(request.clone()).await.expect("nothing is there"),
        log.head()
    );
    drop(store);
    let store = place.open();
    let loaded = store.load().await.expect("it was adopted");
    assert_eq!((&loaded.state, &loaded.head), (log.state(), log.head()));
    assert_eq!(&store.base().await.expect("it is there"), log.base());
    let there = store.events(0, 1000).await.expect("it is there");
    assert_eq!(there, log.events());
    chain::verify(log.base().serial, &log.base().chain, &there).expect("nothing was altered");
    assert_eq!(store.lease().await.expect("it is there"), None);
    assert_eq!(
        verify(&*store).await.expect("it can be read").damage,
        Vec::<String>::new()
    );
    let again = store.adopt(request).await;
    assert!(matches!(again, Err(StoreError::Exists { .. })), "{again:?}");
    // It goes on from there, under epochs that were never granted for the log that was copied.
    let epoch = take(&*store, "bob").await;
    assert!(epoch > log.epoch(), "{epoch}");
    append(
        &*store,
        epoch,
        log.head().sequence,
        vec![lease_taken(), create(20, 20, "new")],
    )
    .await
    .expect("it fits");
}

async fn of_adopters_at_once_one_wins(place: &dyn StorePlace) {
    let log = source(3).await;
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (store, log) = (place.open(), log.clone());
            tokio::spawn(async move { store.adopt(AdoptRequest { log, over: None }).await })
        })
        .collect();
    let mut adopted = 0;
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(_) => adopted += 1,
            Err(error) => assert!(matches!(error, StoreError::Exists { .. }), "{error:?}"),
        }
    }
    assert_eq!(adopted, 1);
    assert_eq!(&loaded(&*place.open()).await, log.state());
}

async fn a_log_is_replaced_under_its_lease_only(place: &dyn StorePlace) {
    let log = source(0).await;
    let store = place.open();
    store.create(creation()).await.expect("nothing is there");
    let epoch = take(&*store, "ada").await;
    let before = loaded(&*store).await;
    let over = |epoch| AdoptRequest {
        log: log.clone(),
        over: Some(epoch),
    };
    let refused = place.open().adopt(over(epoch + 1)).await;
    assert!(
        matches!(refused, Err(StoreError::LostLease { .. })),
        "{refused:?}"
    );
    assert_eq!(loaded(&*store).await, before);
    assert_eq!(
        &store.adopt(over(epoch)).await.expect("it holds the lease"),
        log.head()
    );
    let elsewhere = place.open();
    assert_eq!(&loaded(&*elsewhere).await, log.state());
    assert_eq!(
        elsewhere.events(0, 1000).await.expect("it is there"),
        log.events()
    );
    // The lease is still held, and its writer goes on.
    let held = elsewhere.lease().await.expect("it is there").expect("it is held");
    assert_eq!(held.epoch, epoch);
    store.release(epoch).await.expect("it holds the lease");
    let next = take(&*elsewhere, "bob").await;
    assert!(next > epoch && next > log.epoch(), "{next}");
    append(
        &*elsewhere,
        next,
        log.head().sequence,
        vec![lease_taken(), create(20, 20, "new")],
    )
    .await
    .expect("it fits");
}

async fn where_a_log_left_nothing_follows(place: &dyn StorePlace) {
    let store = place.open();
    store.create(creation()).await.expect("nothing is there");
    let epoch = take(&*store, "ada").await;
    let to = EventBody::LogMoved {
        to: "elsewhere".into(),
    };
    append(&*store, epoch, 1, vec![lease_taken(), to])
        .await
        .expect("it fits");
    let refused = append(&*store, epoch, 3, vec![create(1, 1, "a")]).await;
    assert!(
        matches!(&refused, Err(StoreError::Illegal(FoldError::LogMoved { to })) if &**to == "elsewhere"),
        "{refused:?}"
    );
    assert_eq!(
        loaded(&*place.open()).await.moved_to.as_deref(),
        Some("elsewhere")
    );
    let back = EventBody::LogArrived {
        from: "elsewhere".into(),
    };
    append(&*store, epoch, 3, vec![back, create(1, 1, "a")])
        .await
        .expect("it fits");
    assert_eq!(loaded(&*place.open()).await.moved_to, None);
}

async fn take(store: &dyn StateStore, who: &str) -> u64 {
    let request = LeaseRequest {
        holder: holder(who),
        length: Duration::from_secs(30),
        at: StoppedClock::default().now(),
        replaces: None,
    };
    store.take_lease(request).await.expect("it is free").epoch
}

async fn append(
    store: &dyn StateStore,
    epoch: u64,
    expected_sequence: u64,
    bodies: Vec<EventBody>,
) -> Result<(), StoreError> {
    let events = events(expected_sequence + 1, epoch, bodies);
    let request = AppendRequest {
        epoch,
        expected_sequence,
        events,
    };
    store.append(request).await.map(|_| ())
}

async fn loaded(store: &dyn StateStore) -> State {
    store.load().await.expect("it can be read").state
}

/// Returns a log whose bytes are not what this build would write, as an earlier version's may be.
fn written_otherwise() -> LogCopy {
    let event = creation().event();
    let mut encoded = chain::encode(&event);
    encoded.push(b' ');
    let hash = chain::link("", &encoded);
    let event = ChainedEvent::read(encoded, hash).expect("white space is no part of it");
    LogCopy::new(State::default(), vec![event], 0).expect("it is one event")
}
