//! Flipped bits.

use gabion_engine::state::envelope::{Envelope, StoreKey};

use crate::support::{Files, PAGE, Writer, block_on, for_each};

fn files(envelope: Envelope, objects: u64, checkpointed: bool) -> Files {
    block_on(async {
        let mut writer = Writer::new(envelope).await;
        writer.work(1, objects + 1).await;
        if checkpointed {
            writer.checkpoint();
        }
        writer.crash().await
    })
}

#[test]
fn a_bit_in_any_byte_of_a_database_alters_nothing_unnoticed() {
    // Of an encrypted one, a third of the bytes.
    for (envelope, step) in [
        (Envelope::plain(), 1),
        (Envelope::new(StoreKey::new([1; 32]), []), 3),
    ] {
        let files = files(envelope, 1, true);
        let count = files.database.len() / step;
        let seen = for_each(&files.known, 0..count, async |bench, n| {
            let at = n * step;
            let mut database = files.database.clone();
            database[at] ^= 1 << (at % 8);
            bench.lay(Some(&database), None);
            bench.look(&format!("bit in byte {at}")).await
        });
        println!("{} bytes: {seen:?}", files.database.len());
        assert!(seen.whole > 1000 && seen.refused > 300, "{seen:?}");
    }
}

#[test]
fn a_bit_in_any_byte_of_the_last_transactions_alters_nothing_unnoticed() {
    let files = files(Envelope::plain(), 2, false);
    let from = files.log.len().saturating_sub(6 * (PAGE + 24));
    let seen = for_each(&files.known, from..files.log.len(), async |bench, at| {
        let mut log = files.log.clone();
        log[at] ^= 1 << (at % 8);
        bench.lay(Some(&files.database), Some(&log));
        bench.look(&format!("bit in byte {at} of the log")).await
    });
    println!("{seen:?}");
    assert!(seen.whole == 0 && seen.shorter > 1000, "{seen:?}");
}

#[test]
fn a_bit_anywhere_in_a_larger_store_alters_nothing_unnoticed() {
    let files = files(Envelope::plain(), 40, true);
    // A step that is a prime meets every place within a page in time.
    let count = files.database.len() / 61;
    let seen = for_each(&files.known, 0..count, async |bench, n| {
        let mut database = files.database.clone();
        database[n * 61] ^= 1 << (n % 8);
        bench.lay(Some(&database), None);
        bench.look(&format!("bit in byte {}", n * 61)).await
    });
    println!("{} bytes: {seen:?}", files.database.len());
    assert!(seen.refused > 100, "{seen:?}");
}

#[test]
fn a_page_of_zeros_or_of_another_place_alters_nothing_unnoticed() {
    let files = files(Envelope::plain(), 6, true);
    let pages = files.database.len() / PAGE;
    let seen = for_each(&files.known, 0..pages * (pages + 1), async |bench, n| {
        let (to, from) = (n / (pages + 1), n % (pages + 1));
        let mut database = files.database.clone();
        let content = match from == pages {
            true => vec![0; PAGE],
            false => files.database[from * PAGE..(from + 1) * PAGE].to_vec(),
        };
        database[to * PAGE..(to + 1) * PAGE].copy_from_slice(&content);
        bench.lay(Some(&database), None);
        bench.look(&format!("page {to} from {from} of {pages}")).await
    });
    println!("{pages} pages: {seen:?}");
    assert!(seen.refused > 100, "{seen:?}");
}
