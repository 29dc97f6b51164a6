//! What references mean while planning: the planned attributes of what they refer to.

use std::sync::Arc;

use crate::address::ResourceAddress;
use crate::config::{EvaluateError, Reference, Resolved, Scope, Target, Template};
use crate::graph::ResourceGraph;
use crate::plan::options::PlanOptions;
use crate::plan::path;
use crate::provider::ProviderRegistry;
use crate::schema::{AttributeKind, ResourceSchema};
use crate::seal::hidden;
use crate::state::fingerprint::FingerprintKey;
use crate::value::{AttributePath, Attributes, PathSegment, Secret, Value};

/// What others see of a resource that was planned.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// Its attributes as they shall be; `None` when nothing is known of it yet.
    pub(super) attributes: Option<Attributes>,
    /// The provider's id.
    pub(super) id: Value,
    /// Which of its attributes change.
    pub(super) changed: Changed,
    /// The object that the old one's deletion would take along its holders' fate: whether its object goes.
    pub(super) goes: bool,
}

/// Which attributes of a resource change.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Changed {
    /// None.
    Nothing,
    /// These.
    Some(Vec<AttributePath>),
    /// It is another object afterwards.
    Everything,
}

impl Outcome {
    /// A resource of which nothing can be known, because it has a problem or is left out.
    pub(super) fn unknown() -> Self {
        Self {
            attributes: None,
            id: Value::unknown(),
            changed: Changed::Nothing,
            goes: false,
        }
    }

    /// Returns whether something at or around a path changes; the empty path is any of it.
    pub(super) fn changes(&self, at: &AttributePath) -> bool {
        match &self.changed {
            Changed::Nothing => false,
            Changed::Everything => true,
            Changed::Some(paths) => paths.iter().any(|path| path::overlap(path, at)),
        }
    }
}

/// The scope in which templates are evaluated.
pub(super) struct PlanScope<'a> {
    pub(super) graph: &'a ResourceGraph,
    pub(super) outcomes: &'a [Outcome],
    pub(super) providers: &'a ProviderRegistry,
    pub(super) options: &'a PlanOptions,
    /// What the resource at hand looks like to its own conditions.
    pub(super) itself: Option<(&'a ResourceAddress, &'a Outcome)>,
}

impl Scope for PlanScope<'_> {
    fn resolve(&self, reference: &Reference) -> Resolved {
        match &reference.target {
            Target::Environment(_) | Target::Secret(_) => {
                let known = self.options.secrets.get(&*reference.target.to_string());
                Resolved::Known(Value::Secret(known.cloned().unwrap_or_default()))
            }
            Target::Scope(_) => Resolved::Missing,
            // What was read stands in place of its references; what was not read is not known.
            Target::Data(_) => Resolved::Unknown,
            Target::Resource(address) => {
                let Some(outcome) = self.outcome(address) else {
                    return Resolved::Missing;
                };
                let schema = self.providers.schema(&address.resource_type);
                follow(outcome, schema, &reference.path)
            }
        }
    }
}

impl PlanScope<'_> {
    fn outcome(&self, address: &ResourceAddress) -> Option<&Outcome> {
        if let Some((itself, outcome)) = self.itself
            && itself == address
        {
            return Some(outcome);
        }
        self.graph.position(address).map(|at| &self.outcomes[at])
    }

    /// Evaluates a value whose leaves may be templates.
    pub(super) fn evaluate(&self, value: &Value) -> Result<Value, String> {
        let mut error = None;
        let evaluated = value.map_leaves(&mut |leaf| {
            let Value::Unknown(unknown) = leaf else {
                return leaf.clone();
            };
            let Some(text) = &unknown.template else {
                return leaf.clone();
            };
            let result = match Template::parse(text.as_str()) {
                Ok(template) => template.evaluate(self).map_err(|e| self.explain(&e).0),
                Err(errors) => Err(errors
                    .into_iter()
                    .map(|e| e.message)
                    .collect::<Vec<_>>()
                    .join(" ")),
            };
            result.unwrap_or_else(|why| {
                error.get_or_insert(why);
                leaf.clone()
            })
        });
        match error {
            Some(why) => Err(why),
            None => Ok(evaluated),
        }
    }

    /// Returns why a template has no value, as a sentence, and what to do.
    pub(super) fn explain(&self, error: &EvaluateError) -> (String, Option<String>) {
        let EvaluateError::Missing { reference } = error else {
            return (format!("{error}."), None);
        };
        let Target::Resource(address) = &reference.target else {
            return (format!("{error}."), None);
        };
        let schema = self.providers.schema(&address.resource_type);
        let names: Vec<&str> = schema
            .into_iter()
            .flat_map(|schema| schema.attributes.keys())
            .map(AsRef::as_ref)
            .collect();
        match reference.path.first_key() {
            Some(first) if !names.contains(&first) => (
                format!("`{address}` has no attribute `{first}`."),
                crate::diagnostic::suggestion(first, names.iter().copied())
                    .or_else(|| Some(format!("it has: {}", names.join(", ")))),
            ),
            _ => (format!("`{address}` has nothing at `{}`.", reference.path), None),
        }
    }
}

