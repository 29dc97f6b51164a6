//! Typed decoding of [`Node`] trees.
//!
//! A type that implements [`FromNode`] reads itself from a node, reports **every** problem into a [`Diagnostics`], and
//! is `None` when it could not be read. A [`MapReader`] reads the keys of a map and reports what is missing, wrong or
//! unknown:
//!
//! ```
//! use gabion_engine::config::{FromNode, Keyword, MapReader, Node, Spanned, parse_yaml};
//! use gabion_engine::diagnostic::{Diagnostics, SourceFile};
//!
//! #[derive(Clone, Copy, Debug, PartialEq)]
//! enum Policy {
//!     CacheAware,
//!     Random,
//! }
//!
//! impl Keyword for Policy {
//!     const WHAT: &'static str = "a policy";
//!     const WORDS: &'static [(&'static str, Self)] = &[("cache_aware", Self::CacheAware), ("random", Self::Random)];
//! }
//!
//! #[derive(Debug)]
//! struct Gateway {
//!     name: Spanned<String>,
//!     ports: Vec<u16>,
//!     policy: Policy,
//!     default: bool,
//! }
//!
//! impl FromNode for Gateway {
//!     fn expected() -> String {
//!         "a gateway".into()
//!     }
//!
//!     fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
//!         let mut map = MapReader::open(node, "gateway", problems)?;
//!         map.known(&["type"]);
//!         let name = map.required("name");
//!         let ports = map.or("ports", Vec::new());
//!         let policy = map.or("policy", Policy::CacheAware);
//!         let default = map.or("default", false);
//!         map.finish(); // reports the keys that nobody asked for
//!         Some(Self { name: name?, ports: ports?, policy: policy?, default: default? })
//!     }
//! }
//!
//! let file = SourceFile::new("gateway.dstack.yml", "type: gateway\nname: gw\nports: [80, http]\npolcy: random\n");
//! let (documents, mut problems) = parse_yaml(&file);
//! assert!(Gateway::from_node(&documents[0], &mut problems).is_none());
//! let text = problems.to_string();
//! assert!(text.contains("gateway.dstack.yml:3:13") && text.contains("did you mean `policy`?"), "{text}");
//! ```

use std::collections::BTreeMap;

use super::expression::Template;
use super::node::{Key, Node, NodeKind};
use crate::diagnostic::{Diagnostic, Diagnostics, Span, suggestion};

/// A type that can be read from a node.
pub trait FromNode: Sized {
    /// Returns what is expected, with its article, for messages: "a port number".
    fn expected() -> String;

    /// Reads the value; reports every problem, and returns `None` only after reporting at least one error.
    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self>;
}

/// An enumeration written as one word. Every `Keyword` is [`FromNode`].
pub trait Keyword: Copy + 'static {
    /// What the words name, with its article: "a routing policy".
    const WHAT: &'static str;
    /// The words and what they mean. Several words may mean the same.
    const WORDS: &'static [(&'static str, Self)];
}

/// A value and where it is written, for checks that come later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it is written.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Puts a value and its place together.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    /// Changes the value and keeps the place.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned {
            value: change(self.value),
            span: self.span,
        }
    }
}

/// One value, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<T>);

/// A value that can be switched off: `off`, `no` and `false`; `on`, `yes` and `true` mean the default; or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch<T> {
    /// Switched off.
    Off,
    /// Switched on, with the default.
    Default,
    /// This value.
    Value(T),
}

impl Node {
    /// Starts an error at this value. A value that came through an alias also gets the place of the alias.
    pub fn error(&self, code: &'static str, summary: &'static str) -> Diagnostic {
        let error = Diagnostic::error(code, summary).at(self.span.clone());
        match &self.alias {
            Some(alias) => error.related(alias.clone(), "used here"),
            None => error,
        }
    }

