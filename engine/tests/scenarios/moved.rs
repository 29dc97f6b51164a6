//! Names change: nothing is touched but the record; chains, swaps and removals.

use crate::support::{Scenario, machine, same, summary};

fn moved(from: &str, to: &str) -> String {
    format!("---\ntype: moved\nfrom: fake_machine.{from}\nto: fake_machine.{to}\n")
}

fn named(resource: &str, name: &str) -> String {
    crate::support::resource("fake_machine", resource, &format!("name: {name}, image: one"))
}

#[tokio::test(start_paused = true)]
async fn a_rename_makes_no_call() {
    let scenario = Scenario::new();
    scenario.settle(&named("a", "a")).await;
    let uid = scenario.record("fake_machine.a").await.uid;
    let count = scenario.change_count();
    let text = named("b", "a") + &moved("a", "b");
    let plan = scenario.plan(&text).await;
    same(&summary(&plan), "move fake_machine.b");
    scenario.apply_plan(&plan).await;
    assert_eq!(scenario.record("fake_machine.b").await.uid, uid);
    assert!(!scenario.is_recorded("fake_machine.a").await);
    assert_eq!(scenario.change_count(), count);
    scenario.expect_empty(&text).await;
}

#[tokio::test(start_paused = true)]
async fn chains_and_swaps_happen_at_once() {
    let scenario = Scenario::new();
    scenario
        .settle(&(named("a", "x") + &named("b", "y") + &named("c", "z")))
        .await;
    let (a, b, c) = (
        scenario.record("fake_machine.a").await.uid,
        scenario.record("fake_machine.b").await.uid,
        scenario.record("fake_machine.c").await.uid,
    );
    let text = named("a", "y")
        + &named("b", "x")
        + &named("d", "z")
        + &moved("a", "b")
        + &moved("b", "a")
        + &moved("c", "d");
    let plan = scenario.plan(&text).await;
    assert!(plan.steps.is_empty(), "{}", summary(&plan));
    scenario.apply_plan(&plan).await;
    assert_eq!(scenario.record("fake_machine.b").await.uid, a);
    assert_eq!(scenario.record("fake_machine.a").await.uid, b);
    assert_eq!(scenario.record("fake_machine.d").await.uid, c);
    scenario.expect_empty(&text).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_without_destruction_is_forgotten_and_goes_on() {
    let scenario = Scenario::new();
    scenario
        .settle(&(machine("a", "one") + &machine("b", "one")))
        .await;
    let text =
        machine("b", "one") + "---\ntype: removed\nfrom: fake_machine.a\nlifecycle: {destroy: false}\n";
    let plan = scenario.plan(&text).await;
    same(&summary(&plan), "forget fake_machine.a");
    scenario.apply_plan(&plan).await;
    assert!(!scenario.is_recorded("fake_machine.a").await);
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 2);
    scenario.expect_empty(&text).await;
}

#[tokio::test(start_paused = true)]
async fn what_left_the_configuration_is_deleted() {
    let scenario = Scenario::new();
    scenario
        .settle(&(machine("a", "one") + &machine("b", "one")))
        .await;
    let plan = scenario.plan(&machine("b", "one")).await;
    same(&summary(&plan), "delete fake_machine.a");
    scenario.apply_plan(&plan).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
    scenario.expect_empty(&machine("b", "one")).await;
}
