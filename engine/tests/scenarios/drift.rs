//! The world changes behind our back: reverted, accepted, ignored, vanished, or not to be told.

use gabion_engine::plan::change::{DriftKind, DriftVerdict};
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Scenario, machine, resource, same, summary};

#[tokio::test(start_paused = true)]
async fn what_the_configuration_asks_for_is_put_back() {
    let scenario = Scenario::new();
    let text = resource("fake_machine", "a", "name: a, image: one, tags: {k: v}");
    scenario.settle(&text).await;
    scenario
        .cloud
        .mutate("machine-0001", "tags", serde_json::json!({"k": "w"}));
    let plan = scenario.plan(&text).await;
    same(&summary(&plan), "update fake_machine.a (tags.k)");
    let DriftKind::Changed(differences) = &plan.drift[0].kind else {
        panic!("{:?}", plan.drift);
    };
    assert_eq!(differences[0].verdict, DriftVerdict::Reverted);
    scenario.apply_plan(&plan).await;
    assert_eq!(scenario.cloud.objects("fake_machine")[0].fields["tags"]["k"], "v");
    scenario.expect_empty(&text).await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asked_for_is_accepted() {
    let scenario = Scenario::new();
    let text = machine("a", "one");
    scenario.settle(&text).await;
    scenario.cloud.mutate("machine-0001", "ip", "10.9.9.9".into());
    let plan = scenario.plan(&text).await;
    assert_eq!(summary(&plan), "nothing");
    assert_eq!(plan.accepted.len(), 1);
    scenario.apply_plan(&plan).await;
    assert_eq!(
        scenario.record("fake_machine.a").await.attributes["ip"],
        "10.9.9.9".into()
    );
    scenario.expect_empty(&text).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_ignored_stays() {
    let scenario = Scenario::new();
    let text = resource("fake_machine", "a", "name: a, image: one, tags: {k: v}")
        + "lifecycle: {ignore_changes: [tags]}\n";
    scenario.settle(&text).await;
    scenario
        .cloud
        .mutate("machine-0001", "tags", serde_json::json!({"k": "w"}));
    let plan = scenario.plan(&text).await;
    assert_eq!(summary(&plan), "nothing");
    assert!(plan.steps.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_vanished_is_made_again() {
    let scenario = Scenario::new();
    let text = crate::create::CHAIN;
    scenario.settle(text).await;
    scenario.cloud.remove("machine-0002");
    let plan = scenario.plan(text).await;
    assert_eq!(plan.vanished.len(), 1);
    same(
        &summary(&plan),
        "create fake_machine.a
         update fake_record.a (values)",
    );
    let applied = scenario.apply_plan(&plan).await;
    assert!(applied.report.is_complete(), "{}", applied.outcomes());
    scenario.expect_empty(text).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_never_taken_for_gone() {
    let scenario = Scenario::new();
    let text = machine("a", "one");
    scenario.settle(&text).await;
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Describe, Fault::Deny).times(100));
    let plan = scenario.plan(&text).await;
    assert!(plan.vanished.is_empty());
    assert!(plan.steps.is_empty());
    let DriftKind::CannotTell { reason } = &plan.drift[0].kind else {
        panic!("{:?}", plan.drift);
    };
    assert_eq!(reason, "The cloud refused: these credentials do not allow it.");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_visible_yet_is_looked_for_again() {
    let scenario = Scenario::new();
    let text: String = (0..20)
        .map(|n| resource("fake_disk", &format!("d{n}"), &format!("name: d{n}, size: 1")))
        .collect();
    scenario
        .cloud
        .configure(|settings| settings.consistency = std::time::Duration::from_secs(9));
    scenario.settle(&text).await;
    assert_eq!(scenario.cloud.objects("fake_disk").len(), 20);
}
