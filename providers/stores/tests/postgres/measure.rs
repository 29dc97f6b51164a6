//! Figures. `cargo test -p gabion-stores --test postgres --release -- --ignored --nocapture figures`

use std::time::{Duration, Instant};

use gabion_engine::state::StateStore;
use gabion_engine::state::event::EventBody;
use gabion_testing::store_events::{create, creation, lease_taken, succeeded};

use crate::damage::{append, take};
use crate::place::{Place, own_server};

const RECORDS: u64 = 10_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures, and checks nothing"]
async fn figures() {
    let server = own_server(&[]);
    let place = Place::at(server.url("postgres"));
    let store = place.store();
    store.create(creation()).await.expect("nothing is there");
    let epoch = take(&store).await;
    let mut serial = append(&store, epoch, 1, [lease_taken()])
        .await
        .expect("it fits")
        .sequence;
    let mut number = 0;
    let mut next = |count: u64| -> Vec<EventBody> {
        (0..count)
            .flat_map(|_| {
                number += 1;
                let id = format!("id-{number}");
                [
                    create(number, number, &format!("r{number}")),
                    succeeded(number, &id, 1),
                ]
            })
            .collect()
    };
    for size in [1, 10, 100] {
        let begun = Instant::now();
        let mut appends = 0;
        while begun.elapsed() < Duration::from_secs(3) {
            let head = append(&store, epoch, serial, next(size)).await;
            serial = head.expect("it fits").sequence;
            appends += 1;
        }
        let each = begun.elapsed() / appends;
        println!(
            "{} events an append: {:.0} appends a second, {each:.1?} each",
            2 * size,
            1.0 / each.as_secs_f64()
        );
    }
    while serial < 2 * RECORDS {
        serial = append(&store, epoch, serial, next(250))
            .await
            .expect("it fits")
            .sequence;
    }
    let records = store.load().await.expect("it is there").state.len();
    let begun = Instant::now();
    place.store().load().await.expect("it is there");
    println!(
        "load of {records} records, connecting included: {:.0?}",
        begun.elapsed()
    );
    let begun = Instant::now();
    for _ in 0..100 {
        serial = append(&store, epoch, serial, next(1))
            .await
            .expect("it fits")
            .sequence;
    }
    println!(
        "2 events an append beside {records} records: {:.1?} each",
        begun.elapsed() / 100
    );
    let begun = Instant::now();
    let dropped = store.compact(epoch, serial).await.expect("it holds the lease");
    println!("compaction of {dropped} events: {:.0?}", begun.elapsed());
}
