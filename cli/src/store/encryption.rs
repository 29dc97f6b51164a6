//! `state.encryption` in `gabion.yml`: where the keys come from that a store's content is encrypted with.

use gabion_engine::config::{FromNode, MapReader, Node, Plugin, Spanned, is_variable};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use serde_json::{Value, json};

/// How the content of a store is encrypted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Encryption {
    /// What new content is encrypted with.
    pub(crate) key: Spanned<KeySource>,
    /// What older content may still be encrypted with.
    pub(crate) previous: Vec<Spanned<KeySource>>,
}

/// Where a key comes from: 64 hexadecimal digits in each case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// A variable of the environment.
    Environment(String),
    /// A file that nobody else can read; relative to the project's directory.
    File(String),
    /// What a program prints, run without a shell in the project's directory.
    Command(Vec<String>),
}

impl Encryption {
    /// Reads how a store is encrypted; nothing when it is not.
    pub(crate) fn of(state: &Plugin, problems: &mut Diagnostics) -> Option<Self> {
        let node = state.node.get("encryption").filter(|node| !node.is_null())?;
        Self::from_node(node, problems)
    }

    /// Returns the key `encryption` of `gabion.yml`.
    pub(crate) fn to_yaml(&self) -> serde_yaml::Value {
        let mut entries = serde_yaml::Mapping::new();
        entries.insert("key".into(), self.key.value.to_yaml());
        if !self.previous.is_empty() {
            let previous = self.previous.iter().map(|source| source.value.to_yaml());
            entries.insert("previous".into(), previous.collect());
        }
        entries.into()
    }

    /// Returns the JSON Schema of the key `encryption`.
    pub(crate) fn json_schema() -> Value {
        let source = json!({
            "type": "object",
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
            "properties": {
                "env": {"type": "string", "description": "The environment variable that holds it: 64 hexadecimal digits."},
                "file": {"type": "string", "description": "The file that holds it, readable by its owner alone; relative to the project."},
                "command": {"type": "array", "items": {"type": "string"}, "minItems": 1, "description": "The program that prints it, with its arguments; run without a shell, for 30 seconds at most."},
            },
        });
        let mut key = source.clone();
        key["description"] = "Where the key comes from.".into();
        json!({
            "type": "object",
            "description": "Encrypts events, records and snapshots (XChaCha20-Poly1305); order, hashes and the lease stay readable.",
            "additionalProperties": false,
            "required": ["key"],
            "properties": {
                "key": key,
                "previous": {"type": "array", "items": source, "description": "Keys that older content may be encrypted with, until `gabion state rekey` was run."},
            },
        })
    }
}

impl KeySource {
    fn to_yaml(&self) -> serde_yaml::Value {
        let (key, value) = match self {
            Self::Environment(name) => ("env", name.as_str().into()),
            Self::File(path) => ("file", path.as_str().into()),
            Self::Command(words) => ("command", words.iter().map(String::as_str).collect()),
        };
        let mut entries = serde_yaml::Mapping::new();
        entries.insert(key.into(), value);
        entries.into()
    }
}

impl FromNode for Encryption {
    fn expected() -> String {
        "how the state is encrypted: `{key: {env: VARIABLE}}`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_map().is_none() {
            problems.push(not_here(node, "encryption: {key: {env: VARIABLE}}"));
            return None;
        }
        let mut map = MapReader::open(node, "encryption", problems)?;
        let key = map.required::<Spanned<KeySource>>("key");
        let previous = map.optional::<Vec<Spanned<KeySource>>>("previous");
        map.finish();
        Some(Self {
            key: key?,
            previous: previous?.unwrap_or_default(),
        })
    }
}

impl FromNode for KeySource {
    fn expected() -> String {
        "where the key comes from: `{env: VARIABLE}`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_map().is_none() {
            problems.push(not_here(node, "{env: VARIABLE}"));
            return None;
        }
        let mut map = MapReader::open(node, "encryption key", problems)?;
        map.exclusive(&["env", "file", "command"]);
        let variable = map.optional::<Spanned<String>>("env");
        let file = map.optional::<Spanned<String>>("file");
        let command = map.optional::<Spanned<Vec<String>>>("command");
        map.finish();
        let source = match (variable?, file?, command?) {
            (Some(variable), None, None) if is_variable(&variable.value) => Self::Environment(variable.value),
            (Some(variable), None, None) => {
                problems.push(
                    Diagnostic::error("bad-variable", "invalid variable name")
                        .detail("A variable's name has letters, digits and `_`, and starts with no digit.")
                        .at(variable.span)
                        .hint("write the variable's name, without `$`"),
                );
                return None;
            }
            (None, Some(file), None) if !file.value.is_empty() => Self::File(file.value),
            (None, None, Some(command)) if command.value.first().is_some_and(|word| !word.is_empty()) => {
                Self::Command(command.value)
            }
            (None, Some(place), None) => {
                problems.push(empty("file", "path").at(place.span));
                return None;
            }
            (None, None, Some(place)) => {
                problems.push(empty("command", "program").at(place.span));
                return None;
            }
            (None, None, None) => {
                problems.push(
                    node.error("missing-key", "missing key")
                        .detail("An encryption key comes from one of `env`, `file` and `command`.")
                        .hint("write `{env: VARIABLE}`, `{file: PATH}` or `{command: [PROGRAM, ARGUMENT]}`"),
                );
                return None;
            }
            // More than one is reported already.
            _ => return None,
        };
        Some(source)
    }
}

fn not_here(node: &Node, write: &str) -> Diagnostic {
    node.error("bad-key", "encryption key without a source")
        .detail("The settings say where a key comes from; the key itself must not be written here.")
        .hint(format!("write `{write}`, and set the variable when gabion runs"))
}

fn empty(key: &str, what: &str) -> Diagnostic {
    Diagnostic::error("bad-key", "encryption key without a source")
        .detail(format!("`{key}` names no {what}."))
        .hint(format!("write the {what}"))
}
