//! Names of machines: a host name, or an address.

use std::fmt;

use gabion_engine::config::{FromNode, Node};
use gabion_engine::diagnostic::Diagnostics;
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use crate::term::{Line, Term, excerpt, read_line};

/// The name or address of a machine. Part of the name of its resource, and of a command line of `ssh`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(String);

impl HostName {
    /// Returns the name as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for HostName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Line for HostName {
    const WHAT: &'static str = "a host name or address such as `10.0.0.7`";
    const CODE: &'static str = "bad-host-name";
    const SUMMARY: &'static str = "bad host name";
    const HINT: &'static str = "write the name or the address alone: `gpu-1.example.org` or `10.0.0.7`";

    fn parse(text: &str) -> Result<Self, String> {
        let is_good = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
        let starts = text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == ':');
        if starts && text.len() <= 253 && text.chars().all(is_good) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("`{}` is no host name and no address.", excerpt(text)))
        }
    }
}

impl FromNode for HostName {
    fn expected() -> String {
        Self::WHAT.to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        read_line(node, problems)
    }
}

impl Term for HostName {
    fn write(&self) -> Yaml {
        self.0.as_str().into()
    }

    fn schema() -> Json {
        json!({
            "title": "host name",
            "type": ["string", "number"],
            "pattern": "^[a-zA-Z0-9:][a-zA-Z0-9.:%_-]{0,252}$",
            "examples": ["10.0.0.7"],
        })
    }
}
