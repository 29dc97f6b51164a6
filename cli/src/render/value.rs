//! Values and their differences as lines, for the terminal and for Markdown alike.

use gabion_engine::plan::change::{Action, AttributeChange, Change};
use gabion_engine::value::{Attributes, Comparison, Value};
use similar::{ChangeTag, DiffOp, TextDiff};

use super::structured::{self, Both};
use super::words::{count, plain};

/// How long a value may be to stand on one line.
const INLINE: usize = 100;
/// How many unchanged lines stand around a change.
const CONTEXT: usize = 2;
/// How many lines one text may take when it is shown whole.
const TEXT_LINES: usize = 12;

/// What a line says about its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It comes.
    Add,
    /// It goes.
    Remove,
    /// It becomes another.
    Change,
    /// It stays.
    Same,
}

impl Sign {
    /// Returns its symbol.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Sign::Add => "+",
            Sign::Remove => "-",
            Sign::Change => "~",
            Sign::Same => " ",
        }
    }
}

/// One line of a value or difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// What it says.
    pub(crate) sign: Sign,
    /// How deep it is nested.
    pub(crate) depth: usize,
    /// The name before the value, if there is one.
    pub(crate) label: String,
    /// The value, or the old one.
    pub(crate) value: String,
    /// The new value, if the line has both.
    pub(crate) becomes: Option<String>,
    /// A remark at its end.
    pub(crate) remark: Option<String>,
}

impl Line {
    fn new(sign: Sign, depth: usize, label: &str, value: impl Into<String>) -> Self {
        Self {
            sign,
            depth,
            label: label.to_owned(),
            value: value.into(),
            becomes: None,
            remark: None,
        }
    }
}

/// Returns a value on one line. Secrets are masked, unknown values are the expression that fills them.
pub(crate) fn inline(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::String(text) => quoted(text),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) if entries.is_empty() => "{}".into(),
        Value::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(name, value)| format!("{}: {}", key(name), inline(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Unknown(unknown) => match &unknown.template {
            Some(template) => plain(template.as_str()),
            None => "(known after apply)".into(),
        },
        Value::Secret(secret) => match &secret.template {
            Some(template) => format!("(secret: {})", plain(template.as_str())),
            None => "(secret)".into(),
        },
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            other => out.push_str(&plain(other.encode_utf8(&mut [0; 4]))),
        }
    }
    out.push('"');
    out
}

fn key(name: &str) -> String {
    let is_plain = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    if is_plain { name.to_owned() } else { quoted(name) }
}

/// Returns the lines of one attribute's difference.
pub(crate) fn attribute_lines(change: &AttributeChange) -> Vec<Line> {
    let label = change.path.to_string();
    let label = plain(&label);
    let mut lines = Vec::new();
    if change.sensitive {
        let mut line = match (&change.before, &change.after) {
            (None, _) => Line::new(Sign::Add, 0, &label, "(sensitive)"),
            (_, None) => Line::new(Sign::Remove, 0, &label, "(sensitive)"),
            _ => Line::new(Sign::Change, 0, &label, "(sensitive, changed)"),
        };
        if let (None, Some(unknown @ Value::Unknown(_))) = (&change.before, &change.after) {
            line.value = inline(unknown);
        }
        lines.push(line);
    } else {
        difference(
            change.before.as_deref(),
            change.after.as_ref(),
            &label,
            0,
            &mut lines,
        );
    }
    if change.forces_replacement
        && let Some(first) = lines.first_mut()
    {
        first.remark = Some("forces replacement".into());
    }
    lines
}

/// Returns the lines of a value as a whole, all with one sign.
pub(crate) fn whole(sign: Sign, label: &str, value: &Value, depth: usize, lines: &mut Vec<Line>) {
    match value {
        Value::String(text) if text.trim_end().contains('\n') => {
            lines.push(Line::new(sign, depth, label, "|"));
            let all: Vec<&str> = text.lines().collect();
            for line in all.iter().take(TEXT_LINES) {
                lines.push(Line::new(sign, depth + 1, "", plain(line)));
            }
            if all.len() > TEXT_LINES {
                let rest = format!("({} more)", count(all.len() - TEXT_LINES, "line"));
                lines.push(Line::new(Sign::Same, depth + 1, "", rest));
            }
        }
        Value::List(items) if !items.is_empty() && !is_short(value) => {
            lines.push(Line::new(sign, depth, label, ""));
            if items.iter().all(is_word) {
                flow(sign, items, depth + 1, lines);
                return;
            }
            for item in items {
                whole(sign, "-", item, depth + 1, lines);
            }
        }
        Value::Map(entries) if !entries.is_empty() && !is_short(value) => {
            lines.push(Line::new(sign, depth, label, ""));
            for (name, item) in entries {
                whole(sign, &key(name), item, depth + 1, lines);
            }
        }
        leaf => lines.push(Line::new(sign, depth, item_label(label), cut(inline(leaf)))),
    }
}

