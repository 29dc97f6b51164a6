//! Starting: what runs, where, as whom, and exactly once.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use gabion_host::process::ProcessStat;
use gabion_host::unit::{
    EnvValue, Exit, ShimError, StartRequest, UnitDirectory, UnitError, UnitStatus, inspect, list, start,
    tail, write,
};

use crate::support::{Root, SHIM, fence, kill, launch, log, pid, session, shell, until, with_env};

#[tokio::test]
async fn the_program_gets_its_files_ports_and_environment_and_nothing_else() {
    let root = Root::new();
    let mut spec = shell(
        "a",
        "cat hello/world.txt; echo {ports.http} {unit.dir}; env | sort; exec sleep 600",
    );
    spec.files = BTreeMap::from([("hello/world.txt".to_owned(), "from a file\n".to_owned())]);
    spec.ports = BTreeMap::from([("http".to_owned(), 20123)]);
    let spec = with_env(spec, "PORT", EnvValue::Plain("{ports.http}".to_owned()));
    let spec = with_env(spec, "TOKEN", EnvValue::Secret("{ports.http}-kept".to_owned()));
    let directory = root.write(&spec);
    assert_eq!(inspect(&directory).unwrap(), UnitStatus::NeverStarted);
    let launched = launch(&directory, 1).await.unwrap();
    assert!(launched.started);
    assert_eq!(launched.mark.operation, "op-1");
    until("the program has said all", || log(&directory).contains("TOKEN=")).await;
    let said = log(&directory);
    assert!(
        said.starts_with(&format!("from a file\n20123 {}\n", directory.path().display())),
        "{said}"
    );
    let names: Vec<&str> = said
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["GABION_UNIT", "PATH", "PORT", "PWD", "TOKEN"]);
    assert!(
        said.contains("\nPORT=20123\n") && said.contains("\nTOKEN={ports.http}-kept\n"),
        "{said}"
    );
    let again = launch(&directory, 1).await.unwrap();
    assert!(!again.started);
    assert_eq!(again.mark, launched.mark);
}

#[tokio::test]
async fn the_program_survives_its_parent() {
    let root = Root::new();
    let directory = root.write(&shell(
        "a",
        "trap 'echo hung up' HUP; while :; do sleep 0.05; done",
    ));
    let mut parent = Command::new(SHIM)
        .arg("start")
        .arg(directory.path())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    until("it runs", || inspect(&directory).unwrap().is_running()).await;
    let leader = pid(&directory);
    parent.kill().unwrap();
    parent.wait().unwrap();
    until("it has a new parent", || {
        ProcessStat::read(leader).is_some_and(|stat| stat.parent != parent.id() as i32)
    })
    .await;
    assert_eq!(pid(&directory), leader);
    let stat = ProcessStat::read(leader).unwrap();
    assert_eq!(stat.session, leader);
    assert_eq!(log(&directory), "");
}

