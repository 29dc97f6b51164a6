//! The suites that every store passes, with plain content and with sealed content.

use gabion_engine::state::envelope::{Envelope, StoreKey};
use gabion_testing::store_adopt::check_adoption;
use gabion_testing::store_conformance::check_store;

use crate::place::Place;

#[tokio::test(flavor = "multi_thread")]
async fn the_store_does_what_stores_do() {
    let place = Place::new();
    check_store(|| place.beside()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_adopted_as_stores_do() {
    let place = Place::new();
    check_adoption(|| place.beside()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_does_both_with_sealed_content() {
    let mut place = Place::new();
    place.envelope = Envelope::new(StoreKey::new([7; 32]), []);
    check_store(|| place.beside()).await;
    check_adoption(|| place.beside()).await;
}

/// The tables are made by whoever comes first, and everybody else waits for them.
#[tokio::test(flavor = "multi_thread")]
async fn projects_are_created_in_a_new_schema_at_once() {
    let place = Place::new();
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            // Two of each.
            let mut place = place.beside();
            place.project = format!("project-{}", number / 2);
            tokio::spawn(async move {
                use gabion_engine::state::StateStore;
                place
                    .store()
                    .create(gabion_testing::store_events::creation())
                    .await
            })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(_) => created += 1,
            Err(error) => assert!(
                matches!(error, gabion_engine::state::StoreError::Exists { .. }),
                "{error:?}"
            ),
        }
    }
    assert_eq!(created, 4);
}
