use gabion::wire::GraphJson;

use crate::harness::{Project, THREE_LEVELS, assert_said};

#[test]
fn the_graph_in_each_form() {
    let project = Project::with(THREE_LEVELS);
    let text = ["dot", "mermaid", "json"]
        .map(|format| project.exits(0, &["graph", "--format", format]).out)
        .join("\n");
    assert_said("cli/graph.txt", &text);
    assert_eq!(
        project.exits(0, &["graph"]).out,
        project.exits(0, &["graph", "--format", "dot"]).out
    );
    let markdown = project.exits(0, &["graph", "--format", "markdown"]).out;
    assert!(markdown.starts_with("```mermaid\n"), "{markdown}");
}

/// One is replaced, one follows it, one is made, one goes together with what it needed, and one stays.
fn changed() -> Project {
    let old = "---\ntype: resource\nkind: gabion_data\nname: old\nproperties: {input: 1}\n---\n\
               type: resource\nkind: gabion_data\nname: older\nproperties: {input: '${{ gabion_data.old.id }}'}\n";
    let project = Project::with(&format!("{THREE_LEVELS}{old}"));
    project.apply();
    let new = "---\ntype: resource\nkind: gabion_data\nname: new\nproperties: {input: '${{ gabion_data.top.id }}'}\n";
    project.write(
        "main.gabion.yml",
        format!("{THREE_LEVELS}{new}").replace("port: 80}", "port: 81}\n  triggers_replace: [2]"),
    );
    project
}

#[test]
fn only_what_changes_with_what_is_done_to_it() {
    let project = changed();
    let text = ["dot", "mermaid", "json", "svg"]
        .map(|format| {
            project
                .exits(0, &["graph", "--changed-only", "--format", format])
                .out
        })
        .join("\n");
    assert_said("cli/graph-changed.txt", &text);
    // What goes is no part of the configuration, and part of the plan.
    let whole: GraphJson =
        serde_json::from_str(&project.exits(0, &["graph", "--format", "json"]).out).unwrap();
    assert!(
        whole
            .nodes
            .iter()
            .all(|node| node.actions.is_empty() && node.address != "gabion_data.old")
    );
    let page = project.exits(0, &["graph", "--format", "html"]).out;
    assert!(page.contains("gabion_data.old"), "{page}");
    project.apply();
    let nothing = project
        .exits(0, &["graph", "--changed-only", "--format", "json"])
        .out;
    let nothing: GraphJson = serde_json::from_str(&nothing).unwrap();
    assert!(nothing.nodes.is_empty());
    let page = project
        .exits(0, &["graph", "--changed-only", "--format", "html"])
        .out;
    assert!(page.contains("nothing to do"), "{page}");
}

#[test]
fn forms_of_graphs_are_forms_of_nothing_else() {
    let project = Project::with(THREE_LEVELS);
    for format in ["dot", "mermaid", "svg", "html"] {
        let said = project.exits(1, &["plan", "--format", format]);
        assert!(said.err.contains("no such format here"), "{}", said.err);
        assert_eq!(said.out, "");
    }
}
