//! Renames: chains, swaps, conflicts, and the suggestion of one.

use insta::assert_snapshot;

use crate::support::{Scenario, render, uid_of};

fn moved(from: &str, to: &str) -> String {
    format!("---\ntype: moved\nfrom: box.{from}\nto: box.{to}\n")
}

#[test]
fn a_rename_keeps_the_object() {
    let mut scenario = Scenario::applied("box a: {input: 1}\nbox u: {input: '${{ box.a.id }}'}");
    let uid = uid_of(&scenario, "box.a");
    scenario.configure(&format!(
        "box b: {{input: 1}}\nbox u: {{input: '${{{{ box.b.id }}}}'}}\n{}",
        moved("a", "b")
    ));
    let plan = scenario.plan();
    assert_snapshot!(render(&plan), @r"
    keep box.b: , declared anew
        was box.a
    ");
    assert!(plan.has_changes());
    scenario.apply();
    assert_eq!(uid_of(&scenario, "box.b"), uid);
}

#[test]
fn a_chain_ends_where_something_is_declared() {
    let mut scenario = Scenario::applied("box a: {input: 1}");
    scenario.configure(&format!(
        "box c: {{input: 1}}\n{}{}",
        moved("a", "b"),
        moved("b", "c")
    ));
    assert_snapshot!(render(&scenario.plan()), @r"
    keep box.c: , declared anew
        was box.a
    ");
    scenario.apply();
}

#[test]
fn a_shift_moves_two_objects_at_once() {
    let mut scenario = Scenario::applied("box a: {input: 1}\nbox b: {input: 2}");
    scenario.configure(&format!(
        "box b: {{input: 1}}\nbox c: {{input: 2}}\n{}{}",
        moved("a", "b"),
        moved("b", "c")
    ));
    assert_snapshot!(render(&scenario.plan()), @r"
    keep box.b: , declared anew
        was box.a
    keep box.c: , declared anew
        was box.b
    ");
    scenario.apply();
}

#[test]
fn a_swap_is_carried_out_once() {
    let mut scenario = Scenario::applied("box a: {input: 1}\nbox b: {input: 2}");
    scenario.configure(&format!(
        "box a: {{input: 2}}\nbox b: {{input: 1}}\n{}{}",
        moved("a", "b"),
        moved("b", "a")
    ));
    assert_snapshot!(render(&scenario.plan()), @r"
    keep box.a: , declared anew
        was box.b
    keep box.b: , declared anew
        was box.a
    ");
    scenario.apply();
}

#[test]
fn moves_that_cannot_be_are_problems() {
    let mut scenario = Scenario::applied("box a: {input: 1}\nbox b: {input: 2}\nbox c: {input: 3}");
    scenario.configure(&format!(
        "box b: {{input: 2}}\nbox d: {{}}\n{}{}",
        moved("a", "b"),
        moved("c", "d")
    ));
    assert_snapshot!(scenario.problems(), @r"
    error: the new address is taken
      --> main.gabion.yml:15:7
    15 | from: box.a
       |       ^^^^^
       `box.a` cannot become `box.b`, where there is another object already (00000000-0000-0001-0000-000000000003).
    hint: decide which of the two goes: `gabion state rm box.b` makes gabion forget the new one
    ");
}

#[test]
fn a_likely_rename_is_suggested() {
    let mut scenario = Scenario::applied("box a: {input: 1}\nbox x: {input: 7}");
    scenario.configure("box b: {input: 1}\nbox y: {input: 8}");
    assert_snapshot!(render(&scenario.plan()), @r"
    delete box.a: undeclared
    create box.b: new
        id: - -> Unknown (computed)
        input: - -> 1 (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    delete box.x: undeclared
    create box.y: new
        id: - -> Unknown (computed)
        input: - -> 8 (main.gabion.yml:11:21)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    note `box.a` goes and `box.b` comes with the same inputs. Was it renamed? Then keep the object: `type: moved`, `from: box.a`, `to: box.b`.
    0. delete box.a
    1. create box.b
    2. delete box.x
    3. create box.y
    ");
}
