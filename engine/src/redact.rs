//! Keeping secrets out of what providers say: error messages, details, phases.

use std::collections::BTreeSet;

use crate::provider::ProviderError;
use crate::value::{Attributes, Value};

/// Shorter secrets are not looked for: they would be found everywhere, and leave the rest unreadable.
const SHORTEST: usize = 4;

/// The texts of secrets that calls were given, as they are and as JSON and URLs spell them.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Longest first would leave no half behind; the set's order is made so by [`Redactor::text`].
    secrets: BTreeSet<String>,
}

impl Redactor {
    /// Learns the secrets in attributes.
    pub fn learn(&mut self, attributes: &Attributes) {
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

    /// Learns one secret.
    pub fn learn_text(&mut self, text: &str) {
        // A text of several lines may be told a line at a time.
        for part in std::iter::once(text).chain(text.lines()).map(str::trim) {
            if part.len() >= SHORTEST {
                self.secrets.insert(part.to_owned());
                self.secrets.extend(spellings(part));
            }
        }
    }

    /// Returns a text without the secrets.
    pub fn text(&self, text: &str) -> String {
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
    pub fn error(&self, error: ProviderError) -> ProviderError {
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

/// Returns how a text is written inside JSON and in URLs.
fn spellings(text: &str) -> impl Iterator<Item = String> {
    let quoted = serde_json::Value::from(text).to_string();
    let json = quoted[1..quoted.len() - 1].to_owned();
    let ascii = ascii_only(&json);
    // Programs differ in whether they leave slashes, and in what a blank becomes.
    let url = [("", "%20"), ("/", "%20"), ("", "+"), ("/", "+")];
    let urls = url.map(|(kept, blank)| url_encoded(text, kept, blank));
    let lower = urls.clone().map(|url| lower_escapes(&url));
    [json, ascii].into_iter().chain(urls).chain(lower)
}

/// Returns JSON's text as programs write it that keep to ASCII.
fn ascii_only(json: &str) -> String {
    let mut text = String::new();
    for character in json.chars() {
        if character.is_ascii() {
            text.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

fn url_encoded(text: &str, kept: &str, blank: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        let plain =
            byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.as_bytes().contains(&byte);
        match byte {
            b' ' => encoded.push_str(blank),
            _ if plain => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Returns a URL's text with the digits of its escapes in lower case.
fn lower_escapes(url: &str) -> String {
    let mut digits = 0;
    url.chars()
        .map(|character| {
            if character == '%' {
                digits = 2;
                character
            } else if digits > 0 {
                digits -= 1;
                character.to_ascii_lowercase()
            } else {
                character
            }
        })
        .collect()
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

    #[test]
    fn a_secret_is_found_as_json_and_urls_spell_it() {
        let mut redactor = Redactor::default();
        redactor.learn_text("p\"w d/1\u{e9}\n");
        for said in [
            "p\"w d/1\u{e9}",
            r#"{"password":"p\"w d/1\u00e9"}"#,
            "?p=p%22w%20d%2F1%C3%A9",
            "?p=p%22w+d%2f1%c3%a9",
            "/p%22w%20d/1%C3%A9/",
        ] {
            let heard = redactor.text(said);
            assert!(
                heard.contains("(secret)") && !heard.contains("d/1") && !heard.contains("w%20d"),
                "{heard}"
            );
        }
        redactor.learn_text("x");
        assert_eq!(redactor.text("exit"), "exit");
    }
}
