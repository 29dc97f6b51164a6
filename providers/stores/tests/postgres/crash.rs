//! Writers that end at any point of what they do: what was acknowledged is there, what was not is there whole or not at
//! all, and nobody writes after somebody else took over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gabion_engine::state::clock::StoppedClock;
use gabion_engine::state::event::{Event, EventBody};
use gabion_engine::state::store::{AppendRequest, LeaseRequest};
use gabion_engine::state::verify::verify;
use gabion_engine::state::{Clock, State, StateStore, StoreError};
use gabion_stores::postgres::PostgresStore;
use gabion_testing::store_events::{creation, events, holder, lease_taken};
use gabion_testing::store_random::RandomEvents;

use crate::damage::{append, take};
use crate::place::Place;
use crate::proxy::{Fate, Proxy};

/// How many crash points there are, over all writers' logs.
const CRASHES: u64 = 500;
const LOGS: u64 = 4;

/// Takes the lease from whoever holds it: a writer that is known to have ended.
async fn take_over(store: &dyn StateStore) -> Result<u64, StoreError> {
    let replaces = store.lease().await?.map(|view| view.seen());
    let request = LeaseRequest {
        holder: holder("ada"),
        length: Duration::from_secs(30),
        at: StoppedClock::default().now(),
        replaces,
    };
    Ok(store.take_lease(request).await?.epoch)
}

/// Returns the next events that fit a state, up to three, and the state that they give.
fn next_events(random: &mut RandomEvents, state: &State, epoch: u64) -> (Vec<Event>, State) {
    let mut after = state.clone();
    let mut next = Vec::new();
    let count = 1 + random.below(3);
    while next.len() < count {
        let event = events(after.serial + 1, epoch, [random.next(&after)]).remove(0);
        let mut folded = after.clone();
        if folded.fold(&event).is_ok() {
            after = folded;
            next.push(event);
        }
    }
    (next, after)
}

