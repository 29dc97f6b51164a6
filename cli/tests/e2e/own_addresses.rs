//! Machines with addresses of their own, all on one port 22: what is reached from where, and what is left.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::harness::lan::{Before, Lan, fleet};
use crate::harness::{eventually, get};

#[test]
fn three_machines_serve_a_fourth_and_are_left_as_they_were() {
    let Some(lan) = Lan::start() else { return };
    let machines =
        [("edge", 11), ("first", 12), ("second", 13)].map(|(name, number)| lan.machine(name, number));
    let [edge, first, second] = &machines;
    let before = machines.each_ref().map(Before::of);
    // Neither gabion nor who asks is on one of the three.
    lan.network.inside(|| {
        let mut project = lan.project();
        project.write("edge.dstack.yml", &fleet("edge", "1", &[edge]));
        project.write("gpu.dstack.yml", &fleet("gpu", "2", &[first, second]));
        project.edit(
            "gateway.dstack.yml",
            "backend: local",
            "backend: ssh\nfleets: [edge]\npublic_ip: false",
        );
        project.edit("gateway.dstack.yml", "policy: cache_aware", "policy: round_robin");
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

        // The gateway with its router on one, the replicas on the other two.
        let running = |program: &str| {
            machines.each_ref().map(|machine| {
                let lines = machine.processes().unwrap();
                lines.iter().filter(|line| line.contains(program)).count()
            })
        };
        let all = machines.each_ref().map(|machine| machine.processes().unwrap());
        assert_eq!(running("engine.py --port"), [0, 2, 2], "{all:#?}");
        assert_eq!(running("smg::router"), [1, 0, 0], "{all:#?}");
        assert!(project.units().is_empty());

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
        let on = |name: &str| seen.iter().filter(|replica| replica.starts_with(name)).count();
        assert_eq!((on("first:"), on("second:")), (2, 2), "{seen:?}");
        assert_eq!(endpoint.stream("a stream", 24).unwrap().finish(), Ok(24));

        // A replica is the gateway's to ask, and nobody else's.
        let relay = project.attribute("host_unit.qwen/default/0/relay", "port")["http"].clone();
        let refused = get(&format!("http://{}:{relay}/health", first.address()));
        assert!(refused.is_err(), "{refused:?}");

        project.plan_is_empty();
        project.run(&["drift"]).exits(0);
        project.destroy();
    });
    for (before, machine) in before.iter().zip(&machines) {
        before.is_as_left(machine);
    }
}
