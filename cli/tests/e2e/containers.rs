//! Services in containers of a real Docker daemon: the seed's own command, with its fixed port on loopback.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::harness::containers::{Daemon, service};
use crate::harness::machines::{Machine, fleet};
use crate::harness::{Project, eventually};

/// Asks until as many replicas have answered.
fn all_answer(project: &Project, count: usize) {
    let endpoint = project.endpoint();
    let mut seen = BTreeSet::new();
    eventually("all replicas answer", Duration::from_secs(30), || {
        let completion = endpoint.ask("hello").map_err(|error| format!("{error:?}"))?;
        seen.insert(completion.replica);
        if seen.len() == count {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
}

#[test]
fn the_seeds_service_runs_twice_in_containers_of_one_machine_behind_a_router() {
    let Some(daemon) = Daemon::new() else { return };
    let mut project = Project::empty();
    daemon.show_to(&mut project);
    project.set("HF_TOKEN", "hunter2-of-the-hub");
    project.write("gabion.yml", "project: seed\nbackends: [local]\n");
    project.write(
        "gateway.dstack.yml",
        "type: gateway\nname: my-gateway\nbackend: local\nrouter: {type: sglang, policy: round_robin}\n",
    );
    project.write("service.dstack.yml", &service(&daemon.image, ""));

    project
        .run(&["plan"])
        .succeeds()
        .says("docker")
        .says(&daemon.image);
    project.apply();
    assert_eq!(daemon.containers(&project).len(), 2);
    all_answer(&project, 2);
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);
    project
        .run(&["logs", "qwen/default/0"])
        .succeeds()
        .says("listening on 127.0.0.1:8000");
    let ps = project.run(&["ps", "--format", "json"]).succeeds().json();
    let programs = ps["programs"].as_array().unwrap();
    assert!(
        programs.iter().all(|program| program["running"] == true),
        "{programs:#?}"
    );

    let containers = daemon.containers(&project);
    let inspected = daemon.said(&["inspect", &containers[0]]);
    assert!(!inspected.contains("hunter2") && inspected.contains("gabion.operation"));

    // One is stopped behind gabion's back.
    daemon.said(&["stop", "-t", "1", &containers[0]]);
    eventually("it is seen", Duration::from_secs(20), || {
        let outcome = project.run(&["drift"]);
        if outcome.code == Some(2) {
            Ok(())
        } else {
            Err("no drift yet".to_owned())
        }
    });
    project.apply();
    project.plan_is_empty();
    all_answer(&project, 2);

    project.destroy();
    assert_eq!(daemon.containers(&project), Vec::<String>::new());
    assert_eq!(daemon.said(&["volume", "ls", "-q"]), "");
    assert!(project.units().is_empty());
}

#[test]
fn replicas_on_one_machine_behind_ssh_run_in_its_containers_and_destroy_leaves_nothing() {
    let Some(daemon) = Daemon::new() else { return };
    let Some(machines) = Machine::start_with(2, &[("DOCKER_HOST", &daemon.host())]) else {
        return;
    };
    let [edge, gpu] = &machines[..] else {
        unreachable!()
    };
    let mut project = Project::empty();
    project.set(
        "GABION_AGENT",
        &crate::harness::machines::agent().unwrap().display().to_string(),
    );
    project.set("HF_TOKEN", "hunter2-of-the-hub");
    project.write("gabion.yml", "project: fleet\nbackends: [ssh]\n");
    project.write("edge.dstack.yml", &fleet("edge", "1", &[edge]));
    project.write("gpu.dstack.yml", &fleet("gpu", "2", &[gpu]));
    project.write(
        "gateway.dstack.yml",
        "type: gateway\nname: my-gateway\nbackend: ssh\nfleets: [edge]\npublic_ip: false\n",
    );
    project.write("service.dstack.yml", &service(&daemon.image, "fleets: [gpu]\n"));
    project.apply();
    assert_eq!(daemon.containers(&project).len(), 2);
    all_answer(&project, 2);
    project.plan_is_empty();
    project
        .run(&["logs", "qwen/default/1"])
        .succeeds()
        .says("listening on 127.0.0.1:8000");
    project.destroy();
    assert_eq!(daemon.containers(&project), Vec::<String>::new());
    for machine in &machines {
        assert!(!machine.0.gabion_root().exists());
        assert_eq!(machine.processes(), Vec::<i32>::new());
    }
}

#[test]
fn a_machine_without_docker_is_told_at_the_images_place() {
    let project = {
        let mut project = Project::empty();
        project.set("DOCKER_HOST", "unix:///nonexistent/docker.sock");
        project.set("HF_TOKEN", "x");
        project.write("gabion.yml", "project: seed\nbackends: [local]\n");
        project.write("service.dstack.yml", &service("any:1", ""));
        project
    };
    // Validation is of what is written; a plan is for this machine.
    project.run(&["validate"]).succeeds();
    project
        .run(&["plan"])
        .exits(1)
        .says("service.dstack.yml:3:8")
        .says("`image` needs a container runtime; backend `local` has none");
}

#[test]
fn an_image_that_is_not_there_is_a_word_of_the_plan_and_an_error_of_apply() {
    let Some(daemon) = Daemon::new() else { return };
    let mut project = Project::empty();
    daemon.show_to(&mut project);
    project.set("HF_TOKEN", "x");
    project.write("gabion.yml", "project: seed\nbackends: [local]\n");
    project.write(
        "service.dstack.yml",
        &service("127.0.0.1:1/none/such:1", "").replace("replicas: 2", "replicas: 1"),
    );
    project
        .run(&["plan"])
        .succeeds()
        .says("The image `127.0.0.1:1/none/such:1` is not on this machine yet: apply pulls it.");
    project
        .run(&["apply", "-y"])
        .exits(6)
        .says("The image 127.0.0.1:1/none/such:1 is not on the machine and cannot be pulled")
        .says("service.dstack.yml:3:8");
    project.destroy();
    assert_eq!(daemon.containers(&project), Vec::<String>::new());
}

#[test]
fn an_apply_that_is_killed_at_any_moment_leaves_no_container_twice() {
    let Some(daemon) = Daemon::new() else { return };
    let mut project = Project::empty();
    daemon.show_to(&mut project);
    project.set("HF_TOKEN", "x");
    project.write("gabion.yml", "project: seed\nbackends: [local]\n");
    // Each round replaces both replicas, and is killed a little later than the one before.
    for round in 0..10 {
        let changed =
            service(&daemon.image, "").replace("  - HF_TOKEN", &format!("  - HF_TOKEN\n  - ROUND={round}"));
        project.write("service.dstack.yml", &changed);
        let apply = project.start(&["apply", "-y"]);
        std::thread::sleep(Duration::from_millis(300 * (round + 1)));
        drop(apply.kill());
    }
    project.apply();
    project.plan_is_empty();
    assert_eq!(daemon.containers(&project).len(), 2);
    all_answer(&project, 2);
    project.destroy();
    assert_eq!(daemon.containers(&project), Vec::<String>::new());
    assert!(project.units().is_empty());
}

#[test]
fn a_task_runs_in_a_container_to_its_end() {
    let Some(daemon) = Daemon::new() else { return };
    let mut project = Project::empty();
    daemon.show_to(&mut project);
    project.write("gabion.yml", "project: tasks\n");
    let image = &daemon.image;
    project.write(
        "task.dstack.yml",
        &format!(
            "type: task\nname: work\nimage: {image}\nuser: llm\nfiles: [note.txt]\n\
             commands:\n  - cat note.txt\n  - id\n  - exit 3\n"
        ),
    );
    project.write("note.txt", "from the project\n");
    project.apply();
    eventually("it has ended", Duration::from_secs(20), || {
        let said = project.run(&["ps"]).stdout;
        if said.contains("failed (3)") {
            Ok(())
        } else {
            Err(said)
        }
    });
    project
        .run(&["logs", "work"])
        .succeeds()
        .says("from the project")
        .says("uid=1000(llm)");
    project.destroy();
    assert_eq!(daemon.containers(&project), Vec::<String>::new());
}
