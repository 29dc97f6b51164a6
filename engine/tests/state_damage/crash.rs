//! Files as crashes leave them: between commits, and in the middle of a checkpoint.

use gabion_engine::state::envelope::Envelope;
use gabion_testing::store_events::{create, succeeded};

use crate::support::{Bench, PAGE, Writer, block_on, for_each};

#[test]
fn a_crash_between_commits_loses_nothing() {
    block_on(async {
        let mut writer = Writer::new(Envelope::plain()).await;
        for n in 1..30 {
            writer.commit(vec![create(n, n, &format!("r{n}"))]).await;
            writer.commit(vec![succeeded(n, "id", 1)]).await;
            if n % 7 == 0 {
                writer.checkpoint();
            }
            let files = writer.crash().await;
            let bench = Bench::new(&files.known);
            bench.lay(Some(&files.database), Some(&files.log));
            let seen = bench.look(&format!("after {n} objects")).await;
            assert_eq!(seen.whole, 1, "after {n} objects");
        }
    });
}

/// A checkpoint writes pages into the database; what was written when it was cut off is told by nobody.
#[test]
fn a_checkpoint_cut_off_at_any_page_loses_nothing_while_its_log_is_there() {
    let (before, after) = block_on(async {
        let mut writer = Writer::new(Envelope::plain()).await;
        writer.work(1, 4).await;
        writer.checkpoint();
        writer.work(4, 6).await;
        let before = writer.crash().await;
        writer.checkpoint();
        (before, writer.crash().await)
    });
    let pages = after.database.len() / PAGE;
    let mixed = |first: usize, last: usize| {
        let mut database = before.database.clone();
        database.resize(after.database.len().max(before.database.len()), 0);
        database[first * PAGE..last * PAGE].copy_from_slice(&after.database[first * PAGE..last * PAGE]);
        database
    };
    let seen = for_each(&before.known, 0..pages * pages, async |bench, n| {
        let (first, last) = (n / pages, n % pages + 1);
        if first >= last {
            return Default::default();
        }
        let database = mixed(first, last);
        bench.lay(Some(&database), Some(&before.log));
        let seen = bench.look(&format!("pages {first} to {last}")).await;
        assert_eq!(seen.whole, 1);
        // Whoever removes the log as well is told.
        bench.lay(Some(&database), None);
        bench.look(&format!("pages {first} to {last}, no log")).await
    });
    println!("{seen:?}");
    assert!(seen.refused > 10, "{seen:?}");
}
