//! References: planned values where they are known, the expression where only apply will know.

use insta::assert_snapshot;

use crate::support::{Scenario, render};

const CHAIN: &str = "box a: {input: 1}
box b: {input: '${{ box.a.output }}'}
box c: {input: 'http://${{ box.b.output }}:${{ box.a.size }}/'}";

#[test]
fn three_levels_show_the_expressions_that_fill_them() {
    let scenario = Scenario::new(CHAIN);
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
    create box.c: new
        id: - -> Unknown (computed)
        input: - -> Unknown(http://${{ box.b.output }}:${{ box.a.size }}/) (box.b.output)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    0. create box.a
    1. create box.b after 0
    2. create box.c after 0 1
    ");
}

#[test]
fn an_update_passes_on_only_what_it_changes() {
    let mut scenario = Scenario::applied(CHAIN);
    scenario.configure(&CHAIN.replace("input: 1", "input: 1, size: 4"));
    assert_snapshot!(render(&scenario.plan()), @r#"
    update box.a: changed
        size: 1 -> 4 (main.gabion.yml:5:30)
    update box.c: changed
        input: "http://1:1/" -> "http://1:4/" (box.a.size)
        output: "http://1:1/" -> Unknown (computed)
    0. update box.a
    1. update box.c after 0
    "#);
    scenario.apply();
}

#[test]
fn a_reference_to_a_known_value_keeps_its_type() {
    let mut scenario = Scenario::applied(CHAIN);
    scenario.configure(
        &CHAIN
            .replace("input: 1", "input: [1, 2]")
            .replace("box.b.output }}:", "box.a.size }}:"),
    );
    assert_snapshot!(render(&scenario.plan()), @r"
    update box.a: changed
        input: 1 -> [1, 2] (main.gabion.yml:5:21)
        output: 1 -> Unknown (computed)
    update box.b: changed
        input: 1 -> Unknown(${{ box.a.output }}) (box.a.output)
        output: 1 -> Unknown (computed)
    keep box.c: , declared anew
    0. update box.a
    1. update box.b after 0
    ");
}

#[test]
fn an_order_alone_makes_nothing_unknown() {
    let mut scenario = Scenario::applied("box a: {input: 1}\nbox b: {input: 2} | depends_on: [box.a]");
    scenario.configure("box a: {input: 5, image: new}\nbox b: {input: 2} | depends_on: [box.a]");
    assert_snapshot!(render(&scenario.plan()), @r#"
    replace create-first box.a: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: - -> "new" ! (main.gabion.yml:5:31)
        input: 1 -> 5 (main.gabion.yml:5:21)
        output: 1 -> Unknown (computed)
        zone: "zone-of-a" -> Unknown (computed)
    0. create, deposing box.a
    1. delete box.a after 0
    "#);
}

#[test]
fn the_id_can_be_referred_to() {
    let mut scenario = Scenario::applied("box a: {}\nbox b: {input: '${{ box.a.id }}'}");
    assert_snapshot!(render(&scenario.plan()), @r"nothing");
    scenario.configure("box a: {size: 2}\nbox b: {input: '${{ box.a.id }}'}");
    assert_snapshot!(render(&scenario.plan()), @r"
    update box.a: changed
        size: 1 -> 2 (main.gabion.yml:5:20)
    0. update box.a
    ");
}

#[test]
fn an_unknown_value_in_an_attribute_that_forces_replacement_replaces() {
    let mut scenario = Scenario::applied("box a: {input: x}\nbox b: {image: '${{ box.a.output }}'}");
    scenario.configure("box a: {input: y}\nbox b: {image: '${{ box.a.output }}'}");
    assert_snapshot!(render(&scenario.plan()), @r#"
    update box.a: changed
        input: "x" -> "y" (main.gabion.yml:5:21)
        output: "x" -> Unknown (computed)
    replace create-first box.b: cannot change [image] in place
        id: "id-3" -> Unknown (computed)
        image: "x" -> Unknown(${{ box.a.output }}) ! (box.a.output)
        output: - -> Unknown (computed)
        zone: "zone-of-b" -> Unknown (computed)
    0. update box.a
    1. create, deposing box.b after 0
    2. delete box.b after 1
    "#);
    scenario.apply();
}

#[test]
fn an_attribute_that_does_not_exist_is_named_with_a_suggestion() {
    let scenario = Scenario::new(
        "box a: {}\nbox b: {input: '${{ box.a.outptu }}'}\nbox c: {input: '${{ box.a.size.x }}'}",
    );
    assert_snapshot!(scenario.problems(), @r"
    error: a reference has no value
      --> main.gabion.yml:11:26
    11 | properties: {input: '${{ box.a.outptu }}'}
       |                          ^^^^^^^^^^^^
       `input` of `box.b`: `box.a` has no attribute `outptu`.
    hint: did you mean `output`?

    error: a reference has no value
      --> main.gabion.yml:17:26
    17 | properties: {input: '${{ box.a.size.x }}'}
       |                          ^^^^^^^^^^^^
       `input` of `box.c`: `box.a` has nothing at `size.x`.
    ");
}

#[test]
fn outputs_and_endpoints_follow() {
    let mut scenario = Scenario::new("");
    let settings = ("gabion.yml", "outputs: {it: '${{ box.a.output }}', fix: 3}\n");
    scenario.configure_files(&[settings, ("a.gabion.yml", "box a: {input: 1}")]);
    assert_snapshot!(render(&scenario.plan()), @r"
    create box.a: new
        id: - -> Unknown (computed)
        input: - -> 1 (a.gabion.yml:5:21)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    output fix: - -> 3
    output it: - -> Unknown(${{ box.a.output }})
    0. create box.a
    ");
    scenario.apply();
    scenario.configure_files(&[
        ("gabion.yml", "outputs: {fix: 4}\n"),
        ("a.gabion.yml", "box a: {input: 1}"),
    ]);
    assert_snapshot!(render(&scenario.plan()), @r"
    output fix: 3 -> 4
    output it: 1 -> -
    ");
    scenario.apply();
}
