//! Today's form: a replica group is the service's router, and the other groups' replicas are its workers.

use std::time::Duration;

use crate::harness::{Load, Project, eventually};

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
    commands:
      - smg launch --host 127.0.0.1 --port $PORT --prometheus-host 127.0.0.1 --prometheus-port $METRICS_PORT --policy round_robin --disable-tokenizer-autoload
    router: {type: smg}
  - name: small
    count: 1
    commands:
      - test ${{ groups[0].replicas[0].IP_ADDRESS }} = 127.0.0.1
      - python3 ../quickstart/engine.py --port $PORT --model $MODEL_ID --ttft-ms 5 --itl-ms 4
  - name: large
    replicas: 2
    commands:
      - python3 ../quickstart/engine.py --port $PORT --model $MODEL_ID --ttft-ms 5 --itl-ms 4 --tokens 64
";

#[test]
fn a_replica_group_is_the_router_of_the_others() {
    let mut project = Project::empty();
    project.with_engine_beside();
    project.write("gabion.yml", "project: groups\nbackends: [local]\n");
    project.write("service.dstack.yml", SERVICE);
    project.plan().changes_are(&[
        ("gateway_listener.loopback", "create"),
        ("gateway_route.qwen", "create"),
        ("host_unit.agent/local", "create"),
        ("host_unit.qwen/large/0", "create"),
        ("host_unit.qwen/large/1", "create"),
        ("host_unit.qwen/router/0", "create"),
        ("host_unit.qwen/small/0", "create"),
        ("router_worker.qwen/large/0", "create"),
        ("router_worker.qwen/large/1", "create"),
        ("router_worker.qwen/small/0", "create"),
    ]);
    project.apply();
    let router = project.url("host_unit.qwen/router/0");
    let replicas = ["qwen/small/0", "qwen/large/0", "qwen/large/1"]
        .map(|replica| project.url(&format!("host_unit.{replica}")));
    project.workers_become(&router, &replicas, Duration::from_secs(5));
    project.plan_is_empty();

    // Each group has its own commands, and all of them answer through the router.
    let command = |replica: &str| project.attribute(&format!("host_unit.{replica}"), "argv")[2].to_string();
    assert!(command("qwen/large/1").contains("--tokens 64"));
    assert!(!command("qwen/small/0").contains("--tokens"));
    let load = Load::start(&project.endpoint());
    eventually("traffic on every replica", Duration::from_secs(20), || {
        let served = load.report().served;
        match served.len() == 3 {
            true => Ok(()),
            false => Err(format!("{served:?}")),
        }
    });

    // Another policy is another router, new one first; no replica is touched and no request fails.
    project.edit("service.dstack.yml", "--policy round_robin", "--policy random");
    project.plan().changes_are(&[
        ("gateway_route.qwen", "update"),
        ("host_unit.qwen/router/0", "create+delete"),
        ("router_worker.qwen/large/0", "create+delete"),
        ("router_worker.qwen/large/1", "create+delete"),
        ("router_worker.qwen/small/0", "create+delete"),
    ]);
    project.apply();
    load.goes_on(20);
    load.stop().without_failures();
    let next = project.url("host_unit.qwen/router/0");
    assert_ne!(next, router);
    project.workers_become(&next, &replicas, Duration::from_secs(5));
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);
    project.destroy();
    assert!(project.units().is_empty(), "{:?}", project.units());
}
