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
