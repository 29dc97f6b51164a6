//! Texts that hold JSON or YAML, read as what they say: another order or layout is no difference.

use gabion_engine::config::{Node, NodeKind, parse_yaml};
use gabion_engine::diagnostic::SourceFile;
use gabion_engine::value::Value;

/// Longer texts are compared line by line: reading them would cost more than it explains.
const LONGEST: usize = 256 * 1024;

/// Two texts as what they say.
pub(super) struct Both {
    /// What both are written in, for people.
    pub(super) language: &'static str,
    /// What the first says.
    pub(super) old: Value,
    /// What the second says.
    pub(super) new: Value,
}

/// Reads two texts; `None` unless both are the JSON or YAML of a map or list.
///
/// A first line that is a comment is not for people alone (`#cloud-config`, `#!`): where it changes, the texts are compared as
/// they are written.
pub(super) fn both(old: &str, new: &str) -> Option<Both> {
    if let (Some(old), Some(new)) = (json(old), json(new)) {
        let language = "JSON";
        return Some(Both { language, old, new });
    }
    if heading(old) != heading(new) {
        return None;
    }
    let (old, new) = (json(old).or_else(|| yaml(old))?, json(new).or_else(|| yaml(new))?);
    let language = "YAML";
    Some(Both { language, old, new })
}

fn heading(text: &str) -> Option<&str> {
    text.lines().next().filter(|line| line.starts_with('#'))
}

fn json(text: &str) -> Option<Value> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(Value::from_json(&json))
}

/// Reads YAML: one document, or the list of several. Text of one line is a value and no document, whatever it looks like.
fn yaml(text: &str) -> Option<Value> {
    let may_be = text.len() <= LONGEST && text.trim_end().contains('\n') && text.contains([':', '-']);
    if !may_be {
        return None;
    }
    let (documents, problems) = parse_yaml(&SourceFile::new("value", text));
    if problems.has_errors() {
        return None;
    }
    let is_structure = |node: &Node| matches!(node.kind, NodeKind::Map(_) | NodeKind::List(_));
    match &documents[..] {
        [] => None,
        [document] if is_structure(document) => Some(value(document)),
        several if several.len() > 1 && several.iter().all(is_structure) => {
            Some(Value::List(several.iter().map(value).collect()))
        }
        _ => None,
    }
}

fn value(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Null => Value::Null,
        NodeKind::Bool(truth) => Value::Bool(*truth),
        NodeKind::Int(number) => Value::Int(*number),
        NodeKind::Float(number) => Value::Float(*number),
        NodeKind::String(text) => Value::string(text),
        NodeKind::List(items) => Value::List(items.iter().map(value).collect()),
        NodeKind::Map(entries) => {
            Value::map(entries.iter().map(|(key, item)| (key.name.as_str(), value(item))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_say_the_same_are_equal() {
        for (old, new, language) in [
            ("{\"a\": 1, \"b\": [2]}", "{ \"b\":[2],\n\"a\":1 }", "JSON"),
            ("a: 1\nb: [2]\n", "# why\nb:\n  - 2\na: 1", ""),
            ("a: 1\nb: [2]\n", "b:\n  - 2 # why\na: 1", "YAML"),
            ("a: 1\nb: {c: 'x'}\n", "{\"a\": 1, \"b\": {\"c\": \"x\"}}", "YAML"),
            ("a: 1\n---\na: 2\n", "---\n{a: 1}\n---\na:   2\n", "YAML"),
            (
                "#cloud-config\nb: 1\na: 2\n",
                "#cloud-config\na: 2\nb: 1\n",
                "YAML",
            ),
        ] {
            match both(old, new) {
                None => assert_eq!(language, "", "{old:?} and {new:?}"),
                Some(both) => assert_eq!((both.language, &both.old), (language, &both.new), "{old:?}"),
            }
        }
    }

    #[test]
    fn what_is_neither_is_text() {
        for text in [
            "#!/bin/sh\nset -eu\necho done\n",
            "import os\n\ndef main():\n    return {1: 2}\n",
            "[section]\nkey = value\n",
            "server {\n    listen 80;\n}\n",
            "A=1\nB=2\n",
            "a: 1\na: 2\n",
            "a: [1\n",
            "one: line",
            "",
        ] {
            assert!(both(text, text).is_none(), "{text:?}");
        }
        assert!(both("#cloud-config\na: 1\n", "a: 1\nb: 2\n").is_none());
    }
}
