//! A graph of everything that can happen, and of very much.

use std::sync::Arc;

use gabion_engine::graph::ResourceGraph;
use gabion_engine::plan::Plan;
use gabion_engine::plan::change::Action;
use gabion_engine::resource::{Configuration, DocumentRef};
use gabion_engine::state::State;
use serde_json::Value;

use super::layout::Layout;
use super::model::{Edge, Graph};
use super::{dot, groups, json, layout, mermaid, page, svg};
use crate::render::catalogue::Catalogue;
use crate::render::fixture;
use crate::wire::GraphJson;

/// Does something with the graph of a plan alone.
fn with_graph<T>(plan: &Plan, edges: Vec<Edge>, read: impl Fn(&Graph<'_>) -> T) -> T {
    let (configuration, state) = (Configuration::default(), State::default());
    let mut graph = Graph::of_plan(plan, &configuration, &ResourceGraph::default(), &state);
    graph.edges = edges;
    read(&graph)
}

fn edge(from: usize, to: usize) -> Edge {
    Edge {
        from,
        to,
        because: "input".to_owned(),
        places: Vec::new(),
    }
}

/// Returns the page and the picture of a plan's graph.
pub(crate) fn page_and_picture(plan: &Plan) -> [String; 2] {
    with_graph(plan, vec![edge(0, 1)], |graph| {
        let groups = groups::of(graph);
        let layout = layout::of(graph, &groups);
        [
            page::write(graph, &groups, &layout, &Catalogue::default()),
            svg::write(graph, &groups, &layout),
        ]
    })
}

/// Returns the other forms of a plan's graph.
pub(crate) fn other_forms(plan: &Plan) -> [String; 3] {
    with_graph(plan, vec![edge(0, 1)], |graph| {
        [dot::write(graph), mermaid::write(graph), json::write(graph)]
    })
}

/// Returns what a page's script reads.
pub(crate) fn data_of(page: &str) -> Value {
    let (_, after) = page.split_once("id=\"data\">").unwrap();
    let (data, _) = after.split_once("</script>").unwrap();
    serde_json::from_str(data).unwrap()
}

/// A plan of a hundred groups of ten, each resource needing the one before it in its group.
fn thousand() -> (Plan, Vec<Edge>) {
    let mut plan = fixture::nothing();
    let mut edges = Vec::new();
    for group in 0..100 {
        for item in 0..10 {
            let mut change = plan.changes[0].clone();
            change.address = fixture::address(&format!("gabion_data.part-{group:02}/{item}"));
            change.action = Action::Create;
            let declaration = Arc::make_mut(change.declaration.as_mut().unwrap());
            let mut place = declaration.document.as_ref().unwrap().place.clone();
            place.line = group + 1;
            let name = format!("part-{group:02}");
            declaration.document = Some(DocumentRef::new("service".into(), name.into(), place));
            plan.changes.push(change);
            let position = plan.changes.len() - 1;
            if item > 0 {
                edges.push(edge(position, position - 1));
            }
        }
    }
    (plan, edges)
}

fn layout_of(plan: &Plan, edges: Vec<Edge>) -> Layout {
    with_graph(plan, edges, |graph| layout::of(graph, &groups::of(graph)))
}

#[test]
fn every_edge_leads_to_the_right_and_no_box_covers_another() {
    let (plan, edges) = thousand();
    let layout = layout_of(&plan, edges.clone());
    for edge in &edges {
        let (from, to) = (layout.places[edge.from], layout.places[edge.to]);
        assert!(from.x + from.width < to.x, "{edge:?}");
    }
    let mut spots: Vec<_> = layout
        .places
        .iter()
        .map(|place| (place.group, place.x, place.y))
        .collect();
    spots.sort_unstable();
    spots.dedup();
    assert_eq!(spots.len(), layout.places.len());
    for (place, band) in layout
        .places
        .iter()
        .map(|place| (place, layout.bands[place.group]))
    {
        assert!(place.y + layout::BOX < band.height);
        assert!(place.x + place.width < layout.width);
    }
    assert!(
        layout
            .bands
            .windows(2)
            .all(|two| two[0].y + two[0].height < two[1].y)
    );
    assert_eq!(layout, layout_of(&plan, edges));
}

#[test]
fn a_thousand_that_need_nothing_stand_in_a_few_columns() {
    let (plan, _) = thousand();
    let mut one = plan.clone();
    for change in &mut one.changes {
        let declaration = Arc::make_mut(change.declaration.as_mut().unwrap());
        let mut place = declaration.document.as_ref().unwrap().place.clone();
        place.line = 1;
        let kind = declaration.document.as_ref().unwrap().document_type.clone();
        declaration.document = Some(DocumentRef::new(kind, "all".into(), place));
    }
    let layout = layout_of(&one, Vec::new());
    assert!(layout.width < 1_600, "{}", layout.width);
    let layout = layout_of(&plan, Vec::new());
    assert!(layout.width < 1_600, "{}", layout.width);
}

#[test]
fn a_circle_ends() {
    let (plan, _) = thousand();
    layout_of(&plan, vec![edge(1, 2), edge(2, 1), edge(2, 3)]);
}

#[test]
fn a_page_is_one_file_that_asks_nobody() {
    let [page, picture] = page_and_picture(&fixture::everything());
    for text in [&page, &picture] {
        assert!(!text.contains("hunter2"), "a secret got through");
        let addresses = text.replace("http://www.w3.org/2000/svg", "");
        for asks in [
            " src=",
            "url(http",
            "@import",
            "fetch(",
            "XMLHttpRequest",
            "import(",
        ] {
            assert!(!addresses.contains(asks), "{asks}");
        }
    }
    assert!(page.contains("default-src 'none'; script-src 'sha256-"));
    let data = data_of(&page);
    let nodes = data["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), fixture::everything().changes.len());
    let router = nodes
        .iter()
        .find(|node| node["id"] == "host_unit.my-gateway/router/qwen")
        .unwrap();
    assert_eq!(router["look"], "replace");
    assert_eq!(router["danger"], true);
    assert_eq!(router["verb"], "replace, new one comes first");
    let worker = nodes
        .iter()
        .find(|node| node["id"] == "router_worker.qwen/default/0")
        .unwrap();
    assert!(
        worker["why"][0][1]
            .as_str()
            .unwrap()
            .starts_with("because `router` follows")
    );
    // What awaits its deletion is told apart from what took its place.
    assert!(
        nodes
            .iter()
            .any(|node| node["id"] == "host_unit.qwen/default/0 (left by a replacement)")
    );
}

#[test]
fn only_what_changes_is_left_and_its_edges_lead_where_they_led() {
    let plan = fixture::everything();
    let at = |address: &str| {
        plan.changes
            .iter()
            .position(|change| change.address.to_string() == address)
            .unwrap()
    };
    let edges = vec![
        edge(
            at("router_worker.qwen/default/0"),
            at("host_unit.my-gateway/router/qwen"),
        ),
        edge(at("gabion_data.same"), at("gabion_data.base")),
    ];
    let (configuration, state) = (Configuration::default(), State::default());
    let mut graph = Graph::of_plan(&plan, &configuration, &ResourceGraph::default(), &state);
    graph.edges = edges;
    let wire: GraphJson = serde_json::from_str(&json::write(&graph.changed_only())).unwrap();
    assert_eq!(wire.nodes.len(), plan.changes.len() - 1);
    assert!(wire.nodes.iter().all(|node| node.address != "gabion_data.same"));
    let [edge] = &wire.edges[..] else {
        panic!("{:?}", wire.edges)
    };
    assert_eq!(edge.from, "router_worker.qwen/default/0");
    assert_eq!(edge.to, "host_unit.my-gateway/router/qwen");
}
