//! Graphs in Mermaid's language, which Markdown shows as pictures.

use std::collections::BTreeMap;
use std::fmt::Write;

use gabion_engine::address::ResourceAddress;
use gabion_engine::plan::Plan;
use gabion_engine::plan::change::{Action, Change};

use super::words;

/// How many objects a picture may have and still be read.
const LARGEST: usize = 24;

/// Returns text for the inside of a label in quotes: everything that Mermaid or a browser could read is a number.
pub(crate) fn label(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in words::plain(text).chars() {
        if c.is_alphanumeric() || matches!(c, ' ' | '_' | '-' | '.' | '/' | ',' | ':' | '+' | '~') {
            out.push(c);
        } else {
            let _ = write!(out, "#{};", u32::from(c));
        }
    }
    out
}

/// Returns the graph of what a plan changes; `None` where a picture would say nothing, or be too large to be read.
pub(crate) fn changed_part(plan: &Plan) -> Option<String> {
    let mut shown: BTreeMap<&ResourceAddress, &Change> = BTreeMap::new();
    for change in plan.effective_changes() {
        shown.entry(&change.address).or_insert(change);
    }
    if !(2..=LARGEST).contains(&shown.len()) {
        return None;
    }
    let number = |address: &ResourceAddress| shown.keys().position(|other| *other == address);
    let mut text = "flowchart LR\n".to_owned();
    for (position, change) in shown.values().enumerate() {
        let title = format!("{} {}", words::symbol(change.action), change.address);
        let _ = writeln!(
            text,
            "  r{position}[\"{}\"]:::{}",
            label(title.trim()),
            class(change)
        );
    }
    let mut edges = 0;
    for (position, change) in shown.values().enumerate() {
        for dependency in change.declaration.iter().flat_map(|d| &d.dependencies) {
            if let Some(target) = number(&dependency.address) {
                let _ = writeln!(text, "  r{position} --> r{target}");
                edges += 1;
            }
        }
    }
    for (class, colour) in [
        ("create", "#2da44e"),
        ("update", "#bf8700"),
        ("replace", "#8250df"),
        ("destroy", "#cf222e"),
        ("stay", "#6e7781"),
    ] {
        if shown.values().any(|change| self::class(change) == class) {
            let _ = writeln!(text, "  classDef {class} stroke:{colour},stroke-width:2px");
        }
    }
    (edges > 0).then_some(text)
}

fn class(change: &Change) -> &'static str {
    match change.action {
        Action::Delete => "destroy",
        Action::Create => "create",
        Action::Update => "update",
        Action::Replace(_) => "replace",
        _ => "stay",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_inert() {
        assert_eq!(label("a\"]<b>;#`"), "a#34;#93;#60;b#62;#59;#35;#96;");
    }
}
