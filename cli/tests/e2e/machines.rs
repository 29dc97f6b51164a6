//! Programs on machines behind SSH: a gateway with its router on one, replicas on others.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::harness::eventually;
use crate::harness::machines::{Machine, project};

#[test]
fn a_gateway_on_one_machine_serves_replicas_on_two_others_and_destroy_leaves_nothing() {
    // Relays let in the gateway's machine alone, and whoever connects on loopback comes from the first of these.
    let addresses = [[127, 0, 0, 1], [127, 88, 7, 2], [127, 88, 7, 3]];
    let Some(machines) = Machine::start_apart(&addresses) else {
        return;
    };
    let [edge, first, second] = &machines[..] else {
        unreachable!()
    };
    let mut project = project(&[edge], &[first, second]);
    project.edit("gateway.dstack.yml", "policy: cache_aware", "policy: round_robin");
    project.edit("gpu.dstack.yml", "blocks: 1", "blocks: 2");
    project.edit("service.dstack.yml", "replicas: 2", "replicas: 4");
    let planned = project.plan().changes();
    for machine in [edge.name("edge"), first.name("gpu"), second.name("gpu")] {
        assert_eq!(
            planned
                .get(&format!("ssh_host[\"{machine}\"]"))
                .map(String::as_str),
            Some("create"),
            "{planned:?}"
        );
    }
    project.apply();

    // Each program is where it was planned, and nowhere else.
    assert_eq!(
        [first, second].map(|machine| machine.units().len()),
        [4, 4],
        "two replicas and their relays"
    );
    assert_eq!(edge.units().len(), 2, "the agent and the router");
    assert!(project.units().is_empty());
    let mut places: Vec<String> = (0..4)
        .map(|number| {
            let address = format!("host_unit.qwen/default/{number}");
            project
                .attribute(&address, "machine")
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    places.sort();
    let expected = [first, first, second, second].map(|machine| machine.name("gpu"));
    assert_eq!(places, expected);

    let endpoint = project.endpoint();
    let mut seen = BTreeSet::new();
    eventually("all replicas answer", Duration::from_secs(60), || {
        let completion = endpoint.ask("hello").map_err(|error| format!("{error:?}"))?;
        seen.insert(completion.replica);
        if seen.len() == 4 {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);

    let programs = project.run(&["ps", "--format", "json"]).succeeds().json();
    let programs = programs["programs"].as_array().unwrap().clone();
    assert_eq!(programs.len(), 10, "{programs:#?}");
    assert!(
        programs.iter().all(|program| program["running"] == true),
        "{programs:#?}"
    );
    project
        .run(&["logs", "qwen/default/0"])
        .succeeds()
        .says("127.0.0.1");

    // A program that was killed behind gabion's back is seen, and put right on its machine.
    let victim = first
        .units()
        .into_iter()
        .find(|unit| unit.log(50).contains("serving"))
        .unwrap_or_else(|| first.units().into_iter().next().unwrap());
    crate::harness::kill_process(victim.pid());
    project.run(&["drift"]).exits(2);
    project.apply();
    project.plan_is_empty();

    project.destroy();
    for machine in &machines {
        assert!(!machine.0.gabion_root().exists(), "{:?}", machine.0.gabion_root());
        assert_eq!(machine.processes(), Vec::<i32>::new());
    }
}

#[test]
fn a_machine_that_is_cut_off_in_the_middle_of_an_apply_is_named_and_recovered() {
    let Some(mut machines) = Machine::start(3) else {
        return;
    };
    let project = {
        let [edge, first, second] = &machines[..] else {
            unreachable!()
        };
        project(&[edge], &[first, second])
    };
    // Ready after a while: that is when the machine goes away.
    project.engine("--startup-s 6");
    let second = machines[2].name("gpu");
    let apply = project.start(&["apply", "-y"]);
    eventually("the replica is started", Duration::from_secs(120), || {
        let running = machines[2].units().iter().any(|unit| unit.is_running());
        if running { Ok(()) } else { Err("not yet") }
    });
    machines[2].0.stop();
    let outcome = apply
        .finish(Duration::from_secs(240))
        .exits(6)
        .says(&second)
        // The program may run before the machine has told that it started it.
        .says("It was at the step `");
    drop(outcome);
    let units = machines[2].units().len();

    // It is away: a plan says so, and what it does not know it does not touch.
    project.run(&["plan"]).says(&second);
    machines[2].0.resume().unwrap();
    project.apply();
    project.plan_is_empty();
    assert_eq!(machines[2].units().len(), 2, "{units} before");
    let sessions: Vec<_> = machines[2]
        .units()
        .iter()
        .filter(|unit| unit.is_running())
        .cloned()
        .collect();
    assert_eq!(sessions.len(), 2);
    project.endpoint().ask("hello").unwrap();
}
