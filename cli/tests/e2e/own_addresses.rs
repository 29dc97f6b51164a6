//! Machines with addresses of their own, all on one port 22: what is reached from where, and what is left.

use std::collections::BTreeSet;
use std::time::Duration;

use gabion_testing::network::Machine;

use crate::harness::containers::{Docker, Image, dockerd, service};
use crate::harness::lan::{Before, Lan};
use crate::harness::{Project, eventually, get};

#[test]
fn three_machines_serve_a_fourth_and_are_left_as_they_were() {
    let Some(lan) = Lan::start() else { return };
    let machines = lan.three(None);
    let before = machines.each_ref().map(Before::of);
    // Neither gabion nor who asks is on one of the three.
    lan.network.inside(|| {
        let mut project = project(&lan, &machines);
        project.edit(
            "service.dstack.yml",
            "replicas: 2",
            "replicas: 4\nfleets: [gpu]\nresources: {cpu: 1.., memory: 1GB.., disk: 1GB..}",
        );
        project.edit(
            "service.dstack.yml",
            "--model $MODEL_ID",
            "--model $MODEL_ID --replica $(hostname):$PORT",
        );
        project.apply();
        assert_eq!(running(&machines, "engine.py --port"), [0, 2, 2]);
        assert_eq!(running(&machines, "smg::router"), [1, 0, 0]);
        let seen = four_answer(&project);
        let on = |name: &str| seen.iter().filter(|replica| replica.starts_with(name)).count();
        assert_eq!((on("first:"), on("second:")), (2, 2), "{seen:?}");
        assert_eq!(
            project.endpoint().stream("a stream", 24).unwrap().finish(),
            Ok(24)
        );
        is_settled(&project, &machines);
        project.destroy();
    });
    for (before, machine) in before.iter().zip(&machines) {
        before.is_as_left(machine);
    }
}

#[test]
fn replicas_in_containers_of_three_machines_serve_a_fourth_and_leave_nothing() {
    let Some(dockerd) = dockerd() else { return };
    let (Some(image), Some(lan)) = (Image::pack(), Lan::start()) else {
        return;
    };
    let machines = lan.three(Some(&dockerd));
    let daemons = machines
        .each_ref()
        .map(|machine| Docker::at(machine.docker_host()));
    for daemon in &daemons {
        daemon.import(&image, "engine:1");
    }
    let before = machines.each_ref().map(Before::of);
    let had = daemons.each_ref().map(Docker::all);
    lan.network.inside(|| {
        let mut project = project(&lan, &machines);
        project.set("HF_TOKEN", "hunter2-of-the-hub");
        let text = service("engine:1", "fleets: [gpu]\n");
        project.write("service.dstack.yml", &text.replace("replicas: 2", "replicas: 4"));
        project.apply();
        let names = daemons.each_ref().map(Docker::names);
        assert_eq!(names.each_ref().map(Vec::len), [0, 2, 2], "{names:?}");
        assert_eq!(running(&machines, "engine --model"), [0, 2, 2]);
        assert_eq!(running(&machines, "smg::router"), [1, 0, 0]);
        assert_eq!(four_answer(&project), names.into_iter().flatten().collect());
        is_settled(&project, &machines);
        project.destroy();
    });
    // Processes, files with those of units, and what Docker has, on each.
    for (before, machine) in before.iter().zip(&machines) {
        before.is_as_left(machine);
    }
    assert_eq!(daemons.each_ref().map(Docker::all), had);
}

/// The quickstart with its gateway on the first machine.
fn project(lan: &Lan, machines: &[Machine; 3]) -> Project {
    let project = lan.project();
    Lan::fleets(&project, machines);
    project.edit(
        "gateway.dstack.yml",
        "backend: local",
        "backend: ssh\nfleets: [edge]\npublic_ip: false",
    );
    project.edit("gateway.dstack.yml", "policy: cache_aware", "policy: round_robin");
    project
}

/// How many processes have these words in their command line, on each machine.
fn running(machines: &[Machine; 3], words: &str) -> [usize; 3] {
    machines.each_ref().map(|machine| {
        let lines = machine.processes().unwrap();
        lines.iter().filter(|line| line.contains(words)).count()
    })
}

/// Asks at the first machine's address until four replicas have answered.
fn four_answer(project: &Project) -> BTreeSet<String> {
    let endpoint = project.endpoint();
    assert!(endpoint.base.contains("//10.88.7.11:"), "{}", endpoint.base);
    let mut seen = BTreeSet::new();
    eventually("all replicas answer", Duration::from_secs(60), || {
        seen.insert(endpoint.ask("hello")?.replica);
        match seen.len() {
            4 => Ok(()),
            _ => Err(format!("{seen:?}")),
        }
    });
    seen
}

/// Checks that there is nothing to do, here or there, and that replicas are the gateway's to ask and nobody else's.
fn is_settled(project: &Project, [_, first, _]: &[Machine; 3]) {
    let relay = project.attribute("host_unit.qwen/default/0/relay", "port")["http"].clone();
    let refused = get(&format!("http://{}:{relay}/health", first.address()));
    assert!(refused.is_err(), "{refused:?}");
    assert!(project.units().is_empty());
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);
}
