//! Values of attributes, known, unknown until apply, or secret.
//!
//! A known value is plain data. An [`Unknown`] carries the template that will fill it, so that a plan can show it and
//! apply can evaluate it. A [`Secret`] is never serialised nor printed: what leaves memory is its template and its
//! keyed [`Fingerprint`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The attributes of a resource or object, by name.
pub type Attributes = BTreeMap<Arc<str>, Value>;

/// One value.
///
/// Equality is structural; two secrets are equal when template and fingerprint are. To decide whether an object
/// changed, use [`Value::compare`], which knows when it cannot tell.
#[derive(Clone, PartialEq, Default)]
pub enum Value {
    /// No value.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction; never NaN nor infinite.
    Float(f64),
    /// Text.
    String(Arc<str>),
    /// Values in order.
    List(Vec<Value>),
    /// Values by name.
    Map(Attributes),
    /// Not known before apply.
    Unknown(Unknown),
    /// Known, and never shown.
    Secret(Secret),
}

/// Source text of a template, such as `${{ host_unit.a.port.http }}` or `http://${{ x.y.z }}/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct TemplateText(Arc<str>);

impl TemplateText {
    /// Wraps a template's source.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().into())
    }

    /// Returns the source.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TemplateText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TemplateText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A value that only apply will know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unknown {
    /// The template that will fill it; `None` when the provider computes it.
    pub template: Option<TemplateText>,
}

/// A value that is never written nor printed.
#[derive(Clone, Default)]
pub struct Secret {
    /// Where the value comes from, evaluated again at apply; `None` when a provider returned it.
    pub template: Option<TemplateText>,
    /// The keyed digest that tells whether it changed; `None` without a key.
    pub fingerprint: Option<Fingerprint>,
    /// The value itself, in memory only.
    exposed: Option<Arc<Value>>,
}

impl Secret {
    /// Makes a secret that holds its value.
    pub fn new(template: Option<TemplateText>, value: Value) -> Self {
        Self {
            template,
            fingerprint: None,
            exposed: Some(Arc::new(value)),
        }
    }

    /// Makes a secret as a plan or state has it: without the value.
    pub fn sealed(template: Option<TemplateText>, fingerprint: Option<Fingerprint>) -> Self {
        Self {
            template,
            fingerprint,
            exposed: None,
        }
    }

    /// Returns the value, if this process has it.
    ///
    /// Only a provider that hands it to its object may call this.
    pub fn expose(&self) -> Option<&Value> {
        self.exposed.as_deref()
    }

    /// Returns the same secret with another fingerprint.
    pub fn with_fingerprint(mut self, fingerprint: Option<Fingerprint>) -> Self {
        self.fingerprint = fingerprint;
        self
    }

    /// Returns the secret without its value, as it may be written.
    pub fn seal(&self) -> Self {
        Self::sealed(self.template.clone(), self.fingerprint.clone())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.template == other.template && self.fingerprint == other.fingerprint
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.template {
            Some(template) => write!(f, "Secret({template})"),
            None => f.write_str("Secret"),
        }
    }
}

/// A keyed digest (HMAC-SHA-256) of a secret, with the id of the key that made it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Fingerprint {
    /// The id of the key.
    pub key: Arc<str>,
    /// The digest, in hexadecimal.
    pub mac: Arc<str>,
}

/// What a comparison of two values can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// They are the same.
    Equal,
    /// They differ.
    Different,
    /// One is a secret whose fingerprint cannot be compared.
    CannotTell,
}

impl Comparison {
    fn and(self, other: impl FnOnce() -> Comparison) -> Comparison {
        match self {
            Comparison::Different => Comparison::Different,
            Comparison::Equal => other(),
            Comparison::CannotTell => match other() {
                Comparison::Different => Comparison::Different,
                _ => Comparison::CannotTell,
            },
        }
    }
}

impl Value {
    /// Makes a text value.
    pub fn string(text: impl AsRef<str>) -> Self {
        Value::String(text.as_ref().into())
    }

    /// Makes a value that the provider will compute.
    pub fn unknown() -> Self {
        Value::Unknown(Unknown::default())
    }

    /// Makes a value that a template will fill.
    pub fn template(text: impl AsRef<str>) -> Self {
        Value::Unknown(Unknown {
            template: Some(TemplateText::new(text)),
        })
    }

    /// Makes a map.
    pub fn map<K: AsRef<str>>(entries: impl IntoIterator<Item = (K, Value)>) -> Self {
        Value::Map(
            entries
                .into_iter()
                .map(|(k, v)| (Arc::from(k.as_ref()), v))
                .collect(),
        )
    }