/// Writes until it is stopped. `states` gets the state before the append under way and the one after it.
async fn write(
    store: &PostgresStore,
    epoch: u64,
    mut state: State,
    mut random: RandomEvents,
    states: &std::sync::Mutex<(State, State)>,
) -> StoreError {
    loop {
        let (events, after) = next_events(&mut random, &state, epoch);
        *states.lock().expect("no panic") = (state.clone(), after.clone());
        let request = AppendRequest {
            epoch,
            expected_sequence: state.serial,
            events,
        };
        if let Err(error) = store.append(request).await {
            return error;
        }
        state = after;
        *states.lock().expect("no panic") = (state.clone(), state.clone());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_hundred_writers_end_at_any_point() {
    let place = Arc::new(Place::new());
    let outcomes = Arc::new([const { AtomicUsize::new(0) }; 3]);
    let logs: Vec<_> = (0..LOGS)
        .map(|log| {
            let (place, outcomes) = (place.beside(), outcomes.clone());
            tokio::spawn(async move {
                place.store().create(creation()).await.expect("nothing is there");
                for round in 0..CRASHES / LOGS {
                    let seed = log * 1_000_003 + round;
                    crash(&place, seed, &outcomes).await;
                }
                let found = verify(&place.store()).await.expect("it can be read");
                assert_eq!(found.damage, Vec::<String>::new(), "log {log}");
            })
        })
        .collect();
    for log in logs {
        log.await.expect("the invariants hold");
    }
    let [acknowledged, written, lost] = &*outcomes;
    let counts = [acknowledged, written, lost].map(|count| count.load(Ordering::Relaxed));
    println!("between appends, written and not acknowledged, not written: {counts:?}");
    assert_eq!(counts.iter().sum::<usize>() as u64, CRASHES);
    assert!(counts[1] >= 50 && counts[2] >= 50, "{counts:?}");
}

/// A writer begins, ends somewhere, and is followed by another one.
async fn crash(place: &Place, seed: u64, outcomes: &[AtomicUsize; 3]) {
    let mut random = RandomEvents::new(seed);
    let proxy = Proxy::to(place.port(), false).await;
    let writer = place.store_at(&proxy.url(&place.url));
    let epoch = take_over(&writer).await.expect("nobody else is there");
    let before = writer.load().await.expect("it can be read").state;
    append(&writer, epoch, before.serial, [lease_taken()])
        .await
        .expect("it holds the lease");
    let begun = writer.load().await.expect("it can be read").state;

    // An append sends about four thousand bytes and gets six hundred: the cut is within one of the next three.
    let fate = match random.below(4) {
        0 => Fate::LoseCommit,
        1 => Fate::CutComing(random.below(1800)),
        _ => Fate::CutGoing(random.below(12_000)),
    };
    let states = std::sync::Mutex::new((begun.clone(), begun.clone()));
    let spread = RandomEvents::new(seed ^ 0x5eed);
    proxy.set(fate);
    tokio::select! {
        // The writer is gone together with its connections, as it is when its machine is.
        () = proxy.is_cut() => {}
        error = write(&writer, epoch, begun, spread, &states) => {
            assert!(proxy.cuts() > 0, "seed {seed}, {fate:?}: {error:?}");
        }
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("seed {seed}, {fate:?}: nothing was cut"),
    }
    drop(writer);

    let next = place.store();
    let next_epoch = take_over(&next).await.expect("it is free for the taking");
    assert!(next_epoch > epoch, "seed {seed}");
    let now = next.load().await.expect("it can be read").state;
    let (acknowledged, after) = states.into_inner().expect("no panic");
    let outcome = match () {
        () if acknowledged == after => 0,
        () if now == after => 1,
        () => 2,
    };
    assert!(
        now == acknowledged || now == after,
        "seed {seed}, {fate:?}: acknowledged {}, begun {}, found {}",
        acknowledged.serial,
        after.serial,
        now.serial
    );
    outcomes[outcome].fetch_add(1, Ordering::Relaxed);
    // The one before writes no more, and nothing of it comes later.
    let refused = append(&place.store(), epoch, now.serial, [lease_taken()]).await;
    assert!(
        matches!(refused, Err(StoreError::LostLease { .. })),
        "seed {seed}: {refused:?}"
    );
    append(&next, next_epoch, now.serial, [lease_taken()])
        .await
        .unwrap_or_else(|error| panic!("seed {seed}, {fate:?}: {error}"));
    if seed.is_multiple_of(10) {
        let found = verify(&next).await.expect("it can be read");
        assert_eq!(found.damage, Vec::<String>::new(), "seed {seed}");
    }
    next.release(next_epoch).await.expect("it holds the lease");
}

/// The store rides out a connection that breaks, whenever it does, without its caller knowing.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_costs_nothing() {
    let place = Place::new();
    let direct = place.store();
    direct.create(creation()).await.expect("nothing is there");
    let proxy = Proxy::to(place.port(), true).await;
    let store = place.store_at(&proxy.url(&place.url));
    let epoch = take(&store).await;
    append(&store, epoch, 1, [lease_taken()]).await.expect("it fits");
    let mut random = RandomEvents::new(7);
    let mut state = store.load().await.expect("it can be read").state;
    for round in 0..60 {
        let fate = match round % 3 {
            0 => Fate::LoseCommit,
            1 => Fate::CutComing(random.below(600)),
            _ => Fate::CutGoing(random.below(4000)),
        };
        proxy.set(fate);
        let (events, after) = next_events(&mut random, &state, epoch);
        let request = AppendRequest {
            epoch,
            expected_sequence: state.serial,
            events,
        };
        let head = store
            .append(request)
            .await
            .unwrap_or_else(|error| panic!("round {round}, {fate:?}: {error}"));
        assert_eq!(head.sequence, after.serial);
        let at = StoppedClock::default().now();
        proxy.set(if round % 2 == 0 {
            Fate::LoseCommit
        } else {
            Fate::Pass
        });
        store
            .renew(epoch, Duration::from_secs(30), at)
            .await
            .expect("it holds the lease");
        proxy.set(Fate::Pass);
        state = after;
        assert_eq!(
            direct.load().await.expect("it can be read").state,
            state,
            "round {round}"
        );
    }
    assert!(proxy.cuts() > 60, "{}", proxy.cuts());
    // A lease whose answer was lost is known to be ours.
    store.release(epoch).await.expect("it holds the lease");
    proxy.set(Fate::LoseCommit);
    let next = take(&store).await;
    assert!(next > epoch);
    assert_eq!(
        verify(&store).await.expect("it can be read").damage,
        Vec::<String>::new()
    );
}

/// When nobody can be asked whether it was done, the error says that it may have been.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_stays_in_doubt_is_said_to_be_so() {
    let place = Place::new();
    let proxy = Proxy::to(place.port(), false).await;
    let store = place.store_at(&proxy.url(&place.url));
    store.create(creation()).await.expect("nothing is there");
    let epoch = take(&store).await;
    proxy.set(Fate::LoseCommit);
    let begun = std::time::Instant::now();
    let error = append(&store, epoch, 1, [lease_taken()])
        .await
        .expect_err("its answer is lost");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(
        matches!(error, StoreError::Io { .. }) && !error.wrote_nothing(),
        "{error:?}"
    );
    assert!(
        error.to_string().starts_with("appending failed at postgres://"),
        "{error}"
    );
    assert_eq!(place.store().load().await.expect("it is there").head.sequence, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_an_administrator_ends_is_made_again() {
    let place = Place::new();
    let store = place.store();
    store.create(creation()).await.expect("nothing is there");
    let epoch = take(&store).await;
    append(&store, epoch, 1, [lease_taken()]).await.expect("it fits");
    let name = place.schema.clone();
    let store = Arc::new(place.store_at(&format!("{}?application_name={name}", place.url)));
    let mut serial = 2;
    for _ in 0..10 {
        let ends = place
            .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{s}'");
        let appends = async {
            let mut serial = serial;
            for _ in 0..5 {
                serial = append(&*store, epoch, serial, [EventBody::LeaseReleased])
                    .await
                    .expect("it goes on")
                    .sequence;
            }
            serial
        };
        serial = tokio::join!(ends, appends).1;
    }
    assert_eq!(serial, 52);
    assert_eq!(store.load().await.expect("it can be read").head.sequence, 52);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_given_up() {
    let place = Place::new();
    place.store().create(creation()).await.expect("nothing is there");
    let proxy = Proxy::to(place.port(), true).await;
    let store = place.store_at(&proxy.url(&place.url));
    let epoch = take(&store).await;
    proxy.set(Fate::Silence);
    let begun = std::time::Instant::now();
    let at = StoppedClock::default().now();
    let silent = store.renew(epoch, Duration::from_secs(30), at).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    match silent {
        Err(error @ StoreError::Io { .. }) => assert!(error.to_string().contains("no answer"), "{error}"),
        other => panic!("{other:?}"),
    }
    proxy.set(Fate::Pass);
    store
        .renew(epoch, Duration::from_secs(30), at)
        .await
        .expect("it goes on");
}

#[tokio::test]
async fn an_append_that_nobody_waits_for_is_done_or_not() {
    let place = Place::new();
    let store = place.store();
    store.create(creation()).await.expect("nothing is there");
    let epoch = take(&store).await;
    append(&store, epoch, 1, [lease_taken()]).await.expect("it fits");
    let mut random = RandomEvents::new(3);
    let mut serial = 2;
    for _ in 0..40 {
        let wait = Duration::from_micros(random.below(4000) as u64);
        let abandoned = append(&store, epoch, serial, [EventBody::LeaseReleased]);
        tokio::time::timeout(wait, abandoned).await.ok();
        // What was begun comes to its end before what is asked for next.
        let now = store.load().await.expect("it can be read").state.serial;
        assert!(now == serial || now == serial + 1, "{serial}, {now}");
        serial = now;
    }
    assert_eq!(
        verify(&store).await.expect("it can be read").damage,
        Vec::<String>::new()
    );
}
