//! A graph for programs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::Graph;
use crate::render::plan_json::actions;
use crate::render::words::plain;

/// What depends on what, as `gabion graph --format json` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GraphJson {
    /// The version of this form: `1.0`.
    pub format_version: String,
    /// The resources, by address.
    pub nodes: Vec<GraphNodeJson>,
    /// What depends on what.
    pub edges: Vec<GraphEdgeJson>,
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GraphNodeJson {
    /// The address.
    pub address: String,
    /// Whether it is an object that awaits its deletion, and another one has taken its address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deposed: bool,
    /// The document that declares it, or did, such as `service qwen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// Where that document starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What a plan does to it, in the words of a plan's `actions`; absent where no plan was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
}

/// A resource that depends on another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GraphEdgeJson {
    /// The one that depends.
    pub from: String,
    /// The one that it depends on.
    pub to: String,
    /// The inputs that refer to it, or what else makes the dependence; empty where only the record of an object that goes
    /// says so.
    pub because: String,
    /// Where that is written.
    pub places: Vec<String>,
}

/// Returns the graph for programs.
pub(crate) fn write(graph: &Graph<'_>) -> String {
    let nodes = graph
        .nodes
        .iter()
        .map(|node| GraphNodeJson {
            address: node.address.to_string(),
            deposed: node.change.is_some_and(|change| change.deposed),
            document: node
                .document
                .map(|document| format!("{} {}", document.document_type, document.name)),
            place: node.document.map(|document| document.place.to_string()),
            actions: node
                .change
                .map(|change| actions(change.action))
                .unwrap_or_default(),
        })
        .collect();
    let edges = graph
        .edges
        .iter()
        .map(|edge| GraphEdgeJson {
            from: graph.nodes[edge.from].address.to_string(),
            to: graph.nodes[edge.to].address.to_string(),
            because: plain(&edge.because),
            places: edge.places.clone(),
        })
        .collect();
    let wire = GraphJson {
        format_version: "1.0".to_owned(),
        nodes,
        edges,
    };
    // It holds nothing but texts.
    let text = serde_json::to_string_pretty(&wire).unwrap_or_default();
    format!("{text}\n")
}
