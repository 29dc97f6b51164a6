//! Documents with `type: data`.

use crate::harness::Project;

const DOCUMENTS: &str = "\
type: data
kind: gabion_data
name: zone
for_each: {a: eu-west-1a, b: eu-west-1b}
properties:
  input: {name: \"${{ each.value }}\", count: 3}
---
type: data
kind: gabion_data
name: greeting
properties:
  input: \"in ${{ data.gabion_data.zone/a.output.name }}\"
---
type: resource
kind: gabion_data
name: box
properties:
  input:
    whole: ${{ data.gabion_data.zone/b.output }}
    text: \"$${{ ${{ data.gabion_data.greeting.output }}\"
conditions:
  before:
    - condition: ${{ data.gabion_data.zone/a.output.count }} == 3
      error_message: three
";

#[test]
fn what_is_read_stands_in_the_plan() {
    let project = Project::with(DOCUMENTS);
    project.exits(0, &["validate"]);
    let planned = project.exits(0, &["plan", "--out", "plan.gabion"]);
    for part in [
        "eu-west-1b",
        "Read, and not managed",
        "data.gabion_data.greeting",
        "in eu-west-1a",
    ] {
        assert!(planned.out.contains(part), "{part}:\n{}", planned.out);
    }
    let json = project
        .exits(0, &["show", "plan.gabion", "--format", "json"])
        .json();
    let read = &json["prior_state"]["values"]["root_module"]["resources"][0];
    assert_eq!(read["address"], "data.gabion_data.greeting");
    assert_eq!(read["mode"], "data");
    assert_eq!(read["values"]["output"], "in eu-west-1a");
    let declared = json["configuration"]["root_module"]["resources"]
        .as_array()
        .unwrap();
    assert_eq!(
        declared
            .iter()
            .filter(|resource| resource["mode"] == "data")
            .count(),
        3
    );
    let markdown = project.exits(0, &["plan", "--format", "markdown"]);
    assert!(markdown.out.contains("Read, and not managed"), "{}", markdown.out);
    project.exits(0, &["apply", "plan.gabion"]);
    let shown = project
        .exits(0, &["state", "show", "gabion_data.box", "--format", "json"])
        .json();
    assert_eq!(shown["outputs"]["output"]["text"], "${{ in eu-west-1a");
    assert_eq!(shown["outputs"]["output"]["whole"]["count"], 3);
    let again = project.exits(0, &["plan", "--detailed-exitcode"]);
    assert!(again.out.contains("data.gabion_data.greeting"), "{}", again.out);
    project.exits(0, &["graph"]);
    project.exits(0, &["plan", "--target", "gabion_data.box"]);
    let refused = project.exits(1, &["plan", "--refresh", "none"]);
    assert!(refused.err.contains("data is not read"), "{}", refused.err);
}

#[test]
fn a_saved_plan_is_applied_with_the_values_of_its_review() {
    let project = Project::with(DOCUMENTS).set("UNUSED", "");
    project.exits(0, &["plan", "--out", "plan.gabion"]);
    project.write("main.gabion.yml", DOCUMENTS.replace("eu-west-1b", "eu-west-1c"));
    project.exits(0, &["apply", "plan.gabion"]);
    let shown = project
        .exits(0, &["state", "show", "gabion_data.box", "--format", "json"])
        .json();
    assert_eq!(shown["outputs"]["output"]["whole"]["name"], "eu-west-1b");
    // What is found anew shows as a difference.
    let planned = project.exits(2, &["plan", "--detailed-exitcode"]);
    assert!(planned.out.contains("eu-west-1c"), "{}", planned.out);
}

/// Checks what is said about a document, beside a resource `later`, and where.
#[track_caller]
fn refused(documents: &str, command: &str, parts: &[&str]) {
    let project = Project::with(&format!(
        "type: resource\nkind: gabion_data\nname: later\nproperties: {{input: 1}}\n---\n{documents}"
    ));
    let said = project.exits(1, &[command]);
    for part in parts {
        assert!(said.all().contains(part), "{part}:\n{}", said.all());
    }
}

#[test]
fn problems_of_data_documents_name_their_place() {
    let of = |kind: &str, properties: &str| {
        format!("type: data\nkind: {kind}\nname: it\nproperties: {properties}\n")
    };
    for command in ["validate", "plan"] {
        refused(
            &of("gabion_dat", "{}"),
            command,
            &[
                "unknown kind of data",
                "did you mean `gabion_data`?",
                "main.gabion.yml:7",
            ],
        );
        refused(
            &of("gabion_data", "{inputs: 1}"),
            command,
            &["has no attribute `inputs`", "did you mean `input`?"],
        );
        refused(&of("gabion_data", "{output: 1}"), command, &["computed"]);
        refused(
            &of("gabion_data", "{input: \"${{ gabion_data.later.output }}\"}"),
            command,
            &[
                "data that cannot be read before apply",
                "gabion_data.later",
                "main.gabion.yml:9",
            ],
        );
        refused(
            &(of("gabion_data", "{input: 1}")
                + "---\ntype: resource\nkind: gabion_data\nname: box\nproperties: {input: \"${{ data.gabion_data.it.outptu }}\"}\n"),
            command,
            &[
                "has no attribute `outptu`",
                "did you mean `output`?",
                "main.gabion.yml:14",
            ],
        );
        refused(
            &(of("gabion_data", "{input: 1}")
                + "---\ntype: resource\nkind: gabion_data\nname: box\nproperties: {input: \"${{ data.gabion_data.its.output }}\"}\n"),
            command,
            &["unknown reference", "did you mean `data.gabion_data.it`"],
        );
        refused(
            &(of("gabion_data", "{input: 1}") + "---\n" + &of("gabion_data", "{input: 2}")),
            command,
            &["duplicate address"],
        );
    }
    refused(
        &of("gabion_data", "{input: \"${{ data.gabion_data.it.output }}\"}"),
        "plan",
        &["data documents wait for each other"],
    );
    refused(
        &(of("gabion_data", "{input: [1]}")
            + "---\ntype: resource\nkind: gabion_data\nname: box\nproperties: {input: \"${{ data.gabion_data.it.output[3] }}\"}\n"),
        "plan",
        &["reference without a value", "nothing was found there"],
    );
}
