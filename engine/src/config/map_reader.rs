//! Reading the keys of a map; see the module documentation of [`FromNode`](super::FromNode).

use std::collections::BTreeSet;

use super::decode::{FromNode, excerpt};
use super::node::{Key, Node};
use crate::diagnostic::{Diagnostic, Diagnostics, Span, did_you_mean};

/// Reads a map key by key.
///
/// Every reading method returns `None` after a problem was reported, so that all keys can be read before the caller
/// gives up. [`MapReader::finish`] reports keys that nobody asked for.
#[must_use = "call `finish`, or unknown keys pass silently"]
pub struct MapReader<'a> {
    node: &'a Node,
    entries: &'a [(Key, Node)],
    what: String,
    place: Span,
    known: BTreeSet<&'static str>,
    /// Old key, and the key that it means.
    renamed: Vec<(&'static str, &'static str)>,
    /// Required keys that are not there, with what is expected. Reported at the end: a misspelt key is one problem.
    missing: Vec<(&'static str, String)>,
    problems: &'a mut Diagnostics,
}

impl<'a> MapReader<'a> {
    /// Starts to read `node`; `what` names it in messages, without an article: "service".
    ///
    /// Returns `None`, after reporting, when it is no map.
    pub fn open(node: &'a Node, what: impl Into<String>, problems: &'a mut Diagnostics) -> Option<Self> {
        let what = what.into();
        let Some(entries) = node.as_map() else {
            problems.push(node.wrong_type(&format!("a map with the keys of {}", with_article(&what))));
            return None;
        };
        Some(Self {
            node,
            entries,
            what,
            place: node.span.clone(),
            known: BTreeSet::new(),
            renamed: Vec::new(),
            missing: Vec::new(),
            problems,
        })
    }

    /// Points messages about missing keys at another place than the map's own.
    pub fn place(&mut self, place: Span) {
        self.place = place;
    }

    /// Returns the map's node.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Returns where problems go, for checks between two keys.
    pub fn problems(&mut self) -> &mut Diagnostics {
        self.problems
    }

    /// Reads a key that must be there.
    pub fn required<T: FromNode>(&mut self, key: &'static str) -> Option<T> {
        match self.find(key) {
            Some((_, node)) => T::from_node(node, self.problems),
            None => {
                self.missing.push((key, T::expected()));
                None
            }
        }
    }

    /// Reads a key that may be absent or null: `Some(None)` then, and `None` after a problem.
    pub fn optional<T: FromNode>(&mut self, key: &'static str) -> Option<Option<T>> {
        match self.find(key) {
            Some((_, node)) if !node.is_null() => T::from_node(node, self.problems).map(Some),
            _ => Some(None),
        }
    }

    /// Reads a key that has a default, for when it is absent or null.
    pub fn or<T: FromNode>(&mut self, key: &'static str, default: T) -> Option<T> {
        self.optional(key).map(|value| value.unwrap_or(default))
    }

    /// Reads the items of a list that can be read, for checks that go on after a problem; empty when the key is absent.
    pub fn each<T: FromNode>(&mut self, key: &'static str) -> Vec<T> {
        match self.find(key) {
            Some((_, node)) if !node.is_null() => match node.as_list() {
                Some(items) => items
                    .iter()
                    .filter_map(|item| T::from_node(item, self.problems))
                    .collect(),
                None => {
                    self.problems.push(node.wrong_type("a list"));
                    Vec::new()
                }
            },
            _ => Vec::new(),
        }
    }

    /// Reads the entries of a map, `None` for the value of each that cannot be read; empty when the key is absent.
    pub fn each_entry<T: FromNode>(&mut self, key: &'static str) -> Vec<(Key, Option<T>)> {
        match self.find(key) {
            Some((_, node)) if !node.is_null() => match node.as_map() {
                Some(entries) => {
                    let read = |(key, node): &(Key, Node)| (key.clone(), T::from_node(node, self.problems));
                    entries.iter().map(read).collect()
                }
                None => {
                    self.problems.push(node.wrong_type("a map"));
                    Vec::new()
                }
            },
            _ => Vec::new(),
        }
    }

