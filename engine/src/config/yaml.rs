//! YAML text to [`Node`] trees.
//!
//! This module is the only user of `serde-saphyr`. The library parses, expands aliases within a budget and gives a
//! place for every value; duplicate keys and merge keys are handled here, so that all of them are reported and every
//! value keeps both its places. Never panics; time and memory are bounded by [`MAX_FILE_BYTES`], [`MAX_SCALAR_BYTES`]
//! and the budget.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, mpsc};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{AliasLimits, DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Options, Spanned};

use super::node::{Key, Node, NodeKind};
use super::{yaml_error, yaml_plain};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile, Span};

/// The largest file that is read: far beyond any project, and well within memory.
pub const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;
/// The largest single text in a file. Bigger data belongs in a file of its own that a program reads.
pub const MAX_SCALAR_BYTES: usize = 1024 * 1024;
/// How deep lists and maps may nest.
pub const MAX_DEPTH: usize = 64;
const PARSER_STACK_BYTES: usize = 16 * 1024 * 1024;
/// How many values aliases may expand to in one file.
pub const MAX_ALIAS_EXPANSION: usize = 100_000;
/// How many bytes of a file are parsed at a time, at least; a document is not split.
const CHUNK_BYTES: usize = 128 * 1024;
/// How many documents that are no YAML are reported of one file; one with more is broken as a whole.
const MAX_BROKEN_DOCUMENTS: usize = 20;

/// Parses a file into its documents. Empty documents are left out.
///
/// With an error among the diagnostics the documents may be incomplete: one with a syntax error is left out.
pub fn parse(file: &Arc<SourceFile>) -> (Vec<Node>, Diagnostics) {
    let mut documents = Vec::new();
    let (_, problems) = read(file, &mut |node| documents.push(node));
    (documents, problems)
}

