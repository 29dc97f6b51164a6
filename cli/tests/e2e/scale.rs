//! More and fewer replicas: a new one takes traffic once it is ready, a leaving one finishes what it began.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::{Load, Project, eventually, get};

#[test]
fn replicas_come_when_they_are_ready_and_go_when_they_are_done() {
    let project = Project::quick();
    project.engine("--startup-s 3");
    project.edit("gateway.dstack.yml", "policy: cache_aware", "policy: round_robin");
    project.apply();
    let endpoint = project.endpoint();
    let router = project.url("host_unit.my-gateway/router/qwen");
    let load = Load::start(&endpoint);

    project.edit("service.dstack.yml", "replicas: 2", "replicas: 3");
    project.plan().changes_are(&[
        ("host_unit.qwen/default/2", "create"),
        ("router_worker.qwen/default/2", "create"),
    ]);
    grow(&project, &router);
    let third = project.url("host_unit.qwen/default/2");
    eventually("traffic on the new replica", Duration::from_secs(10), || {
        let served = load.report().served;
        served
            .get(name(&third))
            .map(|_| ())
            .ok_or_else(|| format!("{served:?}"))
    });
    project.plan_is_empty();

    // A stream on each replica that will go.
    let leaving: BTreeSet<String> = ["host_unit.qwen/default/1", "host_unit.qwen/default/2"]
        .map(|replica| name(&project.url(replica)).to_owned())
        .into();
    let mut streams = Vec::new();
    let mut found = BTreeSet::new();
    while found != leaving {
        let stream = endpoint.stream("a stream on a replica that goes", 1500).unwrap();
        if leaving.contains(&stream.replica) {
            found.insert(stream.replica.clone());
            streams.push(stream);
        }
    }
    let units = ["host_unit.qwen/default/1", "host_unit.qwen/default/2"].map(|replica| project.unit(replica));
    project.edit("service.dstack.yml", "replicas: 3", "replicas: 1");
    project.plan().changes_are(&[
        ("host_unit.qwen/default/1", "delete"),
        ("host_unit.qwen/default/2", "delete"),
        ("router_worker.qwen/default/1", "delete"),
        ("router_worker.qwen/default/2", "delete"),
    ]);
    let apply = project.start(&["apply", "-y"]);
    let staying = project.url("host_unit.qwen/default/0");
    project.workers_become(&router, std::slice::from_ref(&staying), Duration::from_secs(20));
    assert!(
        units.iter().all(|unit| unit.is_running()),
        "a replica was stopped before it was drained"
    );
    for stream in streams {
        assert_eq!(stream.finish(), Ok(1500));
    }
    apply.finish(Duration::from_secs(60)).succeeds();
    assert!(
        units
            .iter()
            .all(|unit| !unit.is_running() && !unit.directory.exists())
    );
    load.goes_on(10);
    load.stop().without_failures();
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);
}

/// Applies while looking at the router: a worker that it has must have been healthy before.
fn grow(project: &Project, router: &str) {
    let done = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::SeqCst) {
                for url in project.workers(router).unwrap().into_keys() {
                    if seen.insert(url.clone()) {
                        let health = get(&format!("{url}/health")).map(|response| response.status);
                        assert_eq!(health, Ok(200), "{url} was registered before it was ready");
                    }
                }
                thread::sleep(Duration::from_millis(20));
            }
            seen
        });
        let outcome = project.run(&["apply", "-y"]);
        done.store(true, Ordering::SeqCst);
        outcome.succeeds();
        watcher.join().unwrap()
    });
    assert_eq!(seen.len(), 3, "{seen:?}");
}

/// Returns what a replica calls itself in its answers.
fn name(url: &str) -> &str {
    url.strip_prefix("http://").unwrap()
}
