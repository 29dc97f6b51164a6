//! The cost of a run is what it changes: linear in the objects, one commit a link of a chain.

use std::sync::Arc;
use std::time::Duration;

use gabion_engine::state::sqlite::SqliteStore;

use crate::store::Counting;
use crate::support::{Scenario, data, machine};

fn independent(count: usize) -> String {
    (0..count)
        .map(|n| data(&format!("d{n}"), &n.to_string()))
        .collect()
}

/// Applies so many objects on SQLite; returns how many events that is, and the bytes of the log and of the files.
async fn size(count: usize) -> [usize; 3] {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let scenario = Scenario::on(Arc::new(SqliteStore::at(&path)));
    let plan = scenario.plan(&independent(count)).await;
    let applied = scenario.apply_plan(&plan).await;
    assert_eq!(applied.report.done, count);
    let log = scenario.store.events(0, 1_000_000).await.unwrap();
    let bytes = log.iter().map(|event| event.encoded.len()).sum();
    drop(scenario);
    let file = std::fs::metadata(&path).unwrap().len();
    [log.len(), bytes, usize::try_from(file).unwrap()]
}

/// How long that takes is measured by the benchmark `apply`.
#[tokio::test]
async fn ten_times_the_objects_are_ten_times_the_log() {
    let (few, many) = (size(200).await, size(2_000).await);
    for (few, many) in few.iter().zip(many) {
        assert!(many <= 12 * few, "{few}, then {many}");
    }
    // An intent and a result each, and the run around them.
    assert!(many[0] <= 2 * 2_000 + 10, "{many:?}");
}

#[tokio::test(start_paused = true)]
async fn a_chain_costs_about_one_commit_a_link() {
    let store = Arc::new(Counting::default());
    let scenario = Scenario::on(store.clone());
    let mut text = data("d0", "start");
    for n in 1..1_000 {
        text += &data(
            &format!("d{n}"),
            &format!("'${{{{ gabion_data.d{}.output }}}}'", n - 1),
        );
    }
    let plan = scenario.plan(&text).await;
    scenario.apply_plan(&plan).await;
    assert!(store.appends() <= 1_100, "{} commits", store.appends());
    let last = scenario.record("gabion_data.d999").await;
    assert_eq!(last.attributes["output"], "start".into());
    scenario.expect_empty(&text).await;
}

#[tokio::test(start_paused = true)]
async fn independent_objects_share_commits() {
    let store = Arc::new(Counting::default());
    let scenario = Scenario::on(store.clone());
    let plan = scenario.plan(&independent(1_000)).await;
    scenario.apply_plan(&plan).await;
    assert!(store.appends() <= 150, "{} commits", store.appends());
}

#[tokio::test(start_paused = true)]
async fn what_only_waits_holds_nobody_up() {
    let mut scenario = Scenario::new();
    scenario.apply_options.parallelism = 64;
    scenario
        .cloud
        .configure(|settings| settings.boot = Duration::from_secs(30));
    let text: String = (0..1_000).map(|n| machine(&format!("m{n}"), "one")).collect();
    let plan = scenario.plan(&text).await;
    let began = tokio::time::Instant::now();
    let applied = scenario.apply_plan(&plan).await;
    assert!(applied.report.is_complete());
    let took = began.elapsed();
    // One after another in 64 places, that would be eight minutes.
    assert!(took < Duration::from_secs(45), "{took:?}");
}

/// At most as many calls as there are places ask something of the cloud at a time, however many wait.
#[tokio::test(start_paused = true)]
async fn what_does_not_wait_keeps_its_place() {
    let mut scenario = Scenario::new();
    scenario.apply_options.parallelism = 2;
    scenario.cloud.configure(|settings| {
        settings.latency = Duration::from_secs(1);
        settings.boot = Duration::from_secs(30);
    });
    let text: String = (0..20).map(|n| machine(&format!("m{n}"), "one")).collect();
    let plan = scenario.plan(&text).await;
    let began = tokio::time::Instant::now();
    let applied = scenario.apply_plan(&plan).await;
    assert!(applied.report.is_complete());
    let took = began.elapsed().as_secs();
    // Two creations a second or so, and the last one's boot.
    assert!((39..60).contains(&took), "{took} s");
}

/// What a creation said once is not said again: a change appends what is new, whatever the project's size.
#[tokio::test(start_paused = true)]
async fn a_change_of_one_object_appends_little() {
    let scenario = Scenario::new();
    let plan = scenario.plan(&independent(20)).await;
    scenario.apply_plan(&plan).await;
    let before = scenario.state().await.serial;
    let changed = independent(19) + &data("d19", "other");
    let plan = scenario.plan(&changed).await;
    scenario.apply_plan(&plan).await;
    let log = scenario.store.events(before, 100).await.unwrap();
    let bytes: usize = log.iter().map(|event| event.encoded.len()).sum();
    // The run's start, the intent, its result and the run's end.
    assert_eq!(log.len(), 4);
    assert!(bytes < 1_000, "{bytes} bytes");
}