    /// Returns a key's node, null included, if it is written.
    pub fn get(&mut self, key: &'static str) -> Option<&'a Node> {
        self.find(key).map(|(_, node)| node)
    }

    /// Returns where a key is written, if it is.
    pub fn key_span(&mut self, key: &'static str) -> Option<Span> {
        self.find(key).map(|(key, _)| key.span.clone())
    }

    /// Declares keys that others read.
    pub fn known(&mut self, keys: &[&'static str]) {
        self.known.extend(keys);
    }

    /// Declares `old` as another name of `key`, before `key` is read. Both at once is an error.
    pub fn alias(&mut self, old: &'static str, key: &'static str) {
        let (written, current) = (self.written(old), self.written(key));
        if let (Some((old_key, _)), Some((current, _))) = (written, current) {
            let problem = Diagnostic::error("duplicate-key", "duplicate key")
                .detail(format!(
                    "`{old}` is another name of `{key}`, which is set as well."
                ))
                .at(old_key.span.clone())
                .related(current.span.clone(), "also set here")
                .hint(format!("remove `{old}`"));
            self.problems.push(problem);
        }
        self.known.insert(old);
        self.renamed.push((old, key));
    }

    /// Like [`MapReader::alias`], and warns when the old name is used.
    pub fn deprecated(&mut self, old: &'static str, key: &'static str) {
        self.alias(old, key);
        if let Some((written, _)) = self.written(old) {
            let problem = Diagnostic::warning("deprecated-key", "deprecated key")
                .detail(format!("`{old}` is now called `{key}`."))
                .at(written.span.clone())
                .hint(format!("write `{key}`"));
            self.problems.push(problem);
        }
    }

    /// Reports a key that is known and cannot be used, if it is written: `why` is a full sentence.
    pub fn refuse(
        &mut self,
        key: &'static str,
        why: impl Into<String>,
        hint: impl crate::diagnostic::IntoHint,
    ) {
        if let Some((written, _)) = self.find(key) {
            let problem = Diagnostic::error("unsupported-key", "unsupported key")
                .detail(why)
                .at(written.span.clone())
                .hint(hint);
            self.problems.push(problem);
        }
    }

    /// Reports that of several keys only one may be set, if more are.
    pub fn exclusive(&mut self, keys: &[&'static str]) {
        let written: Vec<&Key> = keys
            .iter()
            .filter_map(|key| self.written(key).map(|(key, _)| key))
            .collect();
        if let [first, rest @ ..] = written.as_slice() {
            for other in rest {
                self.problems.push(
                    Diagnostic::error("exclusive-keys", "keys that exclude each other")
                        .detail(format!(
                            "`{}` and `{}` cannot both be set.",
                            first.name, other.name
                        ))
                        .at(other.span.clone())
                        .related(first.span.clone(), "the other is set here")
                        .hint("remove one of the two"),
                );
            }
        }
    }

    /// Returns the entries that nobody asked for, for maps that have free keys beside fixed ones.
    pub fn rest(&mut self) -> Vec<(&'a Key, &'a Node)> {
        let known = std::mem::take(&mut self.known);
        self.known = known.clone();
        self.entries
            .iter()
            .filter(|(key, _)| !known.contains(key.name.as_str()))
            .map(|(key, node)| (key, node))
            .collect()
    }

    /// Reports every key that nobody asked for, and the required ones that are missing.
    pub fn finish(mut self) {
        for (key, node) in self.entries {
            if self.known.contains(key.name.as_str()) {
                continue;
            }
            let near = did_you_mean(&key.name, self.known.iter().copied());
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    let keys: Vec<&str> = self.known.iter().copied().collect();
                    format!("its keys are {}", keys.join(", "))
                }
            };
            self.missing.retain(|(missing, _)| Some(*missing) != near);
            let problem = Diagnostic::error("unknown-key", "unknown key")
                .detail(format!(
                    "{} has no key `{}`.",
                    capital(&with_article(&self.what)),
                    excerpt(&key.name)
                ))
                .at(key.span.clone())
                .hint(hint);
            self.problems.push(match brought_by(key, node) {
                Some(alias) => problem.related(alias.clone(), "used here"),
                None => problem,
            });
        }
    }

    fn find(&mut self, key: &'static str) -> Option<(&'a Key, &'a Node)> {
        self.known.insert(key);
        let old = self
            .renamed
            .iter()
            .filter(|(_, current)| *current == key)
            .map(|(old, _)| *old);
        let old = old.collect::<Vec<_>>();
        self.written(key)
            .or_else(|| old.iter().find_map(|old| self.written(old)))
    }

    fn written(&self, key: &str) -> Option<(&'a Key, &'a Node)> {
        self.entries
            .iter()
            .find(|(name, _)| name.name == key)
            .map(|(name, node)| (name, node))
    }
}

/// Missing keys are reported even when the caller forgets [`MapReader::finish`].
impl Drop for MapReader<'_> {
    fn drop(&mut self) {
        for (key, expected) in std::mem::take(&mut self.missing) {
            let problem = Diagnostic::error("missing-key", "missing key")
                .detail(format!(
                    "{} needs the key `{key}`.",
                    capital(&with_article(&self.what))
                ))
                .at(self.place.clone())
                .hint(format!("add `{key}: …` ({expected})"));
            self.problems.push(match &self.node.alias {
                Some(alias) => problem.related(alias.clone(), "used here"),
                None => problem,
            });
        }
    }
}

/// Returns the alias through which a key came here; that of its value alone brought no key.
fn brought_by<'a>(key: &Key, node: &'a Node) -> Option<&'a Span> {
    let alias = node.alias.as_ref()?;
    let between = key.span.file.text().get(key.span.end..alias.start);
    let is_of_value = between.is_some_and(|between| between.trim_matches(['"', '\'', ' ', '\t']) == ":");
    (!is_of_value).then_some(alias)
}

fn with_article(what: &str) -> String {
    let article = if what.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {what}")
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}
