//! The graph of a configuration's resources: what must stand before what.
//!
//! Nodes are positions in the list of resources; an edge leads from a resource to one that it depends on and knows
//! every place that makes it. Building, ordering and searching are linear in nodes and edges: no closure is kept.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;

use crate::address::ResourceAddress;
use crate::config::{Reference, Target, Template};
use crate::diagnostic::{Diagnostic, Diagnostics, did_you_mean};
use crate::plan::problem::Places;
use crate::resource::{Place, Resource};
use crate::value::{AttributePath, TemplateText, Value};

/// Why one resource depends on another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependence {
    /// What makes it.
    pub kind: DependenceKind,
    /// Where it stands.
    pub place: Place,
}

/// What makes one resource depend on another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DependenceKind {
    /// An input refers to an attribute of the other.
    Reference {
        /// The input.
        input: AttributePath,
        /// The other's attribute; empty for all of it.
        attribute: AttributePath,
    },
    /// A condition or `replace_triggered_by` refers to it.
    Lifecycle,
    /// `depends_on` names it.
    DependsOn,
}

/// One input whose value is a template that refers to resources.
#[derive(Debug, Clone, PartialEq)]
pub struct InputTemplate {
    /// Where in the inputs.
    pub path: AttributePath,
    /// The template.
    pub template: Template,
}

/// The resources of a configuration and what each depends on.
#[derive(Debug, Clone, Default)]
pub struct ResourceGraph {
    addresses: Vec<ResourceAddress>,
    graph: DiGraph<(), Vec<Dependence>, u32>,
    /// Of those that have some.
    templates: BTreeMap<usize, Vec<InputTemplate>>,
    order: Vec<usize>,
    last_found: LastFound,
}

/// Where a resource was found last. It decides only where the next one is looked for first.
#[derive(Debug, Default)]
struct LastFound(AtomicUsize);

impl Clone for LastFound {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl ResourceGraph {
    /// Builds the graph of resources that are sorted by address.
    ///
    /// Reports references to nothing, templates that cannot be read, and cycles. With a cycle there is no order, and
    /// [`ResourceGraph::order`] is empty.
    pub fn build(resources: &[Resource], places: &Places<'_>) -> (Self, Diagnostics) {
        let mut problems = Diagnostics::new();
        let addresses: Vec<ResourceAddress> = resources.iter().map(|r| r.address.clone()).collect();
        debug_assert!(addresses.is_sorted(), "a configuration's resources are sorted");
        let mut graph = DiGraph::with_capacity(addresses.len(), 0);
        for _ in &addresses {
            graph.add_node(());
        }
        let mut built = Self {
            addresses,
            graph,
            templates: BTreeMap::new(),
            order: Vec::new(),
            last_found: LastFound::default(),
        };
        for (index, resource) in resources.iter().enumerate() {
            built.add(index, resource, places, &mut problems);
        }
        match built.sort() {
            Some(order) => built.order = order,
            None => problems.push(built.cycle_problem(places)),
        }
        (built, problems)
    }

    /// Returns how many resources there are.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Returns whether there are no resources.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Returns the position of a resource.
    pub fn position(&self, address: &ResourceAddress) -> Option<usize> {
        // Who goes through plans and states asks by address: for the one after the last one, or for that again.
        let last = self.last_found.0.load(Ordering::Relaxed);
        let is_there = |at: &usize| self.addresses.get(*at) == Some(address);
        let found = [last, last + 1].into_iter().find(is_there);
        let found = found.or_else(|| self.addresses.binary_search(address).ok())?;
        self.last_found.0.store(found, Ordering::Relaxed);
        Some(found)
    }

    /// Returns the address at a position.
    pub fn address(&self, position: usize) -> &ResourceAddress {
        &self.addresses[position]
    }

    /// Returns all positions, dependencies before dependants, equal ones by address.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Returns all positions, dependants before dependencies.
    pub fn reverse_order(&self) -> impl Iterator<Item = usize> + '_ {
        self.order.iter().rev().copied()
    }

