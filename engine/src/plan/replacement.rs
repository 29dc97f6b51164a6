//! Why an object must be replaced rather than kept, and in which order.

use std::collections::BTreeSet;

use crate::address::{ResourceAddress, Uid};
use crate::config::Target;
use crate::graph::trigger_references;
use crate::plan::change::Reason;
use crate::plan::decide::{Decider, Existing};
use crate::plan::evaluate::Changed;
use crate::plan::known::Known;
use crate::plan::order::{Order, Strength};
use crate::provider::PlanResponse;
use crate::resource::Resource;
use crate::schema::{ReplaceOrder, ResourceSchema};
use crate::state::record::{Record, Status};
use crate::value::{AttributePath, Value};

impl Decider<'_> {
    /// Returns why the object must be replaced; nothing when it can be kept.
    pub(super) fn replacement_reasons(
        &self,
        position: usize,
        schema: &ResourceSchema,
        existing: &Existing<'_>,
        response: &PlanResponse,
    ) -> Vec<Reason> {
        let resource = &self.input.configuration.resources[position];
        let mut reasons = Vec::new();
        let status = existing.record.map(|record| record.status);
        if status == Some(Status::Tainted) {
            reasons.push(Reason::Tainted);
        }
        if matches!(status, Some(Status::Deleting | Status::Creating)) {
            reasons.push(Reason::Incomplete);
        }
        if self.input.options.replace.contains(&resource.address) && existing.imported.is_none() {
            reasons.push(Reason::Requested);
        }
        if let Some(record) = existing.record {
            let triggers = self.triggers(resource, record);
            reasons.extend(triggers.into_iter().map(Reason::TriggeredBy));
            if let Some(holder) = self.holder_that_goes(position, schema, existing) {
                reasons.push(Reason::DeletedWith(holder));
            }
            for reason in self.fates.reasons(position) {
                if !reasons.contains(reason) {
                    reasons.push(reason.clone());
                }
            }
        }
        if !response.replace.is_empty() {
            let paths: BTreeSet<_> = response.replace.iter().map(|cause| cause.path.clone()).collect();
            reasons.push(Reason::CannotChangeInPlace(paths.into_iter().collect()));
            if status == Some(Status::Incomplete) {
                reasons.push(Reason::Incomplete);
            }
        }
        reasons
    }

    /// Returns the resources that `replace_triggered_by` names and that change, or that an earlier run replaced which did
    /// not get as far as this one.
    fn triggers(&self, resource: &Resource, record: &Record) -> Vec<ResourceAddress> {
        let triggers = resource.lifecycle.replace_triggered_by.iter();
        let references = triggers.flat_map(|trigger| trigger_references(trigger).unwrap_or_default());
        let mut found: Vec<ResourceAddress> = references
            .filter_map(|reference| {
                let Target::Resource(address) = reference.target else {
                    return None;
                };
                let outcome = &self.outcomes[self.graph.position(&address)?];
                let new = outcome.changed == Changed::Everything
                    && self.known.state.current(&address).is_none()
                    && !self.known.lost.contains(&address);
                let fires = (outcome.changes(&reference.path) && !new)
                    || self.stayed_behind(record, &address, &reference.path);
                fires.then_some(address)
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// Returns whether an object was last applied with one that makes way for another at its address, which has another
    /// value at the path.
    fn stayed_behind(&self, record: &Record, address: &ResourceAddress, path: &AttributePath) -> bool {
        let state = &self.known.state;
        let mut dependencies = record.declaration.dependencies.iter();
        let uid = dependencies
            .find(|on| on.address == *address)
            .and_then(|on| on.uid);
        let old = uid.and_then(|uid| state.record(uid)).filter(|old| old.deposed);
        let (Some(old), Some(new)) = (old, state.current(address)) else {
            return false;
        };
        let at = |record: &Record| Value::Map(record.attributes.clone()).at(path).cloned();
        at(old) != at(new)
    }

    /// Returns the address of the object with which this one is deleted, if that one goes.
    fn holder_that_goes(
        &self,
        position: usize,
        schema: &ResourceSchema,
        existing: &Existing<'_>,
    ) -> Option<ResourceAddress> {
        let record = existing.record?;
        let uid = holder(self.known, schema, record)?;
        let holder = self.known.state.record(uid)?;
        let at = self.graph.position(&holder.address)?;
        let dependencies = self.graph.dependencies(position);
        let depends = dependencies.iter().any(|(to, _)| *to == at);
        (depends && self.outcomes[at].goes).then(|| holder.address.clone())
    }

    pub(super) fn replace_order(
        &self,
        resource: &Resource,
        schema: &ResourceSchema,
        existing: &Existing<'_>,
        response: &PlanResponse,
    ) -> Order {
        let Some(record) = existing.record else {
            return Order::default();
        };
        if matches!(record.status, Status::Deleting | Status::Creating) {
            return Order::forced(
                "The deletion of the old object began in an earlier run: it is finished first.",
            );
        }
        let held: BTreeSet<_> = record.declaration.claims.iter().collect();
        if let Some(claim) = response.claims.iter().find(|claim| held.contains(&claim.key)) {
            return Order::forced(format!(
                "The old object is deleted first: both need `{}`, which only one can hold.",
                claim.key
            ));
        }
        let wished = response.replace_order.unwrap_or(schema.replace_order);
        match (resource.lifecycle.replace_order, wished) {
            (Some(order), _) => Order::new(order, Strength::Lifecycle),
            (None, ReplaceOrder::DeleteThenCreate) => {
                Order::new(ReplaceOrder::DeleteThenCreate, Strength::Schema)
            }
            (None, ReplaceOrder::CreateThenDelete) => Order::default(),
        }
    }
}

/// Returns the object whose deletion deletes this one too, by its schema's `deleted_with`.
pub(super) fn holder(known: &Known<'_>, schema: &ResourceSchema, record: &Record) -> Option<Uid> {
    let attribute = schema.deleted_with.as_ref()?;
    let value = record
        .attributes
        .get(attribute)
        .or_else(|| record.inputs.get(attribute))?;
    let value = value.as_str()?;
    let names = |uid: &Uid| {
        let Some(holder) = known.state.record(*uid) else {
            return false;
        };
        let by_id = holder.id.as_ref().is_some_and(|id| id.as_str() == value);
        let by_attribute = holder.attributes.get("id").and_then(Value::as_str) == Some(value);
        by_id || by_attribute || holder.uid.to_string() == value || holder.address.to_string() == value
    };
    known.dependencies(record).into_iter().find(names)
}
