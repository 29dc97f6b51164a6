use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::{Project, THREE_LEVELS};
use crate::json_schema::violations;

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

/// Every document that commands print, by the name of its schema.
fn printed() -> BTreeMap<&'static str, Vec<Value>> {
    let secret = "---\ntype: resource\nkind: gabion_data\nname: secret\nproperties: {input: 'Bearer ${{ env.TOKEN }}'}\n";
    let project = Project::with(&format!("{THREE_LEVELS}{secret}")).set("TOKEN", "hunter2");
    let mut printed: BTreeMap<&'static str, Vec<Value>> = BTreeMap::new();
    let mut add = |name, document| printed.entry(name).or_default().push(document);
    add(
        "diagnostics",
        project.exits(0, &["validate", "--format", "json"]).json(),
    );
    let planned = project.exits(0, &["plan", "--format", "json", "--events", "planned.json"]);
    add("plan", planned.json());
    project.exits(0, &["apply", "-y", "--events", "events.json"]);
    let read = |name: &str| std::fs::read_to_string(project.directory().join(name)).unwrap();
    let events = read("planned.json") + &read("events.json");
    events
        .lines()
        .for_each(|line| add("events", serde_json::from_str(line).unwrap()));
    add("plan", project.exits(0, &["plan", "--format", "json"]).json());
    add("drift", project.exits(0, &["drift", "--format", "json"]).json());
    add(
        "heal",
        project
            .exits(0, &["heal", "--dry-run", "--format", "json"])
            .json(),
    );
    for arguments in [&["graph"][..], &["graph", "--changed-only"]] {
        let arguments = [arguments, &["--format", "json"]].concat();
        add("graph", project.exits(0, &arguments).json());
    }
    add("ps", project.exits(0, &["ps", "--format", "json"]).json());
    add("state", project.exits(0, &["state", "pull"]).json());
    project.exits(0, &["state", "mv", "gabion_data.top", "gabion_data.summit"]);
    project.exits(0, &["state", "taint", "gabion_data.base"]);
    add("state", project.exits(0, &["state", "pull"]).json());
    // History that was compacted has a base.
    project.exits(0, &["state", "compact", "--keep-runs", "1", "-y"]);
    add("state", project.exits(0, &["state", "pull"]).json());
    project.write("main.gabion.yml", format!("{THREE_LEVELS}extra: 1\n"));
    add(
        "diagnostics",
        project.exits(1, &["validate", "--format", "json"]).json(),
    );
    printed
}

#[test]
fn what_commands_print_is_what_its_schema_says() {
    let printed = printed();
    assert!(printed["events"].len() > 5 && printed["state"].len() == 3);
    assert!(printed["state"].iter().any(|state| !state["base"].is_null()));
    let empty = Project::new();
    let given: BTreeMap<&str, (Value, Vec<Value>)> = printed
        .iter()
        .map(|(name, documents)| {
            let schema = empty.exits(0, &["schema", name]).json();
            // What says nothing of a document accepts every one.
            assert!(
                schema["properties"].is_object() || schema["oneOf"].is_array(),
                "{name}: {schema}"
            );
            (*name, (schema, documents.clone()))
        })
        .collect();
    assert_eq!(violations(&given), "");
}
