//! Differences attribute by attribute: sorted, with their causes, under each attribute's own equality.

use insta::assert_snapshot;

use crate::support::{Scenario, render};

#[test]
fn a_new_resource_shows_every_attribute() {
    let scenario = Scenario::new("box a: {input: {port: 8000, names: [x, y]}, tags: [b, a]}");
    assert_snapshot!(render(&scenario.plan()), @r#"
    create box.a: new
        id: - -> Unknown (computed)
        input.names: - -> ["x", "y"] (main.gabion.yml:5:41)
        input.port: - -> 8000 (main.gabion.yml:5:28)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        tags: - -> ["b", "a"] (main.gabion.yml:5:56)
        zone: - -> Unknown (computed)
    0. create box.a
    "#);
}

#[test]
fn nothing_differs_after_apply() {
    let scenario = Scenario::applied("box a: {input: {port: 8000}, tags: [b, a]}");
    assert_snapshot!(render(&scenario.plan()), @r"nothing");
    assert!(scenario.plan().is_empty());
}

#[test]
fn a_deep_change_names_its_leaves_and_keeps_what_is_computed() {
    let mut scenario = Scenario::applied("box a: {input: {port: 8000, names: [x, y], deep: {on: true}}}");
    scenario.configure("box a: {input: {port: 8001, names: [x, z], deep: {}}, size: 3}");
    assert_snapshot!(render(&scenario.plan()), @r#"
    update box.a: changed
        input.deep.on: true -> - (main.gabion.yml:5:55)
        input.names[1]: "y" -> "z" (main.gabion.yml:5:45)
        input.port: 8000 -> 8001 (main.gabion.yml:5:28)
        output: {"deep": {"on": true}, "names": ["x", "y"], "port": 8000} -> Unknown (computed)
        size: 1 -> 3 (main.gabion.yml:5:66)
    0. update box.a
    "#);
}

#[test]
fn the_order_of_a_set_is_no_change() {
    let mut scenario = Scenario::applied("box a: {tags: [b, a]}");
    scenario.configure("box a: {tags: [a, b]}");
    assert_snapshot!(render(&scenario.plan()), @r"nothing");
    scenario.configure("box a: {tags: [a, c]}");
    assert_snapshot!(render(&scenario.plan()), @r#"
    update box.a: changed
        tags: ["b", "a"] -> ["a", "c"] (main.gabion.yml:5:20)
    0. update box.a
    "#);
}

#[test]
fn what_is_no_longer_set_goes_and_what_is_computed_stays() {
    let mut scenario = Scenario::applied("box a: {input: 1, size: 2, zone: here}");
    scenario.configure("box a: {}");
    assert_snapshot!(render(&scenario.plan()), @r"
    update box.a: changed
        input: 1 -> - (main.gabion.yml:3:7)
        output: 1 -> Unknown (computed)
        size: 2 -> 1 (main.gabion.yml:3:7)
    0. update box.a
    ");
}

#[test]
fn problems_with_inputs_come_all_at_once_with_their_places() {
    let scenario = Scenario::new(
        "box a: {imput: 1, size: big, output: 3}\nbox b: {tags: [a, {b: c}], port: 70000}\nbox c: {input: impossible}\n---\ntype: resource\nkind: bocks\nname: d",
    );
    assert_snapshot!(scenario.problems(), @r"
    error: unknown attribute
      --> main.gabion.yml:5:14
    5 | properties: {imput: 1, size: big, output: 3}
      |              ^^^^^
       `box` has no attribute `imput`.
    hint: did you mean `input`?

    error: wrong type
      --> main.gabion.yml:5:30
    5 | properties: {imput: 1, size: big, output: 3}
      |                              ^^^
       `size` of `box.a` must be a whole number, and is a text.

    error: this attribute cannot be set
      --> main.gabion.yml:5:35
    5 | properties: {imput: 1, size: big, output: 3}
      |                                   ^^^^^^
       `output` of `box` is computed by the provider.
    hint: remove it

    error: wrong type
      --> main.gabion.yml:11:24
    11 | properties: {tags: [a, {b: c}], port: 70000}
       |                        ^^^^^^
       `tags[1]` of `box.b` must be a text, and is a map.

    error: this cannot be planned
      --> main.gabion.yml:17:21
    17 | properties: {input: impossible}
       |                     ^^^^^^^^^^
       `box.c`: That is impossible.
    hint: wish for something else

    error: unknown resource type
      --> main.gabion.yml:21:7
    21 | kind: bocks
       |       ^^^^^
       No provider of this build manages `bocks`.
    ");
}
