//! Drift: what the world changed behind our back, attribute by attribute, and what becomes of it. Pure.

use crate::diff::{differences, same};
use crate::plan::change::{AttributeDrift, DriftVerdict};
use crate::plan::path;
use crate::resource::Lifecycle;
use crate::schema::ResourceSchema;
use crate::value::{Attributes, Comparison, Value};

/// The four states of one object that drift looks at.
#[derive(Debug, Clone, Copy)]
pub struct Compared<'a> {
    /// What was recorded.
    pub recorded: &'a Attributes,
    /// What is there.
    pub actual: &'a Attributes,
    /// What the configuration asks for, evaluated; `None` when it does not declare the object.
    pub desired: Option<&'a Attributes>,
    /// What the plan makes of the object; `None` when it does not declare the object.
    pub planned: Option<&'a Attributes>,
}

/// Compares record and world, sorted by path.
///
/// A difference is reverted when the plan ends with another value than is there, ignored where the lifecycle says so,
/// and else accepted: the configuration asks for what is there, or says nothing about it.
pub fn attribute_drift(
    schema: &ResourceSchema,
    lifecycle: &Lifecycle,
    compared: Compared<'_>,
) -> Vec<AttributeDrift> {
    let found = differences(schema, compared.recorded, compared.actual);
    let mut drift: Vec<AttributeDrift> = found
        .found
        .into_iter()
        .map(|difference| {
            let ignored = lifecycle
                .ignore_changes
                .iter()
                .any(|i| i.contains(&difference.path));
            let desired = compared.desired.and_then(|d| path::get(d, &difference.path));
            let verdict = match compared.planned {
                _ if ignored => DriftVerdict::Ignored,
                None => DriftVerdict::Accepted,
                Some(planned) => verdict(schema, &difference.path, difference.after.as_ref(), planned),
            };
            AttributeDrift {
                recorded: difference.before,
                actual: difference.after,
                desired: desired.filter(|value| !value.is_null()).cloned(),
                verdict,
                sensitive: difference.sensitive,
                path: difference.path,
            }
        })
        .collect();
    drift.extend(found.not_compared.into_iter().map(|at| AttributeDrift {
        recorded: path::get(compared.recorded, &at).cloned(),
        actual: path::get(compared.actual, &at).cloned(),
        desired: compared.desired.and_then(|d| path::get(d, &at)).cloned(),
        verdict: DriftVerdict::CannotTell,
        sensitive: schema.attribute_at(&at).is_some_and(|a| a.sensitive),
        path: at,
    }));
    drift.sort_by(|a, b| a.path.cmp(&b.path));
    drift
}

fn verdict(
    schema: &ResourceSchema,
    at: &crate::value::AttributePath,
    actual: Option<&Value>,
    planned: &Attributes,
) -> DriftVerdict {
    let equality = match at.0.len() {
        1 => schema.attribute_at(at).map(|a| a.equality).unwrap_or_default(),
        _ => Default::default(),
    };
    let null = Value::Null;
    let planned = path::get(planned, at).unwrap_or(&null);
    match same(equality, actual.unwrap_or(&null), planned) {
        Comparison::Equal => DriftVerdict::Accepted,
        Comparison::Different => DriftVerdict::Reverted,
        Comparison::CannotTell => DriftVerdict::CannotTell,
    }
}
