//! The SQLite store with an encryption key: what it hides, what it refuses, and how keys change.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use gabion_engine::state::envelope::{Envelope, StoreKey};
use gabion_engine::state::event::EventBody;
use gabion_engine::state::store::{AppendRequest, LeaseRequest};
use gabion_engine::state::verify::verify;
use gabion_engine::state::{SqliteStore, State, StateStore, StoreError};
use gabion_testing::store_events::{create, creation, events, holder, lease_taken, succeeded};
use rusqlite::Connection;

/// Is in the name and the id of every object that the tests make.
const WORD: &str = "marmalade";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state.db")
    }

    fn open(&self, envelope: &Envelope) -> SqliteStore {
        SqliteStore::sealed_at(self.path(), envelope.clone())
    }
}

fn key(number: u8) -> StoreKey {
    StoreKey::new([number; 32])
}

fn sealing(number: u8) -> Envelope {
    Envelope::new(key(number), [])
}

async fn take_lease(store: &SqliteStore) -> u64 {
    let request = LeaseRequest {
        holder: holder("ada"),
        length: Duration::from_secs(30),
        at: creation().at,
        replaces: None,
    };
    store.take_lease(request).await.unwrap().epoch
}

async fn append(store: &SqliteStore, epoch: u64, bodies: Vec<EventBody>) {
    let sequence = store.load().await.unwrap().head.sequence;
    let request = AppendRequest {
        epoch,
        expected_sequence: sequence,
        events: events(sequence + 1, epoch, bodies),
    };
    store.append(request).await.unwrap();
}

/// Makes a state with objects from one number to another, and returns the epoch of its lease, which is held.
async fn fill(store: &SqliteStore, numbers: std::ops::Range<u64>) -> u64 {
    store.create(creation()).await.unwrap();
    let epoch = take_lease(store).await;
    append(store, epoch, vec![lease_taken()]).await;
    for n in numbers {
        append(store, epoch, vec![create(n, n, &format!("{WORD}{n}"))]).await;
        append(store, epoch, vec![succeeded(n, &format!("id-{WORD}-{n}"), 1)]).await;
    }
    // With this the records have all of the log in them.
    append(store, epoch, vec![EventBody::LeaseReleased]).await;
    epoch
}

/// Returns the files of the state that hold a word.
fn holding(path: &Path, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        if bytes.windows(word.len()).any(|part| part == word.as_bytes()) {
            found.push(entry.file_name().into_string().unwrap());
        }
    }
    found
}

async fn load(store: &SqliteStore) -> State {
    store.load().await.unwrap().state
}

#[tokio::test]
async fn nothing_that_is_recorded_can_be_read_in_the_files() {
    let place = Place::new();
    let store = place.open(&sealing(1));
    fill(&store, 1..4).await;
    for word in [WORD, "gabion_data", "tests", "creating"] {
        assert_eq!(holding(&place.path(), word), Vec::<String>::new(), "{word}");
    }
    // Nothing hides it either without a key, or this test would show nothing.
    let plain = Place::new();
    let store = plain.open(&Envelope::plain());
    fill(&store, 1..4).await;
    assert!(!holding(&plain.path(), WORD).is_empty());
}

#[tokio::test]
async fn without_its_key_a_state_is_never_an_empty_one() {
    let place = Place::new();
    fill(&place.open(&sealing(1)), 1..3).await;
    for envelope in [Envelope::plain(), sealing(2)] {
        let store = place.open(&envelope);
        let errors = [
            store.load().await.err(),
            store.base().await.err(),
            store.events(0, 10).await.err(),
            verify(&store).await.err(),
        ];
        for (n, error) in errors.into_iter().enumerate() {
            // There is no base before anything was compacted.
            let Some(error) = error else {
                assert_eq!(n, 1);
                continue;
            };
            assert!(matches!(error, StoreError::MissingKey { .. }), "{error}");
            let (text, hint) = (error.to_string(), error.hint().unwrap());
            assert!(text.contains(&key(1).id()) && text.contains("state.db"), "{text}");
            assert!(hint.contains("gabion.yml") && hint.contains("previous"), "{hint}");
        }
        assert!(matches!(
            store.create(creation()).await,
            Err(StoreError::Exists { .. })
        ));
    }
    assert_eq!(load(&place.open(&sealing(1))).await.len(), 2);
}

