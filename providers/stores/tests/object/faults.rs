//! Requests that fail before or after their effect or are never answered, with several writers: nothing that was
//! acknowledged is lost, and nothing that was refused is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gabion_engine::state::event::EventBody;
use gabion_engine::state::store::{AppendRequest, LeaseRequest};
use gabion_engine::state::{StateStore, StoreError};
use gabion_stores::object::{ObjectOptions, ObjectStateStore};
use gabion_testing::objects::FaultyObjects;
use gabion_testing::store_events::{create, creation, events, holder, lease_taken, operation};
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::memory::small;

const SEEDS: u64 = 100;

/// What a writer knows of what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Acknowledged,
    Refused,
    Unclear,
}

fn outcome<T>(result: &Result<T, StoreError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Acknowledged,
        Err(error) if error.wrote_nothing() && !matches!(error, StoreError::Busy { .. }) => Outcome::Refused,
        Err(StoreError::Unreadable { what, why, .. }) => panic!("nothing is damaged: {what}: {why}"),
        Err(_) => Outcome::Unclear,
    }
}

fn options() -> ObjectOptions {
    ObjectOptions {
        upkeep: small(),
        ..ObjectOptions::default()
    }
}

fn store(objects: Arc<dyn ObjectStore>) -> ObjectStateStore {
    ObjectStateStore::new(objects, "p", options())
}

fn faulty(objects: &Arc<dyn ObjectStore>, seed: u64) -> ObjectStateStore {
    store(Arc::new(FaultyObjects::seeded(objects.clone(), seed, 7)))
}

fn request(who: &str, replaces: Option<gabion_engine::state::store::LeaseSeen>) -> LeaseRequest {
    LeaseRequest {
        holder: holder(who),
        length: Duration::from_secs(30),
        at: jiff::Timestamp::UNIX_EPOCH,
        replaces,
    }
}

/// Returns how often each creation is in the log, after checking that the log is whole.
async fn logged(objects: &Arc<dyn ObjectStore>, seed: u64) -> BTreeMap<u64, usize> {
    let store = store(objects.clone());
    let verification = gabion_engine::state::verify::verify(&store).await;
    let verification = verification.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert_eq!(verification.damage, Vec::<String>::new(), "seed {seed}");
    let mut found = BTreeMap::new();
    for event in store.events(0, 100_000).await.expect("it can be read") {
        if let EventBody::Intent(intent) = event.event.body {
            let number = (1..10_000).find(|number| operation(*number) == intent.operation);
            *found.entry(number.expect("it is one of ours")).or_default() += 1;
        }
    }
    found
}

