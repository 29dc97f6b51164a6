//! Services of systemd on a machine behind SSH: sshd and its programs run on a machine of the tests' own that systemd runs.

use std::process::Command;
use std::sync::Arc;

use gabion_engine::provider::{ErrorClass, ObjectState, Provider, ReadOutcome, UpdateRequest};
use gabion_engine::value::{AttributePath, Secret, Value};
use gabion_host::systemd::{Sudo, service_name};
use gabion_machines::program::ProgramSource;
use gabion_testing::booted::{add_user, run_inside_as, user_inside};
use gabion_testing::inside_booted;

use crate::scene::{
    HOST, Sink, address, call, connected, create, delete, eventually, hosts, inputs, key_of, new_uid,
    provider, read, recorded, sshd,
};

const SECRET: &str = "hunter2 'x' $(y) %n";

fn systemctl(arguments: &[&str]) -> String {
    let output = Command::new("systemctl").args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_made_read_followed_and_deleted_and_nothing_is_left() {
    if !inside_booted!() {
        return;
    }
    let Some(server) = sshd() else { return };
    let directory = tempfile::tempdir().unwrap();
    let script = "echo \"got $TOKEN\"; while sleep 0.1; do echo tick; done";
    let inputs = inputs(vec![
        ("runtime", "systemd".into()),
        (
            "argv",
            Value::List(vec!["/bin/sh".into(), "-c".into(), script.into()]),
        ),
        (
            "env",
            Value::map([("TOKEN", Value::Secret(Secret::new(None, SECRET.into())))]),
        ),
        ("stop_timeout", Value::Int(10)),
    ]);
    let (uid, sink) = (new_uid(), Arc::new(Sink::default()));
    let machines = connected(|| hosts(address(&server, key_of(&server)))).await;
    let provider = provider(&machines, directory.path());
    let state = create(&provider, &inputs, &call(uid, 1, &sink)).await.unwrap();
    let name = service_name(&uid.to_string());
    assert_eq!(
        state.attributes["service"],
        Value::string(format!("{name} (system)"))
    );
    assert_eq!(systemctl(&["is-active", &name]), "active");
    let file = std::path::Path::new("/etc/systemd/system").join(&name);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("gabion-agent") && !text.contains("hunter2"),
        "{text}"
    );

    let log = eventually("the log has its lines", async || {
        let log = machines.tail(HOST, uid.to_string(), 1000).await.unwrap();
        log.contains("tick").then_some(log)
    })
    .await;
    assert!(log.starts_with(&format!("got {SECRET}\n")), "{log}");
    let mut follower = machines.follow(HOST, uid.to_string(), None).await.unwrap();
    let news = follower.next().await.unwrap();
    assert!(String::from_utf8_lossy(&news).contains("tick"), "{news:?}");
    drop(follower);

    // The connection is gone, and with it the agent; the service is not.
    drop(machines);
    let again = connected(|| hosts(address(&server, key_of(&server)))).await;
    let reader = crate::scene::provider(&again, directory.path());
    let object = recorded(uid, &inputs, Some(&state));
    systemctl(&["stop", &name]);
    let ReadOutcome::Present(found) = read(&reader, object.clone()).await else {
        panic!("its unit is there");
    };
    assert_eq!(found.attributes["running"], false.into());

    delete(&reader, object.clone(), &call(uid, 2, &sink))
        .await
        .unwrap();
    assert_eq!(read(&reader, object).await, ReadOutcome::Absent);
    assert!(!file.exists());
    assert!(again.leave(HOST).await.unwrap().is_empty());
    assert!(!server.gabion_root().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_follows_an_agent_to_its_next_build_and_starts_that_after_a_crash() {
    if !inside_booted!() {
        return;
    }
    let Some(server) = sshd() else { return };
    let directory = tempfile::tempdir().unwrap();
    let argv = ["{gabion}", "agent", "serve", "--directory", "{unit.dir}"];
    let inputs = inputs(vec![
        ("runtime", "systemd".into()),
        ("argv", Value::List(argv.map(Value::from).to_vec())),
        (
            "probes",
            Value::List(vec![Value::map([("socket", Value::from("agent.sock"))])]),
        ),
        ("stop_timeout", Value::Int(20)),
    ]);
    let (uid, sink) = (new_uid(), Arc::new(Sink::default()));
    let machines = connected(|| hosts(address(&server, key_of(&server)))).await;
    let state = create(
        &provider(&machines, directory.path()),
        &inputs,
        &call(uid, 1, &sink),
    )
    .await
    .unwrap();
    let name = service_name(&uid.to_string());
    let main = || systemctl(&["show", "--value", "-p", "MainPID", &name]);
    let runs = |pid: &str| {
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        program.display().to_string()
    };
    let first = main();
    let digest = |state: &ObjectState| state.attributes["agent_digest"].as_str().unwrap().to_owned();
    assert!(runs(&first).contains(&digest(&state)), "{}", runs(&first));

    let copy = directory.path().join("gabion-agent");
    let made = Command::new("sh")
        .args(["-c", "{ cat \"$0\" && printf 2; } > \"$1\" && chmod 700 \"$1\""])
        .args([std::path::Path::new(env!("CARGO_BIN_EXE_gabion-agent")), &copy])
        .status();
    assert!(made.unwrap().success());
    let next = gabion_host::unit::program_digest(&copy).unwrap();
    let prepare = || {
        let machines = hosts(address(&server, key_of(&server)));
        let program = ProgramSource {
            configured: Some(copy.clone()),
            candidates: Vec::new(),
        };
        machines.configure("test", "/".into(), program);
        machines
    };
    let machines = connected(prepare).await;
    let newer = provider(&machines, directory.path());
    let mut planned = state.attributes.clone();
    planned.insert("agent_digest".into(), Value::string(&next));
    let request = UpdateRequest {
        object: recorded(uid, &inputs, Some(&state)),
        inputs: inputs.clone(),
        planned,
        changed: vec![AttributePath::root("agent_digest")],
    };
    let state = newer.update(request, &call(uid, 2, &sink)).await.unwrap();
    assert_eq!(digest(&state), next);
    assert_eq!(state.attributes["running"], true.into());
    let second = main();
    assert_ne!(second, first);
    assert!(runs(&second).contains(&next), "{}", runs(&second));
    eventually("the one before has ended", async || {
        runs(&first).is_empty().then_some(())
    })
    .await;
    let object = recorded(uid, &inputs, Some(&state));
    let ReadOutcome::Present(found) = read(&newer, object.clone()).await else {
        panic!("its unit is there");
    };
    for silent in ["ended", "restarted", "service_changed"] {
        assert!(!found.attributes.contains_key(silent), "{found:?}");
    }
    assert_eq!(systemctl(&["is-active", &name]), "active");

    systemctl(&["kill", "-s", "SIGKILL", &name]);
    let third = eventually("systemd has started it again", async || {
        Some(main()).filter(|pid| *pid != second && *pid != "0" && runs(pid).contains(&next))
    })
    .await;
    assert_ne!(third, second);
    delete(&newer, object, &call(uid, 3, &sink)).await.unwrap();
    assert!(machines.leave(HOST).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_sudo_password_names_the_machine_the_step_and_the_way_out() {
    const PASSWORD: &str = "correct horse";
    if !inside_booted!() {
        return;
    }
    if user_inside().is_none() {
        let there = |path: &str| std::path::Path::new(path).is_file();
        let own = std::env::current_exe().unwrap();
        if !there("/usr/bin/sudo") || !there("/usr/bin/dbus-daemon") {
            eprintln!("skipped: there is no sudo or no dbus-daemon");
            return;
        }
        add_user("runner", PASSWORD).unwrap();
        let readable = Command::new("setpriv")
            .args([
                "--reuid",
                "runner",
                "--regid",
                "runner",
                "--init-groups",
                "test",
                "-x",
            ])
            .arg(own)
            .status()
            .unwrap();
        if !readable.success() {
            eprintln!("skipped: another user cannot read the tests' programs");
            return;
        }
        systemctl(&["start", "dbus.socket"]);
        fn here() {}
        run_inside_as("runner", std::any::type_name_of_val(&here)).unwrap();
        return;
    }
    let Some(server) = sshd() else { return };
    let directory = tempfile::tempdir().unwrap();
    let inputs = inputs(vec![
        ("runtime", "systemd".into()),
        ("argv", Value::List(vec!["sleep".into(), "600".into()])),
        ("stop_timeout", Value::Int(10)),
    ]);
    let sink = Arc::new(Sink::default());
    let with = async |password: &'static str| {
        let prepare = || {
            let machines = hosts(address(&server, key_of(&server)));
            machines.allow_sudo(Some(Arc::new(move || {
                Ok(Sudo {
                    password: Some(password.to_owned()),
                })
            })));
            machines
        };
        provider(&connected(prepare).await, directory.path())
    };

    let wrong = with("wrong password").await;
    let uid = new_uid();
    let error = create(&wrong, &inputs, &call(uid, 1, &sink)).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Denied, "{error:?}");
    for part in [HOST, "Its unit file cannot be put in its place", "sudo refuses"] {
        assert!(error.message.contains(part), "{error:?}");
    }
    assert!(
        error.hint.as_deref().unwrap_or_default().contains("sudo"),
        "{error:?}"
    );
    assert!(!format!("{error:?}").contains("wrong password"), "{error:?}");

    // With the right one the same unit comes about, and it goes again.
    let right = with(PASSWORD).await;
    let state = create(&right, &inputs, &call(uid, 2, &sink)).await.unwrap();
    let name = service_name(&uid.to_string());
    assert_eq!(
        state.attributes["service"],
        Value::string(format!("{name} (system)"))
    );
    let object = recorded(uid, &inputs, Some(&state));
    delete(&right, object, &call(uid, 3, &sink)).await.unwrap();
    assert!(!std::path::Path::new("/etc/systemd/system").join(name).exists());
}
