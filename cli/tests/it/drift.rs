use crate::harness::{Project, THREE_LEVELS, assert_said};

#[test]
fn nothing_drifted() {
    let project = Project::with(THREE_LEVELS);
    project.exits(0, &["drift"]);
    assert_eq!(project.entries(), ["main.gabion.yml"]);
    project.apply();
    assert_said("cli/drift-none.txt", &project.exits(0, &["drift"]).out);
}

#[test]
fn what_did_not_drift_cannot_be_accepted() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    let said = project.exits(1, &["drift", "--accept", "gabion_data.base"]);
    assert!(said.err.contains("nothing to accept"), "{}", said.all());
}

#[test]
fn an_accepted_change_is_drift_no_more() {
    let project = Project::with(
        "type: resource
kind: host_unit
name: clock
properties:
  machine: local
  argv: [sleep, '600']
  files: {note.txt: one}
",
    );
    project.apply();
    let record = project
        .exits(0, &["state", "show", "host_unit.clock", "--format", "json"])
        .json();
    let unit = record["outputs"]["unit_dir"].as_str().unwrap().to_owned();
    std::fs::write(format!("{unit}/files/note.txt"), "two").unwrap();
    let said = project.exits(2, &["drift"]);
    assert!(
        said.out.contains("\"one\" → \"two\"  # will be put back"),
        "{}",
        said.all()
    );
    project.exits(0, &["drift", "--accept", "host_unit.clock"]);
    project.exits(0, &["drift"]);
    // The configuration still asks for the old text.
    let plan = project.exits(2, &["plan", "--detailed-exitcode"]);
    assert!(plan.out.contains("\"two\" → \"one\""), "{}", plan.all());
}
