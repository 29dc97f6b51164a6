//! What a user may do who is not root: with a manager of one's own, or with `sudo` where that is allowed.

#![expect(clippy::print_stderr, reason = "what a skipped test leaves for its reader")]

use std::process::Command;

use gabion_engine::provider::{ErrorClass, ReadOutcome};
use gabion_engine::value::Value;
use gabion_host::SystemdConfig;
use gabion_host::systemd::{Sudo, service_name};
use gabion_testing::booted::{add_user, run_inside_as, user_inside};
use gabion_testing::inside_booted;
use serde_json::json;

use super::scene::{attributes, new_uid};
use super::service_scene::{ServiceScene, script, systemctl, unit_file};
use crate::support::{Root, until};

const PASSWORD: &str = "correct horse 'battery' $(staple)";

fn with_sudo(password: &str) -> SystemdConfig {
    SystemdConfig {
        sudo: Some(Sudo {
            password: Some(password.to_owned()),
        }),
    }
}

/// Whether the machine has what this test needs; a word about it otherwise.
fn has(programs: &[&str]) -> bool {
    let missing = programs
        .iter()
        .find(|program| !std::path::Path::new(program).is_file());
    if let Some(missing) = missing {
        eprintln!("skipped: there is no {missing}");
    }
    missing.is_none()
}

