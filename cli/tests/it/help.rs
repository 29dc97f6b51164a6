use crate::harness::{Project, assert_said};

/// Every command's help, which is also the reference.
#[test]
fn reference() {
    let project = Project::new();
    let mut text = String::new();
    let commands = [
        "",
        "init",
        "validate",
        "plan",
        "show",
        "apply",
        "destroy",
        "drift",
        "import",
        "graph",
        "output",
        "offer",
        "ps",
        "logs",
        "state",
        "state list",
        "state show",
        "state mv",
        "state rm",
        "state taint",
        "state untaint",
        "state history",
        "state verify",
        "state unlock",
        "schema",
        "completion",
        "doctor",
    ];
    for command in commands {
        let mut arguments: Vec<&str> = command.split_whitespace().collect();
        arguments.push("--help");
        let said = project.exits(0, &arguments);
        assert_eq!(said.err, "");
        text.push_str(&format!("$ gabion {}\n{}\n", arguments.join(" "), said.out));
    }
    assert_said("cli/help.txt", &text);
}

#[test]
fn a_wrong_flag_is_an_error_that_changed_nothing() {
    let project = Project::new();
    for arguments in [&["plan", "--nonsense"][..], &["nonsense"], &[]] {
        let said = project.exits(1, arguments);
        assert_eq!(said.out, "");
        assert_ne!(said.err, "");
    }
    assert!(project.exits(0, &["--version"]).out.starts_with("gabion "));
}
