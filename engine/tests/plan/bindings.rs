//! Saved plans: bound to what they write and read, and to nothing else.

use gabion_engine::plan::Plan;
use gabion_engine::plan::bindings::moved;
use gabion_engine::plan::file::PlanFileError;
use gabion_engine::state::event::EventBody;
use insta::assert_snapshot;

use crate::support::{Scenario, address, uid_of};

const CONFIG: &str = "box a: {input: 1}
box b: {input: '${{ box.a.output }}'}
box c: {input: 1}
box old: {port: 80}";

fn words(scenario: &Scenario, plan: &Plan) -> String {
    let found = moved(plan, &plan.digest(), &scenario.state, &Default::default());
    found.into_iter().map(|moved| moved.message + "\n").collect()
}

fn touched(scenario: &mut Scenario, at: &str) {
    let uid = uid_of(scenario, at);
    scenario.fold(EventBody::Tainted { uid });
}

#[test]
fn only_what_a_plan_writes_or_read_makes_it_stale() {
    let mut scenario = Scenario::applied(CONFIG);
    scenario.configure("box a: {input: 1}\nbox b: {input: '${{ box.a.output }}', size: 2}\nbox c: {input: 1}\nbox n: {port: 81}");
    let plan = scenario.plan();
    touched(&mut scenario, "box.c");
    assert_eq!(words(&scenario, &plan), "");
    touched(&mut scenario, "box.a");
    touched(&mut scenario, "box.b");
    let record = scenario.state.current(&address("box.c")).unwrap().clone();
    let mut other = record.clone();
    other.uid = gabion_engine::address::Uid::from_uuid(uuid::Uuid::from_u64_pair(4, 4));
    other.address = address("box.n");
    let declared = std::sync::Arc::make_mut(&mut other.declaration);
    declared.claims = vec!["port/81".into()].into();
    declared.dependencies = vec![gabion_engine::state::record::Dependency {
        address: address("box.old"),
        uid: Some(uid_of(&scenario, "box.old")),
    }];
    other.status = gabion_engine::state::record::Status::Ready;
    scenario.fold(EventBody::Imported { record: other.into() });
    assert_snapshot!(words(&scenario, &plan), @r"
    The plan creates `box.n`, and it exists by now: it was recorded at serial 16.
    The plan uses `box.a` as of serial 5, and serial 14 changed it.
    The plan uses `box.b` as of serial 7, and serial 15 changed it.
    The plan deletes `box.old`, and `box.n` depends on it by now.
    The plan takes `port/81`, and `box.n` holds it by now.
    ");
}

#[test]
fn a_saved_plan_reads_back_the_same() {
    let mut scenario = Scenario::applied(CONFIG);
    scenario.configure(
        "box a: {input: {x: 1.5, $odd: [null, -3]}, image: z}\nbox b: {input: '${{ box.a.output }}'}",
    );
    let plan = scenario.plan();
    let file = plan.to_file().unwrap();
    let read = Plan::from_file(&file).unwrap();
    assert_eq!(read.digest(), plan.digest());
    assert_eq!(read.to_file().unwrap(), file);
    assert_eq!(read.summary(), plan.summary());
}

#[test]
fn a_plan_of_the_first_format_is_read_and_keeps_its_digest() {
    let mut plan = Scenario::new(CONFIG).plan();
    let now = plan.digest();
    plan.format_version = 1;
    let file = plan.to_file().unwrap();
    let text = String::from_utf8(file.clone()).unwrap();
    assert!(
        text.contains("\"lifecycle\":{\"prevent_destroy\":false"),
        "{text}"
    );
    let read = Plan::from_file(&file).unwrap();
    assert_eq!((&read, read.digest()), (&plan, plan.digest()));
    assert_ne!(read.digest(), now);
}

#[test]
fn what_is_damaged_or_newer_is_refused() {
    let file = Scenario::new(CONFIG).plan().to_file().unwrap();
    let text = String::from_utf8(file.clone()).unwrap();
    for cut in [0, 1, 30, file.len() / 2, file.len() - 3] {
        assert!(Plan::from_file(&file[..cut]).is_err(), "{cut}");
    }
    assert_eq!(Plan::from_file(b"{}"), Err(PlanFileError::NotAPlan));
    let newer = text.replacen("\"format_version\":2", "\"format_version\":3", 1);
    assert_snapshot!(Plan::from_file(newer.as_bytes()).unwrap_err(), @r"the saved plan has format 3, and this gabion knows formats up to 2: use the gabion that made it");
    let other = text.replacen("\"box.a\"", "\"box.z\"", 1);
    assert_snapshot!(Plan::from_file(other.as_bytes()).unwrap_err(), @r"the saved plan is damaged: its digest does not fit its content");
    assert_snapshot!(Plan::from_file(&file[..100]).unwrap_err(), @r"the saved plan is damaged: its end is missing");
}
