//! Answers in XML, written element by element.

use std::fmt::Display;

/// A text of XML that grows.
#[derive(Debug, Default)]
pub(super) struct Xml(String);

impl Xml {
    /// Takes a text that is XML already.
    pub(super) fn of(text: String) -> Self {
        Self(text)
    }

    /// Adds an element with a text in it.
    pub(super) fn text(&mut self, name: &str, text: impl Display) -> &mut Self {
        let escaped = escaped(&text.to_string());
        self.0.push_str(&format!("<{name}>{escaped}</{name}>"));
        self
    }

    /// Adds an element with a text in it, if there is one.
    pub(super) fn some(&mut self, name: &str, text: Option<impl Display>) -> &mut Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }

    /// Adds an element with elements in it.
    pub(super) fn within(&mut self, name: &str, write: impl FnOnce(&mut Self)) -> &mut Self {
        self.0.push_str(&format!("<{name}>"));
        write(self);
        self.0.push_str(&format!("</{name}>"));
        self
    }

    /// Adds a list as EC2 writes them: an `item` for each.
    pub(super) fn items<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.within(name, |list| {
            for item in items {
                list.within("item", |one| write(one, item));
            }
        })
    }

    /// Returns the text.
    pub(super) fn done(self) -> String {
        self.0
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Returns a text of XML without its escapes.
pub(super) fn plain(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&apos;", "'")
        .replace("&#39;", "'")
        .replace("&#xA;", "\n")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}
