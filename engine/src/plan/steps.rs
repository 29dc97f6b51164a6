//! The steps of a plan and the order between them, so that the executor chooses nothing.
//!
//! Every change has a node for what makes or updates its object and one for what removes an object. Nodes without a
//! call only carry order from dependencies to dependants; they are dropped at the end, except where keeping one as a
//! check saves many edges.

mod freed;
mod leads;

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use petgraph::graph::{DiGraph, NodeIndex};

use crate::address::Uid;
use crate::diagnostic::Diagnostic;
use crate::graph::ResourceGraph;
use crate::plan::change::{Action, Change, Reason};
use crate::plan::claims::HandOver;
use crate::plan::known::Known;
use crate::plan::roll::{Rollout, rollouts};
use crate::plan::step::{Step, StepId, StepOperation};
use crate::resource::Resource;
use crate::schema::ReplaceOrder;
use crate::state::record::Status;

/// Why one node waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Depends,
    Replaces,
    /// What depended on it goes first.
    GoesBefore,
    /// What depended on it is changed first, so that nothing uses it any more when it goes.
    StopsUsing,
    GoesWith,
    /// The object that took its address is finished before it goes.
    StandsIn,
    /// What it is to lead to stands before it is updated.
    LeadsTo,
    /// It leads elsewhere before what it led to goes.
    LeadsAway,
    HandsOver(usize),
    /// Its turn in a rolling change comes later.
    Rolls(usize),
}

struct Node {
    change: Option<usize>,
    operation: Option<StepOperation>,
    what: What,
    after: Vec<(usize, Why)>,
}

/// What a node stands for.
#[derive(Debug, Clone, Copy)]
enum What {
    /// Making, updating or checking the object of its change.
    Apply,
    /// Removing the object of its change.
    Remove,
    /// The declared resource at this position, which is left as it is.
    Standing(usize),
    /// The end of a turn of a rolling change.
    TurnEnd,
}

struct Builder<'a> {
    changes: &'a [Change],
    yielding: &'a BTreeSet<usize>,
    known: &'a Known<'a>,
    graph: &'a ResourceGraph,
    resources: &'a [Resource],
    hand_overs: &'a [HandOver],
    nodes: Vec<Node>,
    /// The node that makes or updates each declared resource.
    apply: Vec<usize>,
    /// The node that removes each object that goes.
    remove: BTreeMap<Uid, usize>,
    /// The change that each object's removal belongs to.
    removing: BTreeMap<Uid, usize>,
    /// What people should read with a change, because of its place in the order.
    notes: BTreeMap<usize, Vec<String>>,
    /// The changes whose objects cannot go with their holders.
    alone: BTreeSet<usize>,
    /// The rolling changes; `None` for those that no order allows.
    rollouts: Vec<Option<Rollout>>,
}

/// The steps of a plan, and what their order makes of changes, by position.
pub(super) struct Ordered {
    pub(super) steps: Vec<Step>,
    /// What is worth saying about them.
    pub(super) notes: BTreeMap<usize, Vec<String>>,
    /// Those whose objects are deleted by calls of their own, although their holders go.
    pub(super) alone: BTreeSet<usize>,
}

/// Why there are no steps.
pub(super) enum NoOrder {
    /// This replacement, by its position among the changes, would have to happen in the other order.
    Turn(usize),
    /// No order satisfies all changes.
    Cycle(Diagnostic),
}

/// Makes the steps of sorted changes.
///
/// `yielding` are the replacements that may as well happen in the other order, by their positions; `resources` are those of
/// the graph, in its order.
pub(super) fn build(
    changes: &[Change],
    yielding: &BTreeSet<usize>,
    known: &Known<'_>,
    graph: &ResourceGraph,
    resources: &[Resource],
    hand_overs: &[HandOver],
) -> Result<Ordered, NoOrder> {
    let mut builder = Builder {
        changes,
        yielding,
        known,
        graph,
        resources,
        hand_overs,
        nodes: Vec::with_capacity(changes.len()),
        apply: Vec::new(),
        remove: BTreeMap::new(),
        removing: BTreeMap::new(),
        notes: BTreeMap::new(),
        alone: BTreeSet::new(),
        rollouts: rollouts(changes).into_iter().map(Some).collect(),
    };
    builder.add_nodes();
    builder.order_by_configuration();
    builder.order_by_records();
    builder.order_freed();
    builder.order_leads();
    builder.order_hand_overs();
    builder.order_rollouts();
    builder.finish()
}

