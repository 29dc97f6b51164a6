//! Listeners and their ports.

use gabion_engine::provider::{ErrorClass, Observation, ReadOutcome};
use gabion_engine::value::Value;
use gabion_host::ports::{PortOwner, PortRequest};

use crate::harness::{Project, address, listener_inputs};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_lives_from_its_lease_to_its_release() {
    let project = Project::start().await;
    let at = address("gateway_listener", "my-gateway");
    let planned = project.plan(&at, &listener_inputs(), None).planned;
    assert_eq!(planned["port"], Value::unknown());
    let listener = project.create(1, &at, listener_inputs()).await.unwrap();
    let port = listener.attributes["port"].as_int().unwrap();
    assert!((18080..=18999).contains(&port));
    assert_eq!(
        listener.attributes["url"],
        Value::from(format!("http://127.0.0.1:{port}"))
    );
    assert_eq!(listener.id.as_ref().unwrap().as_str(), "agent-unit/my-gateway");
    assert_eq!(project.sink.0.lock().unwrap().len(), 1);
    project.assert_settled(&listener, &listener_inputs()).await;
    tokio::net::TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap()))
        .await
        .unwrap();
    // Doing it again, as after a lost answer, changes nothing.
    assert!(matches!(
        project.observe(&listener).await,
        Observation::Present(_)
    ));
    let again = project.create(1, &at, listener_inputs()).await.unwrap();
    assert_eq!(again.attributes, listener.attributes);
    let mut inputs = listener_inputs();
    inputs.insert("domain".into(), "Example.com".into());
    let updated = project.update(1, &listener, inputs.clone()).await.unwrap();
    project.assert_settled(&updated, &inputs).await;
    assert_eq!(updated.attributes["port"], listener.attributes["port"]);
    assert_eq!(project.ports.leases().unwrap().len(), 1);
    project.delete(1, &updated).await.unwrap();
    project.delete(1, &updated).await.unwrap();
    assert_eq!(project.read(&updated).await, ReadOutcome::Absent);
    assert!(project.ports.leases().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_a_conflict_and_leaves_no_lease() {
    let project = Project::start().await;
    let taken = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut inputs = listener_inputs();
    inputs.insert(
        "ports".into(),
        Value::map([("port", Value::Int(i64::from(port)))]),
    );
    let error = project
        .create(1, &address("gateway_listener", "my-gateway"), inputs)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict);
    assert!(error.message.contains(&port.to_string()), "{}", error.message);
    assert!(project.ports.leases().unwrap().is_empty());
}

/// A run that is killed between the lease and the agent's answer leaves the lease; the listener is made anew, as another object.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_was_leased_for_a_listener_that_was_never_made_is_given_to_the_next_one() {
    let project = Project::start().await;
    let at = address("gateway_listener", "my-gateway");
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut inputs = listener_inputs();
    inputs.insert(
        "ports".into(),
        Value::map([("port", Value::Int(i64::from(port)))]),
    );
    let leased_by = |label: String| PortOwner {
        uid: "another".to_owned(),
        label,
        directory: project.unit("agent-unit"),
    };
    let lease = |owner: &PortOwner| project.ports.lease(owner, "http", &PortRequest::Exact(port));
    // Another object's port stays that one's.
    lease(&leased_by("gateway_listener.other of project demo".to_owned())).unwrap();
    let error = project.create(1, &at, inputs.clone()).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict, "{error:?}");
    project.ports.release("another").unwrap();

    lease(&leased_by(format!("{} of project demo", project.call(1).address))).unwrap();
    let listener = project.create(1, &at, inputs.clone()).await.unwrap();
    assert_eq!(listener.attributes["port"], Value::Int(i64::from(port)));
    // While the agent has the listener, its port is no other object's.
    let uid = project.call(1).uid.to_string();
    let owners = || {
        let leases = project.ports.leases().unwrap().into_values();
        leases.map(|lease| lease.owner).collect::<Vec<_>>()
    };
    assert_eq!(owners(), [uid.as_str()]);
    inputs.insert("address".into(), "127.0.0.2".into());
    let error = project.create(2, &at, inputs).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict, "{error:?}");
    assert_eq!(owners(), [uid.as_str()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_agent_is_not_an_absent_listener() {
    let mut project = Project::start().await;
    let listener = project
        .create(1, &address("gateway_listener", "my-gateway"), listener_inputs())
        .await
        .unwrap();
    project.stop_agent().await;
    assert!(matches!(
        project.read(&listener).await,
        ReadOutcome::CannotTell { .. }
    ));
    assert!(matches!(
        project.observe(&listener).await,
        Observation::Unknown { .. }
    ));
    // Its port is taken while it is down: it listens no more, and that shows.
    let port = u16::try_from(listener.attributes["port"].as_int().unwrap()).unwrap();
    let thief = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    project.start_agent().await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let ReadOutcome::Present(state) = project.read(&listener).await else {
            panic!()
        };
        if state.attributes["listening"] == Value::Bool(false) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline);
    }
    let ReadOutcome::Present(state) = project.read(&listener).await else {
        panic!()
    };
    let mut stolen = listener.clone();
    stolen.attributes = state.attributes;
    let planned = project
        .plan(&listener.address, &listener_inputs(), Some(&stolen))
        .planned;
    assert_eq!(
        (&planned["port"], &planned["listening"]),
        (&Value::unknown(), &Value::Bool(true))
    );
    let listener = project.update(1, &stolen, listener_inputs()).await.unwrap();
    assert_ne!(listener.attributes["port"], stolen.attributes["port"]);
    project.assert_settled(&listener, &listener_inputs()).await;
    drop(thief);
    // A dead agent does not keep a project from being destroyed.
    project.stop_agent().await;
    project.delete(1, &listener).await.unwrap();
    project.start_agent().await;
    assert_eq!(project.read(&listener).await, ReadOutcome::Absent);
    project.stop_agent().await;
    std::fs::remove_dir_all(project.unit("agent-unit")).unwrap();
    assert_eq!(project.read(&listener).await, ReadOutcome::Absent);
    project.delete(1, &listener).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_agent_replaces_it_and_wrong_ports_are_named() {
    let project = Project::start().await;
    let at = address("gateway_listener", "my-gateway");
    let listener = project.create(1, &at, listener_inputs()).await.unwrap();
    let mut inputs = listener_inputs();
    inputs.insert("agent".into(), "other-unit".into());
    let response = project.plan(&at, &inputs, Some(&listener));
    assert_eq!(response.replace.len(), 1);
    assert_eq!(response.planned["port"], Value::unknown());
    use gabion_engine::provider::{Provider, ValidateRequest};
    for ports in [
        Value::map([("port", Value::Int(70000))]),
        Value::map([("range", Value::from("9-8"))]),
        Value::map([("x", Value::Null)]),
    ] {
        let mut inputs = listener_inputs();
        inputs.insert("ports".into(), ports);
        let request = ValidateRequest {
            resource_type: at.resource_type.clone(),
            address: at.clone(),
            inputs,
        };
        assert_eq!(project.provider.validate(&request).len(), 1);
    }
}
