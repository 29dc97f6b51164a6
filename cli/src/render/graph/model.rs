//! What a graph consists of, before it is written in one way or another.

use std::collections::{BTreeMap, BTreeSet};

use gabion_engine::address::ResourceAddress;
use gabion_engine::graph::{Dependence, DependenceKind, ResourceGraph};
use gabion_engine::plan::Plan;
use gabion_engine::plan::change::{Action, Change, Reason};
use gabion_engine::resource::{Configuration, DocumentRef};
use gabion_engine::state::State;

use crate::render::words;

/// Resources and what each depends on.
pub(crate) struct Graph<'a> {
    /// The project's name.
    pub(crate) project: &'a str,
    /// The plan that says what happens to each resource; `None` of a configuration alone.
    pub(crate) plan: Option<&'a Plan>,
    /// The resources, by address.
    pub(crate) nodes: Vec<Node<'a>>,
    /// What depends on what, by position.
    pub(crate) edges: Vec<Edge>,
}

/// One resource, or one object that awaits its deletion.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    /// Its address.
    pub(crate) address: &'a ResourceAddress,
    /// The document that declares it, or did.
    pub(crate) document: Option<&'a DocumentRef>,
    /// What happens to it; `None` where there is no plan.
    pub(crate) change: Option<&'a Change>,
}

/// A resource that depends on another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edge {
    /// The position of the one that depends.
    pub(crate) from: usize,
    /// The position of the one that it depends on.
    pub(crate) to: usize,
    /// Why, in a word or two; empty where only the record of an object that goes says so.
    pub(crate) because: String,
    /// Where that is written.
    pub(crate) places: Vec<String>,
}

/// What happens to a resource, as colours show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Look {
    /// It goes.
    Destroy,
    /// Another one takes its place.
    Replace,
    /// It is changed, moved, imported, or loses its protection.
    Update,
    /// It is made.
    Create,
    /// It is no longer managed.
    Forget,
    /// It stays as it is, or there is no plan.
    Keep,
}

impl Look {
    /// All of them, in the order in which people should read them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Destroy,
        Self::Replace,
        Self::Update,
        Self::Create,
        Self::Forget,
        Self::Keep,
    ];

    /// Returns its name, as styles use it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Destroy => "destroy",
            Self::Replace => "replace",
            Self::Update => "update",
            Self::Create => "create",
            Self::Forget => "forget",
            Self::Keep => "keep",
        }
    }

    /// Returns its colour, which can be seen on white and on black.
    pub(crate) fn colour(self) -> &'static str {
        match self {
            Self::Destroy => "#cf222e",
            Self::Replace => "#8250df",
            Self::Update => "#bf8700",
            Self::Create => "#2da44e",
            Self::Forget | Self::Keep => "#6e7781",
        }
    }
}

impl Node<'_> {
    /// Returns the name under which the graph knows it: its address, which the object that awaits its deletion shares
    /// with the one that took its place.
    pub(crate) fn id(&self) -> String {
        match self.change {
            Some(change) if change.deposed => format!("{} (left by a replacement)", self.address),
            _ => self.address.to_string(),
        }
    }

    /// Returns its name with the sign of what happens to it before it.
    pub(crate) fn label(&self) -> String {
        match self.symbol() {
            "" => self.id(),
            symbol => format!("{symbol} {}", self.id()),
        }
    }

    /// Returns the sign of what happens to it; nothing where it stays.
    pub(crate) fn symbol(&self) -> &'static str {
        self.change
            .map(|change| words::symbol(change.action).trim())
            .unwrap_or_default()
    }

    /// Returns how it is shown.
    pub(crate) fn look(&self) -> Look {
        let Some(change) = self.change else {
            return Look::Keep;
        };
        match change.action {
            Action::Delete => Look::Destroy,
            Action::Replace(_) => Look::Replace,
            Action::Update => Look::Update,
            Action::Create => Look::Create,
            Action::Forget => Look::Forget,
            Action::NoOp if is_effective(change) => Look::Update,
            Action::NoOp => Look::Keep,
        }
    }

    /// Returns the document that declares it in two words: `service qwen`.
    pub(crate) fn document_name(&self) -> Option<String> {
        let document = self.document?;
        Some(words::plain(&format!(
            "{} {}",
            document.document_type, document.name
        )))
    }
}

/// Returns whether people have anything to review in a change.
fn is_effective(change: &Change) -> bool {
    change.action != Action::NoOp
        || change.previous_address.is_some()
        || change.importing.is_some()
        || change.unprotects
}

