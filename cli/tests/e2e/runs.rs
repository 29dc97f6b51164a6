//! Tasks and development environments on machines behind SSH, and what people do with them.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::containers::Daemon;
use crate::harness::machines::{Machine, agent, fleet};
use crate::harness::{Project, eventually, get};

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

/// Arguments that a shell would make something else of.
const HOSTILE: [&str; 5] = [
    "--",
    "-n $(id) `id`",
    "it's \"a\"\nline",
    "{ports.x} ${HOME} é☃",
    "",
];

/// Runs a command beside a program, with something to read.
fn beside(project: &Project, name: &str, command: &[&str], input: &str) -> Output {
    let arguments = [&["attach", name, "--"], command].concat();
    let mut child = project
        .command(&arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    // What it says has to be read meanwhile. One that ends without reading breaks the pipe.
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()).ok());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    output
}

/// A command has the program's environment and user, its arguments as they are, its streams and its exit code.
fn a_command_beside_is_passed_through(project: &Project, name: &str) {
    let script = "cat; printf '<%s>' \"$@\" \"$TOKEN\"; echo to stderr >&2; exit 7";
    let command = [&["sh", "-c", script, "-"], &HOSTILE[..]].concat();
    let output = beside(project, name, &command, "from here ");
    let expected: String = HOSTILE.iter().map(|word| format!("<{word}>")).collect();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, format!("from here {expected}<hunter2>"), "{output:?}");
    assert_eq!(output.stderr, b"to stderr\n");
    assert_eq!(output.status.code(), Some(7));
    let much: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    let echo = beside(project, name, &["cat"], &much);
    assert!(
        echo.stdout == much.as_bytes(),
        "{} of {} bytes",
        echo.stdout.len(),
        much.len()
    );
    let missing = beside(project, name, &["/no/such/program"], "");
    assert!(!missing.status.success());
    let why = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(why.contains("/no/such/program"), "{why}");
}

/// Returns a port that nobody has now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until a URL answers with a text.
fn answers(url: &str, text: &str) {
    eventually(url, Duration::from_secs(60), || {
        let response = get(url).map_err(|error| format!("{error:?}"))?;
        match response.text() {
            found if found.contains(text) => Ok(()),
            other => Err(other),
        }
    });
}

#[test]
fn attaching_forwards_ports_and_runs_commands_on_a_machine() {
    let Some(mut machines) = Machine::start(1) else {
        return;
    };
    let mut project = project(&machines[0]);
    project.set("TOKEN", "hunter2");
    let (port, local) = (free_port(), free_port());
    project.write(
        "work.dstack.yml",
        &format!(
            "type: task\nname: web\nports: ['{local}:{port}']\nfiles: [note.txt]\n\
             commands: [exec python3 -m http.server {port} --bind 127.0.0.1]\n{SMALL}\
             ---\ntype: dev-environment\nname: desk\nide: vscode\nenv: [TOKEN]\n\
             init: ['(i=0; while sleep 0.2; do i=$((i+1)); echo line $i; done) &']\n{SMALL}"
        ),
    );
    project.write("note.txt", "a note\n");
    project.apply();

    let attached = project.start(&["attach", "web"]);
    answers(&format!("http://127.0.0.1:{local}/note.txt"), "a note");
    // What is taken is told, and the program's own port is another one here.
    project
        .run(&["attach", "web"])
        .exits(1)
        .says(&format!("Port {local} of this machine's loopback address"))
        .says(&format!("--port {}:{port}", local.max(1023) + 1));
    attached.interrupt();
    attached
        .finish(Duration::from_secs(60))
        .succeeds()
        .says(&format!(
            "Forwarding 127.0.0.1:{local} to port {port} of `web/default/0`."
        ))
        .says("Detached from `web/default/0`; it goes on.");
    assert!(
        programs(&project)
            .iter()
            .all(|program| program["running"] == true)
    );

    let desk = project.start(&["attach", "desk"]);
    a_command_beside_is_passed_through(&project, "desk");
    desk.interrupt();
    desk.finish(Duration::from_secs(60))
        .succeeds()
        .says("To open it in VS Code: vscode://vscode-remote/ssh-remote+")
        .says("line ");
    // Lines that are older than was asked for are left out.
    eventually("new lines alone", Duration::from_secs(60), || {
        let said = project.run(&["logs", "desk", "--since", "3s"]).succeeds().stdout;
        let first = said.lines().next().unwrap_or_default().to_owned();
        if first.starts_with("line ") && first != "line 1" {
            Ok(())
        } else {
            Err(said)
        }
    });

    project
        .run(&["attach", "dsk"])
        .exits(1)
        .says("did you mean `desk`?");
    project
        .run(&["logs", "desk", "--replica", "3"])
        .exits(1)
        .says("it has: 0");
    machines[0].0.stop();
    project
        .run(&["attach", "web"])
        .exits(1)
        .says("the machine is away");
    machines[0].0.resume().unwrap();
    project.destroy();
    nothing_is_left(&machines[0]);
}

#[test]
fn attaching_reaches_what_listens_on_loopback_in_a_container() {
    let Some(daemon) = Daemon::new() else { return };
    let Some(machines) = Machine::start_with(1, &[("DOCKER_HOST", &daemon.host())]) else {
        return;
    };
    let mut project = project(&machines[0]);
    project.set("TOKEN", "hunter2");
    let local = free_port();
    let image = &daemon.image;
    project.write(
        "work.dstack.yml",
        &format!(
            "type: dev-environment\nname: desk\nimage: {image}\nuser: llm\nenv: [TOKEN]\nports: ['{local}:8000']\n\
             init: ['engine --port 8000 &']\n{SMALL}"
        ),
    );
    project.apply();
    becomes(&project, "dev-environment desk", "running");
    let attached = project.start(&["attach", "desk"]);
    answers(&format!("http://127.0.0.1:{local}/health"), "");
    a_command_beside_is_passed_through(&project, "desk");
    let id = beside(&project, "desk", &["id"], "");
    assert!(
        String::from_utf8_lossy(&id.stdout).contains("uid=1000(llm)"),
        "{id:?}"
    );
    attached.interrupt();
    attached
        .finish(Duration::from_secs(60))
        .succeeds()
        .says("listening on 127.0.0.1:8000");
    project
        .run(&["logs", "desk", "--since", "1h"])
        .succeeds()
        .says("listening on 127.0.0.1:8000");
    project.destroy();
    assert_eq!(daemon.containers(&project), Vec::<String>::new());
    nothing_is_left(&machines[0]);
}
