//! A step that fails: what depends on it is skipped and says why, everything else goes on, the next apply continues.

use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Scenario, machine, same};

#[tokio::test(start_paused = true)]
async fn independent_branches_go_on_and_dependants_name_the_root() {
    let scenario = Scenario::new();
    let text = format!("{}{}", crate::create::CHAIN, machine("other", "one"));
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::Deny).at("fake_network.net"));
    let applied = scenario.apply(&text).await;
    same(
        &applied.outcomes(),
        "create fake_machine.other: done
         create fake_network.net: failed: The cloud refused: these credentials do not allow it.
         create fake_machine.a: skipped because fake_network.net
         create fake_record.a: skipped because fake_network.net",
    );
    let report = &applied.report;
    assert_eq!(
        (report.done, report.failed, report.skipped, report.uncertain),
        (1, 1, 2, 0)
    );
    assert!(!scenario.is_recorded("fake_network.net").await);
    scenario.settle(&text).await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_panics_leaves_an_uncertain_step_and_the_rest_goes_on() {
    let scenario = Scenario::new();
    let text = machine("a", "one") + &machine("b", "one");
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::Panic).at("fake_machine.a"));
    let applied = scenario.apply(&text).await;
    same(
        &applied.outcomes(),
        "create fake_machine.a: uncertain: Provider `fake` panicked: the fake cloud's client was told to panic.
         create fake_machine.b: done",
    );
    scenario.settle(&text).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_end_is_given_up_at_its_deadline() {
    let scenario = Scenario::new();
    let text = machine("a", "one") + "timeouts: {create: 30s}\n";
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::HangAfter));
    let began = tokio::time::Instant::now();
    let applied = scenario.apply(&text).await;
    same(
        &applied.outcomes(),
        "create fake_machine.a: uncertain: It did not end within 30 s.",
    );
    assert!(began.elapsed().as_secs() < 40);
    scenario.settle(&text).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_update_is_read_before_the_next_plan() {
    let scenario = Scenario::new();
    scenario.settle(&machine("a", "one")).await;
    let text = crate::support::resource("fake_machine", "a", "name: a, image: one, tags: {k: v}");
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Update, Fault::LoseResponse));
    let applied = scenario.apply(&text).await;
    same(
        &applied.outcomes(),
        "update fake_machine.a: uncertain: The connection broke before the cloud answered the update of a \
         fake_machine.",
    );
    scenario.settle(&text).await;
}
