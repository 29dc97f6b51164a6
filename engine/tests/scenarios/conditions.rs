//! Conditions: checked before a change, and after it before its dependants.

use crate::support::{Scenario, data, machine, same};

fn with(conditions: &str) -> String {
    machine("a", "one") + conditions + &data("d", "'${{ fake_machine.a.ip }}'")
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_after_the_change_keeps_dependants_from_starting() {
    let scenario = Scenario::new();
    let text = with(
        "conditions:\n  after:\n  - {condition: \"${{ fake_machine.a.zone }} == 'zone-b'\", error_message: It is in the wrong zone.}\n",
    );
    let applied = scenario.apply(&text).await;
    same(
        &applied.outcomes(),
        "create fake_machine.a: failed: It is in the wrong zone.
         create gabion_data.d: skipped because fake_machine.a",
    );
    assert!(scenario.is_recorded("fake_machine.a").await);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_before_the_change_prevents_it() {
    let scenario = Scenario::new();
    let text = machine("a", "one")
        + &machine("b", "one")
        + "conditions:\n  before:\n  - {condition: \"${{ fake_machine.a.zone }} == 'zone-b'\", error_message: The other one is in the wrong zone.}\n";
    let applied = scenario.apply(&text).await;
    same(
        &applied.outcomes(),
        "create fake_machine.a: done
         create fake_machine.b: failed: The other one is in the wrong zone.",
    );
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn those_that_hold_change_nothing() {
    let scenario = Scenario::new();
    let text = with(
        "conditions:\n  after:\n  - {condition: \"${{ fake_machine.a.zone }} == 'zone-a'\", error_message: It is in the wrong zone.}\n",
    );
    scenario.settle(&text).await;
}
