//! Saved plans: applied as reviewed, refused when the world moved, resumed after a crash.

use std::time::Duration;

use crate::harness::{Project, eventually};

#[test]
fn a_saved_plan_is_applied_once_reviewed_and_refused_when_it_is_stale() {
    let project = Project::quick();
    let saved = project
        .run(&["plan", "--out", "first.gabion", "--format", "json"])
        .succeeds()
        .json();
    let digest = saved["gabion"]["digest"].as_str().unwrap();
    let shown = project
        .run(&["show", "first.gabion", "--format", "json"])
        .succeeds()
        .json();
    assert_eq!(shown["resource_changes"], saved["resource_changes"]);

    let refused = project.run(&["apply", "first.gabion", "--digest", &"0".repeat(64)]);
    assert_ne!(refused.code, Some(0), "{refused}");
    assert!(project.units().is_empty(), "{refused}");
    project
        .run(&["apply", "first.gabion", "--digest", digest])
        .succeeds();
    project.plan_is_empty();

    // Two plans from one state; the second is stale once the first is applied.
    project.edit("gateway.dstack.yml", "policy: cache_aware", "policy: round_robin");
    project.run(&["plan", "--out", "policy.gabion"]).succeeds();
    project.edit("gateway.dstack.yml", "policy: round_robin", "policy: random");
    project.apply();
    project
        .run(&["apply", "policy.gabion"])
        .exits(4)
        .says("host_unit.my-gateway/router/qwen");
    project.plan_is_empty();
}

#[test]
fn a_saved_plan_is_resumed_after_a_kill_in_the_middle() {
    let project = Project::quick();
    // Long enough that the kill comes while replicas start.
    project.engine("--startup-s 2");
    project.run(&["plan", "--out", "plan.gabion"]).succeeds();
    let apply = project.start(&["apply", "plan.gabion"]);
    eventually("a replica's start", Duration::from_secs(120), || {
        if project.units().iter().any(|unit| unit.is_running()) {
            Ok(())
        } else {
            Err("no unit runs")
        }
    });
    let killed = apply.kill();
    assert_eq!(killed.code, None, "{killed}");

    project.run(&["apply", "plan.gabion"]).succeeds();
    project.plan_is_empty();
    let units = project.units();
    assert_eq!(units.len(), 4, "{units:?}");
    assert!(units.iter().all(|unit| unit.is_running()), "{units:?}");
    project.endpoint().ask("did you survive?").unwrap();
}
