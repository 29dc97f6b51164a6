use crate::harness::{Project, THREE_LEVELS, assert_said};

#[test]
fn the_graph_in_each_style() {
    let project = Project::with(THREE_LEVELS);
    let text = ["dot", "mermaid", "json"]
        .map(|style| project.exits(0, &["graph", "--style", style]).out)
        .join("\n");
    assert_said("cli/graph.txt", &text);
    let markdown = project.exits(0, &["graph", "--format", "markdown"]).out;
    assert!(markdown.starts_with("```mermaid\n"), "{markdown}");
}
