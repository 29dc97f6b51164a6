//! Routes: what is planned, what the agent gets, and what is read back.

use gabion_agent::client::{AgentClient, SOCKET_NAME};
use gabion_agent::protocol::{Fence, Flavour, Upstream};
use gabion_engine::provider::{
    ErrorClass, ImportRequest, ListRequest, Listed, Provider, ReadOutcome, ValidateRequest,
};
use gabion_engine::value::{Attributes, Secret, TemplateText, Value};
use gabion_host::transport::LocalTransport;

use crate::harness::{AGENT, Project, address, attributes, listener_inputs};

fn route_inputs(gateway_url: Value) -> Attributes {
    let token = Secret::new(
        Some(TemplateText::new("${{ secrets.T }}")),
        Value::from("hunter2"),
    );
    attributes([
        ("agent", AGENT.into()),
        ("gateway", "my-gateway".into()),
        ("gateway_url", gateway_url),
        ("service", "qwen".into()),
        ("path_prefix", "/services/qwen/".into()),
        ("model", "Qwen/Qwen3".into()),
        ("auth", true.into()),
        ("tokens", Value::map([("ci", Value::Secret(token))])),
        ("restricted", true.into()),
        (
            "replicas",
            Value::List(vec![Value::map([
                ("name", Value::from("qwen/default/0")),
                ("url", Value::from("http://127.0.0.1:20001/")),
            ])]),
        ),
    ])
}

async fn with_listener() -> (Project, Value) {
    let project = Project::start().await;
    let listener = project
        .create(1, &address("gateway_listener", "my-gateway"), listener_inputs())
        .await
        .unwrap();
    let url = listener.attributes["url"].clone();
    (project, url)
}

