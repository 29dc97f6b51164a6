//! What outputs and endpoints are now, by the records.

use gabion_engine::config::{Reference, Resolved, Target, Template};
use gabion_engine::resource::Configuration;
use gabion_engine::state::State;
use gabion_engine::value::{Attributes, Unknown, Value};

/// Returns the endpoints whose values are recorded: what the configuration calls one, filled from the records.
pub(crate) fn endpoints(configuration: &Configuration, state: &State) -> Attributes {
    configuration
        .endpoints
        .iter()
        .map(|(name, value)| (name.clone(), fill(value, state)))
        .filter(|(_, value)| value.is_wholly_known())
        .collect()
}

/// Returns a value with what is recorded in place of its templates.
fn fill(value: &Value, state: &State) -> Value {
    value.map_leaves(&mut |leaf| match leaf {
        Value::Unknown(Unknown {
            template: Some(template),
        }) => evaluate(template.as_str(), state).unwrap_or_else(|| leaf.clone()),
        other => other.clone(),
    })
}

fn evaluate(template: &str, state: &State) -> Option<Value> {
    let scope = |reference: &Reference| match &reference.target {
        Target::Resource(address) => state
            .current(address)
            .and_then(|record| Value::Map(record.attributes.clone()).at(&reference.path).cloned())
            .map_or(Resolved::Unknown, Resolved::Known),
        _ => Resolved::Missing,
    };
    Template::parse(template).ok()?.evaluate(&scope).ok()
}
