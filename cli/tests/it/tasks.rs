//! Tasks: programs that run to their end, through the binary.

use std::process::Stdio;
use std::time::{Duration, Instant};

use gabion_host::process::ProcessStat;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{Project, Said, eventually};

/// A project with one task: its keys beside type and name.
fn task(keys: &str) -> Project {
    let project = Project::new();
    project.write("job.dstack.yml", document(keys));
    project
}

fn document(keys: &str) -> String {
    format!("type: task\nname: job\n{keys}")
}

fn programs(project: &Project) -> Vec<Value> {
    let listed = project.exits(0, &["ps", "--format", "json"]).json();
    listed["programs"].as_array().unwrap().clone()
}

fn state(project: &Project) -> String {
    programs(project)
        .first()
        .map(|program| program["state"].as_str().unwrap().to_owned())
        .unwrap_or_default()
}

fn becomes(project: &Project, wanted: &str) {
    eventually(wanted, || state(project) == wanted);
}

/// How often the task wrote a line into the project's file `ran`.
fn runs(project: &Project) -> usize {
    let text = std::fs::read_to_string(project.directory().join("ran")).unwrap_or_default();
    text.lines().count()
}

fn nothing_to_do(project: &Project) -> Said {
    project.exits(0, &["plan", "--detailed-exitcode"])
}

#[test]
fn a_finished_task_stays_finished() {
    let project = task("commands: [echo ran >> ran, echo said]\n");
    project.apply();
    becomes(&project, "done");
    let ps = project.exits(0, &["ps"]).out;
    assert!(ps.contains("task job  1 of 1 done"), "{ps}");
    assert!(ps.contains("job/default/0") && ps.contains("done (0)"), "{ps}");
    let program = programs(&project).remove(0);
    assert_eq!(program["exit_code"], 0);
    assert_eq!(program["running"], false);
    assert!(program["ended_at"].is_string());
    assert_eq!(project.exits(0, &["logs", "job"]).out, "said\n");

    let said = nothing_to_do(&project).out;
    assert!(!said.contains("Notes"), "{said}");
    project.exits(0, &["drift"]);
    project.apply();
    assert_eq!(runs(&project), 1);
    project.exits(0, &["destroy", "-y"]);
    assert_eq!(programs(&project), Vec::<Value>::new());
}

#[test]
fn a_failed_task_is_told_and_not_run_again_until_it_is_asked_for() {
    let project = task("commands: [echo ran >> ran, exit 3]\n");
    project.apply();
    becomes(&project, "failed");
    assert_eq!(programs(&project)[0]["exit_code"], 3);
    assert!(project.exits(0, &["ps"]).out.contains("failed (3)"));
    for command in [&["plan", "--detailed-exitcode"][..], &["drift"]] {
        let said = project.exits(0, command).out;
        assert!(said.contains("It failed with exit code 3."), "{said}");
        assert!(
            said.contains("gabion apply --replace host_unit.job/default/0"),
            "{said}"
        );
    }
    let report = project.exits(0, &["drift", "--format", "json"]).json();
    assert!(report["notes"][0].as_str().unwrap().contains("exit code 3"));
    project.apply();
    assert_eq!(runs(&project), 1);
    project.exits(0, &["apply", "-y", "--replace", "host_unit.job/default/0"]);
    eventually("the second run", || runs(&project) == 2);
}

#[test]
fn changed_commands_replace_the_task_and_the_old_run_ends_first() {
    let project = task("commands: [echo one >> ran, exec sleep 600]\n");
    project.apply();
    eventually("the first run", || runs(&project) == 1);
    project.write(
        "job.dstack.yml",
        document("commands: [echo two >> ran, exec sleep 600]\n"),
    );
    let plan = project.exits(2, &["plan", "--detailed-exitcode"]).out;
    assert!(
        plan.contains("host_unit.job/default/0  replace, old one goes first"),
        "{plan}"
    );
    project.apply();
    eventually("the second run", || runs(&project) == 2);
    nothing_to_do(&project);
    assert_eq!(programs(&project).len(), 1);
}

