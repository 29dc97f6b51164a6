//! Machines in trouble: slow, silent, full, with a wrong clock, or restarted. Each is said for what it is.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use gabion_engine::provider::{ErrorClass, ReadOutcome};
use gabion_engine::value::Value;
use gabion_testing::inside_booted;
use gabion_testing::sshd::Sshd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::scene::{
    HOST, Sink, address, call, connected, create, delete, eventually, hosts, inputs, is_late, key_of,
    new_uid, provider, read, recorded, sshd,
};

/// Copies what comes, each piece so much later.
async fn delayed(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    delay: Duration,
) {
    let (sender, mut queue) = mpsc::channel::<(Instant, Vec<u8>)>(4096);
    tokio::spawn(async move {
        while let Some((due, bytes)) = queue.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut piece = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        let sent = sender
            .send((Instant::now() + delay, piece[..count].to_vec()))
            .await;
        if sent.is_err() {
            return;
        }
    }
}

/// Returns the port of a proxy that delays everything, both ways.
async fn slow_proxy(port: u16, delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else {
                continue;
            };
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            tokio::spawn(delayed(near_read, far_write, delay));
            tokio::spawn(delayed(far_read, near_write, delay));
        }
    });
    own
}

fn sleeper() -> gabion_engine::value::Attributes {
    inputs(vec![
        ("argv", Value::List(vec!["sleep".into(), "600".into()])),
        ("stop_timeout", Value::Int(2)),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_slow_line_everything_comes_about() {
    let Some(server) = sshd() else { return };
    let directory = tempfile::tempdir().unwrap();
    let mut address = address(&server, key_of(&server));
    address.port = Some(slow_proxy(server.port(), Duration::from_millis(300)).await);
    let machines = hosts(address);
    let provider = provider(&machines, directory.path());
    let (uid, sink) = (new_uid(), Arc::new(Sink::default()));
    let inputs = sleeper();
    let state = create(&provider, &inputs, &call(uid, 1, &sink)).await.unwrap();
    let object = recorded(uid, &inputs, Some(&state));
    let ReadOutcome::Present(found) = read(&provider, object.clone()).await else {
        panic!("it is there");
    };
    assert_eq!(found.attributes["running"], true.into());
    let (facts, _) = machines.facts(HOST).await.unwrap();
    assert_eq!(facts.clock, None, "a slow line is no wrong clock");
    delete(&provider, object, &call(uid, 2, &sink)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_says_nothing_is_named_with_what_was_waited_for() {
    let Some(server) = sshd() else { return };
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut address = address(&server, key_of(&server));
    let port = silent.local_addr().unwrap().port();
    address.port = Some(port);
    let error = hosts(address).facts(HOST).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient, "{error:?}");
    for part in [HOST, &format!("port {port}"), "timed out"] {
        assert!(error.message.contains(part), "{error:?}");
    }
    assert!(error.hint.is_some(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_on_a_machine_is_said_with_the_place() {
    if !inside_booted!() {
        return;
    }
    let Some(server) = sshd() else { return };
    let data = server.directory().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(&data)
        .status()
        .unwrap();
    assert!(mount.success());
    let mut attempts = 0;
    let error = loop {
        attempts += 1;
        let machines = hosts(address(&server, key_of(&server)));
        match machines.facts(HOST).await.unwrap_err() {
            error if attempts < 4 && is_late(&error) => {}
            error => break error,
        }
    };
    let unmounted = Command::new("umount").arg("--lazy").arg(&data).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(error.class, ErrorClass::Invalid, "{error:?}");
    for part in [HOST, "cannot be written", "its disk may be full"] {
        assert!(error.message.contains(part), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_by_an_hour_is_told_and_nothing_depends_on_it() {
    const LATER: &str = "#define _GNU_SOURCE\n#include <time.h>\n#include <unistd.h>\n#include <sys/syscall.h>\n\
        int clock_gettime(clockid_t id, struct timespec *now) {\n\
          int result = syscall(SYS_clock_gettime, id, now);\n\
          if (result == 0 && id == CLOCK_REALTIME) now->tv_sec += 3600;\n\
          return result;\n\
        }\n";
    if Sshd::program().is_none() {
        eprintln!("skipped: there is no sshd on this machine");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (source, library) = (
        directory.path().join("later.c"),
        directory.path().join("later.so"),
    );
    std::fs::write(&source, LATER).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no C compiler, which makes the other clock");
        return;
    }
    let server = Sshd::start(&[("LD_PRELOAD", &library.display().to_string())]).unwrap();
    let machines = hosts(address(&server, key_of(&server)));
    let (facts, _) = machines.facts(HOST).await.unwrap();
    assert_eq!(facts.clock.as_deref(), Some("60 min ahead of gabion's own"));
    assert_eq!(
        facts.to_attributes()["clock"],
        Value::from("60 min ahead of gabion's own")
    );

    let provider = provider(&machines, directory.path());
    let (uid, sink) = (new_uid(), Arc::new(Sink::default()));
    let inputs = sleeper();
    let state = create(&provider, &inputs, &call(uid, 1, &sink)).await.unwrap();
    let object = recorded(uid, &inputs, Some(&state));
    delete(&provider, object.clone(), &call(uid, 2, &sink))
        .await
        .unwrap();
    assert_eq!(read(&provider, object).await, ReadOutcome::Absent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_was_restarted_is_told_with_both_boot_ids_and_its_programs_come_back() {
    // Only root gives a machine another boot id, and inside that is nobody else's matter.
    if !inside_booted!() {
        return;
    }
    let Some(mut server) = sshd() else { return };
    let directory = tempfile::tempdir().unwrap();
    let machines = connected(|| hosts(address(&server, key_of(&server)))).await;
    let before = provider(&machines, directory.path());
    let (uid, sink) = (new_uid(), Arc::new(Sink::default()));
    let inputs = sleeper();
    let state = create(&before, &inputs, &call(uid, 1, &sink)).await.unwrap();
    let views = machines.units(HOST, vec![uid.to_string()]).await.unwrap();
    let pid = views[0].pid.unwrap();
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();

    let another = uuid::Uuid::now_v7().to_string();
    let killed = Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let restarted = another.clone();
    let server = tokio::task::spawn_blocking(move || server.resume_rebooted(&restarted).map(|()| server));
    let server = server.await.unwrap().unwrap();

    let machines = connected(|| hosts(address(&server, key_of(&server)))).await;
    let after = provider(&machines, directory.path());
    let object = recorded(uid, &inputs, Some(&state));
    let ReadOutcome::Present(found) = read(&after, object.clone()).await else {
        panic!("its unit is there");
    };
    assert_eq!(found.attributes["running"], false.into());
    assert_eq!(
        found.attributes["ended"],
        Value::string(format!(
            "the machine was restarted: its boot_id was {} and is {another}",
            boot_id.trim()
        ))
    );
    let again = create(&after, &inputs, &call(uid, 2, &sink)).await.unwrap();
    assert_eq!(again.id, state.id);
    let running = eventually("it runs again", async || {
        let views = machines.units(HOST, vec![uid.to_string()]).await.unwrap();
        views[0].running.then_some(views[0].pid)
    })
    .await;
    assert_ne!(running, Some(pid));
    delete(&after, object, &call(uid, 3, &sink)).await.unwrap();
}
