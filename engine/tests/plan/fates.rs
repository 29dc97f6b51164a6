//! Groups that stand and fall together: when one of a group begins anew, all of it does.

use gabion_engine::plan::Plan;
use gabion_engine::plan::change::Action;
use gabion_engine::resource::Together;
use gabion_engine::value::AttributePath;
use insta::assert_snapshot;

use crate::support::{Scenario, render};

/// Three that stand and fall together, of which the first needs the others, and one beside them.
fn configure(scenario: &mut Scenario, size: u32) {
    scenario.configure(&format!(
        "slot head: {{size: {size}}} | depends_on: [slot.one, slot.two]\n\
         slot one: {{size: {size}}}\n\
         slot two: {{size: {size}}}\n\
         slot other: {{size: {size}}}\n\
         box user: {{image: '${{{{ slot.head.id }}}}'}}"
    ));
    for resource in &mut scenario.configuration.resources {
        if ["head", "one", "two"].contains(&resource.address.name.as_str()) {
            resource.lifecycle.together = Some(Together {
                group: "replica".into(),
                attributes: vec![AttributePath::root("input")],
            });
        }
    }
}

fn applied() -> Scenario {
    let mut scenario = Scenario::new("");
    configure(&mut scenario, 1);
    scenario.apply();
    scenario
}

fn replaced(plan: &Plan) -> Vec<String> {
    let replaced = plan
        .changes
        .iter()
        .filter(|change| matches!(change.action, Action::Replace(_) | Action::Create))
        .filter(|change| change.address.resource_type.as_str() == "slot");
    replaced.map(|change| change.address.to_string()).collect()
}

#[test]
fn one_that_begins_anew_takes_its_group_along_and_nothing_else() {
    let mut scenario = applied();
    scenario.tamper("slot.two", "input", "changed by hand");
    assert_snapshot!(render(&scenario.plan()), @r#"
    replace delete-first box.user: cannot change [image] in place
        id: "id-9" -> Unknown (computed)
        image: "id-7" -> Unknown(${{ slot.head.id }}) ! (slot.head.id)
        output: - -> Unknown (computed)
        zone: "zone-of-user" -> Unknown (computed)
        note The old object is deleted first, because `slot.head` must be, which it depends on.
    replace delete-first slot.head: triggered by slot.two
        id: "id-7" -> Unknown (computed)
        output: - -> Unknown (computed)
        zone: "zone-of-head" -> Unknown (computed)
    replace delete-first slot.one: triggered by slot.two
        id: "id-1" -> Unknown (computed)
        output: - -> Unknown (computed)
        zone: "zone-of-one" -> Unknown (computed)
    replace delete-first slot.two: drifted
        id: "id-5" -> Unknown (computed)
        input: "changed by hand" -> - (drift)
        output: - -> Unknown (computed)
        zone: "zone-of-two" -> Unknown (computed)
    drift slot.two.input: recorded -, is "changed by hand", wanted -: Reverted
    0. delete box.user
    1. delete slot.head after 0
    2. delete slot.one after 1
    3. create slot.one after 2
    4. delete slot.two after 1
    5. create slot.two after 4
    6. create slot.head after 1 3 5
    7. create box.user after 0 6
    "#);
    scenario.apply();
}

#[test]
fn whichever_of_a_group_is_replaced_or_gone_the_others_are_replaced_with_it() {
    for victim in ["slot.head", "slot.one", "slot.two"] {
        let mut scenario = applied();
        scenario.options.replace = vec![victim.parse().unwrap()];
        assert_eq!(replaced(&scenario.plan()), ["slot.head", "slot.one", "slot.two"]);
        scenario.options.replace = Vec::new();
        scenario.lose(victim);
        assert_eq!(replaced(&scenario.plan()), ["slot.head", "slot.one", "slot.two"]);
        scenario.apply();
    }
}

#[test]
fn what_does_not_count_is_changed_in_place() {
    let mut scenario = applied();
    configure(&mut scenario, 2);
    assert_eq!(replaced(&scenario.plan()), Vec::<String>::new());
    scenario.apply();
}

#[test]
fn a_replacement_that_was_broken_off_is_finished_for_all_of_the_group() {
    let mut scenario = applied();
    // What needs the others goes first and comes last, so a run that ended between left it out.
    for gone in ["slot.head", "slot.two"] {
        scenario.lose(gone);
    }
    assert_eq!(replaced(&scenario.plan()), ["slot.head", "slot.one", "slot.two"]);
    scenario.apply();
}
