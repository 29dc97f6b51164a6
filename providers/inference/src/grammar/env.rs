//! Environment variables: a list of `NAME=value`, `NAME=` and `NAME` (from the caller's environment), or a map.

use std::collections::BTreeMap;

use gabion_engine::config::{FromNode, Node, NodeKind, Template};
use gabion_engine::diagnostic::{Diagnostics, Span};
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use crate::term::{Term, excerpt};

/// The value of one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvValue {
    /// This text, which may hold expressions.
    Text(String),
    /// Taken from the environment of whoever runs gabion, and therefore secret.
    Passthrough,
}

/// The variables of a program, by name, each with its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env(pub BTreeMap<String, (EnvValue, Span)>);

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Env {
    fn add(
        &mut self,
        node: &Node,
        name: &str,
        value: EnvValue,
        span: Span,
        problems: &mut Diagnostics,
    ) -> bool {
        if !is_name(name) {
            problems.push(
                node.error("bad-variable", "bad environment variable")
                    .detail(format!(
                        "`{}` is no name of an environment variable.",
                        excerpt(name)
                    ))
                    .hint("use letters, digits and `_`, not starting with a digit: `NAME=value`"),
            );
            return false;
        }
        if let Some((_, first)) = self.0.get(name) {
            problems.push(
                node.error("duplicate-variable", "duplicate environment variable")
                    .detail(format!("`{name}` is set twice."))
                    .related(first.clone(), "first set here")
                    .hint("remove one of the two"),
            );
            return false;
        }
        self.0.insert(name.to_owned(), (value, span));
        true
    }
}

/// Reports expressions that are not well formed.
fn is_template(node: &Node, text: &str, problems: &mut Diagnostics) -> bool {
    !Template::is_in(text) || Template::read(node, problems).is_some()
}

impl FromNode for Env {
    fn expected() -> String {
        "a list of `NAME=value` or a map".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut env = Self::default();
        let mut good = true;
        if let Some(items) = node.as_list() {
            for item in items {
                let Some(text) = item.text() else {
                    problems.push(item.wrong_type("`NAME=value` or `NAME`"));
                    good = false;
                    continue;
                };
                let (name, value) = match text.split_once('=') {
                    Some((name, value)) => (name, EnvValue::Text(value.to_owned())),
                    None => (text, EnvValue::Passthrough),
                };
                good &= is_template(item, text, problems);
                good &= env.add(item, name, value, item.span.clone(), problems);
            }
        } else if let Some(entries) = node.as_map() {
            for (key, value) in entries {
                let text = match value.text() {
                    Some(text) if !matches!(value.kind, NodeKind::Bool(_)) => text,
                    _ => {
                        let problem = value.wrong_type("text or a number");
                        problems.push(problem.hint("quote it: `\"true\"`"));
                        good = false;
                        continue;
                    }
                };
                good &= is_template(value, text, problems);
                good &= env.add(
                    value,
                    &key.name,
                    EnvValue::Text(text.to_owned()),
                    value.span.clone(),
                    problems,
                );
            }
        } else {
            problems.push(node.wrong_type(&Self::expected()));
            return None;
        }
        good.then_some(env)
    }
}

impl Env {
    /// Returns the variables that are taken from the environment of whoever runs gabion, with their places.
    pub fn passed_through(&self) -> impl Iterator<Item = (&str, &Span)> {
        self.0
            .iter()
            .filter(|(_, (value, _))| *value == EnvValue::Passthrough)
            .map(|(name, (_, span))| (name.as_str(), span))
    }
}

impl Term for Env {
    fn write(&self) -> Yaml {
        let written = self.0.iter().map(|(name, (value, _))| match value {
            EnvValue::Passthrough => name.as_str().into(),
            EnvValue::Text(text) => format!("{name}={text}").into(),
        });
        Yaml::Sequence(written.collect())
    }

    fn schema() -> Json {
        json!({
            "anyOf": [
                {"type": "array", "items": {"type": "string", "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*(=[\\s\\S]*)?$"}},
                {
                    "type": "object",
                    "propertyNames": {"pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"},
                    "additionalProperties": {"type": ["string", "number"]},
                },
            ],
            "title": "variables",
            "examples": [["HF_TOKEN", "LOG_LEVEL=info"], {"LOG_LEVEL": "info"}],
        })
    }
}
