//! What a plan is bound to: what it writes and what it relied on, and whether that moved since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::address::{ResourceAddress, Uid};
use crate::graph::ResourceGraph;
use crate::plan::change::{Action, Change};
use crate::plan::known::Known;
use crate::plan::{Bindings, Plan};
use crate::state::State;
use crate::state::record::Record;
use crate::value::{Attributes, Fingerprint, Value};

/// Something that a plan relied on and that is no longer so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingMoved {
    /// The resource that it is about, if it is about one.
    pub address: Option<ResourceAddress>,
    /// What moved, as a sentence for people.
    pub message: String,
}

/// Works out what a plan is bound to; `claims` are those that its creations make.
pub(super) fn fill(
    state: &State,
    known: &Known<'_>,
    graph: &ResourceGraph,
    claims: BTreeSet<Arc<str>>,
    changes: &[Change],
) -> Bindings {
    let mut bindings = Bindings::default();
    // Serials are those of the state as it is, before apply records what recovery found.
    let mut bind = |uid: Uid| {
        if let Some(record) = state.record(uid) {
            bindings.records.insert(uid, record.changed_at);
        }
    };
    known
        .settlements
        .iter()
        .for_each(|settlement| bind(settlement.uid));
    known.vanished.keys().for_each(|uid| bind(*uid));
    known.upgrades.keys().for_each(|uid| bind(*uid));
    known.moves.iter().for_each(|object| bind(object.uid));
    let acts = |change: &&Change| {
        change.action != Action::NoOp || change.only_declares() || change.importing.is_some()
    };
    for change in changes.iter().filter(acts) {
        if let Some(uid) = change.uid {
            bind(uid);
        }
        let Some(position) = graph.position(&change.address).filter(|_| change.after.is_some()) else {
            continue;
        };
        for (dependency, _) in graph.dependencies(position) {
            if let Some(record) = known.state.current(graph.address(dependency)) {
                bind(record.uid);
            }
        }
    }
    for change in changes {
        if change.uid.is_none_or(|uid| known.turned_up(uid)) && !change.deposed {
            bindings.absent.push(change.address.clone());
        }
        if let (Some(uid), Action::Delete | Action::Replace(_)) = (change.uid, change.action) {
            bindings.dependants.insert(uid, known.dependants(uid).to_vec());
        }
        if change.action == Action::NoOp {
            continue;
        }
        for value in change.inputs.iter().flat_map(Attributes::values) {
            secrets(value, &mut bindings.secrets);
        }
    }
    bindings.claims = claims.into_iter().collect();
    bindings
}

fn secrets(value: &Value, found: &mut BTreeMap<Arc<str>, Option<Fingerprint>>) {
    match value {
        Value::List(items) => items.iter().for_each(|item| secrets(item, found)),
        Value::Map(entries) => entries.values().for_each(|item| secrets(item, found)),
        Value::Secret(secret) => {
            if let Some(template) = &secret.template {
                found.insert(template.as_str().into(), secret.fingerprint.clone());
            }
        }
        _ => {}
    }
}

/// Returns what moved since a plan was made, in words for people; nothing when it can still be applied.
///
/// `digest` is the plan's own: what a run of this very plan changed is not movement. `secrets` are the present
/// fingerprints by template; a secret that is not in it, or cannot be compared, is not said to have moved.
pub fn moved(
    plan: &Plan,
    digest: &str,
    state: &State,
    secrets: &BTreeMap<Arc<str>, Option<Fingerprint>>,
) -> Vec<BindingMoved> {
    let mut found = Vec::new();
    let mut says = |address: Option<&ResourceAddress>, message: String| {
        found.push(BindingMoved {
            address: address.cloned(),
            message,
        });
    };
    if let Some(lineage) = plan.basis.lineage
        && state.lineage != Some(lineage)
    {
        says(
            None,
            format!("The plan was made for the state {lineage}, and this is another one."),
        );
        return found;
    }
    if plan.basis.lineage.is_none() && !state.is_empty() && !ran(state, digest) {
        says(
            None,
            "The plan was made for a new project, and something is recorded by now.".to_owned(),
        );
    }
    let ours = |record: &Record| record.changed_by.as_deref() == Some(digest);
    for address in &plan.bindings.absent {
        if let Some(record) = state.current(address).filter(|record| !ours(record)) {
            says(
                Some(address),
                format!(
                    "The plan creates `{address}`, and it exists by now: it was recorded at serial {}.",
                    record.created_at
                ),
            );
        }
    }
    for settlement in plan.settlements.iter().filter(|settlement| settlement.late) {
        let buried = state.tombstones.contains_key(&settlement.operation);
        let taken_back = state.record(settlement.uid).is_some_and(ours);
        if !buried && !taken_back && !ran(state, digest) {
            says(
                Some(&settlement.address),
                format!(
                    "The plan takes over an object of `{}` that turned up late, and another run settled that by now.",
                    settlement.address
                ),
            );
        }
    }
    let names = names(plan);
    for (uid, serial) in &plan.bindings.records {
        let name = names.get(uid);
        match state.record(*uid) {
            Some(record) if record.changed_at != *serial && !ours(record) => says(
                Some(&record.address),
                format!(
                    "The plan uses `{}` as of serial {serial}, and serial {} changed it.",
                    record.address, record.changed_at
                ),
            ),
            Some(_) => {}
            None if ran(state, digest) => {}
            None => says(
                name.copied(),
                match name {
                    Some(address) => format!(
                        "The plan uses `{address}` as of serial {serial}, and it is no longer recorded."
                    ),
                    None => format!("The plan uses the object {uid}, which is no longer recorded."),
                },
            ),
        }
    }
    for record in state.records().filter(|record| !ours(record)) {
        for dependency in record.declaration.dependencies.iter().filter_map(|d| d.uid) {
            let Some(before) = plan.bindings.dependants.get(&dependency) else {
                continue;
            };
            if !before.contains(&record.uid) {
                let gone = names
                    .get(&dependency)
                    .map_or_else(|| dependency.to_string(), ToString::to_string);
                says(
                    Some(&record.address),
                    format!(
                        "The plan deletes `{gone}`, and `{}` depends on it by now.",
                        record.address
                    ),
                );
            }
        }
    }
    let wanted: BTreeSet<&Arc<str>> = plan.bindings.claims.iter().collect();
    for record in state.records().filter(|record| !ours(record)) {
        let knew = plan.bindings.records.contains_key(&record.uid);
        for key in record
            .declaration
            .claims
            .iter()
            .filter(|key| wanted.contains(key) && !knew)
        {
            if record.changed_at > plan.basis.serial {
                says(
                    Some(&record.address),
                    format!(
                        "The plan takes `{key}`, and `{}` holds it by now.",
                        record.address
                    ),
                );
            }
        }
    }
    for (template, before) in &plan.bindings.secrets {
        let now = secrets.get(template).and_then(Option::as_ref);
        if let (Some(before), Some(now)) = (before, now)
            && before.key == now.key
            && before.mac != now.mac
        {
            says(
                None,
                format!("The value of `{template}` changed since the plan was made."),
            );
        }
    }
    found
}

/// Returns whether the last run carried out this plan.
pub(super) fn ran(state: &State, digest: &str) -> bool {
    let last = state.last_run.as_ref();
    last.is_some_and(|last| last.started.plan.as_deref() == Some(digest))
}

fn names(plan: &Plan) -> BTreeMap<Uid, &ResourceAddress> {
    plan.changes
        .iter()
        .filter_map(|change| Some((change.uid?, &change.address)))
        .collect()
}
