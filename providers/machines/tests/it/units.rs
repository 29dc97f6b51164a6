//! A program on another machine lives as one on this machine does.

use std::sync::Arc;

use gabion_engine::provider::{ErrorClass, ReadOutcome};
use gabion_engine::value::{Secret, Value};

use crate::scene::{
    HOST, Sink, address, call, create, delete, eventually, hosts, inputs, key_of, new_uid, provider, read,
    recorded, sshd,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_is_made_read_followed_and_deleted_and_nothing_is_left() {
    let Some(server) = sshd() else { return };
    let directory = tempfile::tempdir().unwrap();
    let machines = hosts(address(&server, key_of(&server)));
    let provider = provider(&machines, directory.path());
    let secret = Value::Secret(Secret::new(None, "hunter2 'x' $(y)".into()));
    let script = "echo \"got $TOKEN\"; while sleep 0.1; do echo tick; done";
    let inputs = inputs(vec![
        (
            "argv",
            Value::List(vec!["/bin/sh".into(), "-c".into(), script.into()]),
        ),
        ("env", Value::map([("TOKEN", secret)])),
        ("stop_timeout", Value::Int(5)),
    ]);
    let (uid, sink) = (new_uid(), Arc::new(Sink::default()));
    let state = create(&provider, &inputs, &call(uid, 3, &sink)).await.unwrap();
    assert_eq!(state.id.as_str(), uid.to_string());
    assert_eq!(*sink.checkpoints.lock().unwrap(), std::slice::from_ref(&state.id));
    assert!(sink.phases.lock().unwrap().contains(&"start".to_owned()));
    // It is on the host, and not here.
    assert!(server.gabion_root().join("units").join(uid.to_string()).is_dir());
    assert!(!directory.path().join("here/units").exists());

    // Another run of gabion finds it as it is, the secret with its value.
    let again = hosts(address(&server, key_of(&server)));
    let reader = crate::scene::provider(&again, directory.path());
    let object = recorded(uid, &inputs, Some(&state));
    let ReadOutcome::Present(found) = read(&reader, object.clone()).await else {
        panic!("it is there");
    };
    assert_eq!(found.attributes["running"], true.into());
    let env = found.attributes["env"].as_map().unwrap();
    let Value::Secret(token) = &env["TOKEN"] else {
        panic!("a secret")
    };
    assert_eq!(token.expose().and_then(Value::as_str), Some("hunter2 'x' $(y)"));
    let views = again.units(HOST, vec![uid.to_string()]).await.unwrap();
    assert!(views[0].running && views[0].pid.is_some(), "{views:?}");

    let log = eventually("the log has a line", async || {
        let log = again.tail(HOST, uid.to_string(), 1000).await.unwrap();
        log.contains("tick").then_some(log)
    })
    .await;
    assert!(log.starts_with("got hunter2 'x' $(y)\n"), "{log}");
    let mut follower = again.follow(HOST, uid.to_string(), None).await.unwrap();
    let news = follower.next().await.unwrap();
    assert!(String::from_utf8_lossy(&news).contains("tick"));
    drop(follower);

    // A run whose lease was taken over is refused on the host.
    let late = delete(&provider, object.clone(), &call(uid, 2, &sink))
        .await
        .unwrap_err();
    assert_eq!(late.class, ErrorClass::Conflict, "{late:?}");

    // As long as a unit is there, gabion does not leave.
    assert_eq!(again.leave(HOST).await.unwrap(), [uid.to_string()]);
    delete(&provider, object.clone(), &call(uid, 4, &sink))
        .await
        .unwrap();
    assert_eq!(read(&reader, object).await, ReadOutcome::Absent);
    assert!(again.leave(HOST).await.unwrap().is_empty());
    assert!(!server.gabion_root().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_on_the_way_is_observed_on_the_machine() {
    use gabion_engine::provider::{CallAction, Observation, ObserveRequest, Provider};
    let Some(mut server) = sshd() else { return };
    let directory = tempfile::tempdir().unwrap();
    let machines = hosts(address(&server, key_of(&server)));
    let first = provider(&machines, directory.path());
    // It is never ready: the call waits until the connection is cut.
    let probe = Value::map([("socket", Value::from("never.sock"))]);
    let inputs = inputs(vec![
        ("argv", Value::List(vec!["sleep".into(), "600".into()])),
        ("probes", Value::List(vec![probe])),
        ("stop_timeout", Value::Int(2)),
    ]);
    let (uid, sink) = (new_uid(), Arc::new(Sink::default()));
    let lost = call(uid, 1, &sink);
    let operation = lost.operation;
    let lineage = lost.lineage;
    let making = {
        let inputs = inputs.clone();
        tokio::spawn(async move { create(&first, &inputs, &lost).await })
    };
    eventually("it waits to be ready", async || {
        sink.phases
            .lock()
            .unwrap()
            .contains(&"ready".to_owned())
            .then_some(())
    })
    .await;
    let cut = tokio::task::spawn_blocking(move || {
        server.stop();
        server.resume().map(|()| server)
    });
    let _server = cut.await.unwrap().unwrap();
    let error = making.await.unwrap().unwrap_err();
    assert_eq!(error.class, ErrorClass::Uncertain, "{error:?}");
    assert!(
        error.message.contains(HOST) && error.message.contains("`ready`"),
        "{error:?}"
    );

    let again = provider(&machines, directory.path());
    let observed = again
        .observe(ObserveRequest {
            action: CallAction::Create,
            operation,
            object: recorded(uid, &inputs, None),
            inputs: inputs.clone(),
            lineage,
        })
        .await
        .unwrap();
    let Observation::Present(state) = observed else {
        panic!("its program runs: {observed:?}");
    };
    assert_eq!(state.attributes["running"], true.into());
    delete(&again, recorded(uid, &inputs, Some(&state)), &call(uid, 2, &sink))
        .await
        .unwrap();
}