fn follow(outcome: &Outcome, schema: Option<&ResourceSchema>, path: &AttributePath) -> Resolved {
    let in_schema = |name: &Arc<str>| schema.and_then(|schema| schema.attributes.get(name));
    let Some((PathSegment::Key(name), rest)) = path.0.split_first() else {
        return match &outcome.attributes {
            Some(attributes) => Resolved::Known(Value::Map(attributes.clone())),
            None => Resolved::Unknown,
        };
    };
    let declared = in_schema(name);
    if declared.is_none() && &**name == "id" && rest.is_empty() {
        return match &outcome.id {
            Value::Unknown(_) => Resolved::Unknown,
            id => Resolved::Known(id.clone()),
        };
    }
    if schema.is_some() && declared.is_none() {
        return Resolved::Missing;
    }
    let mut kind = declared.map_or(&AttributeKind::Any, |attribute| &attribute.kind);
    let Some(attributes) = &outcome.attributes else {
        return Resolved::Unknown;
    };
    let null = Value::Null;
    let mut value = attributes.get(name).unwrap_or(&null);
    for (at, segment) in rest.iter().enumerate() {
        let inner = match (segment, kind) {
            (PathSegment::Key(key), AttributeKind::Object(entries)) => match entries.get(key) {
                Some(inner) => inner,
                None => return Resolved::Missing,
            },
            (_, AttributeKind::Map(inner) | AttributeKind::List(inner)) => inner,
            (_, AttributeKind::Any) => &AttributeKind::Any,
            _ => return Resolved::Missing,
        };
        let next = match (segment, value) {
            (_, Value::Unknown(_)) => return Resolved::Unknown,
            (_, Value::Secret(secret)) => return Resolved::Known(inside(secret, &rest[at..])),
            (PathSegment::Key(key), Value::Map(entries)) => entries.get(key),
            (PathSegment::Index(index), Value::List(items)) => items.get(*index),
            _ => None,
        };
        value = match (next, kind) {
            (Some(next), _) => next,
            // What a typed object may leave out is there, as nothing.
            (None, AttributeKind::Object(_)) if !matches!(value, Value::Null) => &null,
            (None, _) => return Resolved::Missing,
        };
        kind = inner;
    }
    match value {
        Value::Unknown(_) => Resolved::Unknown,
        known => Resolved::Known(known.clone()),
    }
}

/// A part of a secret is a secret.
fn inside(secret: &Secret, rest: &[PathSegment]) -> Value {
    let part = secret
        .expose()
        .and_then(|value| value.at(&AttributePath(rest.into())));
    Value::Secret(match part {
        Some(part) => Secret::new(None, part.clone()),
        None => Secret::sealed(None, None),
    })
}

/// Makes what a schema calls sensitive secret, and gives every secret at hand its fingerprint.
pub(crate) fn protect(schema: &ResourceSchema, attributes: &mut Attributes, key: Option<&FingerprintKey>) {
    let is_plain = |(name, value): (&Arc<str>, &Value)| {
        !value.has_secret() && !schema.attributes.get(name).is_some_and(|a| a.sensitive)
    };
    // Nothing to do is the rule, and what is left alone stays shared.
    if attributes.iter().all(is_plain) {
        return;
    }
    for (name, value) in attributes.iter_mut() {
        let sensitive = schema.attributes.get(name).is_some_and(|a| a.sensitive);
        if sensitive && (value.has_secret() || value.is_wholly_known()) {
            *value = hidden(std::mem::take(value));
        }
        if value.has_secret() {
            *value = fingerprinted(value, key);
        }
    }
}

fn fingerprinted(value: &Value, key: Option<&FingerprintKey>) -> Value {
    value.map_leaves(&mut |leaf| match leaf {
        Value::Secret(secret) if secret.fingerprint.is_none() => {
            let print = key
                .zip(secret.expose())
                .map(|(key, value)| key.fingerprint(value));
            Value::Secret(secret.clone().with_fingerprint(print))
        }
        other => other.clone(),
    })
}
