//! Keeping secrets out of what providers say: error messages, details, phases.

use std::collections::BTreeSet;

use crate::provider::ProviderError;
use crate::value::{Attributes, Value};

/// Shorter secrets are not looked for: they would be found everywhere.
const SHORTEST: usize = 4;

/// The texts of secrets that calls were given.
#[derive(Clone, Default)]
pub(super) struct Redactor {
    /// Longest first would leave no half behind; the set's order is made so by [`Redactor::text`].
    secrets: BTreeSet<String>,
}

impl Redactor {
    /// Learns the secrets in attributes.
    pub(super) fn learn(&mut self, attributes: &Attributes) {
        for value in attributes.values() {
            self.learn_value(value, false);
        }
    }

    fn learn_value(&mut self, value: &Value, secret: bool) {
        match value {
            Value::Secret(inner) => {
                if let Some(exposed) = inner.expose() {
                    self.learn_value(exposed, true);
                }
            }
            Value::List(items) => items.iter().for_each(|item| self.learn_value(item, secret)),
            Value::Map(entries) => entries.values().for_each(|item| self.learn_value(item, secret)),
            Value::String(text) if secret => self.learn_text(text),
            Value::Int(number) if secret => self.learn_text(&number.to_string()),
            Value::Float(number) if secret => self.learn_text(&number.to_string()),
            _ => {}
        }
    }

    fn learn_text(&mut self, text: &str) {
        // A text of several lines may be told a line at a time.
        for part in std::iter::once(text).chain(text.lines()) {
            if part.trim().len() >= SHORTEST {
                self.secrets.insert(part.to_owned());
            }
        }
    }

    /// Returns a text without the secrets.
    pub(super) fn text(&self, text: &str) -> String {
        let mut secrets: Vec<&String> = self.secrets.iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.into_iter().fold(text.to_owned(), |text, secret| {
            if text.contains(secret.as_str()) {
                text.replace(secret.as_str(), "(secret)")
            } else {
                text
            }
        })
    }

    /// Returns an error without the secrets.
    pub(super) fn error(&self, error: ProviderError) -> ProviderError {
        if self.secrets.is_empty() {
            return error;
        }
        ProviderError {
            message: self.text(&error.message),
            hint: error.hint.map(|hint| self.text(&hint)),
            detail: error.detail.iter().map(|line| self.text(line)).collect(),
            ..error
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::ErrorClass;
    use crate::value::Secret;

    #[test]
    fn what_a_provider_says_holds_no_secret() {
        let secret = |text: &str| Value::Secret(Secret::new(None, text.into()));
        let mut redactor = Redactor::default();
        redactor.learn(&Attributes::from([
            ("a".into(), secret("hunter2")),
            (
                "b".into(),
                Value::List(vec![secret("hunter2-longer"), secret("ab")]),
            ),
            ("c".into(), "plain".into()),
        ]));
        let error = ProviderError::new(ErrorClass::Invalid, "no hunter2-longer about plain")
            .with_detail(["token=hunter2".to_owned()]);
        let redacted = redactor.error(error);
        assert_eq!(redacted.message, "no (secret) about plain");
        assert_eq!(redacted.detail, ["token=(secret)"]);
    }
}
