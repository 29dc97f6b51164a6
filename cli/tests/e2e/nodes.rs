//! Replicas over several nodes: all ranks run, rank 0 answers, and none lives without the others.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use crate::harness::machines::{Machine, project as on_machines};
use crate::harness::{Load, Project, eventually, kill_process};

/// What an engine over several nodes does: rank 0 waits at its address until every other rank has come, and only then
/// starts to answer; the others wait for it for as long as it takes, and then for its word.
const MEET: &str = r#"import os, socket, sys, time

env = os.environ
count, rank = int(env["DSTACK_NODES_NUM"]), int(env["DSTACK_NODE_RANK"])
addresses, master = env["DSTACK_NODES_IPS"].split("\n"), env["DSTACK_MASTER_NODE_IP"]
assert len(addresses) == count and addresses[0] == master, env
place = (master, int(sys.argv[1]))
print(f"rank {rank} of {count} at {addresses[rank]}", flush=True)
if rank == 0:
    with socket.create_server(place) as server:
        ranks = set()
        while len(ranks) < count - 1:
            with server.accept()[0] as guest:
                ranks.add(guest.recv(1)[0])
    print(f"met {sorted(ranks)}", flush=True)
    os.execvp("python3", ["python3", *sys.argv[2:]])
while True:
    try:
        with socket.create_connection(place, 1) as host:
            host.sendall(bytes([rank]))
        break
    except OSError:
        time.sleep(0.05)
while True:
    time.sleep(60)
"#;

/// Returns the first of two ports next to each other that nobody has, and that no connection is given by itself.
fn two_ports() -> u16 {
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let start = 11_000 + u16::try_from(std::process::id() % 4000).unwrap() * 2;
    (0..500)
        .map(|step| start + step * 2)
        .find(|port| is_free(*port) && is_free(port + 1))
        .unwrap()
}

/// Has the quickstart's replicas meet before they answer, two of them over so many nodes.
fn meet(project: &Project, nodes: u32) {
    project.write("meet.py", MEET);
    let script = project.directory().join("meet.py").display().to_string();
    let port = two_ports();
    project.edit(
        "service.dstack.yml",
        "python3 ",
        &format!("python3 {script} $(({port} + GABION_REPLICA)) "),
    );
    project.edit(
        "service.dstack.yml",
        "replicas: 2",
        &format!("replicas: 2\nnodes: {nodes}"),
    );
}

fn pids(project: &Project, replica: u32, nodes: u32) -> Vec<i32> {
    let unit = |rank| project.unit(&format!("host_unit.qwen/default/{replica}/{rank}"));
    (0..nodes).map(|rank| unit(rank).pid()).collect()
}

