//! The fake cloud as a process of its own: it keeps its objects whatever becomes of its clients.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use gabion_testing::fake::api::{
    AdminRequest, Answer, ApiRequest, ApiResponse, CloudClient, Dump, Marks, Settings, Verb,
};
use gabion_testing::fake::fault::{Fault, FaultRule};
use gabion_testing::fake::remote::RemoteCloud;

/// The process, ended when the test ends.
struct Cloud(Child);

impl Cloud {
    fn start(socket: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_gabion-fake-cloud"))
            .arg(socket)
            .arg("7")
            .spawn()
            .expect("the fake cloud starts");
        let cloud = Self(child);
        let end = Instant::now() + Duration::from_secs(20);
        while !socket.exists() {
            assert!(Instant::now() < end, "the fake cloud made no socket");
            std::thread::sleep(Duration::from_millis(5));
        }
        cloud
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // It may have ended by itself; it is gone either way.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn create(name: &str) -> ApiRequest {
    ApiRequest::Create {
        resource_type: "fake_machine".to_owned(),
        fields: serde_json::from_value(serde_json::json!({"name": name, "image": "one"}))
            .expect("fields are a map"),
        marks: Marks::default(),
        token: None,
    }
}

async fn tell(cloud: &RemoteCloud, request: AdminRequest) -> Option<Dump> {
    let answer = cloud.administer(request).await.expect("the cloud answers");
    answer.expect("the cloud obeys")
}

#[tokio::test]
async fn a_client_that_goes_away_takes_nothing_along() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let socket = directory.path().join("cloud");
    let _process = Cloud::start(&socket);
    let cloud = RemoteCloud::new(&socket);
    let settings = Settings {
        latency: Duration::from_millis(20),
        ..Settings::default()
    };
    tell(&cloud, AdminRequest::Settings(settings)).await;

    let answer = cloud.send(create("stays")).await;
    assert!(
        matches!(answer, Answer::Done(ApiResponse::Object(_))),
        "{answer:?}"
    );
    tell(
        &cloud,
        AdminRequest::Fault(FaultRule::next(Verb::Create, Fault::LoseResponse)),
    )
    .await;
    assert!(matches!(cloud.send(create("lost")).await, Answer::Lost));
    tell(
        &cloud,
        AdminRequest::Fault(FaultRule::next(Verb::Create, Fault::HangAfter)),
    )
    .await;
    let unheard = tokio::time::timeout(Duration::from_millis(500), cloud.send(create("unheard"))).await;
    assert!(unheard.is_err());

    let dump = tell(&cloud, AdminRequest::Dump)
        .await
        .expect("a dump is answered");
    let names: Vec<_> = dump
        .objects
        .iter()
        .map(|object| object.fields["name"].as_str())
        .collect();
    assert_eq!(names, [Some("stays"), Some("lost"), Some("unheard")]);
    assert_eq!(dump.calls["create fake_machine"], 3);
}

#[tokio::test]
async fn a_cloud_that_is_gone_is_a_lost_answer() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let cloud = RemoteCloud::new(directory.path().join("nowhere"));
    assert!(matches!(cloud.send(create("a")).await, Answer::Lost));
}
