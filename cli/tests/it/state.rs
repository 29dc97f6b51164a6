use crate::harness::{Project, THREE_LEVELS, assert_said};

#[test]
fn records_are_listed_and_shown() {
    let project = Project::with(THREE_LEVELS);
    let said = project.exits(1, &["state", "list"]);
    assert!(said.err.contains("nothing is recorded yet"), "{}", said.all());
    project.apply();
    assert_said("cli/state-list.txt", &project.exits(0, &["state", "list"]).out);
    assert_said(
        "cli/state-show.txt",
        &project.exits(0, &["state", "show", "gabion_data.middle"]).out,
    );
    assert_said(
        "cli/state-history.txt",
        &project.exits(0, &["state", "history"]).out,
    );
    let record = project
        .exits(0, &["state", "show", "gabion_data.base", "--format", "json"])
        .json();
    assert_eq!(record["outputs"]["output"]["host"], "example.org");
    let said = project.exits(1, &["state", "show", "gabion_data.basis"]);
    assert!(
        said.err.contains("did you mean `gabion_data.base`?"),
        "{}",
        said.all()
    );
    let history = project
        .exits(0, &["state", "history", "gabion_data.base", "-n", "1"])
        .out;
    assert!(history.contains("gabion_data.base: created"), "{history}");
}

#[test]
fn surgery_is_one_entry_in_the_log() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    project.exits(0, &["state", "taint", "gabion_data.top"]);
    let plan = project.exits(0, &["plan"]);
    assert!(plan.out.contains("it was marked for replacement"), "{}", plan.out);
    project.exits(0, &["state", "untaint", "gabion_data.top"]);
    project.exits(0, &["plan", "--detailed-exitcode"]);

    project.exits(0, &["state", "mv", "gabion_data.top", "gabion_data.peak"]);
    project.write("main.gabion.yml", THREE_LEVELS.replace("name: top", "name: peak"));
    project.exits(0, &["plan", "--detailed-exitcode"]);
    let said = project.exits(1, &["state", "mv", "gabion_data.peak", "gabion_data.base"]);
    assert!(said.err.contains("gabion_data.base"), "{}", said.all());

    project.exits(0, &["state", "rm", "gabion_data.peak"]);
    let plan = project.exits(2, &["plan", "--detailed-exitcode"]);
    assert!(plan.out.contains("+ gabion_data.peak  create"), "{}", plan.out);
}

#[test]
fn a_lost_state_is_an_error_and_never_a_new_project() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    let hidden = project.directory().join("hidden");
    std::fs::rename(project.directory().join(".gabion"), &hidden).unwrap();
    for arguments in [
        &["plan"][..],
        &["apply", "-y"],
        &["destroy", "-y"],
        &["drift"],
        &["state", "list"],
    ] {
        let said = project.exits(1, arguments);
        assert!(said.err.contains("the state lost something"), "{}", said.all());
    }
    assert_eq!(project.entries(), ["hidden", "main.gabion.yml"]);
    std::fs::rename(&hidden, project.directory().join(".gabion")).unwrap();
    project.exits(0, &["plan", "--detailed-exitcode"]);
}

#[test]
fn a_stack_has_its_own_state() {
    let project = Project::with(THREE_LEVELS);
    project.exits(0, &["apply", "-y", "--stack", "staging"]);
    project.exits(1, &["state", "list"]);
    assert_eq!(
        project
            .exits(0, &["state", "list", "--stack", "staging"])
            .out
            .lines()
            .count(),
        3
    );
    project.exits(0, &["destroy", "-y", "--stack", "staging"]);
    project.exits(1, &["plan", "--stack", "../x"]);
}
