use crate::harness::{Project, THREE_LEVELS, assert_said, files_below};

#[test]
fn everything_goes_also_without_configuration() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    project.write("main.gabion.yml", "type: [broken");
    let said = project.exits(0, &["destroy", "-y"]);
    assert_said("cli/destroy.txt", &said.out);
    assert_eq!(project.exits(0, &["state", "list"]).out, "");
    let said = project.exits(0, &["destroy", "-y"]);
    assert!(said.out.contains("Nothing is recorded."), "{}", said.all());
    let left: Vec<String> = files_below(&project.home())
        .into_iter()
        .map(|path| path.strip_prefix(project.home()).unwrap().display().to_string())
        .filter(|path| !path.starts_with("state/gabion/heads/"))
        .collect();
    assert_eq!(left, ["config/gabion/fingerprint.key"]);
}

#[test]
fn a_selection_takes_what_needs_it() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    project.exits(0, &["destroy", "-y", "--target", "gabion_data.middle"]);
    let left = project.exits(0, &["state", "list"]).out;
    assert!(
        left.starts_with("gabion_data.base") && left.lines().count() == 1,
        "{left}"
    );
}

#[test]
fn a_new_project_has_nothing_to_destroy() {
    let project = Project::with(THREE_LEVELS);
    project.exits(0, &["destroy", "-y"]);
    assert_eq!(project.entries(), ["main.gabion.yml"]);
}

#[test]
fn a_hint_never_asks_for_more_than_was_selected() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    let said = project.exits(1, &["destroy", "--target", "gabion_data.middle"]);
    assert!(
        said.err
            .contains("gabion destroy -y --target gabion_data.middle\n"),
        "{}",
        said.all()
    );
    assert!(
        said.err
            .contains("gabion plan --destroy --target gabion_data.middle --out plan.gabion"),
        "{}",
        said.all()
    );
}
