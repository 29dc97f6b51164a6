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

/// A service with two replica groups, the second made of the first; `need` stands in a list of the first's resources.
fn groups(need: &str) -> String {
    format!(
        "type: service\nname: qwen\nport: 8000\nauth: false\ngateway: false\ngroups:\n  - &prefill\n    name: prefill\n    \
         replicas: 1\n    commands: [serve $PORT]\n    resources: &need\n      gpu:\n        name: H100\n        {need}\n  - \
         <<: *prefill\n    name: decode\n    resources:\n      <<: *need\n      memory: 1GB\n"
    )
}

#[test]
fn bad_range_through_two_merged_anchors() {
    check_text("deep-range", &groups("memory: {min: 80GB, max: 40GB}"));
}

#[test]
fn unknown_key_through_two_merged_anchors() {
    check_text("deep-unknown-key", &groups("memroy: 80GB"));
}

#[test]
fn wrong_type_through_two_merged_anchors() {
    check_text("deep-wrong-type", &groups("count: [1]"));
}

#[test]
fn missing_key_deep_in_a_list() {
    check_text(
        "deep-missing-key",
        "type: service\nname: qwen\nport: 8000\nauth: false\ncommands: [serve]\nrate_limits:\n  - rps: 1\n    key:\n      \
         type: header\n  - prefix: /v1/\n",
    );
}

#[test]
fn bad_gpu_specs() {
    check_text(
        "gpu-spec",
        "type: service\nname: qwen\nport: 8000\nauth: false\ncommands: [serve]\nresources:\n  gpu: A100:40GB:H100\n---\ntype: \
         task\nname: train\ncommands: [train]\nresources: {gpu: {vendor: nvidea, count: 2}}\n---\ntype: task\nname: again\ncommands: \
         [train]\nresources:\n  gpu: 1.5\n  cpu: 4:8\n",
    );
}

#[test]
fn reference_to_a_group_that_is_not_there() {
    check_text(
        "group-reference",
        "type: task\nname: train\ngroups:\n  - nodes: 2\n    commands:\n      - python train.py --peer ${{ groups[1].nodes[3].IP_ADDRESS \
         }}\n  - nodes: 3\n    commands: [\"run ${{ groups[2].nodes[0].IP_ADDRESS }}\"]\n",
    );
}

#[test]
fn both_dialects_in_one_service() {
    check_text(
        "mixed-dialects",
        "type: service\nname: qwen\nport: 8000\nauth: false\nrouter: {type: sglang, policy: random}\ngroups:\n  - name: router\n    \
         replicas: 1\n    commands: [smg launch]\n    router: {type: smg, policy: random}\n  - replicas: 2\n    commands: [serve]\n",
    );
}

#[test]
fn values_that_come_from_a_profile() {
    let project = Project::with(
        "type: service\nname: qwen\nport: 8000\nauth: false\ngateway: false\ncommands: [serve $PORT]\n---\ntype: service\nname: \
         other\nport: 8000\nauth: false\ngateway: false\ncommands: [serve $PORT]\nmax_price: 2\n",
    );
    project.write(
        "profiles.yml",
        "profiles:\n  - name: cheap\n    default: true\n    max_price: 0\n    spot_polcy: spot\n    fleets: [a/b/c]\n",
    );
    check("profile", &project);
}

#[test]
fn documents_that_cannot_be_applied() {
    check_text(
        "unsupported-documents",
        "type: preset\nname: fast\nbase: Qwen/Qwen3-8B\n---\ntype: fleet\nname: rack\nnodes: 2\n---\ntype: volume\nname: \
         models\nbackend: aws\nregion: eu-west-1\nsize: 10GB\n---\ntype: task\nname: train\ncommands: [train]\n---\ntype: \
         dev-environment\nname: desk\nide: vscode\n",
    );
}

#[test]
fn what_the_local_backend_cannot_do() {
    check_text(
        "local-cannot",
        "type: service\nname: qwen\nport: 8000\nauth: false\ngateway: false\ncommands: [serve]\nprivileged: true\nvolumes: \
         [/data:/mnt]\nregions: [eu-west-1]\nreplicas: 1..4\nscaling: {metric: rps, target: 10}\nresources: {gpu: 1}\nspot_policy: auto\n\
         retry: false\n",
    );
}

#[test]
fn roles_that_do_not_go_with_the_router() {
    let service = "type: service\nport: 8000\nauth: false\ngateway: false\n";
    check_text(
        "roles",
        &[
            // Of three groups one is a prefill worker, and one port is not enough for it.
            "name: separate\nrouter: {type: sglang, pd_disaggregation: true}\nreplicas:\n  - name: reads\n    replicas: 1\n    \
             commands:\n      - |\n        serve --port $PORT \\\n          --disaggregation-mode prefill \\\n          \
             --disaggregation-bootstrap-port $OTHER\n  - {replicas: 1, commands: [serve --port $PORT]}\n  - {replicas: 1, \
             commands: [serve --port $PORT --disaggregation-mode decode], role: prefill}\n",
            "name: halves\nrouter: {type: sglang, pd_disaggregation: true}\ncommands: [serve --port $PORT \
             --disaggregation-mode=decode]\n",
            "name: whole\ngroups:\n  - {replicas: 1, router: {type: smg}, commands: [smg launch --port $PORT]}\n  - \
             {replicas: 1, role: prefill, commands: [./start.sh $PORT]}\n",
            "name: alone\ncommands: [serve --port $PORT --disaggregation-mode prefill]\n",
            "name: other\ngroups:\n  - {replicas: 1, router: {type: dynamo}, commands: [dynamo $PORT]}\n  - {replicas: 1, \
             commands: [serve $PORT]}\n",
        ]
        .map(|text| format!("{service}{text}"))
        .join("---\n"),
    );
}

#[test]
fn secrets_that_cannot_be_read() {
    let uses = ["ABSENT", "FAILS", "SILENT", "LONG", "NOWHERE"]
        .map(|name| format!("    {name}: ${{{{ secrets.{name} }}}}\n"))
        .concat();
    let project = Project::with(&format!("{DATA}name: a\nproperties:\n  input:\n{uses}"));
    project.write(
        "gabion.yml",
        "project: demo\nsecrets:\n  ABSENT: {file: keys/token}\n  FAILS: {command: [sh, -c, 'echo hunter2; echo no vault at vault.acme.internal >&2; exit 4']}\n  \
         SILENT: {command: ['true']}\n  LONG: {command: [head, -c, '70000', /dev/zero]}\n  NOWHERE: {command: [no-such-program]}\n",
    );
    check("secrets-unreadable", &project);
}

#[test]
fn secrets_that_are_exposed() {
    use std::os::unix::fs::PermissionsExt;
    let project = Project::with(&format!(
        "{DATA}name: a\nproperties:\n  input: '${{{{ secrets.TOKEN }}}}'\n"
    ));
    project.write("token", "hunter2\n");
    let path = project.directory().join("token");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    project.write("gabion.yml", "project: demo\nsecrets:\n  TOKEN: {file: token}\n");
    check("secrets-exposed", &project);
}

#[test]
fn secrets_without_a_source() {
    let project = Project::with(&format!("{DATA}name: a\n"));
    project.write(
        "gabion.yml",
        "project: demo\nsecrets:\n  PLAIN: hunter2\n  VALUE: {value: hunter2}\n  SHELL: {command: vault read token}\n  BOTH: {env: TOKEN, file: token}\n  NONE: {}\n  \
         EMPTY: {command: []}\n",
    );
    check("secrets-without-source", &project);
}
