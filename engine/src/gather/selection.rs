//! Which recorded objects are read.

use std::collections::{BTreeMap, BTreeSet};

use super::GatherRequest;
use crate::address::ResourceAddress;
use crate::config::{Target, Template};
use crate::resource::Resource;
use crate::state::record::Record;
use crate::value::{Attributes, Comparison, TemplateText, Value};
use crate::world::Refresh;

/// Returns the records to read, in the order of their uids.
pub(super) fn selected<'a>(request: &GatherRequest<'a>) -> Vec<&'a Record> {
    let changed = match request.refresh {
        Refresh::Minimal => changed_addresses(request),
        Refresh::Full | Refresh::None => BTreeSet::new(),
    };
    request
        .state
        .records()
        // What a call may be changing right now is observed, or left alone while it is in flight.
        .filter(|record| record.open.is_none())
        .filter(|record| match request.refresh {
            Refresh::Full => true,
            Refresh::Minimal => {
                record.status.must_be_read() || record.deposed || changed.contains(&record.address)
            }
            Refresh::None => record.status.must_be_read(),
        })
        .collect()
}

/// Returns the recorded addresses that the configuration changes, directly or through a reference, and those that it no
/// longer has. Wrong only in one direction: some of them may prove unchanged.
fn changed_addresses(request: &GatherRequest<'_>) -> BTreeSet<ResourceAddress> {
    let moved: BTreeMap<&ResourceAddress, &ResourceAddress> = request
        .configuration
        .directives
        .moved
        .iter()
        .map(|moved| (&moved.to, &moved.from))
        .collect();
    let recorded_at = |address: &ResourceAddress| {
        let mut at = address.clone();
        // A chain of moves is followed back, but a swap is no circle to run in for ever.
        for _ in 0..=moved.len() {
            if let Some(record) = request.state.current(&at) {
                return Some(record);
            }
            match moved.get(&at) {
                Some(from) => at = (*from).clone(),
                None => return None,
            }
        }
        None
    };
    let resources = &request.configuration.resources;
    let declared: BTreeSet<&ResourceAddress> = resources
        .iter()
        .filter_map(|resource| recorded_at(&resource.address))
        .map(|record| &record.address)
        .collect();
    let mut changed: BTreeSet<ResourceAddress> = request
        .state
        .current_records()
        .map(|record| &record.address)
        .filter(|address| !declared.contains(address))
        .cloned()
        .collect();

    let mut dependants: BTreeMap<ResourceAddress, Vec<&Resource>> = BTreeMap::new();
    let mut queue = Vec::new();
    for resource in resources {
        for target in references(resource) {
            dependants.entry(target).or_default().push(resource);
        }
        let differs = match recorded_at(&resource.address) {
            Some(record) => record.address != resource.address || differs(&resource.inputs, &record.inputs),
            None => true,
        };
        if differs {
            queue.push(resource);
        }
    }
    let mut seen = BTreeSet::new();
    while let Some(resource) = queue.pop() {
        if seen.insert(&resource.address) {
            if let Some(record) = recorded_at(&resource.address) {
                changed.insert(record.address.clone());
            }
            queue.extend(dependants.get(&resource.address).into_iter().flatten());
        }
    }
    changed
}

/// Returns whether inputs differ where they are known; what a template fills changes only with what it refers to, and a
/// secret that cannot be compared counts as unchanged.
fn differs(desired: &Attributes, recorded: &Attributes) -> bool {
    let known = |name: &std::sync::Arc<str>| desired.get(name).is_some_and(|value| !value.is_null());
    desired.iter().any(|(name, value)| match recorded.get(name) {
        Some(recorded) => leaves_differ(value, recorded),
        None => !value.is_null(),
    }) || recorded
        .iter()
        .any(|(name, value)| !value.is_null() && !known(name))
}

fn leaves_differ(desired: &Value, recorded: &Value) -> bool {
    match (desired, recorded) {
        (Value::Unknown(_), _) => false,
        (Value::List(a), Value::List(b)) => {
            a.len() != b.len() || a.iter().zip(b).any(|(a, b)| leaves_differ(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            !a.keys().eq(b.keys()) || a.values().zip(b.values()).any(|(a, b)| leaves_differ(a, b))
        }
        (a, b) => a.compare(b) == Comparison::Different,
    }
}

/// Returns the resources that a resource refers to.
fn references(resource: &Resource) -> Vec<ResourceAddress> {
    let mut templates: Vec<TemplateText> = resource.lifecycle.replace_triggered_by.clone();
    for value in resource.inputs.values() {
        value.map_leaves(&mut |leaf| {
            match leaf {
                Value::Unknown(unknown) => templates.extend(unknown.template.clone()),
                Value::Secret(secret) => templates.extend(secret.template.clone()),
                _ => {}
            }
            Value::Null
        });
    }
    let mut targets: Vec<ResourceAddress> = templates
        .iter()
        .filter_map(|template| template.as_str().parse::<Template>().ok())
        .flat_map(|template| {
            template
                .references()
                .filter_map(|reference| match &reference.target {
                    Target::Resource(address) => Some(address.clone()),
                    _ => None,
                })
                .collect::<Vec<_>>()
        })
        .collect();
    targets.extend(resource.depends_on.iter().map(|(address, _)| address.clone()));
    targets
}
