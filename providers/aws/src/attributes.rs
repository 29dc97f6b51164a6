//! Reading inputs and writing attributes.

use std::collections::BTreeMap;
use std::sync::Arc;

use gabion_engine::provider::AttributeProblem;
use gabion_engine::value::{AttributePath, Attributes, Value};

/// Returns a value as the API gets it: a secret opened.
pub(crate) fn opened(value: &Value) -> &Value {
    match value {
        Value::Secret(secret) => secret.expose().unwrap_or(&Value::Null),
        other => other,
    }
}

/// Returns a text.
pub(crate) fn text<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a str> {
    attributes.get(name).map(opened).and_then(Value::as_str)
}

/// Returns a text that is always there, because the schema requires it.
pub(crate) fn required<'a>(attributes: &'a Attributes, name: &str) -> &'a str {
    text(attributes, name).unwrap_or_default()
}

/// Returns a whole number.
pub(crate) fn int(attributes: &Attributes, name: &str) -> Option<i32> {
    let number = attributes.get(name).map(opened).and_then(Value::as_int)?;
    i32::try_from(number).ok()
}

/// Returns a truth.
pub(crate) fn truth(attributes: &Attributes, name: &str) -> Option<bool> {
    attributes.get(name).map(opened).and_then(Value::as_bool)
}

/// Returns a list of texts; none when it is absent.
pub(crate) fn texts(attributes: &Attributes, name: &str) -> Vec<String> {
    let items = attributes.get(name).map(opened).and_then(Value::as_list);
    items
        .unwrap_or_default()
        .iter()
        .filter_map(|item| opened(item).as_str().map(str::to_owned))
        .collect()
}

/// Returns the entries of the one map that a list holds: a block in Terraform's shape.
pub(crate) fn block<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a Attributes> {
    blocks(attributes, name).into_iter().next()
}

/// Returns the maps that a list holds.
pub(crate) fn blocks<'a>(attributes: &'a Attributes, name: &str) -> Vec<&'a Attributes> {
    let items = attributes.get(name).map(opened).and_then(Value::as_list);
    items
        .unwrap_or_default()
        .iter()
        .filter_map(|item| opened(item).as_map())
        .collect()
}

/// Returns whether the inputs set an attribute.
pub(crate) fn is_set(attributes: &Attributes, name: &str) -> bool {
    attributes.get(name).is_some_and(|value| !value.is_null())
}

/// Attributes under construction; what is absent is left out.
#[derive(Default)]
pub(crate) struct Written(Attributes);

impl Written {
    pub(crate) fn text(&mut self, name: &str, text: Option<impl AsRef<str>>) -> &mut Self {
        self.value(name, text.map(|text| Value::string(text)))
    }

    pub(crate) fn int(&mut self, name: &str, number: Option<i32>) -> &mut Self {
        self.value(name, number.map(|number| Value::Int(number.into())))
    }

    pub(crate) fn truth(&mut self, name: &str, truth: Option<bool>) -> &mut Self {
        self.value(name, truth.map(Value::Bool))
    }

    pub(crate) fn texts<T: AsRef<str>>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
    ) -> &mut Self {
        let mut items: Vec<Arc<str>> = items.into_iter().map(|item| item.as_ref().into()).collect();
        items.sort();
        let list = (!items.is_empty()).then(|| Value::List(items.into_iter().map(Value::String).collect()));
        self.value(name, list)
    }

    pub(crate) fn value(&mut self, name: &str, value: Option<Value>) -> &mut Self {
        if let Some(value) = value {
            self.0.insert(name.into(), value);
        }
        self
    }

    /// Puts a region, and the profile as the inputs name it.
    pub(crate) fn place(&mut self, region: &str, inputs: &Attributes) -> &mut Self {
        self.text("region", Some(region))
            .text("profile", text(inputs, "profile"))
    }

    pub(crate) fn done(&mut self) -> Attributes {
        std::mem::take(&mut self.0)
    }
}

/// Returns what is there in the words of the inputs where both mean the same, so that no difference shows where there is
/// none.
pub(crate) fn as_written<T: PartialEq>(
    written: Option<&Value>,
    there: Value,
    meaning: impl Fn(&Value) -> T,
) -> Value {
    match written {
        Some(written) if !written.is_null() && meaning(written) == meaning(&there) => written.clone(),
        _ => there,
    }
}

/// Returns a map cut down to the entries that a written one names.
pub(crate) fn only_named(written: &Attributes, there: &Attributes) -> Value {
    let entries = written.iter().map(|(name, value)| {
        let there = there.get(name).cloned().unwrap_or_default();
        (name.clone(), if value.is_null() { Value::Null } else { there })
    });
    Value::Map(entries.collect())
}

/// Returns one problem.
pub(crate) fn problem(name: &str, message: impl Into<String>, hint: impl Into<String>) -> AttributeProblem {
    AttributeProblem {
        path: AttributePath::root(name),
        message: message.into(),
        hint: Some(hint.into()),
    }
}

/// Returns the tags that people set.
pub(crate) fn user_tags(attributes: &Attributes) -> BTreeMap<String, String> {
    let tags = attributes.get("tags").map(opened).and_then(Value::as_map);
    tags.into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.to_string(), opened(value).as_str()?.to_owned())))
        .collect()
}
