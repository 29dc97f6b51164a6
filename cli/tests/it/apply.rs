use crate::harness::{Project, THREE_LEVELS, assert_said};

#[test]
fn without_a_terminal_somebody_must_approve() {
    let project = Project::with(THREE_LEVELS);
    let said = project.exits(1, &["apply"]);
    assert!(said.err.contains("gabion apply -y"), "{}", said.all());
    assert_eq!(project.entries(), ["main.gabion.yml"]);
}

#[test]
fn a_new_project_is_applied_and_then_there_is_nothing_to_do() {
    let project = Project::with(THREE_LEVELS);
    project.write(
        "gabion.yml",
        "project: demo\noutputs:\n  url: ${{ gabion_data.middle.output.url }}\n",
    );
    let said = project.apply();
    assert_said("cli/apply-new.txt", &said.all());
    let serial = || project.exits(0, &["state", "list", "--format", "json"]).json()["serial"].clone();
    let before = serial();
    let told = format!("The state is at serial {before}.");
    assert!(
        said.err.contains(&told),
        "the next command sees {before}\n{}",
        said.all()
    );
    let said = project.apply();
    assert!(said.out.contains("Nothing to do."), "{}", said.all());
    assert_eq!(
        serial(),
        before,
        "an apply that had nothing to do wrote something"
    );
    let output = project.exits(0, &["output", "url"]).out;
    assert!(output.starts_with("http://example.org/"), "{output}");
    let all = project.exits(0, &["output", "--format", "json"]).json();
    assert_eq!(all["outputs"]["url"], output.trim());
    assert!(
        project
            .exits(1, &["output", "ulr"])
            .err
            .contains("did you mean `url`?")
    );
}

#[test]
fn events_are_lines_of_json() {
    let project = Project::with(THREE_LEVELS);
    let said = project.exits(
        0,
        &["apply", "-y", "--events", "events.ndjson", "--format", "json"],
    );
    let result = said.json();
    assert_eq!(result["done"], 3);
    assert_eq!(result["complete"], true);
    let state = project.exits(0, &["state", "list", "--format", "json"]).json();
    assert_eq!(result["serial"], state["serial"]);
    let text = std::fs::read_to_string(project.directory().join("events.ndjson")).unwrap();
    let events: Vec<gabion::wire::EventLineJson> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(matches!(
        events[0].event,
        gabion::wire::EventJson::RunStarted { steps: 3, .. }
    ));
    assert!(matches!(
        events.last().unwrap().event,
        gabion::wire::EventJson::RunFinished {
            done: 3,
            failed: 0,
            serial,
            ..
        } if state["serial"] == serial
    ));
}

/// A program that ends at once never becomes ready; what needs it is skipped, the rest is done.
#[test]
fn a_failure_skips_what_needs_it_and_nothing_else() {
    let project = Project::with(
        "type: resource
kind: host_unit
name: broken
properties:
  machine: local
  argv: [sh, -c, 'echo starting; echo out of memory >&2; exit 3']
  ready_timeout: 20
  probes: [{path: /health, port: http}]
  ports: {http: {range: 20000-29999}}
---
type: resource
kind: gabion_data
name: needs-it
properties: {input: '${{ host_unit.broken.url }}'}
---
type: resource
kind: gabion_data
name: independent
properties: {input: 1}
",
    );
    let said = project.exits(6, &["apply", "-y"]);
    assert!(said.err.contains("out of memory"), "{}", said.all());
    assert!(
        said.err.contains("gabion_data.needs-it: because of"),
        "{}",
        said.all()
    );
    assert!(
        said.err.contains("Apply incomplete: 1 done, 1 failed, 1 skipped"),
        "{}",
        said.all()
    );
    project.exits(0, &["state", "show", "gabion_data.independent"]);
    let plan = project.exits(2, &["plan", "--detailed-exitcode"]);
    assert!(
        plan.out.contains("an earlier run did not finish it"),
        "{}",
        plan.all()
    );
}
