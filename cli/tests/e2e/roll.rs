//! A new command replaces every replica, each by one that is ready before the old one goes.

use std::time::Duration;

use crate::harness::{Load, Project};

#[test]
fn replicas_are_replaced_without_failing_a_request() {
    let project = Project::quick();
    project.apply();
    let endpoint = project.endpoint();
    let router = project.url("host_unit.my-gateway/router/qwen");
    let replicas = ["host_unit.qwen/default/0", "host_unit.qwen/default/1"];
    let old = replicas.map(|replica| project.unit(replica));
    let old_urls = replicas.map(|replica| project.url(replica));

    let load = Load::start(&endpoint);
    let mut long = endpoint
        .stream("a stream that outlives its replica's record", 1200)
        .unwrap();
    long.next_token().unwrap();
    let reader = std::thread::spawn(move || long.finish());
    project.edit("service.dstack.yml", "--itl-ms 4", "--itl-ms 5");
    project.plan().changes_are(&[
        ("host_unit.qwen/default/0", "create+delete"),
        ("host_unit.qwen/default/1", "create+delete"),
        ("router_worker.qwen/default/0", "create+delete"),
        ("router_worker.qwen/default/1", "create+delete"),
    ]);
    project.apply();
    load.goes_on(20);
    assert_eq!(reader.join().unwrap(), Ok(1200));
    load.stop().without_failures();

    let urls = replicas.map(|replica| project.url(replica));
    assert!(urls.iter().all(|url| !old_urls.contains(url)), "{urls:?}");
    project.workers_become(&router, &urls, Duration::from_secs(5));
    assert!(
        old.iter()
            .all(|unit| !unit.is_running() && !unit.directory.exists())
    );
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);
}

#[test]
fn replicas_without_a_router_are_replaced_without_failing_a_request() {
    let project = Project::quick();
    let gateway = project.read("gateway.dstack.yml");
    let without = gateway.split_once("\nrouter:").unwrap().0;
    project.write("gateway.dstack.yml", &format!("{without}\n"));
    project.apply();
    let load = Load::start(&project.endpoint());
    project.edit("service.dstack.yml", "--itl-ms 4", "--itl-ms 5");
    project.plan().changes_are(&[
        ("gateway_route.qwen", "update"),
        ("host_unit.qwen/default/0", "create+delete"),
        ("host_unit.qwen/default/1", "create+delete"),
    ]);
    project.apply();
    load.goes_on(20);
    project.edit("service.dstack.yml", "replicas: 2", "replicas: 1");
    project.plan().changes_are(&[
        ("gateway_route.qwen", "update"),
        ("host_unit.qwen/default/1", "delete"),
    ]);
    project.apply();
    load.goes_on(20);
    load.stop().without_failures();
    project.plan_is_empty();
}
