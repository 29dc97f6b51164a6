//! Inputs against the schema of their type.

use std::fmt;

use crate::diagnostic::{Diagnostic, Diagnostics, suggestion};
use crate::plan::problem::Places;
use crate::provider::{Provider, ValidateRequest};
use crate::resource::{Place, Resource};
use crate::schema::{AttributeKind, ResourceSchema};
use crate::value::{AttributePath, Attributes, Value};

/// What has inputs.
pub(crate) struct Subject<'a> {
    /// Its address, as messages have it.
    pub(crate) name: &'a dyn fmt::Display,
    /// Where its inputs stand.
    pub(crate) place_of: &'a dyn for<'p> Fn(&'p AttributePath) -> &'a Place,
}

/// Checks a resource's evaluated inputs; reports every problem.
pub(super) fn validate(
    resource: &Resource,
    inputs: &Attributes,
    schema: &ResourceSchema,
    provider: &dyn Provider,
    places: &Places<'_>,
) -> Diagnostics {
    let subject = Subject {
        name: &resource.address,
        place_of: &|path| resource.place_of(path),
    };
    let mut problems = against_schema(&subject, inputs, schema, places);
    if problems.is_empty() {
        let request = ValidateRequest {
            resource_type: resource.address.resource_type.clone(),
            address: resource.address.clone(),
            inputs: inputs.clone(),
        };
        for problem in provider.validate(&request) {
            problems.push(
                Diagnostic::error("invalid-attribute", "invalid attribute")
                    .detail(format!(
                        "`{}` of `{}`: {}",
                        problem.path, resource.address, problem.message
                    ))
                    .at(places.span(resource.place_of(&problem.path)))
                    .hint(problem.hint),
            );
        }
    }
    problems
}

/// Checks inputs against a schema; reports every problem.
pub(crate) fn against_schema(
    subject: &Subject<'_>,
    inputs: &Attributes,
    schema: &ResourceSchema,
    places: &Places<'_>,
) -> Diagnostics {
    let Subject {
        name: address,
        place_of,
    } = subject;
    let mut problems = Diagnostics::new();
    let names = || {
        let attributes = schema.attributes.iter();
        attributes
            .filter(|(_, a)| a.configurable)
            .map(|(name, _)| &**name)
    };
    for (name, value) in inputs {
        let key = || {
            let path = AttributePath::root(name);
            places.key(place_of(&path), &path)
        };
        let Some(attribute) = schema.attributes.get(name) else {
            problems.push(
                Diagnostic::error("unknown-attribute", "unknown attribute")
                    .detail(format!("`{}` has no attribute `{name}`.", schema.resource_type))
                    .at(key())
                    .hint(suggestion(name, names()).or_else(|| {
                        let all: Vec<&str> = names().collect();
                        Some(format!("it has: {}", all.join(", ")))
                    })),
            );
            continue;
        };
        if !attribute.configurable {
            if !value.is_null() {
                problems.push(
                    Diagnostic::error("computed-attribute", "this attribute cannot be set")
                        .detail(format!(
                            "`{name}` of `{}` is computed by the provider.",
                            schema.resource_type
                        ))
                        .at(key())
                        .hint("remove it"),
                );
            }
            continue;
        }
        for Mismatch {
            path,
            message,
            hint,
            is_unknown,
        } in mismatches_at(&attribute.kind, value, name)
        {
            let place = place_of(&path);
            let problem = match is_unknown {
                true => {
                    Diagnostic::error("unknown-attribute", "unknown attribute").at(places.key(place, &path))
                }
                false => Diagnostic::error("wrong-type", "wrong type").at(places.span(place)),
            };
            problems.push(
                problem
                    .detail(format!("`{path}` of `{}` {message}", address))
                    .hint(hint),
            );
        }
    }
    for (name, attribute) in &schema.attributes {
        let missing = inputs.get(name).is_none_or(Value::is_null);
        if attribute.required && missing {
            problems.push(
                Diagnostic::error("missing-attribute", "missing attribute")
                    .detail(format!("`{}` needs `{name}`: {}", address, attribute.description))
                    .at(places.span(place_of(&AttributePath::root(name))))
                    .hint(format!("set `{name}`")),
            );
        }
    }
    problems
}

/// A value that is not of the kind that its attribute has.
pub(super) struct Mismatch {
    /// The value.
    pub(super) path: AttributePath,
    /// What is wrong with it: the rest of a sentence that begins with its path.
    pub(super) message: String,
    hint: Option<String>,
    /// Whether there is no such entry.
    is_unknown: bool,
}

/// Finds the values of a top-level attribute that are not of its kind.
pub(super) fn mismatches_at(kind: &AttributeKind, value: &Value, name: &str) -> Vec<Mismatch> {
    let mut found = Vec::new();
    if !is_scalar_of(kind, value) {
        mismatches(kind, value, &AttributePath::root(name), &mut found);
    }
    found
}

/// Returns whether a value is of a kind, as most are, without a look into it.
fn is_scalar_of(kind: &AttributeKind, value: &Value) -> bool {
    use AttributeKind as Kind;
    matches!(
        (kind, value),
        (_, Value::Null | Value::Unknown(_))
            | (Kind::Any, _)
            | (Kind::Bool, Value::Bool(_))
            | (Kind::Int, Value::Int(_))
            | (Kind::Float, Value::Int(_) | Value::Float(_))
            | (Kind::String, Value::String(_))
    )
}

/// Finds the values that are not of a kind. Null, unknown and sealed values are of every kind.
fn mismatches(kind: &AttributeKind, value: &Value, path: &AttributePath, out: &mut Vec<Mismatch>) {
    use AttributeKind as Kind;
    match (kind, value) {
        (kind, value) if is_scalar_of(kind, value) => {}
        (kind, Value::Secret(secret)) => {
            if let Some(value) = secret.expose() {
                mismatches(kind, value, path, out);
            }
        }
        (Kind::List(inner), Value::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                mismatches(inner, item, &path.index(index), out);
            }
        }
        (Kind::Map(inner), Value::Map(entries)) => {
            for (name, item) in entries {
                mismatches(inner, item, &path.key(name), out);
            }
        }
        (Kind::Object(kinds), Value::Map(entries)) => {
            for (name, item) in entries {
                match kinds.get(name) {
                    Some(inner) => mismatches(inner, item, &path.key(name), out),
                    None => out.push(Mismatch {
                        path: path.key(name),
                        message: format!("is unknown: `{path}` has no entry `{name}`."),
                        hint: suggestion(name, kinds.keys().map(AsRef::as_ref)),
                        is_unknown: true,
                    }),
                }
            }
        }
        (kind, value) => {
            let quote = matches!(kind, Kind::String)
                && matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_));
            out.push(Mismatch {
                path: path.clone(),
                message: format!("must be {}, and is {}.", kind_name(kind), value_name(value)),
                hint: quote.then(|| "put it in quotes".to_owned()),
                is_unknown: false,
            });
        }
    }
}

/// Names a kind with its article.
pub(super) fn kind_name(kind: &AttributeKind) -> &'static str {
    match kind {
        AttributeKind::Any => "any value",
        AttributeKind::Bool => "true or false",
        AttributeKind::Int => "a whole number",
        AttributeKind::Float => "a number",
        AttributeKind::String => "a text",
        AttributeKind::List(_) => "a list",
        AttributeKind::Map(_) | AttributeKind::Object(_) => "a map",
    }
}

fn value_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Int(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::String(_) => "a text",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
        Value::Unknown(_) => "not known yet",
        Value::Secret(_) => "a secret",
    }
}
