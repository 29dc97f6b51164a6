//! Environment variables: a list of `NAME=value`, `NAME=` and `NAME` (from the caller's environment), or a map.

use std::collections::BTreeMap;

use gabion_engine::config::{FromNode, Node};
use gabion_engine::diagnostic::{Diagnostics, Span};

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
                    .detail(format!("`{name}` is no name of an environment variable."))
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
                good &= env.add(item, name, value, item.span.clone(), problems);
            }
        } else if let Some(entries) = node.as_map() {
            for (key, value) in entries {
                let text = match value.text() {
                    Some(text) if !matches!(value.kind, gabion_engine::config::NodeKind::Bool(_)) => text,
                    _ => {
                        let problem = value.wrong_type("text or a number");
                        problems.push(problem.hint("quote it: `\"true\"`"));
                        good = false;
                        continue;
                    }
                };
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
