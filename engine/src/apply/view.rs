//! What is known while a run is under way: the recorded state, and on top of it what this run's calls gave, secrets
//! included, also before it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::report::SecretLookup;
use crate::address::{ObjectId, ResourceAddress, Uid};
use crate::config::{
    ConditionError, ConditionExpression, EvaluateError, Reference, Resolved, Scope, Target, Template, Verdict,
};
use crate::provider::{ErrorClass, ProviderError, ProviderRegistry};
use crate::resource::{Condition, ConditionTime};
use crate::state::State;
use crate::state::fingerprint::FingerprintKey;
use crate::state::record::{Declaration, Record};
use crate::value::{AttributePath, Attributes, PathSegment, Secret, TemplateText, Value};

/// The present, as far as a run knows it.
pub(super) struct View<'a> {
    pub(super) state: Arc<State>,
    pub(super) providers: &'a ProviderRegistry,
    secrets: &'a dyn SecretLookup,
    key: Option<Arc<FingerprintKey>>,
    /// What this run's calls gave and the recorded state does not tell: what is not written yet, and what it has secrets
    /// in or could not read. By address.
    fresh: BTreeMap<ResourceAddress, Fresh>,
    /// Where each of those objects is.
    addresses: BTreeMap<Uid, ResourceAddress>,
    /// The objects of which calls told since the state was written last.
    unwritten: Vec<Uid>,
    /// Objects that this run deleted, and that the recorded state still has.
    gone: BTreeSet<Uid>,
}

/// An object as a call of this run left it.
struct Fresh {
    uid: Uid,
    id: ObjectId,
    attributes: Attributes,
}

/// Inputs whose templates are filled.
pub(super) struct Evaluated {
    /// The inputs; secrets hold their values, and their fingerprints if there is a key.
    pub(super) inputs: Attributes,
    /// Whether any of it was unknown before.
    pub(super) was_unknown: bool,
}

impl<'a> View<'a> {
    pub(super) fn new(
        state: Arc<State>,
        providers: &'a ProviderRegistry,
        secrets: &'a dyn SecretLookup,
        key: Option<Arc<FingerprintKey>>,
    ) -> Self {
        Self {
            state,
            providers,
            secrets,
            key,
            fresh: BTreeMap::new(),
            addresses: BTreeMap::new(),
            unwritten: Vec::new(),
            gone: BTreeSet::new(),
        }
    }

    /// Notes what a call gave.
    pub(super) fn made(&mut self, address: ResourceAddress, uid: Uid, id: ObjectId, attributes: Attributes) {
        self.unwritten.push(uid);
        self.addresses.insert(uid, address.clone());
        self.fresh.insert(address, Fresh { uid, id, attributes });
    }

    /// Notes that an object is gone.
    pub(super) fn removed(&mut self, uid: Uid) {
        self.gone.insert(uid);
        self.forget(uid);
    }

    /// Takes in the recorded state once everything that was noted is written, and forgets what it tells as well.
    pub(super) fn written(&mut self, state: Arc<State>) {
        self.state = state;
        self.gone.clear();
        for uid in std::mem::take(&mut self.unwritten) {
            let told = self
                .addresses
                .get(&uid)
                .and_then(|address| self.fresh.get(address));
            if let (Some(fresh), Some(record)) = (told, self.state.record(uid))
                && record.attributes.shares(&fresh.attributes)
            {
                self.forget(uid);
            }
        }
    }

    fn forget(&mut self, uid: Uid) {
        if let Some(address) = self.addresses.remove(&uid)
            && self.fresh.get(&address).is_some_and(|fresh| fresh.uid == uid)
        {
            self.fresh.remove(&address);
        }
    }

    /// Returns the record of an object that is not gone.
    pub(super) fn record(&self, uid: Uid) -> Option<&Record> {
        self.state.record(uid).filter(|_| !self.gone.contains(&uid))
    }

    /// Returns the record of the object that has an address.
    pub(super) fn current(&self, address: &ResourceAddress) -> Option<&Record> {
        self.state
            .current(address)
            .filter(|record| !self.gone.contains(&record.uid))
    }

    /// Returns a declaration whose dependencies name the objects that stand at their addresses now.
    pub(super) fn with_dependencies(&self, declaration: &Arc<Declaration>) -> Arc<Declaration> {
        let mut declaration = declaration.clone();
        for at in 0..declaration.dependencies.len() {
            let dependency = &declaration.dependencies[at];
            let now = match self.fresh.get(&dependency.address) {
                Some(fresh) => Some(fresh.uid),
                None => self.current(&dependency.address).map(|record| record.uid),
            };
            if now.is_some() && now != dependency.uid {
                Arc::make_mut(&mut declaration).dependencies[at].uid = now;
            }
        }
        declaration
    }

