//! Values of attributes, known, unknown until apply, or secret.
//!
//! A known value is plain data. An [`Unknown`] carries the template that will fill it, so that a plan can show it and
//! apply can evaluate it. A [`Secret`] is never serialised nor printed: what leaves memory is its template and its
//! keyed [`Fingerprint`].

mod attributes;
mod path;
mod secret;
mod written;

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use attributes::{Attributes, Iter, IterMut};
pub use path::{AttributePath, ParsePathError, PathSegment};
pub use secret::{Fingerprint, Secret};

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
                .map(|(k, v)| (crate::intern::intern(k.as_ref()), v))
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
        if !self.has_secret() {
            return self.clone();
        }
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
    if !attributes.values().any(Value::has_secret) {
        return attributes.clone();
    }
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
