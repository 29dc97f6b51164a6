//! What somebody changed in the tables is noticed and named, and never believed.

use std::time::Duration;

use gabion_engine::state::clock::StoppedClock;
use gabion_engine::state::envelope::{Envelope, StoreKey};
use gabion_engine::state::event::EventBody;
use gabion_engine::state::store::{AppendRequest, LeaseRequest};
use gabion_engine::state::verify::verify;
use gabion_engine::state::{Clock, FORMAT_VERSION, Head, StateStore, StoreError};
use gabion_testing::store_events::{create, creation, events, holder, lease_taken, succeeded};

use crate::place::Place;

pub(crate) async fn take(store: &dyn StateStore) -> u64 {
    let request = LeaseRequest {
        holder: holder("ada"),
        length: Duration::from_secs(30),
        at: StoppedClock::default().now(),
        replaces: None,
    };
    store.take_lease(request).await.expect("it is free").epoch
}

pub(crate) async fn append(
    store: &dyn StateStore,
    epoch: u64,
    after: u64,
    bodies: impl IntoIterator<Item = EventBody>,
) -> Result<Head, StoreError> {
    store
        .append(AppendRequest {
            epoch,
            expected_sequence: after,
            events: events(after + 1, epoch, bodies),
        })
        .await
}

/// Makes a log of ten events with four records, of which one went again and one was compacted.
async fn filled(place: &Place) -> u64 {
    let store = place.store();
    store.create(creation()).await.expect("nothing is there");
    let epoch = take(&store).await;
    let bodies = [
        lease_taken(),
        create(1, 1, "a"),
        create(2, 2, "b"),
        create(3, 3, "c"),
        create(4, 4, "d"),
        succeeded(1, "id-1", 1),
        succeeded(2, "id-2", 2),
        succeeded(3, "id-3", 3),
        EventBody::Forgotten {
            uid: gabion_testing::store_events::uid(3),
        },
    ];
    append(&store, epoch, 1, bodies).await.expect("it fits");
    assert_eq!(store.compact(epoch, 3).await.expect("it holds the lease"), 3);
    epoch
}

#[tokio::test]
async fn what_was_altered_is_named() {
    let damages = [
        (
            "UPDATE {s}.events SET body = replace(convert_from(body, 'utf8'), 'id-2', 'id-9')::bytea",
            "event",
        ),
        (
            "UPDATE {s}.events SET hash = 'x' WHERE sequence = 10",
            "{s}.events",
        ),
        ("DELETE FROM {s}.events WHERE sequence = 10", "{s}.events"),
        ("DELETE FROM {s}.events", "{s}.events"),
        (
            "UPDATE {s}.events SET sequence = 11 WHERE sequence = 10",
            "{s}.events",
        ),
        ("DELETE FROM {s}.records WHERE uid LIKE '%1'", "{s}.records"),
        (
            "UPDATE {s}.records SET body = replace(convert_from(body, 'utf8'), 'id-2', 'id-9')::bytea",
            "{s}.records",
        ),
        (
            "UPDATE {s}.records SET body = 'x' WHERE uid LIKE '%1'",
            "record 00000000-0000-0001-0000-000000000001",
        ),
        ("UPDATE {s}.logs SET sequence = 9", "`tests`"),
        ("UPDATE {s}.logs SET epoch = 7", "`tests`"),
        ("UPDATE {s}.logs SET chain = 'x'", "`tests`"),
        ("UPDATE {s}.logs SET records = 2", "`tests`"),
        ("UPDATE {s}.logs SET digest = '\\x00'", "`tests`"),
        ("UPDATE {s}.logs SET parts = '{}'", "`tests`"),
        ("UPDATE {s}.bases SET body = '{}'", "base 3"),
        ("UPDATE {s}.bases SET chain = 'x'", "base 3"),
        ("UPDATE {s}.leases SET holder = '{'", "{s}.leases"),
        ("DELETE FROM {s}.leases", "{s}.leases"),
        ("DROP TABLE {s}.bases", "bases"),
        ("DELETE FROM {s}.format", "{s}.format"),
    ];
    for (damage, named) in damages {
        let place = Place::new();
        filled(&place).await;
        place.execute(damage).await;
        let store = place.store();
        let mut found = Vec::new();
        for error in [
            store.load().await.err(),
            store.base().await.err(),
            store.lease().await.err(),
            store.events(0, 100).await.err(),
        ]
        .into_iter()
        .flatten()
        {
            assert!(
                matches!(error, StoreError::Unreadable { .. }),
                "{damage}: {error:?}"
            );
            found.push(error.to_string());
        }
        if found.is_empty() {
            found = verify(&store).await.expect("it can be read").damage;
        }
        let named = named.replace("{s}", &place.schema);
        assert!(
            found.iter().any(|found| found.contains(&named)),
            "{damage}: {found:?}"
        );
    }
}