    /// Returns the text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the number of a whole number.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the truth of a bool.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// Returns the items of a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the entries of a map.
    pub fn as_map(&self) -> Option<&Attributes> {
        match self {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns whether this is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Returns whether nothing in this value is unknown.
    pub fn is_wholly_known(&self) -> bool {
        match self {
            Value::Unknown(_) => false,
            Value::List(items) => items.iter().all(Value::is_wholly_known),
            Value::Map(entries) => entries.values().all(Value::is_wholly_known),
            _ => true,
        }
    }

    /// Returns whether anything in this value is secret.
    pub fn has_secret(&self) -> bool {
        match self {
            Value::Secret(_) => true,
            Value::List(items) => items.iter().any(Value::has_secret),
            Value::Map(entries) => entries.values().any(Value::has_secret),
            _ => false,
        }
    }

    /// Returns the paths of the leaves for which `wanted` holds, in order.
    pub fn paths_where(&self, wanted: &dyn Fn(&Value) -> bool) -> Vec<AttributePath> {
        fn walk(
            value: &Value,
            at: &AttributePath,
            wanted: &dyn Fn(&Value) -> bool,
            out: &mut Vec<AttributePath>,
        ) {
            match value {
                Value::List(items) => {
                    for (index, item) in items.iter().enumerate() {
                        walk(item, &at.index(index), wanted, out);
                    }
                }
                Value::Map(entries) => {
                    for (name, item) in entries {
                        walk(item, &at.key(name), wanted, out);
                    }
                }
                leaf if wanted(leaf) => out.push(at.clone()),
                _ => {}
            }
        }
        let mut out = Vec::new();
        walk(self, &AttributePath::default(), wanted, &mut out);
        out
    }

    /// Returns the value at a path, if there is one.
    pub fn at(&self, path: &AttributePath) -> Option<&Value> {
        path.0
            .iter()
            .try_fold(self, |value, segment| match (segment, value) {
                (PathSegment::Key(name), Value::Map(entries)) => entries.get(name),
                (PathSegment::Index(index), Value::List(items)) => items.get(*index),
                _ => None,
            })
    }

    /// Compares two values, secrets by fingerprint.
    ///
    /// An unknown differs from everything: whether it will be equal is apply's to see.
    pub fn compare(&self, other: &Value) -> Comparison {
        use Comparison::{CannotTell, Different, Equal};
        let of = |same: bool| if same { Equal } else { Different };
        match (self, other) {
            (Value::Secret(a), Value::Secret(b)) => match (&a.fingerprint, &b.fingerprint) {
                (Some(x), Some(y)) if x.key == y.key => of(x.mac == y.mac),
                _ => match (a.expose(), b.expose()) {
                    (Some(x), Some(y)) => x.compare(y),
                    _ => CannotTell,
                },
            },
            (Value::Secret(a), b) | (b, Value::Secret(a)) => match a.expose() {
                Some(value) => value.compare(b),
                None => CannotTell,
            },
            (Value::Int(a), Value::Float(b)) | (Value::Float(b), Value::Int(a)) => of(*a as f64 == *b),
            (Value::List(a), Value::List(b)) => {
                if a.len() != b.len() {
                    return Different;
                }
                a.iter()
                    .zip(b)
                    .fold(Equal, |so_far, (x, y)| so_far.and(|| x.compare(y)))
            }
            (Value::Map(a), Value::Map(b)) => {
                if a.len() != b.len() || !a.keys().eq(b.keys()) {
                    return Different;
                }
                a.values()
                    .zip(b.values())
                    .fold(Equal, |so_far, (x, y)| so_far.and(|| x.compare(y)))
            }
            (Value::Unknown(_), _) | (_, Value::Unknown(_)) => Different,
            (a, b) => of(a == b),
        }
    }

    /// Returns the value with every secret's value dropped, as it may be written.
    pub fn seal(&self) -> Value {
        self.map_leaves(&mut |leaf| match leaf {
            Value::Secret(secret) => Value::Secret(secret.seal()),
            other => other.clone(),
        })
    }

    /// Returns the value with each leaf (anything but a list or map) replaced.
    pub fn map_leaves(&self, replace: &mut dyn FnMut(&Value) -> Value) -> Value {
        match self {
            Value::List(items) => Value::List(items.iter().map(|item| item.map_leaves(replace)).collect()),
            Value::Map(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(k, v)| (k.clone(), v.map_leaves(replace)))
                    .collect(),
            ),
            leaf => replace(leaf),
        }
    }

    /// Returns the value as plain JSON with unknown and secret leaves as null.
    pub fn to_redacted_json(&self) -> serde_json::Value {
        match self {
            Value::Null | Value::Unknown(_) | Value::Secret(_) => serde_json::Value::Null,
            Value::Bool(truth) => (*truth).into(),
            Value::Int(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::String(text) => (**text).into(),
            Value::List(items) => items.iter().map(Value::to_redacted_json).collect(),
            Value::Map(entries) => serde_json::Value::Object(
                entries
                    .iter()
                    .map(|(k, v)| (k.to_string(), v.to_redacted_json()))
                    .collect(),
            ),
        }
    }

    /// Returns a value from plain JSON; numbers beyond `i64` become floats.
    pub fn from_json(json: &serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(truth) => Value::Bool(*truth),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(whole) => Value::Int(whole),
                None => Value::Float(number.as_f64().unwrap_or_default()),
            },
            serde_json::Value::String(text) => Value::string(text),
            serde_json::Value::Array(items) => Value::List(items.iter().map(Value::from_json).collect()),
            serde_json::Value::Object(entries) => {
                Value::map(entries.iter().map(|(k, v)| (k, Value::from_json(v))))
            }
        }
    }
}

