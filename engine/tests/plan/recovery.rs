//! Calls without a result: settled by what was observed, or left alone.

use gabion_engine::address::{ObjectId, OperationId};
use gabion_engine::plan::Plan;
use gabion_engine::plan::resume::{Progress, progress};
use gabion_engine::provider::{CallAction, Effect, ErrorClass, Observation, ProviderError};
use gabion_engine::state::event::{AskedBy, EventBody, Holder, Intent};
use gabion_engine::value::Attributes;
use insta::assert_snapshot;
use uuid::Uuid;

use crate::support::{Scenario, address, render, uid_of};

const CONFIG: &str = "box a: {input: 1}\nbox b: {input: '${{ box.a.id }}'}\nbox c: {}";

fn operation() -> OperationId {
    OperationId::from_uuid(Uuid::from_u64_pair(5, 5))
}

/// A run of a plan that died in the middle of its first step.
fn interrupted(plan: &Plan, scenario: &mut Scenario) {
    scenario.begin(plan);
    let change = &plan.changes[plan.steps[0].change];
    scenario.fold(EventBody::Intent(Intent {
        operation: operation(),
        action: CallAction::Create,
        uid: gabion_engine::address::Uid::from_uuid(Uuid::from_u64_pair(1, 50)),
        address: change.address.clone(),
        inputs: change.inputs.clone().unwrap(),
        declaration: change.declaration.clone(),
        deposes: None,
        asked_by: AskedBy::Digest(Some(plan.digest())),
        step: 0,
    }));
}

