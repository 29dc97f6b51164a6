//! The conformance suite that every state store runs: what [`StateStore`] promises, checked through its trait alone.

use std::sync::Arc;
use std::time::Duration;

use gabion_engine::state::chain::{self, ChainedEvent};
use gabion_engine::state::clock::StoppedClock;
use gabion_engine::state::event::{Event, EventBody};
use gabion_engine::state::store::{AppendRequest, LeaseRequest, LeaseSeen};
use gabion_engine::state::verify::verify;
use gabion_engine::state::{Clock, FORMAT_VERSION, FoldError, State, StateStore, StoreError};

use crate::store_events::{
    address, checkpoint, create, creation, events, holder, lease_taken, succeeded, uid,
};
use crate::store_random::RandomEvents;

/// A place where a state can be, empty at first.
pub trait StorePlace: Send + Sync {
    /// Returns a store over the place that shares nothing with others in this process, as if another process opened it.
    ///
    /// Only a store that is this process's memory returns what it returned before.
    fn open(&self) -> Arc<dyn StateStore>;
}

/// Runs the whole suite; `place` makes a new empty place for each check.
///
/// # Panics
/// When the store breaks a promise.
pub async fn check_store<P: StorePlace>(place: impl Fn() -> P) {
    nothing_is_there_before_it_is_created(&place()).await;
    a_log_is_created_once(&place()).await;
    a_newer_format_is_refused(&place()).await;
    what_is_appended_is_there_for_everybody(&place()).await;
    a_log_that_moved_refuses(&place()).await;
    only_the_lease_holder_appends(&place()).await;
    an_append_is_all_or_nothing(&place()).await;
    of_writers_at_once_one_wins(&place()).await;
    a_lease_is_taken_renewed_and_given_back(&place()).await;
    a_lease_is_replaced_only_as_it_was_seen(&place()).await;
    of_takers_at_once_one_wins(&place()).await;
    history_is_chained(&place()).await;
    compaction_keeps_the_state(&place()).await;
    what_an_event_leaves_out_is_known_wherever_the_log_is_cut(&place()).await;
    for seed in 0..4 {
        random_events_fold_the_same(&place(), seed, 150).await;
    }
}

/// Feeds a store with random events, a few an append, and compares what it says with what folding them gives. What
/// folding refuses, the store must refuse too, and be unchanged.
///
/// # Panics
/// When the store breaks a promise.
pub async fn random_events_fold_the_same(place: &dyn StorePlace, seed: u64, count: usize) {
    let mut store = place.open();
    let epoch = ready(&*store).await;
    let mut random = RandomEvents::new(seed);
    let mut expected = loaded(&*store).await;
    let (mut accepted, mut refused) = (0, 0);
    while accepted + refused < count {
        let mut folded = expected.clone();
        let mut bodies = Vec::new();
        let mut legal = Ok(());
        for _ in 0..=random.below(3) {
            let body = random.next(&folded);
            let event = events(folded.serial + 1, epoch, [body.clone()]).remove(0);
            bodies.push(body);
            legal = folded.fold(&event);
            if legal.is_err() {
                break;
            }
        }
        let appended = append(&*store, epoch, expected.serial, bodies.clone()).await;
        match (legal, appended) {
            (Ok(()), Ok(())) => {
                accepted += 1;
                expected = folded;
            }
            (Err(fold), Err(StoreError::Illegal(store))) => {
                refused += 1;
                assert_eq!(store, fold);
            }
            (legal, appended) => panic!("seed {seed}: {bodies:?} gave {legal:?} and {appended:?}"),
        }
        if random.below(10) == 0 {
            store = place.open();
        }
        assert_eq!(loaded(&*store).await, expected, "seed {seed}: after {bodies:?}");
    }
    assert!(
        accepted > count / 4 && refused > 0,
        "{accepted} accepted, {refused} refused"
    );
    let verification = gabion_engine::state::verify::verify(&*store)
        .await
        .expect("it can be read");
    assert_eq!(verification.damage, Vec::<String>::new(), "seed {seed}");
}

