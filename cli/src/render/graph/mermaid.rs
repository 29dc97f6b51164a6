//! A graph in Mermaid's language, which Markdown shows as a picture.

use std::fmt::Write;

use super::dot::by_document;
use super::model::{Graph, Look};
use crate::render::mermaid::label;

/// Returns the graph for Mermaid.
pub(crate) fn write(graph: &Graph<'_>) -> String {
    let mut text = "flowchart LR\n".to_owned();
    let (documents, alone) = by_document(graph);
    let line = |text: &mut String, indent: &str, position: usize| {
        let node = &graph.nodes[position];
        let class = match node.change {
            Some(_) => format!(":::{}", node.look().name()),
            None => String::new(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{indent}r{position}[\"{}\"]{class}", label(&node.label()));
    };
    for (number, (document, nodes)) in documents.into_iter().enumerate() {
        let _ = writeln!(text, "  subgraph d{number}[\"{}\"]", label(&document));
        for position in nodes {
            line(&mut text, "    ", position);
        }
        text.push_str("  end\n");
    }
    for position in alone {
        line(&mut text, "  ", position);
    }
    for edge in &graph.edges {
        let why = match edge.because.as_str() {
            "" => String::new(),
            why => format!(" \"{}\" --", label(why)),
        };
        let _ = writeln!(text, "  r{} --{why}> r{}", edge.from, edge.to);
    }
    for look in Look::ALL {
        if graph
            .nodes
            .iter()
            .any(|node| node.change.is_some() && node.look() == look)
        {
            let _ = writeln!(
                text,
                "  classDef {} stroke:{},stroke-width:2px",
                look.name(),
                look.colour()
            );
        }
    }
    text
}
