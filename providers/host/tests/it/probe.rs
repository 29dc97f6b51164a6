//! Waiting for a real program to be ready.

use std::time::{Duration, Instant};

use gabion_host::probe::{NotReady, Probe, wait_ready};
use gabion_host::transport::{Endpoint, LocalTransport};
use gabion_host::unit::{EnvValue, Exit, UnitDirectory};

use crate::support::{Root, launch, shell, with_env};

/// Serves `GET /health`: 503 for the first `UNREADY` requests, then 200.
const SERVER: &str = r#"
import http.server, os
left = int(os.environ["UNREADY"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global left
        left -= 1
        self.send_response(200 if left < 0 else 503)
        self.end_headers()
        self.wfile.write(b"warming up")
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

async fn serve(root: &Root, unready: u32) -> (UnitDirectory, Endpoint) {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut spec = shell("a", "exec python3 server.py");
    spec.files.insert("server.py".to_owned(), SERVER.to_owned());
    spec.ports.insert("http".to_owned(), port);
    let spec = with_env(spec, "PORT", EnvValue::Plain("{ports.http}".to_owned()));
    let spec = with_env(spec, "UNREADY", EnvValue::Plain(unready.to_string()));
    let directory = root.write(&spec);
    launch(&directory, 1).await.unwrap();
    (directory, Endpoint::loopback(port))
}

fn health(ready_after: u32) -> Vec<Probe> {
    let mut probe = Probe::get("/health");
    probe.interval = Duration::from_millis(50);
    probe.ready_after = ready_after;
    vec![probe]
}

#[tokio::test]
async fn a_program_is_ready_when_its_probe_passed_often_enough() {
    let root = Root::new();
    let (directory, endpoint) = serve(&root, 3).await;
    wait_ready(
        &LocalTransport,
        &endpoint,
        &health(2),
        &directory,
        Duration::from_secs(30),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_probe_that_never_passes_fails_at_the_deadline_with_the_log() {
    let root = Root::new();
    let (directory, endpoint) = serve(&root, 1_000_000).await;
    wait_ready(
        &LocalTransport,
        &endpoint,
        &[Probe::connect()],
        &directory,
        Duration::from_secs(30),
    )
    .await
    .unwrap();
    let begun = Instant::now();
    let error = wait_ready(
        &LocalTransport,
        &endpoint,
        &health(1),
        &directory,
        Duration::from_secs(1),
    )
    .await
    .unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(6));
    let NotReady::Deadline {
        probe, reason, log, ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(probe, "GET /health");
    assert_eq!(reason, "status 503 Service Unavailable: warming up");
    assert!(log.contains("\"GET /health HTTP/1.1\" 503"), "{log}");
    assert!(
        error.to_string().contains("\nlast lines of its log:\n  | "),
        "{error}"
    );
}

#[tokio::test]
async fn a_program_that_ends_fails_at_once_with_its_exit_and_log() {
    let root = Root::new();
    let directory = root.run("a", "echo no GPU found; exit 7").await;
    let begun = Instant::now();
    let error = wait_ready(
        &LocalTransport,
        &Endpoint::loopback(1),
        &health(1),
        &directory,
        Duration::from_secs(600),
    )
    .await
    .unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(20));
    let expected = NotReady::Exited {
        exit: Some(Exit {
            code: Some(7),
            signal: None,
        }),
        log: "no GPU found\n".to_owned(),
    };
    assert_eq!(error, expected);
    assert_eq!(
        error.to_string(),
        "the program ended before it was ready (exit code 7)\nlast lines of its log:\n  | no GPU found"
    );
}

#[tokio::test]
async fn a_program_without_probes_is_ready_when_it_runs() {
    let root = Root::new();
    let directory = root.run("a", "exec sleep 600").await;
    wait_ready(
        &LocalTransport,
        &Endpoint::loopback(1),
        &[],
        &directory,
        Duration::from_secs(5),
    )
    .await
    .unwrap();
}
