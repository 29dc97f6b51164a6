//! Routers, their workers, and what the keeper does for them.
//!
//! The router here is a small one that forgets everything when it is restarted, as real ones do. Its process is a
//! `sleep` that the test starts, so that marks name something that lives and dies.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use gabion_agent::client::{ClientError, Departure};
use gabion_agent::protocol::{
    AgentError, DrainBasis, Flavour, Member, Operation, Router, RouterDeparture, RouterState, Upstream,
    WorkerType,
};
use gabion_host::process::ProcessStat;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::{Behaviour, TestAgent, TestUpstream, eventually, fence, free_port, model_route};

/// A router with `smg`'s worker API and nothing behind it: it answers inference requests itself.
struct FakeRouter {
    port: u16,
    unit: PathBuf,
    workers: Arc<Mutex<Vec<Value>>>,
    /// Answers `/metrics` of a worker with this; `None` is 404.
    load: Arc<Mutex<Option<u64>>>,
    /// How often that was asked for.
    asked: Arc<AtomicUsize>,
    task: Option<JoinHandle<()>>,
    process: Option<Child>,
    generation: u64,
}

impl Drop for FakeRouter {
    fn drop(&mut self) {
        self.kill();
    }
}

impl FakeRouter {
    async fn start(directory: &Path) -> Self {
        let unit = directory.join("router-unit");
        std::fs::create_dir(&unit).unwrap();
        let mut router = Self {
            port: free_port().await,
            unit,
            workers: Arc::default(),
            load: Arc::default(),
            asked: Arc::default(),
            task: None,
            process: None,
            generation: 0,
        };
        router.launch().await;
        router
    }

    fn kill(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        self.workers.lock().unwrap().clear();
    }

    async fn launch(&mut self) {
        let process = Command::new("sleep").arg("600").spawn().unwrap();
        let stat = ProcessStat::read(i32::try_from(process.id()).unwrap()).unwrap();
        self.process = Some(process);
        self.generation += 1;
        let mark = json!({
            "format": 1, "uid": "r", "operation": "op", "epoch": 1, "pid": stat.pid, "start_time": stat.start_time,
            "boot_id": gabion_host::process::boot_id().unwrap(), "launched": "",
        });
        gabion_host::durable::write_atomic(&self.unit.join("mark.json"), mark.to_string().as_bytes(), 0o600)
            .unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let socket = eventually("the router's port", || async {
            tokio::net::TcpListener::bind(address).await.ok()
        })
        .await;
        let shared = Shared {
            workers: Arc::clone(&self.workers),
            load: Arc::clone(&self.load),
            asked: Arc::clone(&self.asked),
            generation: self.generation,
        };
        self.task = Some(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let shared = shared.clone();
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let shared = shared.clone();
                        async move { Ok::<_, Infallible>(route(request, &shared).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        }));
    }

