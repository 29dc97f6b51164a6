//! The engine's conformance suite over HTTP, against a real S3 server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gabion_engine::state::envelope::{Envelope, StoreKey};
use gabion_engine::state::{StateStore, StoreError};
use gabion_stores::object::{ObjectOptions, ObjectSettings, ObjectStateStore, Upkeep, open_with};
use gabion_testing::store_adopt::check_adoption;
use gabion_testing::store_conformance::{StorePlace, check_store, random_events_fold_the_same};
use gabion_testing::store_events::creation;

/// Returns the server's URL.
#[expect(
    clippy::disallowed_methods,
    reason = "the test command says where the server is"
)]
fn endpoint() -> String {
    match std::env::var("GABION_TEST_S3") {
        Ok(endpoint) => endpoint,
        Err(_) => panic!(
            "GABION_TEST_S3 is not set; run `cargo xtask test -p gabion-stores`, which starts the server"
        ),
    }
}

/// A bucket of its own.
struct Bucket {
    settings: ObjectSettings,
    options: ObjectOptions,
}

impl Bucket {
    fn new(upkeep: Upkeep) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let bucket = format!("gabion-{}-{number}", std::process::id());
        let endpoint = endpoint();
        let host = endpoint.trim_start_matches("http://").to_owned();
        let mut stream = TcpStream::connect(&host).expect("the server listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout can be set");
        write!(
            stream,
            "PUT /{bucket} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .expect("the server reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the server answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Self {
            settings: ObjectSettings {
                bucket,
                prefix: "team/state".to_owned(),
                region: None,
                endpoint: Some(endpoint),
                allow_http: false,
            },
            options: ObjectOptions {
                upkeep,
                ..ObjectOptions::default()
            },
        }
    }

    fn store(&self) -> ObjectStateStore {
        self.store_as(&|name: &str| match name {
            "AWS_ACCESS_KEY_ID" => Some("an-id".to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some("a-secret".to_owned()),
            _ => None,
        })
    }

    fn store_as(&self, environment: &dyn Fn(&str) -> Option<String>) -> ObjectStateStore {
        open_with(
            &self.settings,
            environment,
            "web",
            Some("staging"),
            self.options.clone(),
        )
        .expect("it is set up right")
    }
}

impl StorePlace for Bucket {
    fn open(&self) -> Arc<dyn StateStore> {
        Arc::new(self.store())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_contract_over_http() {
    check_store(|| Bucket::new(Upkeep::default())).await;
    check_adoption(|| Bucket::new(Upkeep::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upkeep_and_encryption_work_over_http() {
    let mut bucket = Bucket::new(Upkeep {
        fanout: 4,
        listed: 8,
        snapshot_after: 16 << 10,
        grace: Duration::ZERO,
        ..Upkeep::default()
    });
    bucket.options.envelope = Envelope::new(StoreKey::new([7; 32]), []);
    random_events_fold_the_same(&bucket, 1, 120).await;
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_named() {
    let mut bucket = Bucket::new(Upkeep::default());
    bucket.settings.bucket = "gabion-nobody-made-this".to_owned();
    let store = bucket.store();
    for error in [
        store.load().await.unwrap_err(),
        store.create(creation()).await.unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(
            matches!(error, StoreError::Io { .. }) && text.contains("the bucket does not exist"),
            "{text}"
        );
        assert!(
            text.contains("s3://gabion-nobody-made-this/team/state/web/staging"),
            "{text}"
        );
        assert!(!text.contains("a-secret"), "{text}");
    }
    assert!(!format!("{store:?} {}", store.location()).contains("an-id"));
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_an_error_in_time() {
    let mut bucket = Bucket::new(Upkeep::default());
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = silent.local_addr().expect("it has one");
    bucket.settings.endpoint = Some(format!("http://{address}"));
    bucket.options.timeout = Duration::from_millis(300);
    let error = bucket.store().load().await.unwrap_err();
    assert!(error.to_string().contains("no answer came"), "{error}");
}

#[tokio::test]
async fn missing_credentials_are_named() {
    let bucket = Bucket::new(Upkeep::default());
    // No instance has a role here: nothing listens on that port.
    let store = bucket.store_as(&|name| {
        (name == "AWS_EC2_METADATA_SERVICE_ENDPOINT").then(|| "http://127.0.0.1:1".to_owned())
    });
    let text = store.load().await.unwrap_err().to_string();
    assert!(
        text.contains("no credentials were found") && text.contains("AWS_ACCESS_KEY_ID"),
        "{text}"
    );
}
