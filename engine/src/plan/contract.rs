//! What a provider's `plan` answered, against what it was asked.
//!
//! A breach is the provider author's to fix, and is worded for them.

use crate::diff::same;
use crate::plan::path;
use crate::plan::validate::{Mismatch, mismatches_at};
use crate::provider::{PlanRequest, PlanResponse};
use crate::schema::ResourceSchema;
use crate::value::{AttributePath, Comparison, Value};

/// One way in which an answer breaks the contract.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Breach {
    /// Where.
    pub(super) path: AttributePath,
    /// What the contract asks for.
    pub(super) wanted: String,
    /// What came.
    pub(super) got: String,
}

/// Checks an answer; returns every breach.
pub(super) fn breaches(
    schema: &ResourceSchema,
    request: &PlanRequest,
    response: &PlanResponse,
) -> Vec<Breach> {
    let mut found = Vec::new();
    let mut breach =
        |path: AttributePath, wanted: String, got: String| found.push(Breach { path, wanted, got });
    for name in response
        .planned
        .keys()
        .filter(|name| !schema.attributes.contains_key(*name))
    {
        let path = AttributePath::root(name);
        breach(
            path,
            "an attribute of the schema".to_owned(),
            "one that it does not have".to_owned(),
        );
    }
    for (name, attribute) in &schema.attributes {
        let path = || AttributePath::root(name);
        let planned = response.planned.get(name).unwrap_or(&Value::Null);
        let desired = request
            .desired
            .get(name)
            .filter(|value| !value.is_null())
            .or(attribute.default.as_ref());
        for Mismatch { path, message, .. } in mismatches_at(&attribute.kind, planned, name) {
            breach(
                path,
                "a value of the schema's type".to_owned(),
                format!("one that {message}"),
            );
        }
        match desired {
            Some(desired) => {
                if !agrees(attribute.equality, desired, planned) {
                    breach(path(), show(desired), show(planned));
                }
            }
            None if attribute.computed || planned.is_null() => {}
            None => breach(
                path(),
                "nothing, because the configuration does not set it and it is not computed".to_owned(),
                show(planned),
            ),
        }
    }
    for cause in &response.replace {
        if cause
            .path
            .first_key()
            .is_none_or(|name| !schema.attributes.contains_key(name))
        {
            breach(
                cause.path.clone(),
                "a replacement because of an attribute of the schema".to_owned(),
                "one that it does not have".to_owned(),
            );
        }
    }
    for claim in &response.claims {
        let known = path::get(&request.desired, &claim.path).is_some()
            || path::get(&response.planned, &claim.path).is_some()
            || claim.path.0.is_empty();
        if claim.key.is_empty() || !known {
            breach(
                claim.path.clone(),
                "a claim with a key and the attribute that makes it".to_owned(),
                format!("a claim `{}` of nothing", claim.key),
            );
        }
    }
    found
}

/// A known leaf must be planned as it is desired; an unknown one must stay unknown.
fn agrees(equality: crate::schema::Equality, desired: &Value, planned: &Value) -> bool {
    if same(equality, desired, planned) != Comparison::Different {
        return true;
    }
    match (desired, planned) {
        (Value::Unknown(_), Value::Unknown(_)) => true,
        (Value::List(d), Value::List(p)) => {
            d.len() == p.len() && d.iter().zip(p).all(|(d, p)| agrees(Default::default(), d, p))
        }
        (Value::Map(d), Value::Map(p)) => {
            d.iter().all(|(name, d)| match p.get(name) {
                Some(p) => agrees(Default::default(), d, p),
                None => d.is_null(),
            }) && p.iter().all(|(name, p)| d.contains_key(name) || p.is_null())
        }
        _ => false,
    }
}

/// Returns a value for the provider's author; secrets are named, not shown.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Secret(_) => "a secret".to_owned(),
        Value::Unknown(_) => "a value known only at apply".to_owned(),
        other => {
            let mut text = other.to_redacted_json().to_string();
            if text.chars().count() > 200 {
                text = text.chars().take(200).chain("…".chars()).collect();
            }
            format!("`{text}`")
        }
    }
}
