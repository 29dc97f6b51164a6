//! What a plan covers: `--target`, `--exclude`, `-f`, what heals, and what must be left alone because a call is unsettled.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::address::{ResourceAddress, Uid};
use crate::diagnostic::{Diagnostic, Diagnostics, did_you_mean};
use crate::graph::ResourceGraph;
use crate::plan::Mode;
use crate::plan::glob::AddressGlob;
use crate::plan::known::Known;
use crate::plan::options::PlanOptions;
use crate::plan::swap::Swaps;
use crate::resource::Configuration;
use crate::state::record::Record;

/// What a plan covers.
pub(super) struct Selection {
    /// For each declared resource, whether it is covered.
    resources: Vec<bool>,
    /// Recorded objects, declared or not, that are not covered.
    left_alone: BTreeSet<Uid>,
    /// Declared resources that wait for an unsettled call, with the address whose call it is.
    pub(super) held_up: BTreeMap<usize, ResourceAddress>,
    /// Undeclared objects that wait for an unsettled call, with the address whose call it is.
    pub(super) held_up_objects: BTreeMap<Uid, ResourceAddress>,
    /// Whether anything was asked to be left out.
    pub(super) partial: bool,
}

impl Selection {
    /// Returns whether a declared resource is covered.
    pub(super) fn covers(&self, position: usize) -> bool {
        self.resources[position] && !self.held_up.contains_key(&position)
    }

    /// Returns whether an object that goes is covered.
    pub(super) fn covers_object(&self, uid: Uid) -> bool {
        !self.left_alone.contains(&uid) && !self.held_up_objects.contains_key(&uid)
    }

    /// Returns whether everything is covered.
    pub(super) fn covers_all(&self) -> bool {
        !self.partial && self.held_up.is_empty() && self.held_up_objects.is_empty()
    }

    /// Works out what a plan covers; of swaps, as far as they are known, all or nothing.
    pub(super) fn new(
        configuration: &Configuration,
        graph: &ResourceGraph,
        known: &Known<'_>,
        options: &PlanOptions,
        swaps: &Swaps,
        problems: &mut Diagnostics,
    ) -> Self {
        let walk = Walk {
            swaps,
            configuration,
            graph,
            known,
            destroy: options.mode == Mode::Destroy,
        };
        let mut nodes = walk.all();
        walk.check_patterns("--target", &options.targets, &nodes, problems);
        walk.check_patterns("--exclude", &options.excludes, &nodes, problems);
        if !options.targets.is_empty() {
            let wanted = nodes
                .iter()
                .copied()
                .filter(|n| walk.matches(*n, &options.targets));
            nodes = walk.closure(wanted.collect(), Toward::Needed);
        }
        if !options.excludes.is_empty() {
            let all = walk.all();
            let unwanted = all
                .iter()
                .copied()
                .filter(|n| walk.matches(*n, &options.excludes));
            let unwanted = walk.closure(unwanted.collect(), Toward::Needing);
            nodes.retain(|node| !unwanted.contains(node));
        }
        if let Some(files) = &options.files {
            let standing: BTreeSet<_> = configuration
                .resources
                .iter()
                .map(|resource| &resource.document)
                .filter(|document| files.contains(&*document.place.file))
                .map(|document| (&document.document_type, &document.name))
                .collect();
            nodes.retain(|node| match node {
                Node::Declared(at) => files.contains(&*configuration.resources[*at].document.place.file),
                // What is no longer declared belongs to its document, if that still stands in one of the files.
                Node::Object(uid) => {
                    let record = known.state.record(*uid);
                    let document = record.and_then(|record| record.declaration.document.as_ref());
                    document.is_some_and(|d| standing.contains(&(&d.document_type, &d.name)))
                }
            });
        }
        if options.files.is_some() {
            let (halves, objects) = swaps.halves(|at| nodes.contains(&Node::Declared(at)));
            nodes.retain(|node| match node {
                Node::Declared(at) => !halves.contains(at),
                Node::Object(uid) => !objects.contains(uid),
            });
        }
        if let Some(only) = &options.only {
            nodes.retain(|node| match node {
                Node::Declared(at) => only.contains(graph.address(*at)),
                Node::Object(_) => false,
            });
        }
        let partial = options.only.is_some()
            || options.files.is_some()
            || !options.targets.is_empty()
            || !options.excludes.is_empty();
        let mut selection = Self {
            resources: vec![false; configuration.resources.len()],
            left_alone: known.state.records().map(|record| record.uid).collect(),
            held_up: BTreeMap::new(),
            held_up_objects: BTreeMap::new(),
            partial,
        };
        for node in nodes {
            match node {
                Node::Declared(at) => {
                    selection.resources[at] = true;
                    if let Some(record) = known.state.current(graph.address(at)) {
                        selection.left_alone.remove(&record.uid);
                    }
                }
                Node::Object(uid) => {
                    selection.left_alone.remove(&uid);
                }
            }
        }
        for (node, because) in walk.held_up() {
            match node {
                Node::Declared(at) => selection.held_up.insert(at, because),
                Node::Object(uid) => selection.held_up_objects.insert(uid, because),
            };
        }
        selection
    }
}

/// A declared resource with the object that it has, or an object that no resource declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Declared(usize),
    Object(Uid),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Toward {
    /// What must be done too so that these can be.
    Needed,
    /// What cannot be done without these.
    Needing,
}

