//! Whether two plans do the same: a plan that somebody reviewed, and one that was made again of the same configuration.

use std::collections::BTreeMap;

use crate::address::{ResourceAddress, Uid};
use crate::plan::Plan;
use crate::plan::change::{Action, AttributeChange, Change};
use crate::value::{Attributes, Value};

/// Returns what a plan does that a reviewed one does not, or the other way round, as sentences; nothing when both do the
/// same.
///
/// What the reviewed plan left open, because only apply knows it, may be anything. A secret is the same when it comes
/// from the same place. What objects are like now is compared only as far as the plan changes it.
pub fn differences(reviewed: &Plan, now: &Plan) -> Vec<String> {
    if (&reviewed.project, &reviewed.basis.stack, reviewed.mode) != (&now.project, &now.basis.stack, now.mode)
    {
        return vec![
            "The reviewed plan is one of another project or stack, or for another purpose.".to_owned(),
        ];
    }
    if reviewed.basis.lineage != now.basis.lineage {
        return vec!["The reviewed plan was made for another state.".to_owned()];
    }
    let same_files = reviewed.basis.configuration == now.basis.configuration;
    let (before, after) = (acting(reviewed), acting(now));
    let mut found = Vec::new();
    for ((address, _), change) in &after {
        if !before.contains_key(&(*address, deposed(change))) {
            found.push(format!(
                "`{address}` {}, and the reviewed plan left it alone.",
                what(change)
            ));
        }
    }
    for (key, reviewed) in &before {
        let address = key.0;
        match after.get(key) {
            None => found.push(format!(
                "`{address}` is left alone, and the reviewed plan said that it {}.",
                what(reviewed)
            )),
            Some(now) => {
                if let Some(why) = unlike(reviewed, now, same_files) {
                    found.push(format!("`{address}` {why}"));
                }
            }
        }
    }
    found.sort();
    found
}

fn deposed(change: &Change) -> Option<Uid> {
    change.uid.filter(|_| change.deposed)
}

/// Returns the changes that do something, by address; deposed objects apart.
fn acting(plan: &Plan) -> BTreeMap<(&ResourceAddress, Option<Uid>), &Change> {
    let acts = |change: &&Change| {
        change.action != Action::NoOp
            || change.previous_address.is_some()
            || change.importing.is_some()
            || change.unprotects
    };
    let changes = plan.changes.iter().filter(acts);
    changes
        .map(|change| ((&change.address, deposed(change)), change))
        .collect()
}

fn what(change: &Change) -> &'static str {
    match change.action {
        Action::NoOp if change.importing.is_some() => "is imported",
        Action::NoOp if change.unprotects => "is no longer protected",
        Action::NoOp => "is renamed",
        Action::Create => "is created",
        Action::Update => "is updated",
        Action::Replace(_) => "is replaced",
        Action::Delete => "is destroyed",
        Action::Forget => "is forgotten",
    }
}

/// Returns what is different between two changes of one object, as the end of a sentence that begins with its address.
fn unlike(reviewed: &Change, now: &Change, same_files: bool) -> Option<String> {
    if reviewed.action != now.action {
        return Some(format!(
            "{}, and the reviewed plan said that it {}.",
            what(now),
            what(reviewed)
        ));
    }
    let same_object = (
        &reviewed.previous_address,
        &reviewed.importing,
        reviewed.unprotects,
    ) == (&now.previous_address, &now.importing, now.unprotects)
        && (reviewed.uid, reviewed.deleted_with) == (now.uid, now.deleted_with);
    if !same_object {
        return Some("is another object, or had another name, than in the reviewed plan.".to_owned());
    }
    if reviewed.conditions != now.conditions {
        return Some("has other conditions than in the reviewed plan.".to_owned());
    }
    let nothing = Attributes::new();
    let inputs = |change: &Change| Value::Map(change.inputs.as_ref().unwrap_or(&nothing).clone());
    if !covers(&inputs(reviewed), &inputs(now), same_files) {
        return Some("gets other values than in the reviewed plan.".to_owned());
    }
    if now.action == Action::Create {
        return None;
    }
    let find = |at: &AttributeChange| {
        let mut attributes = reviewed.attributes.iter();
        attributes.find(|attribute| attribute.path == at.path)
    };
    for attribute in &now.attributes {
        let covered = find(attribute).is_some_and(|before| {
            before.forces_replacement == attribute.forces_replacement
                && match (&before.after, &attribute.after) {
                    (Some(before), Some(after)) => covers(before, after, same_files),
                    (before, after) => before.is_none() == after.is_none(),
                }
        });
        if !covered {
            return Some(format!(
                "changes `{}` otherwise than in the reviewed plan.",
                attribute.path
            ));
        }
    }
    let gone = reviewed.attributes.iter().find(|before| {
        !now.attributes
            .iter()
            .any(|attribute| attribute.path == before.path)
    });
    gone.map(|before| {
        format!(
            "does not change `{}`, as it does in the reviewed plan.",
            before.path
        )
    })
}

/// Returns whether a value is what was reviewed, or fills what was left open; `same_files` says that both were made of the
/// same configuration.
fn covers(reviewed: &Value, now: &Value, same_files: bool) -> bool {
    match (reviewed, now) {
        // What a template will fill is the template's to say.
        (Value::Unknown(before), Value::Unknown(after)) => {
            before.template.is_none() || before.template == after.template
        }
        // Other files may say something else in its place.
        (Value::Unknown(before), _) => before.template.is_none() || same_files,
        (Value::Secret(before), Value::Secret(after)) => before.template == after.template,
        (Value::List(before), Value::List(after)) => {
            before.len() == after.len()
                && before
                    .iter()
                    .zip(after)
                    .all(|(before, after)| covers(before, after, same_files))
        }
        (Value::Map(before), Value::Map(after)) => {
            before.len() == after.len()
                && before.iter().all(|(key, before)| {
                    after
                        .get(key)
                        .is_some_and(|after| covers(before, after, same_files))
                })
        }
        (before, after) => before == after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Secret, TemplateText};

    #[test]
    fn what_was_left_open_may_be_anything_and_nothing_else_may() {
        let secret = |template: &str| Value::Secret(Secret::sealed(Some(TemplateText::new(template)), None));
        let map = |value: Value| Value::map([("a", value)]);
        for (reviewed, now, same) in [
            (Value::Int(1), Value::Int(1), true),
            (Value::Int(1), Value::Int(2), false),
            (map(Value::unknown()), map(Value::Int(2)), true),
            (map(Value::Int(2)), map(Value::unknown()), false),
            (Value::template("${{ a.b.c }}"), Value::string("x"), true),
            (
                Value::template("${{ a.b.c }}"),
                Value::template("${{ a.b.d }}"),
                false,
            ),
            (secret("${{ env.A }}"), secret("${{ env.A }}"), true),
            (secret("${{ env.A }}"), secret("${{ env.B }}"), false),
            (secret("${{ env.A }}"), Value::string("x"), false),
            (
                map(Value::Null),
                Value::map([("a", Value::Null), ("b", Value::Null)]),
                false,
            ),
        ] {
            assert_eq!(covers(&reviewed, &now, true), same, "{reviewed:?} {now:?}");
        }
        let (open, filled) = (Value::template("${{ a.b.c }}"), Value::string("x"));
        assert!(!covers(&open, &filled, false) && covers(&Value::unknown(), &filled, false));
    }
}
