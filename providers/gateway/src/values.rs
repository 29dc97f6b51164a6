//! Attributes as plain Rust values, and what is wrong with them.

use std::collections::BTreeMap;

use gabion_engine::provider::{ErrorClass, ProviderError};
use gabion_engine::value::{AttributePath, Attributes, Value};

/// Wholly known attributes, read by name; a secret leaf is read as its value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a Attributes);

impl<'a> Reader<'a> {
    /// Returns a value that is set.
    pub(crate) fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Returns a text that is set.
    pub(crate) fn text(self, name: &str) -> Option<&'a str> {
        self.get(name)?.as_str()
    }

    /// Returns a text that must be there.
    pub(crate) fn need(self, name: &str) -> Result<&'a str, ProviderError> {
        self.text(name).ok_or_else(|| invalid(name, "must be a text"))
    }

    /// Returns a bool.
    pub(crate) fn truth(self, name: &str, default: bool) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(default)
    }

    /// Returns a number of seconds.
    pub(crate) fn seconds(self, name: &str, default: u64) -> u64 {
        let seconds = self.get(name).and_then(Value::as_int);
        seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .unwrap_or(default)
    }

    /// Returns a list of texts; absent is empty.
    pub(crate) fn texts(self, name: &str) -> Result<Vec<String>, ProviderError> {
        let Some(value) = self.get(name) else {
            return Ok(Vec::new());
        };
        let items = value.as_list().ok_or_else(|| invalid(name, "must be a list"))?;
        let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
        texts
            .collect::<Option<_>>()
            .ok_or_else(|| invalid(name, "must be a list of texts"))
    }

    /// Returns a map of texts whose values may be secret; absent is empty.
    pub(crate) fn secrets(self, name: &str) -> Result<BTreeMap<String, String>, ProviderError> {
        let Some(value) = self.get(name) else {
            return Ok(BTreeMap::new());
        };
        let entries = exposed(value).and_then(Value::as_map);
        let entries = entries.ok_or_else(|| invalid(name, "must be a map"))?;
        let texts = entries.iter().map(|(label, value)| {
            let text = exposed(value).and_then(Value::as_str)?;
            Some((label.to_string(), text.to_owned()))
        });
        texts
            .collect::<Option<_>>()
            .ok_or_else(|| invalid(name, "must be a map of texts whose values are at hand"))
    }
}

fn exposed(value: &Value) -> Option<&Value> {
    match value {
        Value::Secret(secret) => secret.expose(),
        other => Some(other),
    }
}

/// Returns the error of a call with an attribute that the schema should have kept away.
pub(crate) fn invalid(name: &str, problem: &str) -> ProviderError {
    ProviderError::new(ErrorClass::Invalid, format!("`{name}` {problem}.")).at(AttributePath::root(name))
}

/// Sets an attribute unless there is nothing to set.
pub(crate) fn set(attributes: &mut Attributes, name: &str, value: Value) {
    if !value.is_null() {
        attributes.insert(name.into(), value);
    }
}

/// Returns a list of texts, absent when it is empty and was not spelled out, and in the recorded spelling when only case
/// differs.
pub(crate) fn text_list(items: &[String], recorded: Option<&Value>) -> Value {
    if items.is_empty() && recorded.is_none_or(Value::is_null) {
        return Value::Null;
    }
    let own = recorded.and_then(Value::as_list).unwrap_or_default();
    let alike = |own: &Value, item: &String| own.as_str().is_some_and(|own| own.eq_ignore_ascii_case(item));
    if own.len() == items.len() && own.iter().zip(items).all(|(own, item)| alike(own, item)) {
        return Value::List(own.to_vec());
    }
    Value::List(items.iter().map(Value::string).collect())
}
