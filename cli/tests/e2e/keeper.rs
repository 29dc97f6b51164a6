//! The agent keeps a service up while no gabion command runs.

use std::time::Duration;

use crate::harness::{Load, Project, eventually, get, kill_process};

#[test]
fn a_killed_router_is_served_around_and_filled_again() {
    let project = Project::quick();
    project.apply();
    let endpoint = project.endpoint();
    let address = "host_unit.my-gateway/router/qwen";
    let router = project.url(address);
    let workers =
        ["host_unit.qwen/default/0", "host_unit.qwen/default/1"].map(|replica| project.url(replica));
    project.workers_become(&router, &workers, Duration::from_secs(5));

    let load = Load::start(&endpoint);
    let unit = project.unit(address);
    let killed = load.now();
    kill_process(unit.pid());
    eventually("the router's end", Duration::from_secs(5), || {
        match unit.is_running() {
            true => Err("it runs"),
            false => Ok(()),
        }
    });
    let dead = load.now();
    load.goes_on(40);

    // As a restart policy would, long after whoever applied has gone.
    project.run(&["agent", "start-unit", &unit.uid]).succeeds();
    eventually("the router's readiness", Duration::from_secs(20), || {
        get(&format!("{router}/liveness")).and_then(|answer| match answer.status {
            200 => Ok(()),
            status => Err(format!("{status}")),
        })
    });
    project.workers_become(&router, &workers, Duration::from_secs(5));
    load.goes_on(40);

    let report = load.stop();
    let new: Vec<_> = report
        .failures
        .iter()
        .filter(|(began, _)| *began > dead)
        .collect();
    assert!(
        new.is_empty(),
        "requests that began after the router was gone failed (killed at {killed:.2} s): {report}"
    );
    assert_eq!(report.served.len(), 2, "{report}");
    project.run(&["drift"]).exits(0);
    project.plan_is_empty();
}