fn check(seed: u64, logged: &BTreeMap<u64, usize>, outcomes: &BTreeMap<u64, Outcome>) {
    for (number, outcome) in outcomes {
        let count = logged.get(number).copied().unwrap_or_default();
        let fits = match outcome {
            Outcome::Acknowledged => count == 1,
            Outcome::Refused => count == 0,
            Outcome::Unclear => count <= 1,
        };
        assert!(
            fits,
            "seed {seed}: creation {number} is {outcome:?} and {count} times in the log"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn writers_of_one_lease_lose_nothing_and_never_both_win() {
    let (mut acknowledged, mut refused, mut unclear) = (0, 0, 0);
    for seed in 0..SEEDS {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let calm = store(objects.clone());
        calm.create(creation()).await.expect("nothing is there");
        let epoch = calm
            .take_lease(request("ada", None))
            .await
            .expect("it is free")
            .epoch;
        let first = AppendRequest {
            epoch,
            expected_sequence: 1,
            events: events(2, epoch, [lease_taken()]),
        };
        calm.append(first).await.expect("it fits");
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let store = faulty(&objects, seed * 100 + writer);
                tokio::spawn(async move {
                    let mut outcomes = BTreeMap::new();
                    for round in 1..=12 {
                        let number = writer * 100 + round;
                        let Ok(loaded) = store.load().await else { continue };
                        let serial = loaded.head.sequence;
                        let body = create(number, number, &format!("r{number}"));
                        let appended = store
                            .append(AppendRequest {
                                epoch,
                                expected_sequence: serial,
                                events: events(serial + 1, epoch, [body]),
                            })
                            .await;
                        outcomes.insert(number, outcome(&appended));
                    }
                    outcomes
                })
            })
            .collect();
        let mut outcomes = BTreeMap::new();
        for writer in writers {
            outcomes.append(&mut writer.await.expect("no panic"));
        }
        let logged = logged(&objects, seed).await;
        check(seed, &logged, &outcomes);
        for outcome in outcomes.values() {
            match outcome {
                Outcome::Acknowledged => acknowledged += 1,
                Outcome::Refused => refused += 1,
                Outcome::Unclear => unclear += 1,
            }
        }
    }
    assert!(
        acknowledged > 400 && refused > 100 && unclear > 5,
        "{acknowledged} acknowledged, {refused} refused, {unclear} unclear"
    );
}

#[tokio::test(start_paused = true)]
async fn holders_that_replace_each_other_never_write_under_a_lost_lease() {
    let mut granted = 0;
    for seed in 0..SEEDS {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        store(objects.clone())
            .create(creation())
            .await
            .expect("nothing is there");
        let holders: Vec<_> = (0..3)
            .map(|writer| {
                let store = faulty(&objects, seed * 1000 + writer);
                tokio::spawn(async move { hold_again_and_again(&store, writer).await })
            })
            .collect();
        let mut outcomes = BTreeMap::new();
        let mut epochs = Vec::new();
        for held in holders {
            let (mut of_one, mut epochs_of_one) = held.await.expect("no panic");
            outcomes.append(&mut of_one);
            epochs.append(&mut epochs_of_one);
        }
        let logged = logged(&objects, seed).await;
        check(seed, &logged, &outcomes);
        granted += epochs.len();
        epochs.sort_unstable();
        let count = epochs.len();
        epochs.dedup();
        assert_eq!(epochs.len(), count, "seed {seed}: an epoch was granted twice");
    }
    assert!(granted > 300, "{granted} granted");
}

async fn hold_again_and_again(store: &ObjectStateStore, writer: u64) -> (BTreeMap<u64, Outcome>, Vec<u64>) {
    let mut outcomes = BTreeMap::new();
    let mut epochs = Vec::new();
    for round in 0..6 {
        // Whoever holds it is taken for dead, which they are not.
        let seen = match store.lease().await {
            Ok(seen) => seen.map(|view| view.seen()),
            Err(_) => continue,
        };
        let taken = store.take_lease(request(&format!("writer {writer}"), seen)).await;
        outcome(&taken);
        let Ok(grant) = taken else { continue };
        epochs.push(grant.epoch);
        for step in 0..3 {
            let number = writer * 100 + round * 10 + step + 1;
            let Ok(loaded) = store.load().await else { break };
            let serial = loaded.head.sequence;
            let body = create(number, number, &format!("r{number}"));
            let announced = loaded.state.epoch == grant.epoch;
            let mut bodies = vec![body];
            if !announced {
                bodies.insert(0, lease_taken());
            }
            let appended = store
                .append(AppendRequest {
                    epoch: grant.epoch,
                    expected_sequence: serial,
                    events: events(serial + 1, grant.epoch, bodies),
                })
                .await;
            outcomes.insert(number, outcome(&appended));
            let renewed = store
                .renew(grant.epoch, Duration::from_secs(30), jiff::Timestamp::UNIX_EPOCH)
                .await;
            outcome(&renewed);
            if appended.is_err() {
                break;
            }
        }
        if round % 2 == 0 {
            outcome(&store.release(grant.epoch).await);
        }
    }
    (outcomes, epochs)
}

#[tokio::test(start_paused = true)]
async fn creating_at_once_with_faults_leaves_one_log() {
    for seed in 0..SEEDS {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let creators: Vec<_> = (0..3)
            .map(|writer| {
                let store = faulty(&objects, seed * 100 + writer);
                tokio::spawn(async move { outcome(&store.create(creation()).await) })
            })
            .collect();
        let mut acknowledged = 0;
        for creator in creators {
            acknowledged += usize::from(creator.await.expect("no panic") == Outcome::Acknowledged);
        }
        assert!(acknowledged <= 1, "seed {seed}: {acknowledged} created it");
        match store(objects.clone()).load().await {
            Ok(loaded) => assert_eq!(loaded.head.sequence, 1, "seed {seed}"),
            // Nobody got so far; what was left by them is in nobody's way.
            Err(StoreError::NotFound { .. }) => {
                assert_eq!(acknowledged, 0, "seed {seed}");
                store(objects.clone())
                    .create(creation())
                    .await
                    .expect("nothing is there");
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
}
