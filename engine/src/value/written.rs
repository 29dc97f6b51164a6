//! The written form of values.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::intern::{Interned, intern};
use crate::value::{Fingerprint, Secret, TemplateText, Unknown, Value};

// The written form is plain JSON. Unknown and secret leaves are maps of one key that starts with `$`; a key of the
// user's own that starts with `$` gets a second one.
const UNKNOWN_KEY: &str = "$unknown";
const SECRET_KEY: &str = "$secret";

/// A secret: what it is made of, and what tells whether it changed.
#[derive(Serialize, Deserialize, JsonSchema)]
struct WrittenSecret {
    /// Where the value comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    template: Option<TemplateText>,
    /// The keyed digest of the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<Fingerprint>,
}

impl JsonSchema for Value {
    fn schema_name() -> Cow<'static, str> {
        "Value".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<Self>();
        let secret = generator.subschema_for::<WrittenSecret>();
        json_schema!({
            "description": "A value of an attribute. A map with the one key `$secret` is a secret, one with `$unknown` a value that only apply can know.",
            "type": ["null", "boolean", "number", "string", "array", "object"],
            "items": value,
            "properties": {SECRET_KEY: secret, UNKNOWN_KEY: {"type": ["string", "null"], "description": "The expression that gives the value."}},
            "additionalProperties": value,
            "examples": [8000, {SECRET_KEY: {"template": "${{ secrets.TOKEN }}"}}],
        })
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(truth) => serializer.serialize_bool(*truth),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Float(number) => serializer.serialize_f64(*number),
            Value::String(text) => serializer.serialize_str(text),
            Value::List(items) => items.serialize(serializer),
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (name, value) in entries {
                    if name.starts_with('$') {
                        map.serialize_entry(&format!("${name}"), value)?;
                    } else {
                        map.serialize_entry(name, value)?;
                    }
                }
                map.end()
            }
            Value::Unknown(unknown) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(UNKNOWN_KEY, &unknown.template)?;
                map.end()
            }
            Value::Secret(secret) => {
                let written = WrittenSecret {
                    template: secret.template.clone(),
                    fingerprint: secret.fingerprint.clone(),
                };
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(SECRET_KEY, &written)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

/// Reads the written form as it comes, without a tree of plain JSON in between.
struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::string(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::with_capacity(items.size_hint().unwrap_or(0).min(64));
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        list.shrink_to_fit();
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map: Vec<(Arc<str>, Value)> = Vec::new();
        let mut marked = None;
        while let Some(Interned(name)) = entries.next_key()? {
            match &*name {
                UNKNOWN_KEY => {
                    let template = entries.next_value()?;
                    marked = Some(Value::Unknown(Unknown { template }));
                }
                SECRET_KEY => {
                    let WrittenSecret {
                        template,
                        fingerprint,
                    } = entries.next_value()?;
                    marked.get_or_insert(Value::Secret(Secret::sealed(template, fingerprint)));
                }
                own => {
                    let own = own.strip_prefix('$').map(intern);
                    map.push((own.unwrap_or(name), entries.next_value()?));
                }
            }
        }
        Ok(marked.unwrap_or_else(|| Value::Map(map.into_iter().collect())))
    }
}
