//! Another build of gabion, or of the agent's program, upgrades agents in place: what is open goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::harness::machines::{Machine, agent, project};
use crate::harness::{Load, Project, alive, eventually};

/// Makes another build of a program: the same one with bytes at its end, which the kernel ignores.
fn another_build(of: &Path, at: PathBuf, tail: &str) -> PathBuf {
    // It is opened by `cat`: a file that this process has open for writing may be inherited by what another test starts at
    // that moment, and could not be executed then.
    let made = std::process::Command::new("sh")
        .args(["-c", "{ cat \"$1\" && printf %s \"$3\"; } > \"$2.part\" && chmod 700 \"$2.part\" && mv \"$2.part\" \"$2\"", "sh"])
        .args([of, &at])
        .arg(tail)
        .status()
        .unwrap();
    assert!(made.success());
    at
}

/// Returns the pids of all units but one, by uid.
fn others(units: &[crate::harness::Unit], uid: &str) -> Vec<(String, i32)> {
    let others = units.iter().filter(|unit| unit.uid != uid);
    others.map(|unit| (unit.uid.clone(), unit.pid())).collect()
}

/// Upgrades an agent under load, with a stream that is open all the while.
fn upgrade(project: &Project, address: &str) {
    let endpoint = project.endpoint();
    let digest = project.attribute(address, "agent_digest");
    project
        .run(&["plan"])
        .says("the agent is upgraded in place, and open connections go on");
    project.plan().changes_are(&[(address, "update")]);

    let mut stream = endpoint.stream("What goes on?", 400).unwrap();
    stream.next_token().unwrap();
    let load = Load::start(&endpoint);
    project.apply();
    load.goes_on(20);
    let report = load.stop().without_failures();
    assert!(report.streams > 0, "{report}");
    assert_eq!(stream.finish().unwrap(), 400);

    assert_ne!(project.attribute(address, "agent_digest"), digest);
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);
}

#[test]
fn a_gabion_that_was_built_anew_upgrades_the_agent_of_its_own_machine() {
    let mut project = Project::quick();
    project.apply();
    let address = "host_unit.agent/local";
    let before = project.unit(address);
    let first = before.pid();
    let rest = others(&project.units(), &before.uid);
    let own = PathBuf::from(env!("CARGO_BIN_EXE_gabion"));
    let second = another_build(&own, project.user_directory().join("gabion-2"), "2");
    project.use_program(&second);
    upgrade(&project, address);

    // Only its process is another one.
    let after = project.unit(address);
    assert_eq!(after.uid, before.uid);
    let now = after.pid();
    assert_ne!(now, first);
    assert_eq!(others(&project.units(), &before.uid), rest);
    let listed = project.run(&["ps", "--format", "json"]).succeeds().json();
    let of_agent = |program: &&Value| program["role"] == "agent";
    let programs = listed["programs"].as_array().unwrap();
    assert_eq!(
        programs.iter().find(of_agent).unwrap()["running"],
        true,
        "{listed:#}"
    );

    // A plan is for the build that made it.
    let third = another_build(&own, project.user_directory().join("gabion-3"), "3");
    project.use_program(&third);
    project.run(&["plan", "--out", "p.gabion"]).succeeds();
    another_build(&own, third, "4");
    project
        .run(&["apply", "-y", "p.gabion"])
        .exits(6)
        .says("to another build than");
    assert_eq!(project.unit(address).pid(), now);
    project.endpoint().ask("hello").unwrap();
    project.apply();
    project.plan_is_empty();
    assert_ne!(project.unit(address).pid(), now);

    project.destroy();
    assert_eq!(project.processes(), [0; 0]);
    assert!(!alive(first) && !alive(now));
}

#[test]
fn another_build_of_the_agents_program_upgrades_the_agent_of_a_machine_behind_ssh() {
    let Some(machines) = Machine::start(2) else {
        return;
    };
    let [edge, gpu] = &machines[..] else {
        unreachable!()
    };
    let mut project = project(&[edge], &[gpu]);
    project.edit("service.dstack.yml", "replicas: 2\n", "replicas: 1\n");
    project.apply();
    let name = edge.name("edge");
    let address = format!("host_unit[\"agent/{name}\"]");
    let digest = project.attribute(&address, "agent_digest");
    let first = edge
        .0
        .gabion_root()
        .join("program")
        .join(digest.as_str().unwrap());
    assert!(first.is_dir(), "{}", first.display());

    let built = another_build(
        &agent().unwrap(),
        project.user_directory().join("gabion-agent"),
        "2",
    );
    project.set("GABION_AGENT", &built.display().to_string());
    upgrade(&project, &address);
    let digest = project.attribute(&address, "agent_digest");
    let uid = project.attribute(&address, "id");
    let unit = edge.units().into_iter().find(|unit| uid == unit.uid.as_str());
    let runs = fs::read_link(format!("/proc/{}/exe", unit.unwrap().pid())).unwrap();
    assert_eq!(
        runs.parent().unwrap().file_name().unwrap().to_str(),
        digest.as_str()
    );

    project.destroy();
    for machine in &machines {
        eventually("the last process", Duration::from_secs(30), || {
            match machine.processes().as_slice() {
                [] => Ok(()),
                left => Err(format!("{left:?}")),
            }
        });
        assert!(!machine.0.gabion_root().exists(), "{:?}", machine.0.gabion_root());
    }
}
