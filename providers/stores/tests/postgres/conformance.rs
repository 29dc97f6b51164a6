//! The suite that every store passes, with plain content and with sealed content.

use gabion_engine::state::envelope::{Envelope, StoreKey};
use gabion_testing::store_conformance::check_store;

use crate::place::Place;

#[tokio::test(flavor = "multi_thread")]
async fn the_store_does_what_stores_do() {
    check_store(Place::new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_does_so_with_sealed_content() {
    check_store(|| Place {
        envelope: Envelope::new(StoreKey::new([7; 32]), []),
        ..Place::new()
    })
    .await;
}
