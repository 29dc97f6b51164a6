//! The admin socket: fencing, durability, errors.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;

use gabion_agent::client::{ClientError, SOCKET_NAME};
use gabion_agent::protocol::{AgentError, Fence, Listener, Operation, Upstream};
use gabion_agent::{ServeOptions, serve};

use crate::harness::{Behaviour, TestAgent, TestUpstream, fence, free_port, plain_route};

fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> AgentError {
    match result {
        Err(ClientError::Refused(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_epoch_is_refused_also_after_a_restart() {
    let mut agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    let route = || plain_route("web", &[&upstream]);
    let newer = Fence {
        epoch: 5,
        operation: "op-5".to_owned(),
        lineage: Some("line".to_owned()),
    };
    agent.client.put_route(&newer, route(), 0).await.unwrap();
    assert_eq!(
        refusal(agent.client.put_route(&fence(), route(), 0).await),
        AgentError::StaleEpoch { given: 1, highest: 5 }
    );
    agent.restart().await;
    assert!(matches!(
        refusal(agent.client.delete_route(&fence(), "g", "web", 0).await),
        AgentError::StaleEpoch { .. }
    ));
    let foreign = Fence {
        epoch: 9,
        operation: "op-9".to_owned(),
        lineage: Some("other".to_owned()),
    };
    assert!(matches!(
        refusal(agent.client.put_route(&foreign, route(), 0).await),
        AgentError::WrongLineage { .. }
    ));
    let operation = Operation::DeleteRoute {
        gateway: "g".to_owned(),
        service: "web".to_owned(),
        drain_seconds: 0,
    };
    let unfenced = agent
        .client
        .call(None, operation, std::time::Duration::from_secs(1))
        .await;
    assert_eq!(refusal(unfenced), AgentError::Unfenced);
    let routes = agent.client.routes().await.unwrap();
    assert_eq!(
        (routes.len(), routes[0].operation.as_str(), routes[0].epoch),
        (1, "op-5", 5)
    );
    let status = agent.client.status().await.unwrap();
    assert_eq!((status.epoch, status.lineage.as_deref()), (5, Some("line")));
    assert_eq!(agent.request("GET", "/services/web/", "", "").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_named_and_nothing_changes() {
    let agent = TestAgent::start().await;
    let taken = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let port = taken.local_addr().unwrap().port();
    let listener = |name: &str, port| Listener {
        name: name.to_owned(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port,
        domain: None,
        http_port: None,
    };
    for name in ["g", "other"] {
        let error = refusal(
            agent
                .client
                .change(&fence(), Operation::PutListener(listener(name, port)))
                .await,
        );
        assert!(error.to_string().contains(&port.to_string()), "{error}");
        assert!(matches!(error, AgentError::Bind { .. }), "{error}");
    }
    let clash = agent
        .client
        .change(&fence(), Operation::PutListener(listener("other", agent.port)))
        .await;
    assert!(matches!(refusal(clash), AgentError::Conflict { .. }));
    let listeners = agent.client.listeners().await.unwrap();
    assert_eq!((listeners.len(), listeners[0].object.port), (1, agent.port));
    // Putting it again changes nothing, moving it does.
    agent
        .client
        .change(&fence(), Operation::PutListener(listener("g", agent.port)))
        .await
        .unwrap();
    let moved = free_port().await;
    agent
        .client
        .change(&fence(), Operation::PutListener(listener("g", moved)))
        .await
        .unwrap();
    assert!(
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, moved))
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_used_is_not_deleted_and_what_is_missing_is_not_used() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    let mut route = plain_route("web", &[&upstream]);
    agent.put(route.clone()).await;
    let delete = || Operation::DeleteListener {
        name: "g".to_owned(),
        drain_seconds: 0,
    };
    assert!(matches!(
        refusal(agent.client.change(&fence(), delete()).await),
        AgentError::InUse { .. }
    ));
    route.upstream = Upstream::Router { uid: "r".to_owned() };
    assert!(matches!(
        refusal(agent.client.put_route(&fence(), route.clone(), 0).await),
        AgentError::UnknownRouter { .. }
    ));
    route.gateway = "nowhere".to_owned();
    assert!(matches!(
        refusal(agent.client.put_route(&fence(), route, 0).await),
        AgentError::UnknownListener { .. }
    ));
    agent.client.delete_route(&fence(), "g", "web", 0).await.unwrap();
    agent.client.change(&fence(), delete()).await.unwrap();
    agent.client.change(&fence(), delete()).await.unwrap();
    assert!(
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, agent.port))
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_directory_has_one_agent_and_a_private_socket() {
    let agent = TestAgent::start().await;
    let socket = agent.path().join(SOCKET_NAME);
    assert_eq!(
        std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let second = serve(ServeOptions::new(agent.path()), std::future::pending()).await;
    assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    assert!(agent.client.status().await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_openmetrics_text() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    agent.put(plain_route("web", &[&upstream])).await;
    agent.request("GET", "/services/web/", "", "").await;
    let endpoint = gabion_host::transport::Endpoint::Unix(agent.path().join(SOCKET_NAME));
    let request = gabion_host::http::HttpRequest::get("/metrics");
    let answer = gabion_host::http::send(&gabion_host::transport::LocalTransport, &endpoint, request)
        .await
        .unwrap();
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(
        text.contains("gabion_gateway_requests_total{gateway=\"g\",service=\"web\"} 1"),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"));
}
