//! Plans as people review them: what each kind of change looks like in every format.

use gabion::wire::PlanJson;

use crate::harness::{Project, THREE_LEVELS, assert_said};

/// Compares the plan in each format with `snapshots/plans/NAME.*`.
#[track_caller]
fn assert_plan(project: &Project, name: &str, arguments: &[&str]) {
    for (format, ending) in [("text", "txt"), ("markdown", "md"), ("json", "json")] {
        let arguments: Vec<&str> = ["plan", "--format", format]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        let said = project.exits(0, &arguments);
        if format == "json" {
            let _: PlanJson = serde_json::from_str(&said.out).unwrap();
        }
        assert_said(&format!("plans/{name}.{ending}"), &said.out);
    }
}

fn data(name: &str, input: &str) -> String {
    format!("type: resource\nkind: gabion_data\nname: {name}\nproperties: {{input: {input}}}\n---\n")
}

#[test]
fn the_first_plan_of_the_quickstart() {
    let project = Project::new();
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart");
    for file in [
        "gabion.yml",
        "gateway.dstack.yml",
        "service.dstack.yml",
        "engine.py",
    ] {
        project.write(file, std::fs::read(example.join(file)).unwrap());
    }
    assert_plan(&project, "first", &[]);
}

#[test]
fn more_replicas() {
    let service = |replicas: u8| {
        format!(
            "type: service\nname: qwen\nport: 8000\nauth: false\ngateway: false\nreplicas: {replicas}\ncommands: ['exec python3 -m http.server $PORT --bind 127.0.0.1']\n"
        )
    };
    let project = Project::with(&service(1));
    project.apply();
    project.write("main.gabion.yml", service(4));
    assert_plan(&project, "scale-up", &[]);
}

#[test]
fn a_replacement_with_its_chain_of_causes() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    project.write(
        "main.gabion.yml",
        THREE_LEVELS.replace("port: 80}", "port: 81}\n  triggers_replace: [2]"),
    );
    assert_plan(&project, "replace", &[]);
}

#[test]
fn everything_goes() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    assert_plan(&project, "destroy", &["--destroy"]);
}

#[test]
fn only_the_world_changed() {
    let project = Project::with(
        "type: resource\nkind: host_unit\nname: clock\nproperties:\n  machine: local\n  argv: [sleep, '600']\n  files: {note.txt: \"one\\ntwo\\nthree\\n\"}\n",
    );
    project.apply();
    let record = project
        .exits(0, &["state", "show", "host_unit.clock", "--format", "json"])
        .json();
    let unit = record["outputs"]["unit_dir"].as_str().unwrap().to_owned();
    std::fs::write(format!("{unit}/files/note.txt"), "one\n2\nthree\n").unwrap();
    assert_plan(&project, "drift", &[]);
}

#[test]
fn renamed_taken_in_and_let_go() {
    let unit = "type: resource\nkind: host_unit\nname: clock\nproperties: {machine: local, argv: [sleep, '600']}\n---\n";
    let project = Project::with(&format!("{}{}{unit}", data("old", "1"), data("theirs", "2")));
    project.apply();
    let record = project
        .exits(0, &["state", "show", "host_unit.clock", "--format", "json"])
        .json();
    let id = record["id"].as_str().unwrap();
    project.exits(0, &["state", "rm", "host_unit.clock"]);
    project.write(
        "main.gabion.yml",
        format!(
            "{}{unit}type: moved\nfrom: gabion_data.old\nto: gabion_data.new\n---\ntype: removed\nfrom: gabion_data.theirs\nlifecycle: {{destroy: false}}\n---\ntype: import\nto: host_unit.clock\nid: {id}\n",
            data("new", "1")
        ),
    );
    assert_plan(&project, "moved", &[]);
}

#[test]
fn secrets_that_changed() {
    let project =
        Project::with(&data("login", "{user: ada, token: '${{ secrets.TOKEN }}'}")).set("MY_TOKEN", "one");
    project.write(
        "gabion.yml",
        "project: demo\nsecrets:\n  TOKEN: {env: MY_TOKEN}\n",
    );
    project.apply();
    let project = project.set("MY_TOKEN", "correct-horse");
    for format in ["text", "markdown", "json"] {
        let said = project.exits(0, &["plan", "--format", format]).all();
        assert!(!said.contains("correct-horse"), "{said}");
    }
    assert_plan(&project, "secrets", &[]);
}

