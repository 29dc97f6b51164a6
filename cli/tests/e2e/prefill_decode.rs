//! Prefill and decode apart: a request is read by one worker and answered by another, also after the router restarted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Project, eventually, kill_process, send};

/// Which unit is registered as what: worker type and bootstrap port by URL.
type Roles = BTreeMap<String, (String, Option<u64>)>;

/// What the units of the example are meant to be.
fn planned(project: &Project) -> Roles {
    let mut roles = Roles::new();
    for slot in 0..2 {
        let prefill = format!("host_unit.qwen/prefill/{slot}");
        let port = project.attribute(&prefill, "port")["bootstrap"].as_u64();
        assert!(port.is_some(), "{prefill} has no bootstrap port");
        roles.insert(project.url(&prefill), ("prefill".to_owned(), port));
        let decode = project.url(&format!("host_unit.qwen/decode/{slot}"));
        roles.insert(decode, ("decode".to_owned(), None));
    }
    roles
}

fn registered(project: &Project, router: &str) -> Result<Roles, String> {
    let told = project.workers_as_told(router)?;
    let healthy = told.iter().filter(|worker| worker["is_healthy"] == true);
    let role = |worker: &Value| {
        let text = |name: &str| worker[name].as_str().unwrap_or_default().to_owned();
        let port = worker["bootstrap_port"].as_u64();
        (text("url"), (text("worker_type"), port))
    };
    Ok(healthy.map(role).collect())
}

/// Asks until every worker of both kinds took part, and checks that each answer has one of each.
fn every_pair_answers(project: &Project, planned: &Roles) {
    let endpoint = project.endpoint();
    let mut seen = BTreeSet::new();
    eventually("an answer of every worker", Duration::from_secs(20), || {
        let request = endpoint.request(&format!("question {}", seen.len()), 4, false);
        let answer = send(&endpoint.base, &request)?;
        if answer.status != 200 {
            return Err(format!("{}: {}", answer.status, answer.text()));
        }
        for (header, role) in [("x-prefill", "prefill"), ("x-replica", "decode")] {
            let url = format!("http://{}", answer.header(header).ok_or(header)?);
            let known = planned.get(&url).map(|(role, _)| role.as_str());
            assert_eq!(known, Some(role), "{header} {url} of {planned:?}");
            seen.insert(url);
        }
        match seen.len() == planned.len() {
            true => Ok(()),
            false => Err(format!("only {seen:?} took part")),
        }
    });
}

#[test]
fn each_request_goes_to_a_prefill_and_a_decode_worker() {
    let mut project = Project::separate();
    project.plan().changes_are(&[
        ("gateway_listener.loopback", "create"),
        ("gateway_route.qwen", "create"),
        ("host_unit.agent/local", "create"),
        ("host_unit.loopback/router/qwen", "create"),
        ("host_unit.qwen/decode/0", "create"),
        ("host_unit.qwen/decode/1", "create"),
        ("host_unit.qwen/prefill/0", "create"),
        ("host_unit.qwen/prefill/1", "create"),
        ("router_worker.qwen/decode/0", "create"),
        ("router_worker.qwen/decode/1", "create"),
        ("router_worker.qwen/prefill/0", "create"),
        ("router_worker.qwen/prefill/1", "create"),
    ]);
    project.apply();
    let planned = planned(&project);
    let router = project.url("host_unit.loopback/router/qwen");
    assert_eq!(registered(&project, &router), Ok(planned.clone()));
    every_pair_answers(&project, &planned);
    let stream = project.endpoint().stream("a stream", 24).unwrap();
    assert_eq!(stream.finish(), Ok(24));
    project.plan_is_empty();

    // A router that comes back is given its workers with their types and bootstrap ports.
    let unit = project.unit("host_unit.loopback/router/qwen");
    kill_process(unit.pid());
    eventually("the router's end", Duration::from_secs(5), || {
        match unit.is_running() {
            true => Err("it runs"),
            false => Ok(()),
        }
    });
    // Nobody can answer meanwhile: half a worker is no way around the router.
    let endpoint = project.endpoint();
    let answer = send(&endpoint.base, &endpoint.request("nobody", 4, false)).unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    project.run(&["agent", "start-unit", &unit.uid]).succeeds();
    eventually("the router's workers", Duration::from_secs(20), || {
        let found = registered(&project, &router)?;
        match found == planned {
            true => Ok(()),
            false => Err(format!("{found:?}")),
        }
    });
    eventually("the gateway's trust", Duration::from_secs(10), || {
        endpoint.ask("are you back?").map(|_| ())
    });
    every_pair_answers(&project, &planned);
    project.run(&["drift"]).exits(0);
    project.plan_is_empty();

    // A role that is edited shows in the plan, at its worker.
    project.edit(
        "service.dstack.yml",
        "  - name: decode\n    replicas: 2",
        "  - name: decode\n    replicas: 1",
    );
    project.plan().changes_are(&[
        ("host_unit.qwen/decode/1", "delete"),
        ("router_worker.qwen/decode/1", "delete"),
    ]);
    project.apply();
    project.plan_is_empty();
    project.destroy();
}

#[test]
fn the_older_package_separates_too_whatever_the_policy() {
    let project = Project::separate();
    project.edit(
        "service.dstack.yml",
        "policy: round_robin",
        "policy: power_of_two\n  package: sglang-router",
    );
    project.apply();
    let planned = planned(&project);
    let router = project.url("host_unit.loopback/router/qwen");
    assert_eq!(registered(&project, &router), Ok(planned.clone()));
    every_pair_answers(&project, &planned);
    project.plan_is_empty();
}

#[test]
fn a_worker_that_is_not_what_its_group_says_is_not_registered() {
    let project = Project::separate();
    project.write(
        "start.sh",
        "exec python3 ../quickstart/engine.py --port $PORT --model $MODEL_ID --disaggregation-mode decode\n",
    );
    let text = project.read("service.dstack.yml");
    let (before, rest) = text.split_once("    commands:\n").unwrap();
    let (_, after) = rest.split_once("  # Writes answers.").unwrap();
    project.write(
        "service.dstack.yml",
        &format!("{before}    role: prefill\n    commands: [sh start.sh $PORT $BOOTSTRAP_PORT]\n  # Writes answers.{after}"),
    );
    project
        .run(&["apply", "-y"])
        .exits(6)
        .says("says that it is a decode worker, and is to be registered as a prefill one")
        .says("service.dstack.yml:19:11")
        .says("--disaggregation-mode");
    let router = project.url("host_unit.loopback/router/qwen");
    let roles = registered(&project, &router).unwrap();
    assert!(roles.values().all(|(role, _)| role == "decode"), "{roles:?}");
}
