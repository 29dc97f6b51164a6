//! The linter over finished plans notices what the executor relies on.

use gabion_engine::plan::Plan;
use gabion_engine::plan::check::check;
use gabion_engine::plan::step::StepId;

use crate::support::Scenario;

fn plan() -> Plan {
    let mut scenario = Scenario::applied("box a: {image: one}\nbox b: {input: '${{ box.a.id }}'}\nbox c: {}");
    scenario.configure("box a: {image: two}\nbox b: {input: '${{ box.a.id }}'}\nbox d: {}");
    scenario.plan()
}

type Damage = (&'static str, fn(&mut Plan));

#[test]
fn every_damage_is_noticed() {
    assert_eq!(check(&plan()), Vec::<String>::new());
    let damages: [Damage; 9] = [
        ("a step is lost", |plan| {
            plan.steps.pop();
        }),
        ("a step waits for a later one", |plan| {
            plan.steps[0].after = vec![StepId(2)];
        }),
        ("a step has a wrong number", |plan| plan.steps[1].id = StepId(7)),
        ("a step belongs to nothing", |plan| plan.steps[0].change = 99),
        ("a step is doubled", |plan| {
            let mut last = plan.steps[0].clone();
            last.id = StepId(plan.steps.len() as u32);
            plan.steps.push(last);
        }),
        ("changes are not sorted", |plan| plan.changes.reverse()),
        ("an absence is not bound", |plan| plan.bindings.absent.clear()),
        ("a record is not bound", |plan| plan.bindings.records.clear()),
        ("dependants are not bound", |plan| {
            plan.bindings.dependants.clear();
        }),
    ];
    for (what, damage) in damages {
        let mut plan = plan();
        damage(&mut plan);
        assert_ne!(check(&plan), Vec::<String>::new(), "{what}");
    }
}

#[test]
fn the_summary_counts_every_object_once() {
    let summary = plan().summary();
    assert_eq!(
        (
            summary.create,
            summary.update,
            summary.replace,
            summary.destroy,
            summary.forget
        ),
        (1, 1, 1, 1, 0)
    );
}
