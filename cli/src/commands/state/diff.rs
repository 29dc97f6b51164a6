//! `gabion state diff`: what changed between two serials.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use gabion_engine::plan::change::{AttributeChange, Cause};
use gabion_engine::state::State;
use gabion_engine::state::record::Record;
use gabion_engine::value::{AttributePath, Attributes, Value};
use serde_json::json;

use super::list::status_words;
use super::show::state_at;
use crate::args::Format;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::project::LoadedProject;
use crate::render::catalogue::Catalogue;
use crate::render::difference_text::write_line;
use crate::render::markdown;
use crate::render::plan_json::known;
use crate::render::theme::Theme;
use crate::render::value::{Line, Sign, attribute_lines, whole};
use crate::render::words::plain;
use crate::state_access::StateAccess;
use crate::wiring;

/// One object that is not as it was.
enum Difference {
    /// It was not recorded.
    Added(Record),
    /// It is not recorded any more.
    Removed(Record),
    /// Its record changed.
    Changed {
        /// The record as it was and as it is.
        records: Box<(Record, Record)>,
        /// What of it beside its attributes: name, before, after.
        facts: Vec<(&'static str, String, String)>,
        /// Which attributes.
        attributes: Vec<AttributeChange>,
    },
}

/// Shows what the records were and are.
pub(crate) async fn run(from: u64, to: Option<u64>, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read_settings(options);
    let access = StateAccess::of(&project, options)?;
    let now = access.load_existing().await?;
    let given = to;
    let to = to.unwrap_or(now.serial);
    if given.is_some() && from > to {
        return Err(Failure::new("the serials are the wrong way round")
            .detail(format!("Serial {from} comes after {to}."))
            .hint(format!("{} state diff {to} {from}", options.program)));
    }
    let before = state_at(&access, from, &now).await?;
    let after = state_at(&access, to, &now).await?;
    let providers = wiring::providers(options, &project.project.settings.project.value, &now)?;
    let catalogue = Catalogue::of(&providers);
    let differences = differences(&before, &after, &catalogue);
    let outputs = attribute_changes(&before.outputs, &after.outputs);
    let text = match options.format {
        Format::Json => to_json(from, to, &differences, &outputs, &catalogue),
        Format::Text => to_text(
            from,
            to,
            &differences,
            &outputs,
            &catalogue,
            &printer.data_theme(),
        ),
        Format::Markdown => {
            let mut text = String::new();
            let body = to_text(from, to, &differences, &outputs, &catalogue, &Theme::plain());
            // Writing to a string cannot fail.
            let _ = markdown::fenced(&mut text, "diff", &body);
            text
        }
    };
    printer.data(&text);
    Ok(Exit::Done)
}

/// Compares two states, object by object, by address.
fn differences(before: &State, after: &State, catalogue: &Catalogue) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut uids: Vec<_> = before
        .records()
        .chain(after.records())
        .map(|record| (record.address.clone(), record.uid))
        .collect();
    uids.sort();
    let mut seen = BTreeSet::new();
    uids.retain(|(_, uid)| seen.insert(*uid));
    for (_, uid) in uids {
        match (before.record(uid), after.record(uid)) {
            (None, Some(record)) => found.push(Difference::Added(record.clone())),
            (Some(record), None) => found.push(Difference::Removed(record.clone())),
            (Some(old), Some(new)) => {
                let facts = facts(old, new);
                let masked =
                    |record: &Record| catalogue.masked(&record.address.resource_type, &record.attributes);
                let mut attributes = attribute_changes(&masked(old), &masked(new));
                // A sensitive attribute that changed looks the same when it is masked.
                for (name, value) in &new.attributes {
                    let same = old.attributes.get(name) == Some(value);
                    let shown = attributes
                        .iter()
                        .any(|change| change.path == AttributePath::root(name));
                    if !same && !shown {
                        attributes.push(AttributeChange {
                            sensitive: true,
                            ..change(name, old.attributes.get(name), Some(value))
                        });
                    }
                }
                if !facts.is_empty() || !attributes.is_empty() {
                    found.push(Difference::Changed {
                        records: Box::new((old.clone(), new.clone())),
                        facts,
                        attributes,
                    });
                }
            }
            (None, None) => {}
        }
    }
    found
}

fn facts(old: &Record, new: &Record) -> Vec<(&'static str, String, String)> {
    let id = |record: &Record| match record.attributes.contains_key("id") {
        // It is compared with the attributes.
        true => String::new(),
        false => record.id.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    let depends = |record: &Record| {
        let dependencies = record.declaration.dependencies.iter();
        let names: Vec<String> = dependencies
            .map(|dependency| dependency.address.to_string())
            .collect();
        names.join(", ")
    };
    [
        ("address", old.address.to_string(), new.address.to_string()),
        ("status", status_words(old), status_words(new)),
        ("id", id(old), if id(old).is_empty() { id(old) } else { id(new) }),
        ("depends on", depends(old), depends(new)),
    ]
    .into_iter()
    .filter(|(_, before, after)| before != after)
    .collect()
}

fn attribute_changes(before: &Attributes, after: &Attributes) -> Vec<AttributeChange> {
    let names: BTreeSet<&Arc<str>> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| change(name, before.get(name), after.get(name)))
        .collect()
}

