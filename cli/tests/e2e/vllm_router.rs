//! vLLM's router in place of SGLang's.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::harness::{Load, Project, Request, eventually, kill_process, send};

#[test]
fn a_service_goes_through_it_and_changes_to_sglangs_and_back() {
    let mut project = Project::quick();
    project.edit(
        "gateway.dstack.yml",
        "type: sglang\n",
        "type: vllm\n  package: smg\n",
    );
    project
        .run(&["validate"])
        .exits(1)
        .says("`package` chooses between the two packages of SGLang's router");
    project.edit("gateway.dstack.yml", "  package: smg\n", "");
    project.edit("gateway.dstack.yml", "policy: cache_aware", "policy: round_robin");
    project.apply();
    let endpoint = project.endpoint();
    let answers = |count: usize| -> BTreeSet<String> {
        let ask = |number| endpoint.ask(&format!("hello {number}")).unwrap().replica;
        (0..count).map(ask).collect()
    };
    assert_eq!(answers(6).len(), 2, "each replica has its turn");
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);

    // A worker that somebody removes is missed, and comes back.
    let router = project.url("host_unit.my-gateway/router/qwen");
    let worker = project.url("host_unit.qwen/default/1");
    let removal = Request::new("POST", format!("/remove_worker?url={worker}"));
    assert_eq!(send(&router, &removal).unwrap().status, 200);
    project
        .run(&["drift"])
        .exits(2)
        .says("router_worker.qwen/default/1");
    project.apply();
    project.plan_is_empty();
    assert_eq!(answers(6).len(), 2);

    // One that was killed is started and filled anew.
    kill_process(project.unit("host_unit.my-gateway/router/qwen").pid());
    eventually(
        "the router's end is seen",
        Duration::from_secs(30),
        || match project.run(&["drift"]).code {
            Some(2) => Ok(()),
            code => Err(format!("{code:?}")),
        },
    );
    project.apply();
    project.plan_is_empty();
    assert_eq!(answers(6).len(), 2);

    // A replica that goes is drained; other policies and the other router come beside the old one.
    let load = Load::start(&endpoint);
    project.edit("service.dstack.yml", "replicas: 2", "replicas: 1");
    project.apply();
    project.edit("service.dstack.yml", "replicas: 1", "replicas: 2");
    project.edit(
        "gateway.dstack.yml",
        "policy: round_robin",
        "policy: sticky_least_loaded",
    );
    project.apply();
    project.plan_is_empty();
    project.edit("gateway.dstack.yml", "type: vllm", "type: sglang");
    project
        .run(&["plan"])
        .exits(1)
        .says("SGLang's router does not have the policy `sticky_least_loaded`");
    project.edit(
        "gateway.dstack.yml",
        "policy: sticky_least_loaded",
        "policy: power_of_two",
    );
    project.apply();
    project.plan_is_empty();
    project.edit("gateway.dstack.yml", "type: sglang", "type: vllm");
    project
        .run(&["plan"])
        .exits(1)
        .says("does not start without workers");
    project.edit(
        "gateway.dstack.yml",
        "policy: power_of_two",
        "policy: consistent_hash",
    );
    project.apply();
    project.plan_is_empty();
    load.goes_on(10);
    load.stop().without_failures();
    project.destroy();
}
