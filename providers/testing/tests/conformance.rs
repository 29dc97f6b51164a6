//! The fake cloud's own provider passes the suite, in process and over a socket, in a world that is eventually
//! consistent and slow.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::provider::Provider;
use gabion_engine::value::{Attributes, Secret, Value};
use gabion_testing::conformance::{Case, Subject, check};
use gabion_testing::fake::api::{Answer, ApiRequest, ApiResponse, CloudClient, Fields, Marks, Verb};
use gabion_testing::fake::fault::{Fault, FaultRule};
use gabion_testing::fake::{FakeCloud, FakeProvider, remote};

struct Fake {
    cloud: FakeCloud,
    provider: Arc<FakeProvider>,
}

fn attributes<const N: usize>(entries: [(&str, Value); N]) -> Attributes {
    entries
        .into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect()
}

impl Fake {
    async fn prepare(&self, resource_type: &str, fields: serde_json::Value) -> Value {
        let fields: Fields = serde_json::from_value(fields).expect("fields are a map");
        let answer = self
            .cloud
            .send(ApiRequest::Create {
                resource_type: resource_type.to_owned(),
                fields,
                marks: Marks::default(),
                token: None,
            })
            .await;
        match answer {
            Answer::Done(ApiResponse::Object(object)) => Value::string(object.id),
            answer => panic!("{answer:?}"),
        }
    }
}

#[async_trait]
impl Subject for Fake {
    fn provider(&self) -> Arc<dyn Provider> {
        self.provider.clone()
    }

    async fn cases(&self) -> Vec<Case> {
        let network = self
            .prepare(
                "fake_network",
                serde_json::json!({"name": "n", "cidr": "10.0.0.0/16"}),
            )
            .await;
        let machine = self
            .prepare("fake_machine", serde_json::json!({"name": "m", "image": "i"}))
            .await;
        let disk = self
            .prepare("fake_disk", serde_json::json!({"name": "d", "size": 1}))
            .await;
        let secret = || Value::Secret(Secret::new(None, "correct-horse".into()));
        vec![
            Case::new(
                "fake_network",
                "a",
                attributes([("name", "a".into()), ("cidr", "10.1.0.0/16".into())]),
            )
            .update(attributes([
                ("name", "b".into()),
                ("cidr", "10.1.0.0/16".into()),
                ("tags", Value::map([("k", "v".into())])),
            ]))
            .replace(attributes([("name", "a".into()), ("cidr", "10.2.0.0/16".into())])),
            Case::new(
                "fake_disk",
                "a",
                attributes([
                    ("name", "a".into()),
                    ("size", Value::Int(10)),
                    ("passphrase", secret()),
                ]),
            )
            .update(attributes([
                ("name", "a".into()),
                ("size", Value::Int(20)),
                ("passphrase", secret()),
            ]))
            .replace(attributes([
                ("name", "a".into()),
                ("size", Value::Int(5)),
                ("passphrase", secret()),
            ]))
            .secret("correct-horse"),
            Case::new(
                "fake_machine",
                "a",
                attributes([
                    ("name", "a".into()),
                    ("image", "one".into()),
                    ("network", network.clone()),
                    ("disks", Value::List(vec![disk])),
                    ("user_data", secret()),
                ]),
            )
            .update(attributes([
                ("name", "a".into()),
                ("image", "one".into()),
                ("network", network),
                ("size", "big".into()),
            ]))
            .replace(attributes([("name", "a".into()), ("image", "two".into())]))
            .secret("correct-horse"),
            Case::new(
                "fake_address",
                "a",
                attributes([("name", "a".into()), ("ip", "1.2.3.4".into())]),
            )
            .update(attributes([
                ("name", "a".into()),
                ("ip", "1.2.3.4".into()),
                ("machine", machine.clone()),
            ]))
            .replace(attributes([("name", "a".into()), ("ip", "1.2.3.5".into())])),
            Case::new(
                "fake_record",
                "a",
                attributes([
                    ("name", "a.example".into()),
                    ("values", Value::List(vec!["1.2.3.4".into()])),
                ]),
            )
            .update(attributes([
                ("name", "A.example".into()),
                ("values", Value::List(vec!["1.2.3.5".into(), "1.2.3.4".into()])),
                ("ttl", Value::Int(60)),
            ]))
            .replace(attributes([
                ("name", "b.example".into()),
                ("values", Value::List(vec!["1.2.3.4".into()])),
            ])),
            Case::new(
                "fake_membership",
                "a",
                attributes([("router", machine.clone()), ("member", "1.2.3.4".into())]),
            )
            .update(attributes([
                ("router", machine.clone()),
                ("member", "1.2.3.4".into()),
                ("weight", Value::Int(2)),
            ]))
            .replace(attributes([("router", machine), ("member", "1.2.3.5".into())])),
        ]
    }

    async fn lose_next_answer(&self) -> bool {
        self.cloud
            .fault(FaultRule::next(Verb::Create, Fault::LoseResponse));
        true
    }
}

fn cloud() -> FakeCloud {
    let cloud = FakeCloud::new(7);
    cloud.configure(|settings| settings.consistency = Duration::from_secs(8));
    cloud
}

#[tokio::test(start_paused = true)]
async fn the_fake_provider_passes_in_process() {
    let cloud = cloud();
    let provider = Arc::new(cloud.provider());
    check(&Fake { cloud, provider }).await;
}

#[tokio::test]
async fn the_fake_provider_passes_over_a_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("cloud");
    let cloud = FakeCloud::new(7);
    cloud.configure(|settings| {
        settings.latency = Duration::ZERO;
        settings.boot = Duration::ZERO;
    });
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let server = tokio::spawn(remote::serve(listener, cloud.clone()));
    let client = remote::RemoteCloud::new(&socket);
    let provider = Arc::new(FakeProvider::new(Arc::new(client)));
    let request = gabion_engine::provider::ReadRequest {
        resource_type: gabion_engine::address::ResourceType::new("fake_disk").unwrap(),
        objects: Vec::new(),
    };
    assert_eq!(provider.read(request).await.unwrap(), []);
    let create = ApiRequest::Create {
        resource_type: "fake_disk".to_owned(),
        fields: serde_json::from_value(serde_json::json!({"name": "d", "size": 1})).unwrap(),
        marks: Marks::default(),
        token: None,
    };
    cloud.fault(FaultRule::next(Verb::Create, Fault::LoseResponse));
    let client = remote::RemoteCloud::new(&socket);
    assert!(matches!(client.send(create.clone()).await, Answer::Lost));
    assert!(matches!(
        client.send(create).await,
        Answer::Done(ApiResponse::Object(_))
    ));
    let dump = client
        .administer(gabion_testing::fake::api::AdminRequest::Dump)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(dump.objects.len(), 2);
    server.abort();
}
