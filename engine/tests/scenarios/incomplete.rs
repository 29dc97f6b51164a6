//! Objects that were made and never became ready: not lost, not called healthy, finished by the next apply.

use gabion_engine::state::record::Status;
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Scenario, is, machine, same, summary};

#[tokio::test(start_paused = true)]
async fn what_failed_after_its_checkpoint_is_incomplete() {
    let scenario = Scenario::new();
    let text = machine("a", "one");
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::NeverReady));
    let applied = scenario.apply(&text).await;
    same(
        &applied.outcomes(),
        "create fake_machine.a: failed: fake_machine `machine-0001` failed while it was set up.",
    );
    let record = scenario.record("fake_machine.a").await;
    assert!(is(&record, Status::Incomplete));
    assert_eq!(record.id.unwrap().as_str(), "machine-0001");
    // It still does not work: that is said again, and nothing is made twice.
    let plan = scenario.plan(&text).await;
    same(&summary(&plan), "update fake_machine.a");
    let applied = scenario.apply_plan(&plan).await;
    assert_eq!(applied.report.failed, 1);
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_only_slow_is_finished_by_the_next_apply() {
    let scenario = Scenario::new();
    scenario
        .cloud
        .configure(|settings| settings.boot = std::time::Duration::from_secs(60));
    let text = machine("a", "one") + "timeouts: {create: 20s}\n";
    let applied = scenario.apply(&text).await;
    same(
        &applied.outcomes(),
        "create fake_machine.a: failed: fake_machine `machine-0001` was not ready in time.",
    );
    let record = scenario.record("fake_machine.a").await;
    assert!(is(&record, Status::Incomplete));
    let applied = scenario.settle(&text).await;
    same(&applied.outcomes(), "update fake_machine.a: done");
    assert_eq!(scenario.record("fake_machine.a").await.uid, record.uid);
}
