//! What the world does to workers, and what is read then.

use gabion_engine::address::ObjectId;
use gabion_engine::provider::{ErrorClass, Observation, ReadOutcome};
use gabion_engine::value::{Attributes, Value};
use http::Method;

use crate::engine::Engine;
use crate::harness::{AGENT, Project, eventually, labels, with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_removed_by_somebody_else_is_absent_and_put_back() {
    let (project, engine) = (Project::start().await, Engine::start().await);
    let worker = project.create(&project.inputs(&engine.url())).await.unwrap();
    project.assert_settled(&worker).await;
    project.router.remove_all().await;
    assert_eq!(project.read(&worker).await, ReadOutcome::Absent);
    assert_eq!(project.observe(&worker).await, Observation::Absent);
    let again = project.create(&worker.inputs).await.unwrap();
    assert_eq!((&again.id, &again.attributes), (&worker.id, &worker.attributes));
    project.assert_settled(&again).await;
    assert_eq!(project.router.workers().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_changed_by_somebody_else_is_read_and_put_right() {
    let (project, engine) = (Project::start().await, Engine::start().await);
    let worker = project.create(&project.inputs(&engine.url())).await.unwrap();
    project.router.remove_all().await;
    let other = serde_json::json!({"url": engine.url(), "labels": {"colour": "red"}});
    project.router.call(Method::POST, "/workers", Some(other)).await;
    let state = eventually("the registration", || async {
        match project.read(&worker).await {
            ReadOutcome::Present(state) => Some(state),
            _ => None,
        }
    })
    .await;
    assert_eq!(
        state.attributes,
        with(worker.attributes.clone(), "labels", labels("red"))
    );
    let mut drifted = worker.clone();
    drifted.attributes = state.attributes;
    let repaired = project.update(&drifted, &worker.inputs).await.unwrap();
    assert_eq!(repaired.attributes, worker.attributes);
    project.assert_settled(&repaired).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_router_has_no_workers_until_it_is_back() {
    let (mut project, engine) = (Project::start().await, Engine::start().await);
    let worker = project.create(&project.inputs(&engine.url())).await.unwrap();
    project.router.kill().await;
    assert_eq!(project.read(&worker).await, ReadOutcome::Absent);
    let error = project.create(&worker.inputs).await.unwrap_err();
    assert!(error.message.contains("its process is gone"), "{}", error.message);
    assert!(project.router.launch().await);
    eventually("the return of the worker", || async {
        matches!(project.read(&worker).await, ReadOutcome::Present(_)).then_some(())
    })
    .await;
    project.assert_settled(&worker).await;
    // A deletion needs no living router, and what is deleted does not come back with it.
    project.router.kill().await;
    project.delete(&worker).await.unwrap();
    assert!(project.router.launch().await);
    let other = Engine::start().await;
    let inputs = with(project.inputs(&other.url()), "name", "qwen/default/1".into());
    let second = project.create(&inputs).await.unwrap();
    project.assert_settled(&second).await;
    assert_eq!(project.read(&worker).await, ReadOutcome::Absent);
    assert_eq!(project.router.workers().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_agent_cannot_tell_and_a_removed_one_has_nothing() {
    let (mut project, engine) = (Project::start().await, Engine::start().await);
    let worker = project.create(&project.inputs(&engine.url())).await.unwrap();
    project.stop_agent().await;
    assert!(matches!(
        project.read(&worker).await,
        ReadOutcome::CannotTell { .. }
    ));
    assert!(matches!(
        project.observe(&worker).await,
        Observation::Unknown { .. }
    ));
    let error = project.update(&worker, &worker.inputs).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient);
    // The router sends it requests still, and nobody is there to stop that.
    let error = project.delete(&worker).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(error.hint.is_some());
    // Nobody serves anything any more: the agent's files are all that is left.
    project.router.kill().await;
    project.delete(&worker).await.unwrap();
    assert!(project.router.launch().await);
    project.start_agent().await;
    assert_eq!(project.read(&worker).await, ReadOutcome::Absent);
    project.create(&worker.inputs).await.unwrap();
    project.stop_agent().await;
    std::fs::remove_dir_all(project.unit(AGENT)).unwrap();
    assert_eq!(project.read(&worker).await, ReadOutcome::Absent);
    assert_eq!(project.observe(&worker).await, Observation::Absent);
    project.delete(&worker).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_spelling_of_what_is_there_is_no_difference() {
    let (project, engine) = (Project::start().await, Engine::start().await);
    let spelled = format!("http://127.0.0.1:{}/", engine.port);
    let inputs = with(project.inputs(&spelled), "labels", Value::map::<&str>([]));
    let worker = project.create(&inputs).await.unwrap();
    project.assert_settled(&worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_worker_of_a_batch_gets_its_own_answer() {
    let (project, engine, other) = (
        Project::start().await,
        Engine::start().await,
        Engine::start().await,
    );
    let one = project.create(&project.inputs(&engine.url())).await.unwrap();
    let inputs = with(project.inputs(&other.url()), "name", "qwen/default/1".into());
    let two = project.create(&inputs).await.unwrap();
    let elsewhere = |name: &str, value: &str| {
        let mut object = two.clone();
        object.id = Some(ObjectId::new(value));
        object.inputs.insert(name.into(), value.into());
        object.attributes = Attributes::new();
        object
    };
    let mut nameless = two.clone();
    nameless.inputs.remove("agent");
    nameless.attributes.remove("agent");
    let objects = vec![
        two.clone(),
        elsewhere("router", "no-such-router"),
        elsewhere("machine", "no-such-machine"),
        elsewhere("agent", "no-such-agent"),
        nameless,
        one.clone(),
    ];
    let outcomes = project.read_all(objects).await;
    let present = |outcome: &ReadOutcome, id: &Option<ObjectId>| match outcome {
        ReadOutcome::Present(state) => Some(&state.id) == id.as_ref(),
        _ => false,
    };
    assert!(
        present(&outcomes[0], &two.id) && present(&outcomes[5], &one.id),
        "{outcomes:?}"
    );
    assert_eq!(
        (&outcomes[1], &outcomes[3]),
        (&ReadOutcome::Absent, &ReadOutcome::Absent)
    );
    assert!(matches!(&outcomes[2], ReadOutcome::CannotTell { .. }));
    assert!(matches!(&outcomes[4], ReadOutcome::CannotTell { .. }));
}
