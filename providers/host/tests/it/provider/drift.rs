//! What the machine changed behind gabion's back, and how it is put right.

use gabion_engine::value::Value;
use gabion_host::unit::{StartRequest, start};
use serde_json::json;

use super::scene::{SERVER, Scene, attributes, server, sleeper, with_secret};
use crate::support::{SHIM, kill, log, until};

#[tokio::test]
async fn a_killed_program_is_drift_and_starts_again_on_its_port() {
    let scene = Scene::new();
    let mut unit = scene.create(server()).await;
    let (first, port) = (unit.pid(), unit.port());
    kill(first);
    until("its end is known", || {
        unit.directory().path().join("exit.json").exists()
    })
    .await;
    assert_eq!(scene.drift(&unit).await, ["ended", "running"]);
    let prior = scene.prior(&unit).await;
    assert_eq!(prior.attributes["ended"], "it ended with signal SIGKILL".into());
    scene.repair(&mut unit).await;
    assert_ne!(unit.pid(), first);
    assert_eq!(unit.port(), port);
}

#[tokio::test]
async fn an_edited_or_missing_file_is_put_back_without_a_restart() {
    let scene = Scene::new();
    let mut unit = scene.create(server()).await;
    let first = unit.pid();
    let file = unit.directory().files().join("server.py");
    std::fs::write(&file, "edited").unwrap();
    assert_eq!(scene.drift(&unit).await, ["files"]);
    scene.repair(&mut unit).await;
    std::fs::remove_file(&file).unwrap();
    assert_eq!(scene.drift(&unit).await, ["files"]);
    scene.repair(&mut unit).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), SERVER);
    assert_eq!(unit.pid(), first);
    // What the program itself leaves beside its files is its own.
    std::fs::write(unit.directory().files().join("cache.bin"), "x").unwrap();
    assert!(scene.drift(&unit).await.is_empty());
}

#[tokio::test]
async fn an_edited_record_is_put_back_and_a_program_launched_from_it_restarted() {
    let scene = Scene::new();
    let mut unit = scene.create(sleeper()).await;
    let first = unit.pid();
    let launch = unit.directory().path().join("launch.json");
    let edited = std::fs::read_to_string(&launch)
        .unwrap()
        .replace("echo up", "echo edited");
    std::fs::write(&launch, &edited).unwrap();
    assert_eq!(scene.drift(&unit).await, ["argv"]);
    scene.repair(&mut unit).await;
    assert_eq!(unit.pid(), first);

    std::fs::write(&launch, &edited).unwrap();
    kill(first);
    until("it ended", || {
        !gabion_host::unit::inspect(&unit.directory())
            .unwrap()
            .is_running()
    })
    .await;
    let again = StartRequest {
        directory: unit.directory(),
        shim: vec![SHIM.to_owned(), "exec".to_owned()],
        fence: None,
    };
    start(&again).await.unwrap();
    let second = unit.pid();
    assert_eq!(scene.drift(&unit).await, ["argv"]);
    scene.repair(&mut unit).await;
    assert_ne!(unit.pid(), second);
    until("it says what it should", || log(&unit.directory()) == "up\n").await;
}

#[tokio::test]
async fn damaged_records_are_differences_and_put_right() {
    let scene = Scene::new();
    let mut unit = scene.create(server()).await;
    for name in ["launch.json", "mark.json", "env"] {
        std::fs::write(unit.directory().path().join(name), "{").unwrap();
        let drift = scene.drift(&unit).await;
        assert_eq!(drift.is_empty(), name == "env", "{name}: {drift:?}");
        scene.repair(&mut unit).await;
        assert!(unit.pid() > 0);
    }
    assert_eq!(scene.leases(), 1);
}

#[tokio::test]
async fn an_edited_secret_is_drift_and_put_back() {
    let scene = Scene::new();
    let mut unit = scene
        .create_from(with_secret(attributes(sleeper()), "TOKEN", "right"))
        .await;
    assert!(scene.drift(&unit).await.is_empty());
    let env = unit.directory().path().join("env");
    std::fs::write(&env, r#"{"TOKEN": "wrong"}"#).unwrap();
    assert_eq!(scene.drift(&unit).await, ["env"]);
    scene.repair(&mut unit).await;
    std::fs::write(&env, "{}").unwrap();
    assert_eq!(scene.drift(&unit).await, ["env"]);
    scene.repair(&mut unit).await;
    assert!(!serde_json::to_string(&unit.state).unwrap().contains("right"));
}

#[tokio::test]
async fn a_reboot_is_reported_as_one() {
    let scene = Scene::new();
    let mut unit = scene.create(sleeper()).await;
    let first = unit.pid();
    let mark = unit.directory().path().join("mark.json");
    let text = std::fs::read_to_string(&mark).unwrap();
    kill(first);
    let boot = gabion_host::process::boot_id().unwrap();
    std::fs::write(&mark, text.replace(&boot, "before")).unwrap();
    let ended = format!("the machine was restarted: its boot_id was before and is {boot}");
    assert_eq!(scene.prior(&unit).await.attributes["ended"], Value::string(ended));
    scene.repair(&mut unit).await;
    assert_ne!(unit.pid(), first);
}

#[tokio::test]
async fn numbers_that_references_gave_read_back_as_numbers() {
    let scene = Scene::new();
    let mut inputs = sleeper();
    inputs["env"] = json!({"UPSTREAM_PORT": 20001, "FLAG": true});
    inputs["argv"] = json!(["sleep", 600]);
    let mut unit = scene.create(inputs).await;
    assert!(scene.drift(&unit).await.is_empty());
    let launch = unit.directory().path().join("launch.json");
    let edited = std::fs::read_to_string(&launch)
        .unwrap()
        .replace("20001", "20002");
    std::fs::write(&launch, edited).unwrap();
    assert_eq!(scene.drift(&unit).await, ["env"]);
    scene.repair(&mut unit).await;
}

#[tokio::test]
async fn an_ignored_difference_replaces_nothing() {
    let scene = Scene::new();
    let unit = scene.create(sleeper()).await;
    let launch = unit.directory().path().join("launch.json");
    let edited = std::fs::read_to_string(&launch)
        .unwrap()
        .replace("echo up", "echo edited");
    std::fs::write(&launch, edited).unwrap();
    // With `ignore_changes: [argv]` the engine asks for what is there.
    let mut desired = unit.inputs.clone();
    desired.insert("argv".into(), scene.prior(&unit).await.attributes["argv"].clone());
    assert_eq!(scene.differences(&unit, &desired).await, (Vec::new(), Vec::new()));
}
