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
        let apply = apply.stdout.clone() + &apply.stderr;
        assert!(
            apply
                .lines()
                .any(|line| line.contains(skipped) && line.contains("skipped")),
            "{skipped}:\n{apply}"
        );
    }
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
