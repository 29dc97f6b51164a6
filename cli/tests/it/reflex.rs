use crate::harness::{Project, assert_said};

#[test]
fn reflexes_of_other_tools_get_an_answer() {
    let project = Project::new();
    let mut text = String::new();
    for arguments in [
        &["refresh"][..],
        &["taint", "gabion_data.a"],
        &["untaint", "-allow-missing", "gabion_data.a"],
        &["workspace", "new", "x"],
        &["force-unlock", "1234"],
        &["delete", "-f", "qwen.dstack.yml"],
        &["stop", "qwen"],
    ] {
        let said = project.exits(1, arguments);
        assert_eq!(said.out, "");
        text.push_str(&format!("$ gabion {}\n{}\n", arguments.join(" "), said.err));
    }
    assert_said("cli/reflexes.txt", &text);
}
