//! Users of a container: `user[:group]`, each a name or a number.

use std::fmt;

use gabion_engine::config::{FromNode, Node};
use gabion_engine::diagnostic::Diagnostics;
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use crate::term::{Line, Term, excerpt, read_line};

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// By number.
    Id(u64),
    /// By name.
    Name(String),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A user, and the group if it is not the user's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub user: Principal,
    /// The group.
    pub group: Option<Principal>,
}

fn principal(text: &str, whole: &str) -> Result<Principal, String> {
    if text.is_empty() {
        return Err(format!("`{}` has an empty user or group.", excerpt(whole)));
    }
    match text.trim().parse::<i128>() {
        Ok(id) => u64::try_from(id)
            .map(Principal::Id)
            .map_err(|_| format!("`{}` is no number of a user or group.", excerpt(text))),
        Err(_) => Ok(Principal::Name(text.to_owned())),
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.user)?;
        self.group.as_ref().map_or(Ok(()), |group| write!(f, ":{group}"))
    }
}

impl Line for User {
    const WHAT: &'static str = "a user such as `ubuntu` or `1000:1000`";
    const CODE: &'static str = "bad-user";
    const SUMMARY: &'static str = "bad user";
    const HINT: &'static str = "write a name or number, and after a colon the group's: `1000:1000`";

    fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            [user] => Ok(Self {
                user: principal(user, text)?,
                group: None,
            }),
            [user, group] => Ok(Self {
                user: principal(user, text)?,
                group: Some(principal(group, text)?),
            }),
            _ => Err(format!("`{}` has more than one colon.", excerpt(text))),
        }
    }
}

impl FromNode for User {
    fn expected() -> String {
        Self::WHAT.to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        read_line(node, problems)
    }
}

impl Term for User {
    fn write(&self) -> Yaml {
        self.to_string().into()
    }

    fn schema() -> Json {
        json!({"type": ["string", "integer"], "pattern": "^[^:]+(:[^:]+)?$", "minimum": 0, "examples": ["ubuntu", "1000:1000"]})
    }
}