async fn nothing_is_there_before_it_is_created(place: &dyn StorePlace) {
    let store = place.open();
    let not_found = |what: &str, error: Option<StoreError>| {
        assert!(
            matches!(error, Some(StoreError::NotFound { .. })),
            "{what}: {error:?}"
        );
    };
    not_found("load", store.load().await.err());
    not_found("events", store.events(0, 10).await.err());
    not_found("base", store.base().await.err());
    not_found("lease", store.lease().await.err());
    not_found("take_lease", take(&*store, "ada", None).await.err());
    not_found("append", append(&*store, 1, 0, Vec::new()).await.err());
    not_found("load", place.open().load().await.err());
}

async fn a_log_is_created_once(place: &dyn StorePlace) {
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let store = place.open();
            tokio::spawn(async move { store.create(creation()).await })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(head) => {
                created += 1;
                assert_eq!(head.sequence, 1);
            }
            Err(error) => assert!(matches!(error, StoreError::Exists { .. }), "{error:?}"),
        }
    }
    assert_eq!(created, 1);
    let loaded = place.open().load().await.expect("it was created");
    assert_eq!(loaded.head.sequence, 1);
    assert_eq!(loaded.head.lineage, creation().created.lineage);
    assert_eq!(&*loaded.state.project, "tests");
    assert!(loaded.state.is_empty());
}

async fn a_newer_format_is_refused(place: &dyn StorePlace) {
    let store = place.open();
    let mut request = creation();
    request.created.format_version = FORMAT_VERSION + 1;
    match store.create(request).await {
        Err(
            StoreError::NewerFormat { found, .. } | StoreError::Illegal(FoldError::NewerFormat { found, .. }),
        ) => {
            assert_eq!(found, FORMAT_VERSION + 1);
        }
        other => panic!("{other:?}"),
    }
    let after = store.load().await;
    assert!(matches!(after, Err(StoreError::NotFound { .. })), "{after:?}");
}

async fn what_is_appended_is_there_for_everybody(place: &dyn StorePlace) {
    let store = place.open();
    let epoch = ready(&*store).await;
    let serial = loaded(&*store).await.serial;
    append(
        &*store,
        epoch,
        serial,
        vec![create(1, 1, "a"), checkpoint(1, "id-1")],
    )
    .await
    .expect("it fits");
    append(&*store, epoch, serial + 2, vec![succeeded(1, "id-1", 7)])
        .await
        .expect("it fits");
    let there = loaded(&*store).await;
    drop(store);
    let elsewhere = place.open().load().await.expect("it is there");
    assert_eq!(elsewhere.state, there);
    assert_eq!(elsewhere.head, there.head().expect("it was created"));
    let record = there.current(&address("a")).expect("it was created");
    assert_eq!((record.uid, record.changed_at), (uid(1), serial + 3));
}

async fn a_log_that_moved_refuses(place: &dyn StorePlace) {
    let store = place.open();
    let epoch = ready(&*store).await;
    let before = loaded(&*store).await;
    for wrong in [before.serial - 1, before.serial + 1] {
        match append(&*store, epoch, wrong, vec![create(1, 1, "a")]).await {
            Err(StoreError::Moved { expected, found }) => {
                assert_eq!((expected, found), (wrong, before.serial));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(loaded(&*place.open()).await, before);
}

async fn only_the_lease_holder_appends(place: &dyn StorePlace) {
    let store = place.open();
    store.create(creation()).await.expect("nothing is there");
    let lost = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::LostLease { .. })), "{result:?}");
    };
    lost(append(&*store, 0, 1, vec![lease_taken()]).await);
    lost(append(&*store, 1, 1, vec![lease_taken()]).await);
    let epoch = take(&*store, "ada", None).await.expect("it is free");
    lost(append(&*store, epoch + 1, 1, vec![lease_taken()]).await);
    append(&*store, epoch, 1, vec![lease_taken()])
        .await
        .expect("it holds the lease");
    store.release(epoch).await.expect("it holds the lease");
    lost(append(&*store, epoch, 2, vec![create(1, 1, "a")]).await);
    let next = take(&*place.open(), "bob", None).await.expect("it is free");
    lost(append(&*store, epoch, 2, vec![create(1, 1, "a")]).await);
    // Also an event written under another epoch than its lease's contradicts the log.
    let mismatch = store
        .append(AppendRequest {
            epoch: next,
            expected_sequence: 2,
            events: events(3, epoch + 7, [create(1, 1, "a")]),
        })
        .await;
    assert!(
        matches!(mismatch, Err(StoreError::Illegal(FoldError::Epoch { .. }))),
        "{mismatch:?}"
    );
}

