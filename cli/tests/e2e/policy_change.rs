//! A new policy replaces the router beside the old one, and nobody notices.

use crate::harness::{Load, Project};
use crate::said::assert_said;

#[test]
fn changing_the_policy_replaces_the_router_and_fails_no_request() {
    let project = Project::quick();
    project.apply();
    let endpoint = project.endpoint();
    let replicas = ["host_unit.qwen/default/0", "host_unit.qwen/default/1"];
    let pids = replicas.map(|replica| project.unit(replica).pid());
    let router = project.unit("host_unit.my-gateway/router/qwen");

    let load = Load::start(&endpoint);
    project.edit("gateway.dstack.yml", "policy: cache_aware", "policy: round_robin");
    let plan = project.plan();
    plan.changes_are(&[
        ("gateway_route.qwen", "update"),
        ("host_unit.my-gateway/router/qwen", "create+delete"),
        ("router_worker.qwen/default/0", "create+delete"),
        ("router_worker.qwen/default/1", "create+delete"),
    ]);
    for (format, ending) in [("text", "txt"), ("markdown", "md"), ("json", "json")] {
        let said = project.run(&["plan", "--format", format]).succeeds().stdout;
        // How many events there were is nothing that this is about.
        let serial = &plan.0["gabion"]["serial"];
        let said = said
            .replace(&format!("state serial {serial}"), "state serial [serial]")
            .replace(&format!("\"serial\": {serial}"), "\"serial\": [serial]");
        assert_said(&format!("plans/policy-change.{ending}"), &said);
    }
    // Longer than the change itself takes: the old router may only stop when this has ended.
    let mut long = endpoint
        .stream("a stream that runs when the router is replaced", 1500)
        .unwrap();
    long.next_token().unwrap();
    let reader = std::thread::spawn(move || long.finish());
    project.apply();
    load.goes_on(20);
    assert_eq!(reader.join().unwrap(), Ok(1500));
    let report = load.stop().without_failures();
    assert!(report.streams > 5, "{report}");

    assert_eq!(
        replicas.map(|replica| project.unit(replica).pid()),
        pids,
        "a replica was touched"
    );
    let new = project.unit("host_unit.my-gateway/router/qwen");
    assert_ne!(new.uid, router.uid);
    assert!(!router.is_running(), "the old router still runs");
    assert!(!router.directory.exists(), "the old router left its directory");
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);
}
