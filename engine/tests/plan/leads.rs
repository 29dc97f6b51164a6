//! What leads to others is updated between what it is to lead to and what it led to.

use gabion_engine::address::{OperationId, Uid};
use gabion_engine::plan::Plan;
use gabion_engine::provider::{CallAction, Observation};
use gabion_engine::state::event::{AskedBy, EventBody, Intent};
use insta::assert_snapshot;
use uuid::Uuid;

use crate::support::{Scenario, address, render, uid_of};

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

/// All of a swap, in its order.
const SWAP: &str = "0. create, deposing box.machine
1. create, deposing box.service after 0
2. update box.name after 0 1
3. delete box.service after 1 2
4. delete box.machine after 0 2 3";

const LEFT_OUT: &str = "left out box.machine\nleft out box.name\nleft out box.service";

/// A project whose machine, of another image, makes way for another.
fn swapping() -> Scenario {
    let mut scenario = applied("");
    scenario.apply();
    configure(&mut scenario, "two", "");
    scenario
}

#[test]
fn a_target_takes_all_of_a_swap() {
    for target in ["box.machine", "box.name", "box.service"] {
        let mut scenario = swapping();
        scenario.options.targets.push(target.parse().unwrap());
        assert_eq!(steps(&scenario.plan()), SWAP, "{target}");
        scenario.apply();
    }
    // So it does when the replacement is asked for.
    let mut scenario = applied("");
    scenario.apply();
    scenario.options.replace.push(address("box.machine"));
    scenario.options.targets.push("box.machine".parse().unwrap());
    assert_eq!(steps(&scenario.plan()), SWAP);
}

#[test]
fn an_exclusion_leaves_all_of_a_swap_out() {
    for excluded in ["box.machine", "box.name", "box.service"] {
        let mut scenario = swapping();
        scenario.options.excludes.push(excluded.parse().unwrap());
        // Without another machine nothing else would change.
        assert_eq!(steps(&scenario.plan()), "left out box.machine", "{excluded}");
    }
}

#[test]
fn without_a_swap_each_is_covered_alone() {
    let mut scenario = applied("\nbox other: {size: 1}");
    scenario.apply();
    configure(&mut scenario, "one", "\nbox other: {size: 2}");
    for target in ["box.name", "box.service"] {
        scenario.options.targets = vec![target.parse().unwrap()];
        assert_eq!(steps(&scenario.plan()), "left out box.other", "{target}");
    }
    scenario.options.targets.clear();
    scenario.options.excludes.push("box.service".parse().unwrap());
    assert_eq!(steps(&scenario.plan()), "0. update box.other");
}

/// Carries out the first steps of a swap.
fn begun(steps: usize) -> Scenario {
    let mut scenario = swapping();
    let plan = scenario.plan();
    scenario.begin(&plan);
    for step in &plan.steps[..steps] {
        scenario.carry_out_step(&plan, step);
    }
    scenario
}

#[test]
fn what_is_left_of_a_swap_is_covered_or_left_out_as_a_whole() {
    for target in ["box.machine", "box.name", "box.service"] {
        let mut scenario = begun(1);
        scenario.options.targets.push(target.parse().unwrap());
        let covered = steps(&scenario.plan());
        let expected =
            "0. create, deposing box.service\n1. update box.name after 0\n2. delete box.service after 0 1";
        assert!(covered.contains(expected), "{target}: {covered}");
    }
    for excluded in ["box.name", "box.service"] {
        let mut scenario = begun(1);
        scenario.options.excludes.push(excluded.parse().unwrap());
        assert_eq!(steps(&scenario.plan()), LEFT_OUT, "{excluded}");
    }
    let mut scenario = begun(2);
    scenario.options.excludes.push("box.name".parse().unwrap());
    assert_eq!(steps(&scenario.plan()), LEFT_OUT);
}

