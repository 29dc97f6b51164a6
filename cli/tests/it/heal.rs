//! `gabion heal`: what it refuses, and what it leaves alone.

use crate::harness::Project;

const DOCUMENTS: &str = "type: resource\nkind: gabion_data\nname: base\nproperties: {input: one}\n";

#[test]
fn without_a_state_there_is_nothing_to_bring_back() {
    let project = Project::with(DOCUMENTS);
    for arguments in [&["heal", "-y"][..], &["heal", "--dry-run"]] {
        let said = project.exits(1, arguments);
        assert!(said.err.contains("nothing is recorded yet"), "{}", said.all());
    }
}

#[test]
fn an_edit_is_left_to_an_apply_and_so_is_what_an_apply_must_decide() {
    let project = Project::with(DOCUMENTS);
    project.apply();
    project.write("main.gabion.yml", DOCUMENTS.replace("one", "two"));
    project.exits(0, &["state", "taint", "gabion_data.base"]);
    let history = |project: &Project| project.exits(0, &["state", "history"]).out;
    let before = history(&project);
    let said = project.exits(0, &["heal", "-y"]);
    assert!(
        said.out.contains("Nothing is to be brought back."),
        "{}",
        said.all()
    );
    assert_eq!(history(&project), before, "not even the lease was taken");
    let report = project
        .exits(0, &["heal", "--dry-run", "--format", "json"])
        .json();
    assert_eq!(report["needs"], serde_json::json!([]), "{report}");
    project.exits(2, &["plan", "--detailed-exitcode"]);
}

#[test]
fn an_interval_that_makes_no_sense_is_refused() {
    let project = Project::with(DOCUMENTS);
    let said = project.exits(1, &["reconcile", "--heal-every", "1s"]);
    assert!(said.err.contains("5 seconds"), "{}", said.all());
    // Who wants no healing has no interval for it.
    project.exits(1, &["reconcile", "--no-heal", "--heal-every", "60s"]);
}
