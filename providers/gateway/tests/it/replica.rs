//! Replicas of a route without a router: put one by one, replaced under their names, taken out when they are drained.

use std::time::Duration;

use gabion_engine::provider::{Observation, ReadOutcome};
use gabion_engine::value::{Attributes, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::harness::{AGENT, Project, address, attributes, listener_inputs};

fn replica_inputs(url: &str) -> Attributes {
    attributes([
        ("agent", AGENT.into()),
        ("gateway", "my-gateway".into()),
        ("service", "qwen".into()),
        ("name", "qwen/default/0".into()),
        ("url", url.into()),
        ("drain_timeout", Value::Int(20)),
    ])
}

/// Holds one answer back: says when the request is there, and waits until it may be answered.
struct Gate {
    arrived: oneshot::Sender<()>,
    may: oneshot::Receiver<()>,
}

/// A program that says its name to everybody who says hello, the first time only once it may; it tells nobody its load.
async fn program(name: &'static str, gate: Option<Gate>) -> String {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let mut gate = gate;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap_or_default();
            let greeted = request[..length].starts_with(b"GET /hello");
            let gate = if greeted { gate.take() } else { None };
            tokio::spawn(async move {
                if let Some(gate) = gate {
                    gate.arrived.send(()).unwrap();
                    let _ = gate.may.await;
                }
                let status = if greeted { "200 OK" } else { "404 Not Found" };
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{name}",
                    name.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    url
}

async fn get(gateway: &str) -> String {
    let authority = gateway.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let request =
        format!("GET /services/qwen/hello HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_takes_over_at_once_and_the_old_one_leaves_when_it_is_drained() {
    let project = Project::start().await;
    let listener = project
        .create(1, &address("gateway_listener", "my-gateway"), listener_inputs())
        .await
        .unwrap();
    let gateway = listener.attributes["url"].as_str().unwrap().to_owned();
    let (release, may) = oneshot::channel();
    let (arrived, reached) = oneshot::channel();
    let gate = Gate { arrived, may };
    let (old, new) = (program("old", Some(gate)).await, program("new", None).await);
    let at = address("gateway_replica", "qwen/default/0");

    // A replica comes before its route, as dependencies do.
    let first = project.create(2, &at, replica_inputs(&old)).await.unwrap();
    project.assert_settled(&first, &replica_inputs(&old)).await;
    let route = attributes([
        ("agent", AGENT.into()),
        ("gateway", "my-gateway".into()),
        ("gateway_url", gateway.as_str().into()),
        ("service", "qwen".into()),
        ("path_prefix", "/services/qwen/".into()),
        ("auth", false.into()),
        ("restricted", false.into()),
    ]);
    let at_route = address("gateway_route", "qwen");
    let route_record = project.create(3, &at_route, route.clone()).await.unwrap();
    project.assert_settled(&route_record, &route).await;
    let slow = tokio::spawn({
        let gateway = gateway.clone();
        async move { get(&gateway).await }
    });
    reached.await.unwrap();

    assert_eq!(
        project
            .plan(&at, &replica_inputs(&new), Some(&first))
            .replace
            .len(),
        1
    );
    let second = project.create(4, &at, replica_inputs(&new)).await.unwrap();
    assert!(get(&gateway).await.ends_with("new"));
    assert_eq!(project.read(&first).await, ReadOutcome::Absent);
    assert!(matches!(project.observe(&second).await, Observation::Present(_)));

    let leaving = project.delete(2, &first);
    tokio::pin!(leaving);
    let early = tokio::time::timeout(Duration::from_millis(1500), &mut leaving).await;
    assert!(early.is_err(), "it left with a request unanswered");
    release.send(()).unwrap();
    leaving.await.unwrap();
    assert!(slow.await.unwrap().ends_with("old"));
    project.assert_settled(&second, &replica_inputs(&new)).await;

    project.delete(4, &second).await.unwrap();
    project.delete(4, &second).await.unwrap();
    assert_eq!(project.read(&second).await, ReadOutcome::Absent);
    assert!(get(&gateway).await.starts_with("HTTP/1.1 503"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_leaves_the_files_of_a_dead_agent() {
    let mut project = Project::start().await;
    let at = address("gateway_replica", "qwen/default/0");
    let replica = project
        .create(2, &at, replica_inputs("http://127.0.0.1:20001"))
        .await
        .unwrap();
    project.stop_agent().await;
    assert!(matches!(
        project.read(&replica).await,
        ReadOutcome::CannotTell { .. }
    ));
    project.delete(2, &replica).await.unwrap();
    project.start_agent().await;
    assert_eq!(project.read(&replica).await, ReadOutcome::Absent);
}
