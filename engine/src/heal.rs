//! Healing: what was applied and is gone, or is not alive any more, is brought back as it was applied. Pure.
//!
//! The configuration is made from records, so files that somebody edited and nobody applied have no part in it. Of the
//! whole plan that it gives, only that is kept which brings something back, and what follows from it: an address that a
//! new object has, for one. Whatever else differs, somebody changed on purpose, or an apply left unfinished: it is for
//! people.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::address::{ResourceAddress, Uid};
use crate::config::Target;
use crate::graph::trigger_references;
use crate::plan::Plan;
use crate::plan::change::{Action, Cause, Change, Reason};
use crate::provider::ProviderRegistry;
use crate::resource::{Configuration, Resource};
use crate::revert::Restorer;
use crate::state::State;
use crate::state::fingerprint::FingerprintKey;
use crate::state::record::{Record, Status};
use crate::state::unfinished::Unfinished;
use crate::value::{TemplateText, Value};

/// What was applied.
#[derive(Clone, Copy)]
pub struct Applied<'a> {
    /// The project's name.
    pub project: &'a Arc<str>,
    /// The records.
    pub state: &'a State,
    /// What earlier healings did not finish.
    pub unfinished: &'a Unfinished,
    /// The providers of the run.
    pub providers: &'a ProviderRegistry,
    /// The key that tells whether a secret is the same.
    pub key: Option<&'a FingerprintKey>,
    /// What a template of a secret gives now.
    pub secret: &'a dyn Fn(&TemplateText) -> Option<Value>,
}

/// An object that is to be brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Its address.
    pub address: ResourceAddress,
    /// Why.
    pub kind: NeedKind,
}

/// What is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NeedKind {
    /// It is not there any more.
    Gone,
    /// It is there and not alive: what only its provider says of it, in words such as "`running` is false".
    Dead(Vec<String>),
    /// An earlier healing did not finish it.
    Unfinished,
}

impl Need {
    /// Returns what is wrong, as the end of a sentence that begins with the object.
    pub fn why(&self) -> String {
        match &self.kind {
            NeedKind::Gone => "is gone".to_owned(),
            NeedKind::Dead(signs) => format!("has ended: {}", signs.join(", ")),
            NeedKind::Unfinished => "is not as it was, an earlier healing did not come to its end".to_owned(),
        }
    }
}

/// Returns the configuration that was applied.
pub fn configuration(applied: Applied<'_>) -> Configuration {
    let Applied {
        state, unfinished, ..
    } = applied;
    let stands = |record: &Record| {
        !record.deposed && (record.status != Status::Creating || unfinished.touched.contains(&record.uid))
    };
    let lost = || {
        let lost = unfinished.lost.iter();
        lost.filter(|(address, _)| state.current(address).is_none())
            .map(|(_, record)| record)
    };
    let lost_by_uid: BTreeMap<Uid, &Record> = lost().map(|record| (record.uid, record)).collect();
    let standing = |uid: Option<Uid>, address: &ResourceAddress| {
        let by_uid = uid.and_then(|uid| state.record(uid).or_else(|| lost_by_uid.get(&uid).copied()));
        let by_uid = by_uid.filter(|record| stands(record));
        let now = || state.current(address).filter(|record| stands(record));
        by_uid.or_else(now).or_else(|| {
            let lost = unfinished.lost.get(address)?;
            lost_by_uid.get(&lost.uid).copied()
        })
    };
    let restorer = Restorer {
        serial: state.serial,
        standing: &standing,
        providers: applied.providers,
        key: applied.key,
        secret: applied.secret,
    };
    let records: Vec<&Record> = state
        .current_records()
        .filter(|record| stands(record))
        .chain(lost())
        .collect();
    let addresses: BTreeSet<&ResourceAddress> = records.iter().map(|record| &record.address).collect();
    let mut resources: Vec<Resource> = records
        .iter()
        .map(|record| {
            let mut resource = restorer.resource(record, None);
            let triggers = &record.declaration.lifecycle.replace_triggered_by;
            let names_what_is_there = |trigger: &&TemplateText| {
                let references = trigger_references(trigger).unwrap_or_default();
                references.iter().all(|reference| match &reference.target {
                    Target::Resource(address) => addresses.contains(address),
                    _ => false,
                })
            };
            // It is recorded again with what is brought back.
            resource.lifecycle.replace_triggered_by =
                triggers.iter().filter(names_what_is_there).cloned().collect();
            resource
        })
        .collect();
    resources.sort_by(|a, b| a.address.cmp(&b.address));
    Configuration {
        project: applied.project.clone(),
        resources,
        outputs: state.outputs.clone(),
        ..Configuration::default()
    }
}

/// Returns what is to be brought back, by the whole plan that the configuration gives.
pub fn needs(plan: &Plan, applied: Applied<'_>) -> Vec<Need> {
    let changes = plan.changes.iter().filter(|change| !change.deposed);
    changes
        .filter_map(|change| {
            let kind = need(change, applied)?;
            Some(Need {
                address: change.address.clone(),
                kind,
            })
        })
        .collect()
}