struct Walk<'a> {
    configuration: &'a Configuration,
    graph: &'a ResourceGraph,
    known: &'a Known<'a>,
    swaps: &'a Swaps,
    destroy: bool,
}

impl Walk<'_> {
    fn all(&self) -> BTreeSet<Node> {
        let declared = (0..self.configuration.resources.len()).map(Node::Declared);
        let objects = self.known.state.records().map(|record| self.node_of(record));
        if self.destroy {
            objects.collect()
        } else {
            declared.chain(objects).collect()
        }
    }

    fn node_of(&self, record: &Record) -> Node {
        match self.graph.position(&record.address) {
            Some(at) if !record.deposed && !self.destroy => Node::Declared(at),
            _ => Node::Object(record.uid),
        }
    }

    fn address(&self, node: Node) -> Option<&ResourceAddress> {
        match node {
            Node::Declared(at) => Some(self.graph.address(at)),
            Node::Object(uid) => self.known.state.record(uid).map(|record| &record.address),
        }
    }

    fn matches(&self, node: Node, patterns: &[AddressGlob]) -> bool {
        let address = self.address(node);
        address.is_some_and(|address| patterns.iter().any(|pattern| pattern.matches(address)))
    }

    fn check_patterns(
        &self,
        flag: &'static str,
        patterns: &[AddressGlob],
        nodes: &BTreeSet<Node>,
        problems: &mut Diagnostics,
    ) {
        for pattern in patterns {
            let mut addresses = nodes.iter().filter_map(|node| self.address(*node));
            if addresses.any(|address| pattern.matches(address)) {
                continue;
            }
            let known: Vec<String> = nodes
                .iter()
                .filter_map(|node| self.address(*node))
                .map(ToString::to_string)
                .collect();
            let near = did_you_mean(pattern.as_str(), known.iter().map(String::as_str));
            problems.push(
                Diagnostic::error("no-match", "a selection matches nothing")
                    .detail(format!(
                        "No resource and no recorded object fits `{flag} {pattern}`."
                    ))
                    .hint(near.map(|near| format!("did you mean `{near}`?"))),
            );
        }
    }

    /// Returns what an unsettled call holds up, its own object included, with the address whose call it is.
    fn held_up(&self) -> BTreeMap<Node, ResourceAddress> {
        let mut found = BTreeMap::new();
        let mut open = Vec::new();
        for uid in &self.known.unsettled_objects {
            if let Some(record) = self.known.state.record(*uid) {
                let node = self.node_of(record);
                found.insert(node, record.address.clone());
                open.push(node);
                // If the creation proves absent, the object that it deposed has its address again.
                let deposed = record.open.as_ref().and_then(|open| open.deposes);
                if let Some(deposed) = deposed.and_then(|uid| self.known.state.record(uid)) {
                    let node = self.node_of(deposed);
                    found.insert(node, record.address.clone());
                    open.push(node);
                }
            }
        }
        while let Some(node) = open.pop() {
            let because = found[&node].clone();
            for next in self.next(node, Toward::Needing) {
                if let Entry::Vacant(unseen) = found.entry(next) {
                    unseen.insert(because.clone());
                    open.push(next);
                }
            }
        }
        found
    }

    fn closure(&self, start: BTreeSet<Node>, toward: Toward) -> BTreeSet<Node> {
        let mut open: Vec<Node> = start.iter().copied().collect();
        let mut reached = start;
        while let Some(node) = open.pop() {
            for next in self.next(node, toward) {
                if reached.insert(next) {
                    open.push(next);
                }
            }
        }
        reached
    }

    fn next(&self, node: Node, toward: Toward) -> Vec<Node> {
        let objects = |uids: &[Uid]| -> Vec<Node> {
            let records = uids.iter().filter_map(|uid| self.known.state.record(*uid));
            records.map(|record| self.node_of(record)).collect()
        };
        match (node, toward) {
            (Node::Declared(at), Toward::Needed) => {
                let dependencies = self.graph.dependencies(at).into_iter().map(|(to, _)| to);
                let swapped = self.swaps.needed(at, self.graph);
                dependencies.chain(swapped).map(Node::Declared).collect()
            }
            (Node::Declared(at), Toward::Needing) => {
                let mut found: Vec<Node> = self
                    .graph
                    .dependants(at)
                    .into_iter()
                    .map(Node::Declared)
                    .collect();
                // What is left as it is still needs what it was made with.
                if let Some(record) = self.known.state.current(self.graph.address(at)) {
                    let kept = self.known.dependencies(record);
                    found.extend(
                        objects(&kept)
                            .into_iter()
                            .filter(|n| matches!(n, Node::Object(_))),
                    );
                }
                let (swapped, old) = self.swaps.needing(at, self.graph);
                found.extend(swapped.into_iter().map(Node::Declared));
                found.extend(old.into_iter().map(Node::Object));
                found
            }
            // Before an object goes, what depends on it must go or stop using it.
            (Node::Object(uid), Toward::Needed) => {
                let mut found = objects(self.known.dependants(uid));
                found.extend(self.swaps.needed_with_object(uid).map(Node::Declared));
                found
            }
            // While an object stays, what it depends on must stay.
            (Node::Object(uid), Toward::Needing) => {
                let Some(record) = self.known.state.record(uid) else {
                    return Vec::new();
                };
                let kept = self.known.dependencies(record);
                objects(&kept)
                    .into_iter()
                    .filter(|n| matches!(n, Node::Object(_)))
                    .collect()
            }
        }
    }
}
