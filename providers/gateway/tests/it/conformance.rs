//! The suite that every provider runs. Each case has an agent of its own: an agent belongs to the first lineage it meets.

use std::sync::Arc;

use async_trait::async_trait;
use gabion_agent::client::{AgentClient, SOCKET_NAME};
use gabion_agent::protocol::{Fence, Listener, Operation};
use gabion_engine::provider::Provider;
use gabion_engine::value::{Attributes, Secret, Value};
use gabion_gateway::schema::{GATEWAY_CERTIFICATE, GATEWAY_LISTENER, GATEWAY_REPLICA, GATEWAY_ROUTE};
use gabion_host::transport::LocalTransport;
use gabion_testing::acme::{self, Authority};
use gabion_testing::conformance::{Case, Subject, violations};

use crate::harness::{Project, attributes, listener_inputs};

const SECRET: &str = "correct-horse-battery-staple-4471";

struct Gateway {
    project: Project,
    other: Project,
    third: Project,
    fourth: Project,
    /// Where this machine has one.
    authority: Option<Authority>,
}

impl Gateway {
    fn certificate(&self, authority: &Authority) -> Attributes {
        let root = std::fs::read_to_string(authority.root_certificate()).unwrap();
        attributes([
            ("agent", "fourth-unit".into()),
            ("gateway", "my-gateway".into()),
            ("host", "qwen.example.test".into()),
            ("address", "127.0.0.1".into()),
            ("directory", authority.directory_url().into()),
            ("root_certificate", root.into()),
            ("nameserver", authority.nameserver().to_string().into()),
            (
                "zone",
                Value::map([
                    ("name", Value::from("example.test")),
                    ("id", "Z1".into()),
                    ("name_servers", Value::List(vec!["ns-1.awsdns-01.com".into()])),
                ]),
            ),
        ])
    }

    async fn listen(&self, unit: &str, name: &str, http_port: Option<u16>) {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        drop(socket);
        let listener = Listener {
            name: name.to_owned(),
            address: address.ip(),
            port: address.port(),
            domain: None,
            http_port,
        };
        let fence = Fence {
            epoch: 1,
            operation: "prepare".to_owned(),
            lineage: None,
        };
        let socket = self.project.unit(unit).join(SOCKET_NAME);
        AgentClient::new(Arc::new(LocalTransport), socket)
            .change(&fence, Operation::PutListener(listener))
            .await
            .unwrap();
    }

    fn route(&self) -> Attributes {
        let token = Value::Secret(Secret::new(None, SECRET.into()));
        attributes([
            ("agent", "second-unit".into()),
            ("gateway", "my-gateway".into()),
            ("gateway_url", "http://127.0.0.1:18079".into()),
            ("service", "qwen".into()),
            ("path_prefix", "/services/qwen/".into()),
            ("model", "m".into()),
            ("auth", true.into()),
            ("tokens", Value::map([("ci", token)])),
            ("restricted", true.into()),
            (
                "replicas",
                Value::List(vec![Value::map([
                    ("name", Value::from("qwen/default/0")),
                    ("url", Value::from("http://127.0.0.1:20001")),
                ])]),
            ),
        ])
    }
}

fn replica() -> Attributes {
    attributes([
        ("agent", "third-unit".into()),
        ("gateway", "my-gateway".into()),
        ("service", "qwen".into()),
        ("name", "qwen/default/0".into()),
        ("url", "http://127.0.0.1:20001".into()),
        ("drain_timeout", Value::Int(1)),
    ])
}

fn with(mut inputs: Attributes, name: &str, value: Value) -> Attributes {
    inputs.insert(name.into(), value);
    inputs
}

#[async_trait]
impl Subject for Gateway {
    fn provider(&self) -> Arc<dyn Provider> {
        self.project.provider.clone()
    }

    async fn cases(&self) -> Vec<Case> {
        // The other agents are other processes as far as anybody can see; their directories are the first one's
        // neighbours.
        for (agent, unit) in [
            (&self.other, "second-unit"),
            (&self.third, "third-unit"),
            (&self.fourth, "fourth-unit"),
        ] {
            std::os::unix::fs::symlink(agent.unit("agent-unit"), self.project.unit(unit)).unwrap();
        }
        for name in ["my-gateway", "other-gateway"] {
            self.listen("second-unit", name, None).await;
        }
        let mut cases = vec![
            Case::new(GATEWAY_LISTENER, "my-gateway", listener_inputs())
                .update(with(listener_inputs(), "domain", "Example.com".into()))
                .replace(with(listener_inputs(), "name", "other".into())),
            Case::new(GATEWAY_ROUTE, "qwen", self.route())
                .update(with(self.route(), "model", "other".into()))
                .replace(with(self.route(), "gateway", "other-gateway".into()))
                .secret(SECRET),
            Case::new(GATEWAY_REPLICA, "qwen/default/0", replica())
                .update(with(replica(), "drain_timeout", Value::Int(5)))
                .replace(with(replica(), "url", "http://127.0.0.1:20002".into())),
        ];
        if let Some(authority) = &self.authority {
            let challenges = Some(authority.challenge_port());
            self.listen("fourth-unit", "my-gateway", challenges).await;
            let inputs = || self.certificate(authority);
            cases.push(
                Case::new(GATEWAY_CERTIFICATE, "my-gateway/qwen", inputs())
                    .update(with(inputs(), "email", "ops@example.test".into()))
                    .replace(with(inputs(), "host", "other.example.test".into())),
            );
        }
        cases
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_keeps_its_contract() {
    let subject = Gateway {
        project: Project::start().await,
        other: Project::start().await,
        third: Project::start().await,
        fourth: Project::start().await,
        authority: acme::is_there().then(authority),
    };
    let mut found = violations(&subject).await;
    if subject.authority.is_none() {
        found.retain(|line| line != "gateway_certificate: there is no case for this type");
    }
    assert!(
        found.is_empty(),
        "the provider violates its contract:\n{}",
        found.join("\n")
    );
}

/// Starts an authority that looks for its answers at a port where nobody listens yet, at names that lead to this machine.
fn authority() -> Authority {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    drop(socket);
    let authority = Authority::start(port).unwrap();
    for name in ["qwen.example.test", "other.example.test"] {
        authority.point(name, "127.0.0.1".parse().unwrap()).unwrap();
    }
    authority
}