#[tokio::test]
async fn a_plain_state_is_encrypted_and_leaves_nothing_readable_behind() {
    let place = Place::new();
    let plain = place.open(&Envelope::plain());
    // More than one piece of the work.
    let epoch = fill(&plain, 1..301).await;
    plain.compact(epoch, 20).await.unwrap();
    let before = load(&plain).await;
    assert!(!holding(&place.path(), WORD).is_empty());

    let store = place.open(&sealing(1));
    // What is written from now on is encrypted, what was there is read.
    append(&store, epoch, vec![create(999, 999, "hazelnut")]).await;
    assert_eq!(holding(&place.path(), "hazelnut"), Vec::<String>::new());
    let lost = store.reseal(epoch + 1).await;
    assert!(matches!(lost, Err(StoreError::LostLease { .. })), "{lost:?}");
    assert!(store.reseal(epoch).await.unwrap() > 800);
    assert_eq!(store.reseal(epoch).await.unwrap(), 0);
    assert_eq!(holding(&place.path(), WORD), Vec::<String>::new());
    assert_eq!(holding(&place.path(), "gabion_data"), Vec::<String>::new());

    let after = load(&place.open(&sealing(1))).await;
    assert_eq!(after.serial, before.serial + 1);
    let found = verify(&store).await.unwrap();
    assert_eq!((found.damage, found.records), (Vec::new(), 301));
    append(&store, epoch, vec![succeeded(999, "id", 1)]).await;
}

#[tokio::test]
async fn a_reader_of_an_earlier_state_is_waited_for_and_the_rest_done_later() {
    let place = Place::new();
    let epoch = fill(&place.open(&Envelope::plain()), 1..20).await;
    let mut reader = Connection::open(place.path()).unwrap();
    let reading = reader.transaction().unwrap();
    reading
        .query_row("SELECT count(*) FROM events", [], |row| row.get::<_, u64>(0))
        .unwrap();
    let store = place.open(&sealing(1)).patient_for(Duration::from_millis(50));
    let busy = store.reseal(epoch).await;
    assert!(matches!(busy, Err(StoreError::Busy { .. })), "{busy:?}");
    drop(reading);
    assert_eq!(store.reseal(epoch).await.unwrap(), 0);
    assert_eq!(holding(&place.path(), WORD), Vec::<String>::new());
}

#[tokio::test]
async fn keys_change_and_the_old_one_opens_nothing_any_more() {
    let place = Place::new();
    let old = place.open(&sealing(1));
    let epoch = fill(&old, 1..30).await;
    let state = load(&old).await;
    let rotating = place.open(&Envelope::new(key(2), [key(1)]));
    assert_eq!(load(&rotating).await, state);
    append(&rotating, epoch, vec![create(99, 99, "late")]).await;
    // Half-way the new key alone is not enough, and the error names the other one.
    let half = place.open(&sealing(2)).load().await.unwrap_err();
    assert!(matches!(&half, StoreError::MissingKey { key: missing, .. } if *missing == key(1).id()));
    rotating.reseal(epoch).await.unwrap();
    assert_eq!(load(&place.open(&sealing(2))).await.len(), 30);
    let found = verify(&place.open(&sealing(2))).await.unwrap();
    assert_eq!(found.damage, Vec::<String>::new());
    assert!(matches!(
        place.open(&sealing(1)).load().await,
        Err(StoreError::MissingKey { .. })
    ));
}

#[tokio::test]
async fn content_that_changed_its_place_does_not_open() {
    for swap in [
        "UPDATE events SET body = (SELECT body FROM events WHERE sequence = 4) WHERE sequence = 3",
        "UPDATE records SET body = (SELECT body FROM records ORDER BY uid LIMIT 1)",
    ] {
        let place = Place::new();
        fill(&place.open(&sealing(1)), 1..3).await;
        Connection::open(place.path()).unwrap().execute(swap, []).unwrap();
        let said = match verify(&place.open(&sealing(1))).await {
            Ok(found) => found.damage.join("\n"),
            Err(error) => error.to_string(),
        };
        assert!(said.contains("it was altered"), "{swap}: {said}");
    }
}
