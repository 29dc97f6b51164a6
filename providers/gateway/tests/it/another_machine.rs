//! One machine takes the place of another: what is planned there, and how long the old one serves.

use std::time::Duration;

use gabion_engine::provider::{Effect, PlanRequest, Provider, ReadOutcome};
use gabion_engine::schema::ReplaceOrder;
use gabion_engine::value::{Attributes, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::harness::{AGENT, Project, address, attributes, listener_inputs};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_on_another_machine_holds_other_ports_and_is_made_first() {
    let project = Project::start().await;
    let at = address("gateway_listener", "my-gateway");
    let on = |machine: &str| {
        let mut inputs = listener_inputs();
        inputs.insert("machine".into(), machine.into());
        inputs.insert("ports".into(), Value::map([("port", Value::Int(80))]));
        inputs
    };
    let plan = |desired: Attributes, replaces: Option<Attributes>| {
        let request = PlanRequest {
            resource_type: at.resource_type.clone(),
            address: at.clone(),
            desired,
            prior: None,
            replaces,
            facts: Default::default(),
        };
        project.provider.plan(&request).unwrap()
    };
    let old = plan(on("my-gateway"), None);
    assert_eq!(old.replace_order, None);
    let ports = |response: &gabion_engine::provider::PlanResponse| {
        let keys = response.claims.iter().map(|claim| claim.key.to_string());
        keys.filter(|key| key.starts_with("tcp/")).collect::<Vec<_>>()
    };
    assert_eq!(ports(&old), ["tcp/my-gateway/80"]);
    let beside = plan(on("my-gateway@2"), Some(old.planned.clone()));
    assert_eq!(ports(&beside), ["tcp/my-gateway@2/80"]);
    assert_eq!(beside.replace_order, Some(ReplaceOrder::CreateThenDelete));
    let again = plan(on("my-gateway"), Some(old.planned));
    assert_eq!(again.replace_order, None);

    // An address that stays leads to one of them at a time, and the plan says so.
    let at_host = |machine: &str, host: &str| {
        let mut inputs = on(machine);
        inputs.insert("host".into(), host.into());
        inputs
    };
    let old = plan(at_host("my-gateway", "203.0.113.7"), None).planned;
    let stays = plan(at_host("my-gateway@2", "203.0.113.7"), Some(old.clone()));
    assert_eq!(
        stays.notes,
        ["The address moves to the new machine: open connections are cut then."]
    );
    let other = plan(at_host("my-gateway@2", "203.0.113.8"), Some(old));
    assert_eq!(other.notes, Vec::<String>::new());
}

fn route_inputs(gateway_url: &str) -> Attributes {
    attributes([
        ("agent", AGENT.into()),
        ("gateway", "my-gateway".into()),
        ("gateway_url", gateway_url.into()),
        ("service", "qwen".into()),
        ("path_prefix", "/services/qwen/".into()),
        ("auth", true.into()),
        ("restricted", false.into()),
        ("linger", Value::Int(3600)),
    ])
}

/// Asks the gateway as a client that would keep its connection; returns the head of the answer.
async fn head(gateway: &str) -> String {
    let authority = gateway.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let request = format!("GET /services/qwen/hello HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_whose_place_was_taken_serves_on_and_lets_its_clients_go() {
    let project = Project::start().await;
    let listener = project
        .create(1, &address("gateway_listener", "my-gateway"), listener_inputs())
        .await
        .unwrap();
    let gateway = listener.attributes["url"].as_str().unwrap().to_owned();
    let inputs = route_inputs(&gateway);
    let at = address("gateway_route", "qwen");
    let route = project.create(2, &at, inputs.clone()).await.unwrap();
    project.assert_settled(&route, &inputs).await;
    let is_served = |head: &str| head.starts_with("http/1.1 401 ");
    let before = head(&gateway).await;
    assert!(
        is_served(&before) && !before.contains("connection: close"),
        "{before}"
    );

    let cancel = CancellationToken::new();
    let deleting = project.delete_deposed(2, &route, &cancel);
    let asking = async {
        loop {
            let answer = head(&gateway).await;
            assert!(is_served(&answer), "{answer}");
            if answer.contains("connection: close") {
                break;
            }
        }
        cancel.cancel();
    };
    let both = async { tokio::join!(deleting, asking) };
    let (interrupted, ()) = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    assert_eq!(interrupted.unwrap_err().effect, Effect::None);
    assert!(is_served(&head(&gateway).await));
    assert!(matches!(project.read(&route).await, ReadOutcome::Present(_)));

    // Nothing has taken its place: nobody is waited for.
    project.delete(2, &route).await.unwrap();
    assert_eq!(project.read(&route).await, ReadOutcome::Absent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plan_says_of_a_route_whose_machine_changes_is_what_the_old_one_was_told() {
    let project = Project::start().await;
    let at = address("gateway_route", "qwen");
    let on = |machine: &str, linger: Option<i64>| {
        let mut inputs = route_inputs("http://203.0.113.7");
        inputs.insert("machine".into(), machine.into());
        // As `stop_duration: off` has it.
        inputs.insert("drain_timeout".into(), Value::Int(24 * 3600));
        inputs.remove("linger");
        inputs.extend(linger.map(|seconds| ("linger".into(), Value::Int(seconds))));
        inputs
    };
    let notes = |old: Option<i64>, new: Option<i64>| {
        let request = PlanRequest {
            resource_type: at.resource_type.clone(),
            address: at.clone(),
            desired: on("my-gateway@2", new),
            prior: None,
            replaces: Some(on("my-gateway", old)),
            facts: Default::default(),
        };
        project.provider.plan(&request).unwrap().notes.join(" ")
    };
    assert_eq!(
        notes(Some(600), Some(30)),
        "The old machine goes on serving until names lead to the new one, for 10 min more, and until its running requests have \
         ended, for which it waits 24 h at most."
    );
    assert!(notes(Some(60), Some(30)).contains("for 60 s more"));
    let at_once = notes(None, Some(60));
    assert!(
        at_once.contains("serves only until the record leads to the new one"),
        "{at_once}"
    );
    assert_eq!(notes(None, None), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_whose_agent_does_not_answer_lingers_unless_that_is_gone() {
    let mut project = Project::start().await;
    project
        .create(1, &address("gateway_listener", "my-gateway"), listener_inputs())
        .await
        .unwrap();
    let route = project
        .create(
            2,
            &address("gateway_route", "qwen"),
            route_inputs("http://127.0.0.1:1"),
        )
        .await
        .unwrap();
    let socket = project.unit(AGENT).join("agent.sock");
    let aside = socket.with_extension("aside");
    std::fs::rename(&socket, &aside).unwrap();
    let cancel = CancellationToken::new();
    let deleting = project.delete_deposed(2, &route, &cancel);
    let waited = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        cancel.cancel();
    };
    let (interrupted, ()) = tokio::join!(deleting, waited);
    let error = interrupted.unwrap_err();
    assert!(error.message.contains("goes on serving"), "{error:?}");

    std::fs::rename(&aside, &socket).unwrap();
    project.stop_agent().await;
    let cancel = CancellationToken::new();
    let deleting = project.delete_deposed(2, &route, &cancel);
    tokio::time::timeout(Duration::from_secs(20), deleting)
        .await
        .expect("nobody is served")
        .unwrap();
}
