//! Objects move from one log to another, and an attempt that was interrupted is finished by the next one. A log is
//! written to a file and read back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gabion_engine::address::{IdSource, RandomIds, ResourceAddress, RunId};
use gabion_engine::state::clock::StoppedClock;
use gabion_engine::state::copy::LogCopy;
use gabion_engine::state::event::{Destination, EventBody};
use gabion_engine::state::lease::HeartbeatMode;
use gabion_engine::state::log_file::{self, LogFileError};
use gabion_engine::state::process::Processes;
use gabion_engine::state::record::{Dependency, Record};
use gabion_engine::state::transfer::{Transfer, TransferError, transfer};
use gabion_engine::state::verify::verify;
use gabion_engine::state::{Journal, JournalOptions, MemoryStore, StateStore};
use gabion_testing::store_events::{address, create, delete, holder, succeeded, uid};

async fn journal(store: &Arc<dyn StateStore>) -> Journal {
    let options = JournalOptions {
        project: "tests".into(),
        holder: holder("ada"),
        run: RunId::from_uuid(RandomIds.next()),
        lease_length: Duration::from_secs(30),
        lock_timeout: Duration::ZERO,
        heartbeat: HeartbeatMode::Task,
        processes: Processes::default(),
        key: None,
        head_mark: None,
        lineage: None,
        clock: Arc::new(StoppedClock::default()),
        ids: Arc::new(RandomIds),
    };
    Journal::open(store.clone(), options).await.unwrap()
}

/// Two logs, the first with `a`, `b` that depends on it, and `c`.
async fn logs() -> [Arc<dyn StateStore>; 2] {
    let stores: [Arc<dyn StateStore>; 2] = [Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new())];
    let first = journal(&stores[0]).await;
    for (number, name) in [(1, "a"), (2, "b"), (3, "c")] {
        let mut body = create(number, number, name);
        if let (EventBody::Intent(intent), "b") = (&mut body, name) {
            Arc::make_mut(intent.declaration.as_mut().unwrap()).dependencies = vec![Dependency {
                address: address("a"),
                uid: Some(uid(1)),
            }];
        }
        first
            .commit(vec![body, succeeded(number, &format!("id-{name}"), 1)])
            .await
            .unwrap();
    }
    first.close().await.unwrap();
    journal(&stores[1]).await.close().await.unwrap();
    stores
}

fn named(names: &[&str]) -> BTreeSet<ResourceAddress> {
    names.iter().map(|name| address(name)).collect()
}

async fn go(stores: &[Arc<dyn StateStore>; 2], names: &[&str]) -> Result<usize, TransferError> {
    let (source, target) = (journal(&stores[0]).await, journal(&stores[1]).await);
    let addresses = named(names);
    let moved = transfer(
        &source,
        &target,
        &Transfer {
            addresses: &addresses,
            stack: "live".into(),
        },
    )
    .await;
    target.close().await.unwrap();
    source.close().await.unwrap();
    moved
}

async fn moved(stores: &[Arc<dyn StateStore>; 2]) {
    let [from, to] = [
        stores[0].load().await.unwrap().state,
        stores[1].load().await.unwrap().state,
    ];
    assert_eq!(from.current_records().count(), 1);
    assert!(from.leaving.is_empty());
    let there = to.current(&address("b")).unwrap();
    assert_eq!(there.uid, uid(2));
    assert_eq!(there.declaration.dependencies[0].uid, Some(uid(1)));
    for store in stores {
        let found = verify(&**store).await.unwrap();
        assert!(found.damage.is_empty() && found.notes.is_empty(), "{found:?}");
    }
}

#[tokio::test]
async fn what_belongs_together_moves_together() {
    let stores = logs().await;
    for names in [&["a"][..], &["b"], &["a", "c"]] {
        match go(&stores, names).await {
            Err(TransferError::Refused(refused)) => {
                let hint = refused.hint.unwrap();
                assert!(hint.contains("gabion_data.a gabion_data.b"), "{hint}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(go(&stores, &["a", "b"]).await.unwrap(), 2);
    moved(&stores).await;
    // Again finds it done.
    assert_eq!(go(&stores, &["a", "b"]).await.unwrap(), 2);
    moved(&stores).await;
    assert!(go(&stores, &["d"]).await.is_err());
}

#[tokio::test]
async fn what_was_interrupted_is_finished() {
    for taken in [false, true] {
        let stores = logs().await;
        let source = journal(&stores[0]).await;
        let target = journal(&stores[1]).await;
        let to = Destination {
            lineage: target.state().lineage.unwrap(),
            stack: "live".into(),
        };
        let uids = vec![uid(1), uid(2)];
        source
            .commit(vec![EventBody::Leaving { uids, to }])
            .await
            .unwrap();
        // On its way it is nobody's to change.
        let refused = source.commit(vec![delete(9, 1, "a")]).await;
        assert!(refused.is_err(), "{refused:?}");
        if taken {
            let records = [1, 2].map(|number| source.state().record(uid(number)).cloned().unwrap());
            let events = records.map(|record: Record| EventBody::Imported {
                record: Box::new(record),
            });
            target.commit(events.into()).await.unwrap();
        }
        target.close().await.unwrap();
        source.close().await.unwrap();
        go(&stores, &["a", "b"]).await.unwrap();
        moved(&stores).await;
    }
}

#[tokio::test]
async fn what_the_target_does_not_take_stays() {
    let stores = logs().await;
    let target = journal(&stores[1]).await;
    target
        .commit(vec![create(7, 7, "a"), succeeded(7, "other", 1)])
        .await
        .unwrap();
    let to = Destination {
        lineage: target.state().lineage.unwrap(),
        stack: "live".into(),
    };
    target.close().await.unwrap();
    let source = journal(&stores[0]).await;
    let uids = vec![uid(1), uid(2)];
    source
        .commit(vec![EventBody::Leaving { uids, to }])
        .await
        .unwrap();
    source.close().await.unwrap();
    match go(&stores, &["a", "b"]).await {
        Err(TransferError::Refused(refused)) => assert_eq!(refused.summary, "address taken"),
        other => panic!("{other:?}"),
    }
    let state = stores[0].load().await.unwrap().state;
    assert!(state.leaving.is_empty());
    assert_eq!(state.len(), 3);
}

#[tokio::test]
async fn a_log_comes_back_from_its_file() {
    let [store, _] = logs().await;
    for compacted in [0, 4] {
        let writer = journal(&store).await;
        store.compact(writer.epoch(), compacted).await.unwrap();
        writer.close().await.unwrap();
        let log = LogCopy::read(&*store, 9).await.unwrap();
        let text = log_file::write(&log);
        let back = log_file::read(&text).unwrap();
        assert_eq!((back.state(), back.events()), (log.state(), log.events()));
        assert_eq!((back.base(), back.epoch()), (log.base(), 9));
        let altered = String::from_utf8(text).unwrap();
        for (from, to) in [("id-a", "id-x"), ("\"serial\": ", "\"serial\": 1")] {
            let altered = altered.replace(from, to);
            assert!(log_file::read(altered.as_bytes()).is_err(), "{from}");
        }
        let newer = altered.replace("\"format_version\": 2", "\"format_version\": 3");
        assert!(matches!(
            log_file::read(newer.as_bytes()),
            Err(LogFileError::Newer { found: 3 })
        ));
    }
}