    fn names(&self) -> Vec<String> {
        let workers = self.workers.lock().unwrap();
        let mut names: Vec<String> = workers
            .iter()
            .map(|worker| worker["labels"]["gabion/worker"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    fn describe(&self) -> Router {
        Router {
            uid: "r".to_owned(),
            address: "host_unit.g/router/qwen".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: self.port,
            flavour: Flavour::Smg,
            unit_directory: Some(self.unit.clone()),
        }
    }
}

#[derive(Clone)]
struct Shared {
    workers: Arc<Mutex<Vec<Value>>>,
    load: Arc<Mutex<Option<u64>>>,
    asked: Arc<AtomicUsize>,
    generation: u64,
}

async fn route(request: Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    let generation = shared.generation;
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let answer = |status: u16, body: Value| {
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    };
    let mut workers = shared.workers.lock().unwrap();
    match (&method, path.as_str()) {
        (&Method::GET, "/liveness") => answer(200, json!("ok")),
        (&Method::GET, "/readiness") => answer(if workers.is_empty() { 503 } else { 200 }, json!({})),
        (&Method::GET, "/workers") => answer(200, json!({"workers": *workers, "total": workers.len()})),
        (&Method::POST, "/workers") => {
            let mut worker: Value = serde_json::from_slice(&body).unwrap();
            if workers.iter().any(|known| known["url"] == worker["url"]) {
                return answer(409, json!({"code": "WORKER_ALREADY_EXISTS"}));
            }
            if worker["url"].as_str().unwrap().ends_with(":1") {
                return answer(202, json!({"status": "accepted", "worker_id": "unreachable"}));
            }
            let id = format!("{generation}-{}", workers.len());
            worker["id"] = json!(id);
            worker["is_healthy"] = json!(true);
            worker["status"] = json!("ready");
            workers.push(worker);
            answer(202, json!({"status": "accepted", "worker_id": id}))
        }
        (&Method::GET, "/workers/unreachable") => answer(
            200,
            json!({"job_status": {"status": "failed", "message": "connection refused"}}),
        ),
        (&Method::DELETE, path) => {
            let id = path.rsplit('/').next().unwrap();
            workers.retain(|worker| worker["id"] != id);
            answer(202, json!({}))
        }
        (&Method::GET, "/metrics") => match *shared.load.lock().unwrap() {
            Some(load) => {
                shared.asked.fetch_add(1, Ordering::Relaxed);
                let text = format!("sglang:num_running_reqs {load}.0\nsglang:num_queue_reqs 0.0\n");
                Response::new(Full::new(Bytes::from(text)))
            }
            None => answer(404, json!({})),
        },
        _ if workers.is_empty() => answer(503, json!({"error": "no workers"})),
        _ => answer(200, json!({"via": "router"})),
    }
}

fn member(name: &str, url: &str) -> Member {
    Member {
        router: "r".to_owned(),
        name: name.to_owned(),
        url: url.to_owned(),
        worker_type: WorkerType::Regular,
        bootstrap_port: None,
        model_id: Some("m".to_owned()),
        labels: Default::default(),
    }
}

fn departure(name: &str, drain_seconds: u32) -> Departure {
    Departure {
        router: "r".to_owned(),
        name: name.to_owned(),
        url: None,
        timeout_seconds: 5,
        drain_seconds,
    }
}

async fn state(agent: &TestAgent) -> RouterState {
    agent.client.status().await.unwrap().router_states["r"]
}

/// An agent, a router with one worker, and the worker.
async fn with_router() -> (TestAgent, FakeRouter, TestUpstream) {
    let agent = TestAgent::start().await;
    let router = FakeRouter::start(agent.path()).await;
    let worker = TestUpstream::start("worker", Behaviour::Name).await;
    agent
        .client
        .change(&fence(), Operation::PutRouter(router.describe()))
        .await
        .unwrap();
    let registered = agent
        .client
        .register(&fence(), member("q/0", &format!("http://{}/", worker.address)), 5)
        .await
        .unwrap();
    assert!(registered.healthy);
    let mut route = model_route("qwen", "m", &[]);
    route.upstream = Upstream::Router { uid: "r".to_owned() };
    agent.put(route).await;
    (agent, router, worker)
}

async fn chat(agent: &TestAgent) -> (u16, String) {
    agent
        .request("POST", "/v1/chat/completions", "", r#"{"model":"m"}"#)
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_router_gets_its_workers_back_and_requests_go_around_it_meanwhile() {
    let (agent, mut router, worker) = with_router().await;
    assert_eq!(chat(&agent).await, (200, "{\"via\":\"router\"}".to_owned()));
    router.kill();
    for _ in 0..5 {
        assert_eq!(chat(&agent).await, (200, "worker".to_owned()));
    }
    eventually("the router's death to be seen", || async {
        (state(&agent).await == RouterState::Down).then_some(())
    })
    .await;
    let down = agent.client.workers("r").await;
    assert!(
        matches!(down, Err(ClientError::Refused(AgentError::RouterDown { .. }))),
        "{down:?}"
    );
    router.launch().await;
    // From its first moment on an empty router must not be used.
    eventually("its workers", || async {
        let (status, body) = chat(&agent).await;
        assert_eq!(status, 200, "{body}");
        body.contains("router").then_some(())
    })
    .await;
    assert_eq!(router.names(), ["q/0"]);
    assert!(!worker.seen().is_empty());
    assert!(agent.client.snapshot().await.unwrap().gateways["g"]["qwen"].direct >= 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_restarted_while_the_agent_was_away_is_filled_too() {
    let (mut agent, mut router, _worker) = with_router().await;
    eventually("readiness", || async {
        (state(&agent).await == RouterState::Ready).then_some(())
    })
    .await;
    let stopped = agent.begin_stop();
    stopped.await.unwrap().unwrap();
    router.kill();
    router.launch().await;
    agent.start_again().await;
    eventually("its workers", || async {
        (router.names() == ["q/0"]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_removed_from_a_running_router_stays_removed() {
    let (mut agent, router, _worker) = with_router().await;
    eventually("readiness", || async {
        (state(&agent).await == RouterState::Ready).then_some(())
    })
    .await;
    router.workers.lock().unwrap().clear();
    // The keeper has looked again once it reports the router as not ready; and so has a new agent.
    for _ in 0..2 {
        eventually("a look", || async {
            (state(&agent).await == RouterState::NotReady).then_some(())
        })
        .await;
        assert!(router.names().is_empty());
        assert_eq!(agent.client.workers("r").await.unwrap(), []);
        assert_eq!(agent.client.members(Some("r")).await.unwrap().len(), 1);
        agent.restart().await;
    }
    // Apply puts it back.
    let url = agent.client.members(None).await.unwrap()[0].object.url.clone();
    agent
        .client
        .register(&fence(), member("q/0", &url), 5)
        .await
        .unwrap();
    assert_eq!(router.names(), ["q/0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registering_is_idempotent_and_repairs_labels() {
    let (agent, router, worker) = with_router().await;
    let url = format!("HTTP://{}", worker.address);
    let first = agent.client.workers("r").await.unwrap().remove(0);
    let again = agent
        .client
        .register(&fence(), member("q/0", &url), 5)
        .await
        .unwrap();
    assert_eq!(again, first);
    router.workers.lock().unwrap()[0]["labels"] = json!({"gabion/worker": "somebody"});
    let repaired = agent
        .client
        .register(&fence(), member("q/0", &url), 5)
        .await
        .unwrap();
    assert_eq!(repaired.labels["gabion/worker"], "q/0");
    let failed = agent
        .client
        .register(&fence(), member("q/1", "http://127.0.0.1:1"), 5)
        .await;
    match failed {
        Err(ClientError::Refused(AgentError::RouterRefused { worker, reason, .. })) => {
            assert_eq!((worker.as_str(), reason.as_str()), ("q/1", "connection refused"));
        }
        other => panic!("{other:?}"),
    }
    let no_port = Member {
        worker_type: WorkerType::Prefill,
        ..member("q/2", &url)
    };
    assert!(matches!(
        agent.client.register(&fence(), no_port, 5).await,
        Err(ClientError::Refused(AgentError::Invalid { .. }))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_leaves_without_the_successor_that_has_its_name() {
    let (agent, router, worker) = with_router().await;
    let old = format!("http://{}", worker.address);
    let successor = TestUpstream::start("successor", Behaviour::Name).await;
    let new = format!("http://{}", successor.address);
    agent
        .client
        .register(&fence(), member("q/0", &new), 5)
        .await
        .unwrap();
    assert_eq!(router.names(), ["q/0", "q/0"]);
    let leaving = Departure {
        url: Some(format!("{old}/")),
        ..departure("q/0", 1)
    };
    let report = agent.client.deregister(&fence(), leaving).await.unwrap();
    assert_eq!(report.router, RouterDeparture::Removed);
    let left = agent.client.workers("r").await.unwrap();
    assert_eq!(left.iter().map(|worker| &worker.url).collect::<Vec<_>>(), [&new]);
    assert_eq!(agent.client.members(Some("r")).await.unwrap()[0].object.url, new);
    // By its own URL it goes altogether.
    let leaving = Departure {
        url: Some(new),
        ..departure("q/0", 1)
    };
    agent.client.deregister(&fence(), leaving).await.unwrap();
    assert!(agent.client.members(Some("r")).await.unwrap().is_empty());
    assert!(router.names().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaving_worker_is_waited_for_by_its_own_count() {
    let (agent, router, _worker) = with_router().await;
    // This worker is served by the router's port, so that its load can be set.
    let url = format!("http://127.0.0.1:{}", router.port);
    agent
        .client
        .register(&fence(), member("q/1", &url), 5)
        .await
        .unwrap();
    *router.load.lock().unwrap() = Some(2);
    let client = agent.client.clone();
    let leaving =
        tokio::spawn(async move { client.deregister(&fence(), departure("q/1", 20)).await.unwrap() });
    eventually("the removal", || async {
        (router.names() == ["q/0"]).then_some(())
    })
    .await;
    let asked = router.asked.load(Ordering::Relaxed);
    eventually("more questions", || async {
        (router.asked.load(Ordering::Relaxed) > asked + 3).then_some(())
    })
    .await;
    assert!(!leaving.is_finished());
    *router.load.lock().unwrap() = Some(0);
    let report = leaving.await.unwrap();
    assert_eq!(
        (report.router, report.basis, report.drained),
        (RouterDeparture::Removed, DrainBasis::WorkerLoad, true)
    );
    // A deadline is kept, and what was left is told.
    agent
        .client
        .register(&fence(), member("q/1", &url), 5)
        .await
        .unwrap();
    *router.load.lock().unwrap() = Some(3);
    let report = agent
        .client
        .deregister(&fence(), departure("q/1", 1))
        .await
        .unwrap();
    assert_eq!((report.drained, report.remaining), (false, Some(3)));
    let report = agent
        .client
        .deregister(&fence(), departure("q/1", 1))
        .await
        .unwrap();
    assert_eq!((report.router, report.drained), (RouterDeparture::Absent, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_tells_no_load_is_waited_for_by_what_the_gateway_knows() {
    let (agent, mut router, worker) = with_router().await;
    let report = agent
        .client
        .deregister(&fence(), departure("q/0", 5))
        .await
        .unwrap();
    assert_eq!((report.basis, report.drained), (DrainBasis::InFlight, true));
    let url = format!("http://{}", worker.address);
    drop(worker);
    agent
        .client
        .change(&fence(), Operation::PutMember(member("q/0", &url)))
        .await
        .unwrap();
    router.kill();
    let report = agent
        .client
        .deregister(&fence(), departure("q/0", 5))
        .await
        .unwrap();
    assert_eq!(
        (report.router, report.basis),
        (RouterDeparture::RouterDown, DrainBasis::WorkerGone)
    );
    assert_eq!(agent.client.members(None).await.unwrap(), []);
    // A worker that left while its router was down does not come back with it.
    router.launch().await;
    eventually("the router's return", || async {
        (state(&agent).await == RouterState::NotReady).then_some(())
    })
    .await;
    assert!(router.names().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_goes_with_its_members_and_not_before_its_routes() {
    let (agent, _router, _worker) = with_router().await;
    let delete = || Operation::DeleteRouter { uid: "r".to_owned() };
    let refused = agent.client.change(&fence(), delete()).await;
    assert!(
        matches!(refused, Err(ClientError::Refused(AgentError::InUse { .. }))),
        "{refused:?}"
    );
    agent.client.delete_route(&fence(), "g", "qwen", 0).await.unwrap();
    agent.client.change(&fence(), delete()).await.unwrap();
    agent.client.change(&fence(), delete()).await.unwrap();
    assert_eq!(agent.client.members(None).await.unwrap(), []);
    assert_eq!(agent.client.routers().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn split_workers_are_never_asked_directly() {
    let (agent, mut router, worker) = with_router().await;
    let prefill = Member {
        worker_type: WorkerType::Prefill,
        bootstrap_port: Some(8998),
        ..member("p/0", &format!("http://127.0.0.1:{}", free_port().await))
    };
    agent
        .client
        .change(&fence(), Operation::PutMember(prefill))
        .await
        .unwrap();
    router.kill();
    let (status, body) = chat(&agent).await;
    assert_eq!(status, 503, "{body}");
    // All that it was asked is what it is, when it was registered.
    let asked = worker.seen();
    assert!(
        asked.iter().all(|seen| seen.line().contains("server_info")),
        "{asked:?}"
    );
}
