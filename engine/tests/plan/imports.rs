//! Existing objects that come under management.

use gabion_engine::address::Uid;
use gabion_engine::value::Value;
use insta::assert_snapshot;
use uuid::Uuid;

use crate::support::{Scenario, address, render};

const IMPORT: &str = "---\ntype: import\nto: box.a\nid: id-77\n";

fn with_object(yaml: &str, inputs: &[(&str, Value)]) -> Scenario {
    let mut scenario = Scenario::new(yaml);
    let inputs = inputs
        .iter()
        .map(|(name, value)| ((*name).into(), value.clone()))
        .collect();
    let object = scenario.make(
        Uid::from_uuid(Uuid::from_u64_pair(1, 77)),
        &address("box.a"),
        &inputs,
    );
    scenario.world.imports.insert(address("box.a"), Ok(object));
    scenario
}

#[test]
fn an_import_that_fits_changes_nothing() {
    let mut scenario = with_object(
        &format!("box a: {{input: 1}}\n{IMPORT}"),
        &[("input", Value::Int(1))],
    );
    assert_snapshot!(render(&scenario.plan()), @r"
    keep box.a: imported
        imported from id-77
    ");
    scenario.apply();
    assert_snapshot!(render(&scenario.plan()), @r"nothing");
}

#[test]
fn an_import_that_differs_is_updated_afterwards() {
    let mut scenario = with_object(
        &format!("box a: {{input: 2}}\nbox b: {{input: '${{{{ box.a.id }}}}'}}\n{IMPORT}"),
        &[("input", Value::Int(1))],
    );
    assert_snapshot!(render(&scenario.plan()), @r#"
    update box.a: imported, changed
        imported from id-77
        input: 1 -> 2 (main.gabion.yml:5:21)
        output: 1 -> Unknown (computed)
    create box.b: new
        id: - -> Unknown (computed)
        input: - -> "id-77" (main.gabion.yml:11:21)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    0. update box.a
    1. create box.b after 0
    "#);
    scenario.apply();
}

#[test]
fn an_import_never_replaces() {
    let scenario = with_object(
        &format!("box a: {{image: x}}\n{IMPORT}"),
        &[("image", "y".into())],
    );
    assert_snapshot!(scenario.problems(), @r"
    error: importing would replace the object
      --> main.gabion.yml:3:7
    3 | kind: box
      |       ^^^
       `box.a` cannot become what the configuration says without being replaced: `image`.
    hint: make the configuration say what the object is, and import it then
    ");
}

#[test]
fn what_cannot_be_read_or_is_another_object_is_a_problem() {
    let mut scenario = Scenario::new(&format!("box a: {{}}\n{IMPORT}"));
    scenario
        .world
        .imports
        .insert(address("box.a"), Err("There is no `id-77`.".to_owned()));
    assert_snapshot!(scenario.problems(), @r"
    error: the object cannot be imported
      --> main.gabion.yml:9:5
    9 | to: box.a
      |     ^^^^^
       `id-77` as `box.a`: There is no `id-77`.
    ");
    let mut scenario = Scenario::applied("box a: {}");
    scenario.configure(&format!("box a: {{}}\n{IMPORT}"));
    assert_snapshot!(scenario.problems(), @r"
    error: this import does not fit
      --> main.gabion.yml:9:5
    9 | to: box.a
      |     ^^^^^
       `box.a` is another object already, not `id-77`.
    hint: import it under another address, or take the import out
    ");
}