/// Parses a file and hands on each of its documents, in order, without the empty ones. Returns whether these are all (one
/// that is no YAML is not among them), and what is wrong with the file.
///
/// A large file is parsed in chunks, so that only few of its documents have to be in memory at a time.
pub(super) fn read(file: &Arc<SourceFile>, each: &mut dyn FnMut(Node)) -> (bool, Diagnostics) {
    if file.text().len() > MAX_FILE_BYTES {
        let problem = Diagnostic::error("file-too-large", "file too large")
            .detail(format!(
                "`{}` has {} bytes; gabion reads configuration files of up to {MAX_FILE_BYTES}.",
                file.path(),
                file.text().len()
            ))
            .at(Span::of_file(file))
            .hint("split the file; all files of the project directory are read");
        return (false, problem.into());
    }
    // Deserialising recurses, and at [`MAX_DEPTH`] an unoptimised build outgrows the stack of an ordinary thread.
    std::thread::scope(|scope| {
        let (sender, chunks) = mpsc::sync_channel(1);
        let parser = std::thread::Builder::new()
            .name("yaml".to_owned())
            .stack_size(PARSER_STACK_BYTES);
        // That nobody receives happens only where the receiver panicked.
        let parse = move || read_here(file, &|nodes| sender.send(nodes).is_ok());
        let parser = match parser.spawn_scoped(scope, parse) {
            Ok(parser) => parser,
            Err(error) => {
                let problem = Diagnostic::error("no-thread", "cannot start a thread")
                    .detail(format!(
                        "The system refused a thread to read `{}`: {error}.",
                        file.path()
                    ))
                    .at(Span::of_file(file));
                return (false, problem.into());
            }
        };
        for chunk in chunks {
            chunk.into_iter().for_each(&mut *each);
        }
        match parser.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Parses a file chunk by chunk; `emit` takes the documents of each, and returns whether it wants more.
fn read_here(file: &Arc<SourceFile>, emit: &dyn Fn(Vec<Node>) -> bool) -> (bool, Diagnostics) {
    let mut parser = Parser {
        expansion: MAX_ALIAS_EXPANSION,
        complete: true,
        problems: Diagnostics::new(),
    };
    for chunk in Part::whole(file).split(CHUNK_BYTES) {
        let mut nodes = Vec::new();
        let goes_on = parser.chunk(&chunk, &mut nodes);
        if !emit(nodes) || goes_on.is_none() {
            break;
        }
    }
    (parser.complete, parser.problems)
}

/// Parses the chunks of a file.
struct Parser {
    /// How many values aliases may still expand to.
    expansion: usize,
    /// Whether all documents so far could be read.
    complete: bool,
    problems: Diagnostics,
}

impl Parser {
    /// Adds the documents of a chunk; `None` when no more is to be read.
    fn chunk(&mut self, chunk: &Part<'_>, into: &mut Vec<Node>) -> Option<()> {
        // Those between plain documents go to the library together.
        let mut others: Option<Part<'_>> = None;
        for document in chunk.split(0) {
            match yaml_plain::read(document.file, document.range.clone()) {
                Some(node) => {
                    if let Some(others) = others.take() {
                        self.part(&others, into)?;
                    }
                    into.push(node);
                }
                None => match &mut others {
                    Some(others) => others.range.end = document.range.end,
                    None => others = Some(document),
                },
            }
        }
        match others {
            Some(others) => self.part(&others, into),
            None => Some(()),
        }
    }

    /// Adds the documents of a part; with a mistake in one the others are still read. `None` when no more is to be read.
    fn part(&mut self, part: &Part<'_>, into: &mut Vec<Node>) -> Option<()> {
        let error = match part.read(self.expansion, &mut self.problems) {
            Ok((nodes, expanded)) => {
                self.expansion = self.expansion.saturating_sub(expanded);
                into.extend(nodes);
                return Some(());
            }
            Err(error) => error,
        };
        self.complete = false;
        let documents = part.split(0);
        // What is too much in one file is not read in parts.
        let is_too_much = yaml_error::is_too_much(&error);
        if is_too_much || documents.len() < 2 {
            self.problems.push(yaml_error::diagnose(part, &error));
        } else {
            for document in documents {
                match document.read(self.expansion, &mut self.problems) {
                    Ok((nodes, expanded)) => {
                        self.expansion = self.expansion.saturating_sub(expanded);
                        into.extend(nodes);
                    }
                    Err(error) => self.problems.push(yaml_error::diagnose(&document, &error)),
                }
                if self.problems.len() >= MAX_BROKEN_DOCUMENTS {
                    break;
                }
            }
        }
        let is_broken = is_too_much || self.problems.len() >= MAX_BROKEN_DOCUMENTS;
        (!is_broken).then_some(())
    }
}

/// A part of a file that is parsed by itself: the library's places count from its start.
pub(super) struct Part<'a> {
    /// The file.
    pub(super) file: &'a Arc<SourceFile>,
    /// The part's bytes.
    pub(super) range: Range<usize>,
    /// How many lines are before it.
    pub(super) lines: usize,
}

impl<'a> Part<'a> {
    fn whole(file: &'a Arc<SourceFile>) -> Self {
        Self {
            file,
            range: 0..file.text().len(),
            lines: 0,
        }
    }

    /// Splits it between documents into parts of at least so many bytes, except the last: `---` and `...` at the start
    /// of a line separate documents wherever they stand. Directives (`%YAML 1.1`) are part of the document after them.
    fn split(&self, at_least: usize) -> Vec<Self> {
        let file = self.file;
        if self.range.len() <= at_least {
            return vec![Self {
                file,
                range: self.range.clone(),
                lines: self.lines,
            }];
        }
        let mut parts: Vec<Self> = Vec::new();
        let mut add = |range: Range<usize>, lines: usize| match parts.last_mut() {
            Some(last) if last.range.len() < at_least => last.range.end = range.end,
            _ => parts.push(Self { file, range, lines }),
        };
        let (mut start, mut first, mut at) = (self.range.start, self.lines, self.range.start);
        // Whether nothing but directives, comments and empty lines stand in the part so far.
        let mut is_prologue = true;
        let lines = file.text()[self.range.clone()].split_inclusive('\n');
        for (number, line) in (self.lines..).zip(lines) {
            let is_marker = |marker: &str| {
                let rest = line.strip_prefix(marker);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
            };
            let end = at + line.len();
            if is_marker("---") {
                if !is_prologue {
                    add(start..at, first);
                    (start, first) = (at, number);
                }
                is_prologue = false;
            } else if is_marker("...") {
                add(start..end, first);
                (start, first) = (end, number + 1);
                is_prologue = true;
            } else if is_prologue {
                let words = line.trim_start();
                is_prologue = words.is_empty() || words.starts_with('#') || line.starts_with('%');
            }
            at = end;
        }
        let is_empty = is_prologue && !file.text()[start..at].contains('%');
        if !is_empty || (start, at) == (self.range.start, self.range.end) {
            add(start..at, first);
        }
        parts
    }

    /// Returns the documents of this part, and about how many values its aliases expanded to.
    fn read(
        &self,
        expansion: usize,
        problems: &mut Diagnostics,
    ) -> Result<(Vec<Node>, usize), serde_saphyr::Error> {
        let text = &self.file.text()[self.range.clone()];
        let documents = serde_saphyr::from_multiple_with_options::<Raw>(text, options(expansion))?;
        let mut converter = Converter {
            part: self,
            values: 0,
            problems: Diagnostics::new(),
        };
        let nodes = documents.into_iter().map(|raw| converter.node(raw, None));
        let nodes = nodes.filter(|node| !node.is_null()).collect();
        problems.extend(converter.problems);
        // A value that is written takes a byte at least.
        Ok((nodes, converter.values.saturating_sub(text.len())))
    }
}

fn options(expansion: usize) -> Options {
    let mut options = Options::default();
    // Untyped scalars read as YAML 1.2's core schema does; what YAML 1.1 read otherwise is decided per attribute.
    options.strict_booleans = true;
    options.leading_zero_numbers_as_strings = true;
    options.underscored_numbers_as_strings = true;
    options.non_finite_float_policy = NonFiniteFloatPolicy::AsString;
    options.reject_unsupported_tags = true;
    options.with_snippet = false;
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.merge_keys = MergeKeyPolicy::AsOrdinary;
    let mut alias_limits = AliasLimits::default();
    alias_limits.max_total_replayed_events = expansion;
    options.alias_limits = alias_limits;
    if let Some(budget) = &mut options.budget {
        budget.max_depth = MAX_DEPTH;
        budget.max_nodes = 10_000_000;
        budget.max_events = 20_000_000;
        budget.max_documents = 1_000_000;
        budget.max_total_scalar_bytes = MAX_FILE_BYTES;
        // Many uses of one anchor are fine; what they expand to is limited above.
        budget.enforce_alias_anchor_ratio = false;
    }
    options
}

/// A value as the library gives it.
struct Raw(Spanned<RawKind>);

enum RawKind {
    Null,
    Bool(bool),
    Int(i64),
    TooLarge,
    Float(f64),
    String(String),
    List(Vec<Raw>),
    Map(Vec<(Raw, Raw)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for RawKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawKind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<RawKind, E> {
        Ok(RawKind::Null)
    }

    fn visit_none<E>(self) -> Result<RawKind, E> {
        Ok(RawKind::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawKind, E> {
        Ok(RawKind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawKind, E> {
        Ok(RawKind::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawKind, E> {
        Ok(i64::try_from(value).map_or(RawKind::TooLarge, RawKind::Int))
    }

    fn visit_i128<E>(self, value: i128) -> Result<RawKind, E> {
        Ok(i64::try_from(value).map_or(RawKind::TooLarge, RawKind::Int))
    }

    fn visit_u128<E>(self, value: u128) -> Result<RawKind, E> {
        Ok(i64::try_from(value).map_or(RawKind::TooLarge, RawKind::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<RawKind, E> {
        Ok(RawKind::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<RawKind, E> {
        Ok(RawKind::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<RawKind, E> {
        Ok(RawKind::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RawKind, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(RawKind::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RawKind, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key()? {
            map.push((key, entries.next_value()?));
        }
        Ok(RawKind::Map(map))
    }
}

/// The keys of a map that is being read, to find one that is there already.
#[derive(Default)]
struct KnownKeys {
    /// The positions of the first so many keys; empty while a look at each is as quick.
    positions: HashMap<String, usize>,
}

impl KnownKeys {
    /// Up to so many keys are looked at one by one.
    const FEW: usize = 16;

    /// Returns the position of a key among the entries so far.
    fn find(&mut self, entries: &[(Key, Node)], name: &str) -> Option<usize> {
        if entries.len() <= Self::FEW {
            return entries.iter().position(|(key, _)| key.name == name);
        }
        for (at, (key, _)) in entries.iter().enumerate().skip(self.positions.len()) {
            self.positions.insert(key.name.clone(), at);
        }
        self.positions.get(name).copied()
    }
}

/// Turns raw values into nodes; recursion is bounded by [`MAX_DEPTH`].
struct Converter<'a> {
    part: &'a Part<'a>,
    /// How many values there were so far.
    values: usize,
    problems: Diagnostics,
}

impl Converter<'_> {
    /// `key` is the key under which the value stands, if any.
    fn node(&mut self, raw: Raw, key: Option<&Key>) -> Node {
        self.values += 1;
        let written = self.location(&raw.0.defined);
        let alias = (raw.0.referenced != raw.0.defined).then(|| self.location(&raw.0.referenced));
        let key = key.filter(|_| alias.is_none());
        let (kind, span) = match raw.0.value {
            RawKind::Null => {
                // Nothing is written: the key is the only place there is.
                let empty = written.start == written.end;
                let span = key.filter(|_| empty).map_or(written, |key| key.span.clone());
                (NodeKind::Null, span)
            }
            RawKind::Bool(value) => (NodeKind::Bool(value), written),
            RawKind::Int(value) => (NodeKind::Int(value), written),
            RawKind::TooLarge => (self.too_large(&written), written),
            RawKind::Float(_) if is_whole(written.text()) => (self.too_large(&written), written),
            RawKind::Float(value) => (NodeKind::Float(value), written),
            RawKind::String(text) if text.len() > MAX_SCALAR_BYTES => {
                self.problems.push(
                    Diagnostic::error("value-too-large", "value too large")
                        .detail(format!(
                            "This text has {} bytes; a value may have up to {MAX_SCALAR_BYTES}.",
                            text.len()
                        ))
                        .at(written.clone())
                        .hint("put large data into a file that the program reads"),
                );
                (NodeKind::Null, written)
            }
            RawKind::String(text) => {
                // A block scalar's place reaches to the next token; what it shows ends with its last word.
                let end = written.start + written.text().trim_end().len();
                (
                    NodeKind::String(text),
                    Span::new(self.part.file, written.start, end),
                )
            }
            RawKind::List(items) => {
                let items: Vec<Node> = items.into_iter().map(|item| self.node(item, None)).collect();
                let ends = items
                    .iter()
                    .filter(|item| item.alias.is_none())
                    .map(|item| item.span.end);
                let first = items.first().map(|item| item.span.clone());
                let span = self.collection_span(written, key, ends.max(), first);
                (NodeKind::List(items), span)
            }
            RawKind::Map(entries) => {
                let last = entries
                    .last()
                    .map(|(_, value)| self.location(&value.0.referenced).end);
                // What came through an alias stands where it is defined.
                let first = entries.first().map(|(key, _)| match alias {
                    Some(_) => self.location(&key.0.defined),
                    None => self.location(&key.0.referenced),
                });
                let first = first.map(|first| first_entry(&first));
                let span = self.collection_span(written, key, last, first);
                (NodeKind::Map(self.entries(entries)), span)
            }
        };
        Node { kind, span, alias }
    }

    /// Reports duplicate keys and expands merge keys.
    fn entries(&mut self, raw: Vec<(Raw, Raw)>) -> Vec<(Key, Node)> {
        let mut entries: Vec<(Key, Node)> = Vec::with_capacity(raw.len());
        let mut known = KnownKeys::default();
        let mut merges = Vec::new();
        for (key, value) in raw {
            let Some((key, plain)) = self.key(key) else {
                continue;
            };
            if key.name == "<<" && plain {
                merges.push((key, value));
                continue;
            }
            if let Some(first) = known.find(&entries, &key.name) {
                self.problems.push(
                    Diagnostic::error("duplicate-key", "duplicate key")
                        .detail(format!(
                            "The key `{}` is already set in this map.",
                            shown(&key.name)
                        ))
                        .at(key.span.clone())
                        .related(entries[first].0.span.clone(), "first set here")
                        .hint("remove one of the two"),
                );
                continue;
            }
            let value = self.node(value, Some(&key));
            entries.push((key, value));
        }
        for (key, value) in merges {
            let use_site = self.location(&value.0.referenced);
            for (merged_key, mut merged) in self.merged(&key, value) {
                if known.find(&entries, &merged_key.name).is_none() {
                    merged.alias.get_or_insert_with(|| use_site.clone());
                    entries.push((merged_key, merged));
                }
            }
        }
        entries
    }

    /// The entries that a `<<` key brings, nearest first.
    fn merged(&mut self, key: &Key, value: Raw) -> Vec<(Key, Node)> {
        let node = self.node(value, Some(key));
        let mut found = Vec::new();
        let parts = match node.kind {
            NodeKind::List(items) => items,
            _ => vec![node],
        };
        for part in parts {
            match part.kind {
                NodeKind::Map(entries) => found.extend(entries),
                _ => self.problems.push(
                    Diagnostic::error("bad-merge", "merge of something that is no map")
                        .detail("`<<` takes a map, or a list of maps, whose keys are added to this one.")
                        .at(part.alias.unwrap_or(part.span))
                        .hint("give it an alias of a map: `<<: *name`"),
                ),
            }
        }
        found
    }

    /// The key, and whether it is written without quotes.
    fn key(&mut self, raw: Raw) -> Option<(Key, bool)> {
        let written = self.location(&raw.0.defined);
        let name = match raw.0.value {
            RawKind::String(name) if name.len() <= MAX_SCALAR_BYTES => name,
            RawKind::Bool(_) | RawKind::Int(_) | RawKind::Float(_) | RawKind::TooLarge => {
                written.text().to_owned()
            }
            _ => {
                self.problems.push(
                    Diagnostic::error("bad-key", "key that is no text")
                        .detail("A map's keys are texts or numbers.")
                        .at(written)
                        .hint("quote the key, or write the value as a list"),
                );
                return None;
            }
        };
        let plain = written.text() == name;
        Some((Key { name, span: written }, plain))
    }

    fn too_large(&mut self, written: &Span) -> NodeKind {
        self.problems.push(
            Diagnostic::error("number-too-large", "number too large")
                .detail("This whole number does not fit into 64 bits.")
                .at(written.clone())
                .hint("quote it if it is text"),
        );
        NodeKind::Null
    }

    fn location(&self, location: &Location) -> Span {
        yaml_error::span(self.part, location)
    }

    fn collection_span(
        &self,
        written: Span,
        key: Option<&Key>,
        last: Option<usize>,
        first: Option<Span>,
    ) -> Span {
        let text = self.part.file.text();
        let close = match text.as_bytes().get(written.start) {
            Some(b'[') => b']',
            Some(b'{') => b'}',
            _ => return key.map(|key| key.span.clone()).or(first).unwrap_or(written),
        };
        let from = last.unwrap_or(written.start + 1).max(written.start + 1);
        let closing = text.as_bytes()[from..]
            .iter()
            .position(|byte| *byte == close)
            .map(|at| from + at + 1);
        Span::new(self.part.file, written.start, closing.unwrap_or(from))
    }
}

/// The first line of a map from its first key on.
fn first_entry(key: &Span) -> Span {
    let rest = &key.file.text()[key.start..];
    let line = rest.lines().next().unwrap_or_default().trim_end();
    Span::new(&key.file, key.start, (key.start + line.len()).max(key.end))
}

fn is_whole(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A user's text for a message: one line, not too long.
fn shown(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(80)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Documents that are plain, nearly so, or not at all.
    fn documents() -> impl Strategy<Value = String> {
        let key = prop::sample::select(vec![
            "type", "name", "a", "b-c", "n", "true", "on", "x_1", "\"q\"", "1", "<<",
        ]);
        let value = prop::sample::select(vec![
            "",
            " v",
            " resource",
            " a.b/c-d",
            " 1",
            " 0",
            " 007",
            " 12345678901234567890",
            " true",
            " No",
            " ~",
            " null",
            " .5",
            " 1e3",
            " a b",
            " a: b",
            " a #c",
            " #c",
            " \"a b\"",
            " \"a\\n\"",
            " 'a'",
            " [a, \"${{ x.y.z }}\"]",
            " [a,b]",
            " []",
            " [a, [b]]",
            " [1, true]",
            " {a: b}",
            " |\n  text",
            " &x a",
            " *x",
            " !t a",
            " v ",
            "  v",
            " é",
            " ${{ a.b.c }}",
            " \"",
            " -a",
            " - a",
            " [a, b",
            " a]",
            " %a",
            " inf",
            " y",
        ]);
        let line = prop_oneof![
            8 => (0..4usize, key, value)
                .prop_map(|(indent, key, value)| format!("{}{key}:{value}\n", " ".repeat(indent / 2 * 2))),
            1 => Just("---\n".to_owned()),
            1 => prop::sample::select(vec!["\n", "# c\n", "  \n", "...\n", "  # c\n", "- a\n", "\t\n", "%YAML 1.2\n", "text\n"])
                .prop_map(str::to_owned),
        ];
        (prop::collection::vec(line, 1..8), any::<bool>()).prop_map(|(lines, ends)| {
            let text = lines.concat();
            match ends {
                true => text,
                false => text.trim_end_matches('\n').to_owned(),
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn plain_documents_are_read_as_the_library_reads_them(text in documents()) {
            let file = SourceFile::new("a.yml", text);
            for part in Part::whole(&file).split(0) {
                let Some(node) = yaml_plain::read(&file, part.range.clone()) else {
                    continue;
                };
                let mut problems = Diagnostics::new();
                let read = part.read(MAX_ALIAS_EXPANSION, &mut problems);
                let (nodes, _) = read.expect("what is plain is YAML");
                prop_assert!(problems.is_empty());
                prop_assert_eq!(nodes, vec![node]);
            }
        }

        #[test]
        fn a_file_in_chunks_reads_as_a_whole(texts in prop::collection::vec(documents(), 1..5), size in 0..40usize) {
            let file = SourceFile::new("a.yml", texts.join("---\n"));
            let whole = parse(&file);
            let parts = Part::whole(&file).split(size);
            let mut parser = Parser { expansion: MAX_ALIAS_EXPANSION, complete: true, problems: Diagnostics::new() };
            let mut nodes = Vec::new();
            for part in &parts {
                if parser.chunk(part, &mut nodes).is_none() {
                    break;
                }
            }
            prop_assert_eq!(whole, (nodes, parser.problems));
        }
    }
}
