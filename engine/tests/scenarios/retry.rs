//! Trying again: throttling and passing errors, within the deadline, under one operation id.

use std::sync::Arc;

use gabion_engine::apply::event::ApplyEvent;
use gabion_engine::retry::Jitter;
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Scenario, machine, same};

#[tokio::test(start_paused = true)]
async fn throttled_and_transient_calls_are_made_again() {
    let scenario = Scenario::new();
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::Throttle).times(2));
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::Transient));
    let applied = scenario.settle(&machine("a", "one")).await;
    same(&applied.outcomes(), "create fake_machine.a: done");
    assert_eq!(
        applied.count(|event| matches!(event, ApplyEvent::StepRetried { .. })),
        3
    );
    let intents = scenario.log().await;
    let intents = intents
        .iter()
        .filter(|body| matches!(body, gabion_engine::state::event::EventBody::Intent(_)));
    assert_eq!(intents.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_never_passes_fails_without_effect() {
    let scenario = Scenario::new();
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::Throttle).times(100));
    let applied = scenario.apply(&machine("a", "one")).await;
    same(
        &applied.outcomes(),
        "create fake_machine.a: failed: The cloud refused: too many requests.",
    );
    assert!(scenario.state().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_busy_cloud_only_takes_longer() {
    let scenario = Scenario::new();
    scenario.cloud.configure(|settings| settings.rate = Some(20));
    let text: String = (0..30).map(|n| machine(&format!("m{n}"), "one")).collect();
    scenario.settle(&text).await;
}

/// A bug of the engine in the task of a call.
struct Broken;

impl Jitter for Broken {
    fn fraction(&self) -> f64 {
        panic!("a bug in the task of a call")
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "a bug in the task of a call")]
async fn a_run_does_not_wait_for_a_call_whose_task_panicked() {
    let mut scenario = Scenario::new();
    scenario.apply_options.retry.jitter = Arc::new(Broken);
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::Throttle));
    scenario.apply(&machine("a", "one")).await;
}
