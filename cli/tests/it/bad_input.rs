//! Bad input: all problems in one run, each with place and hint; exit 1; nothing is changed.

use crate::harness::{Project, assert_said};

fn check(name: &str, project: &Project) {
    let before = project.entries();
    let said = project.exits(1, &["plan"]);
    assert_eq!(said.out, "");
    assert!(
        said.err.len() < 20_000,
        "the message is {} bytes long",
        said.err.len()
    );
    assert_eq!(project.entries(), before);
    assert!(!project.home().exists(), "something was written for the user");
    assert_said(&format!("bad-input/{name}.txt"), &said.all());
}

fn check_text(name: &str, documents: &str) {
    check(name, &Project::with(documents));
}

const DATA: &str = "type: resource\nkind: gabion_data\n";
const GATEWAY: &str = "type: gateway\nname: my-gateway\nbackend: local\n---\n";

#[test]
fn unknown_key() {
    check_text(
        "unknown-key",
        &format!(
            "{GATEWAY}type: service\nname: qwen\nport: 8000\nreplcias: 2\nauth: false\ncommands: [serve $PORT]\n"
        ),
    );
}

#[test]
fn wrong_type_deep_in_a_list() {
    check_text(
        "wrong-type",
        &format!(
            "{GATEWAY}type: service\nname: qwen\nport: 8000\nauth: false\ncommands: [serve $PORT]\nprobes:\n  - type: http\n    \
             url: /health\n  - type: http\n    url: /ready\n    interval: [5]\n"
        ),
    );
}

#[test]
fn duplicate_key() {
    check_text(
        "duplicate-key",
        &format!("{DATA}name: a\nproperties:\n  input: 1\n  input: 2\n"),
    );
}

#[test]
fn reference_to_nothing() {
    check_text(
        "unknown-reference",
        &format!(
            "{DATA}name: public\nproperties: {{input: 1}}\n---\n{DATA}name: user\nproperties:\n  input: \
             http://${{{{ gabion_data.pubic.output }}}}/\n---\n{DATA}name: other\nproperties: {{inptu: 1}}\n"
        ),
    );
}

#[test]
fn reference_cycle() {
    let one = |name: &str, other: &str| {
        format!("{DATA}name: {name}\nproperties:\n  input: ${{{{ gabion_data.{other}.output }}}}\n---\n")
    };
    check_text("cycle", &[one("a", "b"), one("b", "c"), one("c", "a")].concat());
}

#[test]
fn duplicate_name() {
    check_text(
        "duplicate-name",
        &format!("{DATA}name: a\nproperties: {{input: 1}}\n---\n{DATA}name: a\nproperties: {{input: 2}}\n"),
    );
}

#[test]
fn two_services_with_one_model() {
    let service = |name: &str| {
        format!(
            "type: service\nname: {name}\nport: 8000\nmodel: qwen\nauth: false\ncommands: [serve $PORT]\n---\n"
        )
    };
    check_text("one-model", &[GATEWAY, &service("one"), &service("two")].concat());
}

#[test]
fn missing_environment_variable() {
    check_text(
        "missing-variable",
        &format!(
            "{GATEWAY}type: service\nname: qwen\nport: 8000\nauth: false\nenv:\n  - HF_TOKEN\ncommands: [serve $PORT]\n"
        ),
    );
}

#[test]
fn two_replicas_on_one_port() {
    check_text(
        "port-not-used",
        &format!(
            "{GATEWAY}type: service\nname: qwen\nport: 8000\nreplicas: 2\nauth: false\ncommands: [serve --port 8000]\n"
        ),
    );
}

#[test]
fn a_service_that_nobody_may_call() {
    check_text(
        "no-tokens",
        &format!("{GATEWAY}type: service\nname: qwen\nport: 8000\ncommands: [serve $PORT]\n"),
    );
}

#[test]
fn alias_bomb() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    check_text(
        "alias-bomb",
        &format!(
            "{DATA}name: a\nproperties:\n  input:\n    {}",
            text.replace('\n', "\n    ")
        ),
    );
}

#[test]
fn a_very_long_scalar() {
    check_text(
        "long-scalar",
        &format!(
            "{DATA}name: a\nproperties: {{input: \"{}\"}}\n",
            "x".repeat(10 << 20)
        ),
    );
}

#[test]
fn an_empty_file() {
    check_text("empty-file", "");
}

#[test]
fn not_utf8() {
    let project = Project::new();
    project.write("main.gabion.yml", b"type: resource\nname: caf\xe9\n");
    check("not-utf8", &project);
}

#[test]
fn no_configuration() {
    check("no-configuration", &Project::new());
}

#[test]
fn no_directory() {
    let project = Project::new();
    let said = project.exits(1, &["-C", "nowhere", "plan"]);
    assert!(
        said.err.contains("cannot read the project directory"),
        "{}",
        said.all()
    );
}

#[test]
fn several_problems_in_several_files() {
    let project = Project::with(&format!(
        "{DATA}name: a\nproperties: {{inptu: 1}}\nlifecylce: {{}}\n"
    ));
    project.write("gabion.yml", "project: demo\nbackend: local\n");
    project.write("qwen.dstack.yml", "type: servcie\nname: qwen\n");
    check("several", &project);
}

#[test]
fn a_file_of_another_directory() {
    let project = Project::with(&format!("{DATA}name: a\nproperties: {{input: 1}}\n"));
    project.write("other.yml", "x: 1\n");
    let said = project.exits(1, &["plan", "-f", "other.yml"]);
    assert_said("bad-input/file-outside.txt", &said.all());
}