#[test]
fn a_killed_run_of_gabion_starts_the_task_once_and_the_next_knows_how_it_ended() {
    for moment in [20, 60, 100, 150, 200, 300, 450] {
        let project = task("commands: [echo ran >> ran, exit 4]\n");
        let mut run = project
            .command(&["apply", "-y"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        // The moment of the kill is what is tested; nothing is waited for.
        while began.elapsed() < Duration::from_millis(moment) && run.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        run.kill().unwrap();
        run.wait().unwrap();
        project.apply();
        becomes(&project, "failed");
        assert_eq!(programs(&project)[0]["exit_code"], 4, "killed after {moment} ms");
        assert_eq!(runs(&project), 1, "killed after {moment} ms");
        nothing_to_do(&project);
    }
}

#[test]
fn a_killed_supervisor_is_told_and_its_program_goes_with_destroy() {
    let project = task("commands: [exec sleep 600]\n");
    project.apply();
    becomes(&project, "running");
    let supervisor = programs(&project)[0]["pid"].as_i64().unwrap();
    kill(Pid::from_raw(i32::try_from(supervisor).unwrap()), Signal::SIGKILL).unwrap();
    becomes(&project, "lost");
    let ps = project.exits(0, &["ps"]).out;
    assert!(ps.contains("lost (its supervisor is gone; still runs: "), "{ps}");
    let left = ps.rsplit_once("still runs: ").unwrap().1;
    let left: i32 = left[..left.find(')').unwrap()].parse().unwrap();
    let plan = nothing_to_do(&project).out;
    assert!(plan.contains("It lost its supervisor and still runs"), "{plan}");
    project.exits(0, &["destroy", "-y"]);
    assert!(ProcessStat::read(left).is_none_or(|stat| !stat.is_running()));
}

#[test]
fn nodes_know_their_ranks_and_end_with_their_master() {
    let project = task(
        "nodes: 3\nstop_criteria: master-done\nstartup_order: workers-first\ncommands:\n  \
         - echo $DSTACK_NODE_RANK of $DSTACK_NODES_NUM at $DSTACK_MASTER_NODE_IP\n  \
         - wc -l < $DSTACK_MPI_HOSTFILE\n  \
         - if [ $DSTACK_NODE_RANK != 0 ]; then exec sleep 600; fi\n",
    );
    project.apply();
    let ended = || {
        let states: Vec<String> = programs(&project)
            .iter()
            .map(|program| program["status"].as_str().unwrap().to_owned())
            .collect();
        states
    };
    eventually("the master's end", || {
        !ended().iter().any(|state| state == "running")
    });
    assert_eq!(
        ended(),
        [
            "done (0)",
            "stopped (the master was done)",
            "stopped (the master was done)"
        ]
    );
    for rank in 0..3 {
        let said = project
            .exits(0, &["logs", &format!("job/default/0/{rank}"), "-n", "2000"])
            .out;
        assert!(
            said.starts_with(&format!("{rank} of 3 at 127.0.0.1\n3\n")),
            "{said}"
        );
    }
    nothing_to_do(&project);
}

#[test]
fn a_node_that_fails_stops_the_others_and_the_task_stays_as_it_is() {
    let project =
        task("nodes: 2\ncommands: ['if [ $DSTACK_NODE_RANK = 1 ]; then exit 9; fi', exec sleep 600]\n");
    project.apply();
    eventually("the end of both", || {
        programs(&project)
            .iter()
            .all(|program| program["running"] == false)
    });
    let ps = project.exits(0, &["ps"]).out;
    assert!(
        ps.contains("failed (9)") && ps.contains("stopped (another node failed)"),
        "{ps}"
    );
    let plan = nothing_to_do(&project).out;
    assert!(plan.contains("It was stopped: another node failed."), "{plan}");
    project.exits(0, &["drift"]);
}

#[test]
fn a_task_that_takes_too_long_is_stopped_and_told() {
    let project = task("max_duration: 1s\ncommands: [exec sleep 600]\n");
    project.apply();
    becomes(&project, "stopped");
    let ps = project.exits(0, &["ps"]).out;
    assert!(ps.contains("stopped (it had run for its `max_duration`)"), "{ps}");
}

#[test]
fn a_task_with_retry_is_started_again_until_it_succeeds() {
    let project = task(
        "retry: {on_events: [error], duration: 1m}\ncommands: [echo ran >> ran, '[ $(wc -l < ran) = 2 ]']\n",
    );
    project.apply();
    becomes(&project, "done");
    assert_eq!(runs(&project), 2);
    assert!(
        project
            .exits(0, &["logs", "job"])
            .out
            .contains("the program ended with exit code 1; it is started again in 1 s")
    );
}

#[test]
fn what_processes_cannot_do_is_refused_where_it_is_written() {
    let project = task(
        "nodes: 2\nretry: true\nprivileged: true\nports: ['80:8000']\nschedule: {cron: '0 8 * * *'}\ncommands: [true]\n",
    );
    let said = project.exits(1, &["plan"]).err;
    for (place, why) in [
        ("job.dstack.yml:4:1", "live and die together"),
        ("job.dstack.yml:5:1", "`privileged` is for containers"),
        ("job.dstack.yml:6:8", "forwards one port to another"),
        ("job.dstack.yml:7:1", "nothing of gabion runs"),
    ] {
        assert!(said.contains(place), "no {place} in\n{said}");
        assert!(said.contains(why), "no {why} in\n{said}");
    }
    project.exits(0, &["validate"]);
    assert_eq!(programs(&project), Vec::<Value>::new());
}

#[test]
fn a_task_and_a_service_cannot_share_a_name() {
    let project = task("commands: [true]\n");
    project.write(
        "service.dstack.yml",
        "type: service\nname: job\nport: 8000\nauth: false\ncommands: [serve]\n",
    );
    let said = project.exits(1, &["validate"]).err;
    assert!(
        said.contains("A service and a task are both named `job`"),
        "{said}"
    );
}
