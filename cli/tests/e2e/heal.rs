//! What was applied and has ended, or is gone, comes back by itself; what somebody changed or wrote stays as it is.

use std::fs;
use std::time::Duration;

use gabion::wire::HealingEventJson;

use crate::drift::{STATIC, delete_route, delete_worker, ended};
use crate::harness::{Project, eventually, get, kill_process};

const ROUTER: &str = "host_unit.my-gateway/router/qwen";
const REPLICAS: [&str; 2] = ["host_unit.qwen/default/0", "host_unit.qwen/default/1"];

/// How long something may take to come back.
const BACK: Duration = Duration::from_secs(120);

/// How long a test takes at most.
const LIFE: Duration = Duration::from_secs(600);

/// Waits until nothing is left to be brought back.
#[track_caller]
fn nothing_is_missing(project: &Project) {
    eventually("what is missing", BACK, || {
        match project.run(&["heal", "--dry-run"]) {
            found if found.code == Some(0) => Ok(()),
            found => Err(found.to_string()),
        }
    });
}

fn events(stdout: &str) -> Vec<serde_json::Value> {
    let lines = stdout.lines();
    let events = lines.map(|line| serde_json::from_str::<HealingEventJson>(line).unwrap());
    events.map(|event| serde_json::to_value(event).unwrap()).collect()
}

#[test]
fn what_ended_comes_back_and_what_was_edited_is_left() {
    let mut project = Project::quick();
    project.write("static.gabion.yml", STATIC);
    project.apply();
    project
        .run(&["heal", "--dry-run"])
        .exits(0)
        .says("Nothing is to be brought back.");
    let endpoint = project.endpoint();
    let router = project.url(ROUTER);

    // Somebody edits a file of the project, breaks another, and edits one on the machine.
    project.edit("service.dstack.yml", "--ttft-ms 5", "--ttft-ms 6");
    project.write("broken.gabion.yml", "type: [resource\n");
    let page = project
        .unit("host_unit.static")
        .directory
        .join("files/index.html");
    fs::write(&page, "as somebody else wants it").unwrap();
    let argv = project.attribute(REPLICAS[0], "argv");

    let reconcile = project.start(&[
        "reconcile",
        "--interval",
        "1s",
        "--heal-every",
        "5s",
        "--format",
        "json",
    ]);
    let pids = REPLICAS.map(|replica| project.unit(replica).pid());
    for pid in pids {
        kill_process(pid);
        ended(pid);
    }
    nothing_is_missing(&project);
    endpoint.ask("anybody?").unwrap();
    for (replica, before) in REPLICAS.iter().zip(pids) {
        assert_ne!(project.unit(replica).pid(), before);
    }
    assert_eq!(
        project.attribute(REPLICAS[0], "argv"),
        argv,
        "the edit is not applied"
    );

    // What knew of them and does not any more.
    let workers = REPLICAS.map(|replica| project.url(replica));
    project.workers_become(&router, &workers, BACK);
    delete_worker(&router, &workers[1]);
    project.workers_become(&router, &workers[..1], BACK);
    project.workers_become(&router, &workers, BACK);
    delete_route(&project);
    eventually("the route", BACK, || {
        endpoint
            .ask("again?")
            .map(|_| ())
            .map_err(|failure| format!("{failure:?}"))
    });

    // One of which nothing is left, and a new one may have another port.
    let unit = project.unit(REPLICAS[1]);
    let pid = unit.pid();
    kill_process(pid);
    ended(pid);
    fs::remove_dir_all(&unit.directory).unwrap();
    nothing_is_missing(&project);
    assert_ne!(project.unit(REPLICAS[1]).directory, unit.directory);
    project.workers_become(&router, &REPLICAS.map(|replica| project.url(replica)), BACK);

    assert_eq!(fs::read_to_string(&page).unwrap(), "as somebody else wants it");
    reconcile.interrupt();
    let said = reconcile
        .finish(LIFE)
        .exits(0)
        .says("host_unit.static was changed outside gabion")
        .says("host_unit.qwen/default/0: back.");
    let events = events(&said.stdout);
    let about = |step: &str, address: &str| {
        events.iter().any(|event| {
            let objects = event["objects"].as_array();
            event["event"] == step
                && objects.is_some_and(|objects| objects.iter().any(|object| object["address"] == address))
        })
    };
    for address in [
        REPLICAS[0],
        REPLICAS[1],
        "router_worker.qwen/default/1",
        "gateway_route.qwen",
    ] {
        assert!(about("healing", address), "{address}: {events:#?}");
        assert!(about("healed", address), "{address}: {events:#?}");
    }
    assert!(!about("healing", "host_unit.static"), "{events:#?}");
    assert!(
        events
            .iter()
            .filter(|event| event["event"] == "healed")
            .all(|event| event["exit_code"] == 0),
        "{events:#?}"
    );
    project.run(&["state", "history"]).exits(0).says("heal");

    fs::remove_file(project.directory().join("broken.gabion.yml")).unwrap();
    project.edit("service.dstack.yml", "--ttft-ms 6", "--ttft-ms 5");
    project.plan().changes_are(&[("host_unit.static", "update")]);
    project.destroy();
}

