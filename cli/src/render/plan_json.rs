//! What a plan says of each thing, as JSON that Terraform's tools read.

use std::collections::BTreeMap;

use gabion_engine::config::Effect;
use gabion_engine::plan::Plan;
use gabion_engine::plan::change::{Action, Change, Drift, DriftKind, PlannedAlternative, Reason};
use gabion_engine::plan::policy::PolicyReport;
use gabion_engine::plan::price::{HOURS_A_MONTH, PlanPrices, Rate, Sum};
use gabion_engine::plan::step::StepOperation;
use gabion_engine::provider::Observation;
use gabion_engine::schema::ReplaceOrder;
use gabion_engine::value::{AttributePath, Attributes, PathSegment, Value};
use serde_json::{Value as Json, json};

use super::catalogue::Catalogue;
use super::plan_json_types::*;
use super::view;

pub(super) fn resource(
    change: &Change,
    attributes: &Attributes,
    catalogue: &Catalogue,
) -> Option<ResourceJson> {
    let address = &change.address;
    let value = Value::Map(catalogue.masked(&address.resource_type, attributes));
    Some(ResourceJson {
        address: address.to_string(),
        mode: "managed".into(),
        resource_type: address.resource_type.to_string(),
        name: address.name.to_string(),
        provider_name: catalogue.source(&change.provider),
        schema_version: catalogue.schema_version(&address.resource_type),
        values: known(&value),
        sensitive_values: shape(&value, &|leaf| matches!(leaf, Value::Secret(_))),
        depends_on: dependencies(change),
        tainted: false,
    })
}

pub(super) fn dependencies(change: &Change) -> Vec<String> {
    let Some(declaration) = &change.declaration else {
        return Vec::new();
    };
    let mut names: Vec<String> = declaration
        .dependencies
        .iter()
        .map(|dependency| dependency.address.to_string())
        .collect();
    names.sort();
    names.dedup();
    names
}

pub(super) fn output_value(value: &Value) -> OutputJson {
    OutputJson {
        sensitive: value.has_secret(),
        value: (!matches!(value, Value::Unknown(_))).then(|| known(value)),
    }
}

pub(super) fn resource_change(change: &Change, catalogue: &Catalogue) -> ResourceChangeJson {
    let address = &change.address;
    let side = |attributes: &Option<Attributes>| {
        attributes
            .as_ref()
            .map(|attributes| Value::Map(catalogue.masked(&address.resource_type, attributes)))
    };
    let mut wire = change_of(side(&change.before).as_ref(), side(&change.after).as_ref());
    wire.actions = actions(change.action);
    if matches!(change.action, Action::Replace(_)) {
        wire.replace_paths = change
            .attributes
            .iter()
            .filter(|attribute| attribute.forces_replacement)
            .map(|attribute| path(&attribute.path))
            .collect();
    }
    wire.importing = change
        .importing
        .as_ref()
        .map(|id| ImportingJson { id: id.to_string() });
    ResourceChangeJson {
        address: address.to_string(),
        previous_address: change.previous_address.as_ref().map(ToString::to_string),
        mode: "managed".into(),
        resource_type: address.resource_type.to_string(),
        name: address.name.to_string(),
        provider_name: catalogue.source(&change.provider),
        deposed: (change.deposed).then(|| deposed_key(change)),
        change: wire,
        action_reason: action_reason(change),
    }
}

/// Terraform's deposed keys are eight hexadecimal digits; the last ones of a uid are its random part.
fn deposed_key(change: &Change) -> String {
    let uid = change
        .uid
        .map(|uid| uid.as_uuid().simple().to_string())
        .unwrap_or_default();
    uid.get(uid.len().saturating_sub(8)..)
        .unwrap_or_default()
        .to_owned()
}

fn change_of(before: Option<&Value>, after: Option<&Value>) -> ChangeJson {
    let secret = |leaf: &Value| matches!(leaf, Value::Secret(_));
    let unknown = |leaf: &Value| matches!(leaf, Value::Unknown(_));
    ChangeJson {
        actions: Vec::new(),
        before: before.map(known).unwrap_or_default(),
        after: after.map(known).unwrap_or_default(),
        after_unknown: after.map_or(json!({}), |value| shape(value, &unknown)),
        before_sensitive: before.map_or(json!(false), |value| shape(value, &secret)),
        after_sensitive: after.map_or(json!(false), |value| shape(value, &secret)),
        replace_paths: Vec::new(),
        importing: None,
    }
}

