//! Conditions: decided at plan where everything is known, else left for apply.

use insta::assert_snapshot;

use crate::support::{Scenario, render};

fn config(size: u32, before: &str, after: &str) -> String {
    format!(
        "box a: {{input: {size}, size: {size}}}
box b: {{input: {size}}} | conditions: {{before: [{{condition: '{before}', error_message: too small}}], after: [{{condition: '{after}', error_message: came out wrong}}]}}"
    )
}

#[test]
fn what_fails_at_plan_is_a_problem() {
    let scenario = Scenario::new(&config(1, "${{ box.a.size }} >= 2", "${{ box.b.size }} == 5"));
    assert_snapshot!(scenario.problems(), @r"
    error: a condition does not hold
      --> main.gabion.yml:12:35
    12 | conditions: {before: [{condition: '${{ box.a.size }} >= 2', error_message: too small}], after: [{condition: '${{ box.b.size }} == 5', error_message: came out wr…
       |                                   ^^^^^^^^^^^^^^^^^^^^^^^^
       `box.b`: too small
       The condition is `${{ box.a.size }} >= 2`.

    error: a condition does not hold
      --> main.gabion.yml:12:109
    12 | …tion: '${{ box.a.size }} >= 2', error_message: too small}], after: [{condition: '${{ box.b.size }} == 5', error_message: came out wrong}]}
       |                                                                                  ^^^^^^^^^^^^^^^^^^^^^^^^
       `box.b`: came out wrong
       The condition is `${{ box.b.size }} == 5`.
    ");
}

#[test]
fn what_only_apply_can_know_is_left_for_it() {
    let mut scenario = Scenario::new(&config(3, "${{ box.a.output }} == 3", "${{ box.b.output }} == 3"));
    assert_snapshot!(render(&scenario.plan()), @r"
    create box.a: new
        id: - -> Unknown (computed)
        input: - -> 3 (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        size: - -> 3 (main.gabion.yml:5:30)
        zone: - -> Unknown (computed)
    create box.b: new
        id: - -> Unknown (computed)
        input: - -> 3 (main.gabion.yml:11:21)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
        check Before: ${{ box.a.output }} == 3
        check After: ${{ box.b.output }} == 3
    0. create box.a
    1. create box.b after 0
    ");
    scenario.apply();
    assert_snapshot!(render(&scenario.plan()), @r"nothing");
}

#[test]
fn an_unchanged_object_is_checked_when_what_it_looks_at_changes() {
    let after = |size: u32| {
        config(size, "${{ box.a.size }} >= 1", "${{ box.a.output }} == 1")
            .replace("box b: {input: 3}", "box b: {input: 1}")
    };
    let mut scenario = Scenario::applied(&after(1));
    scenario.configure(&after(3));
    assert_snapshot!(render(&scenario.plan()), @r"
    update box.a: changed
        input: 1 -> 3 (main.gabion.yml:5:21)
        output: 1 -> Unknown (computed)
        size: 1 -> 3 (main.gabion.yml:5:30)
    keep box.b: 
        check After: ${{ box.a.output }} == 1
    0. update box.a
    1. check box.b after 0
    ");
}