#[test]
fn a_swap_is_over_once_names_lead_elsewhere() {
    let mut scenario = begun(3);
    scenario.configure(
        "box machine: {image: two}\n\
         box name: {input: '${{ box.machine.id }}', size: 2}\n\
         box service: {image: '${{ box.machine.id }}', size: 2}",
    );
    let resources = &mut scenario.configuration.resources;
    let mut leading = resources
        .iter_mut()
        .filter(|resource| resource.address == address("box.name"));
    leading.next().unwrap().update_after = vec![address("box.service")].into();
    scenario.options.targets.push("box.name".parse().unwrap());
    assert_snapshot!(steps(&scenario.plan()), @r"
    left out box.machine
    left out box.service
    0. update box.name
    ");
}

#[test]
fn files_that_declare_half_of_a_swap_leave_it_out() {
    let mut scenario = begun(1);
    let name = "---\ntype: resource\nkind: box\nname: name\nproperties: {input: '${{ box.machine.id }}'}\n";
    let others = "box machine: {image: two}\nbox service: {image: '${{ box.machine.id }}'}";
    scenario.configure_files(&[("name.gabion.yml", name), ("others.gabion.yml", others)]);
    let resources = &mut scenario.configuration.resources;
    let leading = resources
        .iter_mut()
        .find(|resource| resource.address == address("box.name"));
    leading.unwrap().update_after = vec![address("box.service")].into();
    for files in ["name.gabion.yml", "others.gabion.yml"] {
        scenario.options.files = Some([files.into()].into());
        assert_eq!(steps(&scenario.plan()), LEFT_OUT, "{files}");
    }
}

#[test]
fn a_swap_that_is_left_out_takes_others_along_that_share_its_parts() {
    let leading = ["alias", "name", "second"].map(|name| address(&format!("box.{name}")));
    let with_names = |scenario: &mut Scenario| {
        let resources = scenario.configuration.resources.iter_mut();
        for resource in resources.filter(|resource| leading.contains(&resource.address)) {
            // The second is led to by what the others lead to.
            let to = ["box.service", "box.other"][usize::from(resource.address == leading[2])];
            resource.update_after = vec![address(to)].into();
        }
    };
    let of_name =
        "---\ntype: resource\nkind: box\nname: name\nproperties: {input: '${{ box.machine.id }}'}\n";
    let configure = |scenario: &mut Scenario, image: &str| {
        let others = format!(
            "box machine: {{image: {image}}}\n\
             box alias: {{input: '${{{{ box.machine.id }}}}'}}\n\
             box service: {{image: '${{{{ box.machine.id }}}}'}}\n\
             box second: {{input: '${{{{ box.service.id }}}}'}}\n\
             box other: {{image: '${{{{ box.service.id }}}}'}}"
        );
        scenario.configure_files(&[("name.gabion.yml", of_name), ("others.gabion.yml", &others)]);
        with_names(scenario);
    };
    for files in ["name.gabion.yml", "others.gabion.yml"] {
        let mut scenario = Scenario::new("");
        configure(&mut scenario, "one");
        scenario.apply();
        configure(&mut scenario, "two");
        let plan = scenario.plan();
        scenario.begin(&plan);
        scenario.carry_out_step(&plan, &plan.steps[0]);
        scenario.options.files = Some([files.into()].into());
        let plan = scenario.plan();
        assert!(plan.steps.is_empty(), "{files}: {}", steps(&plan));
        scenario.options.files = None;
        scenario.apply();
    }
}

#[test]
fn a_call_that_is_unsettled_holds_what_is_left_of_a_swap_up() {
    let mut scenario = begun(1);
    let operation = OperationId::from_uuid(Uuid::from_u64_pair(5, 5));
    let plan = scenario.plan();
    let service = plan
        .changes
        .iter()
        .find(|change| change.address == address("box.service"));
    let service = service.unwrap();
    scenario.fold(EventBody::Intent(Intent {
        operation,
        action: CallAction::Create,
        uid: Uid::from_uuid(Uuid::from_u64_pair(1, 50)),
        address: service.address.clone(),
        inputs: scenario
            .state
            .current(&address("box.service"))
            .unwrap()
            .inputs
            .clone(),
        declaration: service.declaration.clone(),
        deposes: Some(uid_of(&scenario, "box.service")),
        asked_by: AskedBy::Digest(None),
        step: 0,
    }));
    let reason = "The machine does not answer.".to_owned();
    let unknown = Observation::Unknown { reason };
    scenario.world.observations.insert(operation, unknown);
    // The name leads to the old machine, with the old service on it.
    assert_snapshot!(steps(&scenario.plan()), @r"
    left out box.machine
    left out box.service
    note `box.machine` is kept: `box.service` uses it, whose call is unsettled.
    note `box.name` is left alone: it depends on `box.service`, whose call is unsettled.
    ");
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

/// A machine, an address that leads to it and stays what it is, and a service that is reached by an attribute of it; more
/// of the service.
fn with_address(scenario: &mut Scenario, image: &str, attribute: &str, more: &str) {
    scenario.configure(&format!(
        "box machine: {{image: {image}}}\n\
         box address: {{input: '${{{{ box.machine.id }}}}'}}\n\
         box service: {{image: '${{{{ box.machine.id }}}}', input: '${{{{ box.address.{attribute} }}}}'{more}}}"
    ));
    let resources = &mut scenario.configuration.resources;
    let mut leading = resources
        .iter_mut()
        .filter(|resource| resource.address == address("box.address"));
    leading.next().unwrap().update_after = vec![address("box.service")].into();
}

#[test]
fn an_address_that_stays_moves_once_all_stands_that_is_reached_by_it() {
    let mut scenario = Scenario::new("");
    with_address(&mut scenario, "one", "zone", "");
    scenario.apply();
    with_address(&mut scenario, "two", "zone", "");
    let whole = "0. create, deposing box.machine\n\
                 1. create, deposing box.service after 0\n\
                 2. update box.address after 0 1\n\
                 3. delete box.service after 1 2\n\
                 4. delete box.machine after 0 2 3";
    let plan = scenario.plan();
    assert_eq!(steps(&plan), whole);
    assert!(!render(&plan).contains("cannot wait"), "{}", render(&plan));
    // However far a run came, the next one goes on in this order.
    let left = [
        "0. create, deposing box.service\n\
         1. update box.address after 0\n\
         2. delete box.service after 0 1\n\
         3. delete box.machine after 1 2",
        "0. update box.address\n1. delete box.service after 0\n2. delete box.machine after 0 1",
        "0. delete box.service\n1. delete box.machine after 0",
        "0. delete box.machine",
    ];
    for (done, left) in (1..).zip(left) {
        let mut scenario = Scenario::new("");
        with_address(&mut scenario, "one", "zone", "");
        scenario.apply();
        with_address(&mut scenario, "two", "zone", "");
        let plan = scenario.plan();
        scenario.begin(&plan);
        for step in &plan.steps[..done] {
            scenario.carry_out_step(&plan, step);
        }
        assert_eq!(steps(&scenario.plan()), left, "after {done} steps");
        scenario.apply();
    }
}

#[test]
fn an_address_that_becomes_another_is_waited_for_by_whoever_is_reached_by_it() {
    let mut scenario = Scenario::new("");
    with_address(&mut scenario, "one", "output", "");
    scenario.apply();
    with_address(&mut scenario, "two", "output", "");
    let plan = scenario.plan();
    assert_snapshot!(steps(&plan), @r"
    0. create, deposing box.machine
    1. update box.address after 0
    2. create, deposing box.service after 0 1
    3. delete box.service after 1 2
    4. delete box.machine after 0 1 3
    ");
    assert!(
        render(&plan).contains("cannot wait for the creation of `box.service`"),
        "{}",
        render(&plan)
    );
    scenario.apply();
}

#[test]
fn an_address_that_somebody_moved_is_put_right_before_it_is_used() {
    let mut scenario = Scenario::new("");
    with_address(&mut scenario, "one, size: 1", "zone", "");
    scenario.apply();
    scenario.tamper("box.address", "input", "elsewhere");
    with_address(&mut scenario, "one, size: 1", "zone", ", size: 2");
    assert_snapshot!(steps(&scenario.plan()), @r"
    0. update box.address
    1. update box.service after 0
    ");
    // So it is when the machine changes in place.
    with_address(&mut scenario, "one, size: 2", "zone", ", size: 2");
    assert_snapshot!(steps(&scenario.plan()), @r"
    0. update box.machine
    1. update box.address after 0
    2. update box.service after 0 1
    ");
    scenario.apply();
}

/// A gateway's machine with a registration there for each of two replicas, which are elsewhere and roll.
fn configure_replicas(scenario: &mut Scenario, machine: &str, replica: &str) {
    let roll = "lifecycle: {roll: {group: web, max_surge: 1}}";
    scenario.configure(&format!(
        "box machine: {{image: {machine}}}\n\
         box name: {{input: '${{{{ box.machine.id }}}}'}}\n\
         box replica0: {{image: {replica}}} | {roll}\n\
         box replica1: {{image: {replica}}} | {roll}\n\
         box worker0: {{image: '${{{{ box.machine.id }}}}', input: '${{{{ box.replica0.id }}}}'}} | {roll}\n\
         box worker1: {{image: '${{{{ box.machine.id }}}}', input: '${{{{ box.replica1.id }}}}'}} | {roll}"
    ));
    for resource in &mut scenario.configuration.resources {
        let name = resource.address.name.to_string();
        if let Some(roll) = &mut resource.lifecycle.roll {
            roll.member = name.get(name.len() - 1..).map(Into::into);
        }
        if name == "name" {
            resource.update_after = vec![address("box.worker0"), address("box.worker1")].into();
        }
    }
}

#[test]
fn beside_a_swap_the_members_of_a_group_are_replaced_at_once_as_the_plan_says() {
    let mut scenario = Scenario::new("");
    configure_replicas(&mut scenario, "one", "one");
    scenario.apply();
    configure_replicas(&mut scenario, "two", "two");
    let plan = scenario.plan();
    let shown = render(&plan);
    assert!(
        shown.contains("note It is replaced at once with the others of its group, not in turn"),
        "{shown}"
    );
    assert!(!shown.contains("are replaced in turn"), "{shown}");
    assert_snapshot!(steps(&plan), @r"
    0. create, deposing box.machine
    1. create, deposing box.replica0
    2. create, deposing box.replica1
    3. create, deposing box.worker0 after 0 1
    4. create, deposing box.worker1 after 0 2
    5. update box.name after 0 3 4
    6. delete box.worker0 after 3 5
    7. delete box.replica0 after 1 6
    8. delete box.worker1 after 4 5
    9. delete box.machine after 0 5 6 8
    10. delete box.replica1 after 2 8
    ");
    scenario.apply();
    // The replicas alone have their turns again.
    configure_replicas(&mut scenario, "two", "three");
    let shown = render(&scenario.plan());
    assert!(shown.contains("are replaced in turn"), "{shown}");
    scenario.apply();
}

#[test]
fn a_swap_beside_a_rolling_change_keeps_its_order_wherever_it_was_cut_off() {
    let mut done = 0;
    loop {
        let mut scenario = Scenario::new("");
        configure_replicas(&mut scenario, "one", "one");
        scenario.apply();
        configure_replicas(&mut scenario, "two", "two");
        let plan = scenario.plan();
        scenario.begin(&plan);
        for step in &plan.steps[..done] {
            scenario.carry_out_step(&plan, step);
        }
        let rest = steps(&scenario.plan());
        if let Some(led) = rest.find("update box.name") {
            for new in ["box.machine", "box.worker0", "box.worker1"] {
                let made = rest.find(&format!("create, deposing {new} "));
                assert!(made.is_none_or(|made| made < led), "{done}: {rest}");
            }
            for old in [
                "box.machine",
                "box.worker0",
                "box.worker1",
                "box.replica0",
                "box.replica1",
            ] {
                let gone = rest.find(&format!("delete {old} "));
                assert!(gone.is_none_or(|gone| led < gone), "{done}: {rest}");
            }
        }
        scenario.apply();
        if done == plan.steps.len() {
            break;
        }
        done += 1;
    }
}