    /// The error that a value is of another type than expected.
    pub fn wrong_type(&self, expected: &str) -> Diagnostic {
        let found = match (&self.kind, self.text()) {
            (NodeKind::String(text), _) if Template::is_in(text) => {
                return self
                    .error("unexpected-expression", "expression where a plain value is needed")
                    .detail(format!("Expected {expected}; this must be known when planning, so no expression can stand here."))
                    .hint("write the value itself");
            }
            (_, Some(text)) if !text.is_empty() => format!("{} `{}`", self.describe(), excerpt(text)),
            (NodeKind::String(_), _) => "an empty text".to_owned(),
            _ => self.describe().to_owned(),
        };
        self.error("wrong-type", "wrong type")
            .detail(format!("Expected {expected}, found {found}."))
            .hint(format!("write {expected}"))
    }
}

/// A user's text for a message: one line, not too long.
pub(super) fn excerpt(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(60)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

impl<T: Keyword> FromNode for T {
    fn expected() -> String {
        T::WHAT.to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let Some(word) = node.text().filter(|text| !Template::is_in(text)) else {
            problems.push(node.wrong_type(T::WHAT));
            return None;
        };
        if let Some((_, value)) = T::WORDS.iter().find(|(known, _)| *known == word) {
            return Some(*value);
        }
        let words = || T::WORDS.iter().map(|(known, _)| *known);
        let all: Vec<String> = words().map(|known| format!("`{known}`")).collect();
        problems.push(
            node.error("unknown-word", "unknown word")
                .detail(format!(
                    "`{}` is not {}; there is {}.",
                    excerpt(word),
                    T::WHAT,
                    all.join(", ")
                ))
                .hint(suggestion(word, words()).unwrap_or_else(|| "write one of these words".to_owned())),
        );
        None
    }
}

impl FromNode for Node {
    fn expected() -> String {
        "a value".to_owned()
    }

    fn from_node(node: &Node, _: &mut Diagnostics) -> Option<Self> {
        Some(node.clone())
    }
}

/// YAML 1.1's words are read too, see [`Node::as_bool`].
impl FromNode for bool {
    fn expected() -> String {
        "`true` or `false`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        // As a number, or as a text that people quote.
        let number = match node.text() {
            Some("1") => Some(true),
            Some("0") => Some(false),
            _ => None,
        };
        report(node.as_bool().or(number), node, "`true` or `false`", problems)
    }
}

/// Any scalar as it is written: `python: 3.10` is `3.10`. Expressions are refused; a [`Template`] takes them.
impl FromNode for String {
    fn expected() -> String {
        "text".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let text = node
            .text()
            .filter(|text| !Template::is_in(text))
            .map(str::to_owned);
        report(text, node, "text", problems)
    }
}

macro_rules! from_whole_number {
    ($($number:ty),*) => {$(
        impl FromNode for $number {
            fn expected() -> String {
                // The limits of 64-bit types would only confuse.
                match (i64::try_from(<$number>::MIN), i64::try_from(<$number>::MAX)) {
                    (Ok(0), Ok(max)) if max < i64::MAX => format!("a whole number from 0 to {max}"),
                    (Ok(0), _) => "a whole number, 0 or more".to_owned(),
                    _ => "a whole number".to_owned(),
                }
            }

            fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
                let value = whole_number(node).and_then(|value| value.try_into().ok());
                report(value, node, &Self::expected(), problems)
            }
        }
    )*};
}

from_whole_number!(u8, u16, u32, u64, usize, i32, i64);

/// A number, or a text that is one (people quote numbers).
fn whole_number(node: &Node) -> Option<i64> {
    match &node.kind {
        NodeKind::Int(value) => Some(*value),
        // Whole numbers with a fraction of nothing.
        NodeKind::Float(value) if value.fract() == 0.0 && value.abs() < 1e15 => Some(*value as i64),
        NodeKind::String(text) => {
            // `1_000_000` is a number in YAML 1.1.
            let digits = text.trim();
            let good = digits.starts_with(|c: char| c.is_ascii_digit()) && !digits.ends_with('_');
            if good {
                digits.replace('_', "").parse().ok()
            } else {
                digits.parse().ok()
            }
        }
        _ => None,
    }
}

impl FromNode for f64 {
    fn expected() -> String {
        "a number".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let value = match &node.kind {
            NodeKind::Int(value) => Some(*value as f64),
            NodeKind::Float(value) => Some(*value),
            NodeKind::String(text) => text.parse().ok().filter(|value: &f64| value.is_finite()),
            _ => None,
        };
        report(value, node, "a number", problems)
    }
}