fn change(name: &Arc<str>, before: Option<&Value>, after: Option<&Value>) -> AttributeChange {
    AttributeChange {
        path: AttributePath::root(name),
        before: before.cloned().map(Box::new),
        after: after.cloned(),
        forces_replacement: false,
        sensitive: false,
        cause: Cause::Drift,
    }
}

fn to_text(
    from: u64,
    to: u64,
    differences: &[Difference],
    outputs: &[AttributeChange],
    catalogue: &Catalogue,
    theme: &Theme,
) -> String {
    let mut text = String::new();
    let (mut added, mut changed, mut removed) = (0, 0, 0);
    // Writing to a string cannot fail.
    for difference in differences {
        match difference {
            Difference::Added(record) => {
                added += 1;
                let _ = writeln!(
                    text,
                    "{good}+{good:#} {strong}{}{strong:#}  {}",
                    record.address,
                    status_words(record),
                    good = theme.good,
                    strong = theme.strong
                );
                lines(&mut text, &all(Sign::Add, record, catalogue), theme);
            }
            Difference::Removed(record) => {
                removed += 1;
                let _ = writeln!(
                    text,
                    "{bad}-{bad:#} {strong}{}{strong:#}  {}",
                    record.address,
                    status_words(record),
                    bad = theme.bad,
                    strong = theme.strong
                );
                lines(&mut text, &all(Sign::Remove, record, catalogue), theme);
            }
            Difference::Changed {
                records,
                facts,
                attributes,
            } => {
                changed += 1;
                let _ = writeln!(
                    text,
                    "{change}~{change:#} {strong}{}{strong:#}",
                    records.1.address,
                    change = theme.change,
                    strong = theme.strong
                );
                for (name, before, after) in facts {
                    let _ = writeln!(
                        text,
                        "    {dim}{name}:{dim:#} {} → {}",
                        shown(before),
                        shown(after),
                        dim = theme.dim
                    );
                }
                let changes: Vec<Line> = attributes.iter().flat_map(attribute_lines).collect();
                lines(&mut text, &changes, theme);
            }
        }
    }
    if !outputs.is_empty() {
        let _ = writeln!(text, "{0}Outputs{0:#}", theme.strong);
        let changes: Vec<Line> = outputs.iter().flat_map(attribute_lines).collect();
        lines(&mut text, &changes, theme);
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let what = match (added, changed, removed, outputs.len()) {
        (0, 0, 0, 0) => "nothing changed".to_owned(),
        (0, 0, 0, _) => "outputs changed".to_owned(),
        _ => format!("{added} added, {changed} changed, {removed} removed"),
    };
    let _ = writeln!(
        text,
        "{0}Between serial {from} and {to}:{0:#} {what}.",
        theme.strong
    );
    text
}

fn shown(text: &str) -> String {
    match text {
        "" => "(none)".to_owned(),
        text => plain(text),
    }
}

fn all(sign: Sign, record: &Record, catalogue: &Catalogue) -> Vec<Line> {
    let mut lines = Vec::new();
    for (name, value) in &catalogue.masked(&record.address.resource_type, &record.attributes) {
        whole(sign, name, value, 0, &mut lines);
    }
    lines
}

fn lines(text: &mut String, lines: &[Line], theme: &Theme) {
    let width = lines
        .iter()
        .filter(|line| line.depth == 0)
        .map(|line| line.label.chars().count())
        .filter(|width| *width <= 28)
        .max()
        .unwrap_or(0);
    for line in lines {
        // Writing to a string cannot fail.
        let _ = write_line(text, line, width, 4, theme);
    }
}

fn to_json(
    from: u64,
    to: u64,
    differences: &[Difference],
    outputs: &[AttributeChange],
    catalogue: &Catalogue,
) -> String {
    let record = |record: &Record| {
        let attributes = catalogue.masked(&record.address.resource_type, &record.attributes);
        json!({
            "address": record.address,
            "uid": record.uid,
            "id": record.id,
            "status": record.status,
            "deposed": record.deposed,
            "attributes": known(&Value::Map(attributes)),
        })
    };
    let attributes = |changes: &[AttributeChange]| -> Vec<_> {
        changes
            .iter()
            .map(|change| {
                let side = |value: Option<&Value>| match (change.sensitive, value) {
                    (false, Some(value)) => known(value),
                    _ => serde_json::Value::Null,
                };
                json!({
                    "path": change.path.to_string(),
                    "before": side(change.before.as_deref()),
                    "after": side(change.after.as_ref()),
                    "sensitive": change.sensitive,
                })
            })
            .collect()
    };
    let (mut added, mut changed, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for difference in differences {
        match difference {
            Difference::Added(new) => added.push(record(new)),
            Difference::Removed(old) => removed.push(record(old)),
            Difference::Changed {
                records,
                attributes: changes,
                ..
            } => changed.push(json!({
                "address": records.1.address,
                "uid": records.1.uid,
                "before": record(&records.0),
                "after": record(&records.1),
                "changes": attributes(changes),
            })),
        }
    }
    let all = json!({
        "from": from,
        "to": to,
        "added": added,
        "changed": changed,
        "removed": removed,
        "outputs": attributes(outputs),
    });
    format!("{all:#}\n")
}