    /// Returns what a resource depends on, by address, with why.
    pub fn dependencies(&self, position: usize) -> Vec<(usize, &[Dependence])> {
        let mut found: Vec<_> = self
            .graph
            .edges_directed(node(position), Direction::Outgoing)
            .map(|edge| (edge.target().index(), edge.weight().as_slice()))
            .collect();
        found.sort_by_key(|(position, _)| *position);
        found
    }

    /// Returns what depends on a resource, by address.
    pub fn dependants(&self, position: usize) -> Vec<usize> {
        let mut found: Vec<_> = self
            .graph
            .neighbors_directed(node(position), Direction::Incoming)
            .map(NodeIndex::index)
            .collect();
        found.sort_unstable();
        found
    }

    /// Returns every edge, dependant first, in order.
    pub fn edges(&self) -> Vec<(&ResourceAddress, &ResourceAddress, &[Dependence])> {
        (0..self.len())
            .flat_map(|from| {
                self.dependencies(from)
                    .into_iter()
                    .map(move |(to, why)| (self.address(from), self.address(to), why))
            })
            .collect()
    }

    /// Returns the inputs of a resource that refer to other resources, by path.
    pub fn templates(&self, position: usize) -> &[InputTemplate] {
        self.templates.get(&position).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, index: usize, resource: &Resource, places: &Places<'_>, problems: &mut Diagnostics) {
        let mut found: BTreeMap<usize, Vec<Dependence>> = BTreeMap::new();
        let mut templates = Vec::new();
        let mut bad = |text: &str, why: &str, hint: Option<String>, place: &Place| {
            problems.push(
                Diagnostic::error("bad-expression", "invalid expression")
                    .detail(format!("`{text}` of `{}`: {why}", resource.address))
                    .at(places.span(place))
                    .hint(hint),
            );
        };
        for (name, value) in &resource.inputs {
            for path in value.paths_where(&|leaf| matches!(leaf, Value::Unknown(u) if u.template.is_some())) {
                let full = path.below(name);
                let Some(Value::Unknown(unknown)) = value.at(&path) else {
                    continue;
                };
                let Some(text) = &unknown.template else { continue };
                match Template::parse(text.as_str()) {
                    Ok(template) => templates.push(InputTemplate { path: full, template }),
                    Err(errors) => {
                        for error in errors {
                            bad(
                                text.as_str(),
                                &error.message,
                                error.hint,
                                resource.place_of(&full),
                            );
                        }
                    }
                }
            }
        }
        let mut extra: Vec<(Reference, Place)> = Vec::new();
        for trigger in &resource.lifecycle.replace_triggered_by {
            let place = resource.place_of(&AttributePath::default());
            match trigger_references(trigger) {
                Ok(references) => extra.extend(references.into_iter().map(|r| (r, place.clone()))),
                Err(why) => bad(trigger.as_str(), &why, None, place),
            }
        }
        for condition in &resource.conditions {
            match crate::plan::condition::references(&condition.condition) {
                Ok(references) => extra.extend(references.into_iter().map(|r| (r, condition.place.clone()))),
                Err(why) => bad(condition.condition.as_str(), &why, None, &condition.place),
            }
        }
        let mut edge = |to: &ResourceAddress, kind: DependenceKind, place: &Place| {
            if *to == resource.address && kind == DependenceKind::Lifecycle {
                return; // A condition may look at the resource that it belongs to.
            }
            match self.addresses.binary_search(to) {
                Ok(target) => found.entry(target).or_default().push(Dependence {
                    kind,
                    place: place.clone(),
                }),
                Err(_) => problems.push(unknown_reference(resource, to, &self.addresses, places, place)),
            }
        };
        for input in &templates {
            let place = resource.place_of(&input.path);
            for reference in input.template.references() {
                if let Target::Resource(to) = &reference.target {
                    let kind = DependenceKind::Reference {
                        input: input.path.clone(),
                        attribute: reference.path.clone(),
                    };
                    edge(to, kind, place);
                }
            }
        }
        for (reference, place) in &extra {
            if let Target::Resource(to) = &reference.target {
                edge(to, DependenceKind::Lifecycle, place);
            }
        }
        for (to, place) in &resource.depends_on {
            edge(to, DependenceKind::DependsOn, place);
        }
        for (target, mut why) in found {
            why.sort();
            why.dedup();
            self.graph.add_edge(node(index), node(target), why);
        }
        if !templates.is_empty() {
            self.templates.insert(index, templates);
        }
    }

