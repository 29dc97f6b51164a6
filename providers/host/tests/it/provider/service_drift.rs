//! What happens to a service behind gabion's back is told precisely, and put right.

use std::process::Command;

use gabion_testing::inside_booted;
use serde_json::json;

use super::service_scene::{ServiceScene, name_of, script, systemctl, unit_file};
use crate::support::{kill, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_overridden_disabled_or_removed_unit_file_is_seen_and_put_back() {
    if !inside_booted!() {
        return;
    }
    let scene = ServiceScene::new();
    let mut unit = scene.create(script("exec sleep 600")).await;
    let (name, pid) = (name_of(&unit), unit.pid());
    let file = unit_file(&unit.uid.to_string());
    let written = std::fs::read_to_string(&file).unwrap();

    std::fs::write(
        &file,
        written.replace("Restart=always", "Restart=no\nEnvironment=A=b"),
    )
    .unwrap();
    assert_eq!(scene.scene.drift(&unit).await, ["service_changed"]);
    let told = scene.now(&unit, "service_changed").await;
    assert!(told.ends_with("was edited: Environment, Restart"), "{told}");
    scene.scene.repair(&mut unit).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);

    let drop_ins = file.with_extension("service.d");
    std::fs::create_dir(&drop_ins).unwrap();
    std::fs::write(
        drop_ins.join("x.conf"),
        "[Service]\nMemoryMax=1G\nEnvironment=X=y\n",
    )
    .unwrap();
    systemctl(&["daemon-reload"]);
    let told = scene.now(&unit, "service_changed").await;
    assert!(
        told.ends_with("x.conf changes it: Environment, MemoryMax"),
        "{told}"
    );
    scene.scene.repair(&mut unit).await;
    assert!(!drop_ins.join("x.conf").exists());

    systemctl(&["disable", "--quiet", &name]);
    let told = scene.now(&unit, "service_changed").await;
    assert!(told.contains("disabled"), "{told}");
    scene.scene.repair(&mut unit).await;

    std::fs::remove_file(&file).unwrap();
    let told = scene.now(&unit, "service_changed").await;
    assert!(told.ends_with(".service is gone"), "{told}");
    scene.scene.repair(&mut unit).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
    assert_eq!(
        unit.pid(),
        pid,
        "none of that is a reason to start the program again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_started_a_service_again_is_told() {
    if !inside_booted!() {
        return;
    }
    let scene = ServiceScene::new();
    let mut unit = scene.create(script("exec sleep 600")).await;
    let first = unit.pid();
    kill(first);
    until("systemd has started it again", || {
        unit.pid_if_running().is_some_and(|pid| pid != first)
    })
    .await;
    scene.until_drift(&unit, &["restarted"]).await;
    let told = scene.now(&unit, "restarted").await;
    assert!(told.starts_with("by systemd, "), "{told}");
    let second = unit.pid();
    scene.scene.repair(&mut unit).await;
    assert_eq!(unit.pid(), second, "it goes on running");

    systemctl(&["restart", &name_of(&unit)]);
    until("it runs again", || {
        unit.pid_if_running().is_some_and(|pid| pid != second)
    })
    .await;
    scene.until_drift(&unit, &["restarted"]).await;
    let told = scene.now(&unit, "restarted").await;
    assert!(
        told.starts_with("by somebody else: its invocation was "),
        "{told}"
    );
    scene.scene.repair(&mut unit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_was_stopped_or_has_failed_is_drift_and_started_again() {
    if !inside_booted!() {
        return;
    }
    let scene = ServiceScene::new();
    let mut inputs = script("exec sleep 600");
    inputs["systemd"] = json!({"restart": "no"});
    let mut unit = scene.create(inputs).await;
    systemctl(&["stop", &name_of(&unit)]);
    assert!(scene.scene.drift(&unit).await.contains(&"running".to_owned()));
    scene.scene.repair(&mut unit).await;

    kill(unit.pid());
    until("it has ended", || unit.pid_if_running().is_none()).await;
    scene.until_drift(&unit, &["ended", "running"]).await;
    let told = scene.now(&unit, "ended").await;
    assert_eq!(told, "it ended with signal SIGKILL");
    scene.scene.repair(&mut unit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_as_the_service_is_seen_and_replaced() {
    if !inside_booted!() {
        return;
    }
    let scene = ServiceScene::new();
    let mut unit = scene.create(script("exec sleep 600")).await;
    let file = unit_file(&unit.uid.to_string());
    let written = std::fs::read_to_string(&file).unwrap();
    let other: String = written
        .lines()
        .map(|line| {
            if line.starts_with("ExecStart=") {
                "ExecStart=/bin/sleep 601"
            } else {
                line
            }
        })
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&file, other).unwrap();
    systemctl(&["daemon-reload"]);
    systemctl(&["restart", &name_of(&unit)]);
    let told = scene.now(&unit, "ended").await;
    assert_eq!(told, "systemd runs another program as its service");
    let told = scene.now(&unit, "service_changed").await;
    assert!(told.ends_with("was edited: ExecStart"), "{told}");
    scene.scene.repair(&mut unit).await;
    let others = Command::new("pgrep")
        .args(["-f", "^/bin/sleep 601$"])
        .output()
        .unwrap();
    assert!(others.stdout.is_empty(), "the other program has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_started_with_the_machine_is_told_with_both_boot_ids() {
    if !inside_booted!() {
        return;
    }
    let scene = ServiceScene::new();
    let mut unit = scene.create(script("exec sleep 600")).await;
    let boot = gabion_host::process::boot_id().unwrap();
    let record = unit.directory().path().join("service.json");
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replace(&boot, "before")).unwrap();
    assert_eq!(scene.scene.drift(&unit).await, ["restarted"]);
    let told = scene.now(&unit, "restarted").await;
    assert_eq!(
        told,
        format!("with the machine: its boot_id was before and is {boot}")
    );
    scene.scene.repair(&mut unit).await;
}
