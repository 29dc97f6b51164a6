//! A replica that never becomes ready: its failure is told, what needs it is skipped, the rest is applied.

use std::time::Duration;

use crate::harness::{Project, within};

const BROKEN: &str = "\
type: service
name: broken
commands:
  - python3 engine.py --port $PORT --model broken/model
port: 8001
model: broken/model
auth: false
probes:
  - type: http
    url: /never-there
    interval: 1s
";

#[test]
fn a_replica_that_never_gets_ready_fails_in_time_and_the_next_apply_goes_on() {
    let project = Project::quick();
    project.edit(
        "gabion.yml",
        "backends: [local]",
        "backends: [{type: local, ready_timeout: 8s}]",
    );
    // What is not tested here does not count against the deadline.
    project.apply();
    project.write("broken.dstack.yml", BROKEN);
    project.edit("service.dstack.yml", "replicas: 2", "replicas: 3");

    let apply = within(Duration::from_secs(40), "an apply whose probe fails", || {
        project.run(&["apply", "-y"])
    });
    let apply = apply
        .exits(6)
        .says("host_unit.broken/default/0")
        // The unit's own last words, and what was asked of it.
        .says("serving broken/model on")
        .says("/never-there")
        .says("404");
    for skipped in ["router_worker.broken/default/0", "gateway_route.broken"] {
        let said = apply.stdout.clone() + &apply.stderr;
        assert!(
            said.lines()
                .any(|line| line.contains(skipped) && line.contains("skipped")),
            "{skipped}:\n{apply}"
        );
    }
    // The plan shows the endpoints that there shall be; at the end they are not all there.
    assert_eq!(apply.stdout.matches("Endpoints").count(), 1, "{apply}");
    // What goes on running can be looked at.
    project.run(&["ps"]).succeeds().says("broken/default/0");
    project
        .run(&["logs", "broken/default/0"])
        .succeeds()
        .says("serving broken/model on");
    // Nothing about it was changed since.
    let plan = project
        .run(&["plan"])
        .succeeds()
        .says("an earlier run did not finish it");
    assert!(!plan.stdout.contains("changed at broken.dstack.yml"), "{plan}");
    // The rest was applied and serves.
    let router = project.url("host_unit.my-gateway/router/qwen");
    assert_eq!(project.workers(&router).unwrap().len(), 3);
    project.endpoint().ask("are you there?").unwrap();

    project.edit("broken.dstack.yml", "url: /never-there", "url: /health");
    project.apply();
    project.plan_is_empty();
    let mut endpoint = project.endpoint();
    endpoint.model = "broken/model".to_owned();
    endpoint.ask("are you there now?").unwrap();
}