async fn an_append_is_all_or_nothing(place: &dyn StorePlace) {
    let store = place.open();
    let epoch = ready(&*store).await;
    let before = loaded(&*store).await;
    let half = vec![create(1, 1, "a"), create(2, 2, "a")];
    match append(&*store, epoch, before.serial, half).await {
        Err(StoreError::Illegal(FoldError::AddressTaken { .. })) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(loaded(&*store).await, before);
    assert_eq!(loaded(&*place.open()).await, before);
    append(&*store, epoch, before.serial, vec![create(3, 3, "a")])
        .await
        .expect("nothing of the refused append is left");
}

async fn of_writers_at_once_one_wins(place: &dyn StorePlace) {
    let store = place.open();
    let epoch = ready(&*store).await;
    for round in 0..10 {
        let before = loaded(&*store).await;
        let tasks: Vec<_> = (0..4)
            .map(|writer| {
                let store = place.open();
                let number = round * 10 + writer;
                tokio::spawn(async move {
                    let body = create(number, number, &format!("r{number}"));
                    append(&*store, epoch, before.serial, vec![body]).await
                })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            match task.await.expect("no panic") {
                Ok(()) => won += 1,
                Err(error) => assert!(matches!(error, StoreError::Moved { .. }), "{error:?}"),
            }
        }
        assert_eq!(won, 1, "round {round}");
        assert_eq!(loaded(&*store).await.serial, before.serial + 1);
    }
}

async fn a_lease_is_taken_renewed_and_given_back(place: &dyn StorePlace) {
    let store = place.open();
    store.create(creation()).await.expect("nothing is there");
    assert_eq!(store.lease().await.expect("it is there"), None);
    let epoch = take(&*store, "ada", None).await.expect("it is free");
    let seen = store.lease().await.expect("it is there").expect("it is held");
    assert_eq!((seen.epoch, seen.holder.who.as_str()), (epoch, "ada"));
    match take(&*place.open(), "bob", None).await {
        Err(StoreError::Locked(view)) => assert_eq!(*view, seen),
        other => panic!("{other:?}"),
    }
    store
        .renew(epoch, Duration::from_secs(90), StoppedClock::default().now())
        .await
        .expect("it holds the lease");
    let renewed = place
        .open()
        .lease()
        .await
        .expect("it is there")
        .expect("it is held");
    assert_ne!(renewed.seen(), seen.seen());
    assert_eq!((renewed.epoch, renewed.length), (epoch, Duration::from_secs(90)));
    store.release(epoch).await.expect("it holds the lease");
    assert_eq!(store.lease().await.expect("it is there"), None);
    store.release(epoch).await.expect("again does nothing");
    let lost = store
        .renew(epoch, Duration::from_secs(1), StoppedClock::default().now())
        .await;
    assert!(matches!(lost, Err(StoreError::LostLease { .. })), "{lost:?}");
    let next = take(&*place.open(), "bob", None).await.expect("it is free");
    assert!(next > epoch);
}

async fn a_lease_is_replaced_only_as_it_was_seen(place: &dyn StorePlace) {
    let (first, second) = (place.open(), place.open());
    first.create(creation()).await.expect("nothing is there");
    let epoch = take(&*first, "ada", None).await.expect("it is free");
    let seen = second
        .lease()
        .await
        .expect("it is there")
        .expect("it is held")
        .seen();
    // A renewal comes in between: the holder is alive.
    first
        .renew(epoch, Duration::from_secs(30), StoppedClock::default().now())
        .await
        .expect("it holds the lease");
    let refused = take(&*second, "bob", Some(seen)).await;
    assert!(matches!(refused, Err(StoreError::Locked(_))), "{refused:?}");
    let seen = second
        .lease()
        .await
        .expect("it is there")
        .expect("it is held")
        .seen();
    let next = take(&*second, "bob", Some(seen)).await.expect("it stood still");
    assert!(next > epoch);
    // The former holder can do nothing any more, and harms nobody.
    let lost = first
        .renew(epoch, Duration::from_secs(30), StoppedClock::default().now())
        .await;
    match lost {
        Err(StoreError::LostLease { now: Some(view), .. }) => assert_eq!(view.holder.who, "bob"),
        other => panic!("{other:?}"),
    }
    first.release(epoch).await.expect("it does nothing");
    assert_eq!(
        first
            .lease()
            .await
            .expect("it is there")
            .expect("it is held")
            .epoch,
        next
    );
    // What was seen before somebody else took it replaces nothing.
    let refused = take(&*first, "ada", Some(seen)).await;
    assert!(matches!(refused, Err(StoreError::Locked(_))), "{refused:?}");
}

async fn of_takers_at_once_one_wins(place: &dyn StorePlace) {
    place.open().create(creation()).await.expect("nothing is there");
    for round in 0..10 {
        let tasks: Vec<_> = (0..4)
            .map(|taker| {
                let store = place.open();
                tokio::spawn(async move { take(&*store, &format!("taker {taker}"), None).await })
            })
            .collect();
        let mut granted = Vec::new();
        for task in tasks {
            match task.await.expect("no panic") {
                Ok(epoch) => granted.push(epoch),
                Err(error) => assert!(matches!(error, StoreError::Locked(_)), "{error:?}"),
            }
        }
        assert_eq!(granted.len(), 1, "round {round}");
        place
            .open()
            .release(granted[0])
            .await
            .expect("it holds the lease");
    }
}

async fn history_is_chained(place: &dyn StorePlace) {
    let store = place.open();
    let epoch = ready(&*store).await;
    let bodies: Vec<_> = (1..=20).map(|n| create(n, n, &format!("r{n}"))).collect();
    append(&*store, epoch, 2, bodies.clone()).await.expect("it fits");
    let all = store.events(0, 1000).await.expect("it is there");
    assert_eq!(all.len(), 22);
    let written: Vec<_> = all[2..].iter().map(|event| event.event.body.clone()).collect();
    assert_eq!(written, bodies);
    let last = chain::verify(0, "", &all).expect("nothing was altered");
    assert_eq!(loaded(&*store).await.chain, last);
    let some = place.open().events(5, 3).await.expect("it is there");
    let numbers: Vec<u64> = some.iter().map(|event| event.event.sequence).collect();
    assert_eq!(numbers, [6, 7, 8]);
    assert!(store.events(22, 10).await.expect("it is there").is_empty());
    assert_eq!(store.base().await.expect("it is there"), State::default());
}

async fn compaction_keeps_the_state(place: &dyn StorePlace) {
    let store = place.open();
    let epoch = ready(&*store).await;
    let bodies = (1..=10).map(|n| create(n, n, &format!("r{n}"))).collect();
    append(&*store, epoch, 2, bodies).await.expect("it fits");
    let before = loaded(&*store).await;
    let refused = store.compact(epoch + 1, 5).await;
    assert!(
        matches!(refused, Err(StoreError::LostLease { .. })),
        "{refused:?}"
    );
    assert_eq!(store.compact(epoch, 5).await.expect("it holds the lease"), 5);
    assert_eq!(store.compact(epoch, 5).await.expect("it holds the lease"), 0);
    let elsewhere = place.open();
    assert_eq!(loaded(&*elsewhere).await, before);
    let base = elsewhere.base().await.expect("it is there");
    let kept = elsewhere.events(0, 1000).await.expect("it is there");
    assert_eq!((base.serial, kept[0].event.sequence, kept.len()), (5, 6, 7));
    assert_eq!(folded(&base, &kept), before);
    append(&*elsewhere, epoch, 12, vec![succeeded(1, "id", 1)])
        .await
        .expect("it fits");
    // All of it may go; the head stays.
    assert_eq!(
        elsewhere.compact(epoch, 1000).await.expect("it holds the lease"),
        8
    );
    let all = loaded(&*place.open()).await;
    assert_eq!(place.open().base().await.expect("it is there"), all);
    append(&*place.open(), epoch, 13, vec![succeeded(2, "id-2", 1)])
        .await
        .expect("it fits");
}

/// Events need not say who wrote them if those before did, whatever is left of these.
async fn what_an_event_leaves_out_is_known_wherever_the_log_is_cut(place: &dyn StorePlace) {
    let epoch = ready(&*place.open()).await;
    let [said] = &events(1, epoch, [lease_taken()])[..] else {
        panic!("one body gives one event");
    };
    for (number, up_to) in [(1, 0), (2, 3), (3, 1000), (4, 1000)] {
        let sequence = number + 2;
        let unsaid = Event {
            sequence,
            run: None,
            epoch: None,
            body: create(number, number, &format!("r{number}")),
            ..said.clone()
        };
        // Each time by another process, which knows what the store says alone.
        let store = place.open();
        let request = AppendRequest {
            epoch,
            expected_sequence: sequence - 1,
            events: vec![unsaid.clone()],
        };
        store.append(request).await.expect("it fits");
        let last = store.events(sequence - 1, 1).await.expect("it is there");
        assert_eq!(last[0].event, unsaid);
        store.compact(epoch, up_to).await.expect("it holds the lease");
        let store = place.open();
        let state = loaded(&*store).await;
        assert_eq!((state.run.0, state.epoch), (said.run, epoch));
        let found = verify(&*store).await.expect("it can be read");
        assert_eq!(found.damage, Vec::<String>::new());
    }
}

/// Creates the log, takes the lease and writes that down; the serial is 2 then.
async fn ready(store: &dyn StateStore) -> u64 {
    store.create(creation()).await.expect("nothing is there");
    let epoch = take(store, "ada", None).await.expect("it is free");
    append(store, epoch, 1, vec![lease_taken()])
        .await
        .expect("it fits");
    epoch
}

async fn take(store: &dyn StateStore, who: &str, replaces: Option<LeaseSeen>) -> Result<u64, StoreError> {
    let request = LeaseRequest {
        holder: holder(who),
        length: Duration::from_secs(30),
        at: StoppedClock::default().now(),
        replaces,
    };
    store.take_lease(request).await.map(|grant| grant.epoch)
}

async fn append(
    store: &dyn StateStore,
    epoch: u64,
    expected_sequence: u64,
    bodies: Vec<EventBody>,
) -> Result<(), StoreError> {
    let request = AppendRequest {
        epoch,
        expected_sequence,
        events: events(expected_sequence + 1, epoch, bodies),
    };
    let head = store.append(request).await?;
    assert_eq!(head, store.load().await?.head);
    Ok(())
}

async fn loaded(store: &dyn StateStore) -> State {
    store.load().await.expect("it can be read").state
}

fn folded(base: &State, events: &[ChainedEvent]) -> State {
    let mut state = base.clone();
    for event in events {
        state
            .fold(&event.event)
            .expect("a log holds only events that fit");
    }
    state
}
