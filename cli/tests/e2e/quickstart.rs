//! The quickstart: what a newcomer does first, and that nothing of it stays behind.

use std::collections::BTreeMap;

use gabion_host::ports::PortRegistry;

use crate::harness::{Project, alive, get, listing};

#[test]
fn quickstart_is_applied_used_and_leaves_nothing_behind() {
    let mut project = Project::from_example("quickstart");
    let files = listing(project.directory());
    let replicas = ["host_unit.qwen/default/0", "host_unit.qwen/default/1"];

    project.plan().changes_are(&[
        ("gateway_listener.my-gateway", "create"),
        ("gateway_route.qwen", "create"),
        ("host_unit.agent/local", "create"),
        ("host_unit.my-gateway/router/qwen", "create"),
        ("host_unit.qwen/default/0", "create"),
        ("host_unit.qwen/default/1", "create"),
        ("router_worker.qwen/default/0", "create"),
        ("router_worker.qwen/default/1", "create"),
    ]);
    assert!(project.units().is_empty(), "a plan started something");

    let endpoint_is_said = project.apply();
    let endpoint = project.endpoint();
    endpoint_is_said.says(&endpoint.base);
    let stream = endpoint.stream("What does gabion do?", 24).unwrap();
    let replica = stream.replica.clone();
    assert_eq!(stream.finish().unwrap(), 24);
    let addresses: Vec<String> = replicas.iter().map(|replica| project.url(replica)).collect();
    assert!(
        addresses.contains(&format!("http://{replica}")),
        "{replica} is none of {addresses:?}"
    );

    // A second run finds nothing to do, and touches nothing.
    let pids: Vec<i32> = project.units().iter().map(|unit| unit.pid()).collect();
    project.apply().says("othing to do");
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);
    assert_eq!(
        project.units().iter().map(|unit| unit.pid()).collect::<Vec<_>>(),
        pids
    );

    let sessions: Vec<i32> = project.units().iter().flat_map(|unit| unit.session()).collect();
    assert!(sessions.len() >= 4, "{sessions:?}");
    project.destroy();

    assert!(project.units().is_empty(), "{:?}", project.units());
    assert_eq!(project.processes(), [0; 0]);
    let left: Vec<_> = sessions.into_iter().filter(|pid| alive(*pid)).collect();
    assert!(left.is_empty(), "processes {left:?} still run");
    assert!(get(&endpoint.base).is_err(), "the gateway still answers");
    let new: Vec<String> = listing(project.directory()).difference(&files).cloned().collect();
    assert_eq!(new, [".gabion/state.db", ".gabion/state.db.lock"]);
    let mut user: Vec<String> = listing(&project.user_directory()).into_iter().collect();
    // The machine remembers the newest run, so that an older one that was only stopped makes nothing any more.
    user.retain(|file| !file.starts_with("data/gabion/fences/"));
    let head = user
        .iter()
        .find(|file| file.starts_with("state/gabion/heads/"))
        .unwrap();
    assert_eq!(
        user,
        [
            "config/gabion/fingerprint.key",
            head,
            "state/gabion/ports.json",
            "state/gabion/ports.lock"
        ]
    );
    let registry = PortRegistry::new(project.user_directory().join("state/gabion/ports.json"));
    assert_eq!(registry.leases().unwrap(), BTreeMap::new());

    // Whoever removes the rest by hand has lost nothing.
    std::fs::remove_dir_all(project.directory().join(".gabion")).unwrap();
    project.run(&["plan", "--detailed-exitcode"]).exits(2);
}
