//! `gabion reconcile`: the number of replicas follows the load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::machines::{Machine, project};
use crate::harness::{Endpoint, Load, Project, eventually, send};

/// How long a number may take that follows from a whole window, which has 30 s at least.
const WINDOW: Duration = Duration::from_secs(180);

/// How long a test takes at most.
const LIFE: Duration = Duration::from_secs(900);

/// Waits until a group has as many replicas as the load asks for, and the state says that nothing is left to do.
fn becomes(project: &Project, count: u64, limit: Duration) {
    eventually(&format!("{count} replicas"), limit, || {
        let found = project.attribute("replica_count.qwen/default", "count");
        if found != count {
            return Err(format!("{found} replicas"));
        }
        let plan = project.run(&["plan", "--detailed-exitcode"]);
        match plan.code {
            Some(0) => Ok(()),
            code => Err(format!("a plan exits with {code:?}")),
        }
    });
}

/// Asks for streams, one after the other, for as long as the work lasts.
fn with_streams<T>(endpoint: &Endpoint, clients: usize, work: impl FnOnce() -> T) -> T {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    // Whether each succeeds is another test's matter.
                    if let Ok(stream) = endpoint.stream("hello", 3) {
                        let _ = stream.finish();
                    }
                    thread::sleep(Duration::from_millis(50));
                }
            });
        }
        let _stop = Stop(&stop);
        work()
    })
}

#[test]
fn the_number_follows_requests_from_nothing_and_back_and_leaves_edits_to_an_apply() {
    let mut project = Project::quick();
    project.edit(
        "service.dstack.yml",
        "replicas: 2",
        "replicas: 0..3\nscaling: {metric: rps, target: 5, window: 30s, scale_up_delay: 1s, scale_down_delay: 1s}",
    );
    project.apply();
    let endpoint = project.endpoint();
    project
        .run(&["reconcile", "qwne"])
        .exits(1)
        .says("`qwen/default`");
    let reconcile = project.start(&["reconcile", "--interval", "1s", "--format", "json"]);

    // Whoever asks a service at zero is told so, and it comes up.
    eventually("an answer", Duration::from_secs(120), || {
        let answer = send(&endpoint.base, &endpoint.request("anybody?", 4, false))?;
        match answer.status {
            200 => Ok(()),
            status => Err(format!("{status}: {}", answer.text())),
        }
    });
    becomes(&project, 1, Duration::from_secs(60));

    // An edit that nobody has applied is not applied by the way.
    project.edit("service.dstack.yml", "--ttft-ms 5", "--ttft-ms 6");
    let first = project.unit("host_unit.qwen/default/0").pid();
    let load = Load::start(&endpoint);
    thread::sleep(Duration::from_secs(40));
    assert_eq!(project.attribute("replica_count.qwen/default", "count"), 1);
    assert_eq!(project.unit("host_unit.qwen/default/0").pid(), first);
    project
        .run(&["scale", "qwen", "2", "-y", "--only-count"])
        .exits(1)
        .says("more than the number would change")
        .says("host_unit.qwen/default/0");
    // Once it was, nothing is in the way.
    project.apply();
    becomes(&project, 3, WINDOW);
    load.goes_on(10);
    load.stop().without_failures();

    becomes(&project, 0, WINDOW);
    reconcile.interrupt();
    let said = reconcile.finish(LIFE).exits(0);
    let events: Vec<serde_json::Value> = said
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let first = &events[0];
    assert_eq!(
        (&first["event"], &first["group"], &first["from"], &first["to"]),
        (&"scaling".into(), &"qwen/default".into(), &0.into(), &1.into()),
        "{events:#?}"
    );
    let refused = |event: &&serde_json::Value| event["event"] == "ended" && event["exit_code"] == 1;
    assert!(events.iter().any(|event| refused(&event)), "{events:#?}");
    let last = events.last().unwrap();
    assert_eq!(
        (&last["to"], &last["exit_code"]),
        (&0.into(), &0.into()),
        "{events:#?}"
    );
    project.plan_is_empty();
    project.destroy();
}

#[test]
fn the_number_follows_the_time_to_the_first_token_on_other_machines() {
    let Some(machines) = Machine::start(2) else {
        return;
    };
    let [edge, replicas] = &machines[..] else {
        unreachable!()
    };
    let mut project = project(&[edge], &[replicas]);
    project.edit("gpu.dstack.yml", "blocks: 1", "blocks: 2");
    project.edit(
        "service.dstack.yml",
        "replicas: 2",
        "replicas: 1..2\nscaling: {metric: ttft, target: 0.05, window: 30s, scale_up_delay: 1s, scale_down_delay: 1s}",
    );
    project.edit("service.dstack.yml", "--ttft-ms 5", "--ttft-ms 300");
    project.apply();
    project
        .run(&["reconcile", "--interval", "31s"])
        .exits(1)
        .says("1 to 30 seconds");
    let endpoint = project.endpoint();
    let reconcile = project.start(&["reconcile", "--interval", "1s"]);
    with_streams(&endpoint, 2, || becomes(&project, 2, WINDOW));
    // Without requests it is the least.
    becomes(&project, 1, WINDOW);
    reconcile.interrupt();
    reconcile
        .finish(LIFE)
        .exits(0)
        .says("time to first token")
        .says("no request over");
    project.destroy();
}
