//! What leaves the configuration, `removed` documents, and destroying everything.

use gabion_engine::plan::Mode;
use insta::assert_snapshot;

use crate::support::{Scenario, address, render};

const THREE: &str = "box a: {input: 1}
box b: {input: '${{ box.a.id }}'}
box c: {input: '${{ box.b.id }}'}";

#[test]
fn deletions_go_dependants_first() {
    let mut scenario = Scenario::applied(THREE);
    scenario.configure("");
    assert_snapshot!(render(&scenario.plan()), @r"
    delete box.a: undeclared
    delete box.b: undeclared
    delete box.c: undeclared
    0. delete box.c
    1. delete box.b after 0
    2. delete box.a after 1
    ");
    scenario.apply();
    assert!(scenario.state.is_empty());
}

#[test]
fn what_stops_using_an_object_is_updated_before_it_goes() {
    let mut scenario = Scenario::applied(THREE);
    scenario.configure("box a: {input: 1}\nbox c: {input: '${{ box.a.id }}'}");
    assert_snapshot!(render(&scenario.plan()), @r#"
    delete box.b: undeclared
    update box.c: changed
        input: "id-3" -> "id-1" (main.gabion.yml:11:21)
        output: "id-3" -> Unknown (computed)
    0. update box.c
    1. delete box.b after 0
    "#);
    scenario.apply();
}

#[test]
fn what_is_freed_goes_after_those_who_used_it_without_a_record_of_that() {
    let mut scenario = Scenario::applied(
        "box gate: {input: 1}\nbox way: {input: 2}\nbox route: {input: '${{ box.way.id }}'}",
    );
    scenario.configure("box other: {input: 3}\nbox route: {input: '${{ box.other.id }}'}");
    let resources = &mut scenario.configuration.resources;
    let mut found = resources.iter_mut();
    let route = found.find(|resource| resource.address == address("box.route"));
    route.unwrap().frees = vec![address("box.gate")].into();
    let steps = render(&scenario.plan());
    let steps = steps
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    assert_snapshot!(steps.collect::<Vec<_>>().join("\n"), @"
    0. create box.other
    1. update box.route after 0
    2. delete box.way after 1
    3. delete box.gate after 1 2
    ");
    scenario.apply();
    // What is declared is freed by nobody.
    scenario
        .configure("box gate: {input: 1}\nbox other: {input: 3}\nbox route: {input: '${{ box.other.id }}'}");
    scenario.apply();
    assert_eq!(scenario.cloud.len(), 3);
}

#[test]
fn a_removed_document_forgets_or_deletes() {
    let mut scenario = Scenario::applied("box a: {input: 1}\nbox b: {input: 2}");
    scenario.configure("---\ntype: removed\nfrom: box.a\nlifecycle: {destroy: false}\n---\ntype: removed\nfrom: box.b\nlifecycle: {destroy: true}");
    assert_snapshot!(render(&scenario.plan()), @r"
    forget box.a: removed at main.gabion.yml:3:7
    delete box.b: removed at main.gabion.yml:7:7
    0. delete box.b
    ");
    scenario.apply();
    assert_eq!(scenario.cloud.len(), 1);
}

#[test]
fn destroying_deletes_everything_in_reverse() {
    let mut scenario = Scenario::applied(THREE);
    scenario.options.mode = Mode::Destroy;
    assert_snapshot!(render(&scenario.plan()), @r"
    delete box.a: destroy
    delete box.b: destroy
    delete box.c: destroy
    0. delete box.c
    1. delete box.b after 0
    2. delete box.a after 1
    ");
    scenario.apply();
    assert!(scenario.cloud.is_empty());
}

#[test]
fn destroying_a_target_takes_what_depends_on_it() {
    let mut scenario = Scenario::applied(THREE);
    scenario.options.mode = Mode::Destroy;
    scenario.options.targets.push("box.b".parse().unwrap());
    assert_snapshot!(render(&scenario.plan()), @r"
    delete box.b: destroy
    delete box.c: destroy
    left out box.a
    note This plan is partial. 1 change is left out.
    0. delete box.c
    1. delete box.b after 0
    ");
}
