//! Gathering: batched, only as much as was asked for, and never wrong about what it could not see.

use std::collections::BTreeMap;

use gabion_engine::gather::{GatherEvent, GatherLimits, GatherObserver, GatherRequest, gather};
use gabion_engine::provider::{Observation, ReadOutcome};
use gabion_engine::state::State;
use gabion_engine::state::record::Status;
use gabion_engine::world::{Refresh, World};
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};
use jiff::Timestamp;

use crate::support::{Scenario, machine, resource, same, summary};

fn read_names(state: &State, world: &World) -> Vec<String> {
    world
        .objects
        .keys()
        .map(|uid| state.record(*uid).unwrap().address.to_string())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn one_call_reads_a_hundred_objects() {
    let scenario = Scenario::new();
    let text: String = (0..250)
        .map(|n| resource("fake_disk", &format!("d{n}"), &format!("name: d{n}, size: 1")))
        .collect();
    scenario.settle(&text).await;
    let calls = |scenario: &Scenario| scenario.cloud.dump().calls["describe fake_disk"];
    let before = calls(&scenario);
    let world = scenario
        .gather(&scenario.configuration(&text), Refresh::Full)
        .await;
    assert_eq!(world.objects.len(), 250);
    assert_eq!(calls(&scenario) - before, 3);
}

#[tokio::test(start_paused = true)]
async fn a_minimal_refresh_reads_what_changes_and_what_refers_to_it() {
    let scenario = Scenario::new();
    let text = |image: &str| {
        crate::create::CHAIN.replace("image: one", &format!("image: {image}")) + &machine("other", "one")
    };
    scenario.settle(&text("one")).await;
    let state = scenario.state().await;
    let world = scenario
        .gather(&scenario.configuration(&text("two")), Refresh::Minimal)
        .await;
    assert_eq!(read_names(&state, &world), ["fake_machine.a", "fake_record.a"]);
    let world = scenario
        .gather(&scenario.configuration(&text("one")), Refresh::Minimal)
        .await;
    assert!(world.objects.is_empty());
    // What left the configuration is read before it is deleted.
    let world = scenario
        .gather(&scenario.configuration(crate::create::CHAIN), Refresh::Minimal)
        .await;
    assert_eq!(read_names(&state, &world), ["fake_machine.other"]);
    let world = scenario
        .gather(&scenario.configuration(&text("two")), Refresh::None)
        .await;
    assert!(world.objects.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ready_is_read_whatever_was_asked_for() {
    let scenario = Scenario::new();
    let text = machine("a", "one");
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::NeverReady));
    scenario.apply(&text).await;
    assert_eq!(scenario.record("fake_machine.a").await.status, Status::Incomplete);
    let world = scenario
        .gather(&scenario.configuration(&text), Refresh::None)
        .await;
    assert_eq!(world.objects.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_panics_or_hangs_is_an_object_that_cannot_be_told() {
    for (fault, reason) in [
        (
            Fault::Panic,
            "Reading 1 fake_machine failed because the provider panicked",
        ),
        (Fault::Hang, "Reading 1 fake_machine did not end within 60 s."),
    ] {
        let scenario = Scenario::new();
        let text = machine("a", "one");
        scenario.settle(&text).await;
        scenario.cloud.fault(FaultRule::next(Verb::Describe, fault));
        let world = scenario
            .gather(&scenario.configuration(&text), Refresh::Full)
            .await;
        let outcome = world.objects.values().next().unwrap();
        let ReadOutcome::CannotTell { reason: said } = outcome else {
            panic!("{outcome:?}");
        };
        assert!(said.starts_with(reason), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn passing_errors_are_waited_out() {
    let scenario = Scenario::new();
    let text = machine("a", "one");
    scenario.settle(&text).await;
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Describe, Fault::Throttle).times(3));
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Facts, Fault::Transient));
    scenario.expect_empty(&text).await;
}

#[tokio::test(start_paused = true)]
async fn facts_come_from_the_providers_that_the_configuration_uses() {
    let scenario = Scenario::new();
    scenario.cloud.set_fact("newest_image", "three".into());
    let plan = scenario.plan(&machine("a", "one")).await;
    assert_eq!(*plan.changes[0].notes, ["There is a newer image: three."]);
}

#[derive(Default)]
struct Said(Vec<GatherEvent>);

impl GatherObserver for Said {
    fn observe(&mut self, event: &GatherEvent) {
        self.0.push(event.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn what_carries_our_mark_and_is_in_no_record_is_listed_for_drift() {
    let scenario = Scenario::new();
    let text = machine("a", "one") + &machine("b", "one");
    scenario.settle(&text).await;
    let forgotten =
        machine("b", "one") + "---\ntype: removed\nfrom: fake_machine.a\nlifecycle: {destroy: false}\n";
    scenario.apply(&forgotten).await;
    let state = scenario.state().await;
    let configuration = scenario.configuration(&forgotten);
    let request = GatherRequest {
        state: &state,
        configuration: &configuration,
        providers: &scenario.providers,
        refresh: Refresh::Full,
        unmanaged: true,
        lease: None,
        fingerprints: None,
        now: Timestamp::UNIX_EPOCH,
    };
    let mut said = Said::default();
    let world = gather(request, &GatherLimits::default(), &mut said)
        .await
        .unwrap();
    let names: Vec<_> = world
        .unmanaged
        .iter()
        .map(|object| object.address.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(names, ["fake_machine.a"]);
    assert_eq!(
        said.0,
        [
            GatherEvent::Started {
                objects: 1,
                observations: 0
            },
            GatherEvent::Read { done: 1, of: 1 }
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_arrives_after_it_was_given_up_is_found_by_later_runs() {
    let scenario = Scenario::new();
    let text = machine("a", "one");
    let late = Fault::Late(std::time::Duration::from_secs(300));
    scenario.cloud.fault(FaultRule::next(Verb::Create, late));
    scenario.apply(&text).await;
    let plan = scenario.plan(&text).await;
    same(
        &summary(&plan),
        "found fake_machine.a absent
         create fake_machine.a",
    );
    scenario.apply_plan(&plan).await;
    tokio::time::sleep(std::time::Duration::from_secs(300)).await;
    let world = scenario
        .gather(&scenario.configuration(&text), Refresh::Full)
        .await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 2);
    let observations: Vec<_> = world.observations.values().collect();
    assert!(
        matches!(observations.as_slice(), [Observation::Present(found)] if found.id.as_str() == "machine-0002"),
        "{observations:?}"
    );
}

/// The same state and world give the same plan, byte for byte.
#[tokio::test(start_paused = true)]
async fn what_was_gathered_reads_back_the_same() {
    let mut scenario = Scenario::new();
    scenario.environment = BTreeMap::from([("T".to_owned(), "hunter2hunter2".to_owned())]);
    let text =
        resource("fake_disk", "d", "name: d, size: 1, passphrase: '${{ env.T }}'") + &machine("a", "one");
    scenario.settle(&text).await;
    let world = scenario
        .gather(&scenario.configuration(&text), Refresh::Full)
        .await;
    let written = serde_json::to_string(&world).unwrap();
    assert!(!written.contains("hunter2"));
    let read: World = serde_json::from_str(&written).unwrap();
    assert_eq!(read, world);
}

/// What was made long ago and is not found is gone; only what was made just now may not be visible yet.
#[tokio::test(start_paused = true)]
async fn only_young_objects_that_are_not_found_are_waited_for() {
    for (age, waits) in [(0, true), (3600, false)] {
        let mut scenario = Scenario::new();
        let text = machine("a", "one");
        scenario.settle(&text).await;
        scenario.now = Timestamp::from_second(age).unwrap();
        scenario.cloud.remove("machine-0001");
        let began = tokio::time::Instant::now();
        let world = scenario
            .gather(&scenario.configuration(&text), Refresh::Full)
            .await;
        assert_eq!(world.objects.values().collect::<Vec<_>>(), [&ReadOutcome::Absent]);
        let waited = began.elapsed() >= std::time::Duration::from_secs(2);
        assert_eq!(waited, waits, "{age} s: {:?}", began.elapsed());
    }
}