#[test]
fn a_replica_over_several_nodes_is_one_replica() {
    let mut project = Project::quick();
    meet(&project, 3);
    project.plan().changes_are(&[
        ("gateway_listener.my-gateway", "create"),
        ("gateway_route.qwen", "create"),
        ("host_unit.agent/local", "create"),
        ("host_unit.my-gateway/router/qwen", "create"),
        ("host_unit.qwen/default/0/0", "create"),
        ("host_unit.qwen/default/0/1", "create"),
        ("host_unit.qwen/default/0/2", "create"),
        ("host_unit.qwen/default/1/0", "create"),
        ("host_unit.qwen/default/1/1", "create"),
        ("host_unit.qwen/default/1/2", "create"),
        ("router_worker.qwen/default/0", "create"),
        ("router_worker.qwen/default/1", "create"),
    ]);
    // However few things are done at a time, nobody waits for what comes after.
    project.run(&["apply", "-y", "--parallelism", "1"]).succeeds();
    let log = |replica: u32, rank: u32| {
        project
            .unit(&format!("host_unit.qwen/default/{replica}/{rank}"))
            .log(50)
    };
    for replica in 0..2 {
        assert!(log(replica, 0).contains("met [1, 2]"), "{}", log(replica, 0));
        assert!(
            log(replica, 2).contains("rank 2 of 3 at 127.0.0.1"),
            "{}",
            log(replica, 2)
        );
    }
    // Rank 0 alone is registered.
    let router = project.url("host_unit.my-gateway/router/qwen");
    let workers = [0, 1].map(|replica| project.url(&format!("host_unit.qwen/default/{replica}/0")));
    project.workers_become(&router, &workers, Duration::from_secs(20));
    project.endpoint().ask("hello").unwrap();
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);

    // When a rank is dead the others end, and all of the replica is made anew; the other one goes on.
    let (before, beside) = (pids(&project, 0, 3), pids(&project, 1, 3));
    let program = project.unit("host_unit.qwen/default/0/2").session();
    kill_process(program.into_iter().find(|pid| *pid != before[2]).unwrap());
    eventually("the end of the others", Duration::from_secs(20), || {
        let left: Vec<u32> = (0..3)
            .filter(|rank| {
                let unit = project.unit(&format!("host_unit.qwen/default/0/{rank}"));
                unit.is_running()
            })
            .collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?} run"))
        }
    });
    project
        .run(&["drift"])
        .exits(2)
        .says("host_unit.qwen/default/0/2");
    let load = Load::start(&project.endpoint());
    project.apply();
    load.goes_on(5);
    load.stop().without_failures();
    assert!(pids(&project, 0, 3).iter().all(|pid| !before.contains(pid)));
    assert_eq!(pids(&project, 1, 3), beside);
    assert!(log(0, 0).contains("met [1, 2]"));
    project.plan_is_empty();

    // What changes rolls through the replicas, each as a whole, while the other answers.
    project.edit("service.dstack.yml", "--ttft-ms 5", "--ttft-ms 6");
    let load = Load::start(&project.endpoint());
    project.apply();
    load.goes_on(5);
    load.stop().without_failures();
    project.plan_is_empty();

    // Fewer nodes, and fewer replicas, leave no rank behind.
    project.edit("service.dstack.yml", "nodes: 3", "nodes: 2");
    project.edit("service.dstack.yml", "replicas: 2", "replicas: 1");
    project.apply();
    assert!(log(0, 0).contains("met [1]"));
    assert_eq!(project.units().len(), 4, "the agent, the router and two ranks");
    project.endpoint().ask("hello").unwrap();
    project.plan_is_empty();
    project.destroy();
    assert!(project.units().is_empty());
}

#[test]
fn the_nodes_of_a_replica_are_on_machines_of_their_own() {
    let addresses = [[127, 0, 0, 1], [127, 88, 9, 2], [127, 88, 9, 3]];
    let Some(machines) = Machine::start_apart(&addresses) else {
        return;
    };
    let [edge, first, second] = &machines[..] else {
        unreachable!()
    };
    let mut project = on_machines(&[edge], &[first, second]);
    project.edit("gpu.dstack.yml", "blocks: 1", "blocks: 2");
    meet(&project, 3);
    project
        .run(&["plan"])
        .exits(1)
        .says("No machine can take the node `qwen/default/0/2`")
        .says("another node of the replica is on it");
    project.edit("service.dstack.yml", "nodes: 3", "nodes: 2");
    project.apply();
    let machine = |replica: u32, rank: u32| {
        let address = format!("host_unit.qwen/default/{replica}/{rank}");
        project
            .attribute(&address, "machine")
            .as_str()
            .unwrap()
            .to_owned()
    };
    let mut both = [first, second].map(|machine| machine.name("gpu"));
    both.sort();
    for replica in 0..2 {
        let mut found = [machine(replica, 0), machine(replica, 1)];
        found.sort();
        assert_eq!(found, both);
    }
    let logs = |on: &Machine| on.units().iter().map(|unit| unit.log(50)).collect::<String>();
    assert!(logs(second).contains("of 2 at 127.88.9.3"), "{}", logs(second));
    project.endpoint().ask("hello").unwrap();
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);

    // Nobody beside it ends the rank on the other machine: what brings the dead one back does.
    let all = || -> Vec<i32> {
        let units = [first, second].into_iter().flat_map(Machine::units);
        units
            .filter(|unit| unit.log(50).contains("rank "))
            .map(|unit| unit.pid())
            .collect()
    };
    let before = all();
    assert_eq!(before.len(), 4);
    let victim = first
        .units()
        .into_iter()
        .find(|unit| unit.log(50).contains("rank "))
        .unwrap();
    kill_process(victim.pid());
    project.run(&["drift"]).exits(2);
    project.run(&["heal", "-y"]).succeeds();
    let kept = all().into_iter().filter(|pid| before.contains(pid)).count();
    assert_eq!(kept, 2, "one replica of two was made anew");
    project.endpoint().ask("hello").unwrap();
    project.plan_is_empty();

    project.destroy();
    for machine in &machines {
        assert!(!machine.0.gabion_root().exists(), "{:?}", machine.0.gabion_root());
        assert_eq!(machine.processes(), Vec::<i32>::new());
    }
}
