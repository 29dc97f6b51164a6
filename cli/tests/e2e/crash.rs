//! `kill -9` of gabion in the middle, again and again, over real programs.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Project, eventually};

/// When a run is killed, counted from its start.
const KILLS: [u64; 6] = [30, 120, 300, 500, 800, 1200];

#[test]
fn killed_runs_leave_nothing_twice_and_nothing_unknown() {
    let mut project = Project::quick();
    project.engine("--startup-s 1");
    kill_runs(&project, &["apply", "-y"]);
    project.apply();
    complete(&project, 4);

    // Everything is replaced but the agent.
    project.edit("gateway.dstack.yml", "policy: cache_aware", "policy: random");
    project.edit("service.dstack.yml", "--startup-s 1", "--startup-s 0.5");
    kill_runs(&project, &["apply", "-y"]);
    project.apply();
    complete(&project, 4);

    kill_runs(&project, &["destroy", "-y"]);
    project.destroy();
    assert!(project.units().is_empty(), "{:?}", project.units());
    assert_eq!(project.processes(), [0; 0]);
}

/// Starts a command several times and kills each run, every one a bit later than the one before.
fn kill_runs(project: &Project, arguments: &[&str]) {
    for after in KILLS {
        let began = Instant::now();
        let mut run = project.start(arguments);
        // The moment of the kill is what is tested; nothing is waited for.
        while began.elapsed() < Duration::from_millis(after) && run.is_running() {
            thread::sleep(Duration::from_millis(5));
        }
        run.kill();
    }
}

/// Checks that there are so many units, each of them running, no other process, and nothing left to do.
fn complete(project: &Project, count: usize) {
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);
    let units = project.units();
    assert_eq!(units.len(), count, "{units:?}");
    let known: BTreeSet<i32> = units.iter().flat_map(|unit| unit.session()).collect();
    assert!(units.iter().all(|unit| unit.is_running()), "{units:?}");
    // A killed run's own helpers may take a moment to notice.
    eventually("only known processes", Duration::from_secs(10), || {
        let unknown: Vec<i32> = project
            .processes()
            .into_iter()
            .filter(|pid| !known.contains(pid))
            .collect();
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(format!("{unknown:?} belong to no unit"))
        }
    });
    project.endpoint().ask("is all well?").unwrap();
}