#[tokio::test]
async fn of_many_launches_one_runs() {
    let root = Root::new();
    let directory = root.write(&shell("a", "echo started; exec sleep 600"));
    // Bare shims, since `start` would see that the unit runs and not even try.
    let children: Vec<_> = (0..8)
        .map(|_| {
            Command::new(SHIM)
                .arg("exec")
                .arg(directory.path())
                .args(["--operation", "op", "--epoch", "1"])
                .stdin(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut refused = 0;
    let mut running = Vec::new();
    for mut child in children {
        let mut report = String::new();
        std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut report).unwrap();
        if report.is_empty() {
            running.push(child);
        } else {
            assert!(report.contains("\"busy\""), "{report}");
            assert!(!child.wait().unwrap().success());
            refused += 1;
        }
    }
    assert_eq!((running.len(), refused), (1, 7));
    assert_eq!(pid(&directory), running[0].id() as i32);
    until("it has said so", || log(&directory) == "started\n").await;
    running[0].kill().unwrap();
    running[0].wait().unwrap();
}

#[tokio::test]
async fn a_killed_program_is_exited_even_while_it_is_a_zombie_and_starts_again_from_its_record() {
    let root = Root::new();
    let mut spec = with_env(
        shell("a", "echo $TOKEN; exec sleep 600"),
        "TOKEN",
        EnvValue::Secret("s".to_owned()),
    );
    spec.ports = BTreeMap::from([("http".to_owned(), 20123)]);
    let directory = root.write(&spec);
    launch(&directory, 3).await.unwrap();
    let first = pid(&directory);
    let record = directory.launch().unwrap();
    until("it has said something", || !log(&directory).is_empty()).await;
    kill(first);
    until("its end is known", || {
        matches!(
            inspect(&directory).unwrap(),
            UnitStatus::Exited {
                exit: Some(Exit {
                    code: None,
                    signal: Some(9)
                }),
                ..
            }
        )
    })
    .await;
    let again = start(&StartRequest {
        directory: directory.clone(),
        shim: vec![SHIM.to_owned(), "exec".to_owned()],
        fence: None,
    })
    .await
    .unwrap();
    assert!(again.started);
    assert_eq!((again.mark.operation.as_str(), again.mark.epoch), ("op-3", 3));
    assert_ne!(pid(&directory), first);
    assert_eq!(directory.launch().unwrap(), record);
    until("it has its secret", || log(&directory) == "s\n").await;
    assert_eq!(
        std::fs::read_to_string(directory.path().join("log/1.log")).unwrap(),
        "s\n"
    );
}

#[tokio::test]
async fn an_unreaped_program_does_not_count_as_alive() {
    let root = Root::new();
    let directory = root.write(&shell("a", "exit 3"));
    let mut child = Command::new(SHIM)
        .arg("exec")
        .arg(directory.path())
        .args(["--operation", "op", "--epoch", "1"])
        .spawn()
        .unwrap();
    until("it ended", || {
        matches!(
            inspect(&directory).unwrap(),
            UnitStatus::Exited { exit: None, .. }
        )
    })
    .await;
    assert!(ProcessStat::read(child.id() as i32).is_some_and(|stat| !stat.is_running()));
    child.wait().unwrap();
}

#[tokio::test]
async fn a_mark_of_another_boot_is_a_reboot() {
    let root = Root::new();
    let directory = root.run("a", "exec sleep 600").await;
    let leader = pid(&directory);
    let mark = directory.path().join("mark.json");
    let text = std::fs::read_to_string(&mark).unwrap();
    let boot = gabion_host::process::boot_id().unwrap();
    std::fs::write(&mark, text.replace(&boot, "another")).unwrap();
    assert!(matches!(
        inspect(&directory).unwrap(),
        UnitStatus::Rebooted { .. }
    ));
    std::fs::write(&mark, text).unwrap();
    assert_eq!(pid(&directory), leader);
}

#[tokio::test]
async fn an_older_epoch_is_refused_everywhere() {
    let root = Root::new();
    let spec = shell("a", "exec sleep 600");
    let directory = write(root.path(), &spec, &fence(5)).unwrap();
    let stale = |error: UnitError| {
        matches!(
            error,
            UnitError::StaleEpoch {
                offered: 4,
                recorded: 5,
                ..
            }
        )
    };
    assert!(stale(launch(&directory, 4).await.unwrap_err()));
    assert!(stale(write(root.path(), &spec, &fence(4)).unwrap_err()));
    assert!(stale(
        gabion_host::unit::stop(&directory, &fence(4), None)
            .await
            .unwrap_err()
    ));
    assert_eq!(inspect(&directory).unwrap(), UnitStatus::NeverStarted);
    // The shim looks for itself, in case its parent looked too early.
    let output = Command::new(SHIM)
        .arg("exec")
        .arg(directory.path())
        .args(["--operation", "op", "--epoch", "4"])
        .output()
        .unwrap();
    let error: ShimError = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(
        error,
        ShimError::StaleEpoch {
            offered: 4,
            recorded: 5
        }
    );
    launch(&directory, 6).await.unwrap();
    assert!(matches!(
        launch(&directory, 5).await.unwrap_err(),
        UnitError::StaleEpoch { recorded: 6, .. }
    ));
}

#[tokio::test]
async fn what_cannot_start_says_why_and_does_not_run() {
    let root = Root::new();
    let mut missing = shell("a", "");
    missing.argv = vec!["no-such-program".to_owned()];
    let mut nowhere = shell("b", "true");
    nowhere.working_dir = Some("/no/such/directory".to_owned());
    let mut script = shell("c", "");
    script.argv = vec!["{unit.dir}/files/script".to_owned()];
    // Only what begins as a script does may be executed.
    script.files = BTreeMap::from([("script".to_owned(), "true\n".to_owned())]);
    let cases = [
        (missing, "the program \"no-such-program\" is not there"),
        (nowhere, "the working directory /no/such/directory is not there"),
        (script, "/files/script\" may not be executed"),
    ];
    for (spec, expected) in cases {
        let directory = root.write(&spec);
        let error = launch(&directory, 1).await.unwrap_err();
        assert!(
            matches!(error, UnitError::Launch(ShimError::Invalid { .. })),
            "{error:?}"
        );
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!inspect(&directory).unwrap().is_running());
    }
    let log = tail(&UnitDirectory::new(root.path(), "a").unwrap(), 5, 1000).unwrap();
    assert_eq!(log, "gabion: the program \"no-such-program\" is not there\n");
}

#[tokio::test]
async fn bad_specifications_are_refused_before_anything_is_written() {
    let root = Root::new();
    let mut cases = vec![
        ("/", shell("a/b", "x")),
        (".", shell(".a", "x")),
        ("empty", shell("", "x")),
    ];
    let mut spec = shell("a", "{ports.http}");
    cases.push(("port", spec.clone()));
    spec = shell("a", "x");
    spec.argv = Vec::new();
    cases.push(("argv", spec.clone()));
    for path in ["../x", "/x", "a/../../x", "", "a/"] {
        spec = shell("a", "x");
        spec.files = BTreeMap::from([(path.to_owned(), String::new())]);
        cases.push((path, spec.clone()));
    }
    spec = shell("a", "x");
    spec.files = ["a", "a/b"].map(|name| (name.to_owned(), String::new())).into();
    cases.push(("inside a file", spec.clone()));
    spec = shell("a", "x");
    spec.working_dir = Some("relative".to_owned());
    cases.push(("relative", spec.clone()));
    cases.push((
        "name",
        with_env(shell("a", "x"), "A=B", EnvValue::Plain(String::new())),
    ));
    cases.push((
        "nul",
        with_env(shell("a", "x"), "A", EnvValue::Secret("\0".to_owned())),
    ));
    for (what, spec) in cases {
        let error = write(root.path(), &spec, &fence(1)).unwrap_err();
        assert!(matches!(error, UnitError::Invalid { .. }), "{what}: {error:?}");
    }
    assert!(list(root.path()).unwrap().is_empty());
}

#[tokio::test]
async fn units_are_listed_a_damaged_one_too() {
    let root = Root::new();
    let b = root.write(&shell("b", "x"));
    root.write(&shell("a", "x"));
    std::fs::create_dir(root.path().join("units/.new-c-1")).unwrap();
    std::fs::write(b.path().join("launch.json"), r#"{"format": 2}"#).unwrap();
    let units = list(root.path()).unwrap();
    let uids: Vec<&str> = units.iter().map(|unit| unit.uid.as_str()).collect();
    assert_eq!(uids, ["a", "b"]);
    assert_eq!(units[0].launch.as_ref().unwrap().address, "host_unit.a");
    let error = units[1].launch.as_ref().unwrap_err().to_string();
    assert!(
        error.ends_with("launch.json: written by a newer gabion (format 2; this one knows 1)"),
        "{error}"
    );
    assert!(list(Path::new("/no/such/root")).unwrap().is_empty());
}

#[tokio::test]
async fn rewriting_replaces_files_and_leaves_no_draft() {
    let root = Root::new();
    let mut spec = shell("a", "x");
    spec.files = ["one", "two"]
        .map(|name| (name.to_owned(), "1".to_owned()))
        .into();
    std::fs::create_dir_all(root.path().join("units/.new-a-77")).unwrap();
    let directory = root.write(&spec);
    spec.files = BTreeMap::from([("two".to_owned(), "2".to_owned())]);
    write(root.path(), &spec, &fence(2)).unwrap();
    assert_eq!(directory.file("one").unwrap(), None);
    assert_eq!(directory.file("two").unwrap().unwrap(), b"2");
    assert_eq!(directory.fence().unwrap().unwrap(), fence(2));
    assert_eq!(std::fs::read_dir(root.path().join("units")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_start_ends_what_an_earlier_run_left() {
    let root = Root::new();
    let directory = root.run("a", "sleep 600 & echo ready; exec sleep 600").await;
    until("its child runs", || log(&directory).contains("ready")).await;
    let leader = pid(&directory);
    assert_eq!(session(leader).len(), 2);
    kill(leader);
    until("it ended", || !inspect(&directory).unwrap().is_running()).await;
    let UnitStatus::Exited { left, .. } = inspect(&directory).unwrap() else {
        panic!("not exited");
    };
    assert_eq!(left.len(), 1);
    launch(&directory, 1).await.unwrap();
    assert!(session(leader).is_empty());
    assert_ne!(pid(&directory), leader);
}
