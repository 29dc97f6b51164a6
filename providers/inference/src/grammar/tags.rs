//! Tags: names and values that are put on what is made.

use std::collections::BTreeMap;

use gabion_engine::config::{FromNode, Node};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use crate::term::{Term, excerpt};

/// Tags by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(pub BTreeMap<String, String>);

/// Tells whether a text can be a tag's name.
pub fn is_key(text: &str) -> bool {
    (1..=60).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Tells whether a text can be a tag's value.
pub fn is_value(text: &str) -> bool {
    text.len() <= 256
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b" .:/=_-+@".contains(&byte))
}

impl FromNode for Tags {
    fn expected() -> String {
        "a map of tags".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let Some(entries) = node.as_map() else {
            problems.push(node.wrong_type(&Self::expected()));
            return None;
        };
        let mut tags = BTreeMap::new();
        let mut good = true;
        for (key, value) in entries {
            if !is_key(&key.name) {
                good = false;
                problems.push(
                    Diagnostic::error("bad-tag", "bad tag")
                        .detail(format!("`{}` cannot be the name of a tag.", excerpt(&key.name)))
                        .at(key.span.clone())
                        .hint("use 1 to 60 letters, digits, `_` and `-`"),
                );
            }
            match String::from_node(value, problems) {
                None => good = false,
                Some(text) if !is_value(&text) => {
                    good = false;
                    problems.push(
                        value
                            .error("bad-tag", "bad tag")
                            .detail(format!("`{}` cannot be the value of a tag.", excerpt(&text)))
                            .hint("use up to 256 letters, digits, spaces and `.:/=_-+@`"),
                    );
                }
                Some(text) => {
                    tags.insert(key.name.clone(), text);
                }
            }
        }
        good.then_some(Self(tags))
    }
}

impl Term for Tags {
    fn write(&self) -> Yaml {
        self.0.write()
    }

    fn schema() -> Json {
        json!({
            "type": "object",
            "propertyNames": {"pattern": "^[_a-zA-Z0-9-]{1,60}$"},
            "additionalProperties": {"type": ["string", "number", "boolean"], "pattern": "^[a-zA-Z0-9 .:/=_+@-]{0,256}$"},
            "examples": [{"team": "inference"}],
        })
    }
}
