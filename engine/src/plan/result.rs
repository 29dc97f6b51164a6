//! Outputs and endpoints: what people get out of a project once a plan is applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::plan::planner::Planner;
use crate::plan::{Mode, OutputChange};
use crate::state::fingerprint::seal;
use crate::value::{Attributes, Value};

type Outputs = BTreeMap<Arc<str>, OutputChange>;
type Endpoints = Attributes;

/// Evaluates outputs and endpoints against what is planned.
pub(super) fn evaluate(planner: &Planner<'_>, problems: &mut Diagnostics) -> (Outputs, Endpoints) {
    let before = &planner.input.state.outputs;
    let mut outputs = Outputs::new();
    for (name, value) in before {
        // Destroying only some leaves what the others give.
        let kept = planner.input.options.mode == Mode::Destroy && planner.selection.partial;
        outputs.insert(
            name.clone(),
            OutputChange {
                before: Some(value.clone()),
                after: kept.then(|| value.clone()),
            },
        );
    }
    let mut endpoints = Endpoints::new();
    if planner.input.options.mode == Mode::Destroy {
        return (outputs, endpoints);
    }
    for (name, value) in &planner.input.configuration.outputs {
        let Some(after) = one(planner, "output", name, value, problems) else {
            continue;
        };
        let entry = outputs.entry(name.clone()).or_insert(OutputChange {
            before: None,
            after: None,
        });
        // What refers to something left out stays as it is.
        let undecided = planner.selection.partial && !after.is_wholly_known() && entry.before.is_some();
        entry.after = if undecided {
            entry.before.clone()
        } else {
            Some(after)
        };
    }
    for (name, value) in &planner.input.configuration.endpoints {
        if let Some(value) = one(planner, "endpoint", name, value, problems) {
            endpoints.insert(name.clone(), value);
        }
    }
    (outputs, endpoints)
}

fn one(
    planner: &Planner<'_>,
    what: &str,
    name: &str,
    value: &Value,
    problems: &mut Diagnostics,
) -> Option<Value> {
    match planner.scope().evaluate(value) {
        Ok(value) => Some(seal(&value, planner.input.options.key.as_deref())),
        Err(why) => {
            problems.push(
                Diagnostic::error("output-without-value", "an output has no value")
                    .detail(format!("The {what} `{name}`: {why}")),
            );
            None
        }
    }
}