    /// Kahn's algorithm, the smallest address first among those that are ready.
    fn sort(&self) -> Option<Vec<usize>> {
        let mut waiting_for: Vec<usize> = self
            .graph
            .node_indices()
            .map(|n| self.graph.neighbors_directed(n, Direction::Outgoing).count())
            .collect();
        let mut ready: BinaryHeap<Reverse<usize>> = (0..self.len())
            .filter(|i| waiting_for[*i] == 0)
            .map(Reverse)
            .collect();
        let mut order = Vec::with_capacity(self.len());
        while let Some(Reverse(next)) = ready.pop() {
            order.push(next);
            for dependant in self.graph.neighbors_directed(node(next), Direction::Incoming) {
                let left = &mut waiting_for[dependant.index()];
                *left -= 1;
                if *left == 0 {
                    ready.push(Reverse(dependant.index()));
                }
            }
        }
        (order.len() == self.len()).then_some(order)
    }

    /// Words the shortest cycle, with the place of each edge.
    fn cycle_problem(&self, places: &Places<'_>) -> Diagnostic {
        let cycle = self.shortest_cycle();
        let path: Vec<String> = cycle
            .iter()
            .chain(cycle.first())
            .map(|position| format!("`{}`", self.address(*position)))
            .collect();
        let mut problem = Diagnostic::error("dependency-cycle", "dependency cycle").detail(format!(
            "Each of these depends on the next, so none can be first: {}.",
            path.join(" -> ")
        ));
        let mut ordering_only = None;
        for (at, from) in cycle.iter().enumerate() {
            let to = cycle[(at + 1) % cycle.len()];
            let Some(edge) = self.graph.find_edge(node(*from), node(to)) else {
                continue;
            };
            let Some(first) = self.graph[edge].first() else {
                continue;
            };
            let span = places.span(&first.place);
            let says = match &first.kind {
                DependenceKind::Reference { input, .. } => format!(
                    "`{input}` of `{}` refers to `{}`",
                    self.address(*from),
                    self.address(to)
                ),
                DependenceKind::DependsOn => {
                    ordering_only.get_or_insert((*from, to));
                    format!(
                        "`{}` names `{}` in depends_on",
                        self.address(*from),
                        self.address(to)
                    )
                }
                DependenceKind::Lifecycle => format!(
                    "a condition or trigger of `{}` looks at `{}`",
                    self.address(*from),
                    self.address(to)
                ),
            };
            if problem.primary.is_none() {
                problem = problem.at(span.clone());
            }
            problem = problem.related(span, says);
        }
        problem.hint(match ordering_only {
            Some((from, to)) => format!(
                "remove `{}` from the depends_on of `{}`: it orders and passes no value",
                self.address(to),
                self.address(from)
            ),
            None => {
                "take one of these references out, or move what both need into a third resource".to_owned()
            }
        })
    }

    fn shortest_cycle(&self) -> Vec<usize> {
        // Searching from every node of a large component would be quadratic; a few starts find a short cycle.
        const STARTS: usize = 64;
        let mut best: Vec<usize> = Vec::new();
        let mut components = petgraph::algo::kosaraju_scc(&self.graph);
        for component in &mut components {
            component.sort_unstable();
        }
        components.sort();
        let cyclic = components.iter().filter(|component| {
            component.len() > 1
                || component
                    .first()
                    .is_some_and(|n| self.graph.find_edge(*n, *n).is_some())
        });
        for component in cyclic.take(STARTS) {
            for start in component.iter().take(STARTS) {
                if let Some(found) = self.cycle_through(start.index())
                    && (best.is_empty() || found.len() < best.len())
                {
                    best = found;
                }
                if best.len() == 1 {
                    return best;
                }
            }
        }
        best
    }

    fn cycle_through(&self, start: usize) -> Option<Vec<usize>> {
        let mut came_from: BTreeMap<usize, usize> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            for (next, _) in self.dependencies(at) {
                if next == start {
                    let mut path = vec![at];
                    while let Some(before) = came_from.get(path.last()?) {
                        path.push(*before);
                    }
                    path.reverse();
                    return Some(path);
                }
                if let Entry::Vacant(unseen) = came_from.entry(next) {
                    unseen.insert(at);
                    queue.push_back(next);
                }
            }
        }
        None
    }
}

