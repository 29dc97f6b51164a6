//! A plan as people read it: what is dangerous, what belongs together, and why each thing happens.
//!
//! Text and Markdown are two ways of writing this down.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::Effect;
use gabion_engine::data::DataRead;
use gabion_engine::plan::change::{Action, AttributeChange, Cause, CausingReference, Change, Reason};
use gabion_engine::plan::policy::PolicyReport;
use gabion_engine::plan::{Basis, Plan};
use gabion_engine::provider::{CallAction, Observation};
use gabion_engine::resource::{DocumentRef, Place};
use gabion_engine::schema::ReplaceOrder;
use gabion_engine::value::{AttributePath, Value};
use gabion_engine::world::Refresh;

use super::catalogue::Catalogue;
use super::value::{inline, is_set_again};
use super::words::{self, path_list, plain};

/// What a rendering needs beside the plan.
#[derive(Clone, Copy)]
pub(crate) struct PlanContext<'a> {
    /// What is known about resource types.
    pub(crate) catalogue: &'a Catalogue,
    /// The plan's digest; `None` when it is not saved.
    pub(crate) digest: Option<&'a str>,
    /// The command that applies the plan; `None` when the reader is about to be asked, or there is nothing to do.
    pub(crate) next: Option<&'a str>,
    /// How many bytes Markdown may take.
    pub(crate) max_bytes: usize,
}

/// Changes that come from one document.
pub(crate) struct Group<'a> {
    /// The document; `None` for objects that none declares.
    pub(crate) document: Option<&'a DocumentRef>,
    /// Its changes, by address.
    pub(crate) changes: Vec<&'a Change>,
}

/// Returns the changes worth showing, by document in the order of files, those without a document last.
pub(crate) fn groups(plan: &Plan) -> Vec<Group<'_>> {
    type Key<'a> = (bool, Option<(&'a str, u32, &'a str, &'a str)>);
    let mut groups: BTreeMap<Key<'_>, Group<'_>> = BTreeMap::new();
    for change in plan.effective_changes() {
        let document = match (&change.declaration, change.reasons.first()) {
            (Some(declaration), _) => declaration.document.as_ref(),
            (None, Some(Reason::Surplus(document))) => Some(document),
            (None, Some(Reason::Undeclared(_))) => None,
            (None, _) => change.document.as_ref(),
        };
        let key = document.map(|d| (&*d.place.file, d.place.line, &*d.document_type, &*d.name));
        groups
            .entry((key.is_none(), key))
            .or_insert_with(|| Group {
                document,
                changes: Vec::new(),
            })
            .changes
            .push(change);
    }
    groups.into_values().collect()
}

/// Returns what a reviewer must not miss: what goes, what is replaced, and what loses its protection; data first, then
/// by how much it hurts.
pub(crate) fn danger<'a>(plan: &'a Plan, catalogue: &Catalogue) -> Vec<&'a Change> {
    let mut dangerous: Vec<&Change> = plan
        .changes
        .iter()
        .filter(|change| is_dangerous(change))
        .collect();
    dangerous.sort_by_key(|change| {
        (
            !catalogue.holds_data(&change.address.resource_type),
            risk(change),
            change.deposed,
        )
    });
    dangerous
}

/// Returns whether a reviewer must not miss a change.
pub(crate) fn is_dangerous(change: &Change) -> bool {
    matches!(change.action, Action::Delete | Action::Replace(_)) || change.unprotects
}

/// Returns how early a change should be read, the most dangerous being 0.
pub(crate) fn risk(change: &Change) -> u8 {
    match change.action {
        Action::Delete => 0,
        Action::Replace(ReplaceOrder::DeleteThenCreate) => 1,
        Action::Replace(ReplaceOrder::CreateThenDelete) => 2,
        _ if change.unprotects => 3,
        Action::Forget => 4,
        Action::Update => 5,
        Action::Create => 6,
        Action::NoOp => 7,
    }
}

