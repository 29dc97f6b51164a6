//! Shells: `sh`, `bash`, or an absolute path.

use std::fmt;

use gabion_engine::config::{FromNode, Node};
use gabion_engine::diagnostic::Diagnostics;
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use crate::term::{Line, Term, excerpt, read_line};

/// The shell that runs commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shell {
    /// `/bin/sh`.
    Sh,
    /// `/bin/bash`.
    Bash,
    /// Another one, by its absolute path.
    Path(String),
}

impl Shell {
    /// Returns the path of the program.
    pub fn path(&self) -> &str {
        match self {
            Self::Sh => "/bin/sh",
            Self::Bash => "/bin/bash",
            Self::Path(path) => path,
        }
    }
}

impl fmt::Display for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sh => "sh",
            Self::Bash => "bash",
            Self::Path(path) => path,
        })
    }
}

impl Line for Shell {
    const WHAT: &'static str = "`sh`, `bash` or the absolute path of a shell";
    const CODE: &'static str = "bad-shell";
    const SUMMARY: &'static str = "bad shell";
    const HINT: &'static str = "write `sh`, `bash` or a path such as `/usr/bin/zsh`";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "sh" => Ok(Self::Sh),
            "bash" => Ok(Self::Bash),
            path if path.starts_with('/') => Ok(Self::Path(path.to_owned())),
            _ => Err(format!(
                "`{}` is neither `sh`, `bash` nor an absolute path.",
                excerpt(text)
            )),
        }
    }
}

impl FromNode for Shell {
    fn expected() -> String {
        Self::WHAT.to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        read_line(node, problems)
    }
}

impl Term for Shell {
    fn write(&self) -> Yaml {
        self.to_string().into()
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^(sh|bash|/.*)$", "examples": ["bash", "/usr/bin/zsh"]})
    }
}