/// Returns what an entry of `replace_triggered_by` names: a template, or an address with or without an attribute.
pub fn trigger_references(trigger: &TemplateText) -> Result<Vec<Reference>, String> {
    let text = if Template::is_in(trigger.as_str()) {
        trigger.as_str().to_owned()
    } else {
        format!("${{{{ {} }}}}", trigger.as_str())
    };
    let template = Template::parse(&text).map_err(|errors| {
        let messages: Vec<String> = errors.into_iter().map(|error| error.message).collect();
        messages.join(" ")
    })?;
    let references: Vec<Reference> = template.references().cloned().collect();
    match references
        .iter()
        .find(|r| !matches!(r.target, Target::Resource(_)))
    {
        Some(other) => Err(format!("`{other}` is no resource.")),
        None => Ok(references),
    }
}

fn unknown_reference(
    resource: &Resource,
    to: &ResourceAddress,
    known: &[ResourceAddress],
    places: &Places<'_>,
    place: &Place,
) -> Diagnostic {
    let text = to.to_string();
    let names: Vec<String> = known
        .iter()
        .filter(|address| **address != resource.address)
        .map(ToString::to_string)
        .collect();
    let near = did_you_mean(&text, names.iter().map(String::as_str));
    Diagnostic::error("unknown-reference", "unknown reference")
        .detail(format!(
            "`{}` refers to `{to}`, which the configuration does not declare.",
            resource.address
        ))
        .at(places.span(place))
        .hint(near.map(|near| format!("did you mean `{near}`?")))
}

fn node(position: usize) -> NodeIndex<u32> {
    NodeIndex::new(position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;
    use crate::resource::{DocumentRef, InputPlaces};

    fn resource(name: &str, refers: &[&str]) -> Resource {
        let place = Place {
            file: "a.yml".into(),
            line: 1,
            column: 1,
            length: 0,
        };
        let refers = refers.iter().enumerate();
        Resource {
            address: ResourceAddress::of("x", name).unwrap(),
            inputs: refers
                .map(|(at, to)| {
                    (
                        format!("i{at}").into(),
                        Value::template(format!("${{{{ x.{to}.v }}}}")),
                    )
                })
                .collect(),
            places: InputPlaces::default(),
            depends_on: Vec::new(),
            lifecycle: Default::default(),
            timeouts: Default::default(),
            conditions: Vec::new(),
            alternatives: Default::default(),
            update_after: Default::default(),
            frees: Default::default(),
            document: DocumentRef::new("resource".into(), name.into(), place),
        }
    }

    fn build(resources: &[Resource]) -> (ResourceGraph, Diagnostics) {
        ResourceGraph::build(resources, &Places::new(&Sources::default()))
    }

    #[test]
    fn dependencies_come_first_and_ties_go_by_address() {
        let (graph, problems) = build(&[
            resource("a", &["d"]),
            resource("b", &[]),
            resource("c", &["b", "b", "d"]),
            resource("d", &[]),
        ]);
        assert!(problems.is_empty(), "{problems}");
        let names = |positions: &[usize]| -> String {
            positions
                .iter()
                .map(|at| graph.address(*at).name.as_str())
                .collect()
        };
        assert_eq!(names(graph.order()), "bdac");
        assert_eq!(names(&graph.reverse_order().collect::<Vec<_>>()), "cadb");
        assert_eq!(names(&graph.dependants(3)), "ac");
        let to_b = graph.dependencies(2)[0];
        assert_eq!((to_b.0, to_b.1.len()), (1, 2), "one edge for two references");
        assert_eq!(graph.edges().len(), 3);
    }

    #[test]
    fn an_undeclared_target_is_a_problem_with_a_suggestion() {
        let (_, problems) = build(&[resource("alpha", &[]), resource("beta", &["alpah"])]);
        assert!(
            problems.to_string().contains("did you mean `x.alpha`?"),
            "{problems}"
        );
    }
}