/// The dash of a list's item is left out where the item is one line: the sign stands there already.
fn item_label(label: &str) -> &str {
    if label == "-" { "" } else { label }
}

/// Values that no terminal line can hold are cut; the JSON format has them whole.
fn cut(text: String) -> String {
    const LONGEST: usize = 400;
    let length = text.chars().count();
    if length <= LONGEST {
        return text;
    }
    let start: String = text.chars().take(LONGEST / 2).collect();
    let end: String = text.chars().skip(length - LONGEST / 4).collect();
    let left_out = length - LONGEST / 2 - LONGEST / 4;
    format!("{start} … ({left_out} characters) … {end}")
}

/// Adds short items one after the other, as many on a line as fit.
fn flow(sign: Sign, items: &[Value], depth: usize, lines: &mut Vec<Line>) {
    let mut text = String::new();
    for (position, item) in items.iter().enumerate() {
        let comma = if position + 1 < items.len() { "," } else { "" };
        let word = format!("{}{comma}", inline(item));
        if !text.is_empty() && text.chars().count() + word.chars().count() >= INLINE - 12 {
            lines.push(Line::new(sign, depth, "", std::mem::take(&mut text)));
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&word);
    }
    lines.push(Line::new(sign, depth, "", text));
}

/// Returns whether a value is one short scalar.
fn is_word(value: &Value) -> bool {
    match value {
        Value::List(_) | Value::Map(_) => false,
        Value::String(text) => text.len() <= 60 && !text.contains('\n'),
        _ => true,
    }
}

fn is_short(value: &Value) -> bool {
    inline(value).chars().count() <= INLINE
}

/// Adds the lines of a difference; nothing when there is none.
fn difference(
    before: Option<&Value>,
    after: Option<&Value>,
    label: &str,
    depth: usize,
    lines: &mut Vec<Line>,
) {
    match (before, after) {
        (None, None) => {}
        (None, Some(after)) => whole(Sign::Add, label, after, depth, lines),
        (Some(before), None) => whole(Sign::Remove, label, before, depth, lines),
        (Some(before), Some(after)) => between(before, after, label, depth, lines),
    }
}

fn between(before: &Value, after: &Value, label: &str, depth: usize, lines: &mut Vec<Line>) {
    match (before, after) {
        (Value::Map(old), Value::Map(new)) if !is_short_pair(before, after) || has_common(old, new) => {
            lines.push(Line::new(Sign::Change, depth, label, ""));
            map_difference(old, new, depth + 1, lines);
        }
        (Value::List(old), Value::List(new)) if !is_short_pair(before, after) => {
            lines.push(Line::new(Sign::Change, depth, label, ""));
            list_difference(old, new, depth + 1, lines);
        }
        (Value::String(old), Value::String(new)) => text_between(old, new, label, depth, lines),
        (Value::Secret(_), Value::Secret(_)) => {
            let mut line = Line::new(Sign::Change, depth, label, inline(before));
            let becomes = inline(after);
            line.becomes = Some(if becomes == line.value {
                "(another value)".into()
            } else {
                becomes
            });
            lines.push(line);
        }
        _ => {
            let mut line = Line::new(Sign::Change, depth, label, cut(inline(before)));
            line.becomes = Some(cut(inline(after)));
            lines.push(line);
        }
    }
}

fn is_short_pair(before: &Value, after: &Value) -> bool {
    inline(before).chars().count() + inline(after).chars().count() <= INLINE
}

fn has_common(old: &Attributes, new: &Attributes) -> bool {
    old.keys().any(|name| new.contains_key(name))
}

fn map_difference(old: &Attributes, new: &Attributes, depth: usize, lines: &mut Vec<Line>) {
    let mut same = 0;
    let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    for name in names {
        let (before, after) = (old.get(name), new.get(name));
        if let (Some(before), Some(after)) = (before, after)
            && before.compare(after) == Comparison::Equal
        {
            same += 1;
            continue;
        }
        difference(before, after, &key(name), depth, lines);
    }
    unchanged(same, "entry", depth, lines);
}

fn unchanged(number: usize, word: &str, depth: usize, lines: &mut Vec<Line>) {
    if number > 0 {
        let words = match (number, word) {
            (1, word) => format!("1 {word}"),
            (_, "entry") => format!("{number} entries"),
            (_, word) => format!("{number} {word}s"),
        };
        lines.push(Line::new(Sign::Same, depth, "", format!("({words} unchanged)")));
    }
}

