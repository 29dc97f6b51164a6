//! A range of replicas: the number that was chosen stands, whatever else is edited.

use std::time::Duration;

use crate::harness::{Load, Project, send};

fn with_range(range: &str) -> Project {
    let project = Project::quick();
    project.edit(
        "service.dstack.yml",
        "replicas: 2",
        &format!("replicas: {range}\nscaling: {{metric: rps, target: 10}}"),
    );
    project
}

fn replicas(project: &Project) -> usize {
    let units = project.units();
    units.len() - 2
}

#[test]
fn a_chosen_number_is_kept_by_plans_and_clamped_by_a_narrower_range() {
    let mut project = with_range("1..3");
    project.plan().changes_are(&[
        ("gateway_listener.my-gateway", "create"),
        ("gateway_route.qwen", "create"),
        ("host_unit.agent/local", "create"),
        ("host_unit.my-gateway/router/qwen", "create"),
        ("host_unit.qwen/default/0", "create"),
        ("replica_count.qwen/default", "create"),
        ("router_worker.qwen/default/0", "create"),
    ]);
    project.apply().says("gabion scale qwen N");
    assert_eq!(replicas(&project), 1);

    // A plan of another command, made before the number changed.
    let before = project.read("service.dstack.yml");
    project.edit("service.dstack.yml", "--ttft-ms 5", "--ttft-ms 6");
    project.run(&["plan", "--out", "edited.gabion"]).succeeds();
    let edited = project.read("service.dstack.yml");
    project.write("service.dstack.yml", &before);

    let load = Load::start(&project.endpoint());
    project
        .run(&["scale", "qwen", "3", "-y"])
        .succeeds()
        .says("count: 1 → 3");
    assert_eq!(replicas(&project), 3);
    assert_eq!(project.attribute("replica_count.qwen/default", "count"), 3);
    project.plan_is_empty();
    project
        .run(&["scale", "qwen/default", "3", "-y"])
        .succeeds()
        .says("othing to do");

    // It binds to the replicas that it replaces, and not to how many there are.
    project.run(&["apply", "edited.gabion"]).succeeds();
    project.write("service.dstack.yml", &edited);
    project.plan().changes_are(&[
        ("host_unit.qwen/default/1", "create+delete"),
        ("host_unit.qwen/default/2", "create+delete"),
        ("router_worker.qwen/default/1", "create+delete"),
        ("router_worker.qwen/default/2", "create+delete"),
    ]);
    project.apply();
    assert_eq!(replicas(&project), 3);

    // Neither does an edit of the rule change the number.
    project.edit("service.dstack.yml", "target: 10", "target: 20");
    project
        .plan()
        .changes_are(&[("replica_count.qwen/default", "update")]);
    project.edit("service.dstack.yml", "replicas: 1..3", "replicas: 1..2");
    project.plan().changes_are(&[
        ("host_unit.qwen/default/2", "delete"),
        ("replica_count.qwen/default", "update"),
        ("router_worker.qwen/default/2", "delete"),
    ]);
    project.apply();
    assert_eq!(replicas(&project), 2);
    project.edit("service.dstack.yml", "replicas: 1..2", "replicas: 1..4");
    project.apply();
    assert_eq!(replicas(&project), 2);
    load.goes_on(10);
    load.stop().without_failures();

    project
        .run(&["scale", "qwen", "5", "-y"])
        .exits(1)
        .says("1 to 4 replicas (service.dstack.yml:");
    project.run(&["scale", "qwne", "2", "-y"]).exits(1).says("`qwen`");
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);
    project.destroy();
}

#[test]
fn a_service_at_zero_says_so_and_comes_back() {
    let project = with_range("0..2");
    project.apply();
    assert_eq!(replicas(&project), 0);
    let endpoint = project.endpoint();
    let answer = send(&endpoint.base, &endpoint.request("anybody?", 4, false)).unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.json().unwrap()["error"]["code"], "scaled_to_zero");
    project.plan_is_empty();

    project.run(&["scale", "qwen", "1", "-y"]).succeeds();
    crate::harness::eventually("an answer", Duration::from_secs(10), || {
        endpoint.ask("hello").map(|_| ())
    });
    project.plan_is_empty();
    project.run(&["scale", "qwen", "0", "-y"]).succeeds();
    assert_eq!(replicas(&project), 0);
    let answer = send(&endpoint.base, &endpoint.request("anybody?", 4, false)).unwrap();
    assert_eq!(answer.json().unwrap()["error"]["code"], "scaled_to_zero");
    project.plan_is_empty();

    // A fixed number is the file's alone.
    project.edit(
        "service.dstack.yml",
        "replicas: 0..2\nscaling: {metric: rps, target: 10}",
        "replicas: 1",
    );
    project.plan().changes_are(&[
        ("host_unit.qwen/default/0", "create"),
        ("replica_count.qwen/default", "delete"),
        ("router_worker.qwen/default/0", "create"),
    ]);
    project
        .run(&["scale", "qwen", "1", "-y"])
        .exits(1)
        .says("one number");
}
