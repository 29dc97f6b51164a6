//! Stopping: all of it, nothing else, and no trace.

use std::time::{Duration, Instant};

use gabion_host::ports::{PortOwner, PortRegistry, PortRequest};
use gabion_host::unit::{UnitDirectory, UnitError, inspect, list, remove, stop};

use crate::support::{Root, fence, launch, log, pid, session, shell, until};

#[tokio::test]
async fn grandchildren_end_as_well() {
    let root = Root::new();
    let directory = root
        .run(
            "a",
            "sh -c 'sh -c \"sleep 600; :\" & sleep 600; :' & echo ready; wait",
        )
        .await;
    until("all run", || {
        log(&directory).contains("ready") && session(pid(&directory)).len() >= 5
    })
    .await;
    let leader = pid(&directory);
    let report = stop(&directory, &fence(1), None).await.unwrap();
    assert!(report.asked >= 5 && report.killed == 0, "{report:?}");
    assert!(session(leader).is_empty());
    assert!(!inspect(&directory).unwrap().is_running());
    assert_eq!(stop(&directory, &fence(1), None).await.unwrap().asked, 0);
}

#[tokio::test]
async fn a_program_may_finish_within_its_stop_duration() {
    let root = Root::new();
    let directory = root
        .run(
            "a",
            "trap 'echo asked; sleep 0.3; echo done; exit 0' TERM; echo ready; while :; do sleep 0.01; done",
        )
        .await;
    until("it is ready", || log(&directory).contains("ready")).await;
    let report = stop(&directory, &fence(1), None).await.unwrap();
    assert_eq!(report.killed, 0);
    assert!(log(&directory).contains("asked\n"), "{}", log(&directory));
}

#[tokio::test]
async fn a_program_that_ignores_the_request_is_killed_in_time() {
    let root = Root::new();
    let directory = root
        .run("a", "trap '' TERM; echo ready; while :; do sleep 0.01; done")
        .await;
    until("it is ready", || log(&directory).contains("ready")).await;
    let begun = Instant::now();
    let report = stop(&directory, &fence(1), Some(Duration::from_millis(200)))
        .await
        .unwrap();
    assert!(report.killed >= 1);
    assert!(begun.elapsed() >= Duration::from_millis(200) && begun.elapsed() < Duration::from_secs(8));
    assert!(!inspect(&directory).unwrap().is_running());
}

#[tokio::test]
async fn a_descendant_that_left_the_session_is_found_by_the_lock_it_inherited() {
    let root = Root::new();
    let directory = root
        .run("a", "setsid sh -c 'echo $$; exec sleep 600' & wait")
        .await;
    until("it is away", || log(&directory).ends_with('\n')).await;
    let runaway: i32 = log(&directory).trim().parse().unwrap();
    assert_eq!(session(runaway), [runaway]);
    stop(&directory, &fence(1), None).await.unwrap();
    assert!(session(runaway).is_empty());
}

#[tokio::test]
async fn somebody_else_with_the_pid_is_left_alone() {
    let root = Root::new();
    let directory = root.run("a", "exec sleep 600").await;
    let leader = pid(&directory);
    // As if the pid had been given away: the mark names another start time.
    let mark = directory.path().join("mark.json");
    let text = std::fs::read_to_string(&mark).unwrap();
    let started = format!(
        "\"start_time\": {}",
        directory.mark().unwrap().unwrap().process.start_time
    );
    std::fs::write(&mark, text.replace(&started, "\"start_time\": 1")).unwrap();
    std::fs::rename(directory.path().join("lock"), directory.path().join("other")).unwrap();
    assert_eq!(stop(&directory, &fence(1), None).await.unwrap().asked, 0);
    assert_eq!(session(leader), [leader]);
    std::fs::write(&mark, text).unwrap();
}

#[tokio::test]
async fn removal_leaves_no_process_port_or_file() {
    let root = Root::new();
    let registry = PortRegistry::new(root.path().join("ports.json"));
    let directory = root
        .run("a", "while :; do echo x >> new-file; sleep 0.01; done")
        .await;
    let owner = PortOwner {
        uid: "a".to_owned(),
        label: "a".to_owned(),
        directory: directory.path().to_owned(),
    };
    registry
        .lease(&owner, "http", &PortRequest::Range(23000..=23099))
        .unwrap();
    let leader = pid(&directory);
    let error = remove(&directory, &fence(0), None, &registry).await.unwrap_err();
    assert!(matches!(error, UnitError::StaleEpoch { .. }), "{error:?}");
    assert!(directory.exists());
    remove(&directory, &fence(2), None, &registry).await.unwrap();
    assert!(session(leader).is_empty());
    assert!(!directory.path().parent().unwrap().exists());
    assert!(registry.leases().unwrap().is_empty());
    remove(&directory, &fence(2), None, &registry).await.unwrap();
    assert!(matches!(
        inspect(&UnitDirectory::at(directory.path())).unwrap_err(),
        UnitError::NotFound { .. }
    ));
}