fn list_difference(old: &[Value], new: &[Value], depth: usize, lines: &mut Vec<Line>) {
    let a: Vec<String> = old.iter().map(inline).collect();
    let b: Vec<String> = new.iter().map(inline).collect();
    for op in similar::capture_diff_slices(similar::Algorithm::Myers, &a, &b) {
        match op {
            DiffOp::Equal { len, old_index, .. } if len <= CONTEXT => {
                for text in &a[old_index..old_index + len] {
                    lines.push(Line::new(Sign::Same, depth, "", cut(text.clone())));
                }
            }
            DiffOp::Equal { len, .. } => unchanged(len, "item", depth, lines),
            DiffOp::Replace {
                old_index,
                old_len,
                new_index,
                new_len,
            } if old_len == new_len
                && (0..old_len).all(|i| {
                    old[old_index + i].as_map().is_some() && new[new_index + i].as_map().is_some()
                }) =>
            {
                for i in 0..old_len {
                    between(&old[old_index + i], &new[new_index + i], "-", depth, lines);
                }
            }
            other => {
                for item in &old[other.old_range()] {
                    whole(Sign::Remove, "-", item, depth, lines);
                }
                for item in &new[other.new_range()] {
                    whole(Sign::Add, "-", item, depth, lines);
                }
            }
        }
    }
}

fn text_between(old: &str, new: &str, label: &str, depth: usize, lines: &mut Vec<Line>) {
    if let Some(Both { language, old, new }) = structured::both(old, new) {
        if old.compare(&new) == Comparison::Different {
            let mut line = Line::new(Sign::Change, depth, label, "");
            line.remark = Some(language.into());
            lines.push(line);
            match (&old, &new) {
                (Value::Map(old), Value::Map(new)) => map_difference(old, new, depth + 1, lines),
                (Value::List(old), Value::List(new)) => list_difference(old, new, depth + 1, lines),
                _ => between(&old, &new, "", depth + 1, lines),
            }
            return;
        }
        let same = format!("(the same {language}, written differently)");
        lines.push(Line::new(Sign::Change, depth, label, same));
        return;
    }
    if !old.contains('\n') && !new.contains('\n') {
        let mut line = Line::new(Sign::Change, depth, label, cut(quoted(old)));
        line.becomes = Some(cut(quoted(new)));
        lines.push(line);
        return;
    }
    lines.push(Line::new(Sign::Change, depth, label, "|"));
    let diff = TextDiff::from_lines(old, new);
    for (position, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if position > 0 {
            lines.push(Line::new(Sign::Same, depth + 1, "", "…"));
        }
        for op in group {
            for change in diff.iter_changes(op) {
                let sign = match change.tag() {
                    ChangeTag::Equal => Sign::Same,
                    ChangeTag::Delete => Sign::Remove,
                    ChangeTag::Insert => Sign::Add,
                };
                let text = change.value();
                let mut line = Line::new(sign, depth + 1, "", plain(text.trim_end_matches(['\n', '\r'])));
                if !text.ends_with('\n') && sign != Sign::Same {
                    line.remark = Some("no line end".into());
                }
                lines.push(line);
            }
        }
    }
}

/// Returns whether a change sets an attribute to what is recorded: an earlier run failed, and what is there cannot be
/// read.
pub(crate) fn is_set_again(attribute: &AttributeChange) -> bool {
    attribute.after.is_some() && attribute.before.as_deref() == attribute.after.as_ref()
}

/// The attributes of a change.
pub(crate) struct Split<'a> {
    /// Those worth a line each.
    pub(crate) shown: Vec<&'a AttributeChange>,
    /// The names of those that only apply knows.
    pub(crate) computed: Vec<String>,
    /// The names of those that are set to what is recorded.
    pub(crate) again: Vec<String>,
}

/// Splits the attributes of a change.
///
/// What the provider computes anew for a new object says nothing about why it is made.
pub(crate) fn split(change: &Change) -> Split<'_> {
    let is_new = matches!(change.action, Action::Create | Action::Replace(_));
    let mut shown = Vec::new();
    let mut computed = Vec::new();
    let mut again = Vec::new();
    for attribute in &change.attributes {
        match &attribute.after {
            _ if is_set_again(attribute) => again.push(plain(&attribute.path.to_string())),
            Some(Value::Unknown(unknown))
                if unknown.template.is_none() && is_new && !attribute.forces_replacement =>
            {
                computed.push(plain(&attribute.path.to_string()));
            }
            _ => shown.push(attribute),
        }
    }
    Split {
        shown,
        computed,
        again,
    }
}
