//! Swaps: what leads to others is updated between what takes their places and what made way for it.
//!
//! A plan carries out all that is left of a swap or leaves it alone: half of one would lead to what does not stand, or take
//! away what is still led to. What is swapped is only known once it is decided, so a plan that leaves something out is
//! decided again with what was found.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{ResourceAddress, Uid};
use crate::graph::ResourceGraph;
use crate::plan::change::Action;
use crate::plan::decisions::Decisions;
use crate::plan::known::Known;
use crate::resource::Resource;

/// The swaps that a plan would begin or go on with, by the position of what leads to others.
#[derive(Debug, Default)]
pub(super) struct Swaps(BTreeMap<usize, Swap>);

/// One swap.
#[derive(Debug, Default)]
struct Swap {
    /// What must stand before the update.
    leads_to: BTreeSet<usize>,
    /// What would be replaced with it.
    replaced: BTreeSet<usize>,
    /// What an earlier run has replaced with it, and what is there until the update.
    old: BTreeSet<Uid>,
}

impl Swap {
    /// Returns whether a resource must be covered for what leads to others to be updated or left.
    fn takes(&self, position: usize) -> bool {
        self.leads_to.contains(&position) || self.replaced.contains(&position)
    }
}

impl Swaps {
    /// Adds the swaps that decisions, those about what a plan leaves out among them, are parts of. Returns whether there
    /// were any that were not known.
    pub(super) fn add(
        &mut self,
        resources: &[Resource],
        graph: &ResourceGraph,
        known: &Known<'_>,
        decisions: [&Decisions; 2],
    ) -> bool {
        let is_replaced = |position: usize| {
            let mut found = decisions.iter().filter_map(|decisions| decisions.get(position));
            found.any(|decided| matches!(decided.change.action, Action::Replace(_)))
        };
        let mut is_new = false;
        let mut deposed: Option<BTreeMap<&ResourceAddress, Vec<Uid>>> = None;
        for (position, resource) in resources.iter().enumerate() {
            if resource.update_after.is_empty() {
                continue;
            }
            // It is made without what it leads to.
            let Some(record) = known.state.current(&resource.address) else {
                continue;
            };
            let deposed = deposed.get_or_insert_with(|| {
                let mut found: BTreeMap<_, Vec<Uid>> = BTreeMap::new();
                for record in known.state.deposed_records() {
                    found.entry(&record.address).or_default().push(record.uid);
                }
                found
            });
            let dependencies = |at| graph.dependencies(at).into_iter().map(|(to, _)| to).collect();
            let led = closure([position], dependencies);
            // Once it leads elsewhere, what is left of the old ones is only to be deleted.
            let led_before = known.dependencies(record);
            let led_before = led_before.into_iter().filter_map(|uid| known.state.record(uid));
            if !led.iter().any(|at| is_replaced(*at)) && !led_before.into_iter().any(|led| led.deposed) {
                continue;
            }
            let moved = led
                .into_iter()
                .filter(|at| is_replaced(*at) || deposed.contains_key(graph.address(*at)));
            let moved = closure(moved, |at| graph.dependants(at));
            let leads_to: BTreeSet<usize> = resource
                .update_after
                .iter()
                .filter_map(|address| graph.position(address))
                .collect();
            let parts: BTreeSet<usize> = moved.into_iter().chain(leads_to.iter().copied()).collect();
            let old = parts.iter().filter_map(|at| deposed.get(graph.address(*at)));
            let old: BTreeSet<Uid> = old.flatten().copied().collect();
            let replaced: BTreeSet<usize> = parts
                .into_iter()
                .filter(|at| *at != position && is_replaced(*at))
                .collect();
            let swap = self.0.entry(position).or_default();
            is_new |= !replaced.is_subset(&swap.replaced) || !old.is_subset(&swap.old);
            swap.leads_to = leads_to;
            swap.replaced.extend(replaced);
            swap.old.extend(old);
        }
        is_new
    }

    /// Returns what must be covered with a resource.
    pub(super) fn needed(&self, position: usize, graph: &ResourceGraph) -> Vec<usize> {
        let mut found = Vec::new();
        for (leading, swap) in &self.0 {
            if *leading == position {
                found.extend(&swap.leads_to);
            } else if swap.takes(position) {
                found.push(*leading);
            }
            if swap.replaced.contains(&position) {
                // The old one goes, and whoever uses it stops to.
                found.extend(graph.dependants(position));
            }
        }
        found
    }

    /// Returns what must be covered with an old object.
    pub(super) fn needed_with_object(&self, uid: Uid) -> impl Iterator<Item = usize> + '_ {
        let swaps = self.0.iter().filter(move |(_, swap)| swap.old.contains(&uid));
        swaps.map(|(leading, _)| *leading)
    }

    /// Returns what cannot be covered without a resource: other resources, and old objects.
    pub(super) fn needing(&self, position: usize, graph: &ResourceGraph) -> (Vec<usize>, Vec<Uid>) {
        let (mut resources, mut objects) = (Vec::new(), Vec::new());
        for (leading, swap) in &self.0 {
            if *leading == position {
                resources.extend(&swap.replaced);
                objects.extend(&swap.old);
            } else if swap.leads_to.contains(&position) {
                resources.push(*leading);
            }
            // What stays as it is uses what it has.
            let used = graph.dependencies(position).into_iter().map(|(to, _)| to);
            resources.extend(used.filter(|to| swap.replaced.contains(to)));
        }
        (resources, objects)
    }

    /// Returns what of swaps that are covered by halves must not be covered either: resources, and old objects.
    ///
    /// Swaps share parts, where several names lead to one machine: one that is left out makes halves of others.
    pub(super) fn halves(&self, covers: impl Fn(usize) -> bool) -> (BTreeSet<usize>, BTreeSet<Uid>) {
        let (mut resources, mut objects) = (BTreeSet::new(), BTreeSet::new());
        let mut whole: Vec<(&usize, &Swap)> = self.0.iter().collect();
        loop {
            let before = whole.len();
            whole.retain(|(leading, swap)| {
                let mut parts = swap.leads_to.iter().chain(&swap.replaced).chain([*leading]);
                let is_whole =
                    parts.all(|at| covers(*at) && !resources.contains(at)) && swap.old.is_disjoint(&objects);
                if !is_whole {
                    resources.insert(**leading);
                    resources.extend(&swap.replaced);
                    objects.extend(&swap.old);
                }
                is_whole
            });
            if whole.len() == before {
                return (resources, objects);
            }
        }
    }
}

/// Returns positions and all that is reached from them.
pub(super) fn closure(
    start: impl IntoIterator<Item = usize>,
    next: impl Fn(usize) -> Vec<usize>,
) -> BTreeSet<usize> {
    let mut reached: BTreeSet<usize> = start.into_iter().collect();
    let mut open: Vec<usize> = reached.iter().copied().collect();
    while let Some(at) = open.pop() {
        open.extend(next(at).into_iter().filter(|to| reached.insert(*to)));
    }
    reached
}
