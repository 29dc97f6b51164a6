//! Encrypting a plain state, and changing its key.

use futures_util::TryStreamExt;
use gabion_engine::state::envelope::{Envelope, StoreKey};
use gabion_engine::state::store::{AppendRequest, LeaseRequest};
use gabion_engine::state::{StateStore, StoreError};
use gabion_testing::store_conformance::StorePlace;
use gabion_testing::store_events::{create, creation, events, holder, lease_taken};
use object_store::ObjectStoreExt;

use crate::memory::{Memory, small};

/// Returns how many objects hold this text, and how many hold events or states at all.
async fn holding(memory: &Memory, text: &str) -> (usize, usize) {
    let listed: Vec<_> = memory
        .objects
        .list(None)
        .try_collect()
        .await
        .expect("it can be listed");
    let (mut with, mut all) = (0, 0);
    for meta in listed {
        let name = meta.location.to_string();
        if !name.contains("/segments/") && !name.contains("/snapshots/") {
            continue;
        }
        let bytes = memory.objects.get(&meta.location).await.expect("it is there");
        let bytes = bytes.bytes().await.expect("it can be read");
        all += 1;
        with += usize::from(bytes.windows(text.len()).any(|window| window == text.as_bytes()));
    }
    (with, all)
}

async fn taken(store: &dyn StateStore) -> u64 {
    let request = LeaseRequest {
        holder: holder("ada"),
        length: std::time::Duration::from_secs(30),
        at: jiff::Timestamp::UNIX_EPOCH,
        replaces: None,
    };
    store.take_lease(request).await.expect("it is free").epoch
}

#[tokio::test]
async fn a_plain_state_is_encrypted_and_changes_its_key() {
    let mut memory = Memory::new(small());
    let store = memory.open();
    store.create(creation()).await.expect("nothing is there");
    let epoch = taken(&*store).await;
    for number in 1..=60 {
        let body = match number {
            1 => lease_taken(),
            _ => create(number, number, &format!("r{number}")),
        };
        let request = AppendRequest {
            epoch,
            expected_sequence: number,
            events: events(number + 1, epoch, [body]),
        };
        store.append(request).await.expect("it fits");
    }
    store.compact(epoch, 7).await.expect("it holds the lease");
    store.release(epoch).await.expect("it holds the lease");
    let expected = store.load().await.expect("it can be read");
    let history = store.events(0, 1000).await.expect("it can be read");
    let (plain, all) = holding(&memory, "gabion_data").await;
    assert!(plain == all && all > 4, "{plain} of {all}");

    let key = |byte| StoreKey::new([byte; 32]);
    for (envelope, closed) in [
        (Envelope::new(key(1), []), Envelope::plain()),
        (Envelope::new(key(2), [key(1)]), Envelope::new(key(1), [])),
    ] {
        memory.options.envelope = envelope;
        let store = memory.open();
        // What writers of earlier epochs left can be deleted: they can do nothing with it any more.
        let epoch = taken(&*store).await;
        let lost = store.reseal(epoch + 1).await;
        assert!(matches!(lost, Err(StoreError::LostLease { .. })), "{lost:?}");
        let sealed = store.reseal(epoch).await.expect("it holds the lease");
        assert!(sealed as usize >= all / 2, "{sealed} of {all}");
        assert_eq!(store.reseal(epoch).await.expect("it holds the lease"), 0);
        let elsewhere = memory.open();
        assert_eq!(elsewhere.load().await.expect("it can be read"), expected);
        assert_eq!(elsewhere.events(0, 1000).await.expect("it can be read"), history);
        assert_eq!(holding(&memory, "gabion_data").await.0, 0);
        store.release(epoch).await.expect("it holds the lease");
        let opener = std::mem::replace(&mut memory.options.envelope, closed);
        let error = memory.open().load().await.expect_err("its key is missing");
        let text = error.to_string();
        assert!(matches!(error, StoreError::MissingKey { .. }), "{text}");
        assert!(text.contains(&opener.key_id().expect("it seals")), "{text}");
        memory.options.envelope = opener;
    }
}
