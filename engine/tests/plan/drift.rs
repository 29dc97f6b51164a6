//! What the world changed behind our back: reverted, accepted, or not to be told.

use gabion_engine::value::Value;
use insta::assert_snapshot;

use crate::support::{Scenario, render};

#[test]
fn configured_attributes_are_put_back_and_computed_ones_are_accepted() {
    let mut scenario = Scenario::applied("box a: {input: {x: 1, y: 2}}\nbox b: {input: '${{ box.a.zone }}'}");
    scenario.tamper("box.a", "input.x", Value::Int(7));
    assert_snapshot!(render(&scenario.plan()), @r#"
    update box.a: drifted
        input.x: 7 -> 1 (drift)
        output: {"x": 1, "y": 2} -> Unknown (computed)
    drift box.a.input.x: recorded 1, is 7, wanted 1: Reverted
    0. update box.a
    "#);
    scenario.apply();
    scenario.tamper("box.a", "output", Value::Int(7));
    let plan = scenario.plan();
    assert_snapshot!(render(&plan), @r#"
    drift box.a.output: recorded {"x": 1, "y": 2}, is 7, wanted -: Accepted
    accepted box.a
    "#);
    assert!(!plan.has_changes() && !plan.is_empty());
    scenario.apply();
    scenario.tamper("box.a", "zone", "elsewhere");
    assert_snapshot!(render(&scenario.plan()), @r#"
    update box.b: changed
        input: "zone-of-a" -> "elsewhere" (box.a.zone)
        output: "zone-of-a" -> Unknown (computed)
    drift box.a.zone: recorded "zone-of-a", is "elsewhere", wanted -: Accepted
    accepted box.a
    0. update box.b
    "#);
    scenario.apply();
}

#[test]
fn a_change_that_the_configuration_follows_is_accepted() {
    let mut scenario = Scenario::applied("box a: {size: 1}");
    scenario.tamper("box.a", "size", Value::Int(2));
    scenario.configure("box a: {size: 2}");
    assert_snapshot!(render(&scenario.plan()), @r"
    drift box.a.size: recorded 1, is 2, wanted 2: Accepted
    accepted box.a
    ");
    scenario.apply();
}

#[test]
fn what_cannot_change_in_place_is_replaced_because_it_drifted() {
    let mut scenario = Scenario::applied("box a: {image: one}");
    scenario.tamper("box.a", "image", "other");
    assert_snapshot!(render(&scenario.plan()), @r#"
    replace create-first box.a: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: "other" -> "one" ! (drift)
        output: - -> Unknown (computed)
        zone: "zone-of-a" -> Unknown (computed)
    drift box.a.image: recorded "one", is "other", wanted "one": Reverted
    0. create, deposing box.a
    1. delete box.a after 0
    "#);
}

#[test]
fn a_lost_object_is_made_again_and_its_dependants_follow() {
    let mut scenario = Scenario::applied("box a: {input: 1}\nbox b: {input: '${{ box.a.id }}'}\nbox c: {}");
    scenario.lose("box.a");
    scenario.lose("box.c");
    assert_snapshot!(render(&scenario.plan()), @r#"
    create box.a: vanished
        id: - -> Unknown (computed)
        input: - -> 1 (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    update box.b: changed
        input: "id-1" -> Unknown(${{ box.a.id }}) (box.a.id)
        output: "id-1" -> Unknown (computed)
    create box.c: vanished
        id: - -> Unknown (computed)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    drift box.a: vanished
    drift box.c: vanished
    0. create box.a
    1. update box.b after 0
    2. create box.c
    "#);
    scenario.apply();
}

#[test]
fn a_lost_object_that_is_not_wanted_any_more_is_only_dropped() {
    let mut scenario = Scenario::applied("box a: {input: 1}");
    scenario.lose("box.a");
    scenario.configure("");
    let plan = scenario.plan();
    assert_snapshot!(render(&plan), @r"drift box.a: vanished");
    assert!(plan.has_changes());
    scenario.apply();
}

#[test]
fn an_object_that_cannot_be_read_is_taken_as_recorded() {
    let mut scenario = Scenario::applied("box a: {input: 1}");
    scenario.hide("box.a");
    scenario.tamper("box.a", "input", Value::Int(7));
    assert_snapshot!(render(&scenario.plan()), @r"drift box.a: cannot tell: The machine does not answer.");
    scenario.configure("box a: {input: 2}");
    assert_snapshot!(render(&scenario.plan()), @r"
    update box.a: changed
        input: 1 -> 2 (main.gabion.yml:5:21)
        output: 1 -> Unknown (computed)
    drift box.a: cannot tell: The machine does not answer.
    0. update box.a
    ");
}

#[test]
fn what_cannot_be_read_back_is_taken_as_recorded() {
    let mut scenario = Scenario::applied("box a: {input: 1, size: 3}");
    let uid = crate::support::uid_of(&scenario, "box.a");
    let object = scenario.cloud.get_mut(&uid).unwrap();
    object.attributes.remove("size");
    object.unreadable.push("size".parse().unwrap());
    assert_snapshot!(render(&scenario.plan()), @r"nothing");
}