/// Returns an action in Terraform's words, two of them for a replacement, in their order.
pub(crate) fn actions(action: Action) -> Vec<String> {
    let words: &[&str] = match action {
        Action::NoOp => &["no-op"],
        Action::Create => &["create"],
        Action::Update => &["update"],
        Action::Replace(ReplaceOrder::DeleteThenCreate) => &["delete", "create"],
        Action::Replace(ReplaceOrder::CreateThenDelete) => &["create", "delete"],
        Action::Delete => &["delete"],
        Action::Forget => &["forget"],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn action_reason(change: &Change) -> Option<String> {
    let replaced = matches!(change.action, Action::Replace(_));
    let word = change.reasons.iter().find_map(|reason| match reason {
        Reason::CannotChangeInPlace(_) if replaced => Some("replace_because_cannot_update"),
        Reason::Tainted if replaced => Some("replace_because_tainted"),
        Reason::Requested if replaced => Some("replace_by_request"),
        Reason::TriggeredBy(_) | Reason::DependencyReplaced(_) if replaced => Some("replace_by_triggers"),
        Reason::Undeclared(_) | Reason::Surplus(_) if change.action == Action::Delete => {
            Some("delete_because_no_resource_config")
        }
        _ => None,
    })?;
    Some(word.to_owned())
}

/// Drift as Terraform has it: from what was recorded to what is there.
pub(super) fn drift_change(drift: &Drift, catalogue: &Catalogue) -> Option<ResourceChangeJson> {
    let address = &drift.address;
    let (actions, change) = match &drift.kind {
        DriftKind::CannotTell { .. } => return None,
        DriftKind::Vanished => ("delete", change_of(Some(&Value::Map(Attributes::new())), None)),
        DriftKind::Changed(attributes) => {
            let mut before = Attributes::new();
            let mut after = Attributes::new();
            for attribute in attributes {
                let name: std::sync::Arc<str> = attribute.path.to_string().into();
                let hide = |value: &Value| match attribute.sensitive {
                    true => Value::Secret(gabion_engine::value::Secret::sealed(None, None)),
                    false => value.clone(),
                };
                if let Some(value) = &attribute.recorded {
                    before.insert(name.clone(), hide(value));
                }
                if let Some(value) = &attribute.actual {
                    after.insert(name, hide(value));
                }
            }
            (
                "update",
                change_of(Some(&Value::Map(before)), Some(&Value::Map(after))),
            )
        }
    };
    Some(ResourceChangeJson {
        address: address.to_string(),
        previous_address: None,
        mode: "managed".into(),
        resource_type: address.resource_type.to_string(),
        name: address.name.to_string(),
        provider_name: catalogue.source(&drift.provider),
        deposed: None,
        change: ChangeJson {
            actions: vec![actions.to_owned()],
            ..change
        },
        action_reason: None,
    })
}

pub(super) fn output_changes(plan: &Plan) -> BTreeMap<String, ChangeJson> {
    plan.outputs
        .iter()
        .map(|(name, output)| {
            let mut change = change_of(output.before.as_ref(), output.after.as_ref());
            let word = match (&output.before, &output.after) {
                (None, Some(_)) => "create",
                (Some(_), None) => "delete",
                (before, after) if before == after => "no-op",
                _ => "update",
            };
            change.actions = vec![word.to_owned()];
            (name.to_string(), change)
        })
        .collect()
}

/// An input as Terraform's configuration has it: a constant, or the references in it.
pub(super) fn expression(value: &Value) -> Json {
    let mut references = Vec::new();
    collect_references(value, &mut references);
    if references.is_empty() {
        json!({ "constant_value": known(value) })
    } else {
        json!({ "references": references })
    }
}

fn collect_references(value: &Value, references: &mut Vec<String>) {
    let template = match value {
        Value::List(items) => return items.iter().for_each(|item| collect_references(item, references)),
        Value::Map(entries) => {
            return entries
                .values()
                .for_each(|item| collect_references(item, references));
        }
        Value::Unknown(unknown) => unknown.template.as_ref(),
        Value::Secret(secret) => secret.template.as_ref(),
        _ => None,
    };
    let Some(template) = template else { return };
    for part in template.as_str().split("${{").skip(1) {
        if let Some((inside, _)) = part.split_once("}}") {
            let reference = inside.trim().to_owned();
            if !references.contains(&reference) {
                references.push(reference);
            }
        }
    }
}

/// Returns how many objects each kind of change concerns.
pub(super) fn summary_json(plan: &Plan) -> SummaryJson {
    let summary = plan.summary();
    SummaryJson {
        create: summary.create,
        update: summary.update,
        replace: summary.replace,
        destroy: summary.destroy,
        forget: summary.forget,
        moved: summary.moved,
        import: summary.import,
    }
}

/// Returns the word for what a step does.
pub(crate) fn operation_word(operation: StepOperation) -> &'static str {
    match operation {
        StepOperation::Create { .. } => "create",
        StepOperation::Update => "update",
        StepOperation::Delete { .. } => "delete",
        StepOperation::DeleteWith { .. } => "delete_with",
        StepOperation::Check => "check",
    }
}

pub(super) fn detail(plan: &Plan, change: &Change, catalogue: &Catalogue) -> ChangeDetailJson {
    let declaration = change.declaration.as_ref();
    let document = declaration.and_then(|declaration| declaration.document.as_ref());
    let mut unknown = BTreeMap::new();
    if let Some(after) = &change.after {
        let after = Value::Map(catalogue.masked(&change.address.resource_type, after));
        for path in after.paths_where(&|leaf| matches!(leaf, Value::Unknown(_))) {
            if let Some(Value::Unknown(gabion_engine::value::Unknown {
                template: Some(template),
            })) = after.at(&path)
            {
                unknown.insert(path.to_string(), template.to_string());
            }
        }
    }
    ChangeDetailJson {
        address: change.address.to_string(),
        uid: change.uid.map(|uid| uid.to_string()),
        document: document.map(|document| format!("{} {}", document.document_type, document.name)),
        place: document.map(|document| document.place.to_string()),
        unprotects: change.unprotects,
        because: view::because(plan, change)
            .into_iter()
            .map(|(_, text)| text)
            .collect(),
        unknown,
        pins: declaration
            .map(|declaration| declaration.pins.iter())
            .into_iter()
            .flatten()
            .map(|(name, pin)| {
                let pin = PinJson {
                    value: known(&pin.value),
                    chosen_from: known(&pin.chosen_from),
                };
                (name.to_string(), pin)
            })
            .collect(),
        alternatives: change
            .alternatives
            .others
            .iter()
            .map(|other| alternative(change, other))
            .collect(),
        notes: (*change.notes).clone(),
    }
}

/// Returns an offer in its wire form. What differs between offers is known and never secret.
fn alternative(change: &Change, other: &PlannedAlternative) -> AlternativeJson {
    let none = Attributes::new();
    let own = change.inputs.as_ref().unwrap_or(&none);
    let names = own.keys().chain(other.inputs.keys());
    let differing = names.filter(|name| own.get(*name) != other.inputs.get(*name));
    AlternativeJson {
        offer: other.label.to_string(),
        inputs: differing
            .map(|name| {
                (
                    name.to_string(),
                    known(&other.inputs.get(name).cloned().unwrap_or_default()),
                )
            })
            .collect(),
    }
}

/// Returns one object's drift in its wire form.
pub(crate) fn drift_json(drift: &Drift) -> DriftJson {
    let (kind, reason, attributes) = match &drift.kind {
        DriftKind::Vanished => ("vanished", None, Vec::new()),
        DriftKind::CannotTell { reason } => ("cannot_tell", Some(reason.clone()), Vec::new()),
        DriftKind::Changed(attributes) => {
            let attributes = attributes
                .iter()
                .map(|attribute| {
                    let [recorded, actual, desired] =
                        [&attribute.recorded, &attribute.actual, &attribute.desired].map(
                            |value| match value {
                                Some(value) if !attribute.sensitive => known(value),
                                _ => Json::Null,
                            },
                        );
                    AttributeDriftJson {
                        path: attribute.path.to_string(),
                        recorded,
                        actual,
                        desired,
                        verdict: serde_json::to_value(attribute.verdict)
                            .ok()
                            .and_then(|word| word.as_str().map(str::to_owned))
                            .unwrap_or_default(),
                        sensitive: attribute.sensitive,
                    }
                })
                .collect();
            ("changed", None, attributes)
        }
    };
    DriftJson {
        address: drift.address.to_string(),
        kind: kind.to_owned(),
        recorded_at: drift.recorded_at.map(|at| at.to_string()),
        reason,
        attributes,
    }
}

pub(super) fn price(prices: &PlanPrices) -> PriceJson {
    let sum = |sum: Sum| SumJson {
        per_hour: sum.per_hour(),
        per_month: sum.per_month(),
        unknown: sum.unknown,
    };
    let rate = |rate: Rate| RateJson {
        per_hour: match rate {
            Rate::Known(price) => Some(price.dollars()),
            Rate::Unknown => None,
        },
    };
    let increase = prices.increase() as f64 / 1e6;
    PriceJson {
        date: prices.date.to_string(),
        before: sum(prices.before()),
        after: sum(prices.after()),
        increase_per_hour: increase,
        increase_per_month: increase * HOURS_A_MONTH as f64,
        objects: prices
            .objects
            .iter()
            .map(|object| ObjectPriceJson {
                address: object.address.to_string(),
                before: object.before.map(rate),
                after: object.after.map(rate),
            })
            .collect(),
    }
}

pub(super) fn policy(report: &PolicyReport) -> PolicyJson {
    PolicyJson {
        rules: report.rules,
        rulings: report
            .rulings
            .iter()
            .map(|ruling| RulingJson {
                effect: match ruling.effect {
                    Effect::Deny => "deny".into(),
                    Effect::Warn => "warn".into(),
                },
                rule: ruling.rule.to_string(),
                address: ruling.address.as_ref().map(ToString::to_string),
                message: ruling.message.clone(),
                place: ruling.place.to_string(),
            })
            .collect(),
    }
}

pub(super) fn recovery(plan: &Plan) -> Vec<RecoveryJson> {
    let settled = plan.settlements.iter().map(|settlement| RecoveryJson {
        address: settlement.address.to_string(),
        operation: settlement.operation.to_string(),
        action: settlement.action,
        found: match settlement.observation {
            Observation::Present(_) if settlement.late => "late".into(),
            Observation::Present(_) => "present".into(),
            Observation::Absent => "absent".into(),
            Observation::Unknown { .. } => "unsettled".into(),
        },
        reason: None,
    });
    let open = plan.unsettled.iter().map(|unsettled| RecoveryJson {
        address: unsettled.address.to_string(),
        operation: unsettled.operation.to_string(),
        action: None,
        found: "unsettled".into(),
        reason: Some(unsettled.reason.clone()),
    });
    settled.chain(open).collect()
}

fn path(path: &AttributePath) -> Vec<Json> {
    path.0
        .iter()
        .map(|segment| match segment {
            PathSegment::Key(name) => json!(&**name),
            PathSegment::Index(index) => json!(index),
        })
        .collect()
}

/// Returns what is known: unknown entries of a map are left out, secrets and unknown items of a list are null.
pub(crate) fn known(value: &Value) -> Json {
    match value {
        Value::Map(entries) => Json::Object(
            entries
                .iter()
                .filter(|(_, value)| !matches!(value, Value::Unknown(_)))
                .map(|(name, value)| (name.to_string(), known(value)))
                .collect(),
        ),
        Value::List(items) => items.iter().map(known).collect(),
        leaf => leaf.to_redacted_json(),
    }
}

/// Returns the shape of a value with true at the marked leaves, as Terraform writes `after_unknown`.
pub(super) fn shape(value: &Value, marked: &dyn Fn(&Value) -> bool) -> Json {
    match value {
        Value::Map(entries) => Json::Object(
            entries
                .iter()
                .map(|(name, value)| (name.to_string(), shape(value, marked)))
                .filter(|(_, shape)| *shape != Json::Bool(false))
                .filter(|(_, shape)| shape.as_object().is_none_or(|entries| !entries.is_empty()))
                .collect(),
        ),
        Value::List(items) => items.iter().map(|item| shape(item, marked)).collect(),
        leaf => Json::Bool(marked(leaf)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_terraforms() {
        let value = Value::map([
            ("a", Value::unknown()),
            ("b", Value::List(vec![Value::Int(1), Value::unknown()])),
            ("c", Value::map([("d", Value::Int(1))])),
        ]);
        let unknown = |leaf: &Value| matches!(leaf, Value::Unknown(_));
        assert_eq!(shape(&value, &unknown), json!({"a": true, "b": [false, true]}));
        assert_eq!(known(&value), json!({"b": [1, null], "c": {"d": 1}}));
    }

    #[test]
    fn references_are_found_in_templates() {
        let value = Value::template("http://${{ a.b.c }}/${{ d.e.f }}/${{ a.b.c }}");
        assert_eq!(expression(&value), json!({"references": ["a.b.c", "d.e.f"]}));
        assert_eq!(expression(&Value::Int(3)), json!({"constant_value": 3}));
    }
}
