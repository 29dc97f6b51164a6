//! Names: of documents, and of groups within them.

use gabion_engine::config::{FromNode, Node};
use gabion_engine::diagnostic::Diagnostics;
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use crate::term::{Line, Term, read_line};

/// The name of a group of replicas or nodes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupName(pub String);

impl std::fmt::Display for GroupName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Line for GroupName {
    const WHAT: &'static str = "a group's name such as `prefill`";
    const CODE: &'static str = "bad-name";
    const SUMMARY: &'static str = "invalid name";
    const HINT: &'static str =
        "use up to 40 lower-case letters, digits and `-`, starting with a letter or digit";

    fn parse(text: &str) -> Result<Self, String> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let good = text.bytes().next().is_some_and(letter)
            && text.len() <= 40
            && text.bytes().all(|byte| letter(byte) || byte == b'-');
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "`{}` cannot be the name of a group.",
                crate::term::excerpt(text)
            ))
        }
    }
}

impl FromNode for GroupName {
    fn expected() -> String {
        Self::WHAT.to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        read_line(node, problems)
    }
}

impl Term for GroupName {
    fn write(&self) -> Yaml {
        self.0.as_str().into()
    }

    fn schema() -> Json {
        json!({"type": ["string", "integer"], "pattern": "^[a-z0-9][a-z0-9-]{0,39}$", "examples": ["prefill"]})
    }
}
