//! The two orders of a replacement, how they spread, and what gives way.

use insta::assert_snapshot;

use crate::support::{Scenario, render};

#[test]
fn create_first_updates_dependants_before_the_old_object_goes() {
    let config = |image: &str| {
        format!(
            "box a: {{image: {image}}}\nbox b: {{input: '${{{{ box.a.id }}}}'}}\nbox c: {{input: 1}} | depends_on: [box.b]"
        )
    };
    let mut scenario = Scenario::applied(&config("one"));
    scenario.configure(&config("two"));
    assert_snapshot!(render(&scenario.plan()), @r#"
    replace create-first box.a: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: "one" -> "two" ! (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        zone: "zone-of-a" -> Unknown (computed)
    update box.b: changed
        input: "id-1" -> Unknown(${{ box.a.id }}) (box.a.id)
        output: "id-1" -> Unknown (computed)
    0. create, deposing box.a
    1. update box.b after 0
    2. delete box.a after 0 1
    "#);
    scenario.apply();
}

#[test]
fn delete_first_deletes_replaced_dependants_before() {
    let config =
        |image: &str| format!("slot a: {{image: {image}}}\nbox b: {{image: '${{{{ slot.a.id }}}}'}}");
    let mut scenario = Scenario::applied(&config("one"));
    scenario.configure(&config("two"));
    assert_snapshot!(render(&scenario.plan()), @r#"
    replace delete-first box.b: cannot change [image] in place
        id: "id-3" -> Unknown (computed)
        image: "id-1" -> Unknown(${{ slot.a.id }}) ! (slot.a.id)
        output: - -> Unknown (computed)
        zone: "zone-of-b" -> Unknown (computed)
        note The old object is deleted first, because `slot.a` must be, which it depends on.
    replace delete-first slot.a: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: "one" -> "two" ! (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        zone: "zone-of-a" -> Unknown (computed)
    0. delete box.b
    1. delete slot.a after 0
    2. create slot.a after 1
    3. create box.b after 0 2
    "#);
    scenario.apply();
}

#[test]
fn create_first_spreads_to_dependencies_that_are_replaced() {
    let config = |image: &str| {
        format!(
            "slot a: {{image: {image}}}\nbox b: {{image: '${{{{ slot.a.id }}}}'}} | lifecycle: {{create_before_destroy: true}}"
        )
    };
    let mut scenario = Scenario::applied(&config("one"));
    scenario.configure(&config("two"));
    assert_snapshot!(render(&scenario.plan()), @r#"
    replace create-first box.b: cannot change [image] in place
        id: "id-3" -> Unknown (computed)
        image: "id-1" -> Unknown(${{ slot.a.id }}) ! (slot.a.id)
        output: - -> Unknown (computed)
        zone: "zone-of-b" -> Unknown (computed)
    replace create-first slot.a: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: "one" -> "two" ! (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        zone: "zone-of-a" -> Unknown (computed)
        note The new object is made first, because `box.b` depends on it and is replaced create-first.
    0. create, deposing slot.a
    1. create, deposing box.b after 0
    2. delete box.b after 1
    3. delete slot.a after 0 2
    "#);
    scenario.apply();
}

#[test]
fn a_shared_claim_forces_delete_first_and_dependants_give_way() {
    let config =
        |image: &str| format!("box a: {{image: {image}, port: 80}}\nbox b: {{image: '${{{{ box.a.id }}}}'}}");
    let mut scenario = Scenario::applied(&config("one"));
    scenario.configure(&config("two"));
    assert_snapshot!(render(&scenario.plan()), @r#"
    replace delete-first box.a: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: "one" -> "two" ! (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        zone: "zone-of-a" -> Unknown (computed)
        note The old object is deleted first: both need `port/80`, which only one can hold.
    replace delete-first box.b: cannot change [image] in place
        id: "id-3" -> Unknown (computed)
        image: "id-1" -> Unknown(${{ box.a.id }}) ! (box.a.id)
        output: - -> Unknown (computed)
        zone: "zone-of-b" -> Unknown (computed)
        note The old object is deleted first, because `box.a` must be, which it depends on.
    0. delete box.b
    1. delete box.a after 0
    2. create box.a after 1
    3. create box.b after 0 2
    "#);
    scenario.apply();
}

#[test]
fn contradicting_orders_are_a_problem() {
    let config = |image: &str| {
        format!(
            "box a: {{image: {image}, port: 80}}\nbox b: {{image: '${{{{ box.a.id }}}}'}} | lifecycle: {{create_before_destroy: true}}"
        )
    };
    let mut scenario = Scenario::applied(&config("one"));
    scenario.configure(&config("two"));
    assert_snapshot!(scenario.problems(), @r"
    error: the orders of two replacements contradict each other
      --> main.gabion.yml:9:7
    9 | kind: box
      |       ^^^
       `box.b` is to be replaced create-first, which needs the new `box.a` before the old one goes; but `box.a` must be deleted first. The old object is deleted first: both need `port/80`, which only one can hold.
      --> main.gabion.yml:3:7: `box.a`
    hint: take `create_before_destroy` off `box.b`
    ");
}

#[test]
fn what_is_asked_for_or_tainted_is_replaced() {
    let mut scenario = Scenario::applied("box a: {input: 1}\nbox b: {input: 2}");
    let uid = crate::support::uid_of(&scenario, "box.a");
    scenario.fold(gabion_engine::state::event::EventBody::Tainted { uid });
    scenario.options.replace.push(crate::support::address("box.b"));
    assert_snapshot!(render(&scenario.plan()), @r#"
    replace create-first box.a: tainted
        id: "id-1" -> Unknown (computed)
        output: 1 -> Unknown (computed)
        zone: "zone-of-a" -> Unknown (computed)
    replace create-first box.b: requested
        id: "id-3" -> Unknown (computed)
        output: 2 -> Unknown (computed)
        zone: "zone-of-b" -> Unknown (computed)
    0. create, deposing box.a
    1. delete box.a after 0
    2. create, deposing box.b
    3. delete box.b after 2
    "#);
    scenario.options.replace[0] = crate::support::address("box.bb");
    assert_snapshot!(scenario.problems(), @r"
    error: a selection matches nothing
       The configuration declares no `box.bb` to replace.
    hint: did you mean `box.b`?
    ");
}

#[test]
fn a_deposed_object_that_was_left_is_deleted() {
    let mut scenario = Scenario::applied("box a: {image: one}\nbox b: {input: '${{ box.a.id }}'}");
    scenario.configure("box a: {image: two}\nbox b: {input: '${{ box.a.id }}'}");
    let plan = scenario.plan();
    scenario.begin(&plan);
    scenario.carry_out_step(&plan, &plan.steps[0]);
    assert_snapshot!(render(&scenario.plan()), @r#"
    delete box.a (deposed): deposed
    update box.b: changed
        input: "id-1" -> "id-5" (main.gabion.yml:11:21)
        output: "id-1" -> Unknown (computed)
    0. update box.b
    1. delete box.a after 0
    "#);
    scenario.apply();
}

#[test]
fn what_is_changed_cannot_always_stop_using_an_object_before_it_goes() {
    let mut scenario = Scenario::applied(
        "slot a: {image: one}\nbox b: {input: '${{ slot.a.zone }}'}\nbox c: {input: '${{ box.b.zone }}'}",
    );
    // The new `c` needs the new `a`, the new `a` that the old one is gone, and that one that `b` is.
    scenario.configure("slot a: {image: two}\nbox c: {input: '${{ slot.a.id }}'}");
    assert_snapshot!(render(&scenario.plan()), @r#"
    delete box.b: undeclared
        note The deletion of the `box.b` cannot wait for the update of `box.c`, which uses it until then.
    update box.c: changed
        input: "zone-of-b" -> Unknown(${{ slot.a.id }}) (slot.a.id)
        output: "zone-of-b" -> Unknown (computed)
    replace delete-first slot.a: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: "one" -> "two" ! (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        zone: "zone-of-a" -> Unknown (computed)
    0. delete box.b
    1. delete slot.a after 0
    2. create slot.a after 1
    3. update box.c after 2
    "#);
    scenario.apply();
}

#[test]
fn an_order_that_nobody_asked_for_gives_way_to_one_that_works() {
    let config = |more: &str| {
        let first =
            "slot a: {image: one}\nbox b: {} | depends_on: [slot.a]\nbox c: {} | depends_on: [box.b]\n";
        let then = format!(
            "slot a: {{image: two}}\nbox n: {{}} | depends_on: [slot.a]\nbox c: {{image: new}} | depends_on: [box.n]{more}\n"
        );
        (first, then)
    };
    let (first, then) = config("");
    let mut scenario = Scenario::applied(first);
    scenario.configure(&then);
    assert_snapshot!(render(&scenario.plan()), @r#"
    delete box.b: undeclared
    replace delete-first box.c: cannot change [image] in place
        id: "id-5" -> Unknown (computed)
        image: - -> "new" ! (main.gabion.yml:17:21)
        output: - -> Unknown (computed)
        zone: "zone-of-c" -> Unknown (computed)
        note The old object is deleted first: what the new one needs can only be made once it is gone.
    create box.n: new
        id: - -> Unknown (computed)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    replace delete-first slot.a: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: "one" -> "two" ! (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        zone: "zone-of-a" -> Unknown (computed)
    0. delete box.c
    1. delete box.b after 0
    2. delete slot.a after 1
    3. create slot.a after 2
    4. create box.n after 3
    5. create box.c after 0 4
    "#);
    scenario.apply();
    let (first, then) = config(" | lifecycle: {create_before_destroy: true}");
    let mut scenario = Scenario::applied(first);
    scenario.configure(&then);
    assert_snapshot!(render(&scenario.plan()), @r#"
    delete box.b: undeclared
    replace create-first box.c: cannot change [image] in place
        id: "id-5" -> Unknown (computed)
        image: - -> "new" ! (main.gabion.yml:17:21)
        output: - -> Unknown (computed)
        zone: "zone-of-c" -> Unknown (computed)
    create box.n: new
        id: - -> Unknown (computed)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    replace create-first slot.a: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: "one" -> "two" ! (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        zone: "zone-of-a" -> Unknown (computed)
        note The new object is made first: something that is replaced create-first needs it.
    0. create, deposing slot.a
    1. create box.n after 0
    2. create, deposing box.c after 1
    3. delete box.c after 2
    4. delete box.b after 3
    5. delete slot.a after 0 4
    "#);
    scenario.apply();
}

#[test]
fn a_provider_knows_when_both_can_exist_at_once() {
    let config = |image: &str, zone: &str| format!("slot a: {{image: {image}, zone: {zone}}}");
    let mut scenario = Scenario::applied(&config("one", "here"));
    scenario.configure(&config("two", "here"));
    assert_snapshot!(render(&scenario.plan()), @r#"
    replace delete-first slot.a: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: "one" -> "two" ! (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
    0. delete slot.a
    1. create slot.a after 0
    "#);
    scenario.configure(&config("two", "there"));
    assert_snapshot!(render(&scenario.plan()), @r#"
    replace create-first slot.a: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: "one" -> "two" ! (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        zone: "here" -> "there" (main.gabion.yml:5:32)
    0. create, deposing slot.a
    1. delete slot.a after 0
    "#);
    scenario.apply();
}