#[test]
fn a_creation_that_happened_is_adopted_and_finished() {
    let mut scenario = Scenario::new(CONFIG);
    let plan = scenario.plan();
    interrupted(&plan, &mut scenario);
    let uid = uid_of(&scenario, "box.a");
    let inputs = plan.changes[0].inputs.clone().unwrap();
    let object = scenario.make(uid, &address("box.a"), &inputs);
    scenario.cloud.insert(uid, object.clone());
    scenario
        .world
        .observations
        .insert(operation(), Observation::Present(object));
    let after = scenario.plan();
    assert_snapshot!(render(&after), @r#"
    settled box.a: present as id-50
    update box.a: incomplete
    create box.b: new
        id: - -> Unknown (computed)
        input: - -> "id-50" (main.gabion.yml:11:21)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    create box.c: new
        id: - -> Unknown (computed)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    0. update box.a
    1. create box.b after 0
    2. create box.c
    "#);
    scenario.apply();
}

#[test]
fn a_creation_that_did_not_happen_is_planned_again() {
    let mut scenario = Scenario::new(CONFIG);
    let plan = scenario.plan();
    interrupted(&plan, &mut scenario);
    scenario
        .world
        .observations
        .insert(operation(), Observation::Absent);
    assert_snapshot!(render(&scenario.plan()), @r"
    settled box.a: absent
    create box.a: new
        id: - -> Unknown (computed)
        input: - -> 1 (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    create box.b: new
        id: - -> Unknown (computed)
        input: - -> Unknown(${{ box.a.id }}) (box.a.id)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    create box.c: new
        id: - -> Unknown (computed)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    0. create box.a
    1. create box.b after 0
    2. create box.c
    ");
    scenario.apply();
}

#[test]
fn what_is_in_flight_or_unknown_is_left_alone_with_its_dependants() {
    let mut scenario = Scenario::new(CONFIG);
    let plan = scenario.plan();
    interrupted(&plan, &mut scenario);
    let reason = "The API does not answer.".to_owned();
    scenario
        .world
        .observations
        .insert(operation(), Observation::Unknown { reason });
    assert_snapshot!(render(&scenario.plan()), @r"
    unsettled box.a: The API does not answer.
    create box.c: new
        id: - -> Unknown (computed)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    note `box.b` is left alone: it depends on `box.a`, whose call is unsettled.
    0. create box.c
    ");
    scenario.world.lease = Some(Holder {
        who: "bob".to_owned(),
        host: "lap".to_owned(),
        process: None,
        operation: "apply".to_owned(),
    });
    assert_snapshot!(render(&scenario.plan()), @r"
    unsettled box.a: The call is in flight: bob holds the lease on lap for `apply`.
    create box.c: new
        id: - -> Unknown (computed)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    note `box.b` is left alone: it depends on `box.a`, whose call is unsettled.
    0. create box.c
    ");
}

#[test]
fn an_incomplete_object_is_updated_even_when_nothing_differs() {
    let mut scenario = Scenario::applied(CONFIG);
    let uid = uid_of(&scenario, "box.a");
    let record = scenario.state.record(uid).unwrap().clone();
    scenario.fold(EventBody::Intent(Intent {
        operation: operation(),
        action: CallAction::Update,
        uid,
        address: record.address.clone(),
        inputs: record.inputs.clone(),
        declaration: Some(record.declaration.clone()),
        deposes: None,
        asked_by: AskedBy::Digest(None),
        step: 0,
    }));
    let error = ProviderError::new(ErrorClass::Invalid, "It broke.").with_effect(Effect::Partial);
    scenario.fold(EventBody::Failed {
        operation: operation(),
        error,
    });
    assert_snapshot!(render(&scenario.plan()), @r"
    update box.a: incomplete
    0. update box.a
    ");
    // What cannot be read of it counts as different.
    let object = scenario.cloud.get_mut(&uid).unwrap();
    object.unreadable = vec!["input".parse().unwrap()];
    object.attributes.remove("input");
    assert_snapshot!(render(&scenario.plan()), @r"
    update box.a: incomplete, changed
        input: 1 -> 1 (main.gabion.yml:5:21)
    0. update box.a
    ");
    scenario.hide("box.a");
    assert_snapshot!(render(&scenario.plan()), @r"
    update box.a: incomplete, changed
        input: 1 -> 1 (main.gabion.yml:5:21)
    drift box.a: cannot tell: The machine does not answer.
    0. update box.a
    ");
}

#[test]
fn a_deletion_that_did_not_finish_is_finished_first() {
    let mut scenario = Scenario::applied(CONFIG);
    let uid = uid_of(&scenario, "box.c");
    scenario.fold(EventBody::Intent(Intent {
        operation: operation(),
        action: CallAction::Delete,
        uid,
        address: address("box.c"),
        inputs: Attributes::new(),
        declaration: None,
        deposes: None,
        asked_by: AskedBy::Digest(None),
        step: 0,
    }));
    let error = ProviderError::new(ErrorClass::Conflict, "It is in use.").with_effect(Effect::Partial);
    scenario.fold(EventBody::Failed {
        operation: operation(),
        error,
    });
    assert_snapshot!(render(&scenario.plan()), @r#"
    replace delete-first box.c: incomplete
        id: "id-5" -> Unknown (computed)
        output: - -> Unknown (computed)
        zone: "zone-of-c" -> Unknown (computed)
        note The deletion of the old object began in an earlier run: it is finished first.
    0. delete box.c
    1. create box.c after 0
    "#);
    scenario.apply();
}

/// A creation of `box.a` that was given up, and an object of it that is there after all.
fn turned_up() -> Scenario {
    let mut scenario = Scenario::new(CONFIG);
    let plan = scenario.plan();
    interrupted(&plan, &mut scenario);
    let uid = uid_of(&scenario, "box.a");
    scenario.fold(EventBody::Settled {
        operation: operation(),
        observation: Observation::Absent,
    });
    let inputs = plan.changes[0].inputs.clone().unwrap();
    let mut object = scenario.make(uid, &address("box.a"), &inputs);
    object.id = ObjectId::new("i-late");
    object.attributes.insert("id".into(), "i-late".into());
    scenario
        .world
        .observations
        .insert(operation(), Observation::Present(object));
    scenario
}

#[test]
fn a_late_object_is_adopted_at_its_free_address() {
    let mut scenario = turned_up();
    assert_snapshot!(render(&scenario.plan()), @r#"
    settled box.a: late as i-late
    update box.a: turnedup, incomplete
    create box.b: new
        id: - -> Unknown (computed)
        input: - -> "i-late" (main.gabion.yml:11:21)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    create box.c: new
        id: - -> Unknown (computed)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    0. update box.a
    1. create box.b after 0
    2. create box.c
    "#);
    assert!(scenario.plan().bindings.absent.contains(&address("box.a")));
    scenario.apply();
}

#[test]
fn a_late_object_whose_address_is_taken_is_deleted() {
    let mut scenario = turned_up();
    let late = scenario.world.observations.remove(&operation()).unwrap();
    scenario.apply();
    scenario.world.observations.insert(operation(), late);
    assert_snapshot!(render(&scenario.plan()), @r"
    settled box.a: late as i-late
    delete box.a (deposed): turnedup, deposed
    0. delete box.a
    ");
    scenario.apply();
}

#[test]
fn a_late_object_that_nothing_declares_any_more_is_deleted() {
    let mut scenario = turned_up();
    scenario.configure("box c: {}");
    assert_snapshot!(render(&scenario.plan()), @r"
    settled box.a: late as i-late
    delete box.a: undeclared, turnedup
    create box.c: new
        id: - -> Unknown (computed)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    0. delete box.a
    1. create box.c
    ");
    scenario.apply();
}

#[test]
fn a_late_object_is_settled_even_where_a_selection_leaves_its_change_out() {
    let mut scenario = turned_up();
    scenario.options.targets.push("box.c".parse().unwrap());
    assert_snapshot!(render(&scenario.plan()), @r"
    settled box.a: late as i-late
    create box.c: new
        id: - -> Unknown (computed)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    left out box.a
    left out box.b
    note This plan is partial. 2 changes are left out.
    0. create box.c
    ");
}

#[test]
fn whether_a_late_object_is_there_may_not_be_known() {
    let mut scenario = turned_up();
    let reason = "The API does not answer.".to_owned();
    scenario
        .world
        .observations
        .insert(operation(), Observation::Unknown { reason });
    scenario.options.targets.push("box.c".parse().unwrap());
    assert_snapshot!(render(&scenario.plan()), @r"
    create box.c: new
        id: - -> Unknown (computed)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    left out box.a
    left out box.b
    note This plan is partial. 2 changes are left out.
    note Whether the creation of `box.a` that was given up made something after all could not be found out: The API does not answer.
    0. create box.c
    ");
}

/// Logs of earlier versions remember only the address of what was given up.
#[test]
fn a_late_object_of_which_too_little_is_known_is_reported() {
    let mut scenario = turned_up();
    scenario.state.tombstones.get_mut(&operation()).unwrap().record = None;
    scenario.options.targets.push("box.c".parse().unwrap());
    assert_snapshot!(render(&scenario.plan()), @r"
    create box.c: new
        id: - -> Unknown (computed)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    left out box.a
    left out box.b
    note The creation of `box.a` that was given up turned up late: the object `i-late` exists and is not managed. Import it, or delete it by hand.
    note This plan is partial. 2 changes are left out.
    0. create box.c
    ");
}

#[test]
fn an_interrupted_run_of_the_same_plan_resumes() {
    let mut scenario = Scenario::new(CONFIG);
    let plan = scenario.plan();
    let digest = plan.digest();
    let states = |scenario: &Scenario| -> Vec<Progress> {
        progress(&plan, &digest, &scenario.state).into_values().collect()
    };
    assert_eq!(states(&scenario), [Progress::Pending; 3]);
    scenario.begin(&plan);
    scenario.carry_out_step(&plan, &plan.steps[0]);
    assert_eq!(
        states(&scenario),
        [Progress::Done, Progress::Pending, Progress::Pending]
    );
    let moved = gabion_engine::plan::bindings::moved(&plan, &digest, &scenario.state, &Default::default());
    assert_eq!(moved, []);
    // Another run is not this one.
    assert_eq!(
        gabion_engine::plan::bindings::moved(&plan, "other", &scenario.state, &Default::default()).len(),
        1
    );
}
