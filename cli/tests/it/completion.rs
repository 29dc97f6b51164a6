use crate::harness::Project;

#[test]
fn every_shell_has_a_script() {
    let project = Project::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = project.exits(0, &["completion", shell]);
        assert!(said.out.contains("gabion") && said.err.is_empty(), "{shell}");
    }
    project.exits(1, &["completion", "tcsh"]);
}
