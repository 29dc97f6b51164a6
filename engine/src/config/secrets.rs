//! `secrets` of `gabion.yml`: where values come from that are written nowhere.
//!
//! The engine reads no environment and no file for them and runs no program: whoever lowers a project hands it a way to
//! get them ([`LowerInputs`](super::LowerInputs)).

use serde_json::{Value, json};

use super::decode::{FromNode, Spanned};
use super::map_reader::MapReader;
use super::node::Node;
use super::settings::Settings;
use crate::diagnostic::{Diagnostic, Diagnostics, Span, suggestion};

/// The keys that say where a secret comes from.
const SOURCES: [&str; 3] = ["env", "file", "command"];

/// How sources are written, for hints.
const FORMS: &str = "write `{env: VARIABLE}`, `{file: PATH}` or `{command: [PROGRAM, ARGUMENT]}`";

/// Where a secret's value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretSource {
    /// A variable of the environment of whoever runs gabion.
    Environment(String),
    /// A file that nobody else can read; relative to the project's directory.
    File(String),
    /// What a program prints, run without a shell in the project's directory.
    Command(Vec<String>),
    /// Something that could not be read; there is an error about it.
    Invalid,
}

/// Why a secret has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingSecret {
    /// What is wrong, as sentences; nothing of the value is in it.
    pub why: String,
    /// What to do about it.
    pub hint: String,
}

/// Gets the value of a secret that comes from a file or a program; `None` when nobody needs it now.
pub type SecretValues<'a> = dyn Fn(&SecretSource) -> Result<Option<String>, MissingSecret> + Sync + 'a;

/// Values of secrets where nobody needs them.
///
/// # Errors
/// Never.
pub fn no_secrets(_: &SecretSource) -> Result<Option<String>, MissingSecret> {
    Ok(None)
}

impl SecretSource {
    /// Returns the JSON Schema of a source.
    pub fn json_schema() -> Value {
        json!({
            "type": "object",
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
            "properties": {
                "env": {"type": "string", "description": "The environment variable that holds it."},
                "file": {"type": "string", "minLength": 1, "description": "The file that holds it, readable by its owner alone; relative to the project. A line end at its end is no part of it."},
                "command": {"type": "array", "items": {"type": "string"}, "minItems": 1, "description": "The program that prints it, with its arguments; run without a shell in the project's directory, once in a run and only when it is needed, for 30 seconds at most."},
            },
        })
    }
}

impl FromNode for SecretSource {
    fn expected() -> String {
        "where the secret comes from: `{env: VARIABLE}`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_map().is_none() {
            problems.push(
                node.error("bad-secret", "secret without a source")
                    .detail("A secret says where its value comes from; the value itself must not be written here.")
                    .hint(FORMS),
            );
            return None;
        }
        if let Some(command) = node.get("command")
            && let Some(text) = command.text()
        {
            let words: Vec<&str> = text.split_whitespace().collect();
            problems.push(
                command
                    .wrong_type("a list: the program and its arguments, which no shell reads")
                    .hint(format!("write `[{}]`", words.join(", "))),
            );
            return None;
        }
        let mut map = MapReader::open(node, "secret", problems)?;
        map.exclusive(&SOURCES);
        let variable = map.optional::<Spanned<String>>("env");
        let file = map.optional::<Spanned<String>>("file");
        let command = map.optional::<Spanned<Vec<String>>>("command");
        map.finish();
        match (variable?, file?, command?) {
            (Some(variable), None, None) if is_variable(&variable.value) => {
                return Some(Self::Environment(variable.value));
            }
            (None, Some(file), None) if !file.value.is_empty() => return Some(Self::File(file.value)),
            (None, None, Some(command)) if command.value.first().is_some_and(|word| !word.is_empty()) => {
                return Some(Self::Command(command.value));
            }
            (Some(variable), None, None) => problems.push(
                Diagnostic::error("bad-variable", "invalid variable name")
                    .detail("A variable's name has letters, digits and `_`, and starts with no digit.")
                    .at(variable.span)
                    .hint("write the variable's name, without `$`"),
            ),
            (None, Some(file), None) => problems.push(empty("file", "path", file.span)),
            (None, None, Some(command)) => problems.push(empty("command", "program", command.span)),
            (None, None, None) => problems.push(
                node.error("missing-key", "missing key")
                    .detail("A secret comes from one of `env`, `file` and `command`.")
                    .hint(FORMS),
            ),
            // More than one is reported already.
            _ => {}
        }
        None
    }
}

fn empty(key: &str, what: &str, span: Span) -> Diagnostic {
    Diagnostic::error("bad-secret", "secret without a source")
        .detail(format!("`{key}` names no {what}."))
        .at(span)
        .hint(format!("write the {what}"))
}

/// Returns what stands in the place of a secret's source and may be the secret itself: people write it there, and a
/// diagnostic shows its line.
pub(super) fn written_in(source: &Node) -> Vec<Span> {
    if source.text().is_some() {
        return vec![source.span.clone()];
    }
    let entries = source.as_map().unwrap_or_default().iter();
    entries
        .filter(|(key, value)| !SOURCES.contains(&key.name.as_str()) && value.text().is_some())
        .map(|(_, value)| value.span.clone())
        .collect()
}

impl Settings {
    /// Returns the error for a secret that is not declared.
    pub fn undeclared_secret(&self, name: &str, span: Option<Span>) -> Diagnostic {
        let hint = suggestion(name, self.secrets.keys().map(String::as_str)).unwrap_or_else(|| {
            format!(
                "declare it in `{}`:\nsecrets:\n  {name}: {{env: VARIABLE}}",
                self.file.path()
            )
        });
        Diagnostic::error("unknown-secret", "unknown secret")
            .detail(format!("The project declares no secret `{name}`."))
            .at(span)
            .hint(hint)
    }

    /// Returns the error for a declared secret whose value cannot be had.
    pub fn missing_secret(&self, name: &str, missing: MissingSecret) -> Diagnostic {
        let place = self.secrets.get(name).map(|source| source.span.clone());
        Diagnostic::error("missing-secret", "secret without a value")
            .detail(format!("The secret `{name}` cannot be read. {}", missing.why))
            .at(place)
            .hint(missing.hint)
    }
}

/// Tells whether a text can be the name of an environment variable.
pub fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
