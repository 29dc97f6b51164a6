use gabion::wire::PlanJson;

use crate::harness::{Project, THREE_LEVELS, assert_said};

#[test]
fn a_plan_changes_nothing_and_exits_with_0() {
    let project = Project::with(THREE_LEVELS);
    let said = project.exits(0, &["plan"]);
    assert_said("cli/plan-new.txt", &said.out);
    assert_eq!(said.err, "");
    assert_eq!(project.entries(), ["main.gabion.yml"]);
    assert!(!project.home().exists(), "a plan wrote something for the user");
    project.exits(2, &["plan", "--detailed-exitcode"]);
}

#[test]
fn markdown_and_json_say_the_same() {
    let project = Project::with(THREE_LEVELS);
    let markdown = project.exits(0, &["plan", "--format", "markdown"]);
    assert_said("cli/plan-new.md", &markdown.out);
    let json = project.exits(0, &["plan", "--format", "json"]);
    let plan: PlanJson = serde_json::from_str(&json.out).unwrap();
    assert_eq!(plan.format_version, "1.2");
    assert_eq!(plan.gabion.summary.create, 3);
    let top = plan
        .resource_changes
        .iter()
        .find(|change| change.address == "gabion_data.top")
        .unwrap();
    assert_eq!(top.change.actions, ["create"]);
    assert_eq!(top.change.after_unknown["input"], true);
    let detail = plan
        .gabion
        .changes
        .iter()
        .find(|change| change.address == "gabion_data.top")
        .unwrap();
    assert_eq!(detail.unknown["input"], "${{ gabion_data.middle.output.url }}/v1");
    assert_said("cli/plan-new.json", &json.out);
}

#[test]
fn same_world_same_bytes() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    project.write("main.gabion.yml", THREE_LEVELS.replace("80", "81"));
    for format in ["text", "markdown", "json"] {
        let once = || {
            let said = project.exits(0, &["plan", "--format", format]).out;
            // The time at which the world was read is part of the world, and so of the digest.
            let said: Vec<&str> = said
                .lines()
                .filter(|line| !line.contains("20") && !line.contains("digest"))
                .collect();
            said.join("\n")
        };
        assert_eq!(once(), once(), "{format}");
    }
}

#[test]
fn a_change_is_followed_to_its_place() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    project.write(
        "main.gabion.yml",
        THREE_LEVELS.replace("port: 80}", "port: 81}\n  triggers_replace: [2]"),
    );
    assert_said("cli/plan-replace.txt", &project.exits(0, &["plan"]).out);
}

#[test]
fn right_after_apply_the_plan_is_empty() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    let said = project.exits(0, &["plan", "--detailed-exitcode"]);
    assert_said("cli/plan-nothing.txt", &said.out);
    for refresh in ["minimal", "none"] {
        project.exits(0, &["plan", "--detailed-exitcode", "--refresh", refresh]);
    }
}

#[test]
fn a_selection_says_what_it_leaves_out() {
    let project = Project::with(THREE_LEVELS);
    let said = project.exits(0, &["plan", "--exclude", "gabion_data.middle"]);
    assert!(said.out.contains("This is a part:"), "{}", said.all());
    assert!(said.out.contains("1 to create"), "{}", said.all());
    assert!(
        said.out
            .ends_with("Next: gabion apply --exclude gabion_data.middle\n"),
        "{}",
        said.all()
    );
    let said = project.exits(1, &["plan", "--target", "gabion_data.nothing"]);
    assert!(said.err.contains("matches nothing"), "{}", said.all());
}

#[test]
fn protection_blocks_and_still_shows_the_plan() {
    let protected = "type: resource\nkind: gabion_data\nname: a\nproperties: {input: 1}\nlifecycle: {prevent_destroy: true}\n";
    let project = Project::with(protected);
    project.apply();
    let said = project.exits(5, &["plan", "--destroy", "--out", "plan.gabion"]);
    assert_said("cli/plan-blocked.txt", &said.all());
    project.exits(5, &["destroy", "-y"]);
    project.exits(0, &["state", "show", "gabion_data.a"]);
    project.write("main.gabion.yml", protected.replace("true", "false"));
    // Whoever takes protection away shows it to the reviewers, and it is in the way no longer once it is applied.
    let plan = |format| {
        project
            .exits(2, &["plan", "--detailed-exitcode", "--format", format])
            .out
    };
    assert!(
        plan("text").contains("Look first: 1 no longer protected"),
        "{}",
        plan("text")
    );
    assert_said("cli/plan-unprotect.md", &plan("markdown"));
    let json: PlanJson = serde_json::from_str(&plan("json")).unwrap();
    assert!(json.gabion.changes[0].unprotects);
    project.apply();
    project.exits(0, &["plan", "--detailed-exitcode"]);
}