#[test]
fn what_only_apply_knows_is_shown_as_the_expression_that_fills_it() {
    let mut documents = data("base", "{host: example.org, port: 80}");
    for name in ["a", "b", "c"] {
        documents += &data(
            name,
            "{url: 'http://${{ gabion_data.base.id }}:${{ gabion_data.base.output.port }}/', list: ['${{ gabion_data.base.id }}', 1]}",
        );
    }
    documents += &data(
        "last",
        "['${{ gabion_data.a.output.url }}', '${{ gabion_data.b.id }}']",
    );
    assert_plan(&Project::with(&documents), "unknown", &[]);
}

/// Returns a plan as JSON with what it says of a few resources.
fn one_of_each(mut plan: PlanJson, names: &[&str]) -> String {
    let is_meant = |address: &str| names.iter().any(|name| address.ends_with(name));
    plan.resource_changes.retain(|change| is_meant(&change.address));
    let planned = &mut plan.planned_values.root_module.resources;
    planned.retain(|resource| is_meant(&resource.address));
    if let Some(state) = &mut plan.prior_state {
        let resources = &mut state.values.root_module.resources;
        resources.retain(|resource| is_meant(&resource.address));
    }
    let configured = &mut plan.configuration.root_module.resources;
    configured.retain(|resource| is_meant(&resource.address));
    plan.gabion.changes.retain(|change| is_meant(&change.address));
    plan.gabion.steps.retain(|step| is_meant(&step.address));
    serde_json::to_string_pretty(&plan).unwrap() + "\n"
}

#[test]
fn three_hundred_resources_are_cut_to_the_budget() {
    let documents = |text: &str| -> String {
        (0..300)
            .map(|i| {
                let lines = format!("line one of {i}\\nline two of {i}\\n{text}\\n");
                data(
                    &format!("item-{i:03}"),
                    &format!("{{text: \"{lines}\", number: {i}}}"),
                )
            })
            .collect()
    };
    let project = Project::with(&documents("before"));
    project.apply();
    // Ten of them go, one is replaced.
    let after: String = documents("after").split_inclusive("---\n").skip(10).collect();
    project.write(
        "main.gabion.yml",
        after.replacen("number: 10}", "number: 10}\n  , triggers_replace: [1]", 1),
    );
    let budget = 12_000;
    let said = project.exits(0, &["plan", "--format", "markdown", "--max-bytes", "12000"]);
    assert!(said.out.len() <= budget, "{}", said.out.len());
    assert_said("plans/300-cut.md", &said.out);
    // Text is not cut: people scroll. What they see first, and last.
    let text = project.exits(0, &["plan"]).out;
    let lines: Vec<&str> = text.lines().collect();
    let (first, last) = (lines[..50].join("\n"), lines[lines.len() - 8..].join("\n"));
    let between = lines.len() - 58;
    assert_said(
        "plans/300-cut.txt",
        &format!("{first}\n… ({between} lines)\n{last}\n"),
    );
    // Programs get everything; people review one of each kind.
    let json = project.exits(0, &["plan", "--format", "json"]).out;
    let plan: PlanJson = serde_json::from_str(&json).unwrap();
    assert_eq!(plan.resource_changes.len(), 300);
    assert_said(
        "plans/300-cut.json",
        &one_of_each(plan, &["item-000", "item-010", "item-011"]),
    );
    let whole = project.exits(0, &["plan", "--format", "markdown"]).out;
    assert!(whole.len() <= 60_000, "{}", whole.len());
    // What is dangerous is whole in a budget of nothing.
    let least = project
        .exits(0, &["plan", "--format", "markdown", "--max-bytes", "0"])
        .out;
    for i in 0..10 {
        assert!(least.contains(&format!("`gabion_data.item-{i:03}`")), "{least}");
    }
    assert!(least.contains("`gabion_data.item-010` replace"), "{least}");
    assert!(
        least.contains("The differences of 290 resources are not shown here"),
        "{least}"
    );
}
