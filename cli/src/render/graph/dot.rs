//! A graph in Graphviz's language.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::model::{Graph, Node};
use crate::render::words::plain;

/// Returns the graph for Graphviz.
pub(crate) fn write(graph: &Graph<'_>) -> String {
    let mut text = "digraph gabion {\n  rankdir = LR\n  node [shape = box]\n".to_owned();
    let (documents, alone) = by_document(graph);
    // Writing to a string cannot fail.
    for (number, (document, nodes)) in documents.into_iter().enumerate() {
        let _ = writeln!(
            text,
            "  subgraph cluster_{number} {{\n    label = {}",
            quoted(&document)
        );
        for position in nodes {
            let _ = writeln!(text, "    {}", line(&graph.nodes[position]));
        }
        text.push_str("  }\n");
    }
    for position in alone {
        let _ = writeln!(text, "  {}", line(&graph.nodes[position]));
    }
    for edge in &graph.edges {
        let [from, to] = [edge.from, edge.to].map(|position| quoted(&graph.nodes[position].id()));
        let _ = match edge.because.as_str() {
            "" => writeln!(text, "  {from} -> {to}"),
            why => writeln!(text, "  {from} -> {to} [label = {}]", quoted(why)),
        };
    }
    text.push_str("}\n");
    text
}

/// Returns the positions of the resources by the document that they come from, and of those that come from none.
pub(super) fn by_document(graph: &Graph<'_>) -> (BTreeMap<String, Vec<usize>>, Vec<usize>) {
    let mut documents: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut alone = Vec::new();
    for (position, node) in graph.nodes.iter().enumerate() {
        match node.document_name() {
            Some(name) => documents.entry(name).or_default().push(position),
            None => alone.push(position),
        }
    }
    (documents, alone)
}

fn line(node: &Node<'_>) -> String {
    let id = quoted(&node.id());
    match node.change {
        None => id,
        Some(_) => format!(
            "{id} [label = {}, color = \"{}\"]",
            quoted(&node.label()),
            node.look().colour()
        ),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", plain(text).replace('\\', "\\\\").replace('"', "\\\""))
}