fn need(change: &Change, applied: Applied<'_>) -> Option<NeedKind> {
    let is_touched = change
        .uid
        .is_some_and(|uid| applied.unfinished.touched.contains(&uid));
    let is_incomplete = change.reasons.contains(&Reason::Incomplete);
    match change.action {
        // All that was applied was there.
        Action::Create => Some(NeedKind::Gone),
        Action::Update if is_incomplete => is_touched.then_some(NeedKind::Unfinished),
        Action::Update => {
            let signs = signs_of_death(change, applied);
            (!signs.is_empty()).then_some(NeedKind::Dead(signs))
        }
        // Those that stand and fall with it are replaced with it, and so is it itself.
        Action::Replace(_) if change.reasons == [Reason::Drifted] => {
            let signs = signs_of_death(change, applied);
            (!signs.is_empty()).then_some(NeedKind::Dead(signs))
        }
        Action::NoOp | Action::Replace(_) | Action::Delete | Action::Forget => None,
    }
}

/// Returns what only the provider says of an object, where it is not what it was, and the plan puts it right: nobody asks for
/// such a value, so nobody changed it on purpose.
fn signs_of_death(change: &Change, applied: Applied<'_>) -> Vec<String> {
    let Some(schema) = applied.providers.schema(&change.address.resource_type) else {
        return Vec::new();
    };
    let is_computed = |name: &str| {
        let attribute = schema.attributes.get(name);
        attribute.is_some_and(|attribute| attribute.computed && !attribute.sensitive)
    };
    let is_asked = |name: &str| {
        change
            .inputs
            .as_ref()
            .is_some_and(|inputs| inputs.contains_key(name))
    };
    let mut is_dead = false;
    let mut signs = Vec::new();
    for attribute in &change.attributes {
        let Some(name) = attribute.path.first_key() else {
            continue;
        };
        if !is_computed(name) || is_asked(name) || attribute.cause != Cause::Drift {
            continue;
        }
        is_dead = true;
        signs.extend(sign(name, attribute.before.as_deref()));
    }
    if !is_dead {
        return Vec::new();
    }
    if signs.is_empty() {
        signs.push("what it is by now is not what it was".to_owned());
    }
    signs
}

fn sign(name: &str, value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Bool(value) => Some(format!("`{name}` is {value}")),
        Value::String(text) => Some(text.to_string()),
        _ => None,
    }
}

/// Returns what a plan may work on that brings some of the needs back: these, what they need that is to be brought back
/// itself, and what follows from it.
pub fn scope(
    plan: &Plan,
    configuration: &Configuration,
    needs: &[Need],
    wanted: &BTreeSet<ResourceAddress>,
) -> BTreeSet<ResourceAddress> {
    let needed: BTreeSet<&ResourceAddress> = needs.iter().map(|need| &need.address).collect();
    let mut scope = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open: Vec<&ResourceAddress> = wanted.iter().filter(|address| needed.contains(address)).collect();
    while let Some(address) = open.pop() {
        if !seen.insert(address) {
            continue;
        }
        if needed.contains(address) {
            scope.insert(address.clone());
        }
        let resources = &configuration.resources;
        if let Ok(at) = resources.binary_search_by(|resource| resource.address.cmp(address)) {
            open.extend(resources[at].depends_on.iter().map(|(to, _)| to));
        }
    }
    loop {
        let follows: Vec<ResourceAddress> = plan
            .changes
            .iter()
            .filter(|change| !scope.contains(&change.address) && follows(change, &scope))
            .map(|change| change.address.clone())
            .collect();
        if follows.is_empty() {
            return scope;
        }
        scope.extend(follows);
    }
}

/// Returns whether a change is made for nothing but what is in the scope.
fn follows(change: &Change, scope: &BTreeSet<ResourceAddress>) -> bool {
    if change.deposed || !matches!(change.action, Action::Update | Action::Replace(_)) {
        return false;
    }
    let mut refers = false;
    for attribute in &change.attributes {
        match &attribute.cause {
            Cause::Reference(reference) if scope.contains(&reference.address) => refers = true,
            Cause::Computed => {}
            Cause::Reference(_) | Cause::Configuration(_) | Cause::Drift => return false,
        }
    }
    for reason in &change.reasons {
        match reason {
            Reason::TriggeredBy(address) | Reason::DependencyReplaced(address) => {
                if !scope.contains(address) {
                    return false;
                }
                refers = true;
            }
            Reason::Changed | Reason::CannotChangeInPlace(_) => {}
            _ => return false,
        }
    }
    refers
}

/// Returns the first change of a plan that is none of a scope, or that takes away what is there; a plan that was made for the
/// scope has none.
pub fn trespass<'a>(plan: &'a Plan, scope: &BTreeSet<ResourceAddress>) -> Option<&'a Change> {
    plan.changes.iter().find(|change| match change.action {
        Action::NoOp => false,
        Action::Create | Action::Update | Action::Replace(_) => !scope.contains(&change.address),
        Action::Delete | Action::Forget => true,
    })
}
