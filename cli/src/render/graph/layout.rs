//! Where everything stands in a picture of a graph.
//!
//! Groups are bands, one below the other. A resource stands in the column that its depth says, the same in all bands:
//! what nothing depends on is on the left, and every edge leads to the right. Nothing is optimised: the same graph gives
//! the same picture, and a change of a resource moves its neighbours and nothing else.

use super::groups::Group;
use super::model::{Graph, Node};

/// How high a resource's box is.
pub(crate) const BOX: u32 = 38;
/// How far boxes are apart from top to bottom.
pub(crate) const GAP: u32 = 8;
/// How high the head of a group is.
pub(crate) const HEAD: u32 = 34;
/// How far things are from the rim, and bands from each other.
pub(crate) const RIM: u32 = 14;
/// The narrowest picture: heads of groups have their room in it.
pub(crate) const NARROW: u32 = 640;
/// How far columns are apart: edges have their room there.
const BETWEEN: u32 = 72;
/// How far the parts of one column are apart.
const WITHIN: u32 = 14;
/// How many resources stand below each other before a column of a band gets another part.
const ROWS: usize = 8;
/// How many parts a column may have: people scroll down rather than to the right.
const PARTS: usize = 4;
/// The narrowest and the widest box.
const WIDTHS: std::ops::RangeInclusive<u32> = 120..=320;
/// How wide a character of a name is, and one of a type, in tenths.
pub(crate) const NAME: u32 = 76;
pub(crate) const KIND: u32 = 64;
/// How much room the sign before a name takes, in characters.
const SIGN: u32 = 4;
/// What a box needs beside its text.
const FRAME: u32 = 26;

/// Where a resource's box is; its top counts from the top of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// The left rim.
    pub(crate) x: u32,
    /// The upper rim, from that of the group.
    pub(crate) y: u32,
    /// The width.
    pub(crate) width: u32,
    /// Which group it is in.
    pub(crate) group: usize,
}

/// Where a group's band is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Band {
    /// The upper rim.
    pub(crate) y: u32,
    /// The height.
    pub(crate) height: u32,
}

/// Where everything stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// How wide the picture is.
    pub(crate) width: u32,
    /// How high it is with every group unfolded.
    pub(crate) height: u32,
    /// Where each group is.
    pub(crate) bands: Vec<Band>,
    /// Where each resource is.
    pub(crate) places: Vec<Place>,
}

/// Returns where everything stands.
pub(crate) fn of(graph: &Graph<'_>, groups: &[Group]) -> Layout {
    let column = columns(graph);
    let number = column.iter().max().map_or(0, |last| last + 1);
    // In each band, the resources of each column.
    let cells: Vec<Vec<Vec<usize>>> = groups
        .iter()
        .map(|group| {
            let mut cells = vec![Vec::new(); number];
            for &node in &group.nodes {
                cells[column[node]].push(node);
            }
            cells
        })
        .collect();
    let parts: Vec<usize> = (0..number)
        .map(|column| cells.iter().map(|cells| parts_of(cells[column].len())).max())
        .map(|most| most.unwrap_or(1))
        .collect();
    let mut widths = vec![*WIDTHS.start(); number];
    for (node, &column) in graph.nodes.iter().zip(&column) {
        widths[column] = widths[column].max(width(node));
    }
    let mut left = Vec::with_capacity(number);
    let mut x = 2 * RIM;
    for (width, parts) in widths.iter().zip(&parts) {
        left.push(x);
        x += *parts as u32 * (width + WITHIN) - WITHIN + BETWEEN;
    }
    let width = (x.saturating_sub(BETWEEN) + 2 * RIM).max(NARROW);
    let mut places = vec![Place::default(); graph.nodes.len()];
    let mut bands = Vec::with_capacity(groups.len());
    let mut y = RIM;
    for (group, cells) in cells.iter().enumerate() {
        let mut most = 0;
        for (column, nodes) in cells.iter().enumerate().filter(|(_, nodes)| !nodes.is_empty()) {
            let rows = nodes.len().div_ceil(parts_of(nodes.len()));
            most = most.max(rows as u32);
            for (position, &node) in nodes.iter().enumerate() {
                let (part, row) = ((position / rows) as u32, (position % rows) as u32);
                places[node] = Place {
                    x: left[column] + part * (widths[column] + WITHIN),
                    y: HEAD + GAP + row * (BOX + GAP),
                    width: widths[column],
                    group,
                };
            }
        }
        let height = HEAD + GAP + most * (BOX + GAP);
        bands.push(Band { y, height });
        y += height + RIM;
    }
    Layout {
        width,
        height: y.max(2 * RIM + HEAD),
        bands,
        places,
    }
}

/// Returns in how many parts a column of a band stands.
fn parts_of(nodes: usize) -> usize {
    nodes.div_ceil(ROWS).clamp(1, PARTS)
}

/// Returns how deep each resource is: how many edges lead to it one after the other, at most.
fn columns(graph: &Graph<'_>) -> Vec<usize> {
    let mut needs: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    let mut waits = vec![0_usize; graph.nodes.len()];
    for edge in &graph.edges {
        needs[edge.from].push(edge.to);
        waits[edge.to] += 1;
    }
    let mut column = vec![0; graph.nodes.len()];
    let mut ready: Vec<usize> = (0..graph.nodes.len()).filter(|node| waits[*node] == 0).collect();
    // Records of what goes may lead round in a circle with what is declared now: its resources stay where they are.
    while let Some(node) = ready.pop() {
        for &need in &needs[node] {
            column[need] = column[need].max(column[node] + 1);
            waits[need] -= 1;
            if waits[need] == 0 {
                ready.push(need);
            }
        }
    }
    column
}

/// Returns how wide a resource's box has to be for its texts, within reason.
fn width(node: &Node<'_>) -> u32 {
    let name = cells(node.address.name.as_ref()) + sign(node);
    let kind = cells(node.address.resource_type.as_str());
    let wide = (name * NAME).max(kind * KIND).div_ceil(10) + FRAME;
    wide.clamp(*WIDTHS.start(), *WIDTHS.end())
}

/// Returns how many characters the sign before a resource's name takes.
pub(crate) fn sign(node: &Node<'_>) -> u32 {
    if node.symbol().is_empty() { 0 } else { SIGN }
}

/// Returns a text cut in its middle so that it fits a box, beside `taken` other characters of a width in tenths.
pub(crate) fn fitted(text: &str, width: u32, taken: u32, character: u32) -> String {
    let room = (width.saturating_sub(FRAME) * 10 / character).saturating_sub(taken);
    if cells(text) <= room {
        return text.to_owned();
    }
    let half = (room.saturating_sub(1) / 2) as usize;
    let characters: Vec<char> = text.chars().collect();
    let (start, end) = (half.min(characters.len()), characters.len().saturating_sub(half));
    let start: String = characters[..start].iter().collect();
    let end: String = characters[end..].iter().collect();
    format!("{start}…{end}")
}

/// Returns how many places of a typewriter a text takes: letters of the far east take two.
fn cells(text: &str) -> u32 {
    text.chars().map(|c| if c >= '\u{1100}' { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(fitted("short", 120, 0, NAME), "short");
        let long = fitted(&"abcdefghij".repeat(9), 320, SIGN, NAME);
        assert!(
            long.starts_with("abcdefghij") && long.ends_with("abcdefghij"),
            "{long}"
        );
        assert!(cells(&long) <= 35, "{long}");
    }
}
