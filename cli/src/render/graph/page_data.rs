//! What the page knows about each resource, as its script reads it.
//!
//! Every text went through [`plain`] or the renderers of values, so secrets are masked and nothing is invisible.

use gabion_engine::plan::Plan;
use gabion_engine::plan::change::{Action, Change, DriftKind};
use serde::Serialize;

use super::groups::Group;
use super::layout::{BOX, GAP, HEAD, Layout, NARROW, RIM};
use super::model::Graph;
use crate::render::catalogue::Catalogue;
use crate::render::drift_text::sides;
use crate::render::value::{Line, Sign, attribute_lines, split, whole};
use crate::render::view;
use crate::render::words::{self, plain};

/// Everything.
#[derive(Serialize)]
pub(super) struct Data {
    /// What the picture is measured with.
    measures: Measures,
    groups: Vec<GroupData>,
    nodes: Vec<NodeData>,
    edges: Vec<(usize, usize, String)>,
}

#[derive(Serialize)]
struct Measures {
    box_height: u32,
    gap: u32,
    head: u32,
    rim: u32,
    width: u32,
    narrow: u32,
}

#[derive(Serialize)]
struct GroupData {
    title: String,
    height: u32,
    nodes: Vec<usize>,
}

#[derive(Serialize)]
struct NodeData {
    id: String,
    look: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    symbol: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    verb: String,
    group: usize,
    x: u32,
    y: u32,
    width: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    /// Whether a reviewer must not miss it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    danger: bool,
    /// Why, each line with its depth.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    why: Vec<(usize, String)>,
    /// What changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    plan: Vec<LineData>,
    /// What only apply knows, and what is set again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<String>,
    /// What was changed outside gabion.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    drift: Vec<String>,
    /// The attributes as they shall be, or were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<LineData>,
}

/// One line of a value or of a difference: its sign, its depth, and its text.
#[derive(Serialize)]
struct LineData(&'static str, usize, String);

/// Returns what the page knows.
pub(super) fn of(graph: &Graph<'_>, groups: &[Group], layout: &Layout, catalogue: &Catalogue) -> Data {
    Data {
        measures: Measures {
            box_height: BOX,
            gap: GAP,
            head: HEAD,
            rim: RIM,
            width: layout.width,
            narrow: NARROW,
        },
        groups: groups
            .iter()
            .zip(&layout.bands)
            .map(|(group, band)| GroupData {
                title: group.title.clone(),
                height: band.height,
                nodes: group.nodes.clone(),
            })
            .collect(),
        nodes: (0..graph.nodes.len())
            .map(|position| node(graph, layout, catalogue, position))
            .collect(),
        edges: graph
            .edges
            .iter()
            .map(|edge| (edge.from, edge.to, plain(&edge.because)))
            .collect(),
    }
}

fn node(graph: &Graph<'_>, layout: &Layout, catalogue: &Catalogue, position: usize) -> NodeData {
    let node = &graph.nodes[position];
    let place = layout.places[position];
    let told = graph.plan.zip(node.change);
    NodeData {
        id: plain(&node.id()),
        look: node.look().name(),
        symbol: node.symbol(),
        verb: node.change.map(words::verb).unwrap_or_default(),
        group: place.group,
        x: place.x,
        y: place.y,
        width: place.width,
        document: node.document_name(),
        place: node.document.map(|document| document.place.to_string()),
        danger: node.change.is_some_and(view::is_dangerous),
        why: told.map(|(plan, change)| why(plan, change)).unwrap_or_default(),
        plan: node.change.map(differences).unwrap_or_default(),
        remarks: node.change.map(remarks).unwrap_or_default(),
        drift: told.map(|(plan, change)| drift(plan, change)).unwrap_or_default(),
        attributes: node
            .change
            .map(|change| attributes(change, catalogue))
            .unwrap_or_default(),
    }
}

fn why(plan: &Plan, change: &Change) -> Vec<(usize, String)> {
    view::because(plan, change)
        .into_iter()
        .map(|(depth, text)| (depth, plain(&text)))
        .collect()
}

fn differences(change: &Change) -> Vec<LineData> {
    if matches!(change.action, Action::Delete | Action::Forget) {
        return Vec::new();
    }
    let lines = split(change).shown.into_iter().flat_map(attribute_lines);
    lines.map(|line| line_data(&line)).collect()
}

fn remarks(change: &Change) -> Vec<String> {
    let mut remarks: Vec<String> = Vec::new();
    if !matches!(change.action, Action::Delete | Action::Forget) {
        let split = split(change);
        if !split.computed.is_empty() {
            remarks.push(format!("known after apply: {}", split.computed.join(", ")));
        }
        if !split.again.is_empty() {
            remarks.push(format!(
                "set again, as they cannot be read: {}",
                split.again.join(", ")
            ));
        }
    }
    remarks.extend(change.notes.iter().map(|note| format!("note: {}", plain(note))));
    remarks
}

fn drift(plan: &Plan, change: &Change) -> Vec<String> {
    let mut lines = Vec::new();
    let found = plan.drift.iter().filter(|drift| change.uid == Some(drift.uid));
    for drift in found {
        match &drift.kind {
            DriftKind::Vanished => lines.push("it is gone".to_owned()),
            DriftKind::CannotTell { reason } => lines.push(format!("cannot be read: {}", plain(reason))),
            DriftKind::Changed(attributes) => lines.extend(attributes.iter().map(|attribute| {
                let [recorded, actual, _] = sides(attribute);
                format!(
                    "{}: {recorded} → {actual} ({})",
                    plain(&attribute.path.to_string()),
                    words::verdict(attribute.verdict)
                )
            })),
        }
    }
    lines
}

fn attributes(change: &Change, catalogue: &Catalogue) -> Vec<LineData> {
    let Some(attributes) = change.after.as_ref().or(change.before.as_ref()) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for (name, value) in catalogue.masked(&change.address.resource_type, attributes) {
        whole(Sign::Same, &plain(&name), &value, 0, &mut lines);
    }
    lines.iter().map(line_data).collect()
}

fn line_data(line: &Line) -> LineData {
    let mut text = match line.label.as_str() {
        "" => String::new(),
        "-" => "- ".to_owned(),
        label => format!("{label}: "),
    };
    text.push_str(&line.value);
    if let Some(becomes) = &line.becomes {
        text.push_str(" → ");
        text.push_str(becomes);
    }
    if let Some(remark) = &line.remark {
        text.push_str("  # ");
        text.push_str(remark);
    }
    LineData(line.sign.symbol().trim(), line.depth, text.trim_end().to_owned())
}
