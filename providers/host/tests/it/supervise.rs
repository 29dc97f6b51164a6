//! Programs with a supervisor: how they end is known, whoever is killed when.

use std::process::{Command, Stdio};

use gabion_host::process::ProcessStat;
use gabion_host::unit::{
    EndCause, Exit, RunNode, ShimError, Standing, Supervision, UnitDirectory, UnitError, UnitSpec,
    UnitStatus, inspect, standing, stop,
};

use crate::support::{Root, SHIM, fence, kill, launch, log, pid, session, shell, until};

fn task(uid: &str, script: &str) -> UnitSpec {
    supervised(
        shell(uid, script),
        Supervision {
            completes: true,
            ..Supervision::default()
        },
    )
}

fn supervised(spec: UnitSpec, supervision: Supervision) -> UnitSpec {
    UnitSpec {
        supervision: Some(supervision),
        ..spec
    }
}

fn how(directory: &UnitDirectory) -> Standing {
    standing(directory).unwrap()
}

async fn ends(directory: &UnitDirectory) -> Standing {
    until("it ended", || !inspect(directory).unwrap().is_running()).await;
    how(directory)
}

const fn code(code: i32) -> Exit {
    Exit {
        code: Some(code),
        signal: None,
    }
}

const fn signal(signal: i32) -> Exit {
    Exit {
        code: None,
        signal: Some(signal),
    }
}

