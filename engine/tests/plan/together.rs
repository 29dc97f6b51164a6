//! Objects that go with the one that holds them, without a call of their own.

use insta::assert_snapshot;

use crate::support::{Scenario, render};

fn config(image: &str) -> String {
    format!(
        "box router: {{image: {image}}}
part worker: {{holder: '${{{{ box.router.id }}}}', input: 1}}
box route: {{input: '${{{{ part.worker.id }}}}'}}"
    )
}

#[test]
fn a_replaced_holder_takes_its_parts_along() {
    let mut scenario = Scenario::applied(&config("one"));
    scenario.configure(&config("two"));
    assert_snapshot!(render(&scenario.plan()), @r#"
    update box.route: changed
        input: "id-3" -> Unknown(${{ part.worker.id }}) (part.worker.id)
        output: "id-3" -> Unknown (computed)
    replace create-first box.router: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: "one" -> "two" ! (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        zone: "zone-of-router" -> Unknown (computed)
    replace create-first part.worker: goes with box.router, cannot change [holder] in place
        holder: "id-1" -> Unknown(${{ box.router.id }}) ! (box.router.id)
        id: "id-3" -> Unknown (computed)
        output: 1 -> Unknown (computed)
        zone: "zone-of-worker" -> Unknown (computed)
    0. create, deposing box.router
    1. create, deposing part.worker after 0
    2. update box.route after 1
    3. delete box.router after 0 1 2
    4. gone with holder part.worker after 1 2 3
    "#);
    scenario.apply();
}

#[test]
fn a_deleted_holder_takes_its_parts_along_once_nothing_uses_them() {
    let mut scenario = Scenario::applied(&config("one"));
    scenario.configure("box route: {input: 3}");
    assert_snapshot!(render(&scenario.plan()), @r#"
    update box.route: changed
        input: "id-3" -> 3 (main.gabion.yml:5:21)
        output: "id-3" -> Unknown (computed)
    delete box.router: undeclared
    delete part.worker: undeclared, goes with box.router
    0. update box.route
    1. delete box.router after 0
    2. gone with holder part.worker after 0 1
    "#);
    scenario.apply();
    assert_eq!(scenario.cloud.len(), 1);
}

#[test]
fn a_part_whose_holder_stays_is_deleted_by_a_call() {
    let mut scenario = Scenario::applied(&config("one"));
    scenario.configure("box router: {image: one}\nbox route: {input: 3}");
    assert_snapshot!(render(&scenario.plan()), @r#"
    update box.route: changed
        input: "id-3" -> 3 (main.gabion.yml:11:21)
        output: "id-3" -> Unknown (computed)
    delete part.worker: undeclared
    0. update box.route
    1. delete part.worker after 0
    "#);
    scenario.apply();
}

#[test]
fn a_part_that_names_its_holder_loosely_is_made_anew_with_it() {
    let config = |image: &str| {
        format!(
            "box router: {{image: {image}}}\npart worker: {{holder: box.router}} | depends_on: [box.router]"
        )
    };
    let mut scenario = Scenario::applied(&config("one"));
    scenario.configure(&config("two"));
    assert_snapshot!(render(&scenario.plan()), @r#"
    replace create-first box.router: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: "one" -> "two" ! (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        zone: "zone-of-router" -> Unknown (computed)
    replace create-first part.worker: goes with box.router
        id: "id-3" -> Unknown (computed)
        output: - -> Unknown (computed)
        zone: "zone-of-worker" -> Unknown (computed)
    0. create, deposing box.router
    1. create, deposing part.worker after 0
    2. delete box.router after 0 1
    3. gone with holder part.worker after 1 2
    "#);
}

const CIRCLE: &str = "box a: {image: one}
box b: {image: one}
part ab: {holder: '${{ box.a.id }}', input: '${{ box.b.id }}'}
part ba: {holder: '${{ box.b.id }}', input: '${{ box.a.id }}'}";

#[test]
fn of_parts_that_go_with_each_others_holders_one_is_deleted_by_itself() {
    let mut scenario = Scenario::applied(CIRCLE);
    scenario.configure("");
    assert_snapshot!(render(&scenario.plan()), @r#"
    delete box.a: undeclared
    delete box.b: undeclared
    delete part.ab: undeclared
        note The deletion of the `part.ab` takes a call of its own: it cannot wait for the deletion of the `box.a`, which would take it along.
    delete part.ba: undeclared, goes with box.b
    0. delete part.ab
    1. delete box.b after 0
    2. gone with holder part.ba after 1
    3. delete box.a after 0 2
    "#);
    scenario.apply();
    assert!(scenario.cloud.is_empty());
}

#[test]
fn holders_of_each_others_parts_can_be_replaced_at_once() {
    let mut scenario = Scenario::applied(CIRCLE);
    scenario.configure(&CIRCLE.replace("one", "two"));
    assert_snapshot!(render(&scenario.plan()), @r#"
    replace create-first box.a: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: "one" -> "two" ! (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        zone: "zone-of-a" -> Unknown (computed)
    replace create-first box.b: cannot change [image] in place
        id: "id-3" -> Unknown (computed)
        image: "one" -> "two" ! (main.gabion.yml:11:21)
        output: - -> Unknown (computed)
        zone: "zone-of-b" -> Unknown (computed)
    replace create-first part.ab: goes with box.a, cannot change [holder] in place
        holder: "id-1" -> Unknown(${{ box.a.id }}) ! (box.a.id)
        id: "id-5" -> Unknown (computed)
        input: "id-3" -> Unknown(${{ box.b.id }}) (box.b.id)
        output: "id-3" -> Unknown (computed)
        zone: "zone-of-ab" -> Unknown (computed)
        note The deletion of the old `part.ab` takes a call of its own: it cannot wait for the deletion of the old `box.a`, which would take it along.
    replace create-first part.ba: goes with box.b, cannot change [holder] in place
        holder: "id-3" -> Unknown(${{ box.b.id }}) ! (box.b.id)
        id: "id-7" -> Unknown (computed)
        input: "id-1" -> Unknown(${{ box.a.id }}) (box.a.id)
        output: "id-1" -> Unknown (computed)
        zone: "zone-of-ba" -> Unknown (computed)
    0. create, deposing box.a
    1. create, deposing box.b
    2. create, deposing part.ab after 0 1
    3. delete part.ab after 2
    4. create, deposing part.ba after 0 1
    5. delete box.b after 1 3 4
    6. gone with holder part.ba after 4 5
    7. delete box.a after 0 2 3 6
    "#);
    scenario.apply();
    assert_eq!(scenario.cloud.len(), 4);
}

#[test]
fn a_ring_of_holders_is_cut_once() {
    let mut ring = String::new();
    for (holder, member) in [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")] {
        ring.push_str(&format!(
            "box {holder}: {{}}\npart {holder}{member}: {{holder: '${{{{ box.{holder}.id }}}}', input: '${{{{ box.{member}.id }}}}'}}\n"
        ));
    }
    let mut scenario = Scenario::applied(&ring);
    scenario.configure("");
    let plan = scenario.plan();
    let alone = plan.changes.iter().filter(|change| !change.notes.is_empty());
    assert_eq!(
        alone.map(|change| change.address.to_string()).collect::<Vec<_>>(),
        ["part.ab"]
    );
    scenario.apply();
}
