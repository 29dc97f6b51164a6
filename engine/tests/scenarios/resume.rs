//! The same saved plan again: it goes on where it stopped.

use std::time::Duration;

use gabion_engine::plan::bindings::moved;
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Scenario, machine, resource, same};

#[tokio::test(start_paused = true)]
async fn a_plan_whose_run_was_cut_off_goes_on() {
    let text = |cidr: &str, image: &str| {
        resource("fake_network", "n", &format!("name: n, cidr: {cidr}"))
            + &machine("a", image)
            + &resource(
                "fake_record",
                "r",
                "name: r.example, values: ['${{ fake_machine.a.ip }}']",
            )
            + &resource("fake_disk", "d", &format!("name: d, size: {}", cidr.len()))
    };
    for milliseconds in (0..14_000).step_by(400) {
        let scenario = Scenario::new();
        scenario.settle(&text("10.0.0.0/16", "one")).await;
        let new = text("10.11.0.0/16", "two");
        let plan = scenario.plan(&new).await;
        let journal = scenario.open().await;
        let control = gabion_engine::apply::ApplyControl::new();
        let mut notes = crate::support::Notes::default();
        let run = scenario.carry_out(&plan, &journal, &control, &mut notes);
        drop(tokio::time::timeout(Duration::from_millis(milliseconds), run).await);
        drop(journal);
        let state = scenario.state().await;
        let stale = moved(&plan, &plan.digest(), &state, &Default::default());
        assert!(stale.is_empty(), "after {milliseconds} ms: {stale:?}");
        let applied = scenario.apply_plan(&plan).await;
        assert!(
            applied.report.is_complete(),
            "after {milliseconds} ms: {}",
            applied.outcomes()
        );
        scenario.expect_empty(&new).await;
        assert_eq!(scenario.cloud.dump().objects.len(), 4, "after {milliseconds} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn steps_that_failed_are_tried_again() {
    let scenario = Scenario::new();
    let text = crate::create::CHAIN;
    let plan = scenario.plan(text).await;
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::Deny).of_type("fake_machine"));
    assert_eq!(scenario.apply_plan(&plan).await.report.failed, 1);
    let applied = scenario.apply_plan(&plan).await;
    same(
        &applied.outcomes(),
        "create fake_network.net: unneeded
         create fake_machine.a: done
         create fake_record.a: done",
    );
    scenario.expect_empty(text).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_made_half_is_finished() {
    let scenario = Scenario::new();
    scenario
        .cloud
        .configure(|settings| settings.boot = Duration::from_secs(60));
    let text = machine("a", "one") + "timeouts: {create: 20s}\n";
    let plan = scenario.plan(&text).await;
    assert_eq!(scenario.apply_plan(&plan).await.report.failed, 1);
    let applied = scenario.apply_plan(&plan).await;
    same(&applied.outcomes(), "create fake_machine.a: done");
    scenario.expect_empty(&text).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
}

/// Where machines are waited for, a look at what was left takes as long as whoever applies says.
#[tokio::test(start_paused = true)]
async fn a_look_at_what_was_left_may_take_its_time() {
    for (look_timeout, outcome) in [(60, "failed"), (120, "done")] {
        let mut scenario = Scenario::new();
        scenario.apply_options.look_timeout = Duration::from_secs(look_timeout);
        let plan = scenario.plan(&machine("a", "one")).await;
        let hang = FaultRule::next(Verb::Create, Fault::HangAfter).of_type("fake_machine");
        scenario.cloud.fault(hang);
        let journal = scenario.open().await;
        let control = gabion_engine::apply::ApplyControl::new();
        let mut notes = crate::support::Notes::default();
        let run = scenario.carry_out(&plan, &journal, &control, &mut notes);
        assert!(tokio::time::timeout(Duration::from_secs(9), run).await.is_err());
        drop(journal);
        let slow = FaultRule::next(Verb::Find, Fault::Slow(Duration::from_secs(90)));
        scenario.cloud.fault(slow.times(100));
        let applied = scenario.apply_plan(&plan).await;
        let told = applied.outcomes();
        assert!(
            told.contains(&format!("create fake_machine.a: {outcome}")),
            "{told}"
        );
    }
}

/// What an earlier run left is looked at in batches, within the bound, and again when the cloud is busy.
#[tokio::test(start_paused = true)]
async fn many_unfinished_objects_are_read_in_few_calls() {
    let scenario = Scenario::new();
    scenario
        .cloud
        .configure(|settings| settings.boot = Duration::from_secs(60));
    let text: String = (0..150)
        .map(|n| machine(&format!("m{n}"), "one") + "timeouts: {create: 20s}\n")
        .collect();
    let plan = scenario.plan(&text).await;
    assert_eq!(scenario.apply_plan(&plan).await.report.failed, 150);
    tokio::time::sleep(Duration::from_secs(60)).await;
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Describe, Fault::Throttle).of_type("fake_machine"));
    let described = || scenario.cloud.dump().calls["describe fake_machine"];
    let before = described();
    let applied = scenario.apply_plan(&plan).await;
    assert!(applied.report.is_complete(), "{}", applied.outcomes());
    // Two batches, one of them twice; then each update looks whether its machine is ready.
    assert_eq!(described() - before, 3 + 150);
    scenario.expect_empty(&text).await;
}

#[tokio::test(start_paused = true)]
async fn looking_at_what_is_left_ends_when_a_person_says_so() {
    let scenario = Scenario::new();
    scenario
        .cloud
        .configure(|settings| settings.boot = Duration::from_secs(60));
    let text = machine("a", "one") + "timeouts: {create: 20s}\n";
    let plan = scenario.plan(&text).await;
    scenario.apply_plan(&plan).await;
    scenario.cloud.fault(FaultRule::next(Verb::Describe, Fault::Hang));
    let journal = scenario.open().await;
    let control = gabion_engine::apply::ApplyControl::new();
    let later = control.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        later.stop();
    });
    let began = tokio::time::Instant::now();
    let mut notes = crate::support::Notes::default();
    let report = scenario
        .carry_out(&plan, &journal, &control, &mut notes)
        .await
        .unwrap();
    journal.close().await.unwrap();
    assert!(began.elapsed().as_secs() < 4, "{:?}", began.elapsed());
    assert!(report.interrupted);
    scenario.settle(&text).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
}