impl<'a> Graph<'a> {
    /// Returns the graph of what a configuration declares.
    pub(crate) fn of_configuration(configuration: &'a Configuration, graph: &ResourceGraph) -> Self {
        let nodes = configuration
            .resources
            .iter()
            .map(|resource| Node {
                address: &resource.address,
                document: Some(&resource.document),
                change: None,
            })
            .collect();
        let mut built = Self {
            project: &configuration.project,
            plan: None,
            nodes,
            edges: Vec::new(),
        };
        built.connect(graph, None);
        built
    }

    /// Returns the graph of everything that a plan is about: what is declared, and what goes.
    pub(crate) fn of_plan(
        plan: &'a Plan,
        configuration: &'a Configuration,
        graph: &ResourceGraph,
        state: &'a State,
    ) -> Self {
        let nodes = plan
            .changes
            .iter()
            .map(|change| {
                let declared = graph
                    .position(&change.address)
                    .filter(|_| !change.deposed)
                    .map(|position| &configuration.resources[position].document);
                Node {
                    address: &change.address,
                    document: declared.or_else(|| document_of(change)).or_else(|| {
                        let record = state.record(change.uid?)?;
                        record.declaration.document.as_ref()
                    }),
                    change: Some(change),
                }
            })
            .collect();
        let mut built = Self {
            project: &plan.project,
            plan: Some(plan),
            nodes,
            edges: Vec::new(),
        };
        built.connect(graph, Some(state));
        built
    }

    /// Returns the part of it that a plan changes, and the edges inside of that part.
    pub(crate) fn changed_only(mut self) -> Self {
        let mut position = vec![None; self.nodes.len()];
        let mut kept = Vec::new();
        for (old, node) in self.nodes.iter().enumerate() {
            if node.change.is_some_and(is_effective) {
                position[old] = Some(kept.len());
                kept.push(*node);
            }
        }
        self.nodes = kept;
        self.edges = self
            .edges
            .into_iter()
            .filter_map(|edge| {
                Some(Edge {
                    from: position[edge.from]?,
                    to: position[edge.to]?,
                    ..edge
                })
            })
            .collect();
        self
    }

    /// Adds the edges: as the configuration has them, and as records have them of objects that go.
    fn connect(&mut self, graph: &ResourceGraph, state: Option<&State>) {
        let at: BTreeMap<&ResourceAddress, usize> = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.change.is_none_or(|change| !change.deposed))
            .map(|(position, node)| (node.address, position))
            .collect();
        let mut known = BTreeSet::new();
        for (from, to, why) in graph.edges() {
            let (Some(&from), Some(&to)) = (at.get(from), at.get(to)) else {
                continue;
            };
            known.insert((from, to));
            let mut places: Vec<String> = why.iter().map(|why| why.place.to_string()).collect();
            places.dedup();
            self.edges.push(Edge {
                from,
                to,
                because: label(why),
                places,
            });
        }
        for (from, node) in self.nodes.iter().enumerate() {
            let goes = node
                .change
                .filter(|change| matches!(change.action, Action::Delete | Action::Forget));
            let record = goes.and_then(|change| state?.record(change.uid?));
            for dependency in record
                .into_iter()
                .flat_map(|record| &record.declaration.dependencies)
            {
                if let Some(&to) = at.get(&dependency.address)
                    && to != from
                    && known.insert((from, to))
                {
                    self.edges.push(Edge {
                        from,
                        to,
                        because: String::new(),
                        places: Vec::new(),
                    });
                }
            }
        }
        self.edges.sort_by_key(|edge| (edge.from, edge.to));
    }
}

/// Returns the document that a change itself names.
fn document_of(change: &Change) -> Option<&DocumentRef> {
    match (&change.declaration, change.reasons.first()) {
        (Some(declaration), _) => declaration.document.as_ref(),
        (None, Some(Reason::Surplus(document))) => Some(document),
        (None, _) => change.document.as_ref(),
    }
}

/// Returns why an edge is there, in a word or two.
fn label(why: &[Dependence]) -> String {
    let mut parts: Vec<String> = why
        .iter()
        .map(|dependence| match &dependence.kind {
            DependenceKind::Reference { input, .. } => words::plain(input.first_key().unwrap_or_default()),
            DependenceKind::Lifecycle => "lifecycle".to_owned(),
            DependenceKind::DependsOn => "depends_on".to_owned(),
        })
        .collect();
    parts.sort();
    parts.dedup();
    parts.join(", ")
}
