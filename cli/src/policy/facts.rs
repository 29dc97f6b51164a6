//! What a rule knows of a plan.

use gabion_engine::plan::change::{Action, Change, Reason};
use gabion_engine::plan::{Mode, Plan};
use gabion_engine::value::{Attributes, Value};
use serde_json::{Value as Json, json};

use crate::render::plan_json::known;
use crate::render::words;

/// What a rule calls `plan`.
pub(super) fn plan(plan: &Plan) -> Json {
    let summary = plan.summary();
    let prices = plan.prices.as_ref();
    json!({
        "price": prices.map_or(0.0, |prices| prices.after().per_hour()),
        "price_increase": prices.map_or(0.0, |prices| prices.increase() as f64 / 1e6),
        "unpriced": prices.map_or(0, |prices| prices.unknown().count()),
        "project": &*plan.project,
        "stack": plan.basis.stack.as_deref().unwrap_or_default(),
        "mode": match plan.mode { Mode::Apply => "apply", Mode::Destroy => "destroy" },
        "create": summary.create,
        "update": summary.update,
        "replace": summary.replace,
        "destroy": summary.destroy,
        "forget": summary.forget,
        "drifted": plan.drift.len(),
        "partial": !plan.left_out.is_empty(),
    })
}

/// What a rule calls `change`.
pub(super) fn change(change: &Change) -> Json {
    let side = |attributes: &Option<Attributes>| known(&Value::Map(attributes.clone().unwrap_or_default()));
    let after = Value::Map(change.after.clone().unwrap_or_default());
    let unknown: Vec<String> = after
        .paths_where(&|leaf| matches!(leaf, Value::Unknown(_)))
        .iter()
        .map(ToString::to_string)
        .collect();
    let declared = change
        .declaration
        .as_ref()
        .and_then(|declaration| declaration.document.as_ref());
    let document = declared.or(change.document.as_ref());
    json!({
        "address": change.address.to_string(),
        "type": change.address.resource_type.as_str(),
        "name": change.address.name.as_str(),
        "action": words::action(change.action),
        "create_first": matches!(change.action, Action::Replace(gabion_engine::schema::ReplaceOrder::CreateThenDelete)),
        "document": {
            "type": document.map(|document| &*document.document_type).unwrap_or_default(),
            "name": document.map(|document| &*document.name).unwrap_or_default(),
        },
        "before": side(&change.before),
        "after": side(&change.after),
        "unknown": unknown,
        "changed": change.attributes.iter().map(|attribute| attribute.path.to_string()).collect::<Vec<_>>(),
        "drifted": change.reasons.contains(&Reason::Drifted),
        "unprotects": change.unprotects,
        "imports": change.importing.is_some(),
        "moved_from": change.previous_address.as_ref().map(ToString::to_string).unwrap_or_default(),
    })
}