/// Returns attributes with every secret's value dropped, as they may be written.
pub fn seal_attributes(attributes: &Attributes) -> Attributes {
    attributes
        .iter()
        .map(|(name, value)| (name.clone(), value.seal()))
        .collect()
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(truth) => fmt::Debug::fmt(truth, f),
            Value::Int(number) => fmt::Debug::fmt(number, f),
            Value::Float(number) => fmt::Debug::fmt(number, f),
            Value::String(text) => fmt::Debug::fmt(text, f),
            Value::List(items) => f.debug_list().entries(items).finish(),
            Value::Map(entries) => f.debug_map().entries(entries).finish(),
            Value::Unknown(Unknown {
                template: Some(template),
            }) => write!(f, "Unknown({template})"),
            Value::Unknown(Unknown { template: None }) => f.write_str("Unknown"),
            Value::Secret(secret) => fmt::Debug::fmt(secret, f),
        }
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Value::Bool(truth)
    }
}
impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}
impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::string(text)
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::string(text)
    }
}

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

impl JsonSchema for AttributePath {
    fn schema_name() -> Cow<'static, str> {
        "AttributePath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The path of an attribute.",
            "examples": ["env.HF_TOKEN", "ports[0]"],
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
        fn read<E: serde::de::Error>(json: serde_json::Value) -> Result<Value, E> {
            Ok(match json {
                serde_json::Value::Object(mut entries) => {
                    if let Some(template) = entries.remove(UNKNOWN_KEY) {
                        let template = serde_json::from_value(template).map_err(E::custom)?;
                        return Ok(Value::Unknown(Unknown { template }));
                    }
                    if let Some(secret) = entries.remove(SECRET_KEY) {
                        let WrittenSecret {
                            template,
                            fingerprint,
                        } = serde_json::from_value(secret).map_err(E::custom)?;
                        return Ok(Value::Secret(Secret::sealed(template, fingerprint)));
                    }
                    let mut map = Attributes::new();
                    for (name, value) in entries {
                        let name = match name.strip_prefix('$') {
                            Some(own) => Arc::from(own),
                            None => Arc::from(name),
                        };
                        map.insert(name, read(value)?);
                    }
                    Value::Map(map)
                }
                serde_json::Value::Array(items) => {
                    Value::List(items.into_iter().map(read).collect::<Result<_, E>>()?)
                }
                leaf => Value::from_json(&leaf),
            })
        }
        read(serde_json::Value::deserialize(deserializer).map_err(D::Error::custom)?)
    }
}

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathSegment {
    /// An entry of a map.
    Key(Arc<str>),
    /// An item of a list, from 0.
    Index(usize),
}

/// The place of a value within attributes, printed as `a.b[0]["odd key"]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AttributePath(pub Vec<PathSegment>);

impl AttributePath {
    /// Returns the path of a top-level attribute.
    pub fn root(name: impl AsRef<str>) -> Self {
        Self(vec![PathSegment::Key(name.as_ref().into())])
    }

    /// Returns this path, one key deeper.
    #[must_use]
    pub fn key(&self, name: impl AsRef<str>) -> Self {
        let mut segments = self.0.clone();
        segments.push(PathSegment::Key(name.as_ref().into()));
        Self(segments)
    }

