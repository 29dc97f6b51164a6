use crate::harness::Project;

#[test]
fn each_listed_schema_can_be_printed() {
    let project = Project::new();
    let names = project.exits(0, &["schema"]).out;
    for name in names.lines() {
        let schema = project.exits(0, &["schema", name]).json();
        assert!(schema.is_object(), "{name}");
    }
    assert!(names.lines().any(|name| name == "plan"));
    assert!(
        project
            .exits(1, &["schema", "plna"])
            .err
            .contains("did you mean `plan`?")
    );
}
