//! Going back: the configuration that a state once was, to be planned against the present like any other.
//!
//! What was recorded is what the inputs came to, not how they were written. A value that is the id of an object on which
//! another depends, or something that its provider computed, becomes a reference to it again: what is made anew has
//! another id. Secrets are not recorded; they are taken from the present configuration where the fingerprint shows that
//! it is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::address::{ResourceAddress, Uid};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::plan::Plan;
use crate::plan::change::Action;
use crate::provider::ProviderRegistry;
use crate::resource::{
    Configuration, Directives, DocumentRef, InputPlaces, Moved, Place, Resource, TimeoutOverrides,
};
use crate::seldom::Seldom;
use crate::state::State;
use crate::state::fingerprint::FingerprintKey;
use crate::state::record::{Record, Status};
use crate::value::{AttributePath, Attributes, Secret, Value};

/// What a configuration of the past is made from.
#[derive(Clone, Copy)]
pub struct RevertRequest<'a> {
    /// The state to go back to.
    pub past: &'a State,
    /// The state as it is.
    pub present: &'a State,
    /// What the files say now: where secrets are taken from.
    pub configuration: &'a Configuration,
    /// The providers of the run.
    pub providers: &'a ProviderRegistry,
    /// The key that tells whether a secret is the same.
    pub key: Option<&'a FingerprintKey>,
}

/// Returns the configuration whose plan leads back to a state of the past: its objects with their inputs, and those that
/// were moved since at their old addresses.
pub fn configuration(request: RevertRequest<'_>) -> Configuration {
    let RevertRequest { past, present, .. } = request;
    let present_inputs: BTreeMap<&ResourceAddress, &Attributes> = request
        .configuration
        .resources
        .iter()
        .map(|resource| (&resource.address, &resource.inputs))
        .collect();
    let wanted = || {
        past.current_records()
            .filter(|record| record.status != Status::Creating)
    };
    let resources = wanted()
        .map(|record| resource(request, record, present_inputs.get(&record.address).copied()))
        .collect();
    let moved = wanted()
        .filter_map(|record| {
            let now = present.record(record.uid).filter(|now| !now.deposed)?;
            (now.address != record.address).then(|| Moved {
                from: now.address.clone(),
                to: record.address.clone(),
                place: place(past.serial),
            })
        })
        .collect();
    Configuration {
        project: request.configuration.project.clone(),
        digest: request.configuration.digest.clone(),
        resources,
        directives: Directives {
            moved,
            ..Directives::default()
        },
        data: Vec::new(),
        outputs: past.outputs.clone(),
        endpoints: Attributes::new(),
        notes: vec![(
            format!(
                "This plan goes back to serial {}. The files say something else: the next plan made from them leads forward \
                 again.",
                past.serial
            )
            .into(),
            None,
        )],
        unmet: BTreeMap::new(),
    }
}

/// Reports secrets that a plan back would need and that nobody knows any more.
pub fn lost_secrets(plan: &Plan) -> Diagnostics {
    let mut problems = Diagnostics::new();
    for change in &plan.changes {
        if !matches!(
            change.action,
            Action::Create | Action::Update | Action::Replace(_)
        ) {
            continue;
        }
        for (name, value) in change.inputs.iter().flatten() {
            let lost = |leaf: &Value| matches!(leaf, Value::Secret(secret) if secret.expose().is_none());
            for path in value.paths_where(&lost) {
                let at = path.below(name);
                problems.push(
                    Diagnostic::error("secret-not-kept", "a secret was not kept")
                        .detail(format!(
                            "`{at}` of `{}` was a secret. The state keeps no secrets, and the configuration has none with \
                             the same fingerprint for it.",
                            change.address
                        ))
                        .hint(format!(
                            "set the old value in the configuration, or leave the object out: `--exclude {}`",
                            change.address
                        )),
                );
            }
        }
    }
    problems
}

/// Where what is recorded is said to stand when its document is not known.
fn place(serial: u64) -> Place {
    Place {
        file: format!("serial {serial}").into(),
        line: 1,
        column: 1,
        length: 0,
    }
}

