//! Reading attributes, with every problem at once.

use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;

use gabion_engine::provider::AttributeProblem;
use gabion_engine::value::{AttributePath, Attributes, Value};

/// Stands for a text that is not known yet, or that is secret and not at hand.
pub(super) const NOT_HERE: &str = "?";

/// Whether values must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knowledge {
    /// A plan's: values may be unknown, secrets sealed, and wrong types are the engine's to report.
    Partial,
    /// Apply's: everything is known.
    Whole,
}

/// Reads values and collects what is wrong with them.
pub(super) struct Reader {
    knowledge: Knowledge,
    pub(super) problems: Vec<AttributeProblem>,
}

impl Reader {
    pub(super) fn new(knowledge: Knowledge) -> Self {
        Self {
            knowledge,
            problems: Vec::new(),
        }
    }

    /// Reads a text that must not be secret.
    pub(super) fn plain(&mut self, path: &AttributePath, value: &Value, what: &str) -> String {
        if value.has_secret() {
            self.problem(
                path,
                format!("A secret cannot be {what}."),
                "Hand it over in `env`, whose secret values are kept in a file that only the user can read.",
            );
            return NOT_HERE.to_owned();
        }
        self.text(path, value)
    }

    /// Reads a text that may be secret.
    pub(super) fn secretable(&mut self, path: &AttributePath, value: &Value) -> String {
        match value {
            Value::Secret(secret) => match secret.expose() {
                Some(value) => self.text(path, value),
                None => {
                    self.missing(path);
                    NOT_HERE.to_owned()
                }
            },
            value => self.text(path, value),
        }
    }

    /// Reads a text; numbers and truths are taken by their words.
    pub(super) fn text(&mut self, path: &AttributePath, value: &Value) -> String {
        match value {
            Value::String(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_) => words(value),
            other => {
                self.wrong(path, other, "a text");
                NOT_HERE.to_owned()
            }
        }
    }

    pub(super) fn whole(&mut self, path: &AttributePath, value: &Value) -> Option<i64> {
        if let Value::Int(number) = value {
            return Some(*number);
        }
        self.wrong(path, value, "a whole number");
        None
    }

    /// Reads a number of seconds, up to a week.
    pub(super) fn seconds(&mut self, path: &AttributePath, value: &Value) -> Duration {
        let seconds = match value {
            Value::Int(number) => *number as f64,
            Value::Float(number) => *number,
            other => {
                self.wrong(path, other, "a number of seconds");
                return Duration::from_secs(1);
            }
        };
        match Duration::try_from_secs_f64(seconds) {
            Ok(duration) if duration <= Duration::from_secs(7 * 24 * 3600) => duration,
            _ => {
                self.problem(
                    path,
                    "This is not a number of seconds that can be waited for.",
                    "Use 0 to 604800 (a week).",
                );
                Duration::from_secs(1)
            }
        }
    }

    /// Reads a relative path that stays below where it starts.
    pub(super) fn inner_path(&mut self, path: &AttributePath, text: &str, base: &str) {
        let inside = text == NOT_HERE
            || !text.is_empty()
                && !text.ends_with('/')
                && !text.contains('\0')
                && Path::new(text)
                    .components()
                    .all(|component| matches!(component, Component::Normal(_)));
        if !inside {
            self.problem(
                path,
                format!("{text:?} is not a path below {base}."),
                "Use a relative path without `..`.",
            );
        }
    }

    /// Reads a map's entries that are not null.
    pub(super) fn map<'a>(
        &mut self,
        path: &AttributePath,
        value: Option<&'a Value>,
    ) -> Vec<(String, &'a Value)> {
        match value {
            None => Vec::new(),
            Some(Value::Map(entries)) => entries
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name.to_string(), value))
                .collect(),
            Some(other) => {
                self.wrong(path, other, "a map");
                Vec::new()
            }
        }
    }

    /// Reads a list's items, each with its path.
    pub(super) fn list<'a>(
        &mut self,
        path: &AttributePath,
        value: Option<&'a Value>,
    ) -> Vec<(AttributePath, &'a Value)> {
        match value {
            None => Vec::new(),
            Some(Value::List(items)) => items
                .iter()
                .enumerate()
                .map(|(index, value)| (path.index(index), value))
                .collect(),
            Some(other) => {
                self.wrong(path, other, "a list");
                Vec::new()
            }
        }
    }

    pub(super) fn problem(
        &mut self,
        path: &AttributePath,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.problems.push(AttributeProblem {
            path: path.clone(),
            message: message.into(),
            hint: Some(hint.into()),
        });
    }

    /// Notes a value that has the wrong type, or is not known though it must be.
    pub(super) fn wrong(&mut self, path: &AttributePath, value: &Value, wanted: &str) {
        if self.knowledge == Knowledge::Whole {
            let reason = match value {
                Value::Unknown(_) => "is not known",
                Value::Secret(_) => "is secret",
                _ => "is something else",
            };
            self.problem(
                path,
                format!("This must be {wanted}, and {reason}."),
                "Report this to gabion's authors: it should have been found before anything was applied.",
            );
        }
    }

    /// Notes a secret whose value must be at hand and is not.
    pub(super) fn missing(&mut self, path: &AttributePath) {
        if self.knowledge == Knowledge::Whole {
            self.problem(
                path,
                "The value of this secret is not at hand.",
                "Set it and run the command again.",
            );
        }
    }
}

/// Returns a scalar in words; nothing for anything else.
pub(super) fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        _ => String::new(),
    }
}

/// Returns an attribute that is set.
pub(super) fn given<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a Value> {
    attributes
        .get(&Arc::<str>::from(name))
        .filter(|value| !value.is_null())
}
