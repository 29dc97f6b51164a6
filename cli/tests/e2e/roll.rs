//! A new command replaces every replica, each by one that is ready before the old one goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::harness::{Load, Project, workers_of};

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
        ("gateway_replica.qwen/default/0", "create+delete"),
        ("gateway_replica.qwen/default/1", "create+delete"),
        ("host_unit.qwen/default/0", "create+delete"),
        ("host_unit.qwen/default/1", "create+delete"),
    ]);
    project.run(&["plan"]).succeeds().says("replaced in turn");
    project.apply();
    load.goes_on(20);
    project.edit("service.dstack.yml", "replicas: 2", "replicas: 1");
    project.plan().changes_are(&[
        ("gateway_replica.qwen/default/1", "delete"),
        ("host_unit.qwen/default/1", "delete"),
    ]);
    project.apply();
    load.goes_on(20);
    load.stop().without_failures();
    project.plan_is_empty();
}

#[test]
fn six_replicas_are_replaced_in_turn_and_a_bad_version_stops_at_the_first() {
    let project = Project::quick();
    project.edit(
        "gabion.yml",
        "backends: [local]",
        "backends: [{type: local, ready_timeout: 30s}]",
    );
    project.edit("service.dstack.yml", "replicas: 2", "replicas: 6");
    project.apply();
    let router = project.url("host_unit.my-gateway/router/qwen");
    let pids = || (0..6).map(|slot| project.unit(&format!("host_unit.qwen/default/{slot}")).pid());
    let before: Vec<i32> = pids().collect();
    let load = Load::start(&project.endpoint());

    let watch = Watch::start(&router);
    project.edit("service.dstack.yml", "env:\n", "env:\n  - REVISION=2\n");
    project
        .run(&["plan"])
        .succeeds()
        .says("replaced in turn: one new one at a time");
    project.apply();
    let seen = watch.stop();
    assert!(seen.fewest >= 6 && seen.most == 7, "{seen:?}");
    let after: Vec<i32> = pids().collect();
    assert!(
        before.iter().all(|pid| !after.contains(pid)),
        "{before:?} {after:?}"
    );
    project.plan_is_empty();

    let watch = Watch::start(&router);
    project.edit("service.dstack.yml", "--itl-ms 4", "--no-such-option 4");
    let outcome = project.run(&["apply", "-y"]).exits(6);
    let said = outcome.stdout.clone() + &outcome.stderr;
    for slot in 1..6 {
        let unit = format!("host_unit.qwen/default/{slot}");
        let is_skipped = |line: &str| line.contains(&unit) && line.contains("skipped");
        assert!(said.lines().any(is_skipped), "{unit}:\n{outcome}");
    }
    load.goes_on(20);
    let seen = watch.stop();
    assert_eq!((seen.fewest, seen.most), (6, 6));
    assert_eq!(project.workers(&router).unwrap().len(), 6);

    project.edit("service.dstack.yml", "--no-such-option 4", "--itl-ms 4");
    project.edit(
        "service.dstack.yml",
        "auth: false",
        "auth: false\nrolling: {max_surge: 0, max_unavailable: 1}",
    );
    let watch = Watch::start(&router);
    project.edit("service.dstack.yml", "REVISION=2", "REVISION=3");
    project.apply();
    let seen = watch.stop();
    assert!(seen.fewest >= 5 && seen.most == 6, "{seen:?}");
    load.stop().without_failures();
    project.plan_is_empty();
}

/// Looks at the workers of a router again and again.
struct Watch {
    stop: Arc<AtomicBool>,
    looks: JoinHandle<Seen>,
}

/// How many healthy workers a router had.
#[derive(Debug)]
struct Seen {
    fewest: usize,
    most: usize,
}

impl Watch {
    fn start(router: &str) -> Self {
        let (stop, router) = (Arc::new(AtomicBool::new(false)), router.to_owned());
        let over = Arc::clone(&stop);
        let looks = std::thread::spawn(move || {
            let mut seen = Seen {
                fewest: usize::MAX,
                most: 0,
            };
            loop {
                let last = over.load(Ordering::Relaxed);
                let workers = workers_of(&router).unwrap();
                let healthy = workers.values().filter(|healthy| **healthy).count();
                seen.fewest = seen.fewest.min(healthy);
                seen.most = seen.most.max(healthy);
                if last {
                    return seen;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { stop, looks }
    }

    fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.looks.join().unwrap()
    }
}
