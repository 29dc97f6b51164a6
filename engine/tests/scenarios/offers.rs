//! No capacity for what was chosen: the plan's next offer is asked for, once it is known that the one before made nothing.

use gabion_engine::apply::event::{ApplyEvent, StepOutcome};
use gabion_engine::plan::Plan;
use gabion_engine::provider::{Effect, ErrorClass, Observation};
use gabion_engine::state::event::EventBody;
use gabion_engine::state::history::history;
use gabion_engine::value::Value;
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Scenario, data, machine, same};

fn scenario() -> Scenario {
    let mut scenario = Scenario::new();
    scenario.other_zones = vec!["zone-b", "zone-c"];
    scenario
}

fn full(times: u32) -> FaultRule {
    FaultRule::next(Verb::Create, Fault::NoCapacity)
        .of_type("fake_machine")
        .times(times)
}

fn text(image: &str) -> String {
    machine("a", image) + &data("where", "'${{ fake_machine.a.zone }}'")
}

#[tokio::test(start_paused = true)]
async fn the_next_offer_is_asked_for_and_what_leads_to_the_object_learns_what_it_is() {
    let scenario = scenario();
    let plan = scenario.plan(&text("one")).await;
    // A saved plan carries its offers, and its digest covers them.
    let plan = Plan::from_file(&plan.to_file().unwrap()).unwrap();
    scenario.cloud.fault(full(2));
    let applied = scenario.apply_plan(&plan).await;
    same(
        &applied.outcomes(),
        "create fake_machine.a: done
         create gabion_data.where: done",
    );
    let offers: Vec<_> = applied
        .events
        .iter()
        .filter_map(|event| match event {
            ApplyEvent::StepOffered {
                refused,
                offer,
                number,
                of,
                ..
            } => Some((refused.class, offer.as_str(), *number, *of)),
            _ => None,
        })
        .collect();
    let class = ErrorClass::NoCapacity;
    assert_eq!(offers, [(class, "zone-b", 2, 3), (class, "zone-c", 3, 3)]);
    let output = scenario.record("gabion_data.where").await.attributes;
    assert_eq!(output.get("output"), Some(&Value::from("zone-c")));
    scenario.expect_empty(&text("one")).await;

    // Each refusal is followed at once by the intent of the next offer, an operation and an object of its own.
    let log = scenario.log().await;
    let mut operations = Vec::new();
    for (at, event) in log.iter().enumerate() {
        match event {
            EventBody::Intent(intent) if intent.address.to_string() == "fake_machine.a" => {
                operations.push((intent.operation, intent.uid));
            }
            EventBody::Failed { .. } => assert!(matches!(log[at + 1], EventBody::Intent(_)), "{log:?}"),
            _ => {}
        }
    }
    assert_eq!(operations.len(), 3);
    operations.sort();
    operations.dedup_by(|a, b| a.0 == b.0 || a.1 == b.1);
    assert_eq!(operations.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn when_no_offer_can_be_had_one_error_tells_the_reason_of_each_and_the_old_object_stays() {
    let scenario = scenario();
    scenario.settle(&text("one")).await;
    let old = scenario.record("fake_machine.a").await.uid;
    scenario.cloud.fault(full(3));
    let applied = scenario.apply(&text("two")).await;
    let failed = applied.report.steps.iter().find_map(|step| match &step.outcome {
        StepOutcome::Failed(error) => Some(error),
        _ => None,
    });
    let error = failed.unwrap();
    assert_eq!(
        (error.class, error.effect),
        (ErrorClass::NoCapacity, Effect::None)
    );
    assert_eq!(
        error.message,
        "None of the 3 offers for `fake_machine.a` can be had."
    );
    let why = "The cloud refused: there is no room for it.";
    assert_eq!(
        error.detail,
        ["any zone", "zone-b", "zone-c"].map(|offer| format!("{offer}: {why}"))
    );
    let state = scenario.state().await;
    assert!(!state.record(old).unwrap().deposed);
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
    scenario.settle(&text("two")).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_but_a_known_refusal_for_want_of_capacity_leads_to_the_next_offer() {
    for fault in [
        Fault::Deny,
        Fault::Invalid,
        Fault::LoseRequest,
        Fault::LoseResponse,
        Fault::HangAfter,
    ] {
        let scenario = scenario();
        let rule = FaultRule::next(Verb::Create, fault).of_type("fake_machine");
        scenario.cloud.fault(rule);
        let applied = scenario.apply(&text("one")).await;
        let offered = applied.count(|event| matches!(event, ApplyEvent::StepOffered { .. }));
        assert_eq!((offered, applied.report.done), (0, 0), "{fault:?}");
        scenario.apply(&text("one")).await;
        scenario.settle(&text("one")).await;
        assert_eq!(scenario.cloud.objects("fake_machine").len(), 1, "{fault:?}");
    }
}

fn withdrawn(times: u32) -> FaultRule {
    FaultRule::next(Verb::Create, Fault::Withdraw)
        .of_type("fake_machine")
        .times(times)
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_accepted_and_ends_for_want_of_capacity_leads_to_the_next_offer() {
    let scenario = scenario();
    scenario.cloud.fault(withdrawn(2));
    let applied = scenario.apply(&text("one")).await;
    same(
        &applied.outcomes(),
        "create fake_machine.a: done
         create gabion_data.where: done",
    );
    let output = scenario.record("gabion_data.where").await.attributes;
    assert_eq!(output.get("output"), Some(&Value::from("zone-c")));
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
    scenario.expect_empty(&text("one")).await;

    // That it is gone is in the log before anything is asked for in its place.
    let log = scenario.log().await;
    let gone: Vec<_> = log
        .windows(4)
        .filter_map(|events| match events {
            [
                EventBody::Checkpoint { operation, .. },
                EventBody::Failed { error, .. },
                EventBody::Settled {
                    operation: settled,
                    observation: Observation::Absent,
                },
                EventBody::Intent(next),
            ] => {
                assert_eq!((operation, error.effect), (settled, Effect::Unknown));
                Some(next.address.to_string())
            }
            _ => None,
        })
        .collect();
    assert_eq!(gone, ["fake_machine.a", "fake_machine.a"], "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn when_every_offer_was_withdrawn_nothing_is_left_of_them_and_the_old_object_stays() {
    let scenario = scenario();
    scenario.settle(&text("one")).await;
    let old = scenario.record("fake_machine.a").await.uid;
    scenario.cloud.fault(withdrawn(3));
    let applied = scenario.apply(&text("two")).await;
    let error = applied.report.steps.iter().find_map(|step| match &step.outcome {
        StepOutcome::Failed(error) => Some(error),
        _ => None,
    });
    assert_eq!(
        error.unwrap().message,
        "None of the 3 offers for `fake_machine.a` can be had."
    );
    let state = scenario.state().await;
    assert!(!state.record(old).unwrap().deposed);
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
    scenario.settle(&text("two")).await;
}

#[tokio::test(start_paused = true)]
async fn the_look_whether_it_is_gone_is_tried_again_when_that_may_pass() {
    for fault in [Fault::Throttle, Fault::Transient] {
        let scenario = scenario();
        let plan = scenario.plan(&text("one")).await;
        scenario.cloud.fault(withdrawn(1));
        let looks = FaultRule::next(Verb::Find, fault).of_type("fake_machine");
        scenario.cloud.fault(looks.times(2));
        let applied = scenario.apply_plan(&plan).await;
        same(
            &applied.outcomes(),
            "create fake_machine.a: done
             create gabion_data.where: done",
        );
        let retried = applied.count(|event| matches!(event, ApplyEvent::StepRetried { .. }));
        assert_eq!(retried, 2, "{fault:?}");
        scenario.expect_empty(&text("one")).await;
        let told = history(&*scenario.store, None).await.unwrap();
        let told: Vec<&str> = told.iter().map(|entry| &*entry.what).collect();
        for what in [
            "creation found no capacity for what it had made: ",
            "found not to exist after a creation that found no capacity",
        ] {
            assert!(told.iter().any(|told| told.starts_with(what)), "{told:#?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn when_nobody_can_tell_whether_it_is_gone_no_other_offer_is_asked_for_and_the_error_says_so() {
    let scenario = scenario();
    let plan = scenario.plan(&text("one")).await;
    scenario.cloud.fault(withdrawn(1));
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Find, Fault::Deny).of_type("fake_machine"));
    let applied = scenario.apply_plan(&plan).await;
    let error = applied.report.steps.iter().find_map(|step| match &step.outcome {
        StepOutcome::Failed(error) => Some(error),
        _ => None,
    });
    let error = error.unwrap();
    assert_eq!(
        (error.class, error.effect),
        (ErrorClass::NoCapacity, Effect::Partial)
    );
    assert_eq!(
        error.detail,
        [
            "No other offer was asked for: whether what was made is gone is not known. The cloud refused: these credentials \
             do not allow it."
        ]
    );
    let offered = applied.count(|event| matches!(event, ApplyEvent::StepOffered { .. }));
    assert_eq!(offered, 0);
    scenario.settle(&text("one")).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cut_off_among_its_offers_goes_on() {
    let moments = (0..12_000).step_by(300);
    for (milliseconds, fault) in moments.flat_map(|at| [(at, full(2)), (at, withdrawn(2))]) {
        let scenario = scenario();
        scenario.settle(&text("one")).await;
        let plan = scenario.plan(&text("two")).await;
        scenario.cloud.fault(fault);
        let journal = scenario.open().await;
        let control = gabion_engine::apply::ApplyControl::new();
        let mut notes = crate::support::Notes::default();
        let run = scenario.carry_out(&plan, &journal, &control, &mut notes);
        drop(tokio::time::timeout(std::time::Duration::from_millis(milliseconds), run).await);
        drop(journal);
        let applied = scenario.apply_plan(&plan).await;
        assert!(
            applied.report.is_complete(),
            "after {milliseconds} ms: {}",
            applied.outcomes()
        );
        scenario.expect_empty(&text("two")).await;
        assert_eq!(
            scenario.cloud.objects("fake_machine").len(),
            1,
            "after {milliseconds} ms"
        );
    }
}
