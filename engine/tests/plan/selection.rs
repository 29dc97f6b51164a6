//! `--target`, `--exclude` and `-f`: what a plan covers and says that it leaves out.

use insta::assert_snapshot;

use crate::support::{Scenario, render};

const CONFIG: &str = "box a: {input: 1}
box b: {input: '${{ box.a.output }}'}
box c: {input: '${{ box.b.output }}'}
box d: {input: 1}";

#[test]
fn a_target_takes_what_it_depends_on() {
    let mut scenario = Scenario::new(CONFIG);
    scenario.options.targets.push("box.b".parse().unwrap());
    assert_snapshot!(render(&scenario.plan()), @r"
    create box.a: new
        id: - -> Unknown (computed)
        input: - -> 1 (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    create box.b: new
        id: - -> Unknown (computed)
        input: - -> Unknown(${{ box.a.output }}) (box.a.output)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    left out box.c
    left out box.d
    note This plan is partial. 2 changes are left out.
    0. create box.a
    1. create box.b after 0
    ");
}

#[test]
fn an_exclusion_takes_what_depends_on_it() {
    let mut scenario = Scenario::new(CONFIG);
    scenario.options.excludes.push("box.b".parse().unwrap());
    assert_snapshot!(render(&scenario.plan()), @r"
    create box.a: new
        id: - -> Unknown (computed)
        input: - -> 1 (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    create box.d: new
        id: - -> Unknown (computed)
        input: - -> 1 (main.gabion.yml:23:21)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    left out box.b
    left out box.c
    note This plan is partial. 2 changes are left out.
    0. create box.a
    1. create box.d
    ");
}

#[test]
fn what_is_left_out_is_taken_as_it_is() {
    let mut scenario = Scenario::applied(CONFIG);
    scenario.configure(&CONFIG.replace("input: 1", "input: 2"));
    scenario.options.excludes.push("box.b".parse().unwrap());
    assert_snapshot!(render(&scenario.plan()), @r"
    update box.a: changed
        input: 1 -> 2 (main.gabion.yml:5:21)
        output: 1 -> Unknown (computed)
    update box.d: changed
        input: 1 -> 2 (main.gabion.yml:23:21)
        output: 1 -> Unknown (computed)
    left out box.b
    note This plan is partial. 1 change is left out.
    0. update box.a
    1. update box.d
    ");
}

#[test]
fn an_undeclared_object_that_is_excluded_keeps_what_it_needs() {
    let mut scenario = Scenario::applied(CONFIG);
    scenario.configure("");
    scenario.options.excludes.push("box.b".parse().unwrap());
    assert_snapshot!(render(&scenario.plan()), @r"
    delete box.c: undeclared
    delete box.d: undeclared
    left out box.a
    left out box.b
    note This plan is partial. 2 changes are left out.
    0. delete box.c
    1. delete box.d
    ");
    scenario.options.excludes.clear();
    scenario.options.targets.push("*.b".parse().unwrap());
    assert_snapshot!(render(&scenario.plan()), @r"
    delete box.b: undeclared
    delete box.c: undeclared
    left out box.a
    left out box.d
    note This plan is partial. 2 changes are left out.
    0. delete box.c
    1. delete box.b after 0
    ");
}

#[test]
fn a_selection_that_matches_nothing_is_a_problem() {
    let mut scenario = Scenario::new(CONFIG);
    scenario.options.targets.push("bax.a".parse().unwrap());
    assert_snapshot!(scenario.problems(), @r"
    error: a selection matches nothing
       No resource and no recorded object fits `--target bax.a`.
    hint: did you mean `box.a`?
    ");
}

#[test]
fn a_file_narrows_and_never_deletes_what_belongs_to_others() {
    let mut scenario = Scenario::new("");
    let (one, two) = (
        "box a: {input: 1}\nbox gone: {}",
        "box b: {input: '${{ box.a.output }}'}\nbox away: {}",
    );
    scenario.configure_files(&[("one.gabion.yml", one), ("two.gabion.yml", two)]);
    scenario.options.files = Some(["two.gabion.yml".into()].into());
    assert_snapshot!(scenario.problems(), @r"
    warning: changes outside the named files are pending
       This plan leaves them out: `box.a`, `box.gone`.
    hint: plan without `-f` to see them

    error: something needed is left out
      --> two.gabion.yml:5:21
    5 | properties: {input: '${{ box.a.output }}'}
      |                     ^^^^^^^^^^^^^^^^^^^^^
       `box.b` depends on `box.a`, which does not exist yet and which this plan leaves out.
    hint: take `box.a` into the plan too
    ");
    scenario.options.files = None;
    scenario.apply();
    scenario.configure_files(&[
        ("one.gabion.yml", "box a: {input: 2}"),
        ("two.gabion.yml", "box b: {input: '${{ box.a.output }}', size: 5}"),
    ]);
    scenario.options.files = Some(["two.gabion.yml".into()].into());
    assert_snapshot!(scenario.try_plan().1, @r"
    warning: changes outside the named files are pending
       This plan leaves them out: `box.a`, `box.away`, `box.gone`.
    hint: plan without `-f` to see them
    ");
    assert_snapshot!(render(&scenario.plan()), @r"
    update box.b: changed
        size: 1 -> 5 (two.gabion.yml:5:50)
    left out box.a
    left out box.away
    left out box.gone
    note This plan is partial. 3 changes are left out.
    0. update box.b
    ");
}