/// Seconds, or a number with one of the units `s`, `m`, `h`, `d` and `w`: `90`, `5m`, `2 h`.
impl FromNode for std::time::Duration {
    fn expected() -> String {
        "a duration such as `90`, `30s`, `5m` or `2h`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        report(node.text().and_then(duration), node, &Self::expected(), problems)
    }
}

fn duration(text: &str) -> Option<std::time::Duration> {
    let text = text.trim();
    let (number, seconds) = match text.char_indices().last()? {
        (_, last) if last.is_ascii_digit() => (text, 1),
        (at, last) => {
            let unit = match last {
                's' => 1,
                'm' => 60,
                'h' => 3600,
                'd' => 86_400,
                'w' => 604_800,
                _ => return None,
            };
            (text[..at].trim_end(), unit)
        }
    };
    let number = number
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| number.parse::<u64>().ok())??;
    number.checked_mul(seconds).map(std::time::Duration::from_secs)
}

impl<T: FromNode> FromNode for Spanned<T> {
    fn expected() -> String {
        T::expected()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        T::from_node(node, problems).map(|value| Self {
            value,
            span: node.span.clone(),
        })
    }
}

/// Null is `None`.
impl<T: FromNode> FromNode for Option<T> {
    fn expected() -> String {
        T::expected()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.is_null() {
            Some(None)
        } else {
            T::from_node(node, problems).map(Some)
        }
    }
}

impl<T: FromNode> FromNode for Vec<T> {
    fn expected() -> String {
        "a list".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let Some(items) = node.as_list() else {
            let problem = node.wrong_type("a list");
            problems.push(match node.text().filter(|text| !text.contains('\n')) {
                Some(text) => problem.hint(format!("write `[{}]`", excerpt(text))),
                None => problem,
            });
            return None;
        };
        all(items.iter().map(|item| T::from_node(item, problems)))
    }
}

impl<T: FromNode> FromNode for OneOrMany<T> {
    fn expected() -> String {
        format!("{}, or a list of them", T::expected())
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        match node.kind {
            NodeKind::List(_) => Vec::from_node(node, problems).map(Self),
            _ => T::from_node(node, problems).map(|one| Self(vec![one])),
        }
    }
}

impl<T: FromNode> FromNode for Switch<T> {
    fn expected() -> String {
        format!("{}, or `off`", T::expected())
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        match node.as_bool() {
            Some(false) => Some(Self::Off),
            Some(true) => Some(Self::Default),
            None => T::from_node(node, problems).map(Self::Value),
        }
    }
}

/// Keys are any text; the order written is lost.
impl<T: FromNode> FromNode for BTreeMap<String, T> {
    fn expected() -> String {
        "a map".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let entries = Vec::<(Key, T)>::from_node_entries(node, problems)?;
        Some(
            entries
                .into_iter()
                .map(|(key, value)| (key.name, value))
                .collect(),
        )
    }
}

/// A map's entries in the order written, with the places of the keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Entries<T>(pub Vec<(Key, T)>);

impl<T: FromNode> FromNode for Entries<T> {
    fn expected() -> String {
        "a map".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        Vec::<(Key, T)>::from_node_entries(node, problems).map(Self)
    }
}

trait FromNodeEntries: Sized {
    fn from_node_entries(node: &Node, problems: &mut Diagnostics) -> Option<Self>;
}

impl<T: FromNode> FromNodeEntries for Vec<(Key, T)> {
    fn from_node_entries(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let entries = report(node.as_map(), node, "a map", problems)?;
        all(entries
            .iter()
            .map(|(key, value)| T::from_node(value, problems).map(|value| (key.clone(), value))))
    }
}

/// Collects values, reading all of them even after one failed (so that every problem is found).
fn all<T>(values: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let mut complete = true;
    let found: Vec<T> = values
        .inspect(|value| complete &= value.is_some())
        .flatten()
        .collect();
    complete.then_some(found)
}

fn report<T>(value: Option<T>, node: &Node, expected: &str, problems: &mut Diagnostics) -> Option<T> {
    if value.is_none() {
        problems.push(node.wrong_type(expected));
    }
    value
}