#[tokio::test]
async fn a_damaged_log_is_not_written_to() {
    let place = Place::new();
    let epoch = filled(&place).await;
    place
        .execute("UPDATE {s}.records SET body = 'x' WHERE uid LIKE '%1'")
        .await;
    let refused = append(&place.store(), epoch, 10, [succeeded(4, "id-4", 4)]).await;
    assert!(
        matches!(refused, Err(StoreError::Unreadable { .. })),
        "{refused:?}"
    );
    place.execute("DELETE FROM {s}.logs").await;
    let gone = place.store().load().await;
    assert!(matches!(gone, Err(StoreError::NotFound { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_newer_format_is_refused_by_everything() {
    for (newer, version) in [
        ("UPDATE {s}.logs SET format = format + 1", FORMAT_VERSION + 1),
        // That of the tables.
        ("UPDATE {s}.format SET version = version + 1", 2),
    ] {
        let place = Place::new();
        let epoch = filled(&place).await;
        // One that was open all along, and one that is opened now.
        let stores = [place.store(), place.store()];
        stores[0].load().await.expect("it is there");
        place.execute(newer).await;
        for store in &stores[usize::from(newer.contains("version"))..] {
            let at = StoppedClock::default().now();
            let refused = [
                store.load().await.err(),
                store.events(0, 1).await.err(),
                store.base().await.err(),
                store.lease().await.err(),
                store.compact(epoch, 5).await.err(),
                store.reseal(epoch).await.err(),
                store.renew(epoch, Duration::from_secs(1), at).await.err(),
                store.release(epoch).await.err(),
                append(store, epoch, 10, [succeeded(4, "id-4", 4)]).await.err(),
            ];
            for error in refused {
                assert!(
                    matches!(error, Some(StoreError::NewerFormat { found, .. }) if found == version),
                    "{newer}: {error:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn sealed_content_needs_its_key_and_can_be_sealed_again() {
    let old = Envelope::new(StoreKey::new([1; 32]), []);
    let both = Envelope::new(StoreKey::new([2; 32]), [StoreKey::new([1; 32])]);
    let new = Envelope::new(StoreKey::new([2; 32]), []);
    let plain = Place::new();
    let with = |envelope: &Envelope| {
        let mut place = Place::at(plain.url.clone());
        (place.schema, place.envelope) = (plain.schema.clone(), envelope.clone());
        place
    };
    let epoch = filled(&plain).await;
    let before = plain.store().load().await.expect("it is there");
    // Seven events, three records, the parts and the base: sealed, under another key, and plain again.
    assert_eq!(
        with(&old)
            .store()
            .reseal(epoch)
            .await
            .expect("it holds the lease"),
        12
    );
    assert_eq!(
        with(&old)
            .store()
            .reseal(epoch)
            .await
            .expect("it holds the lease"),
        0
    );
    match plain.store().load().await {
        Err(StoreError::MissingKey { key, .. }) => assert_eq!(Some(key), old.key_id()),
        other => panic!("{other:?}"),
    }
    let store = with(&both).store();
    let loaded = store.load().await.expect("both keys are given");
    assert_eq!(loaded, before);
    // The session that knows the state writes on after it was sealed again.
    assert_eq!(store.reseal(epoch).await.expect("it holds the lease"), 12);
    append(&store, epoch, 10, [succeeded(4, "id-4", 4)])
        .await
        .expect("it fits");
    let store = with(&new).store();
    assert_eq!(store.load().await.expect("its key is given").head.sequence, 11);
    assert_eq!(
        verify(&store).await.expect("it can be read").damage,
        Vec::<String>::new()
    );
    let refused = store.reseal(epoch + 1).await;
    assert!(
        matches!(refused, Err(StoreError::LostLease { .. })),
        "{refused:?}"
    );
    // Content that was put in another place does not open.
    plain
        .execute("UPDATE {s}.records SET body = (SELECT body FROM {s}.records WHERE uid LIKE '%2') WHERE uid LIKE '%1'")
        .await;
    let moved = with(&new).store().load().await;
    assert!(matches!(moved, Err(StoreError::Unreadable { .. })), "{moved:?}");
}