#[test]
fn documents_that_cannot_be_applied_stop_only_plans_that_are_about_them() {
    let project = Project::with(
        "type: service\nname: qwen\nport: 8000\nauth: false\ngateway: false\ncommands: [serve $PORT]\n",
    );
    project.write("rack.dstack.yml", "type: fleet\nname: rack\nnodes: 0..4\n");
    let said = project.exits(1, &["plan"]);
    assert!(said.err.contains("rack.dstack.yml:1:7"), "{}", said.err);
    assert!(
        said.err.contains("plan the others alone with `-f FILE`"),
        "{}",
        said.err
    );
    let said = project.exits(0, &["plan", "-f", "main.gabion.yml"]);
    assert!(
        said.err.contains("warning: document that cannot be applied"),
        "{}",
        said.err
    );
    assert!(said.out.contains("host_unit.qwen/default/0"), "{}", said.out);
    project.exits(1, &["plan", "-f", "rack.dstack.yml"]);
    project.exits(0, &["graph"]);
}

#[test]
fn a_plan_shows_what_each_replica_does_where_prefill_and_decode_are_separate() {
    let engine = "serve --port $PORT --disaggregation-mode";
    let project = Project::with(&format!(
        "type: service\nname: qwen\nport: 8000\nauth: false\nmodel: qwen\nworking_dir: /srv\nrouter: {{type: sglang, \
         policy: random, pd_disaggregation: true}}\nreplicas:\n  - name: prefill\n    replicas: 1..2\n    scaling: {{metric: \
         rps, target: 10}}\n    commands: [{engine} prefill --disaggregation-bootstrap-port $BOOTSTRAP_PORT]\n  - name: \
         decode\n    replicas: 1\n    commands: [{engine} decode]\n"
    ));
    let said = project.exits(0, &["plan"]);
    assert_said("cli/plan-prefill-decode.txt", &said.out);
}

#[test]
fn texts_of_yaml_and_json_are_compared_by_what_they_say() {
    let project = Project::new();
    let write = |yaml: &str, json: &str| {
        let indented = yaml.replace('\n', "\n      ");
        project.write(
            "main.gabion.yml",
            format!(
                "type: resource\nkind: gabion_data\nname: config\nproperties:\n  input:\n    json: '{json}'\n    yaml: |\n      {indented}\n"
            ),
        );
    };
    let yaml = "server:\n  port: 80\n  hosts: [a, b, c]\nlogs: true\nlevels: {debug: false, trace: false}";
    write(yaml, r#"{"port": 80, "hosts": ["a", "b"]}"#);
    project.apply();
    // Another order and layout is told in a line.
    write(
        "levels:\n  trace: false\n  debug: false\nlogs: true\nserver: {hosts: [a, b, c], port: 80}",
        r#"{"hosts":["a","b"],"port":80}"#,
    );
    let said = project.exits(0, &["plan"]).out;
    assert!(
        said.contains("(the same YAML, written differently)")
            && said.contains("(the same JSON, written differently)"),
        "{said}"
    );
    write(
        "logs: true\nlevels:\n  debug: true\n  trace: false\nserver: {port: 80, hosts: [a, c, d]}",
        r#"{"hosts":["a","b"],"port":81}"#,
    );
    assert_said("cli/plan-structured.txt", &project.exits(0, &["plan"]).out);
    let said = project.exits(0, &["plan", "--format", "markdown"]).out;
    assert_said("cli/plan-structured.md", &said);
}

#[test]
fn the_course_of_planning_is_a_stream_of_events() {
    let project = Project::with(THREE_LEVELS);
    let events = |name: &str| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(project.directory().join(name)).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let types = |name: &str| -> Vec<String> {
        let all = events(name).into_iter();
        all.map(|event| event["type"].as_str().unwrap().to_owned())
            .collect()
    };
    project.exits(0, &["plan", "--events", "first.ndjson"]);
    let first = types("first.ndjson");
    assert_eq!(first.first().unwrap(), "planning_started");
    assert_eq!(first.last().unwrap(), "plan_finished");
    assert_eq!(first.iter().filter(|name| *name == "change_planned").count(), 3);
    let end = events("first.ndjson").pop().unwrap();
    assert_eq!(
        (&end["summary"]["create"], &end["denied"]),
        (&3.into(), &false.into())
    );
    assert_eq!(end["sequence"], first.len());
    project.apply();
    project.exits(0, &["plan", "--events", "second.ndjson"]);
    let second = types("second.ndjson");
    assert!(second.iter().any(|name| name == "objects_read"), "{second:?}");
    assert!(!second.iter().any(|name| name == "change_planned"), "{second:?}");
    project.write("main.gabion.yml", "type: nonsense\n");
    project.exits(1, &["plan", "--events", "third.ndjson"]);
    assert_eq!(types("third.ndjson"), ["planning_started", "planning_failed"]);
    project.write("main.gabion.yml", THREE_LEVELS);
    let said = project.exits(1, &["plan", "--events", "no/such/directory"]);
    assert!(said.err.contains("events cannot be written"), "{}", said.all());
}
