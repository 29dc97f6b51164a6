//! References to things of this project or another: `name`, `project/name`, or a map.

use std::fmt;

use super::shorthand::shorthand;
use crate::term::{Line, excerpt, map_type};

map_type! {
    /// A reference to something that has a name.
    pub struct EntityReference: "reference" {
        /// The project; this one if not given.
        project: Option<String> = None,
        /// The name.
        name: String,
    }
}

impl fmt::Display for EntityReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(project) = &self.project {
            write!(f, "{project}/")?;
        }
        f.write_str(&self.name)
    }
}

impl Line for EntityReference {
    const WHAT: &'static str = "a name, or `project/name`";
    const CODE: &'static str = "bad-reference";
    const SUMMARY: &'static str = "bad reference";
    const HINT: &'static str = "write `name` or `project/name`";

    fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let (project, name) = match parts.as_slice() {
            [name] if !name.is_empty() => (None, name),
            [project, name] if !project.is_empty() && !name.is_empty() => (Some((*project).to_owned()), name),
            _ => {
                return Err(format!(
                    "`{}` is neither a name nor `project/name`.",
                    excerpt(text)
                ));
            }
        };
        Ok(Self {
            project,
            name: (*name).to_owned(),
        })
    }
}

shorthand!(EntityReference);