#[test]
fn what_does_not_come_back_is_tried_less_and_less_often() {
    let mut project = Project::empty();
    project.write("serve.sh", "exec sleep 1000\n");
    let script = project.directory().join("serve.sh");
    project.write(
        "serve.gabion.yml",
        &format!(
            "type: resource\nkind: host_unit\nname: serve\nproperties:\n  machine: local\n  argv: [sh, '{}']\n",
            script.display()
        ),
    );
    project.apply();
    project
        .run(&["reconcile", "--heal-every", "1s"])
        .exits(1)
        .says("5 seconds");
    let first = project.unit("host_unit.serve").pid();
    fs::write(&script, "exit 7\n").unwrap();
    let reconcile = project.start(&[
        "reconcile",
        "--interval",
        "1s",
        "--heal-every",
        "5s",
        "--format",
        "json",
    ]);
    kill_process(first);
    ended(first);
    std::thread::sleep(Duration::from_secs(40));
    fs::write(&script, "exec sleep 1000\n").unwrap();
    nothing_is_missing(&project);
    reconcile.interrupt();
    let said = reconcile
        .finish(LIFE)
        .exits(0)
        .says("it is left alone for a while");
    let attempts = events(&said.stdout)
        .iter()
        .filter(|event| event["event"] == "healing")
        .count();
    // After 0, 15, 45 and 105 seconds.
    assert!((2..=4).contains(&attempts), "{attempts}: {}", said.stdout);
    project.plan_is_empty();
    project.destroy();
}

#[test]
fn a_page_that_is_served_again_is_the_one_that_was_applied() {
    let mut project = Project::empty();
    project.write("static.gabion.yml", STATIC);
    project.apply();
    let pid = project.unit("host_unit.static").pid();
    project.edit("static.gabion.yml", "as configured", "as edited");
    kill_process(pid);
    ended(pid);
    project
        .run(&["heal", "--dry-run"])
        .exits(2)
        .says("host_unit.static has ended");
    project
        .run(&["heal", "host_unit.static"])
        .exits(1)
        .says("heal host_unit.static -y");
    project.run(&["heal", "-y"]).exits(0);
    let url = project.url("host_unit.static");
    let page = get(&format!("{url}/index.html")).unwrap();
    assert_eq!(page.text().trim(), "as configured");
    project
        .plan()
        .changes_are(&[("host_unit.static", "create+delete")]);
    project.destroy();
}

#[test]
fn what_needs_a_secret_comes_back_while_it_is_the_one_that_was_applied() {
    let mut project = Project::empty();
    project.set("TOKEN", "hunter2");
    project.write(
        "serve.gabion.yml",
        "type: resource\nkind: host_unit\nname: serve\nproperties:\n  machine: local\n  argv: [sleep, '1000']\n  env: \
         {TOKEN: '${{ env.TOKEN }}'}\n",
    );
    project.apply();
    let end = |project: &Project| {
        let pid = project.unit("host_unit.serve").pid();
        kill_process(pid);
        ended(pid);
    };
    end(&project);
    project.run(&["heal", "-y"]).exits(0);
    project.plan_is_empty();
    end(&project);
    project.set("TOKEN", "another");
    let refused = project
        .run(&["heal", "-y"])
        .exits(1)
        .says("a secret is not the one that was applied");
    assert!(!refused.to_string().contains("another\n") && !refused.to_string().contains("hunter2"));
    project.apply();
    project.destroy();
}