    /// Returns this path, one index deeper.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut segments = self.0.clone();
        segments.push(PathSegment::Index(index));
        Self(segments)
    }

    /// Returns the top-level attribute's name.
    pub fn first_key(&self) -> Option<&str> {
        match self.0.first() {
            Some(PathSegment::Key(name)) => Some(name),
            _ => None,
        }
    }

    /// Returns whether `other` is this path or inside it.
    pub fn contains(&self, other: &AttributePath) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl fmt::Display for AttributePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                PathSegment::Index(index) => write!(f, "[{index}]")?,
                PathSegment::Key(name) => {
                    let plain = !name.is_empty()
                        && name
                            .chars()
                            .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
                    match (plain, position) {
                        (true, 0) => f.write_str(name)?,
                        (true, _) => write!(f, ".{name}")?,
                        (false, _) => {
                            write!(f, "[\"{}\"]", name.replace('\\', "\\\\").replace('"', "\\\""))?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for AttributePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not an attribute path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an attribute path; write it as `name.key[0][\"odd key\"]`")]
pub struct ParsePathError(pub String);

impl std::str::FromStr for AttributePath {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, ParsePathError> {
        let wrong = || ParsePathError(text.to_owned());
        let mut segments = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(quoted) = rest.strip_prefix("[\"") {
                let mut name = String::new();
                let mut chars = quoted.char_indices();
                let end = loop {
                    match chars.next().ok_or_else(wrong)? {
                        (_, '\\') => name.push(chars.next().ok_or_else(wrong)?.1),
                        (at, '"') => break at + 1,
                        (_, other) => name.push(other),
                    }
                };
                rest = quoted[end..].strip_prefix(']').ok_or_else(wrong)?;
                segments.push(PathSegment::Key(name.into()));
            } else if let Some(number) = rest.strip_prefix('[') {
                let end = number.find(']').ok_or_else(wrong)?;
                segments.push(PathSegment::Index(number[..end].parse().map_err(|_| wrong())?));
                rest = &number[end + 1..];
            } else {
                let name = match (segments.is_empty(), rest.strip_prefix('.')) {
                    (true, None) => rest,
                    (false, Some(name)) => name,
                    _ => return Err(wrong()),
                };
                let end = name.find(['.', '[']).unwrap_or(name.len());
                if end == 0 {
                    return Err(wrong());
                }
                segments.push(PathSegment::Key(name[..end].into()));
                rest = &name[end..];
            }
        }
        if segments.is_empty() {
            Err(wrong())
        } else {
            Ok(Self(segments))
        }
    }
}

impl Serialize for AttributePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AttributePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_neither_printed_nor_written() {
        let secret = Value::Secret(Secret::new(
            Some(TemplateText::new("${{ env.T }}")),
            "hunter2".into(),
        ));
        let value = Value::map([("token", secret)]);
        assert!(!format!("{value:?}").contains("hunter2"));
        let written = serde_json::to_string(&value).unwrap();
        assert!(!written.contains("hunter2"), "{written}");
        let read: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(read, value.seal());
    }

    #[test]
    fn written_form_reads_back() {
        let value = Value::map([
            ("$odd", Value::Int(1)),
            ("$$odder", Value::Null),
            ("unknown", Value::template("${{ a.b.c }}")),
            ("computed", Value::unknown()),
            ("list", Value::List(vec![Value::Float(1.5), true.into()])),
        ]);
        let read: Value = serde_json::from_str(&serde_json::to_string(&value).unwrap()).unwrap();
        assert_eq!(read, value);
    }

    #[test]
    fn paths_print_and_parse_the_same() {
        for text in ["a", "a.b[0].c", "a[\"x.y\"][2]", "a[\"q\\\"q\"]"] {
            assert_eq!(text.parse::<AttributePath>().unwrap().to_string(), text);
        }
        for text in ["", ".", "a..b", "a[", "a[x]", "a[\"x\""] {
            assert!(text.parse::<AttributePath>().is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_without_a_common_key_cannot_be_compared() {
        let print = |key: &str, mac: &str| {
            Value::Secret(Secret::sealed(
                None,
                Some(Fingerprint {
                    key: key.into(),
                    mac: mac.into(),
                }),
            ))
        };
        assert_eq!(print("k", "1").compare(&print("k", "1")), Comparison::Equal);
        assert_eq!(print("k", "1").compare(&print("k", "2")), Comparison::Different);
        assert_eq!(print("k", "1").compare(&print("l", "1")), Comparison::CannotTell);
    }
}