    /// Fills the templates of a change's inputs.
    ///
    /// # Errors
    /// When something in them has no value.
    pub(super) fn evaluate_inputs(&self, inputs: &Attributes) -> Result<Evaluated, ProviderError> {
        let mut evaluated = Evaluated {
            inputs: Attributes::new(),
            was_unknown: false,
        };
        // What is all there already stays shared.
        if inputs
            .values()
            .all(|value| value.is_wholly_known() && !value.has_secret())
        {
            evaluated.inputs = inputs.clone();
            return Ok(evaluated);
        }
        for (name, value) in inputs {
            evaluated.was_unknown |= !value.is_wholly_known();
            let filled = self
                .evaluate(value)
                .map_err(|error| error.at(AttributePath::root(name)))?;
            evaluated.inputs.insert(name.clone(), filled);
        }
        Ok(evaluated)
    }

    /// Fills the templates of a value.
    ///
    /// # Errors
    /// When something in it has no value.
    pub(super) fn evaluate(&self, value: &Value) -> Result<Value, ProviderError> {
        let mut problem = None;
        let filled = value.map_leaves(&mut |leaf| {
            let result = match leaf {
                Value::Unknown(unknown) => match &unknown.template {
                    Some(template) => self.fill(template),
                    None => Err(no_value(
                        "A value that the provider computes is used before it exists.",
                    )),
                },
                Value::Secret(secret) => self.open(secret),
                other => Ok(other.clone()),
            };
            result.unwrap_or_else(|error| {
                problem.get_or_insert(error);
                leaf.clone()
            })
        });
        match problem {
            Some(error) => Err(error),
            None => Ok(filled),
        }
    }

    fn fill(&self, template: &TemplateText) -> Result<Value, ProviderError> {
        let parsed: Template = template
            .as_str()
            .parse()
            .map_err(|error| no_value(format!("`{template}` cannot be read: {error}")))?;
        let value = parsed
            .evaluate(self)
            .map_err(|error| no_value(format!("`{template}`: {}", self.explain(&error))))?;
        if !value.is_wholly_known() {
            return Err(no_value(format!("`{template}` has no value yet.")));
        }
        let mut sealed = false;
        let value = value.map_leaves(&mut |leaf| match leaf {
            Value::Secret(secret) => {
                sealed |= secret.expose().is_none();
                Value::Secret(self.fingerprinted(secret.clone()))
            }
            other => other.clone(),
        });
        if sealed {
            return Err(no_value(format!(
                "`{template}` needs a secret that an earlier run was told and that is not kept."
            ))
            .with_hint("replace the object that gives it, or take the value from `secrets`"));
        }
        Ok(value)
    }

    /// Returns a secret with its value.
    fn open(&self, secret: &Secret) -> Result<Value, ProviderError> {
        match (&secret.template, secret.expose()) {
            (Some(template), _) => Ok(match self.fill(template)? {
                filled @ Value::Secret(_) => filled,
                // What was secret when it was planned stays so, wherever its value comes from.
                plain => Value::Secret(self.fingerprinted(Secret::new(Some(template.clone()), plain))),
            }),
            (None, Some(_)) => Ok(Value::Secret(self.fingerprinted(secret.clone()))),
            (None, None) => Err(no_value(
                "A secret is used that an earlier run was told and that is not kept.",
            )
            .with_hint("set it in the configuration from `secrets` or `env`")),
        }
    }

    fn fingerprinted(&self, secret: Secret) -> Secret {
        match (secret.expose(), &self.key) {
            (Some(value), Some(key)) => {
                let fingerprint = key.fingerprint(value);
                secret.with_fingerprint(Some(fingerprint))
            }
            _ => secret,
        }
    }

