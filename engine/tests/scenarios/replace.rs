//! Replacement: create-first, delete-first, what failed replacements leave, and what goes along.

use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Scenario, machine, resource, same, summary};

#[tokio::test(start_paused = true)]
async fn create_first_makes_the_new_object_before_the_old_one_goes() {
    let scenario = Scenario::new();
    scenario.settle(&machine("a", "one")).await;
    let old = scenario.record("fake_machine.a").await.uid;
    let count = scenario.change_count();
    let plan = scenario.plan(&machine("a", "two")).await;
    same(
        &scenario.apply_plan(&plan).await.outcomes(),
        "create (deposing) fake_machine.a: done
         delete fake_machine.a: done",
    );
    assert_eq!(
        scenario.changes_since(count),
        ["create fake_machine.a", "delete fake_machine.a"]
    );
    assert_ne!(scenario.record("fake_machine.a").await.uid, old);
    assert!(scenario.state().await.record(old).is_none());
    scenario.expect_empty(&machine("a", "two")).await;
}

#[tokio::test(start_paused = true)]
async fn the_old_one_may_take_as_long_to_go_as_is_declared_by_then() {
    let within = |image: &str, limit: &str| machine("a", image) + &format!("timeouts: {{delete: {limit}}}\n");
    let slow = || FaultRule::next(Verb::Delete, Fault::Slow(std::time::Duration::from_secs(60)));
    for (before, now) in [("20s", "2m"), ("2m", "20s")] {
        let scenario = Scenario::new();
        scenario.settle(&within("one", before)).await;
        scenario.cloud.fault(slow());
        same(
            &scenario.apply(&within("two", now)).await.outcomes(),
            "create (deposing) fake_machine.a: done
             delete fake_machine.a: done",
        );
    }
    // So it is when an earlier run has made the new one.
    let scenario = Scenario::new();
    scenario.settle(&within("one", "20s")).await;
    scenario.cloud.fault(FaultRule::next(Verb::Delete, Fault::Deny));
    scenario.apply(&within("two", "2m")).await;
    scenario.cloud.fault(slow());
    same(
        &scenario.apply(&within("two", "2m")).await.outcomes(),
        "delete fake_machine.a: done",
    );
}

#[tokio::test(start_paused = true)]
async fn an_exclusive_claim_is_given_up_first() {
    let scenario = Scenario::new();
    let address = |pool: &str| {
        resource(
            "fake_address",
            "a",
            &format!("name: a, ip: 1.2.3.4, pool: {pool}"),
        )
    };
    scenario.settle(&address("one")).await;
    let count = scenario.change_count();
    let plan = scenario.plan(&address("two")).await;
    same(&summary(&plan), "replace delete-first fake_address.a (id, pool!)");
    same(
        &scenario.apply_plan(&plan).await.outcomes(),
        "delete fake_address.a: done
         create fake_address.a: done",
    );
    assert_eq!(
        scenario.changes_since(count),
        ["delete fake_address.a", "create fake_address.a"]
    );
    scenario.expect_empty(&address("two")).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_create_first_leaves_the_old_object_in_its_place() {
    let scenario = Scenario::new();
    scenario.settle(&machine("a", "one")).await;
    let old = scenario.record("fake_machine.a").await;
    scenario.cloud.fault(FaultRule::next(Verb::Create, Fault::Deny));
    let applied = scenario.apply(&machine("a", "two")).await;
    same(
        &applied.outcomes(),
        "create (deposing) fake_machine.a: failed: The cloud refused: these credentials do not allow it.
         delete fake_machine.a: skipped because fake_machine.a",
    );
    let record = scenario.record("fake_machine.a").await;
    assert_eq!(
        (record.uid, record.deposed, record.status),
        (old.uid, false, old.status)
    );
    scenario.settle(&machine("a", "two")).await;
}

#[tokio::test(start_paused = true)]
async fn a_deposed_object_that_could_not_be_deleted_is_deleted_by_the_next_apply() {
    let scenario = Scenario::new();
    scenario.settle(&machine("a", "one")).await;
    scenario.cloud.fault(FaultRule::next(Verb::Delete, Fault::Deny));
    let applied = scenario.apply(&machine("a", "two")).await;
    same(
        &applied.outcomes(),
        "create (deposing) fake_machine.a: done
         delete fake_machine.a: failed: The cloud refused: these credentials do not allow it.",
    );
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 2);
    let plan = scenario.plan(&machine("a", "two")).await;
    same(&summary(&plan), "delete deposed fake_machine.a");
    scenario.apply_plan(&plan).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
    scenario.expect_empty(&machine("a", "two")).await;
}

#[tokio::test(start_paused = true)]
async fn a_replaced_network_takes_its_machines_along_in_order() {
    let scenario = Scenario::new();
    let text = |cidr: &str| {
        resource("fake_network", "n", &format!("name: n, cidr: {cidr}"))
            + &resource(
                "fake_machine",
                "a",
                "name: a, image: one, network: '${{ fake_network.n.id }}'",
            )
    };
    scenario.settle(&text("10.0.0.0/16")).await;
    let count = scenario.change_count();
    let applied = scenario.settle(&text("10.1.0.0/16")).await;
    same(
        &applied.outcomes(),
        "create (deposing) fake_network.n: done
         create (deposing) fake_machine.a: done
         delete fake_machine.a: done
         delete fake_network.n: done",
    );
    assert_eq!(scenario.change_count() - count, 4);
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_with_its_holder_needs_no_call() {
    let scenario = Scenario::new();
    let text = |image: &str| {
        machine("router", image)
            + &resource(
                "fake_membership",
                "m",
                "router: '${{ fake_machine.router.id }}', member: '1.2.3.4'",
            )
    };
    scenario.settle(&text("one")).await;
    let applied = scenario.settle(&text("two")).await;
    same(
        &applied.outcomes(),
        "create (deposing) fake_machine.router: done
         create (deposing) fake_membership.m: done
         delete fake_machine.router: done
         delete with fake_membership.m: done",
    );
    assert_eq!(scenario.cloud.objects("fake_membership").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn lifecycle_decides_the_order_and_what_triggers() {
    let scenario = Scenario::new();
    let text = |name: &str, image: &str| {
        resource("fake_network", "n", &format!("name: {name}, cidr: 10.0.0.0/16"))
            + &machine("a", image)
            + "lifecycle: {create_before_destroy: false, replace_triggered_by: [fake_network.n.name]}\n"
    };
    scenario.settle(&text("n", "one")).await;
    let plan = scenario.plan(&text("n", "two")).await;
    same(
        &scenario.apply_plan(&plan).await.outcomes(),
        "delete fake_machine.a: done
         create fake_machine.a: done",
    );
    let applied = scenario.settle(&text("renamed", "two")).await;
    same(
        &applied.outcomes(),
        "delete fake_machine.a: done
         update fake_network.n: done
         create fake_machine.a: done",
    );
}
