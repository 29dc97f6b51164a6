//! Making, finding again and deleting.

use gabion_engine::address::{Lineage, ObjectId};
use gabion_engine::provider::{
    CallAction, CreateRequest, DeleteRequest, Effect, ErrorClass, ImportRequest, ListRequest, Observation,
    PriorObject, Provider, ReadOutcome, UpdateRequest,
};
use gabion_engine::value::{Attributes, Value};
use serde_json::json;

use super::scene::{Scene, Unit, address, attributes, host_unit, new_uid, server, sleeper, with_secret};
use crate::support::until;

#[tokio::test]
async fn a_unit_is_made_read_back_and_deleted_without_a_trace() {
    let scene = Scene::new();
    let planned = scene.plan(&attributes(server()), None);
    assert!(planned.claims.is_empty());
    assert_eq!(planned.planned["running"], Value::Bool(true));
    assert_eq!(
        planned.planned["port"].as_map().unwrap()["http"],
        Value::unknown()
    );
    let unit = scene.create(server()).await;
    assert_eq!(unit.state.id.as_str(), unit.uid.to_string());
    assert_eq!(
        *scene.sink.checkpoints.lock().unwrap(),
        [(unit.state.id.clone(), true)]
    );
    assert_eq!(*scene.sink.phases.lock().unwrap(), ["start", "ready"]);
    assert!((24000..=24999).contains(&unit.port()));
    assert_eq!(
        unit.state.attributes["url"],
        format!("http://127.0.0.1:{}", unit.port()).into()
    );
    assert!(unit.state.unreadable.is_empty());
    assert!(scene.drift(&unit).await.is_empty());

    let listed = scene
        .provider
        .list(ListRequest {
            lineage: scene.lineage,
        })
        .await
        .unwrap();
    let [listed] = &listed.objects[..] else {
        panic!("{listed:?}");
    };
    assert_eq!(
        (listed.uid, listed.address.clone()),
        (Some(unit.uid), Some(address()))
    );
    let other = Lineage::from_uuid(uuid::Uuid::now_v7());
    assert!(
        scene
            .provider
            .list(ListRequest { lineage: other })
            .await
            .unwrap()
            .objects
            .is_empty()
    );

    let object = unit.recorded();
    for _ in 0..2 {
        let request = DeleteRequest {
            object: object.clone(),
            deposed: false,
        };
        scene
            .provider
            .delete(request, &scene.call(unit.uid, 1))
            .await
            .unwrap();
        assert_eq!(scene.read(&unit).await, ReadOutcome::Absent);
    }
    assert_eq!(scene.leases(), 0);
    let left: Vec<_> = std::fs::read_dir(scene.root.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    // The number of the newest run stays, so that an older one that was overtaken is refused.
    assert!(
        left.iter()
            .all(|name| name == "ports.json" || name == "ports.lock" || name == "fences"),
        "{left:?}"
    );
}

#[tokio::test]
async fn a_program_that_is_never_ready_fails_with_its_log_and_stays_for_the_next_apply() {
    let scene = Scene::new();
    let mut inputs = server();
    inputs["argv"] = json!(["sh", "-c", "echo using $TOKEN; exec python3 server.py"]);
    inputs["probes"] = json!([{"path": "/never"}]);
    inputs["ready_timeout"] = json!(1);
    let inputs = with_secret(attributes(inputs), "TOKEN", "swordfish");
    let uid = new_uid();
    let error = scene.try_create(uid, &inputs).await.unwrap_err();
    assert_eq!(
        (error.class, error.effect),
        (ErrorClass::Invalid, Effect::Partial)
    );
    assert!(
        error.message.starts_with("The program was not ready within"),
        "{}",
        error.message
    );
    assert!(
        error.detail.contains(&"using (secret)".to_owned()),
        "{:?}",
        error.detail
    );
    assert!(!format!("{error:?}").contains("swordfish"), "{error:?}");
    let Observation::Present(state) = scene.observe(uid, CallAction::Create, &inputs).await else {
        panic!("not there");
    };
    assert_eq!(state.attributes["running"], Value::Bool(true));

    let mut unit = Unit { uid, inputs, state };
    let first = unit.pid();
    scene.update(&mut unit, attributes(server())).await;
    assert_ne!(unit.pid(), first, "its environment changed");
    assert!(scene.drift(&unit).await.is_empty());
}

#[tokio::test]
async fn a_program_that_ends_at_once_says_how() {
    let scene = Scene::new();
    let inputs = attributes(json!({"machine": "local", "argv": ["sh", "-c", "echo no GPU found; exit 7"]}));
    let error = scene.try_create(new_uid(), &inputs).await.unwrap_err();
    assert_eq!(
        (error.class, error.effect),
        (ErrorClass::Invalid, Effect::Partial)
    );
    assert_eq!(
        error.message,
        "The program ended before it was ready, with exit code 7."
    );
    assert_eq!(error.detail, ["no GPU found"]);

    let inputs = attributes(json!({"machine": "local", "argv": ["no-such-program"]}));
    let error = scene.try_create(new_uid(), &inputs).await.unwrap_err();
    assert_eq!(
        (error.class, error.effect),
        (ErrorClass::Invalid, Effect::Partial)
    );
    assert_eq!(error.message, "The program \"no-such-program\" is not there.");
}

#[tokio::test]
async fn a_creation_that_never_began_is_absent_and_one_that_is_repeated_is_one() {
    let scene = Scene::new();
    let uid = new_uid();
    let inputs = attributes(server());
    assert_eq!(
        scene.observe(uid, CallAction::Create, &inputs).await,
        Observation::Absent
    );
    let first = scene.try_create(uid, &inputs).await.unwrap();
    let again = scene.try_create(uid, &inputs).await.unwrap();
    assert_eq!(first.attributes, again.attributes);
    assert_eq!(first.private, again.private);
    assert_eq!(scene.leases(), 1);
}

#[tokio::test]
async fn a_fixed_port_is_claimed_and_its_owner_named() {
    let scene = Scene::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut inputs = sleeper();
    inputs["ports"] = json!({"http": {"port": port}});
    let planned = scene.plan(&attributes(inputs.clone()), None);
    assert_eq!(&*planned.claims[0].key, format!("tcp/local/{port}"));
    assert_eq!(planned.claims[0].path.to_string(), "ports.http.port");
    assert_eq!(planned.planned["url"], format!("http://127.0.0.1:{port}").into());
    let unit = scene.create(inputs.clone()).await;
    let second = new_uid();
    inputs["ports"]["metrics"] = json!({"range": "24000-24999"});
    let error = scene.try_create(second, &attributes(inputs)).await.unwrap_err();
    assert_eq!((error.class, error.effect), (ErrorClass::Conflict, Effect::None));
    assert_eq!(
        error.message,
        format!(
            "Port {port} belongs to host_unit.qwen/default/0 of project shop (unit {}).",
            unit.uid
        )
    );
    assert_eq!(error.path.unwrap().to_string(), "ports.http");
    assert_eq!(scene.leases(), 1);
    assert_eq!(
        scene
            .observe(second, CallAction::Create, &Attributes::new())
            .await,
        Observation::Absent
    );
}

#[tokio::test]
async fn a_run_whose_lease_was_taken_over_changes_nothing() {
    let scene = Scene::new();
    let unit = scene.create(sleeper()).await;
    let newer = UpdateRequest {
        object: unit.recorded(),
        inputs: unit.inputs.clone(),
        planned: Attributes::new(),
        changed: Vec::new(),
    };
    scene
        .provider
        .update(newer.clone(), &scene.call(unit.uid, 2))
        .await
        .unwrap();
    let first = unit.pid();
    let error = scene
        .provider
        .update(newer, &scene.call(unit.uid, 1))
        .await
        .unwrap_err();
    assert_eq!((error.class, error.effect), (ErrorClass::Conflict, Effect::None));
    let request = DeleteRequest {
        object: unit.recorded(),
        deposed: false,
    };
    let error = scene
        .provider
        .delete(request, &scene.call(unit.uid, 1))
        .await
        .unwrap_err();
    assert_eq!((error.class, error.effect), (ErrorClass::Conflict, Effect::None));
    assert_eq!(unit.pid(), first);
}

#[tokio::test]
async fn an_interrupted_call_returns_and_the_program_goes_on() {
    let scene = Scene::new();
    let mut inputs = attributes(server());
    inputs.insert("probes".into(), Value::from_json(&json!([{"path": "/never"}])));
    let uid = new_uid();
    let call = scene.call(uid, 1);
    let cancel = call.cancel.clone();
    let request = CreateRequest {
        resource_type: host_unit(),
        address: address(),
        inputs: inputs.clone(),
        planned: Attributes::new(),
    };
    let sink = scene.sink.clone();
    let (outcome, ()) = tokio::join!(scene.provider.create(request, &call), async {
        until("it waits", || {
            sink.phases
                .lock()
                .unwrap()
                .last()
                .is_some_and(|phase| phase == "ready")
        })
        .await;
        cancel.cancel();
    });
    let error = outcome.unwrap_err();
    assert_eq!(
        (error.class, error.effect),
        (ErrorClass::Uncertain, Effect::Unknown)
    );
    assert!(matches!(
        scene.observe(uid, CallAction::Create, &inputs).await,
        Observation::Present(_)
    ));
}

#[tokio::test]
async fn a_unit_is_imported_by_its_uid() {
    let scene = Scene::new();
    let unit = scene.create(server()).await;
    let import = |id: &str| ImportRequest {
        resource_type: host_unit(),
        address: address(),
        id: ObjectId::new(id),
    };
    let state = scene
        .provider
        .import(import(&unit.uid.to_string()))
        .await
        .unwrap();
    assert_eq!(state.attributes["port"], unit.state.attributes["port"]);
    assert_eq!(state.attributes["argv"], unit.state.attributes["argv"]);
    let prior = PriorObject {
        inputs: Attributes::new(),
        attributes: state.attributes,
        private: state.private,
    };
    assert_eq!(scene.plan(&unit.inputs, Some(prior.clone())).replace, []);
    let mut other = unit.inputs.clone();
    other.insert("argv".into(), Value::List(vec!["other".into()]));
    assert_eq!(scene.plan(&other, Some(prior)).replace.len(), 1);
    for id in ["no-such-unit", "../x"] {
        assert!(scene.provider.import(import(id)).await.is_err());
    }
}