    /// Checks the conditions of one time.
    ///
    /// # Errors
    /// The first that does not hold, or that cannot be decided.
    pub(super) fn check(&self, conditions: &[Condition], when: ConditionTime) -> Result<(), ProviderError> {
        for condition in conditions.iter().filter(|condition| condition.when == when) {
            let failed = |why: String| {
                ProviderError::new(ErrorClass::Invalid, why).with_detail([format!(
                    "condition: {} ({})",
                    condition.condition, condition.place
                )])
            };
            let expression: ConditionExpression =
                condition
                    .condition
                    .as_str()
                    .parse()
                    .map_err(|error: crate::config::ExpressionError| {
                        failed(format!("A condition cannot be read: {error}"))
                    })?;
            match expression.evaluate(self) {
                Ok(Verdict::Holds) => {}
                Ok(Verdict::Fails) => return Err(failed(condition.message.clone())),
                Ok(Verdict::Unknown) => {
                    return Err(failed(
                        "A condition cannot be decided: a value in it is not known.".to_owned(),
                    ));
                }
                Err(ConditionError::Evaluate(error)) => {
                    return Err(failed(format!(
                        "A condition cannot be decided: {}",
                        self.explain(&error)
                    )));
                }
                Err(ConditionError::Type(why)) => {
                    return Err(failed(format!("A condition cannot be decided: {why}.")));
                }
            }
        }
        Ok(())
    }

    /// Returns why a template has no value, as a sentence.
    fn explain(&self, error: &EvaluateError) -> String {
        let EvaluateError::Missing { reference } = error else {
            return format!("{error}.");
        };
        match &reference.target {
            Target::Environment(name) => format!("The variable `{name}` is not set in the environment."),
            Target::Secret(name) => format!("The secret `{name}` has no value."),
            Target::Resource(address)
                if !self.fresh.contains_key(address) && self.current(address).is_none() =>
            {
                format!("`{address}` does not exist.")
            }
            Target::Resource(address) => format!("`{address}` has nothing at `{}`.", reference.path),
            Target::Data(_) | Target::Scope(_) => format!("{error}."),
        }
    }
}

fn no_value(message: impl Into<String>) -> ProviderError {
    ProviderError::new(ErrorClass::Invalid, message)
}

impl Scope for View<'_> {
    fn resolve(&self, reference: &Reference) -> Resolved {
        match &reference.target {
            Target::Environment(name) => known(self.secrets.environment(name)),
            Target::Secret(name) => known(self.secrets.secret(name)),
            // What was read stands in the plan, in place of its references.
            Target::Data(_) | Target::Scope(_) => Resolved::Missing,
            Target::Resource(address) => {
                let (attributes, id) = match (self.fresh.get(address), self.current(address)) {
                    (Some(fresh), _) => (&fresh.attributes, Some(&fresh.id)),
                    (None, Some(record)) => (&record.attributes, record.id.as_ref()),
                    (None, None) => return Resolved::Missing,
                };
                self.follow(address, attributes, id, &reference.path)
            }
        }
    }
}

fn known(value: Option<Value>) -> Resolved {
    value.map_or(Resolved::Missing, Resolved::Known)
}

impl View<'_> {
    fn follow(
        &self,
        address: &ResourceAddress,
        attributes: &Attributes,
        id: Option<&ObjectId>,
        path: &AttributePath,
    ) -> Resolved {
        let Some((PathSegment::Key(name), rest)) = path.0.split_first() else {
            return Resolved::Known(Value::Map(attributes.clone()));
        };
        let declared = self
            .providers
            .schema(&address.resource_type)
            .and_then(|schema| schema.attributes.get(name));
        let value = match (attributes.get(name), declared) {
            (Some(value), _) => value,
            (None, Some(_)) if rest.is_empty() => return Resolved::Known(Value::Null),
            (None, None) if &**name == "id" && rest.is_empty() => {
                return known(id.map(|id| Value::string(id.as_str())));
            }
            (None, _) => return Resolved::Missing,
        };
        let mut at = value;
        for (depth, segment) in rest.iter().enumerate() {
            at = match (segment, at) {
                (PathSegment::Key(key), Value::Map(entries)) => match entries.get(key) {
                    Some(inner) => inner,
                    None => return Resolved::Missing,
                },
                (PathSegment::Index(index), Value::List(items)) => match items.get(*index) {
                    Some(inner) => inner,
                    None => return Resolved::Missing,
                },
                (_, Value::Secret(secret)) => return part_of(secret, &rest[depth..]),
                _ => return Resolved::Missing,
            };
        }
        Resolved::Known(at.clone())
    }
}

/// A part of a secret is a secret.
fn part_of(secret: &Secret, path: &[PathSegment]) -> Resolved {
    let Some(exposed) = secret.expose() else {
        return Resolved::Known(Value::Secret(Secret::sealed(None, None)));
    };
    match exposed.at(&AttributePath(path.into())) {
        Some(part) => Resolved::Known(Value::Secret(Secret::new(None, part.clone()))),
        None => Resolved::Missing,
    }
}
