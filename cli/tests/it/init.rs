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
            ".schemas",
            "gabion.yml",
            "gateway.dstack.yml",
            "hello.dstack.yml"
        ]
    );
    let is_file = |name: &String| !name.starts_with(".schemas");
    for file in project.entries().into_iter().filter(is_file) {
        let content = std::fs::read_to_string(project.directory().join(&file)).unwrap();
        text.push_str(&format!("--- {file}\n{content}"));
    }
    assert_said("cli/init.txt", &text);
    // What the first line of a file names is there, and what that refers to.
    for file in ["gabion.yml", "gateway.dstack.yml", "hello.dstack.yml"] {
        let content = std::fs::read_to_string(project.directory().join(file)).unwrap();
        let line = content.lines().next().unwrap();
        let schema = line.strip_prefix("# yaml-language-server: $schema=").unwrap();
        let schema = std::fs::read_to_string(project.directory().join(schema)).unwrap();
        let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
        for case in schema["allOf"].as_array().into_iter().flatten() {
            let name = case["then"]["$ref"].as_str().unwrap();
            assert!(
                project.directory().join(".schemas").join(name).is_file(),
                "{name}"
            );
        }
    }
    assert!(!project.directory().join(".schemas/plan.schema.json").exists());
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
