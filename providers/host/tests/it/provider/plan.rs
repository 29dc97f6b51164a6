//! What is validated and planned.

use gabion_engine::provider::{Provider, ValidateRequest};
use gabion_engine::value::{Secret, Value};
use serde_json::json;

use super::scene::{Scene, address, attributes, host_unit, server};

#[tokio::test]
async fn what_the_program_reads_replaces_it_and_the_rest_does_not() {
    let scene = Scene::new();
    let mut unit = scene.create(server()).await;
    let first = unit.pid();
    let set = |name: &str, value: serde_json::Value| {
        let mut inputs = attributes(server());
        inputs.insert(name.into(), Value::from_json(&value));
        inputs
    };
    for (name, value) in [
        ("argv", json!(["python3", "-u", "server.py"])),
        ("env", json!({"PORT": "{ports.http}", "A": "b"})),
        ("files", json!({"server.py": "other"})),
        ("working_dir", json!("/tmp")),
        ("package", json!("smg==1.13.0")),
        ("machine", json!("other")),
    ] {
        let (_, replace) = scene.differences(&unit, &set(name, value)).await;
        assert_eq!(replace, [name]);
    }
    for (name, value) in [
        (
            "probes",
            json!([{"path": "/health", "ready_after": 2, "interval_seconds": 0.01}]),
        ),
        ("ready_timeout", json!(31)),
        ("stop_timeout", json!(7)),
        ("role", json!("router")),
        ("ports", json!({"http": {"range": "24000-25000"}})),
        ("ports", json!({"http": {"port": unit.port()}})),
    ] {
        let desired = set(name, value);
        let (changed, replace) = scene.differences(&unit, &desired).await;
        assert_eq!((changed, replace), (vec![name.to_owned()], Vec::new()));
        scene.update(&mut unit, desired).await;
        assert_eq!(unit.pid(), first);
        assert!(scene.drift(&unit).await.is_empty());
        scene.update(&mut unit, attributes(server())).await;
    }
    let port = unit.port();
    for (ports, path, why) in [
        (
            json!({"http": {"range": "25000-25999"}}),
            "ports.http",
            format!("It has port {port}, which 25000-25999 does not hold."),
        ),
        (
            json!({"http": {"port": 25000}}),
            "ports.http",
            format!("It has port {port}."),
        ),
        (
            json!({}),
            "ports.http",
            "A running program cannot give back a port.".to_owned(),
        ),
        (
            json!({"http": {"range": "24000-24999"}, "m": {"range": "24000-24999"}}),
            "ports.m",
            "A running program is given no further ports.".to_owned(),
        ),
    ] {
        let response = scene.plan(&set("ports", ports), Some(scene.prior(&unit).await));
        let causes: Vec<_> = response
            .replace
            .iter()
            .map(|cause| (cause.path.to_string(), cause.why.clone()))
            .collect();
        assert_eq!(causes, [(path.to_owned(), Some(why))]);
    }
}

#[test]
fn every_problem_of_bad_inputs_is_reported_at_its_place() {
    let scene = Scene::new();
    let secret = || Value::Secret(Secret::sealed(None, None));
    let mut inputs = attributes(json!({
        "machine": "gpu-7",
        "argv": ["", "--port={ports.nope}", "{package.dir}/bin/x"],
        "env": {"A=B": "x", "PORT": "{ports.grpc}"},
        "working_dir": "relative",
        "files": {"../x": "", "ok/fine": "{ports.http} is text here"},
        "ports": {"http": {"range": "9-1"}, "a b": {"port": 1}, "both": {"range": "1-2", "port": 1}, "big": {"port": 70000}},
        "probes": [
            {"port": "nope", "path": "health"},
            {"socket": "/abs", "method": "GE T", "path": "/", "ready_after": 0},
            {"headers": {"x": "y"}},
        ],
        "ready_timeout": -1,
    }));
    inputs.insert("role".into(), secret());
    let problems = scene.provider.validate(&ValidateRequest {
        resource_type: host_unit(),
        address: address(),
        inputs,
    });
    let paths: Vec<String> = problems.iter().map(|problem| problem.path.to_string()).collect();
    let expected = [
        "ports[\"a b\"]",
        "ports.big.port",
        "ports.both",
        "ports.http.range",
        "argv",
        "env[\"A=B\"]",
        "files[\"../x\"]",
        "probes[0].port",
        "probes[0].path",
        "probes[1].socket",
        "probes[1].ready_after",
        "probes[1].method",
        "probes[2].headers",
        "ready_timeout",
        "role",
        "argv[1]",
        "argv[2]",
        "env.PORT",
        "working_dir",
        "machine",
    ];
    let mut sorted = (paths.clone(), expected.map(str::to_owned).to_vec());
    sorted.0.sort();
    sorted.1.sort();
    assert_eq!(sorted.0, sorted.1, "{problems:#?}");
    assert!(problems.iter().all(|problem| problem.hint.is_some()));
}

#[test]
fn what_is_not_known_yet_is_not_a_problem() {
    let scene = Scene::new();
    let mut inputs = attributes(server());
    for name in [
        "machine",
        "env",
        "files",
        "ports",
        "working_dir",
        "package",
        "ready_timeout",
    ] {
        inputs.insert(name.into(), Value::template("${{ a.b.c }}"));
    }
    inputs.insert("argv".into(), Value::List(vec![Value::template("${{ a.b.c }}")]));
    let request = ValidateRequest {
        resource_type: host_unit(),
        address: address(),
        inputs: inputs.clone(),
    };
    assert_eq!(scene.provider.validate(&request), []);
    let planned = scene.plan(&inputs, None);
    assert_eq!(planned.planned["port"], Value::unknown());
    assert_eq!(planned.planned["url"], Value::unknown());
}