#[tokio::test]
async fn exit_codes_and_signals_are_recorded_when_the_starter_is_gone() {
    let root = Root::new();
    let cases = [
        ("done", "exit 0", "done (0)", code(0)),
        ("three", "exit 3", "failed (3)", code(3)),
        ("signal", "kill -USR1 $$", "failed (signal SIGUSR1)", signal(10)),
    ];
    for (uid, script, words, exit) in cases {
        let directory = root.write(&task(uid, &format!("echo said; sleep 0.3; {script}")));
        let mut starter = Command::new(SHIM)
            .arg("start")
            .arg(directory.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        until("it runs", || inspect(&directory).unwrap().is_running()).await;
        starter.kill().unwrap();
        starter.wait().unwrap();
        let ended = ends(&directory).await;
        assert_eq!(ended.to_string(), words);
        assert_eq!(ended.exit(), Some(exit));
        assert!(ended.ended_at().is_some());
        assert!(log(&directory).starts_with("said\n"), "{}", log(&directory));
        until("nothing is left", || {
            session(directory.mark().unwrap().unwrap().process.pid).is_empty()
        })
        .await;
    }
}

#[tokio::test]
async fn what_a_finished_program_left_running_ends_with_it() {
    let root = Root::new();
    let directory = root.write(&task("a", "sleep 600 & exit 0"));
    launch(&directory, 1).await.unwrap();
    let leader = directory.mark().unwrap().unwrap().process.pid;
    assert!(matches!(ends(&directory).await, Standing::Done { .. }));
    until("nothing is left", || session(leader).is_empty()).await;
}

#[tokio::test]
async fn a_killed_supervisor_is_told_as_such_and_its_program_is_still_found() {
    let root = Root::new();
    let directory = root.write(&task("a", "echo up; exec sleep 600"));
    launch(&directory, 1).await.unwrap();
    until("it is up", || log(&directory) == "up\n").await;
    let leader = pid(&directory);
    let program = directory
        .run(&directory.mark().unwrap().unwrap())
        .unwrap()
        .unwrap()
        .program
        .unwrap();
    kill(leader);
    until("the supervisor is gone", || {
        ProcessStat::read(leader).is_none_or(|stat| !stat.is_running())
    })
    .await;
    assert_eq!(how(&directory), Standing::Lost { left: vec![program] });
    assert_eq!(
        how(&directory).to_string(),
        format!("lost (its supervisor is gone; still runs: {program})")
    );
    stop(&directory, &fence(2), None).await.unwrap();
    assert_eq!(how(&directory), Standing::Lost { left: vec![] });
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_an_error_of_the_start() {
    let root = Root::new();
    let mut spec = task("a", "");
    spec.argv = vec!["/no/such/program".to_owned()];
    let directory = root.write(&spec);
    let error = launch(&directory, 1).await.unwrap_err();
    assert!(
        matches!(&error, UnitError::Launch(ShimError::Invalid { detail }) if detail.contains("is not there")),
        "{error}"
    );
    assert!(matches!(how(&directory), Standing::Failed { exit: None, .. }));
}

#[tokio::test]
async fn stopping_asks_the_program_once_and_is_recorded_as_asked_for() {
    let root = Root::new();
    let script = "trap 'echo asked; sleep 0.2; exit 7' TERM; echo up; while :; do sleep 0.05; done";
    let directory = root.write(&task("a", script));
    launch(&directory, 1).await.unwrap();
    until("it is up", || log(&directory) == "up\n").await;
    let report = stop(&directory, &fence(1), None).await.unwrap();
    assert_eq!((report.asked, report.killed), (1, 0));
    assert!(
        matches!(
            how(&directory),
            Standing::Stopped {
                cause: EndCause::Asked,
                exit: Exit {
                    code: Some(7),
                    signal: None
                },
                ..
            }
        ),
        "{:?}",
        how(&directory)
    );
    assert_eq!(
        log(&directory).matches("asked\n").count(),
        1,
        "{}",
        log(&directory)
    );
}

#[tokio::test]
async fn a_program_that_does_not_end_when_asked_is_killed() {
    let root = Root::new();
    let mut spec = task("a", "trap '' TERM; echo up; while :; do sleep 0.05; done");
    spec.stop_duration = std::time::Duration::from_millis(300);
    let directory = root.write(&spec);
    launch(&directory, 1).await.unwrap();
    until("it is up", || log(&directory) == "up\n").await;
    let leader = pid(&directory);
    stop(&directory, &fence(1), None).await.unwrap();
    assert_eq!(session(leader), [0; 0]);
}

#[tokio::test]
async fn a_program_is_stopped_when_its_time_is_up() {
    let root = Root::new();
    let supervision = Supervision {
        completes: true,
        max_milliseconds: Some(300),
        ..Supervision::default()
    };
    let directory = root.write(&supervised(shell("a", "exec sleep 600"), supervision));
    launch(&directory, 1).await.unwrap();
    let ended = ends(&directory).await;
    assert!(
        matches!(
            &ended,
            Standing::Stopped {
                cause: EndCause::MaxDuration,
                ..
            }
        ),
        "{ended:?}"
    );
    assert_eq!(ended.to_string(), "stopped (it had run for its `max_duration`)");
}

#[tokio::test]
async fn a_failing_program_is_started_again_until_it_succeeds() {
    let root = Root::new();
    let supervision = Supervision {
        completes: true,
        retry_milliseconds: Some(60_000),
        ..Supervision::default()
    };
    let script = "echo attempt; [ -e second ] && exit 0; touch second; sleep 600 & exit 5";
    let directory = root.write(&supervised(shell("a", script), supervision));
    launch(&directory, 1).await.unwrap();
    until("it is tried again", || {
        matches!(how(&directory), Standing::Retrying { attempt: 1, failure } if failure == code(5))
            || matches!(how(&directory), Standing::Done { .. })
    })
    .await;
    assert!(matches!(ends(&directory).await, Standing::Done { .. }));
    assert_eq!(
        log(&directory),
        "attempt\ngabion: the program ended with exit code 5; it is started again in 1 s\nattempt\n"
    );
}

#[tokio::test]
async fn a_service_that_ends_well_is_started_again_all_the_same() {
    let root = Root::new();
    let supervision = Supervision {
        retry_milliseconds: Some(60_000),
        ..Supervision::default()
    };
    let script = "[ -e second ] && exec sleep 600; touch second; exit 0";
    let directory = root.write(&supervised(shell("a", script), supervision));
    launch(&directory, 1).await.unwrap();
    until("it runs again", || {
        how(&directory) == Standing::Running { retries: 1 }
    })
    .await;
    assert!(matches!(inspect(&directory).unwrap(), UnitStatus::Running { .. }));
}

fn node(uid: &str, rank: u32, ends_with_master: bool, script: &str) -> UnitSpec {
    let supervision = Supervision {
        completes: true,
        node: Some(RunNode {
            run: "train".to_owned(),
            rank,
            ends_with_master,
        }),
        ..Supervision::default()
    };
    supervised(shell(uid, script), supervision)
}

#[tokio::test]
async fn when_one_node_fails_the_others_are_stopped() {
    let root = Root::new();
    let waiting = root.write(&node("a", 0, false, "exec sleep 600"));
    let done = root.write(&node("c", 2, false, "exit 0"));
    launch(&waiting, 1).await.unwrap();
    launch(&done, 1).await.unwrap();
    assert!(matches!(ends(&done).await, Standing::Done { .. }));
    assert!(how(&waiting) == Standing::Running { retries: 0 });
    let failing = root.write(&node("b", 1, false, "sleep 0.2; exit 2"));
    launch(&failing, 1).await.unwrap();
    assert_eq!(ends(&waiting).await.to_string(), "stopped (another node failed)");
    assert_eq!(how(&failing).exit(), Some(code(2)));
}

#[tokio::test]
async fn a_node_that_failed_before_the_others_started_stops_them_and_one_of_an_earlier_run_does_not() {
    let root = Root::new();
    let failed = root.write(&node("b", 1, false, "exit 2"));
    launch(&failed, 1).await.unwrap();
    ends(&failed).await;
    let later = root.write(&node("a", 0, false, "exec sleep 600"));
    launch(&later, 2).await.unwrap();
    let together = root.write(&node("c", 2, false, "exec sleep 600"));
    launch(&together, 1).await.unwrap();
    assert_eq!(ends(&together).await.to_string(), "stopped (another node failed)");
    assert!(inspect(&later).unwrap().is_running());
}

#[tokio::test]
async fn workers_end_with_their_master_when_they_are_told_to() {
    let root = Root::new();
    let worker = root.write(&node("b", 1, true, "exec sleep 600"));
    let other = root.write(&node("c", 2, false, "exec sleep 600"));
    launch(&worker, 1).await.unwrap();
    launch(&other, 1).await.unwrap();
    let master = root.write(&node("a", 0, true, "sleep 0.2"));
    launch(&master, 1).await.unwrap();
    assert_eq!(ends(&worker).await.to_string(), "stopped (the master was done)");
    assert!(inspect(&other).unwrap().is_running());
}
