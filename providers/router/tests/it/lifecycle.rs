//! Workers come, change and go while requests run.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gabion_engine::address::ObjectId;
use gabion_engine::provider::{Effect, ErrorClass, Observation, Provider, ReadOutcome, ValidateRequest};
use gabion_engine::value::{Attributes, Value};
use tokio::time::Instant;

use crate::engine::{Engine, Stream};
use crate::harness::{PATIENCE, Project, address, eventually, labels, with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_labels_are_updated_in_place() {
    let (project, engine) = (Project::start().await, Engine::start().await);
    let worker = project.create(&project.inputs(&engine.url())).await.unwrap();
    assert_eq!(worker.id, Some(ObjectId::new("router-unit/qwen/default/0")));
    assert_eq!(
        *project.sink.checkpoints.lock().unwrap(),
        [worker.id.clone().unwrap()]
    );
    let inputs = with(worker.inputs.clone(), "labels", labels("green"));
    let updated = project.update(&worker, &inputs).await.unwrap();
    assert_eq!(updated.id, worker.id);
    project.assert_settled(&updated).await;
    let workers = project.router.workers().await;
    assert_eq!(workers.len(), 1);
    assert_eq!(workers[0]["labels"]["colour"], "green");
    assert_eq!(workers[0]["labels"]["gabion/worker"], "qwen/default/0");
    for (name, value) in [
        ("url", Value::from("http://127.0.0.1:1")),
        ("name", "other".into()),
        ("router", "other".into()),
        ("worker_type", "decode".into()),
    ] {
        let response = project.plan(&with(inputs.clone(), name, value), Some(&updated));
        assert_eq!(response.replace.len(), 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_lets_a_running_stream_finish() {
    let project = Project::start().await;
    let engine = Engine::with(0, &["--itl-ms", "50"]).await;
    let worker = project.create(&project.inputs(&engine.url())).await.unwrap();
    let stream = Stream::begin(project.router.port, 200).await;
    let begun = Instant::now();
    let complete = tokio::spawn(async move { (stream.ends_well().await, Instant::now()) });
    project.delete(&worker).await.unwrap();
    let deleted = Instant::now();
    let (complete, ended) = tokio::time::timeout(PATIENCE, complete).await.unwrap().unwrap();
    assert!(complete, "the stream was cut");
    assert!(
        ended <= deleted,
        "the deletion was done {:?} before the stream",
        ended - deleted
    );
    assert!(
        ended - begun > Duration::from_secs(5),
        "the stream was too short to tell anything"
    );
    assert_eq!(*project.sink.phases.lock().unwrap(), ["register", "drain"]);
    assert!(project.router.workers().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_waits_no_longer_than_it_is_told() {
    let project = Project::start().await;
    let engine = Engine::with(0, &["--itl-ms", "50"]).await;
    let inputs = with(project.inputs(&engine.url()), "drain_timeout", Value::Int(1));
    let worker = project.create(&inputs).await.unwrap();
    let mut stream = Stream::begin(project.router.port, 1000).await;
    let begun = Instant::now();
    project.delete(&worker).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(stream.is_running().await, "the stream was cut");
    let phases = project.sink.phases.lock().unwrap().clone();
    assert_eq!(phases, ["register", "drain", "not drained: 1 request still runs"]);
    assert_eq!(project.read(&worker).await, ReadOutcome::Absent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_never_gets_healthy_fails_in_time_and_succeeds_later() {
    let project = Project::start().await;
    let engine = Engine::with(0, &["--startup-s", "3600"]).await;
    let port = engine.port;
    let inputs = with(project.inputs(&engine.url()), "ready_timeout", Value::Int(3));
    let begun = Instant::now();
    let error = project.create(&inputs).await.unwrap_err();
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(3) && took < Duration::from_secs(20),
        "{took:?}"
    );
    assert_eq!(error.effect, Effect::Partial);
    assert_eq!(
        error.message,
        "Router router_worker.qwen/default/0 did not register worker qwen/default/0 within 3 s: \
         the router is still connecting to it."
    );
    // There is something to find from the checkpoint on.
    assert_eq!(project.sink.checkpoints.lock().unwrap().len(), 1);
    engine.kill().await;
    let _engine = Engine::with(port, &[]).await;
    let worker = project
        .create(&with(inputs, "ready_timeout", Value::Int(60)))
        .await
        .unwrap();
    project.assert_settled(&worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_under_the_same_name_stays_when_the_old_worker_leaves() {
    let (mut project, old, new) = (
        Project::start().await,
        Engine::start().await,
        Engine::start().await,
    );
    let replaced = project.create(&project.inputs(&old.url())).await.unwrap();
    let successor = project.create(&project.inputs(&new.url())).await.unwrap();
    project.assert_settled(&successor).await;
    project.assert_settled(&replaced).await;
    assert_eq!(project.router.workers().await.len(), 2);
    project.delete(&replaced).await.unwrap();
    assert_eq!(project.read(&replaced).await, ReadOutcome::Absent);
    project.assert_settled(&successor).await;
    // Without agent and router it is the same: only the old one is deleted, and the router that is back gets the other.
    project.create(&project.inputs(&old.url())).await.unwrap();
    project.create(&project.inputs(&new.url())).await.unwrap();
    project.router.kill().await;
    project.stop_agent().await;
    project.delete(&replaced).await.unwrap();
    project.start_agent().await;
    assert!(project.router.launch().await);
    eventually("the return of the successor", || async {
        matches!(project.read(&successor).await, ReadOutcome::Present(_)).then_some(())
    })
    .await;
    assert_eq!(project.read(&replaced).await, ReadOutcome::Absent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_found_by_its_intent_needs_nothing_more() {
    let (project, engine) = (Project::start().await, Engine::start().await);
    let worker = project.create(&project.inputs(&engine.url())).await.unwrap();
    let mut intended = worker.clone();
    (intended.id, intended.attributes) = (None, Attributes::new());
    let Observation::Present(state) = project.observe(&intended).await else {
        panic!("it is not found")
    };
    assert_eq!(
        (Some(&state.id), &state.attributes),
        (worker.id.as_ref(), &worker.attributes)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_whose_lease_is_over_is_refused() {
    let (project, engine) = (Project::start().await, Engine::start().await);
    project.epoch.store(2, Ordering::Relaxed);
    let worker = project.create(&project.inputs(&engine.url())).await.unwrap();
    project.epoch.store(1, Ordering::Relaxed);
    let inputs = with(worker.inputs.clone(), "labels", labels("green"));
    let refused = [
        project.create(&inputs).await.unwrap_err(),
        project.update(&worker, &inputs).await.unwrap_err(),
        project.delete(&worker).await.unwrap_err(),
    ];
    for error in refused {
        assert_eq!(
            (error.class, error.effect),
            (ErrorClass::Denied, Effect::None),
            "{error:?}"
        );
        assert!(error.message.contains("epoch 1 is over"), "{}", error.message);
    }
    project.assert_settled(&worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_said_before_anything_is_done() {
    let project = Project::start().await;
    let validate = |name: &str, value: Value| {
        let request = ValidateRequest {
            resource_type: address().resource_type.clone(),
            address: address(),
            inputs: with(project.inputs("http://127.0.0.1:1"), name, value),
        };
        project.provider.validate(&request)
    };
    for (name, value) in [
        ("worker_type", "encode"),
        ("router_type", "envoy"),
        ("url", "https://127.0.0.1:1"),
        ("url", "http://127.0.0.1:1/v1"),
        ("router_url", "127.0.0.1:1"),
    ] {
        let problems = validate(name, value.into());
        assert_eq!(problems.len(), 1, "{name}: {value}");
        assert_eq!(problems[0].path.first_key(), Some(name));
        assert!(problems[0].message.contains(value) && problems[0].hint.is_some());
    }
    assert_eq!(
        validate("worker_type", "prefill".into())[0].path.first_key(),
        Some("bootstrap_port")
    );
}
