//! Objects that turn up after their creation had been settled as absent: adopted when they are wanted and their address
//! is free, else deleted; from the log alone.

use std::time::Duration;

use gabion_engine::plan::bindings::moved;
use gabion_engine::provider::Observation;
use gabion_engine::state::event::EventBody;
use gabion_engine::state::record::Status;
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Scenario, data, machine, resource, same, summary};

const LATE: Duration = Duration::from_secs(300);

/// The next creation of a machine breaks off and is carried out later.
fn delay_creation(scenario: &Scenario) {
    let rule = FaultRule::next(Verb::Create, Fault::Late(LATE)).of_type("fake_machine");
    scenario.cloud.fault(rule);
}

/// A machine whose creation was given up while nothing asked for it; it comes later.
async fn given_up(text: &str, meanwhile: &str) -> Scenario {
    let scenario = Scenario::new();
    delay_creation(&scenario);
    assert_eq!(scenario.apply(text).await.report.uncertain, 1);
    let plan = scenario.plan(meanwhile).await;
    assert!(
        summary(&plan).starts_with("found fake_machine.a absent"),
        "{}",
        summary(&plan)
    );
    scenario.apply_plan(&plan).await;
    assert_eq!(scenario.state().await.tombstones.len(), 1);
    scenario
}

#[tokio::test(start_paused = true)]
async fn what_turns_up_late_and_is_wanted_is_adopted() {
    let text = machine("a", "one");
    let scenario = given_up(&text, &data("d", "1")).await;
    tokio::time::sleep(LATE).await;
    let both = text.clone() + &data("d", "1");
    let plan = scenario.plan(&both).await;
    same(
        &summary(&plan),
        "found fake_machine.a late
         update fake_machine.a",
    );
    let uid = plan.settlements[0].uid;
    same(
        &scenario.apply_plan(&plan).await.outcomes(),
        "update fake_machine.a: done",
    );
    let record = scenario.record("fake_machine.a").await;
    assert_eq!((record.uid, record.status), (uid, Status::Ready));
    assert!(scenario.state().await.tombstones.is_empty());
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
    scenario.expect_empty(&both).await;
}

#[tokio::test(start_paused = true)]
async fn what_turns_up_late_and_is_wanted_otherwise_is_changed() {
    let scenario = given_up(&machine("a", "one"), &data("d", "1")).await;
    tokio::time::sleep(LATE).await;
    let text = resource("fake_machine", "a", "name: a, image: one, size: large") + &data("d", "1");
    let plan = scenario.plan(&text).await;
    same(
        &summary(&plan),
        "found fake_machine.a late
         update fake_machine.a (ip, size)",
    );
    scenario.apply_plan(&plan).await;
    scenario.expect_empty(&text).await;
    let replaced = machine("a", "two") + &data("d", "1");
    scenario.settle(&replaced).await;
}

#[tokio::test(start_paused = true)]
async fn what_turns_up_late_after_another_was_made_is_deleted() {
    let text = machine("a", "one");
    let scenario = given_up(&text, &text).await;
    let kept = scenario.record("fake_machine.a").await;
    scenario.expect_empty(&text).await;
    tokio::time::sleep(LATE).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 2);
    let plan = scenario.plan(&text).await;
    same(
        &summary(&plan),
        "found fake_machine.a late
         delete deposed fake_machine.a",
    );
    same(
        &scenario.apply_plan(&plan).await.outcomes(),
        "delete fake_machine.a: done",
    );
    assert_eq!(scenario.record("fake_machine.a").await.uid, kept.uid);
    let left = scenario.cloud.objects("fake_machine");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, kept.id.unwrap().as_str());
    scenario.expect_empty(&text).await;
}

#[tokio::test(start_paused = true)]
async fn what_turns_up_late_and_is_no_longer_wanted_is_deleted() {
    let scenario = given_up(&machine("a", "one"), &data("d", "1")).await;
    tokio::time::sleep(LATE).await;
    let text = data("d", "1");
    let plan = scenario.plan(&text).await;
    same(
        &summary(&plan),
        "found fake_machine.a late
         delete fake_machine.a",
    );
    scenario.apply_plan(&plan).await;
    assert!(scenario.cloud.objects("fake_machine").is_empty());
    scenario.expect_empty(&text).await;
}

