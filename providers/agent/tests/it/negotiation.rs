//! Agents and clients of different versions.

use std::sync::{Arc, Mutex};

use gabion_agent::access::provider_error;
use gabion_agent::client::{AgentClient, ClientError, SOCKET_NAME};
use gabion_agent::protocol::{AgentError, Flavour, OLDEST_PROTOCOL, Operation, PROTOCOL_VERSION, Router};
use gabion_host::http::{HttpRequest, send};
use gabion_host::transport::{Endpoint, LocalTransport};
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::harness::{TestAgent, fence};

/// An agent of another version: it speaks one protocol, knows nothing, and keeps what it was asked.
struct OtherAgent {
    client: AgentClient,
    asked: Arc<Mutex<Vec<Value>>>,
    _directory: tempfile::TempDir,
}

impl OtherAgent {
    fn speaking(protocol: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(SOCKET_NAME);
        let socket = UnixListener::bind(&path).unwrap();
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                answer(stream, protocol, &heard).await;
            }
        });
        Self {
            client: AgentClient::new(Arc::new(LocalTransport), path).on("edge/10.0.0.7"),
            asked,
            _directory: directory,
        }
    }

    fn protocols(&self) -> Vec<u64> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .map(|asked| asked["protocol"].as_u64().unwrap())
            .collect()
    }
}

async fn answer(mut stream: UnixStream, protocol: u32, heard: &Mutex<Vec<Value>>) {
    let mut bytes = Vec::new();
    let request = loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.unwrap();
        assert!(count > 0, "the client broke off");
        bytes.extend_from_slice(&piece[..count]);
        let body = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let body = body.map(|end| &bytes[end + 4..]);
        if let Some(request) = body.and_then(|body| serde_json::from_slice::<Value>(body).ok()) {
            break request;
        }
    };
    let given = request["protocol"].clone();
    heard.lock().unwrap().push(request);
    let reply = if given == protocol {
        json!({"ok": {"listeners": []}})
    } else {
        json!({"error": {"kind": "protocol", "supported": protocol, "given": given}})
    };
    let body = reply.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
}

#[tokio::test]
async fn an_agent_of_the_version_before_is_spoken_with_in_its_own() {
    let agent = OtherAgent::speaking(PROTOCOL_VERSION - 1);
    assert!(agent.client.listeners().await.unwrap().is_empty());
    assert!(agent.client.listeners().await.unwrap().is_empty());
    // What it speaks is found out once.
    let (newest, before) = (u64::from(PROTOCOL_VERSION), u64::from(PROTOCOL_VERSION - 1));
    assert_eq!(agent.protocols(), [newest, before, before]);

    // What only a newer one knows it is asked as such: it may have been upgraded since.
    let newest_only = Operation::PutRouter(Router {
        uid: "r1".to_owned(),
        address: "host_unit.my-gateway/router/qwen".to_owned(),
        host: "127.0.0.1".to_owned(),
        port: 21_000,
        flavour: Flavour::VllmRouter,
        unit_directory: None,
    });
    assert_eq!(newest_only.since(), PROTOCOL_VERSION);
    let refused = agent.client.change(&fence(), newest_only).await.unwrap_err();
    assert!(
        matches!(
            refused,
            ClientError::TooOld {
                needed: PROTOCOL_VERSION,
                ..
            }
        ),
        "{refused:?}"
    );
    assert_eq!(agent.protocols(), [newest, before, before, newest]);
    let hint = provider_error(&refused).hint.unwrap();
    assert!(
        hint.contains("gabion apply --replace host_unit.agent/edge/10.0.0.7"),
        "{hint}"
    );
}

#[tokio::test]
async fn an_agent_that_is_too_old_or_too_new_is_an_error_with_the_way_out() {
    let old = OtherAgent::speaking(OLDEST_PROTOCOL - 1);
    let refused = old.client.listeners().await.unwrap_err();
    assert!(
        matches!(
            refused,
            ClientError::TooOld {
                agent: 0,
                needed: OLDEST_PROTOCOL,
                ..
            }
        ),
        "{refused:?}"
    );
    assert!(provider_error(&refused).hint.unwrap().contains("--replace"));

    let new = OtherAgent::speaking(PROTOCOL_VERSION + 1);
    let refused = new.client.listeners().await.unwrap_err();
    assert!(
        matches!(refused, ClientError::TooNew { agent } if agent == PROTOCOL_VERSION + 1),
        "{refused:?}"
    );
    assert!(provider_error(&refused).hint.unwrap().contains("newer gabion"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_answers_the_version_before_and_refuses_others_with_what_it_speaks() {
    let agent = TestAgent::start().await;
    let ask = async |protocol: u32| {
        let request = HttpRequest::new(Method::POST, "/admin")
            .json(&json!({"protocol": protocol, "operation": "list_listeners"}));
        let endpoint = Endpoint::Unix(agent.path().join(SOCKET_NAME));
        let answer = send(&LocalTransport, &endpoint, request).await.unwrap();
        answer.json::<Value>().unwrap()
    };
    for spoken in [PROTOCOL_VERSION, PROTOCOL_VERSION - 1] {
        let answer = ask(spoken).await;
        assert_eq!(answer["ok"]["listeners"].as_array().unwrap().len(), 1, "{answer}");
    }
    for other in [OLDEST_PROTOCOL - 1, PROTOCOL_VERSION + 1] {
        let refusal: AgentError = serde_json::from_value(ask(other).await["error"].take()).unwrap();
        assert_eq!(
            refusal,
            AgentError::Protocol {
                supported: PROTOCOL_VERSION,
                given: other
            }
        );
    }
}
