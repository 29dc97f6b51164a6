//! Tasks and development environments on machines behind SSH, and what people do with them.

use std::time::Duration;

use serde_json::Value;

use crate::harness::containers::Daemon;
use crate::harness::machines::{Machine, agent, fleet};
use crate::harness::{Project, eventually};

/// What every run of these tests needs of a machine.
const SMALL: &str = "fleets: [gpu]\nresources: {cpu: 1.., memory: 100MB.., disk: 1GB..}\n";

/// A project whose one machine takes several programs.
fn project(machine: &Machine) -> Project {
    let mut project = Project::empty();
    project.set("GABION_AGENT", &agent().unwrap().display().to_string());
    project.write("gabion.yml", "project: runs\nbackends: [ssh]\n");
    project.write("gpu.dstack.yml", &fleet("gpu", "2", &[machine]));
    project
}

fn programs(project: &Project) -> Vec<Value> {
    let listed = project.run(&["ps", "--format", "json"]).succeeds().json();
    listed["programs"].as_array().unwrap().clone()
}

/// Waits until a document's program is as it is wanted.
fn becomes(project: &Project, document: &str, status: &str) -> Value {
    eventually(status, Duration::from_secs(60), || {
        let all = programs(project);
        let found = all.iter().find(|program| program["document"] == document);
        match found {
            Some(program) if program["status"] == status => Ok(program.clone()),
            _ => Err(format!("{all:#?}")),
        }
    })
}

fn nothing_is_left(machine: &Machine) {
    assert!(!machine.0.gabion_root().exists());
    assert_eq!(machine.processes(), Vec::<i32>::new());
}

#[test]
fn tasks_on_a_machine_end_there_and_are_told_and_not_run_again() {
    let Some(mut machines) = Machine::start(1) else {
        return;
    };
    let mut project = project(&machines[0]);
    project.write(
        "work.dstack.yml",
        &format!(
            "type: task\nname: work\nfiles: [note.txt]\ncommands: [cat note.txt, sleep 1, exit 3]\n{SMALL}\
             ---\ntype: task\nname: long\nmax_duration: 2s\ncommands: [exec sleep 600]\n{SMALL}"
        ),
    );
    project.write("note.txt", "it's a $(note)\n");
    project.apply();
    // Nothing of gabion runs while they end.
    let ended = becomes(&project, "task work", "failed (3)");
    assert_eq!(ended["exit_code"], 3);
    assert_eq!(ended["machine"], machines[0].name("gpu"));
    assert_eq!(ended["restarts"], 0);
    becomes(
        &project,
        "task long",
        "stopped (it had run for its `max_duration`)",
    );
    let said = project.run(&["logs", "work"]).succeeds().stdout;
    assert!(said.starts_with("it's a $(note)\n"), "{said}");
    project.plan_is_empty();
    project
        .run(&["drift"])
        .exits(0)
        .says("It failed with exit code 3.");
    project.apply();
    assert_eq!(project.run(&["logs", "work"]).stdout, said);

    // A machine that is away is said, and what is known of it is not made up.
    machines[0].0.stop();
    let away = project.run(&["ps", "--format", "json"]).succeeds().json();
    assert_eq!(away["unreachable"][0]["machine"], machines[0].name("gpu"));
    assert_eq!(away["programs"][0]["state"], "unreachable");
    project
        .run(&["ps"])
        .succeeds()
        .says("machine away")
        .says("nothing is known now: Machine `gpu/");
    machines[0].0.resume().unwrap();

    project.destroy();
    nothing_is_left(&machines[0]);
}

#[test]
fn a_task_runs_in_a_container_of_a_machine_to_its_end() {
    let Some(daemon) = Daemon::new() else { return };
    let Some(machines) = Machine::start_with(1, &[("DOCKER_HOST", &daemon.host())]) else {
        return;
    };
    let mut project = project(&machines[0]);
    project.write(
        "work.dstack.yml",
        &format!(
            "type: task\nname: work\nimage: {}\nuser: llm\nfiles: [note.txt]\nports: ['80:22']\n\
             commands: [cat note.txt, id, exit 4]\n{SMALL}",
            daemon.image
        ),
    );
    project.write("note.txt", "from the project\n");
    project.apply();
    let ended = becomes(&project, "task work", "failed (4)");
    assert_eq!(
        (&ended["exit_code"], &ended["runtime"]),
        (&4.into(), &"docker".into())
    );
    project
        .run(&["logs", "work"])
        .succeeds()
        .says("from the project")
        .says("uid=1000(llm)");
    project.plan_is_empty();
    project.destroy();
    assert_eq!(daemon.containers(&project), Vec::<String>::new());
    nothing_is_left(&machines[0]);
}