#[tokio::test(start_paused = true)]
async fn what_turns_up_late_is_destroyed_with_everything() {
    let text = machine("a", "one");
    let scenario = given_up(&text, &text).await;
    tokio::time::sleep(LATE).await;
    scenario.destroy(&text).await;
    assert!(scenario.cloud.dump().objects.is_empty());
    assert!(scenario.state().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn of_two_that_turn_up_late_the_older_is_adopted() {
    let text = machine("a", "one");
    let scenario = Scenario::new();
    delay_creation(&scenario);
    scenario.apply(&text).await;
    delay_creation(&scenario);
    scenario.apply(&text).await;
    let meanwhile = data("d", "1");
    scenario.apply(&meanwhile).await;
    assert_eq!(scenario.state().await.tombstones.len(), 2);
    tokio::time::sleep(LATE).await;
    let both = text + &meanwhile;
    let plan = scenario.plan(&both).await;
    same(
        &summary(&plan),
        "found fake_machine.a late
         found fake_machine.a late
         update fake_machine.a
         delete deposed fake_machine.a",
    );
    scenario.apply_plan(&plan).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
    scenario.expect_empty(&both).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_later_creation_of_unknown_outcome_may_have_made_too_is_left_alone_until_that_is_known() {
    let text = machine("a", "one");
    let scenario = given_up(&text, &data("d", "1")).await;
    let both = text + &data("d", "1");
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::LoseResponse).of_type("fake_machine"));
    scenario.apply(&both).await;
    tokio::time::sleep(LATE).await;
    let rule = FaultRule::next(Verb::Find, Fault::Deny).of_type("fake_machine");
    scenario.cloud.fault(rule);
    let plan = scenario.plan(&both).await;
    assert_eq!(summary(&plan), "nothing");
    assert_eq!(plan.unsettled.len(), 2, "{:#?}", plan.unsettled);
    scenario.apply_plan(&plan).await;
    let plan = scenario.plan(&both).await;
    same(
        &summary(&plan),
        "found fake_machine.a present
         found fake_machine.a late
         update fake_machine.a
         delete deposed fake_machine.a",
    );
    scenario.apply_plan(&plan).await;
    scenario.expect_empty(&both).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
}

/// A natural key names one object, whoever made it: a late request to make it only writes it again.
#[tokio::test(start_paused = true)]
async fn a_late_upsert_is_drift_and_no_object_of_its_own() {
    let text = |value: &str| {
        resource(
            "fake_record",
            "r",
            &format!("name: r.example, values: ['{value}']"),
        )
    };
    let scenario = Scenario::new();
    let rule = FaultRule::next(Verb::Create, Fault::Late(LATE)).of_type("fake_record");
    scenario.cloud.fault(rule);
    scenario.apply(&text("1")).await;
    scenario.settle(&text("2")).await;
    tokio::time::sleep(LATE).await;
    let plan = scenario.plan(&text("2")).await;
    same(&summary(&plan), "update fake_record.r (values)");
    scenario.apply_plan(&plan).await;
    scenario.expect_empty(&text("2")).await;
    assert_eq!(scenario.cloud.objects("fake_record").len(), 1);
}

/// The id was told, and the object became visible only long after it was looked for.
#[tokio::test(start_paused = true)]
async fn a_checkpointed_creation_that_was_given_up_is_found_by_its_id() {
    let scenario = Scenario::new();
    let text = machine("a", "one");
    scenario
        .cloud
        .configure(|settings| settings.consistency = Duration::from_secs(3600));
    let plan = scenario.plan(&text).await;
    let journal = scenario.open().await;
    let mut notes = crate::support::Notes::default();
    let control = gabion_engine::apply::ApplyControl::new();
    let run = scenario.carry_out(&plan, &journal, &control, &mut notes);
    drop(tokio::time::timeout(Duration::from_secs(2), run).await);
    drop(journal);
    scenario
        .cloud
        .configure(|settings| settings.consistency = Duration::ZERO);
    let lost = scenario.record("fake_machine.a").await;
    assert!(lost.id.is_some());
    let plan = scenario.plan(&text).await;
    same(
        &summary(&plan),
        "found fake_machine.a absent
         create fake_machine.a",
    );
    scenario.apply_plan(&plan).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let plan = scenario.plan(&text).await;
    same(
        &summary(&plan),
        "found fake_machine.a late
         delete deposed fake_machine.a",
    );
    let Observation::Present(found) = &plan.settlements[0].observation else {
        panic!("it is there");
    };
    assert_eq!(Some(&found.id), lost.id.as_ref());
    scenario.apply_plan(&plan).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
    scenario.expect_empty(&text).await;
}

#[tokio::test(start_paused = true)]
async fn what_turns_up_late_is_looked_for_for_a_day() {
    let text = machine("a", "one");
    let mut scenario = given_up(&text, &text).await;
    tokio::time::sleep(LATE).await;
    scenario.now += jiff::SignedDuration::from_hours(24);
    scenario.expect_empty(&text).await;
    scenario.now -= jiff::SignedDuration::from_secs(1);
    let plan = scenario.plan(&text).await;
    same(
        &summary(&plan),
        "found fake_machine.a late
         delete deposed fake_machine.a",
    );
}

#[tokio::test(start_paused = true)]
async fn what_turned_up_late_is_carried_along_by_a_move() {
    let scenario = given_up(&machine("a", "one"), &data("d", "1")).await;
    tokio::time::sleep(LATE).await;
    let text = resource("fake_machine", "b", "name: a, image: one")
        + &data("d", "1")
        + "---\ntype: moved\nfrom: fake_machine.a\nto: fake_machine.b\n";
    let plan = scenario.plan(&text).await;
    same(
        &summary(&plan),
        "found fake_machine.a late
         update fake_machine.b",
    );
    scenario.apply_plan(&plan).await;
    scenario.expect_empty(&text).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_turned_up_late_can_be_forgotten() {
    let scenario = given_up(&machine("a", "one"), &data("d", "1")).await;
    tokio::time::sleep(LATE).await;
    let text = data("d", "1") + "---\ntype: removed\nfrom: fake_machine.a\nlifecycle: {destroy: false}\n";
    let plan = scenario.plan(&text).await;
    same(
        &summary(&plan),
        "found fake_machine.a late
         forget fake_machine.a",
    );
    scenario.apply_plan(&plan).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
    assert!(!scenario.is_recorded("fake_machine.a").await);
    scenario.expect_empty(&text).await;
}

/// A run that settles it may die at any moment; the same plan again, or a new one, ends it.
#[tokio::test(start_paused = true)]
async fn settling_what_turned_up_late_may_be_cut_off_anywhere() {
    let text = machine("a", "one");
    for again in [false, true] {
        for milliseconds in (0..4_000).step_by(250) {
            let scenario = given_up(&text, &text).await;
            scenario
                .cloud
                .configure(|settings| settings.latency = Duration::from_millis(600));
            tokio::time::sleep(LATE).await;
            let plan = scenario.plan(&text).await;
            let journal = scenario.open().await;
            let mut notes = crate::support::Notes::default();
            let control = gabion_engine::apply::ApplyControl::new();
            let run = scenario.carry_out(&plan, &journal, &control, &mut notes);
            drop(tokio::time::timeout(Duration::from_millis(milliseconds), run).await);
            drop(journal);
            if again {
                let stale = moved(
                    &plan,
                    &plan.digest(),
                    &scenario.state().await,
                    &Default::default(),
                );
                assert!(stale.is_empty(), "after {milliseconds} ms: {stale:?}");
                scenario.apply_plan(&plan).await;
            }
            scenario.apply(&text).await;
            scenario.expect_empty(&text).await;
            let left = scenario.cloud.objects("fake_machine").len();
            assert_eq!(left, 1, "after {milliseconds} ms");
        }
    }
}

/// Another run was first: it settled what turned up, or made something at the address.
#[tokio::test(start_paused = true)]
async fn a_plan_that_settles_what_another_run_settled_is_stale() {
    let text = machine("a", "one");
    let scenario = given_up(&text, &data("d", "1")).await;
    tokio::time::sleep(LATE).await;
    let both = text + &data("d", "1");
    let plan = scenario.plan(&both).await;
    scenario.apply(&(both + &data("e", "1"))).await;
    let stale = moved(
        &plan,
        &plan.digest(),
        &scenario.state().await,
        &Default::default(),
    );
    let messages: Vec<&str> = stale.iter().map(|moved| moved.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "The plan creates `fake_machine.a`, and it exists by now: it was recorded at serial 3.",
            "The plan takes over an object of `fake_machine.a` that turned up late, and another run settled that by \
             now.",
        ]
    );
}

/// What was written names the record, so that it can be read without the tombstone.
#[tokio::test(start_paused = true)]
async fn the_log_tells_what_turned_up() {
    let text = machine("a", "one");
    let scenario = given_up(&text, &text).await;
    tokio::time::sleep(LATE).await;
    scenario.apply(&text).await;
    let log = scenario.log().await;
    let found = log.iter().find_map(|event| match event {
        EventBody::TurnedUp { record, state, .. } => Some((record, state)),
        _ => None,
    });
    let (record, state) = found.expect("it is in the log");
    assert_eq!(record.address.to_string(), "fake_machine.a");
    assert!(record.id.is_none());
    assert!(!state.id.as_str().is_empty());
}
