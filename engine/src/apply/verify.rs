//! What a provider's call gave, against what was planned. A breach is the provider's author's to fix, and is worded for
//! them.

use crate::diff::same;
use crate::provider::{Effect, ErrorClass, ObjectState, Provider, ProviderError};
use crate::resource::DocumentRef;
use crate::schema::ResourceSchema;
use crate::value::{AttributePath, Attributes, Comparison, Value};

/// Returns the breaches of a result, each as a line.
pub(super) fn breaches(schema: &ResourceSchema, planned: &Attributes, state: &ObjectState) -> Vec<String> {
    let mut found = Vec::new();
    if state.id.as_str().is_empty() {
        found.push("id: wanted the object's id, got nothing".to_owned());
    }
    for (name, value) in &state.attributes {
        if !schema.attributes.contains_key(name) {
            found.push(format!(
                "{name}: wanted an attribute of the schema, got one that it does not have"
            ));
        } else if !value.is_wholly_known() {
            found.push(format!("{name}: wanted a known value, got an unknown one"));
        }
    }
    for (name, attribute) in &schema.attributes {
        let path = AttributePath::root(name);
        if state
            .unreadable
            .iter()
            .any(|unreadable| unreadable.contains(&path))
        {
            continue;
        }
        let got = state.attributes.get(name).unwrap_or(&Value::Null);
        let agreed = match planned.get(name).filter(|value| !value.is_null()) {
            Some(planned) if planned.is_wholly_known() => {
                same(attribute.equality, planned, got) != Comparison::Different
            }
            Some(planned) => fills(planned, got),
            None => attribute.computed || got.is_null(),
        };
        let partly = state
            .unreadable
            .iter()
            .any(|unreadable| path.contains(unreadable));
        if !agreed && !partly {
            let planned = planned.get(name).unwrap_or(&Value::Null);
            found.push(format!("{path}: wanted {}, got {}", show(planned), show(got)));
        }
    }
    found
}

/// Returns whether a value is what was planned, anything standing for what was unknown.
fn fills(planned: &Value, got: &Value) -> bool {
    match (planned, got) {
        (Value::Unknown(_), _) => true,
        (Value::List(planned), Value::List(got)) => {
            planned.len() == got.len() && planned.iter().zip(got).all(|(planned, got)| fills(planned, got))
        }
        (Value::Map(planned), Value::Map(got)) => {
            planned.iter().all(|(name, planned)| match got.get(name) {
                Some(got) => fills(planned, got),
                None => planned.is_null() || matches!(planned, Value::Unknown(_)),
            }) && got
                .iter()
                .all(|(name, got)| planned.contains_key(name) || got.is_null())
        }
        (planned, got) => planned.compare(got) != Comparison::Different,
    }
}

/// Words breaches as the error of a call that happened and cannot be relied on.
pub(super) fn error(
    provider: &dyn Provider,
    document: Option<&DocumentRef>,
    lines: Vec<String>,
) -> ProviderError {
    let place = document.map_or(String::new(), |document| format!(" ({})", document.place));
    ProviderError::new(
        ErrorClass::Invalid,
        format!(
            "Provider `{}` broke its contract: what it made is not what was planned{place}.",
            provider.schema().name
        ),
    )
    .with_effect(Effect::Partial)
    .with_hint("report this to the provider's authors")
    .with_detail(lines)
}

/// Returns a value for the provider's author; secrets are named, not shown.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Secret(_) => "a secret".to_owned(),
        other => {
            let mut text = other.to_redacted_json().to_string();
            if text.chars().count() > 200 {
                text = text.chars().take(200).chain("…".chars()).collect();
            }
            format!("`{text}`")
        }
    }
}
