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
use crate::value::{AttributePath, Attributes, Secret, TemplateText, Value};

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
    let nothing_known = |_: &TemplateText| None;
    let restorer = Restorer {
        serial: past.serial,
        standing: &|uid, address| {
            let by_uid = uid.and_then(|uid| past.record(uid));
            let found = by_uid.or_else(|| past.current(address));
            found.filter(|record| !record.deposed && record.status != Status::Creating)
        },
        providers: request.providers,
        key: request.key,
        secret: &nothing_known,
    };
    let resources = wanted()
        .map(|record| restorer.resource(record, present_inputs.get(&record.address).copied()))
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
        output_places: InputPlaces::default(),
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

/// Makes resources of records.
#[derive(Clone, Copy)]
pub(crate) struct Restorer<'a> {
    /// Where the log is.
    pub(crate) serial: u64,
    /// The record of what another one depends on, by its uid if that is known, else by its address; `None` when it is not
    /// to stand.
    pub(crate) standing: &'a dyn Fn(Option<Uid>, &ResourceAddress) -> Option<&'a Record>,
    /// The providers of the run.
    pub(crate) providers: &'a ProviderRegistry,
    /// The key that tells whether a secret is the same.
    pub(crate) key: Option<&'a FingerprintKey>,
    /// What a template of a secret gives now.
    pub(crate) secret: &'a dyn Fn(&TemplateText) -> Option<Value>,
}

impl Restorer<'_> {
    /// Makes the resource of a record; `configured` is what the files say of it now.
    pub(crate) fn resource(&self, record: &Record, configured: Option<&Attributes>) -> Resource {
        let declaration = &record.declaration;
        let document = declaration.document.clone().unwrap_or_else(|| {
            let name = record.address.to_string();
            DocumentRef::new("resource".into(), name.into(), place(self.serial))
        });
        let dependencies: Vec<&Record> = declaration
            .dependencies
            .iter()
            .filter_map(|edge| (self.standing)(edge.uid, &edge.address))
            .filter(|other| other.uid != record.uid)
            .collect();
        let references = references(self.providers, &dependencies);
        let inputs = record
            .inputs
            .iter()
            .map(|(name, value)| {
                let configured = configured.and_then(|inputs| inputs.get(name));
                (name.clone(), self.restore(value, configured, &references))
            })
            .collect();
        let depends_on: BTreeSet<&ResourceAddress> =
            dependencies.iter().map(|other| &other.address).collect();
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

    /// Returns an input as it can be planned: with its references, and with the secrets that are still known.
    fn restore(
        &self,
        value: &Value,
        configured: Option<&Value>,
        references: &BTreeMap<Arc<str>, String>,
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
                    self.restore(item, configured, references)
                });
                Value::List(restored.collect())
            }
            Value::Map(entries) => {
                let restored = entries.iter().map(|(name, item)| {
                    let at = AttributePath::root(name);
                    let configured = configured.and_then(|configured| configured.at(&at));
                    (name.clone(), self.restore(item, configured, references))
                });
                Value::Map(restored.collect())
            }
            Value::Secret(secret) => match configured {
                Some(Value::Secret(now)) if is_same(secret, now.expose(), self.key) => {
                    configured.cloned().unwrap_or_default()
                }
                _ => Value::Secret(self.known_again(secret)),
            },
            other => other.clone(),
        }
    }

    /// Returns a recorded secret with its value, if what its template gives now is the same; else without both, as the
    /// template would give the value that it has now.
    fn known_again(&self, secret: &Secret) -> Secret {
        let now = secret
            .template
            .as_ref()
            .and_then(|template| (self.secret)(template));
        match now.filter(|now| is_same(secret, Some(now), self.key)) {
            Some(now) => Secret::new(secret.template.clone(), now),
            None => Secret::sealed(None, secret.fingerprint.clone()),
        }
    }
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

fn is_same(recorded: &Secret, now: Option<&Value>, key: Option<&FingerprintKey>) -> bool {
    match (&recorded.fingerprint, now, key) {
        (Some(recorded), Some(value), Some(key)) => key.fingerprint(value) == *recorded,
        _ => false,
    }
}
