//! Upkeep that fails: the appends succeed, and whoever asks later hears of it until it was done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gabion_engine::state::verify::verify;
use gabion_testing::objects::{FaultyObjects, ObjectFault, Request};
use gabion_testing::store_conformance::StorePlace;
use gabion_testing::store_events::creation;
use object_store::path::Path;

use crate::memory::{Memory, small};
use crate::sweep::{append, taken};

/// Objects of which some requests are refused as long as the switch is on.
fn refusing(what: impl Fn(Request, &Path) -> bool + Send + Sync + 'static) -> (Memory, Arc<AtomicBool>) {
    let mut memory = Memory::new(small());
    let on = Arc::new(AtomicBool::new(true));
    let switch = on.clone();
    let refusing = FaultyObjects::new(memory.objects.clone(), move |request, path| {
        if switch.load(Ordering::Relaxed) && what(request, path) {
            ObjectFault::Before
        } else {
            ObjectFault::None
        }
    });
    memory.objects = Arc::new(refusing);
    (memory, on)
}

async fn run(memory: &Memory, serials: std::ops::Range<u64>) {
    let store = memory.open();
    let epoch = taken(&*store).await;
    append(&*store, epoch, serials).await;
    store.release(epoch).await.expect("it holds the lease");
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_deleted_is_told_until_it_was() {
    let (memory, refuses) = refusing(|request, _| request == Request::Delete);
    refuses.store(false, Ordering::Relaxed);
    memory.open().create(creation()).await.expect("nothing is there");
    refuses.store(true, Ordering::Relaxed);
    assert_eq!(memory.open().warnings().await.expect("it can be read"), []);
    run(&memory, 1..40).await;
    let found = verify(&*memory.open()).await.expect("it can be read");
    assert_eq!(found.damage, Vec::<String>::new());
    let [warning] = found.warnings.as_slice() else {
        panic!("{:?}", found.warnings)
    };
    assert!(
        warning
            .what
            .starts_with("Objects that nothing refers to any more could not be deleted: deleting failed")
    );
    assert!(
        (2..40).contains(&warning.serial) && warning.since.is_some(),
        "{warning:?}"
    );
    assert!(warning.hint.contains("s3:DeleteObject"), "{}", warning.hint);
    // It is the first failure that is told, also by later runs.
    run(&memory, 40..60).await;
    let later = memory.open().warnings().await.expect("it can be read");
    assert_eq!(later.first().map(|later| later.serial), Some(warning.serial));
    // A run for which nothing else is due tries it again.
    refuses.store(false, Ordering::Relaxed);
    run(&memory, 60..61).await;
    assert_eq!(memory.open().warnings().await.expect("it can be read"), []);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_cannot_be_written_is_told() {
    let (memory, _refuses) =
        refusing(|request, path| request == Request::Put && path.as_ref().contains("/snapshots/"));
    memory.open().create(creation()).await.expect("nothing is there");
    run(&memory, 1..40).await;
    let warnings = memory.open().warnings().await.expect("it can be read");
    let what: Vec<&str> = warnings.iter().map(|warning| &*warning.what).collect();
    assert!(
        matches!(what.as_slice(), [what] if what.starts_with("No new snapshot could be written: ")),
        "{what:?}"
    );
    assert_eq!(
        memory.open().load().await.expect("it can be read").head.sequence,
        40
    );
}
