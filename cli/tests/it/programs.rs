//! `ps`, `logs` and `drift` over a real program.

use crate::harness::{Project, eventually};

const PROGRAM: &str = "\
type: resource
kind: host_unit
name: clock
properties:
  machine: local
  argv: [sh, -c, 'echo first; echo second; exec sleep 600']
";

fn pid(project: &Project) -> Option<i64> {
    project.exits(0, &["ps", "--format", "json"]).json()["programs"][0]["pid"].as_i64()
}

#[test]
fn programs_are_listed_with_their_logs() {
    let project = Project::with(PROGRAM);
    assert_eq!(project.exits(0, &["ps"]).out, "");
    project.apply();
    let ps = project.exits(0, &["ps"]).out;
    assert!(ps.contains("resource clock  1 of 1 running"), "{ps}");
    let log = || project.exits(0, &["logs", "clock"]).out;
    eventually("the program's log", || log() == "first\nsecond\n");
    assert_eq!(
        project.exits(0, &["logs", "host_unit.clock", "-n", "1"]).out,
        "second\n"
    );
    assert!(
        project
            .exits(1, &["logs", "clokc"])
            .err
            .contains("did you mean `clock`?")
    );
}

#[test]
fn a_killed_program_is_drift_and_is_repaired() {
    let project = Project::with(PROGRAM);
    project.apply();
    project.exits(0, &["drift"]);
    let before = pid(&project).unwrap();
    let killed = std::process::Command::new("kill")
        .args(["-9", &before.to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    eventually("the program's end", || pid(&project).is_none());
    let said = project.exits(2, &["drift"]);
    assert!(
        said.out.contains("running: true → false  # will be put back"),
        "{}",
        said.all()
    );
    let json = project.exits(2, &["drift", "--format", "json"]);
    let report: gabion::wire::DriftReportJson = serde_json::from_str(&json.out).unwrap();
    assert!(report.drifted);
    let markdown = project.exits(2, &["drift", "--format", "markdown"]);
    assert!(
        markdown
            .out
            .contains("| `host_unit.clock` | `running` | `true` | `false` | will be put back |")
    );
    project.exits(2, &["drift", "--junit", "drift.xml"]);
    let xml = std::fs::read_to_string(project.directory().join("drift.xml")).unwrap();
    assert!(
        xml.contains("tests=\"1\" failures=\"1\"") && xml.contains("running: true -&gt; false"),
        "{xml}"
    );
    project.apply();
    project.exits(0, &["drift"]);
    assert_ne!(pid(&project), Some(before));
}
