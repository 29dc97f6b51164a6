use crate::harness::{Project, THREE_LEVELS, assert_said};

fn digest(project: &Project, file: &str) -> String {
    let shown = project.exits(0, &["show", file, "--format", "json"]).json();
    shown["gabion"]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn a_saved_plan_is_carried_out_without_a_question() {
    let project = Project::with(THREE_LEVELS);
    let planned = project.exits(0, &["plan", "--out", "plan.gabion"]);
    assert!(
        planned.out.ends_with("Next: gabion apply plan.gabion\n"),
        "{}",
        planned.all()
    );
    let shown = project.exits(0, &["show", "plan.gabion"]);
    assert_eq!(shown.out, planned.out);
    let one = project.exits(0, &["show", "plan.gabion", "gabion_data.top"]);
    assert!(
        one.out.contains("gabion_data.top") && !one.out.contains("gabion_data.base  create"),
        "{}",
        one.out
    );

    project.exits(4, &["apply", "plan.gabion", "--digest", "0123"]);
    assert_eq!(project.entries(), ["main.gabion.yml", "plan.gabion"]);
    let digest = format!("sha256:{}", digest(&project, "plan.gabion"));
    project.exits(0, &["apply", "plan.gabion", "--digest", &digest]);
    project.exits(0, &["plan", "--detailed-exitcode"]);
    // Carried out again it finds everything done.
    project.exits(0, &["apply", "plan.gabion"]);
}

#[test]
fn a_plan_is_stale_only_when_what_it_uses_moved() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    let change = |from: &str, to: &str, out: &str| {
        project.write("main.gabion.yml", THREE_LEVELS.replace(from, to));
        project.exits(0, &["plan", "--out", out]);
    };
    change("port: 80", "port: 81", "one.gabion");
    change("port: 80", "port: 82", "two.gabion");
    project.exits(0, &["apply", "one.gabion"]);
    let said = project.exits(4, &["apply", "two.gabion"]);
    assert_said("cli/apply-stale.txt", &said.all());
}

#[test]
fn a_plan_for_a_new_project_is_stale_once_there_is_something() {
    let project = Project::with(THREE_LEVELS);
    project.exits(0, &["plan", "--out", "plan.gabion"]);
    project.apply();
    let said = project.exits(4, &["apply", "plan.gabion"]);
    assert!(said.err.contains("the plan is out of date"), "{}", said.all());
}

#[test]
fn what_is_no_plan_is_refused() {
    let project = Project::with(THREE_LEVELS);
    assert!(
        project
            .exits(1, &["apply", "nothing.gabion"])
            .err
            .contains("gabion plan --out")
    );
    let said = project.exits(1, &["apply", "main.gabion.yml"]);
    assert!(said.err.contains("no saved plan"), "{}", said.all());
    project.exits(0, &["plan", "--out", "plan.gabion"]);
    let path = project.directory().join("plan.gabion");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("example.org", "example.com")).unwrap();
    assert!(project.exits(1, &["show", "plan.gabion"]).err.contains("damaged"));
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    assert!(
        project
            .exits(1, &["apply", "plan.gabion"])
            .err
            .contains("damaged")
    );
    assert_eq!(project.entries(), ["main.gabion.yml", "plan.gabion"]);
}
