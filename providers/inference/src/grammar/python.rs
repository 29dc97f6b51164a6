//! Python versions, where YAML reads `3.10` as the number 3.1.

use std::fmt;

use gabion_engine::config::{FromNode, Node, NodeKind};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use crate::term::{Line, Term, excerpt, read_line};

/// The minor versions of Python 3 that there are images for.
const MINOR: std::ops::RangeInclusive<u8> = 9..=15;

/// A version of Python 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PythonVersion {
    minor: u8,
}

impl PythonVersion {
    /// Makes the version `3.minor`, if there is an image for it.
    pub fn new(minor: u8) -> Option<Self> {
        MINOR.contains(&minor).then_some(Self { minor })
    }
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "3.{}", self.minor)
    }
}

impl Line for PythonVersion {
    const WHAT: &'static str = "a version of Python from `3.9` to `3.15`";
    const CODE: &'static str = "bad-python";
    const SUMMARY: &'static str = "unknown version of Python";
    const HINT: &'static str = "write one from `3.9` to `3.15`, quoted: `\"3.12\"`";

    fn parse(text: &str) -> Result<Self, String> {
        let minor = text
            .strip_prefix("3.")
            .filter(|minor| !minor.starts_with(['0', '+']));
        minor
            .and_then(|minor| minor.parse().ok())
            .and_then(Self::new)
            .ok_or_else(|| format!("There is no image with Python `{}`.", excerpt(text)))
    }
}

impl FromNode for PythonVersion {
    fn expected() -> String {
        Self::WHAT.to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if !matches!(node.kind, NodeKind::Float(_)) || !matches!(node.text(), Some("3.1" | "3.10")) {
            return read_line(node, problems);
        }
        problems.push(
            Diagnostic::warning("python-number", "version that others read as a number")
                .detail(format!(
                    "Without quotes `{}` is the number 3.1 to YAML. gabion reads it as Python 3.10, as dstack does.",
                    node.span.text()
                ))
                .at(node.span.clone())
                .hint("quote it: `\"3.10\"`"),
        );
        Self::new(10)
    }
}

impl Term for PythonVersion {
    fn write(&self) -> Yaml {
        self.to_string().into()
    }

    fn schema() -> Json {
        let words: Vec<String> = MINOR.map(|minor| format!("3.{minor}")).collect();
        // Numbers as YAML reads them without quotes.
        let numbers: Vec<f64> = words.iter().filter_map(|word| word.parse().ok()).collect();
        json!({"anyOf": [{"enum": words}, {"enum": numbers}], "title": "version of Python", "examples": ["3.12"]})
    }
}
