//! A graph as a picture. The same picture stands in the page, which makes it answer.

use std::fmt::Write;

use super::groups::Group;
use super::layout::{BOX, HEAD, KIND, Layout, NAME, RIM, fitted, sign};
use super::model::{Graph, Look};
use crate::render::words::{self, count, plain};

/// How the picture's parts look, in light and in the dark.
pub(crate) const STYLE: &str = include_str!("svg.css");

/// Returns the graph as a picture that stands alone.
pub(crate) fn write(graph: &Graph<'_>, groups: &[Group], layout: &Layout) -> String {
    let mut text = String::new();
    picture(&mut text, graph, groups, layout, Some(STYLE));
    text.push('\n');
    text
}

/// Writes the picture; with its style, where it stands alone.
pub(crate) fn picture(
    out: &mut String,
    graph: &Graph<'_>,
    groups: &[Group],
    layout: &Layout,
    style: Option<&str>,
) {
    let Layout { width, height, .. } = layout;
    let title = format!(
        "{}: {}",
        plain(graph.project),
        count(graph.nodes.len(), "resource")
    );
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"graph\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"group\" aria-label=\"{}\">",
        escaped(&title)
    );
    if let Some(style) = style {
        let _ = write!(
            out,
            "\n<style>\n{style}</style>\n<rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>"
        );
    }
    out.push_str(
        "\n<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path class=\"tip\" d=\"M0 0.5L8 4L0 7.5z\"/></marker></defs>\n<g class=\"bands\">\n",
    );
    for (number, band) in layout.bands.iter().enumerate() {
        let _ = writeln!(
            out,
            "<rect class=\"band\" data-group=\"{number}\" x=\"{RIM}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"8\"/>",
            band.y,
            width - 2 * RIM,
            band.height
        );
    }
    out.push_str("</g>\n<g class=\"edges\">\n");
    edges(out, graph, layout);
    out.push_str("</g>\n<g class=\"groups\">\n");
    for (number, (group, band)) in groups.iter().zip(&layout.bands).enumerate() {
        let _ = writeln!(
            out,
            "<g class=\"group\" data-group=\"{number}\" transform=\"translate(0 {})\">",
            band.y
        );
        head(out, graph, group, *width);
        out.push_str("<g class=\"inside\">\n");
        for &position in &group.nodes {
            node(out, graph, layout, position);
        }
        out.push_str("</g>\n</g>\n");
    }
    out.push_str("</g>\n</svg>");
}

fn edges(out: &mut String, graph: &Graph<'_>, layout: &Layout) {
    let top = |position: usize| {
        let place = layout.places[position];
        layout.bands[place.group].y + place.y + BOX / 2
    };
    for (number, edge) in graph.edges.iter().enumerate() {
        let (from, to) = (layout.places[edge.from], layout.places[edge.to]);
        let (x1, y1, x2, y2) = (from.x + from.width, top(edge.from), to.x, top(edge.to));
        let bend = (x2.saturating_sub(x1) / 2).clamp(28, 160);
        let _ = writeln!(
            out,
            "<path class=\"edge\" data-edge=\"{number}\" d=\"M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}\" marker-end=\"url(#tip)\"/>",
            x1 + bend,
            x2.saturating_sub(bend)
        );
    }
}

fn head(out: &mut String, graph: &Graph<'_>, group: &Group, width: u32) {
    let place = match &group.place {
        Some(place) => format!("<tspan class=\"at\" dx=\"8\">{}</tspan>", escaped(place)),
        None => String::new(),
    };
    let _ = writeln!(
        out,
        "<g class=\"head\"><rect class=\"bar\" x=\"{RIM}\" width=\"{}\" height=\"{HEAD}\" rx=\"8\"/><text class=\"fold\" \
         x=\"{}\" y=\"22\">▾</text><text class=\"title\" x=\"{}\" y=\"22\">{}{place}<tspan class=\"holds\" dx=\"12\">{}</tspan></text></g>",
        width - 2 * RIM,
        RIM + 12,
        RIM + 30,
        escaped(&group.title),
        escaped(&holds(graph, group))
    );
}

/// Returns what a group holds in a few words: `8 resources: 6 create, 1 update`.
fn holds(graph: &Graph<'_>, group: &Group) -> String {
    let looks: Vec<Look> = group
        .nodes
        .iter()
        .map(|position| graph.nodes[*position].look())
        .collect();
    let parts: Vec<String> = Look::ALL
        .into_iter()
        .filter(|look| *look != Look::Keep)
        .map(|look| (looks.iter().filter(|other| **other == look).count(), look.name()))
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    let all = count(looks.len(), "resource");
    match &parts[..] {
        [] => all,
        parts => format!("{all}: {}", parts.join(", ")),
    }
}

fn node(out: &mut String, graph: &Graph<'_>, layout: &Layout, position: usize) {
    let node = &graph.nodes[position];
    let place = layout.places[position];
    let verb = node.change.map(words::verb).unwrap_or_default();
    let comma = if verb.is_empty() { "" } else { ": " };
    let symbol = match node.symbol() {
        "" => String::new(),
        symbol => format!("<tspan class=\"sign\">{symbol}</tspan> "),
    };
    let _ = writeln!(
        out,
        "<g class=\"node {}\" data-node=\"{position}\" transform=\"translate({} {})\"><title>{}{comma}{}</title><rect \
         class=\"box\" width=\"{}\" height=\"{BOX}\" rx=\"5\"/><rect class=\"mark\" width=\"5\" height=\"{BOX}\" rx=\"2\"/><text \
         class=\"kind\" x=\"14\" y=\"14\">{}</text><text class=\"name\" x=\"14\" y=\"30\">{symbol}{}</text></g>",
        node.look().name(),
        place.x,
        place.y,
        escaped(&node.id()),
        escaped(&verb),
        place.width,
        escaped(&fitted(node.address.resource_type.as_str(), place.width, 0, KIND)),
        escaped(&fitted(node.address.name.as_ref(), place.width, sign(node), NAME))
    );
}

/// Returns text for markup: nothing in it is markup, and nobody is steered by what cannot be seen.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}
