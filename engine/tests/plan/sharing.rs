//! What a configuration, its records and a plan keep once: the same in memory, never another value.

use std::sync::Arc;

use gabion_engine::address::AddressParts;
use gabion_engine::resource::Resource;
use gabion_engine::state::fingerprint::FingerprintKey;
use gabion_engine::value::{Secret, Value};

use crate::support::{Scenario, address};

fn is_one(a: &AddressParts, b: &AddressParts) -> bool {
    std::ptr::eq(a, b)
}

fn resource<'a>(scenario: &'a Scenario, at: &str) -> &'a Resource {
    let resources = &scenario.configuration.resources;
    resources
        .iter()
        .find(|resource| resource.address == address(at))
        .unwrap()
}

#[test]
fn what_is_as_it_was_recorded_is_kept_once() {
    let text = "box a: {input: x}\nbox b: {input: '${{ box.a.id }}'}";
    let mut scenario = Scenario::applied(text);
    scenario.configure(text);
    scenario.configuration.share_with(&scenario.state);
    let record = scenario.state.current(&address("box.a")).unwrap();
    let a = resource(&scenario, "box.a");
    assert!(is_one(&a.address, &record.address));
    assert!(a.inputs.shares(&record.inputs));
    // What is not known yet is not what was recorded.
    let b = resource(&scenario, "box.b");
    assert!(!b.inputs["input"].is_wholly_known());

    let plan = scenario.plan();
    for change in &plan.changes {
        let (before, after) = (change.before.as_ref().unwrap(), change.after.as_ref().unwrap());
        assert!(before.shares(after), "{}", change.address);
    }

    scenario.configure("box a: {input: y}\nbox b: {input: '${{ box.a.id }}'}");
    scenario.configuration.share_with(&scenario.state);
    assert_eq!(resource(&scenario, "box.a").inputs["input"], Value::from("y"));
}

#[test]
fn a_secret_at_hand_stays_at_hand() {
    let key = Arc::new(FingerprintKey::new([7; 32]));
    let mut scenario = Scenario::new("");
    scenario.environment.insert("TOKEN".into(), "hunter2".into());
    scenario.environment.insert("env.TOKEN".into(), "hunter2".into());
    scenario
        .options
        .secrets
        .insert("env.TOKEN".into(), Secret::new(None, "hunter2".into()));
    scenario.options.key = Some(key);
    scenario.configure("box a: {password: '${{ env.TOKEN }}'}");
    scenario.apply();

    // Even where both count as equal.
    let record = scenario.state.current(&address("box.a")).unwrap();
    let Value::Secret(recorded) = &record.inputs["password"] else {
        panic!("{:?}", record.inputs);
    };
    assert!(recorded.expose().is_none());
    let at_hand = Secret::new(recorded.template.clone(), "hunter2".into());
    let at_hand = at_hand.with_fingerprint(recorded.fingerprint.clone());
    let at_hand = Value::Secret(at_hand);
    assert_eq!(at_hand, record.inputs["password"]);
    scenario.configuration.resources[0]
        .inputs
        .insert("password".into(), at_hand);
    assert_eq!(scenario.configuration.resources[0].inputs, record.inputs);
    scenario.configuration.share_with(&scenario.state);
    let Value::Secret(secret) = &scenario.configuration.resources[0].inputs["password"] else {
        panic!("{:?}", scenario.configuration.resources[0].inputs);
    };
    assert_eq!(secret.expose(), Some(&Value::from("hunter2")));
}
