//! Destruction: in reverse order, and again after a failure.

use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Scenario, machine, resource, same};

#[tokio::test(start_paused = true)]
async fn dependants_go_first() {
    let scenario = Scenario::new();
    let text = crate::create::CHAIN;
    scenario.settle(text).await;
    let applied = scenario.destroy(text).await;
    same(
        &applied.outcomes(),
        "delete fake_record.a: done
         delete fake_machine.a: done
         delete fake_network.net: done",
    );
    assert!(scenario.state().await.is_empty());
    assert!(scenario.cloud.dump().objects.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_deleted_is_deleted_next_time() {
    let scenario = Scenario::new();
    let text = crate::create::CHAIN;
    scenario.settle(text).await;
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Delete, Fault::Deny).of_type("fake_machine"));
    let applied = scenario.destroy(text).await;
    same(
        &applied.outcomes(),
        "delete fake_record.a: done
         delete fake_machine.a: failed: The cloud refused: these credentials do not allow it.
         delete fake_network.net: skipped because fake_machine.a",
    );
    scenario.destroy(text).await;
    assert!(scenario.state().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_already_is_no_failure() {
    let scenario = Scenario::new();
    let text = crate::create::CHAIN;
    scenario.settle(text).await;
    let plan = scenario.destroy_plan(text).await;
    scenario.cloud.remove("machine-0002");
    let applied = scenario.apply_plan(&plan).await;
    assert!(applied.report.is_complete(), "{}", applied.outcomes());
    assert!(scenario.state().await.is_empty());
}

/// Two machines, each a member of the other.
fn members_of_each_other() -> String {
    let member = |name: &str, router: &str, member: &str| {
        let properties = format!(
            "router: '${{{{ fake_machine.{router}.id }}}}', member: '${{{{ fake_machine.{member}.ip }}}}'"
        );
        resource("fake_membership", name, &properties)
    };
    machine("a", "one") + &machine("b", "one") + &member("ab", "a", "b") + &member("ba", "b", "a")
}

#[tokio::test(start_paused = true)]
async fn machines_that_are_members_of_each_other_go() {
    let scenario = Scenario::new();
    let text = members_of_each_other();
    scenario.settle(&text).await;
    let applied = scenario.destroy(&text).await;
    same(
        &applied.outcomes(),
        "delete fake_membership.ab: done
         delete fake_machine.b: done
         delete with fake_membership.ba: done
         delete fake_machine.a: done",
    );
    assert!(scenario.state().await.is_empty());
    assert!(scenario.cloud.dump().objects.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_membership_that_could_not_be_deleted_keeps_both_machines() {
    let scenario = Scenario::new();
    let text = members_of_each_other();
    scenario.settle(&text).await;
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Delete, Fault::Deny).of_type("fake_membership"));
    let applied = scenario.destroy(&text).await;
    same(
        &applied.outcomes(),
        "delete fake_membership.ab: failed: The cloud refused: these credentials do not allow it.
         delete fake_machine.b: skipped because fake_membership.ab
         delete with fake_membership.ba: skipped because fake_membership.ab
         delete fake_machine.a: skipped because fake_membership.ab",
    );
    scenario.destroy(&text).await;
    assert!(scenario.state().await.is_empty());
}
