//! The cost of a run is what it changes: linear in the objects, one commit a link of a chain.

use std::sync::Arc;
use std::time::Duration;

use gabion_engine::state::sqlite::SqliteStore;
use nix::time::{ClockId, clock_gettime};

use crate::store::Counting;
use crate::support::{Scenario, data, machine};

fn independent(count: usize) -> String {
    (0..count)
        .map(|n| data(&format!("d{n}"), &n.to_string()))
        .collect()
}

/// Returns the time that this process has computed for, however busy the machine is.
fn computed() -> f64 {
    Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap()).as_secs_f64()
}

/// What a run costs.
struct Cost {
    /// The seconds that an apply computed for, the same plan once more, and the deletion of it all.
    seconds: [f64; 3],
    /// The bytes of the apply's log.
    bytes: usize,
}

async fn cost(count: usize) -> Cost {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let scenario = Scenario::on(Arc::new(SqliteStore::at(&path)));
    let text = independent(count);
    let plan = scenario.plan(&text).await;
    let mut bytes = 0;
    let mut seconds = [0.0; 3];
    for (n, taken) in seconds.iter_mut().enumerate() {
        let plan = match n {
            2 => &scenario.destroy_plan(&text).await,
            _ => &plan,
        };
        let began = computed();
        let applied = scenario.apply_plan(plan).await;
        *taken = computed() - began;
        assert_eq!(applied.report.done, count);
        if n == 0 {
            let log = scenario.log().await;
            bytes = log
                .iter()
                .map(|body| serde_json::to_vec(body).unwrap().len())
                .sum();
        }
    }
    Cost { seconds, bytes }
}

#[tokio::test]
#[ignore = "measures what the process computes, so that no other test may run beside it"]
async fn ten_times_the_objects_cost_about_ten_times() {
    let (few, many) = (cost(1_000).await, cost(10_000).await);
    let said = format!(
        "1,000: {:.2?} s, {} bytes; 10,000: {:.2?} s, {} bytes",
        few.seconds, few.bytes, many.seconds, many.bytes
    );
    for (few, many) in few.seconds.iter().zip(many.seconds) {
        assert!(many <= 12.0 * few, "{said}");
    }
    assert!(many.bytes <= 12 * few.bytes, "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_chain_costs_about_one_commit_a_link() {
    let store = Arc::new(Counting::default());
    let scenario = Scenario::on(store.clone());
    let mut text = data("d0", "start");
    for n in 1..300 {
        text += &data(
            &format!("d{n}"),
            &format!("'${{{{ gabion_data.d{}.output }}}}'", n - 1),
        );
    }
    let plan = scenario.plan(&text).await;
    scenario.apply_plan(&plan).await;
    assert!(store.appends() <= 330, "{} commits", store.appends());
    let last = scenario.record("gabion_data.d299").await;
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
    scenario.apply_options.parallelism = 8;
    scenario
        .cloud
        .configure(|settings| settings.boot = Duration::from_secs(30));
    let text: String = (0..200).map(|n| machine(&format!("m{n}"), "one")).collect();
    let plan = scenario.plan(&text).await;
    let began = tokio::time::Instant::now();
    let applied = scenario.apply_plan(&plan).await;
    assert!(applied.report.is_complete());
    let took = began.elapsed();
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