/// Whether a user can read the test's own programs, which may be in somebody's private directory.
fn can_read_programs(user: &str) -> bool {
    let own = std::env::current_exe().unwrap();
    let readable = Command::new("setpriv")
        .args(["--reuid", user, "--regid", user, "--init-groups", "test", "-x"])
        .arg(own)
        .status()
        .unwrap();
    if !readable.success() {
        eprintln!("skipped: another user cannot read the tests' programs");
    }
    readable.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_makes_services_of_the_machine_with_sudo_where_that_is_allowed_and_not_otherwise() {
    if !inside_booted!() {
        return;
    }
    if user_inside().is_none() {
        if !has(&["/usr/bin/sudo", "/usr/bin/dbus-daemon", "/usr/sbin/useradd"]) {
            return;
        }
        add_user("worker", PASSWORD).unwrap();
        // Whoever is not root reads the state of services by way of the bus.
        systemctl(&["start", "dbus.socket"]);
        if can_read_programs("worker") {
            fn here() {}
            run_inside_as("worker", std::any::type_name_of_val(&here)).unwrap();
        }
        return;
    }
    let mut inputs = script("id -un > said.new; mv said.new said; exec sleep 600");

    // Nothing says that it may.
    inputs["systemd"] = json!({"scope": "system"});
    let without = ServiceScene::new();
    let error = without
        .scene
        .try_create(new_uid(), &attributes(inputs.clone()))
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid, "{error:?}");
    assert!(
        error.hint.as_deref().unwrap_or_default().contains("sudo"),
        "{error:?}"
    );

    // The wrong password: the step, why, and what to do; and nothing was begun.
    let wrong = ServiceScene::of(Root::new(), with_sudo("wrong password"));
    let uid = new_uid();
    let error = wrong
        .scene
        .try_create(uid, &attributes(inputs.clone()))
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Denied, "{error:?}");
    for part in [
        "Its unit file cannot be put in its place",
        "sudo refuses",
        "incorrect password",
    ] {
        assert!(error.message.contains(part), "{error:?}");
    }
    assert!(
        error.hint.as_deref().unwrap_or_default().contains("secret"),
        "{error:?}"
    );
    assert!(!format!("{error:?}").contains("wrong password"), "{error:?}");
    assert!(!unit_file(&uid.to_string()).exists());

    let scene = ServiceScene::of(Root::new(), with_sudo(PASSWORD));
    let mut unit = scene.create(inputs).await;
    let said = unit.directory().files().join("said");
    until("it says who it is", || said.exists()).await;
    assert_eq!(std::fs::read_to_string(&said).unwrap(), "worker\n");
    assert_eq!(
        unit.state.attributes["service"],
        Value::string(format!("{} (system)", service_name(&unit.uid.to_string())))
    );
    // To look takes no rights, and no password.
    let plain = ServiceScene::of(Root::new(), SystemdConfig::default());
    drop(plain);
    assert!(scene.scene.drift(&unit).await.is_empty());
    let first = unit.pid();
    Command::new("kill")
        .args(["-9", &first.to_string()])
        .status()
        .unwrap();
    until("systemd has started it again", || {
        unit.pid_if_running().is_some_and(|pid| pid != first)
    })
    .await;
    scene.until_drift(&unit, &["restarted"]).await;
    scene.scene.repair(&mut unit).await;
    scene.delete(&unit).await.unwrap();
    assert_eq!(scene.scene.read(&unit).await, ReadOutcome::Absent);
    assert!(!unit_file(&unit.uid.to_string()).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_lingers_has_services_of_the_users_own_manager() {
    if !inside_booted!() {
        return;
    }
    if user_inside().is_none() {
        if !has(&["/usr/sbin/useradd"]) {
            return;
        }
        add_user("lingerer", PASSWORD).unwrap();
        if !can_read_programs("lingerer") {
            return;
        }
        fn here() {}
        let name = std::any::type_name_of_val(&here);
        // As `loginctl enable-linger` has it.
        std::fs::write("/var/lib/systemd/linger/lingerer", "").unwrap();
        let id = Command::new("id").args(["-u", "lingerer"]).output().unwrap();
        let uid = String::from_utf8(id.stdout).unwrap().trim().to_owned();
        let directory = format!("/run/user/{uid}");
        std::fs::create_dir_all(&directory).unwrap();
        std::os::unix::fs::chown(&directory, Some(uid.parse().unwrap()), None).unwrap();
        let manager = Command::new("systemd-run")
            .args([
                "--quiet",
                "--unit=manager-of-lingerer",
                "--uid=lingerer",
                "-p",
                "Delegate=yes",
            ])
            .arg(format!("--setenv=XDG_RUNTIME_DIR={directory}"))
            .args(["/lib/systemd/systemd", "--user"])
            .output()
            .unwrap();
        assert!(
            manager.status.success(),
            "{}",
            String::from_utf8_lossy(&manager.stderr)
        );
        let private = format!("{directory}/systemd/private");
        until("the manager listens", || std::path::Path::new(&private).exists()).await;
        run_inside_as("lingerer", name).unwrap();
        std::fs::remove_file("/var/lib/systemd/linger/lingerer").unwrap();
        return;
    }
    let scene = ServiceScene::new();
    // Without a word it is the user's own.
    let unit = scene
        .create(script("id -un > said.new; mv said.new said; exec sleep 600"))
        .await;
    let name = service_name(&unit.uid.to_string());
    assert_eq!(
        unit.state.attributes["service"],
        Value::string(format!("{name} (user)"))
    );
    let said = unit.directory().files().join("said");
    until("it says who it is", || said.exists()).await;
    assert_eq!(std::fs::read_to_string(&said).unwrap(), "lingerer\n");
    assert!(scene.scene.drift(&unit).await.is_empty());
    let file = std::path::Path::new("/home/lingerer/.config/systemd/user").join(&name);
    assert!(file.is_file());
    scene.delete(&unit).await.unwrap();
    assert!(!file.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_programs_end_at_logout_is_told_before_anything_is_begun() {
    if !inside_booted!() {
        return;
    }
    let scene = ServiceScene::new();
    let mut inputs = script("exec sleep 600");
    inputs["systemd"] = json!({"scope": "user"});
    let error = scene
        .scene
        .try_create(new_uid(), &attributes(inputs))
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid, "{error:?}");
    let hint = error.hint.as_deref().unwrap_or_default();
    assert!(hint.contains("loginctl enable-linger root"), "{error:?}");
    assert!(!scene.scene.root.path().join("units").exists());
}
