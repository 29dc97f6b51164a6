//! `state.encryption` in `gabion.yml`: where the keys come from that a store's content is encrypted with.

use gabion_engine::config::{FromNode, MapReader, Node, Plugin, SecretSource, Spanned};
use gabion_engine::diagnostic::Diagnostics;
use serde_json::{Value, json};

/// How the content of a store is encrypted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Encryption {
    /// What new content is encrypted with.
    pub(crate) key: Spanned<SecretSource>,
    /// What older content may still be encrypted with.
    pub(crate) previous: Vec<Spanned<SecretSource>>,
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
        entries.insert("key".into(), source_to_yaml(&self.key.value));
        if !self.previous.is_empty() {
            let previous = self.previous.iter().map(|source| source_to_yaml(&source.value));
            entries.insert("previous".into(), previous.collect());
        }
        entries.into()
    }

    /// Returns the JSON Schema of the key `encryption`.
    pub(crate) fn json_schema() -> Value {
        let source = SecretSource::json_schema();
        let mut key = source.clone();
        key["description"] = "Where the key comes from: 64 hexadecimal digits.".into();
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

fn source_to_yaml(source: &SecretSource) -> serde_yaml::Value {
    let (key, value): (&str, serde_yaml::Value) = match source {
        SecretSource::Environment(name) => ("env", name.as_str().into()),
        SecretSource::File(path) => ("file", path.as_str().into()),
        SecretSource::Command(words) => ("command", words.iter().map(String::as_str).collect()),
        // It was reported, and no store is opened with it.
        SecretSource::Invalid => return serde_yaml::Value::Null,
    };
    let mut entries = serde_yaml::Mapping::new();
    entries.insert(key.into(), value);
    entries.into()
}

impl FromNode for Encryption {
    fn expected() -> String {
        "how the state is encrypted: `{key: {env: VARIABLE}}`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_map().is_none() {
            problems.push(
                node.error("bad-secret", "encryption key without a source")
                    .detail(
                        "The settings say where a key comes from; the key itself must not be written here.",
                    )
                    .hint(
                        "write `encryption: {key: {env: VARIABLE}}`, and set the variable when gabion runs",
                    ),
            );
            return None;
        }
        let mut map = MapReader::open(node, "encryption", problems)?;
        let key = map.required::<Spanned<SecretSource>>("key");
        let previous = map.optional::<Vec<Spanned<SecretSource>>>("previous");
        map.finish();
        Some(Self {
            key: key?,
            previous: previous?.unwrap_or_default(),
        })
    }
}
