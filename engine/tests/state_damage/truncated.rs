//! Files that end early.

use gabion_engine::state::envelope::{Envelope, StoreKey};

use crate::support::{Files, PAGE, Writer, block_on, for_each};

/// A store with a log that was begun anew after a checkpoint, or never was brought into the database.
fn files(checkpointed: bool) -> Files {
    block_on(async {
        let mut writer = Writer::new(Envelope::plain()).await;
        writer.work(1, 4).await;
        if checkpointed {
            writer.checkpoint();
        }
        writer.work(4, 5).await;
        writer.crash().await
    })
}

#[test]
fn a_log_cut_at_every_byte_gives_a_commit_or_an_error() {
    for checkpointed in [false, true] {
        let files = files(checkpointed);
        // Frames of an earlier round stand behind those of a log that was begun anew.
        let cuts = match checkpointed {
            false => files.log.len() - 8 * PAGE..files.log.len() + 1,
            true => 0..8 * PAGE,
        };
        let seen = for_each(&files.known, cuts, async |bench, length| {
            bench.lay(Some(&files.database), Some(&files.log[..length]));
            bench.look(&format!("log of {length} bytes")).await
        });
        println!("{seen:?}");
        assert!(seen.shorter > 1000 && seen.refused == 0, "{seen:?}");
        assert!(checkpointed || seen.whole == 1, "{seen:?}");
    }
}

#[test]
fn a_log_cut_after_any_frame_gives_a_commit() {
    for checkpointed in [false, true] {
        let files = files(checkpointed);
        let frames = (files.log.len() - 32) / (PAGE + 24);
        let seen = for_each(&files.known, 0..frames + 1, async |bench, frame| {
            let length = 32 + frame * (PAGE + 24);
            bench.lay(Some(&files.database), Some(&files.log[..length]));
            bench.look(&format!("log of {frame} frames")).await
        });
        assert!(
            seen.whole > 0 && seen.shorter > 10 && seen.refused == 0,
            "{seen:?}"
        );
    }
}

#[test]
fn a_database_cut_at_every_byte_gives_a_commit_or_an_error() {
    for checkpointed in [false, true] {
        let files = files(checkpointed);
        for log in [Some(&files.log[..]), None] {
            let from = files.database.len().saturating_sub(6 * PAGE);
            let seen = for_each(&files.known, from..files.database.len(), async |bench, length| {
                bench.lay(Some(&files.database[..length]), log);
                bench.look(&format!("database of {length} bytes")).await
            });
            println!("{seen:?}");
            // All that is missing may be in the log.
            assert!(
                log.is_some() || (seen.whole == 0 && seen.refused > 1000),
                "{seen:?}"
            );
        }
    }
}

#[test]
fn encrypted_files_cut_at_every_byte_give_a_commit_or_an_error() {
    let files = block_on(async {
        let mut writer = Writer::new(Envelope::new(StoreKey::new([1; 32]), [])).await;
        writer.work(1, 3).await;
        writer.crash().await
    });
    let from = files.log.len().saturating_sub(3 * PAGE);
    let seen = for_each(&files.known, from..files.log.len(), async |bench, length| {
        bench.lay(Some(&files.database), Some(&files.log[..length]));
        bench.look(&format!("log of {length} bytes")).await
    });
    assert!(seen.shorter > 0 && seen.refused == 0, "{seen:?}");
}