#[tokio::test]
async fn a_program_that_a_restart_policy_started_meanwhile_is_ended_before_its_directory_goes() {
    let root = Root::new();
    let registry = PortRegistry::new(root.path().join("ports.json"));
    let directory = root.run("a", "echo ready; exec sleep 600").await;
    let leader = pid(&directory);
    // As if it had been started after the last look, and the removal had then been killed.
    let leaving = directory.path().with_file_name(".leaving-a");
    std::fs::rename(directory.path(), &leaving).unwrap();
    let error = launch(&directory, 1).await.unwrap_err();
    assert!(matches!(error, UnitError::NotFound { .. }), "{error:?}");
    assert_eq!(session(leader), [leader]);
    let listed = list(root.path()).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].uid, "a");
    assert_eq!(pid(&listed[0].directory), leader);
    // Another unit's removal does not take it away from under its program.
    let other = root.run("b", "exec sleep 600").await;
    remove(&other, &fence(1), None, &registry).await.unwrap();
    assert!(leaving.exists());

    let error = remove(&directory, &fence(0), None, &registry).await.unwrap_err();
    assert!(matches!(error, UnitError::StaleEpoch { .. }), "{error:?}");
    let report = remove(&directory, &fence(1), None, &registry).await.unwrap();
    assert_eq!(report.asked, 1);
    assert!(session(leader).is_empty());
    assert!(!leaving.parent().unwrap().exists());
}

#[tokio::test]
async fn restarts_without_end_do_not_survive_a_removal() {
    let root = Root::new();
    let registry = PortRegistry::new(root.path().join("ports.json"));
    let directory = root.run("a", "exec sleep 600").await;
    let restarting = directory.clone();
    let policy = tokio::spawn(async move {
        let mut leaders = Vec::new();
        loop {
            match launch(&restarting, 1).await {
                Ok(launched) => leaders.push(launched.mark.process.pid),
                Err(_) if !restarting.exists() => return leaders,
                Err(_) => {}
            }
            tokio::task::yield_now().await;
        }
    });
    remove(&directory, &fence(1), Some(Duration::from_millis(100)), &registry)
        .await
        .unwrap();
    for leader in policy.await.unwrap() {
        assert!(session(leader).is_empty());
    }
    assert!(!directory.path().parent().unwrap().exists());
}

#[tokio::test]
async fn a_unit_whose_removal_was_interrupted_can_be_wanted_again_or_is_swept() {
    let root = Root::new();
    let registry = PortRegistry::new(root.path().join("ports.json"));
    let directory = root.run("a", "exec sleep 600").await;
    let leader = pid(&directory);
    let leaving = directory.path().with_file_name(".leaving-a");
    std::fs::rename(directory.path(), &leaving).unwrap();
    root.write(&shell("a", "exec sleep 600"));
    assert_eq!(pid(&directory), leader);
    assert!(!leaving.exists());

    stop(&directory, &fence(1), None).await.unwrap();
    std::fs::rename(directory.path(), &leaving).unwrap();
    let other = root.run("b", "exec sleep 600").await;
    assert!(!leaving.exists(), "nothing runs in it and nobody will ask");
    remove(&other, &fence(1), None, &registry).await.unwrap();
    assert!(!leaving.parent().unwrap().exists());
}

#[tokio::test]
async fn a_damaged_fence_does_not_keep_a_unit_for_ever() {
    let root = Root::new();
    let registry = PortRegistry::new(root.path().join("ports.json"));
    let directory = root.write(&shell("a", "exec sleep 600"));
    launch(&directory, 3).await.unwrap();
    let file = directory.path().join("fence.json");
    std::fs::write(&file, r#"{"format": 2}"#).unwrap();
    let error = stop(&directory, &fence(9), None).await.unwrap_err();
    assert!(error.to_string().contains("fence.json"), "{error}");
    std::fs::write(&file, "{").unwrap();
    // Who launched it is still known.
    let error = stop(&directory, &fence(2), None).await.unwrap_err();
    assert!(
        matches!(error, UnitError::StaleEpoch { recorded: 3, .. }),
        "{error:?}"
    );
    stop(&directory, &fence(3), None).await.unwrap();
    assert_eq!(directory.fence().unwrap(), Some(fence(3)));
    std::fs::write(&file, "{").unwrap();
    std::fs::remove_file(directory.path().join("mark.json")).unwrap();
    let error = directory.fence().unwrap_err();
    assert!(error.to_string().contains("fence.json"), "{error}");
    remove(&directory, &fence(1), None, &registry).await.unwrap();
    assert!(!directory.exists());
}
