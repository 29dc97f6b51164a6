//! The spanned tree that every document is decoded from.

use crate::diagnostic::Span;

/// One YAML value and where it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub kind: NodeKind,
    /// Where the value is written: a scalar's text (with its quotes), a flow collection from bracket to bracket, a
    /// block collection's key (or its first entry, when it has no key).
    pub span: Span,
    /// The alias (`*name`, or the value of `<<`) through which the value came here, when it is written elsewhere.
    pub alias: Option<Span>,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// Nothing: `~`, `null` or no text at all.
    Null,
    /// `true` or `false`. YAML 1.1's other words (`off`, `yes`) are strings here; see [`Node::as_bool`].
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction or exponent.
    Float(f64),
    /// Text.
    String(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order written. Keys are unique.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// The key's text (`8000` for a number).
    pub name: String,
    /// Where it is written.
    pub span: Span,
}

impl Node {
    /// Returns the text of a scalar as it is written: `3.10` stays `3.10`, `off` stays `off`. Quoted text is without
    /// its quotes. Nothing for null and for collections.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::String(text) => Some(text),
            NodeKind::Bool(_) | NodeKind::Int(_) | NodeKind::Float(_) => Some(self.span.text()),
            NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_) => None,
        }
    }

    /// Returns the boolean that this is, in the reading of YAML 1.1 too: `on`/`off`, `yes`/`no`, in any case.
    pub fn as_bool(&self) -> Option<bool> {
        match &self.kind {
            NodeKind::Bool(value) => Some(*value),
            NodeKind::String(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => Some(true),
                "false" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns the text of a string (numbers and booleans are none; see [`Node::text`]).
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the items of a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.kind {
            NodeKind::List(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the entries of a map.
    pub fn as_map(&self) -> Option<&[(Key, Node)]> {
        match &self.kind {
            NodeKind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns the value of a key of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, node)| node)
    }

    /// Returns a key of a map with its value.
    pub fn entry(&self, key: &str) -> Option<(&Key, &Node)> {
        self.as_map()?
            .iter()
            .find(|(name, _)| name.name == key)
            .map(|(name, node)| (name, node))
    }

    /// Tells whether this is null.
    pub fn is_null(&self) -> bool {
        matches!(self.kind, NodeKind::Null)
    }

    /// Returns what this is, in words: `a list`, `text`, `a number`.
    pub fn describe(&self) -> &'static str {
        match &self.kind {
            NodeKind::Null => "nothing",
            NodeKind::Bool(_) => "true or false",
            NodeKind::Int(_) | NodeKind::Float(_) => "a number",
            NodeKind::String(_) => "text",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a map",
        }
    }

    /// Returns the span of a part of a string, given as byte offsets into its value.
    ///
    /// Exact for text that the source holds verbatim (plain, quoted without escapes before the part, a line of a
    /// block scalar); otherwise the span of the whole scalar.
    pub fn part(&self, start: usize, end: usize) -> Span {
        let (Some(value), source) = (self.as_str(), self.span.text()) else {
            return self.span.clone();
        };
        let Some(part) = value.get(start..end).filter(|part| !part.is_empty()) else {
            return self.span.clone();
        };
        // The part's first line is looked for as often as it occurs in the value up to here. That finds it in every
        // scalar style, without knowing how each folds lines.
        let needle = part.lines().next().unwrap_or(part);
        let Some(rank) = value.match_indices(needle).position(|(at, _)| at == start) else {
            return self.span.clone();
        };
        match source.match_indices(needle).nth(rank) {
            Some((at, _)) => self.span.part(at, at + needle.len()),
            None => self.span.clone(),
        }
    }
}