/// Returns how many objects are in danger of what: "1 destroyed, 2 replaced".
pub(crate) fn danger_counts(dangerous: &[&Change]) -> String {
    let number = |wanted: fn(&Change) -> bool| dangerous.iter().filter(|change| wanted(change)).count();
    let parts = [
        (number(|change| change.action == Action::Delete), "destroyed"),
        (
            number(|change| matches!(change.action, Action::Replace(_))),
            "replaced",
        ),
        (number(|change| change.unprotects), "no longer protected"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    parts.join(", ")
}

/// Returns what happens to an object in danger, and how long nothing is there.
pub(crate) fn danger_words(change: &Change) -> String {
    match change.action {
        Action::Replace(ReplaceOrder::DeleteThenCreate) => {
            format!(
                "{}, and nothing is there until the new one is ready",
                words::verb(change)
            )
        }
        _ => words::verb(change),
    }
}

/// Returns what a plan does in a few words: "3 create, 1 update", "nothing to do".
pub(crate) fn verdict(plan: &Plan) -> String {
    if !plan.has_changes() {
        return match plan.unsettled.len() {
            0 => "nothing to do".to_owned(),
            number => format!("nothing to do yet, {} not settled", words::count(number, "call")),
        };
    }
    let unprotected = plan.changes.iter().filter(|change| change.unprotects).count();
    let parts: Vec<String> = words::summary_parts(&plan.summary())
        .into_iter()
        .chain([(unprotected, "unprotect")])
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    if parts.is_empty() {
        "only the state changes".to_owned()
    } else {
        parts.join(", ")
    }
}

/// Returns what a policy objects to in numbers: "1 denied, 2 warnings".
pub(crate) fn objections(report: &PolicyReport) -> String {
    let number = |effect| {
        report
            .rulings
            .iter()
            .filter(|ruling| ruling.effect == effect)
            .count()
    };
    let (denied, warnings) = (number(Effect::Deny), number(Effect::Warn));
    let mut parts = Vec::new();
    if denied > 0 {
        parts.push(format!("{denied} denied"));
    }
    if warnings > 0 {
        parts.push(words::count(warnings, "warning"));
    }
    parts.join(", ")
}

/// Returns how much of the world was read, as a remark; nothing when it was all of it.
pub(crate) fn how_read(basis: &Basis) -> &'static str {
    match basis.refresh {
        _ if basis.untrusted => ", from records alone, and with no secret",
        Refresh::Full => "",
        Refresh::Minimal => ", only what changes was read",
        Refresh::None => ", the world was not read",
    }
}

/// Changes that say the same of several objects.
pub(crate) struct Fold<'a> {
    /// The changes, at least one.
    pub(crate) changes: Vec<&'a Change>,
    /// What is said of each.
    pub(crate) body: String,
}

/// Puts changes together of which the same is said; each stands where its first one does.
pub(crate) fn fold<'a>(
    changes: impl IntoIterator<Item = &'a Change>,
    body: impl Fn(&'a Change) -> String,
) -> Vec<Fold<'a>> {
    let mut folds: Vec<Fold<'a>> = Vec::new();
    let mut known: BTreeMap<(Action, String, String), usize> = BTreeMap::new();
    for change in changes {
        let body = body(change);
        match known.entry((change.action, words::verb(change), body.clone())) {
            Entry::Occupied(at) => folds[*at.get()].changes.push(change),
            Entry::Vacant(new) => {
                new.insert(folds.len());
                folds.push(Fold {
                    changes: vec![change],
                    body,
                });
            }
        }
    }
    folds
}

/// Returns the one clause that says why a dangerous change happens.
pub(crate) fn main_reason(change: &Change) -> Option<String> {
    change.reasons.iter().find_map(words::reason)
}

/// One line of a cause chain: how deep it stands, and its text.
pub(crate) type BecauseLine = (usize, String);

/// Returns why a change happens, from the reason down to the place in the configuration that says so.
///
/// What was told about another resource is not told again.
pub(crate) fn because(plan: &Plan, change: &Change) -> Vec<BecauseLine> {
    let mut lines = Vec::new();
    let mut seen = BTreeSet::from([change.address.clone()]);
    let mut told: Vec<&AttributeChange> = Vec::new();
    for reason in &change.reasons {
        let Some(clause) = words::reason(reason) else {
            continue;
        };
        match reason {
            Reason::DeletedWith(address)
            | Reason::DependencyReplaced(address)
            | Reason::TriggeredBy(address) => {
                lines.push((0, format!("because {clause}")));
                follow(plan, address, &AttributePath::default(), 1, &mut seen, &mut lines);
            }
            Reason::CannotChangeInPlace(_) => {
                let forcing: Vec<&AttributeChange> = change
                    .attributes
                    .iter()
                    .filter(|attribute| attribute.forces_replacement)
                    .filter(|attribute| !is_told(attribute, &seen))
                    .collect();
                if forcing.is_empty() && !lines.is_empty() {
                    continue;
                }
                lines.push((0, format!("because {clause}")));
                for attribute in forcing {
                    follow_cause(plan, attribute, 1, &mut seen, &mut lines);
                    told.push(attribute);
                }
            }
            _ => lines.push((0, format!("because {clause}"))),
        }
    }
    if matches!(change.action, Action::Create | Action::Delete | Action::Forget) {
        return lines;
    }
    for template in changed_secrets(change) {
        lines.push((0, format!("because the value of `{template}` changed")));
    }
    for (cause, paths) in causes(&change.attributes, &told) {
        match cause {
            Cause::Configuration(Some(place)) => {
                lines.push((0, format!("because {} changed at {place}", path_list(&paths))));
            }
            Cause::Configuration(None) => {
                lines.push((
                    0,
                    format!("because the configuration changed {}", path_list(&paths)),
                ));
            }
            Cause::Reference(reference) => {
                let CausingReference { address, path, place } = &**reference;
                if seen.contains(address) {
                    continue;
                }
                let follow_word = if paths.len() == 1 { "follows" } else { "follow" };
                let what = if paths.len() == 1 {
                    format!("{address}.{}", plain(&path.to_string()))
                } else {
                    address.to_string()
                };
                let at = at_place(place.as_ref());
                lines.push((
                    0,
                    format!("because {} {follow_word} {what}{at}", path_list(&paths)),
                ));
                follow(plan, address, path, 1, &mut seen, &mut lines);
            }
            Cause::Drift => {
                if !change.reasons.contains(&Reason::Drifted) {
                    lines.push((0, format!("because {} changed outside gabion", path_list(&paths))));
                }
            }
            Cause::Computed => {}
        }
    }
    lines
}

