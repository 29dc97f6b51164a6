//! What leads to others is updated between what it is to lead to and what it led to.

use gabion_engine::plan::Plan;
use insta::assert_snapshot;

use crate::support::{Scenario, address, render};

/// A machine, a service on it, and a name that leads to the machine as soon as the service is on it.
fn configure(scenario: &mut Scenario, image: &str, more: &str) {
    scenario.configure(&format!(
        "box machine: {{image: {image}}}\n\
         box name: {{input: '${{{{ box.machine.id }}}}'}}\n\
         box service: {{image: '${{{{ box.machine.id }}}}'}}{more}"
    ));
    let resources = &mut scenario.configuration.resources;
    let name = resources
        .iter_mut()
        .find(|resource| resource.address == address("box.name"));
    name.unwrap().update_after = vec![address("box.service")].into();
}

fn applied(more: &str) -> Scenario {
    let mut scenario = Scenario::new("");
    configure(&mut scenario, "one", more);
    scenario
}

#[test]
fn it_is_made_without_what_it_leads_to() {
    let mut scenario = applied("");
    let plan = render(&scenario.plan());
    let steps = plan
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    assert_snapshot!(steps.collect::<Vec<_>>().join("\n"), @"
    0. create box.machine
    1. create box.name after 0
    2. create box.service after 0
    ");
    scenario.apply();
}

#[test]
fn it_is_updated_once_the_new_ones_stand_and_before_the_old_ones_go() {
    let mut scenario = applied("");
    scenario.apply();
    configure(&mut scenario, "two", "");
    assert_snapshot!(render(&scenario.plan()), @r#"
    replace create-first box.machine: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: "one" -> "two" ! (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        zone: "zone-of-machine" -> Unknown (computed)
    update box.name: changed
        input: "id-1" -> Unknown(${{ box.machine.id }}) (box.machine.id)
        output: "id-1" -> Unknown (computed)
    replace create-first box.service: cannot change [image] in place
        id: "id-5" -> Unknown (computed)
        image: "id-1" -> Unknown(${{ box.machine.id }}) ! (box.machine.id)
        output: - -> Unknown (computed)
        zone: "zone-of-service" -> Unknown (computed)
    0. create, deposing box.machine
    1. create, deposing box.service after 0
    2. update box.name after 0 1
    3. delete box.service after 1 2
    4. delete box.machine after 0 2 3
    "#);
    scenario.apply();
}

#[test]
fn after_a_crash_it_is_still_updated_before_the_old_ones_go() {
    let mut scenario = applied("");
    scenario.apply();
    configure(&mut scenario, "two", "");
    let plan = scenario.plan();
    scenario.begin(&plan);
    for step in &plan.steps[..2] {
        scenario.carry_out_step(&plan, step);
    }
    assert_snapshot!(render(&scenario.plan()), @r#"
    delete box.machine (deposed): deposed
    update box.name: changed
        input: "id-1" -> "id-7" (main.gabion.yml:11:21)
        output: "id-1" -> Unknown (computed)
    delete box.service (deposed): deposed
    0. update box.name
    1. delete box.service after 0
    2. delete box.machine after 0 1
    "#);
    scenario.apply();
}

#[test]
fn it_does_not_wait_for_what_waits_for_it() {
    let more = " | depends_on: [box.name]";
    let mut scenario = applied(more);
    scenario.apply();
    configure(&mut scenario, "two", more);
    assert_snapshot!(render(&scenario.plan()), @r#"
    replace create-first box.machine: cannot change [image] in place
        id: "id-1" -> Unknown (computed)
        image: "one" -> "two" ! (main.gabion.yml:5:21)
        output: - -> Unknown (computed)
        zone: "zone-of-machine" -> Unknown (computed)
    update box.name: changed
        input: "id-1" -> Unknown(${{ box.machine.id }}) (box.machine.id)
        output: "id-1" -> Unknown (computed)
        note The update of `box.name` cannot wait for the creation of `box.service`, which it leads to from then on.
    replace create-first box.service: cannot change [image] in place
        id: "id-5" -> Unknown (computed)
        image: "id-1" -> Unknown(${{ box.machine.id }}) ! (box.machine.id)
        output: - -> Unknown (computed)
        zone: "zone-of-service" -> Unknown (computed)
    0. create, deposing box.machine
    1. update box.name after 0
    2. create, deposing box.service after 0 1
    3. delete box.service after 1 2
    4. delete box.machine after 0 1 3
    "#);
    scenario.apply();
}

/// What a plan does, each with those that it waits for, and what it leaves out.
fn steps(plan: &Plan) -> String {
    let shown = render(plan);
    let lines = shown.lines().filter(|line| {
        let is_step = line.starts_with(|c: char| c.is_ascii_digit());
        is_step || line.starts_with("left out") || line.contains("left alone") || line.contains("is kept")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_update_that_leads_where_it_led_before_is_waited_for_by_nothing() {
    let configure = |scenario: &mut Scenario, image: &str, size: u32| {
        let roll = "lifecycle: {roll: {group: web, max_surge: 1}}";
        scenario.configure(&format!(
            "box machine: {{}}\n\
             box name: {{input: '${{{{ box.machine.id }}}}', size: {size}}}\n\
             box one: {{image: {image}, input: '${{{{ box.machine.id }}}}'}} | {roll}\n\
             box two: {{image: {image}, input: '${{{{ box.machine.id }}}}'}} | {roll}"
        ));
        let resources = &mut scenario.configuration.resources;
        let mut leading = resources
            .iter_mut()
            .filter(|resource| resource.address == address("box.name"));
        leading.next().unwrap().update_after = vec![address("box.one"), address("box.two")].into();
    };
    let mut scenario = Scenario::new("");
    configure(&mut scenario, "old", 1);
    scenario.apply();
    configure(&mut scenario, "new", 2);
    let plan = scenario.plan();
    assert!(
        render(&plan).contains("are replaced in turn"),
        "{}",
        render(&plan)
    );
    assert_snapshot!(steps(&plan), @r"
    0. update box.name
    1. create, deposing box.one
    2. delete box.one after 1
    3. create, deposing box.two after 1 2
    4. delete box.two after 1 2 3
    ");
    scenario.apply();
    // So it is when somebody else has changed it.
    scenario.tamper("box.name", "size", 7);
    configure(&mut scenario, "newest", 2);
    let plan = scenario.plan();
    assert!(
        render(&plan).contains("are replaced in turn"),
        "{}",
        render(&plan)
    );
    scenario.apply();
}
