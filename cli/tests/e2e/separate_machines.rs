//! A router that is a replica group, and prefill and decode workers apart, on machines and in containers.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::harness::containers::Daemon;
use crate::harness::lan::{Before, Lan};
use crate::harness::{Project, eventually, send};

/// The router on a machine of its own, prefill and decode workers on whatever has room.
const SERVICE: &str = "type: service
name: qwen
env: [MODEL_ID=qwen/qwen2.5-0.5b-instruct]
port: 8000
model: qwen/qwen2.5-0.5b-instruct
auth: false
probes: [{type: http, url: /health, interval: 1s}]
groups:
  - name: router
    replicas: 1
    resources: {cpu: 1.., memory: 512MB.., disk: 1GB..}
    commands:
      - smg launch --host 127.0.0.1 --port $PORT --prometheus-host 127.0.0.1 --prometheus-port $METRICS_PORT --policy round_robin --disable-tokenizer-autoload --pd-disaggregation
    router: {type: smg}
  - name: prefill
    replicas: 2
    resources: {cpu: 1.., memory: 512MB.., disk: 1GB..}
    commands:
      - ENGINE --port $PORT --model $MODEL_ID --replica $(hostname):$PORT --disaggregation-mode prefill --disaggregation-bootstrap-port $BOOTSTRAP_PORT
  - name: decode
    replicas: 2
    resources: {cpu: 1.., memory: 512MB.., disk: 1GB..}
    commands:
      - test ${{ groups[0].replicas[0].IP_ADDRESS }} = 10.88.7.12
      - ENGINE --port $PORT --model $MODEL_ID --replica $(hostname):$PORT --disaggregation-mode decode
";

/// Asks until as many prefill and as many decode workers have had a part in an answer; returns them.
fn workers_that_answer(project: &Project, each: usize) -> [BTreeSet<String>; 2] {
    let endpoint = project.endpoint();
    let mut seen = [BTreeSet::new(), BTreeSet::new()];
    eventually("an answer of every worker", Duration::from_secs(60), || {
        let answer = send(&endpoint.base, &endpoint.request("hello", 4, false))?;
        if answer.status != 200 {
            return Err(format!("{}: {}", answer.status, answer.text()));
        }
        for (header, seen) in ["x-prefill", "x-replica"].into_iter().zip(&mut seen) {
            seen.insert(answer.header(header).ok_or(header)?.to_owned());
        }
        match seen.iter().all(|workers| workers.len() == each) {
            true => Ok(()),
            false => Err(format!("{seen:?}")),
        }
    });
    seen
}

#[test]
fn router_prefill_and_decode_workers_find_each_other_on_machines_of_their_own() {
    let Some(lan) = Lan::start() else { return };
    let machines = lan.three(None);
    let before = machines.each_ref().map(Before::of);
    lan.network.inside(|| {
        let mut project = lan.project();
        Lan::fleets(&project, &machines);
        project.write(
            "gateway.dstack.yml",
            "type: gateway\nname: my-gateway\nbackend: ssh\nfleets: [edge]\npublic_ip: false\n",
        );
        project.write("service.dstack.yml", &SERVICE.replace("ENGINE", &lan.engine()));

        // SGLang's engines listen on loopback: decode workers elsewhere would fetch from nobody.
        project
            .run(&["plan"])
            .exits(1)
            .says("an engine that is given no `--host` listens on loopback")
            .says("service.dstack.yml:19:");
        let text = project.read("service.dstack.yml");
        project.write(
            "service.dstack.yml",
            &text.replace("--replica $(hostname)", "--host 0.0.0.0 --replica $(hostname)"),
        );
        project.apply();

        // The first that is placed goes where most room is, and the others round it: the router and the gateway are on
        // two machines, and there is a worker beside each.
        let machine = |replica: &str| project.attribute(&format!("host_unit.qwen/{replica}"), "machine");
        assert_eq!(machine("router/0"), "gpu/10.88.7.12");
        let prefill = ["prefill/0", "prefill/1"].map(machine);
        let decode = ["decode/0", "decode/1"].map(machine);
        assert_eq!(prefill, ["gpu/10.88.7.13", "edge/10.88.7.11"]);
        assert_eq!(decode, ["gpu/10.88.7.12", "gpu/10.88.7.13"]);

        let [read, wrote] = workers_that_answer(&project, 2);
        let names = |workers: BTreeSet<String>| -> Vec<String> {
            let name = |worker: &String| worker.split(':').next().unwrap_or_default().to_owned();
            workers.iter().map(name).collect()
        };
        assert_eq!(names(read), ["edge", "second"]);
        assert_eq!(names(wrote), ["first", "second"]);
        assert_eq!(
            project.endpoint().stream("a stream", 24).unwrap().finish(),
            Ok(24)
        );
        project.plan_is_empty();
        project.run(&["drift"]).exits(0);

        // Another policy is another router, with the workers that there are.
        project.edit("service.dstack.yml", "--policy round_robin", "--policy random");
        project.apply();
        workers_that_answer(&project, 2);
        project.plan_is_empty();
        project.destroy();
    });
    for (before, machine) in before.iter().zip(&machines) {
        before.is_as_left(machine);
    }
}

#[test]
fn prefill_and_decode_workers_in_containers_share_their_machines_network() {
    let Some(daemon) = Daemon::new() else { return };
    let mut project = Project::empty();
    daemon.show_to(&mut project);
    project.write("gabion.yml", "project: halves\nbackends: [local]\n");
    let group = |name: &str, more: &str| {
        format!(
            "  - name: {name}\n    replicas: 2\n    image: {}\n    commands:\n      - exec engine --port $PORT --model \
             $MODEL_ID --replica {name}:$PORT --disaggregation-mode {name} {more}\n",
            daemon.image
        )
    };
    project.write(
        "service.dstack.yml",
        &format!(
            "type: service\nname: qwen\nenv: [MODEL_ID=qwen/qwen2.5-0.5b-instruct]\nport: 8000\n\
             model: qwen/qwen2.5-0.5b-instruct\nauth: false\nprobes: [{{type: http, url: /health, interval: 1s}}]\n\
             router: {{type: sglang, policy: round_robin, pd_disaggregation: true}}\nreplicas:\n{}{}",
            group("prefill", "--disaggregation-bootstrap-port $BOOTSTRAP_PORT"),
            group("decode", ""),
        ),
    );
    project
        .run(&["plan"])
        .succeeds()
        .says("container.network:   \"host\"");
    project.apply();
    let containers = daemon.containers(&project);
    assert_eq!(containers.len(), 4);
    let mode = daemon.said(&["inspect", "-f", "{{.HostConfig.NetworkMode}}", &containers[0]]);
    assert_eq!(mode, "host");
    // Each listens where the router reaches it, at the port that is its unit's.
    let names = |role: &str| -> BTreeSet<String> {
        let name = |slot: usize| {
            let port = &project.attribute(&format!("host_unit.qwen/{role}/{slot}"), "port")["http"];
            format!("{role}:{port}")
        };
        [name(0), name(1)].into()
    };
    let expected = ["prefill", "decode"].map(names);
    assert_eq!(workers_that_answer(&project, 2), expected);
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);
    project.destroy();
    assert_eq!(daemon.containers(&project), Vec::<String>::new());
    assert!(project.units().is_empty());
}