/// Returns whether an attribute follows another resource whose change is told already.
fn is_told(attribute: &AttributeChange, seen: &BTreeSet<ResourceAddress>) -> bool {
    matches!(&attribute.cause, Cause::Reference(reference) if seen.contains(&reference.address))
}

/// Returns the secret whose value changed, where the configuration asks for the same one as before.
fn changed_secret(attribute: &AttributeChange) -> Option<&str> {
    match (attribute.before.as_deref(), &attribute.after) {
        (Some(Value::Secret(before)), Some(Value::Secret(after))) if before.template == after.template => {
            after.template.as_ref().map(|template| template.as_str())
        }
        _ => None,
    }
}

fn changed_secrets(change: &Change) -> BTreeSet<String> {
    let computed = |attribute: &&AttributeChange| attribute.cause != Cause::Computed;
    let templates = change
        .attributes
        .iter()
        .filter(computed)
        .filter_map(changed_secret);
    templates.map(plain).collect()
}

/// Returns each distinct cause with the attributes that it changes, in the order of the attributes; references to one
/// resource are one cause.
fn causes<'a>(
    attributes: &'a [AttributeChange],
    told: &[&AttributeChange],
) -> Vec<(&'a Cause, Vec<AttributePath>)> {
    let same = |a: &Cause, b: &Cause| match (a, b) {
        (Cause::Reference(x), Cause::Reference(y)) => x.address == y.address,
        (a, b) => a == b,
    };
    let mut causes: Vec<(&Cause, Vec<AttributePath>)> = Vec::new();
    for attribute in attributes {
        let is_told = told.iter().any(|other| other.path == attribute.path);
        if is_told || is_set_again(attribute) || changed_secret(attribute).is_some() {
            continue;
        }
        match causes.iter_mut().find(|(cause, _)| same(cause, &attribute.cause)) {
            Some((_, paths)) => paths.push(attribute.path.clone()),
            None => causes.push((&attribute.cause, vec![attribute.path.clone()])),
        }
    }
    causes
}

/// Adds why the attribute of another resource changes, and why that does, until a place in the configuration.
fn follow(
    plan: &Plan,
    address: &ResourceAddress,
    path: &AttributePath,
    depth: usize,
    seen: &mut BTreeSet<ResourceAddress>,
    lines: &mut Vec<BecauseLine>,
) {
    if !seen.insert(address.clone()) {
        return;
    }
    let Some(change) = plan
        .changes
        .iter()
        .find(|change| change.address == *address && !change.deposed)
    else {
        return;
    };
    match change.action {
        Action::Create => lines.push((depth, "which is created".into())),
        Action::Replace(_) => {
            let why = main_reason(change).map(|clause| format!(": {clause}"));
            lines.push((depth, format!("which is replaced{}", why.unwrap_or_default())));
            let forcing = change
                .attributes
                .iter()
                .find(|attribute| attribute.forces_replacement);
            if let Some(attribute) = forcing {
                follow_cause(plan, attribute, depth + 1, seen, lines);
            }
        }
        _ => {
            let attribute = change
                .attributes
                .iter()
                .find(|attribute| attribute.path.contains(path) || path.contains(&attribute.path));
            // What the provider computes anew follows what it is computed from.
            let source = match attribute {
                Some(attribute) if attribute.cause == Cause::Computed => change
                    .attributes
                    .iter()
                    .find(|attribute| attribute.cause != Cause::Computed)
                    .or(Some(attribute)),
                other => other,
            };
            if let Some(attribute) = source {
                follow_cause(plan, attribute, depth, seen, lines);
            }
        }
    }
}