fn resource(request: RevertRequest<'_>, record: &Record, configured: Option<&Attributes>) -> Resource {
    let past = request.past;
    let declaration = &record.declaration;
    let document = declaration.document.clone().unwrap_or_else(|| {
        let name = record.address.to_string();
        DocumentRef::new("resource".into(), name.into(), place(past.serial))
    });
    let dependencies: Vec<&Record> = declaration
        .dependencies
        .iter()
        .filter_map(|edge| {
            let by_uid = edge.uid.and_then(|uid| past.record(uid));
            by_uid.or_else(|| past.current(&edge.address))
        })
        .filter(|other| other.uid != record.uid && is_there(past, other.uid))
        .collect();
    let references = references(request.providers, &dependencies);
    let inputs = record
        .inputs
        .iter()
        .map(|(name, value)| {
            let configured = configured.and_then(|inputs| inputs.get(name));
            (name.clone(), restore(value, configured, &references, request.key))
        })
        .collect();
    let depends_on: BTreeSet<&ResourceAddress> = dependencies.iter().map(|other| &other.address).collect();
    let timeouts = &declaration.timeouts;
    let mut lifecycle = declaration.lifecycle.clone();
    // They may name what was not there yet.
    lifecycle.replace_triggered_by.clear();
    Resource {
        address: record.address.clone(),
        inputs,
        places: InputPlaces::default(),
        depends_on: depends_on
            .into_iter()
            .map(|address| (address.clone(), document.place.clone()))
            .collect(),
        lifecycle,
        timeouts: TimeoutOverrides {
            create: Some(timeouts.create),
            update: Some(timeouts.update),
            delete: Some(timeouts.delete),
        }
        .into(),
        conditions: Vec::new(),
        alternatives: Seldom::default(),
        update_after: Seldom::default(),
        frees: Seldom::default(),
        document,
    }
}

fn is_there(state: &State, uid: Uid) -> bool {
    state
        .record(uid)
        .is_some_and(|record| !record.deposed && record.status != Status::Creating)
}

/// Returns what values of an object may have come from: the ids of what it depends on, and what providers computed.
fn references(providers: &ProviderRegistry, dependencies: &[&Record]) -> BTreeMap<Arc<str>, String> {
    let mut found = BTreeMap::new();
    for record in dependencies {
        let mut add = |text: &str, name: &str| {
            if !text.is_empty() {
                found
                    .entry(Arc::from(text))
                    .or_insert_with(|| format!("${{{{ {}.{name} }}}}", record.address));
            }
        };
        if let Some(id) = &record.id {
            add(id.as_str(), "id");
        }
        let Some(schema) = providers.schema(&record.address.resource_type) else {
            continue;
        };
        for (name, value) in &record.attributes {
            let computed = schema.attributes.get(name).is_some_and(|a| a.computed);
            if let (Value::String(text), true, false) = (value, computed, record.inputs.contains_key(name)) {
                add(text, name);
            }
        }
    }
    found
}

/// Returns an input as it can be planned: with its references, and with the secrets that are still known.
fn restore(
    value: &Value,
    configured: Option<&Value>,
    references: &BTreeMap<Arc<str>, String>,
    key: Option<&FingerprintKey>,
) -> Value {
    match value {
        Value::String(text) => match references.get(&**text) {
            Some(template) => Value::template(template),
            None => value.clone(),
        },
        Value::List(items) => {
            let restored = items.iter().enumerate().map(|(index, item)| {
                let at = AttributePath::default().index(index);
                let configured = configured.and_then(|configured| configured.at(&at));
                restore(item, configured, references, key)
            });
            Value::List(restored.collect())
        }
        Value::Map(entries) => {
            let restored = entries.iter().map(|(name, item)| {
                let at = AttributePath::root(name);
                let configured = configured.and_then(|configured| configured.at(&at));
                (name.clone(), restore(item, configured, references, key))
            });
            Value::Map(restored.collect())
        }
        Value::Secret(secret) => match configured {
            Some(Value::Secret(now)) if is_same(secret, now, key) => configured.cloned().unwrap_or_default(),
            // Its template would give the value that it has now.
            _ => Value::Secret(Secret::sealed(None, secret.fingerprint.clone())),
        },
        other => other.clone(),
    }
}

fn is_same(recorded: &Secret, now: &Secret, key: Option<&FingerprintKey>) -> bool {
    match (&recorded.fingerprint, now.expose(), key) {
        (Some(recorded), Some(value), Some(key)) => key.fingerprint(value) == *recorded,
        _ => false,
    }
}