impl Builder<'_> {
    fn add_nodes(&mut self) {
        let mut apply: Vec<Option<usize>> = vec![None; self.graph.len()];
        for (index, change) in self.changes.iter().enumerate() {
            let address = &change.address;
            let declared = self.graph.position(address).filter(|_| change.after.is_some());
            let operation = match change.action {
                Action::Create => Some(StepOperation::Create { deposes: None }),
                Action::Update => Some(StepOperation::Update),
                Action::Replace(ReplaceOrder::CreateThenDelete) => {
                    Some(StepOperation::Create { deposes: change.uid })
                }
                Action::Replace(ReplaceOrder::DeleteThenCreate) => {
                    Some(StepOperation::Create { deposes: None })
                }
                Action::NoOp if !change.conditions.is_empty() => Some(StepOperation::Check),
                Action::NoOp | Action::Delete | Action::Forget => None,
            };
            if let Some(position) = declared {
                apply[position] = Some(self.node(Some(index), operation, What::Apply));
            }
            if matches!(change.action, Action::Delete | Action::Replace(_))
                && let Some(uid) = change.uid
            {
                let operation = match change.deleted_with {
                    Some(with) => StepOperation::DeleteWith { uid, with },
                    None => StepOperation::Delete { uid },
                };
                let node = self.node(Some(index), Some(operation), What::Remove);
                self.remove.insert(uid, node);
                self.removing.insert(uid, index);
            }
        }
        self.apply = apply
            .into_iter()
            .enumerate()
            .map(|(position, node)| node.unwrap_or_else(|| self.node(None, None, What::Standing(position))))
            .collect();
    }

    /// Names a node, for people.
    fn label(&self, at: usize) -> String {
        let node = &self.nodes[at];
        let change = node.change.map(|change| &self.changes[change]);
        match (node.what, change) {
            (What::Apply, Some(change)) => {
                let verb = match change.action {
                    Action::Update => "update of",
                    Action::NoOp => "check of",
                    _ => "creation of",
                };
                format!("{verb} `{}`", change.address)
            }
            (What::Remove, Some(change)) => {
                let old = if change.action == Action::Delete {
                    ""
                } else {
                    "old "
                };
                format!("deletion of the {old}`{}`", change.address)
            }
            (What::Standing(position), _) => {
                format!("`{}`, left as it is", self.graph.address(position))
            }
            _ => "end of a turn of a rolling change".to_owned(),
        }
    }

    fn node(&mut self, change: Option<usize>, operation: Option<StepOperation>, what: What) -> usize {
        self.nodes.push(Node {
            change,
            operation,
            what,
            after: Vec::new(),
        });
        self.nodes.len() - 1
    }

    fn edge(&mut self, first: usize, then: usize, why: Why) {
        if first != then {
            self.nodes[then].after.push((first, why));
        }
    }

    fn order_by_configuration(&mut self) {
        for position in 0..self.graph.len() {
            for (dependency, _) in self.graph.dependencies(position) {
                self.edge(self.apply[dependency], self.apply[position], Why::Depends);
            }
        }
    }

    fn order_by_records(&mut self) {
        let removals: Vec<(Uid, usize)> = self.remove.iter().map(|(uid, node)| (*uid, *node)).collect();
        for (uid, removal) in removals {
            let change = &self.changes[self.removing[&uid]];
            let deletes_first = change.action == Action::Replace(ReplaceOrder::DeleteThenCreate);
            if let Action::Replace(_) = change.action
                && let Some(position) = self.graph.position(&change.address)
            {
                let apply = self.apply[position];
                if deletes_first {
                    self.edge(removal, apply, Why::Replaces);
                } else {
                    self.edge(apply, removal, Why::Replaces);
                }
            }
            if let Some(successor) = self.unfinished_successor(change) {
                self.edge(successor, removal, Why::StandsIn);
            }
            let holder = change
                .deleted_with
                .and_then(|with| self.remove.get(&with))
                .copied();
            if let Some(holder) = holder {
                self.edge(holder, removal, Why::GoesWith);
                // Its successor is to stand before it goes, which is when its holder does.
                if change.action == Action::Replace(ReplaceOrder::CreateThenDelete)
                    && let Some(position) = self.graph.position(&change.address)
                {
                    self.edge(self.apply[position], holder, Why::Replaces);
                }
            }
            // What waits for an object that goes with its holder waits for the holder.
            let until = holder.unwrap_or(removal);
            for dependant in self.known.dependants(uid).to_vec() {
                self.order_dependant(dependant, uid, removal, deletes_first);
                if until != removal {
                    self.order_dependant(dependant, uid, until, deletes_first);
                }
            }
        }
    }

    /// Returns the node that makes or finishes the object that took a deposed one's address, unless that is ready: a
    /// replacement that was interrupted still has its order.
    fn unfinished_successor(&self, change: &Change) -> Option<usize> {
        if !change.deposed || change.reasons.contains(&Reason::TurnedUp) {
            return None;
        }
        let apply = self.apply[self.graph.position(&change.address)?];
        let current = self.known.state.current(&change.address);
        let ready = current.is_some_and(|record| record.status == Status::Ready);
        let acts = matches!(
            self.nodes[apply].operation,
            Some(StepOperation::Create { .. } | StepOperation::Update)
        );
        (acts && !ready).then_some(apply)
    }

    /// Makes the removal of an object wait for one that depended on it.
    fn order_dependant(&mut self, dependant: Uid, uid: Uid, removal: usize, deletes_first: bool) {
        if let Some(node) = self.remove.get(&dependant).copied() {
            let with = self.changes[self.removing[&dependant]].deleted_with;
            if with == Some(uid) {
                return;
            }
            self.edge(node, removal, Why::GoesBefore);
        }
        let Some(record) = self
            .known
            .state
            .record(dependant)
            .filter(|record| !record.deposed)
        else {
            return;
        };
        if let Some(position) = self.graph.position(&record.address) {
            // An object that comes back at the same address is there again before what still depends on it is updated.
            if deletes_first && self.needs(position, uid) {
                return;
            }
            // What is left as it is uses nothing that goes, else it would change; what is replaced goes before.
            let apply = self.apply[position];
            if self.nodes[apply].operation == Some(StepOperation::Update) {
                self.edge(apply, removal, Why::StopsUsing);
            }
        }
    }

    /// Returns whether a resource depends, by the configuration, on the one that has an object.
    fn needs(&self, position: usize, uid: Uid) -> bool {
        let address = &self.changes[self.removing[&uid]].address;
        let Some(target) = self.graph.position(address) else {
            return false;
        };
        let direct = self.graph.dependencies(position);
        if direct.iter().any(|(to, _)| *to == target) {
            return true;
        }
        let mut open: Vec<usize> = direct.into_iter().map(|(to, _)| to).collect();
        let mut seen: BTreeSet<usize> = open.iter().copied().collect();
        while let Some(at) = open.pop() {
            for (to, _) in self.graph.dependencies(at) {
                if to == target {
                    return true;
                }
                if seen.insert(to) {
                    open.push(to);
                }
            }
        }
        false
    }

    fn order_hand_overs(&mut self) {
        for (index, hand_over) in self.hand_overs.iter().enumerate() {
            let Some(position) = self.graph.position(&hand_over.to) else {
                continue;
            };
            let released = self.remove.get(&hand_over.from).copied().or_else(|| {
                let record = self.known.state.record(hand_over.from)?;
                self.graph.position(&record.address).map(|at| self.apply[at])
            });
            if let Some(released) = released {
                self.edge(released, self.apply[position], Why::HandsOver(index));
            }
        }
    }

    /// Makes each turn of a rolling change wait for the one before it.
    fn order_rollouts(&mut self) {
        let mut nodes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, node) in self.nodes.iter().enumerate() {
            if let (Some(change), Some(_)) = (node.change, node.operation) {
                nodes.entry(change).or_default().push(at);
            }
        }
        for index in 0..self.rollouts.len() {
            let Some(rollout) = &self.rollouts[index] else {
                continue;
            };
            let turns: Vec<Vec<usize>> = rollout
                .turns
                .iter()
                .map(|turn| {
                    turn.iter()
                        .filter_map(|change| nodes.get(change))
                        .flatten()
                        .copied()
                        .collect()
                })
                .collect();
            for turn in turns.windows(2) {
                let end = self.node(None, None, What::TurnEnd);
                for node in &turn[0] {
                    self.edge(*node, end, Why::Rolls(index));
                }
                for node in &turn[1] {
                    self.edge(end, *node, Why::Rolls(index));
                }
            }
        }
    }

    /// Gives up a rolling change that is part of a cycle: its objects are replaced at once then. Returns whether there
    /// was one.
    ///
    /// A router that is replaced with the replicas is the case: their old registrations go with the old router, when
    /// the new one has all the new ones.
    fn stop_rolling(&mut self, path: &[usize]) -> bool {
        let in_cycle = path.iter().enumerate().find_map(|(index, at)| {
            let next = path[(index + 1) % path.len()];
            let mut edges = self.nodes[*at].after.iter();
            edges.find_map(|(first, why)| match why {
                Why::Rolls(rollout) if *first == next => Some(*rollout),
                _ => None,
            })
        });
        let Some(index) = in_cycle else { return false };
        for node in &mut self.nodes {
            node.after.retain(|(_, why)| *why != Why::Rolls(index));
        }
        if let Some(rollout) = self.rollouts[index].take() {
            let note = "It is replaced at once with the others of its group, not in turn: something else that changes \
                        needs all of the new ones before an old one can go.";
            self.notes.entry(rollout.first).or_default().push(note.to_owned());
        }
        true
    }

    fn finish(mut self) -> Result<Ordered, NoOrder> {
        for node in &mut self.nodes {
            node.after.sort_by_key(|(first, _)| *first);
            node.after.dedup_by_key(|(first, _)| *first);
        }
        let order = loop {
            if let Some(order) = self.sort() {
                break order;
            }
            let path = self.shortest_cycle();
            if self.stop_rolling(&path)
                || self.delete_alone(&path)
                || self.give_up(&path, Why::StandsIn).is_some()
            {
                continue;
            }
            if let Some(change) = self.yields(&path) {
                return Err(NoOrder::Turn(change));
            }
            if !self.relax(&path) {
                return Err(NoOrder::Cycle(self.cycle(&path)));
            }
        };
        let steps = self.number(order);
        for rollout in self.rollouts.into_iter().flatten() {
            self.notes.entry(rollout.first).or_default().push(rollout.note);
        }
        Ok(Ordered {
            steps,
            notes: self.notes,
            alone: self.alone,
        })
    }

    /// Makes the steps, in the order of their nodes.
    fn number(&mut self, order: Vec<usize>) -> Vec<Step> {
        let mut waiting: Vec<usize> = vec![0; self.nodes.len()];
        for node in &self.nodes {
            for (first, _) in &node.after {
                waiting[*first] += 1;
            }
        }
        let acting = self.nodes.iter().filter(|node| node.operation.is_some());
        let mut steps: Vec<Step> = Vec::with_capacity(acting.count());
        let mut ids: Vec<Option<StepId>> = vec![None; self.nodes.len()];
        // For nodes without a step, the steps that being after them means being after.
        let mut reach: BTreeMap<usize, Vec<StepId>> = BTreeMap::new();
        for at in order {
            let mut after = Vec::new();
            for (first, _) in &self.nodes[at].after {
                match ids[*first] {
                    Some(id) => after.push(id),
                    None => after.extend(reach.get(first).into_iter().flatten()),
                }
            }
            after.sort_unstable();
            after.dedup();
            after.shrink_to_fit();
            let (many_in, many_out) = (after.len(), waiting[at]);
            let node = &mut self.nodes[at];
            let joins = many_in > 8 && many_out > 8 && node.change.is_some();
            if node.operation.is_none() && joins {
                node.operation = Some(StepOperation::Check);
            }
            match (node.operation, node.change) {
                (Some(operation), Some(change)) => {
                    let id = u32::try_from(steps.len()).expect("a plan has fewer than 2^32 steps");
                    let id = StepId(id);
                    ids[at] = Some(id);
                    steps.push(Step {
                        id,
                        change,
                        operation,
                        after,
                    });
                }
                _ if after.is_empty() => {}
                _ => drop(reach.insert(at, after)),
            }
        }
        steps
    }

    /// Kahn's algorithm, earlier changes first among those that are ready.
    fn sort(&self) -> Option<Vec<usize>> {
        let mut left: Vec<usize> = self.nodes.iter().map(|node| node.after.len()).collect();
        let mut followers: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for (first, _) in &node.after {
                followers[*first].push(index);
            }
        }
        let mut ready: BinaryHeap<Reverse<usize>> = (0..self.nodes.len())
            .filter(|at| left[*at] == 0)
            .map(Reverse)
            .collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(Reverse(at)) = ready.pop() {
            order.push(at);
            for follower in &followers[at] {
                left[*follower] -= 1;
                if left[*follower] == 0 {
                    ready.push(Reverse(*follower));
                }
            }
        }
        (order.len() == self.nodes.len()).then_some(order)
    }

    /// Returns a replacement in a cycle whose order may as well be the other: first one that creates first.
    fn yields(&self, path: &[usize]) -> Option<usize> {
        let creates = |at: usize| matches!(self.nodes[at].operation, Some(StepOperation::Create { .. }));
        let replaces = path.iter().enumerate().filter_map(|(index, at)| {
            let next = path[(index + 1) % path.len()];
            let edge = self.nodes[*at].after.contains(&(next, Why::Replaces));
            edge.then_some((*at, next))
        });
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (at, next) in replaces {
            let (list, change) = if creates(next) {
                (&mut first, self.nodes[next].change)
            } else {
                (&mut second, self.nodes[at].change)
            };
            list.push(change);
        }
        let may = |list: &[Option<usize>]| {
            let mut changes = list.iter().flatten().copied();
            changes.find(|change| self.yielding.contains(change))
        };
        // Deleting first can only be the trouble where something else must create first.
        may(&first).or_else(|| if first.is_empty() { None } else { may(&second) })
    }

    /// Lets one object in a cycle go before the one that holds it, by a call of its own, as everything else that depends
    /// on something does.
    ///
    /// Objects that go with each other's holders would wait for each other for ever. Of those in the cycle the first by
    /// the order of changes is taken. Returns whether there was one.
    fn delete_alone(&mut self, path: &[usize]) -> bool {
        let goes_with = path.iter().enumerate().filter_map(|(index, at)| {
            let holder = path[(index + 1) % path.len()];
            let waits = self.nodes[*at].after.contains(&(holder, Why::GoesWith));
            waits.then_some((self.nodes[*at].change?, *at, holder))
        });
        let Some((change, at, holder)) = goes_with.min() else {
            return false;
        };
        let Some(StepOperation::DeleteWith { uid, .. }) = self.nodes[at].operation else {
            return false;
        };
        self.nodes[at].operation = Some(StepOperation::Delete { uid });
        self.nodes[at].after.retain(|(first, _)| *first != holder);
        self.edge(at, holder, Why::GoesBefore);
        self.alone.insert(change);
        let note = format!(
            "The {} takes a call of its own: it cannot wait for the {}, which would take it along.",
            self.label(at),
            self.label(holder)
        );
        self.notes.entry(change).or_default().push(note);
        true
    }

    /// Gives up one wish in a cycle: that something is changed before what it used goes, or once what it leads to stands.
    ///
    /// Those wishes cannot always be granted: what is changed may need something new that can only be made once the old
    /// one is gone. Returns whether there was such a wish.
    fn relax(&mut self, path: &[usize]) -> bool {
        let wishes = [
            (Why::StopsUsing, "uses it until then"),
            (Why::LeadsAway, "leads there until then"),
            (Why::LeadsTo, "it leads to from then on"),
        ];
        let given_up = wishes.into_iter().find_map(|(why, words)| {
            let (at, next) = self.give_up(path, why)?;
            Some((at, next, words))
        });
        let Some((at, next, words)) = given_up else {
            return false;
        };
        let note = format!(
            "The {} cannot wait for the {}, which {words}.",
            self.label(at),
            self.label(next)
        );
        if let Some(change) = self.nodes[at].change {
            self.notes.entry(change).or_default().push(note);
        }
        true
    }

    /// Takes the first edge of a kind out of a cycle; returns the node that waited, and the one that it waited for.
    fn give_up(&mut self, path: &[usize], why: Why) -> Option<(usize, usize)> {
        for (index, at) in path.iter().enumerate() {
            let next = path[(index + 1) % path.len()];
            if let Some(found) = self.nodes[*at].after.iter().position(|edge| *edge == (next, why)) {
                self.nodes[*at].after.remove(found);
                return Some((*at, next));
            }
        }
        None
    }

    fn shortest_cycle(&self) -> Vec<usize> {
        let mut graph: DiGraph<(), ()> = DiGraph::with_capacity(self.nodes.len(), self.nodes.len());
        for _ in &self.nodes {
            graph.add_node(());
        }
        for (index, node) in self.nodes.iter().enumerate() {
            for (first, _) in &node.after {
                graph.add_edge(NodeIndex::new(index), NodeIndex::new(*first), ());
            }
        }
        let mut components = petgraph::algo::kosaraju_scc(&graph);
        for component in &mut components {
            component.sort_unstable();
        }
        components.sort();
        let component: BTreeSet<usize> = components
            .into_iter()
            .find(|component| component.len() > 1)
            .into_iter()
            .flatten()
            .map(NodeIndex::index)
            .collect();
        self.walk(&component)
    }

    /// Words a cycle of steps, and which edge to cut.
    fn cycle(&self, path: &[usize]) -> Diagnostic {
        let mut lines = Vec::new();
        let mut hint =
            "plan in two runs: first without the replacement (`--exclude`), then with it".to_owned();
        for (index, at) in path.iter().enumerate() {
            let next = path[(index + 1) % path.len()];
            let why = self.nodes[*at]
                .after
                .iter()
                .find(|(first, _)| *first == next)
                .map(|(_, why)| *why);
            let clause = match why {
                Some(Why::Depends) | None => "depends on it".to_owned(),
                Some(Why::Replaces) => "replaces it in that order".to_owned(),
                Some(Why::GoesBefore | Why::StopsUsing) => "is used by it until then".to_owned(),
                Some(Why::GoesWith) => "goes with it".to_owned(),
                Some(Why::Rolls(_)) => "has its turn after it".to_owned(),
                Some(Why::StandsIn) => "stands in for it until then".to_owned(),
                Some(Why::LeadsTo) => "leads to it from then on".to_owned(),
                Some(Why::LeadsAway) => "leads to it until then".to_owned(),
                Some(Why::HandsOver(claim)) => {
                    let claim = &self.hand_overs[claim];
                    hint = format!(
                        "the edge to cut is the hand-over of `{}` to `{}`: give that another one, or apply in two runs",
                        claim.key, claim.to
                    );
                    format!("takes over `{}`", claim.key)
                }
            };
            lines.push(format!(
                "{} waits for the {}: {clause}",
                self.label(*at),
                self.label(next)
            ));
        }
        Diagnostic::error("step-cycle", "no order of the changes works")
            .detail(lines.join("\n"))
            .hint(hint)
    }

    /// Returns a shortest cycle through the first node of a component.
    fn walk(&self, component: &BTreeSet<usize>) -> Vec<usize> {
        let Some(start) = component.first().copied() else {
            return Vec::new();
        };
        let mut came_from: BTreeMap<usize, usize> = BTreeMap::new();
        let mut queue = std::collections::VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            for (next, _) in self.nodes[at]
                .after
                .iter()
                .filter(|(next, _)| component.contains(next))
            {
                if *next == start {
                    let mut path = vec![at];
                    while let Some(before) = path.last().and_then(|last| came_from.get(last)) {
                        path.push(*before);
                    }
                    path.reverse();
                    return path;
                }
                if let Entry::Vacant(unseen) = came_from.entry(*next) {
                    unseen.insert(at);
                    queue.push_back(*next);
                }
            }
        }
        vec![start]
    }
}