fn follow_cause(
    plan: &Plan,
    attribute: &AttributeChange,
    depth: usize,
    seen: &mut BTreeSet<ResourceAddress>,
    lines: &mut Vec<BecauseLine>,
) {
    let name = format!("`{}`", plain(&attribute.path.to_string()));
    match &attribute.cause {
        Cause::Configuration(Some(place)) => lines.push((depth, format!("where {name} changed at {place}"))),
        Cause::Configuration(None) => lines.push((depth, format!("where the configuration changed {name}"))),
        Cause::Drift => lines.push((depth, format!("where {name} changed outside gabion"))),
        Cause::Computed => lines.push((depth, format!("where {name} is computed"))),
        Cause::Reference(reference) => {
            let CausingReference { address, path, .. } = &**reference;
            lines.push((
                depth,
                format!("where {name} follows {address}.{}", plain(&path.to_string())),
            ));
            follow(plan, address, path, depth + 1, seen, lines);
        }
    }
}

/// Returns what was read and is not managed, a line each: its id and name, or whatever it has.
pub(crate) fn data(plan: &Plan) -> Vec<String> {
    let line = |read: &DataRead| {
        let is_told = |name: &str| matches!(name, "id" | "name" | "output" | "names");
        let told = read
            .attributes
            .iter()
            .filter(|(name, value)| is_told(name) && !value.is_null());
        let told: Vec<String> = told
            .map(|(name, value)| format!("{name} = {}", inline(value)))
            .collect();
        let what = match told.is_empty() {
            true => "read".to_owned(),
            false => told.join(", "),
        };
        format!("data.{}: {what}{}", read.address, at_place(Some(&read.place)))
    };
    plan.data.iter().map(line).collect()
}

/// Returns what recovery found, and what it could not find out, a sentence each.
pub(crate) fn recovery(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for settlement in &plan.settlements {
        let id = match &settlement.observation {
            Observation::Present(state) => Some(plain(state.id.as_str())),
            Observation::Absent | Observation::Unknown { .. } => None,
        };
        let told = match (settlement.action, id) {
            (_, Some(id)) if settlement.late => {
                format!("a creation that was given up; it happened late: {id} is there")
            }
            (Some(CallAction::Create), Some(id)) => {
                format!("a creation whose answer was lost; it happened: {id} is there")
            }
            (Some(CallAction::Create), None) => {
                "a creation whose answer was lost; it never happened".to_owned()
            }
            (Some(CallAction::Update), Some(id)) => {
                format!("an update whose answer was lost; {id} was read anew")
            }
            (Some(CallAction::Update), None) => {
                "an update whose answer was lost; the object is gone".to_owned()
            }
            (Some(CallAction::Delete), Some(id)) => {
                format!("a deletion whose answer was lost; {id} is still there")
            }
            (Some(CallAction::Delete), None) => "a deletion whose answer was lost; it happened".to_owned(),
            (None, Some(id)) => format!("a call whose answer was lost; {id} is there"),
            (None, None) => "a call whose answer was lost; nothing is there".to_owned(),
        };
        lines.push(format!("{}: {told}", settlement.address));
    }
    for unsettled in &plan.unsettled {
        lines.push(format!(
            "{}: not touched; {}",
            unsettled.address,
            plain(&unsettled.reason)
        ));
    }
    lines
}

/// Returns outputs that change, each with its old and new value.
pub(crate) fn output_changes(plan: &Plan) -> Vec<(&Arc<str>, Option<&Value>, Option<&Value>)> {
    plan.outputs
        .iter()
        .filter(|(_, output)| output.changes())
        .map(|(name, output)| (name, output.before.as_ref(), output.after.as_ref()))
        .collect()
}

/// Returns endpoints as name and text.
pub(crate) fn endpoints(plan: &Plan) -> Vec<(String, String)> {
    plan.endpoints
        .iter()
        .map(|(name, value)| {
            let text = match value {
                Value::String(text) => plain(text),
                other => inline(other),
            };
            (plain(name), text)
        })
        .collect()
}

/// Returns a place as a remark, or nothing.
pub(crate) fn at_place(place: Option<&Place>) -> String {
    place.map(|place| format!(" ({place})")).unwrap_or_default()
}
