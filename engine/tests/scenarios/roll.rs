//! Rolling changes: the replacements of a group go in turn, and a failure ends it.

use gabion_engine::plan::Plan;
use gabion_engine::state::event::EventBody;
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Scenario, machine, resource, same};

/// Machines `a`, `b`, … of one group, each with a membership in a router that stays.
fn rolled(names: &[&str], image: &str, roll: &str) -> String {
    let lifecycle = format!("lifecycle: {{roll: {{group: web, {roll}}}}}\n");
    names.iter().fold(machine("router", "one"), |text, name| {
        text + &machine(name, image) + &lifecycle
    })
}

fn notes(plan: &Plan) -> Vec<String> {
    let all = plan
        .changes
        .iter()
        .flat_map(|change| change.notes.iter().cloned());
    all.filter(|note| note.contains("turn")).collect()
}

#[tokio::test(start_paused = true)]
async fn members_are_replaced_one_after_the_other_each_new_one_beside_the_old() {
    let scenario = Scenario::new();
    let text = |image| rolled(&["a", "b", "c"], image, "max_surge: 1");
    scenario.settle(&text("one")).await;
    let count = scenario.change_count();
    let plan = scenario.plan(&text("two")).await;
    assert_eq!(
        notes(&plan),
        [
            "The 3 of `web` are replaced in turn: one new one at a time beside the old ones. The first that fails ends it, \
             and the others stay as they are."
        ]
    );
    scenario.apply_plan(&plan).await;
    assert_eq!(
        scenario.changes_since(count),
        [
            "create fake_machine.a",
            "delete fake_machine.a",
            "create fake_machine.b",
            "delete fake_machine.b",
            "create fake_machine.c",
            "delete fake_machine.c",
        ]
    );
    scenario.expect_empty(&text("two")).await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_has_as_many_members_as_may_surge() {
    let scenario = Scenario::new();
    let names = ["a", "b", "c", "d", "e"];
    let text = |image| rolled(&names, image, "max_surge: 2");
    scenario.settle(&text("one")).await;
    let plan = scenario.plan(&text("two")).await;
    // Each turn waits for all four steps of the one before it.
    let waits: Vec<usize> = plan.steps.iter().map(|step| step.after.len()).collect();
    assert_eq!(waits, [0, 1, 0, 1, 4, 5, 4, 5, 4, 5]);
    scenario.apply_plan(&plan).await;
    scenario.expect_empty(&text("two")).await;
}

#[tokio::test(start_paused = true)]
async fn without_surge_old_ones_go_first_as_many_as_may_be_missing() {
    let scenario = Scenario::new();
    let text = |image| rolled(&["a", "b", "c"], image, "max_surge: 0, max_unavailable: 2");
    scenario.settle(&text("one")).await;
    let count = scenario.change_count();
    scenario.settle(&text("two")).await;
    let done = scenario.changes_since(count);
    assert_eq!(done.len(), 6);
    assert_eq!(done[4..], ["delete fake_machine.c", "create fake_machine.c"]);
    assert!(
        done[..2].iter().all(|change| change.starts_with("delete")),
        "{done:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_leaves_the_others_as_they_are() {
    let scenario = Scenario::new();
    let text = |image| rolled(&["a", "b", "c"], image, "max_surge: 1");
    scenario.settle(&text("one")).await;
    let untouched = scenario.record("fake_machine.b").await.uid;
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::Deny).at("fake_machine.a"));
    let applied = scenario.apply(&text("bad")).await;
    same(
        &applied.outcomes(),
        "create (deposing) fake_machine.a: failed: The cloud refused: these credentials do not allow it.
         delete fake_machine.a: skipped because fake_machine.a
         create (deposing) fake_machine.b: skipped because fake_machine.a
         delete fake_machine.b: skipped because fake_machine.a
         create (deposing) fake_machine.c: skipped because fake_machine.a
         delete fake_machine.c: skipped because fake_machine.a",
    );
    assert_eq!(scenario.record("fake_machine.b").await.uid, untouched);
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 4);
    scenario.settle(&text("two")).await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_work_has_the_first_turn() {
    let scenario = Scenario::new();
    let text = |image| rolled(&["a", "b"], image, "max_surge: 1");
    scenario.settle(&text("one")).await;
    let uid = scenario.record("fake_machine.b").await.uid;
    let journal = scenario.open().await;
    journal.commit(vec![EventBody::Tainted { uid }]).await.unwrap();
    journal.close().await.unwrap();
    let count = scenario.change_count();
    scenario.settle(&text("two")).await;
    assert_eq!(scenario.changes_since(count)[0], "create fake_machine.b");
}

#[tokio::test(start_paused = true)]
async fn new_members_wait_for_no_turn() {
    let scenario = Scenario::new();
    scenario.settle(&rolled(&["a", "b"], "one", "max_surge: 1")).await;
    let plan = scenario
        .plan(&rolled(&["a", "b", "c"], "two", "max_surge: 1"))
        .await;
    let free = plan.steps.iter().filter(|step| step.after.is_empty()).count();
    assert_eq!(free, 2, "the first turn and the new one");
    scenario.apply_plan(&plan).await;
}

#[tokio::test(start_paused = true)]
async fn where_all_new_ones_are_needed_at_once_nothing_rolls() {
    let scenario = Scenario::new();
    let text = |image: &str| {
        rolled(&["a", "b"], image, "max_surge: 1")
            + &resource(
                "fake_machine",
                "front",
                "name: front, image: one, tags: {a: '${{ fake_machine.a.id }}', b: '${{ fake_machine.b.id }}'}",
            )
    };
    scenario.settle(&text("one")).await;
    let plan = scenario.plan(&text("two")).await;
    assert_eq!(
        notes(&plan),
        [
            "It is replaced at once with the others of its group, not in turn: something else that changes needs all of the \
             new ones before an old one can go."
        ]
    );
    scenario.apply_plan(&plan).await;
    scenario.expect_empty(&text("two")).await;
}