fn client(project: &Project) -> AgentClient {
    AgentClient::new(
        std::sync::Arc::new(LocalTransport),
        project.unit(AGENT).join(SOCKET_NAME),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_is_made_read_swapped_and_removed() {
    let (project, url) = with_listener().await;
    let at = address("gateway_route", "qwen");
    let unknown = project.plan(&at, &route_inputs(Value::unknown()), None).planned;
    assert_eq!(
        (&unknown["url"], &unknown["model_url"]),
        (&Value::unknown(), &Value::unknown())
    );
    let inputs = route_inputs(url.clone());
    let route = project.create(2, &at, inputs.clone()).await.unwrap();
    let base = url.as_str().unwrap();
    assert_eq!(
        route.attributes["url"],
        Value::from(format!("{base}/services/qwen/"))
    );
    assert_eq!(route.attributes["model_url"], Value::from(format!("{base}/v1")));
    project.assert_settled(&route, &inputs).await;
    let stored = client(&project).routes().await.unwrap().remove(0);
    assert_eq!(
        stored.object.auth.token_digests["ci"],
        "f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7"
    );
    let written = std::fs::read_to_string(project.unit(AGENT).join("agent-state.json")).unwrap();
    assert!(
        !written.contains("hunter2") && !format!("{route:?}").contains("f52fbd32"),
        "{written}"
    );
    let mut swapped = inputs.clone();
    swapped.insert("model".into(), "other".into());
    swapped.insert("hosts".into(), Value::List(vec!["qwen.example.com".into()]));
    let planned = project.plan(&at, &swapped, Some(&route)).planned;
    let port = base.rsplit_once(':').unwrap().1;
    assert_eq!(
        planned["model_url"],
        Value::from(format!("http://gateway.example.com:{port}/v1"))
    );
    let updated = project.update(2, &route, swapped.clone()).await.unwrap();
    project.assert_settled(&updated, &swapped).await;
    project.delete(2, &updated).await.unwrap();
    project.delete(2, &updated).await.unwrap();
    assert_eq!(project.read(&updated).await, ReadOutcome::Absent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_behind_our_back_is_seen() {
    let (project, url) = with_listener().await;
    let route = project
        .create(2, &address("gateway_route", "qwen"), route_inputs(url))
        .await
        .unwrap();
    let agent = client(&project);
    let mut stored = agent.routes().await.unwrap().remove(0).object;
    stored.auth.required = false;
    stored
        .auth
        .token_digests
        .insert("mallory".to_owned(), "00".repeat(32));
    let Upstream::Replicas(replicas) = &mut stored.upstream else {
        panic!()
    };
    replicas[0].port = 1;
    let fence = Fence {
        epoch: 1,
        operation: "by-hand".to_owned(),
        lineage: None,
    };
    agent.put_route(&fence, stored, 0).await.unwrap();
    let ReadOutcome::Present(state) = project.read(&route).await else {
        panic!()
    };
    assert_eq!(state.attributes["auth"], Value::Bool(false));
    assert_ne!(state.attributes["replicas"], route.attributes["replicas"]);
    let labels: Vec<&str> = state.attributes["tokens"]
        .as_map()
        .unwrap()
        .keys()
        .map(|label| &**label)
        .collect();
    assert_eq!(labels, ["ci", "mallory"]);
    agent.delete_route(&fence, "my-gateway", "qwen", 0).await.unwrap();
    assert_eq!(project.read(&route).await, ReadOutcome::Absent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_is_made_known_with_the_route_and_forgotten_with_its_unit() {
    let (project, url) = with_listener().await;
    let unit = project.unit("router-unit");
    std::fs::create_dir(&unit).unwrap();
    let mut inputs = route_inputs(url);
    inputs.remove("replicas");
    let router = [
        ("id", "router-unit"),
        ("url", "http://127.0.0.1:21000"),
        ("type", "sglang-router"),
    ];
    inputs.insert(
        "router".into(),
        Value::map(router.map(|(key, value)| (key, Value::from(value)))),
    );
    let route = project
        .create(2, &address("gateway_route", "qwen"), inputs.clone())
        .await
        .unwrap();
    project.assert_settled(&route, &inputs).await;
    let agent = client(&project);
    let known = agent.routers().await.unwrap().remove(0).object;
    assert_eq!(
        (known.flavour, known.port, known.unit_directory),
        (Flavour::SglangRouter, 21000, Some(unit.clone()))
    );
    std::fs::remove_dir(&unit).unwrap();
    project.delete(2, &route).await.unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while !agent.routers().await.unwrap().is_empty() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the router is not forgotten"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_of_another_machine_is_known_for_as_long_as_a_route_goes_through_it() {
    let (project, url) = with_listener().await;
    let mut inputs = route_inputs(url);
    inputs.remove("replicas");
    let through = |id: &str| {
        let router = [
            ("id", id),
            ("url", "http://10.0.0.7:31000"),
            ("type", "smg"),
            ("machine", "gpu/10.0.0.7"),
        ];
        let mut inputs = inputs.clone();
        inputs.insert(
            "router".into(),
            Value::map(router.map(|(key, value)| (key, Value::from(value)))),
        );
        inputs
    };
    let at = address("gateway_route", "qwen");
    let route = project.create(2, &at, through("first")).await.unwrap();
    project.assert_settled(&route, &through("first")).await;
    let agent = client(&project);
    let known = || async {
        let routers = agent.routers().await.unwrap();
        let seen = |stored: gabion_agent::protocol::Stored<gabion_agent::protocol::Router>| {
            (stored.object.uid, stored.object.unit_directory)
        };
        routers.into_iter().map(seen).collect::<Vec<_>>()
    };
    // Nothing on this machine tells whether its process runs.
    assert_eq!(known().await, [("first".to_owned(), None)]);
    let route = project.update(3, &route, through("second")).await.unwrap();
    assert_eq!(known().await, [("second".to_owned(), None)]);
    project.delete(4, &route).await.unwrap();
    assert_eq!(known().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_agent_cannot_tell_and_does_not_block_a_deletion() {
    let (mut project, url) = with_listener().await;
    let route = project
        .create(2, &address("gateway_route", "qwen"), route_inputs(url.clone()))
        .await
        .unwrap();
    project.stop_agent().await;
    assert!(matches!(
        project.read(&route).await,
        ReadOutcome::CannotTell { .. }
    ));
    let error = project.update(2, &route, route_inputs(url)).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient);
    project.delete(2, &route).await.unwrap();
    project.start_agent().await;
    assert_eq!(project.read(&route).await, ReadOutcome::Absent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_is_imported_by_its_id() {
    let (project, url) = with_listener().await;
    let at = address("gateway_route", "qwen");
    let route = project.create(2, &at, route_inputs(url)).await.unwrap();
    let import = |id: &str| ImportRequest {
        resource_type: at.resource_type.clone(),
        address: at.clone(),
        id: gabion_engine::address::ObjectId::new(id),
    };
    let state = project
        .provider
        .import(import("agent-unit/my-gateway/qwen"))
        .await
        .unwrap();
    assert_eq!(
        (state.id, &state.attributes["model"]),
        (route.id.unwrap(), &route.attributes["model"])
    );
    for id in [
        "agent-unit/my-gateway/none",
        "qwen",
        "a/b/c/d",
        "none/my-gateway/qwen",
    ] {
        assert_eq!(
            project.provider.import(import(id)).await.unwrap_err().class,
            ErrorClass::NotFound,
            "{id}"
        );
    }
    let lineage = project.call(1).lineage;
    // No unit says that it is an agent of this project, so nothing is claimed.
    assert_eq!(
        project.provider.list(ListRequest { lineage }).await.unwrap(),
        Listed::default()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prefixes_that_are_no_paths_are_found_before_apply() {
    let project = Project::start().await;
    let at = address("gateway_route", "qwen");
    for (name, prefix, problems) in [
        ("model_prefix", "v1", 1),
        ("model_prefix", "", 1),
        ("model_prefix", "/", 0),
        ("path_prefix", "/services/qwen", 1),
    ] {
        let mut inputs = route_inputs(Value::from("http://127.0.0.1:1"));
        inputs.insert(name.into(), prefix.into());
        let request = ValidateRequest {
            resource_type: at.resource_type.clone(),
            address: at.clone(),
            inputs,
        };
        let found = project.provider.validate(&request);
        assert_eq!(found.len(), problems, "{name}: {prefix:?}: {found:?}");
    }
}
