//! What leads to others, such as a name or an address, is updated once the new ones stand, and before the old ones go.

use std::collections::BTreeMap;

use super::{Builder, Why};
use crate::address::{ResourceAddress, Uid};
use crate::graph::DependenceKind;
use crate::plan::change::Action;
use crate::plan::path;
use crate::plan::step::StepOperation;
use crate::plan::swap::closure;
use crate::schema::ReplaceOrder;
use crate::value::{AttributePath, Attributes};

impl Builder<'_> {
    /// Makes the update of a resource that leads to others wait for these, and what they replace wait for the update.
    pub(super) fn order_leads(&mut self) {
        let resources = self.resources;
        let mut leads: Vec<(usize, &[ResourceAddress])> = Vec::new();
        for (position, resource) in resources.iter().enumerate() {
            if !resource.update_after.is_empty()
                && self.leads_elsewhere(position, true)
                && self.may_go_ahead(position)
            {
                leads.push((self.apply[position], &resource.update_after));
            }
        }
        if leads.is_empty() {
            return;
        }
        // What is deleted first cannot wait for what waits for its successor.
        let mut old: BTreeMap<&ResourceAddress, Vec<usize>> = BTreeMap::new();
        for (uid, index) in &self.removing {
            let change = &self.changes[*index];
            if change.deposed || change.action == Action::Replace(ReplaceOrder::CreateThenDelete) {
                old.entry(&change.address).or_default().push(self.remove[uid]);
            }
        }
        for (update, to) in leads {
            for address in to {
                if let Some(at) = self.graph.position(address) {
                    self.edge(self.apply[at], update, Why::LeadsTo);
                }
                for removal in old.get(address).into_iter().flatten() {
                    self.edge(update, *removal, Why::LeadsAway);
                }
            }
        }
    }

    /// Has what must stand before a resource that leads to it is updated not wait for that update, where it refers only to
    /// what the update leaves as it is: an address that moves is the same before and after. Returns whether the order of
    /// leading holds.
    ///
    /// It does not where something refers to the resource and no object makes way for another: whoever used what leads
    /// there goes on using it, and may need it to be put right first.
    fn may_go_ahead(&mut self, position: usize) -> bool {
        let to = self.resources[position].update_after.iter();
        let to = to.filter_map(|address| self.graph.position(address));
        let dependencies = |at| {
            self.graph
                .dependencies(at)
                .into_iter()
                .map(|(to, _)| to)
                .collect()
        };
        let needed = closure(to, dependencies);
        let mut users = self.graph.dependants(position);
        users.retain(|user| needed.contains(user));
        if users.is_empty() {
            return true;
        }
        if !self.leads_elsewhere(position, false) {
            return false;
        }
        let update = self.apply[position];
        for user in users {
            if self.sees_no_change(user, position) {
                let user = self.apply[user];
                self.nodes[user]
                    .after
                    .retain(|edge| *edge != (update, Why::Depends));
            }
        }
        true
    }

    /// Returns whether one resource depends on another only by attributes that its change leaves as they are.
    fn sees_no_change(&self, user: usize, position: usize) -> bool {
        let Some(change) = self.nodes[self.apply[position]].change else {
            return false;
        };
        let (before, after) = (&self.changes[change].before, &self.changes[change].after);
        let stays = |attribute: &AttributePath| {
            let value = |attributes: &Option<Attributes>| {
                let value = path::get(attributes.as_ref()?, attribute);
                value.filter(|value| value.is_wholly_known()).cloned()
            };
            value(before).is_some_and(|before| value(after) == Some(before))
        };
        let mut dependencies = self.graph.dependencies(user).into_iter();
        dependencies
            .find(|(to, _)| *to == position)
            .is_some_and(|(_, why)| {
                why.iter().all(|why| match &why.kind {
                    DependenceKind::Reference { attribute, .. } => stays(attribute),
                    DependenceKind::Lifecycle | DependenceKind::DependsOn => false,
                })
            })
    }

    /// Returns whether a resource is updated because what it depends on becomes another, or did in an earlier run. Any other
    /// update leads where it led before, and nothing waits for it.
    ///
    /// What is itself only updated may have become another for whoever refers to it; with `or_changes` that counts too.
    fn leads_elsewhere(&self, position: usize, or_changes: bool) -> bool {
        if self.nodes[self.apply[position]].operation != Some(StepOperation::Update) {
            return false;
        }
        let acts = |to: usize| match self.nodes[self.apply[to]].operation {
            Some(StepOperation::Create { .. }) => true,
            Some(StepOperation::Update) => or_changes,
            _ => false,
        };
        let mut dependencies = self.graph.dependencies(position).into_iter();
        if dependencies.any(|(to, _)| acts(to)) {
            return true;
        }
        let state = &self.known.state;
        let made_way = |uid: Uid| state.record(uid).is_some_and(|record| record.deposed);
        let record = state.current(self.graph.address(position));
        let led_to = record.map(|record| self.known.dependencies(record));
        led_to.is_some_and(|uids| {
            uids.into_iter()
                .any(|uid| made_way(uid) || self.remove.contains_key(&uid))
        })
    }
}
