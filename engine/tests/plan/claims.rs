//! Exclusive claims: collisions, and hand-overs within one plan.

use insta::assert_snapshot;

use crate::support::{Scenario, render};

#[test]
fn two_resources_cannot_hold_the_same() {
    let scenario = Scenario::new("box a: {port: 80}\nbox b: {port: 80}\nbox c: {port: 81}");
    assert_snapshot!(scenario.problems(), @r"
    error: two objects need the same thing
      --> main.gabion.yml:11:20
    11 | properties: {port: 80}
       |                    ^^
       `box.a` and `box.b` both need `port/80`, which only one can hold.
      --> main.gabion.yml:5:20: also needed here
    ");
}

#[test]
fn what_one_gives_up_another_takes_afterwards() {
    let mut scenario = Scenario::applied("box a: {port: 80}\nbox b: {port: 81}\nbox z: {port: 82}");
    scenario.configure("box a: {port: 82}\nbox b: {port: 80}\nbox c: {port: 81}");
    assert_snapshot!(render(&scenario.plan()), @r"
    update box.a: changed
        port: 80 -> 82 (main.gabion.yml:5:20)
    update box.b: changed
        port: 81 -> 80 (main.gabion.yml:11:20)
    create box.c: new
        id: - -> Unknown (computed)
        output: - -> Unknown (computed)
        port: - -> 81 (main.gabion.yml:17:20)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    delete box.z: undeclared
    0. delete box.z
    1. update box.a after 0
    2. update box.b after 1
    3. create box.c after 2
    ");
    scenario.apply();
}

#[test]
fn a_claim_of_what_is_left_out_is_not_free() {
    let mut scenario = Scenario::applied("box a: {port: 80}");
    scenario.configure("box a: {port: 81}\nbox b: {port: 80}");
    scenario.options.targets.push("box.b".parse().unwrap());
    assert_snapshot!(scenario.problems(), @r"
    error: two objects need the same thing
      --> main.gabion.yml:11:20
    11 | properties: {port: 80}
       |                    ^^
       `box.b` needs `port/80`, which `box.a` holds, and this plan leaves that as it is.
    hint: take `box.a` into the plan too
    ");
}

#[test]
fn a_swap_of_claims_has_no_order() {
    let mut scenario = Scenario::applied("box a: {port: 80}\nbox b: {port: 81}");
    scenario.configure("box a: {port: 81}\nbox b: {port: 80}");
    assert_snapshot!(scenario.problems(), @r"
    error: no order of the changes works
       update of `box.a` waits for the update of `box.b`: takes over `port/81`
       update of `box.b` waits for the update of `box.a`: takes over `port/80`
    hint: the edge to cut is the hand-over of `port/80` to `box.b`: give that another one, or apply in two runs
    ");
}
