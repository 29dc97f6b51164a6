//! `prevent_destroy`, `ignore_changes`, `replace_triggered_by`.

use gabion_engine::plan::planner::PREVENT_DESTROY;
use insta::assert_snapshot;

use crate::support::{Scenario, render};

#[test]
fn a_protected_object_blocks_the_plan_and_the_plan_is_shown() {
    let mut scenario = Scenario::applied(
        "box a: {image: one} | lifecycle: {prevent_destroy: true}\nbox b: {} | lifecycle: {prevent_destroy: true}",
    );
    scenario.configure("box a: {image: two} | lifecycle: {prevent_destroy: true}");
    let (plan, problems) = scenario.try_plan();
    assert!(problems.iter().all(|problem| problem.code == PREVENT_DESTROY));
    assert_snapshot!(problems, @r"
    error: a protected object would be destroyed
       The plan would delete `box.b`, whose lifecycle says `prevent_destroy`.
    hint: declare `box.b` again with `prevent_destroy: false` and apply that first, or keep the object and forget it: `type: removed` with `lifecycle: {destroy: false}`

    error: a protected object would be destroyed
      --> main.gabion.yml:3:7
    3 | kind: box
      |       ^^^
       The plan would replace `box.a`, whose lifecycle says `prevent_destroy`.
    hint: take `prevent_destroy` away first, or undo what makes it go
    ");
    let plan = plan.unwrap();
    assert_snapshot!(render(&plan), @r#"
    replace create-first box.a: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: "one" -> "two" ! (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        zone: "zone-of-a" -> Unknown (computed)
    delete box.b: undeclared
    0. create, deposing box.a
    1. delete box.a after 0
    2. delete box.b
    "#);
    assert_eq!(plan.blocked.len(), 2);
    scenario.options.mode = gabion_engine::plan::Mode::Destroy;
    assert_eq!(scenario.try_plan().0.unwrap().blocked.len(), 2);
}

#[test]
fn protection_taken_away_no_longer_blocks() {
    let mut scenario = Scenario::applied("box a: {image: one} | lifecycle: {prevent_destroy: true}");
    scenario.configure("box a: {image: one}");
    assert_snapshot!(render(&scenario.plan()), @r"keep box.a: , declared anew");
    scenario.apply();
    scenario.configure("");
    assert_snapshot!(render(&scenario.plan()), @r"
    delete box.a: undeclared
    0. delete box.a
    ");
}

#[test]
fn ignored_attributes_are_not_acted_on() {
    let lifecycle = "| lifecycle: {ignore_changes: [input.port, image]}";
    let mut scenario = Scenario::applied(&format!(
        "box a: {{input: {{port: 1, name: x}}, image: one}} {lifecycle}"
    ));
    scenario.configure(&format!(
        "box a: {{input: {{port: 2, name: x}}, image: two}} {lifecycle}"
    ));
    assert_snapshot!(render(&scenario.plan()), @r"nothing");
    scenario.tamper("box.a", "input.port", gabion_engine::value::Value::Int(9));
    assert_snapshot!(render(&scenario.plan()), @r"drift box.a.input.port: recorded 1, is 9, wanted 9: Ignored");
}

#[test]
fn what_takes_the_place_of_an_object_is_made_as_it_is_configured() {
    let lifecycle = "| lifecycle: {ignore_changes: [input, zone]}";
    let mut scenario = Scenario::applied(&format!("box a: {{input: 1, image: one}} {lifecycle}"));
    scenario.configure(&format!("box a: {{input: 2, image: two}} {lifecycle}"));
    assert_snapshot!(render(&scenario.plan()), @r#"
    replace create-first box.a: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: "one" -> "two" ! (main.gabion.yml:5:31)
        input: 1 -> 2 (main.gabion.yml:5:21)
        output: 1 -> Unknown (computed)
        zone: "zone-of-a" -> Unknown (computed)
    0. create, deposing box.a
    1. delete box.a after 0
    "#);
    scenario.apply();
    scenario.configure(&format!("box a: {{input: 3, image: two}} {lifecycle}"));
    assert_snapshot!(render(&scenario.plan()), @"nothing");
}

#[test]
fn a_trigger_replaces_when_what_it_names_changes() {
    let trigger = "| lifecycle: {replace_triggered_by: [box.a.size]}";
    let mut scenario = Scenario::applied(&format!("box a: {{size: 1}}\nbox b: {{input: 1}} {trigger}"));
    scenario.configure(&format!(
        "box a: {{size: 1, input: 3}}\nbox b: {{input: 1}} {trigger}"
    ));
    assert_snapshot!(render(&scenario.plan()), @r"
    update box.a: changed
        input: - -> 3 (main.gabion.yml:5:30)
        output: - -> Unknown (computed)
    0. update box.a
    ");
    scenario.configure(&format!("box a: {{size: 2}}\nbox b: {{input: 1}} {trigger}"));
    assert_snapshot!(render(&scenario.plan()), @r#"
    update box.a: changed
        size: 1 -> 2 (main.gabion.yml:5:20)
    replace create-first box.b: triggered by box.a
        id: "id-3" -> Unknown (computed)
        output: 1 -> Unknown (computed)
        zone: "zone-of-b" -> Unknown (computed)
    0. update box.a
    1. create, deposing box.b after 0
    2. delete box.b after 1
    "#);
    scenario.apply();
}

#[test]
fn what_an_earlier_run_replaced_triggers_what_that_run_did_not_get_to() {
    let text = |image: &str| {
        format!(
            "box a: {{image: {image}}}\nbox b: {{input: '${{{{ box.a.id }}}}'}} | lifecycle: {{replace_triggered_by: [box.a.id]}}"
        )
    };
    let mut scenario = Scenario::applied(&text("one"));
    scenario.configure(&text("two"));
    let plan = scenario.plan();
    scenario.begin(&plan);
    scenario.carry_out_step(&plan, &plan.steps[0]);
    assert_snapshot!(render(&scenario.plan()), @r#"
    delete box.a (deposed): deposed
    replace create-first box.b: triggered by box.a
        id: "id-3" -> Unknown (computed)
        input: "id-1" -> "id-5" (main.gabion.yml:11:21)
        output: "id-1" -> Unknown (computed)
        zone: "zone-of-b" -> Unknown (computed)
    0. create, deposing box.b
    1. delete box.b after 0
    2. delete box.a after 1
    "#);
    scenario.apply();
}
