//! What the world changed behind gabion's back: told, repaired exactly, and gone.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use gabion_agent::client::{AgentClient, SOCKET_NAME};
use gabion_agent::protocol::Fence;
use gabion_host::transport::LocalTransport;

use crate::harness::{Project, Request, alive, eventually, get, kill_process, send};

pub(crate) const STATIC: &str = "\
type: resource
kind: host_unit
name: static
properties:
  machine: local
  argv: [python3, -m, http.server, --bind, 127.0.0.1, --directory, '{unit.dir}/files', '{ports.http}']
  files:
    index.html: as configured
  ports:
    http: {range: 25000-29999}
  probes:
    - {method: GET, path: /index.html, timeout_seconds: 5, interval_seconds: 1, ready_after: 1}
";

const ROUTER: &str = "host_unit.my-gateway/router/qwen";

#[test]
fn what_was_changed_outside_is_told_and_repaired_exactly() {
    let project = Project::quick();
    project.write("static.gabion.yml", STATIC);
    project.apply();
    project.run(&["drift"]).exits(0);
    let router = project.url(ROUTER);
    let replicas = ["host_unit.qwen/default/0", "host_unit.qwen/default/1"];
    let workers = replicas.map(|replica| project.url(replica));

    let replica = project.unit(replicas[0]);
    let pid = replica.pid();
    kill_process(pid);
    ended(pid);
    repairs(&project, &[replicas[0]], &["running", "true", "false"]);
    project.workers_become(&router, &workers, Duration::from_secs(20));

    let unit = project.unit(ROUTER);
    let pid = unit.pid();
    kill_process(pid);
    ended(pid);
    repairs(
        &project,
        &[
            ROUTER,
            "router_worker.qwen/default/0",
            "router_worker.qwen/default/1",
        ],
        &["running", "true", "false"],
    );
    let router = project.url(ROUTER);
    project.workers_become(&router, &workers, Duration::from_secs(5));

    delete_worker(&router, &workers[1]);
    project.workers_become(&router, &workers[..1], Duration::from_secs(15));
    repairs(&project, &["router_worker.qwen/default/1"], &[]);
    project.workers_become(&router, &workers, Duration::from_secs(5));

    let page = project
        .unit("host_unit.static")
        .directory
        .join("files/index.html");
    fs::write(&page, "as somebody else wants it").unwrap();
    repairs(
        &project,
        &["host_unit.static"],
        &["as configured", "as somebody else wants it"],
    );
    let url = project.url("host_unit.static");
    assert_eq!(
        get(&format!("{url}/index.html")).unwrap().text().trim(),
        "as configured"
    );

    let endpoint = project.endpoint();
    delete_route(&project);
    assert!(endpoint.ask("without a route").is_err());
    repairs(&project, &["gateway_route.qwen"], &[]);
    endpoint.ask("with the route again").unwrap();
}

/// Checks that drift names these objects and words, and that an apply changes no other ones and leaves no drift.
#[track_caller]
fn repairs(project: &Project, addresses: &[&str], words: &[&str]) {
    let drift = project.run(&["drift"]).exits(2);
    let told: String = format!("{}{}", drift.stdout, drift.stderr);
    assert!(told.contains(addresses[0]), "{drift}");
    for word in words {
        assert!(told.contains(word), "`{word}` is not in\n{drift}");
    }
    let touched: BTreeSet<String> = project.plan().changes().into_keys().collect();
    let allowed: BTreeSet<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
    assert!(
        touched.contains(addresses[0]) && touched.is_subset(&allowed),
        "the plan changes {touched:?}"
    );
    let apply = project.apply();
    let after = project.run(&["drift"]);
    assert_eq!(after.code, Some(0), "{apply}\n{after}");
    project.plan_is_empty();
}

#[track_caller]
pub(crate) fn ended(pid: i32) {
    eventually("the end of a killed process", Duration::from_secs(5), || {
        if alive(pid) { Err("it runs") } else { Ok(()) }
    });
}

/// Removes a worker as somebody does who knows the router's own API.
pub(crate) fn delete_worker(router: &str, url: &str) {
    let workers = get(&format!("{router}/workers")).unwrap().json().unwrap();
    let worker = workers["workers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|worker| worker["url"] == url)
        .unwrap();
    let id = worker["id"].as_str().unwrap();
    let response = send(router, &Request::new("DELETE", format!("/workers/{id}"))).unwrap();
    assert!(response.status < 300, "{}: {}", response.status, response.text());
}

/// Removes a route from the agent, with an operation that gabion's log does not have.
pub(crate) fn delete_route(project: &Project) {
    let socket = project.unit("host_unit.agent/local").directory.join(SOCKET_NAME);
    let client = AgentClient::new(Arc::new(LocalTransport), socket);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let fence = Fence {
            epoch: client.status().await.unwrap().epoch,
            operation: "somebody-else".to_owned(),
            lineage: None,
        };
        client
            .delete_route(&fence, "my-gateway", "qwen", 5)
            .await
            .unwrap();
    });
}
