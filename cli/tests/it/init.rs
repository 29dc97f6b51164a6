use crate::harness::{Project, assert_said};

#[test]
fn a_new_project_is_valid_and_can_be_planned() {
    let project = Project::new();
    let said = project.exits(0, &["init"]);
    let mut text = said.all();
    assert_eq!(
        project.entries(),
        [
            ".gitignore",
            "gabion.yml",
            "gateway.dstack.yml",
            "hello.dstack.yml"
        ]
    );
    for file in project.entries() {
        let content = std::fs::read_to_string(project.directory().join(&file)).unwrap();
        text.push_str(&format!("--- {file}\n{content}"));
    }
    assert_said("cli/init.txt", &text);
    project.exits(0, &["validate"]);
    let plan = project.exits(0, &["plan"]);
    assert!(plan.out.contains("host_unit.hello/default/0"), "{}", plan.all());
}

#[test]
fn what_is_there_stays_as_it_is() {
    let project = Project::with("type: resource\nkind: gabion_data\nname: a\nproperties: {input: 1}\n");
    let before = project.entries();
    let said = project.exits(1, &["init"]);
    assert!(said.err.contains("there is a project already"), "{}", said.all());
    assert_eq!(project.entries(), before);

    let project = Project::new();
    project.write(".gitignore", "mine\n");
    project.exits(0, &["init"]);
    let kept = std::fs::read_to_string(project.directory().join(".gitignore")).unwrap();
    assert_eq!(kept, "mine\n");
    assert_eq!(project.exits(1, &["init", "--name", "Bad Name"]).out, "");
}
