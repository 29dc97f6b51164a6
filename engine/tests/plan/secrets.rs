//! Secrets: compared by fingerprint, never written.

use std::sync::Arc;

use gabion_engine::state::fingerprint::FingerprintKey;
use gabion_engine::value::Secret;
use insta::assert_snapshot;

use crate::support::{Scenario, render};

const CONFIG: &str = "box a: {password: '${{ env.TOKEN }}', input: 'Bearer ${{ env.TOKEN }}'}
box b: {input: '${{ box.a.password }}'}
box c: {input: '${{ box.a.zone }}/${{ env.TOKEN }}'}";

fn project(token: &str) -> Scenario {
    let mut scenario = Scenario::new("");
    scenario.environment.insert("TOKEN".into(), token.into());
    scenario.environment.insert("env.TOKEN".into(), token.into());
    let secret = Secret::new(None, token.into());
    scenario.options.secrets.insert("env.TOKEN".into(), secret);
    scenario.options.key = Some(Arc::new(FingerprintKey::new([7; 32])));
    scenario.configure(CONFIG);
    scenario
}

#[test]
fn no_value_of_a_secret_is_written() {
    let scenario = project("hunter2");
    let plan = scenario.plan();
    assert_snapshot!(render(&plan), @r"
    create box.a: new
        id: - -> Unknown (computed)
        input: - -> Secret(Bearer ${{ env.TOKEN }}) (main.gabion.yml:5:51)
        output: - -> Unknown (computed)
        password: - -> Secret(${{ env.TOKEN }}) (main.gabion.yml:5:24)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    create box.b: new
        id: - -> Unknown (computed)
        input: - -> Secret(${{ box.a.password }}) (box.a.password)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    create box.c: new
        id: - -> Unknown (computed)
        input: - -> Unknown(${{ box.a.zone }}/${{ env.TOKEN }}) (box.a.zone)
        output: - -> Unknown (computed)
        size: - -> 1 (computed)
        zone: - -> Unknown (computed)
    0. create box.a
    1. create box.b after 0
    2. create box.c after 0
    ");
    let file = String::from_utf8(plan.to_file().unwrap()).unwrap();
    assert!(!file.contains("hunter2"));
    assert!(!format!("{plan:?}").contains("hunter2"));
    assert_eq!(plan.bindings.secrets.len(), 3);
}

#[test]
fn without_a_key_a_secret_is_not_compared_and_never_an_update() {
    let mut scenario = Scenario::applied("box a: {password: x1}");
    assert_snapshot!(render(&scenario.plan()), @r"
    keep box.a: 
        note `password` was not compared: there is no fingerprint key.
    drift box.a.password: recorded Secret, is Secret, wanted Secret: CannotTell
    note `box.a`: `password` was not compared: there is no fingerprint key.
    ");
    scenario.configure("box a: {password: x2}");
    assert_snapshot!(render(&scenario.plan()), @r"
    keep box.a: 
        note `password` was not compared: there is no fingerprint key.
    drift box.a.password: recorded Secret, is Secret, wanted Secret: CannotTell
    note `box.a`: `password` was not compared: there is no fingerprint key.
    ");
}

#[test]
fn a_secret_that_stands_in_the_configuration_cannot_be_saved() {
    let scenario = Scenario::new("box a: {password: x1}");
    let plan = scenario.plan();
    assert_snapshot!(plan.to_file().unwrap_err(), @r"a plan with this value cannot be saved: `password` of `box.a` is secret and stands in the configuration itself, and gabion writes no secret into a file; give it from `secrets` or `env`");
}
