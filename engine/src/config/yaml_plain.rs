//! Documents of plain lines, read without the YAML library.
//!
//! Most documents of a large project are a few lines of `key: value`. What is read here means the same in every version of
//! YAML and gives the very [`Node`]s, places included, that the library's path gives; whatever goes beyond it (another
//! style, a word that may be no text, a mistake) is left to that path as a whole document.

use std::ops::Range;
use std::sync::Arc;

use super::node::{Key, Node, NodeKind};
use crate::diagnostic::{SourceFile, Span};

/// How deep maps nest here.
const DEEPEST: usize = 8;
/// How long a key is here; YAML bounds those without a mark of their own.
const LONGEST_KEY: usize = 256;
/// How long a text is here.
const LONGEST: usize = 4096;

/// Reads a part of a file that holds one document at most; `None` when it is not plain.
pub(super) fn read(file: &Arc<SourceFile>, range: Range<usize>) -> Option<Node> {
    let mut reader = Reader {
        file,
        at: range.start,
        end: range.end,
        marked: false,
    };
    let first = reader.line().ok()??;
    if first.indent != 0 {
        return None;
    }
    let (entries, rest) = reader.map(first, 0)?;
    if rest.is_some() {
        return None;
    }
    // A block map without a key stands where its first entry does.
    let key = &entries.first()?.0.span;
    let line_end = file.text()[key.start..range.end].find('\n');
    let line_end = line_end.map_or(range.end, |end| key.start + end);
    let shown = file.text()[key.start..line_end].trim_end().len();
    Some(Node {
        span: Span::new(file, key.start, (key.start + shown).max(key.end)),
        kind: NodeKind::Map(entries),
        alias: None,
    })
}

struct Reader<'a> {
    file: &'a Arc<SourceFile>,
    at: usize,
    end: usize,
    /// Whether the marker that begins the document was there.
    marked: bool,
}

/// A line with a key.
struct Line {
    indent: usize,
    /// Where the key starts and ends.
    key: Range<usize>,
    /// What stands after the colon, without spaces around it; empty when nothing does.
    value: Range<usize>,
}

type Entries = Vec<(Key, Node)>;

impl Reader<'_> {
    /// Returns the next line that is neither empty, a comment nor the marker; `None` at the end.
    fn line(&mut self) -> Result<Option<Line>, NotPlain> {
        let text = self.file.text().as_bytes();
        while self.at < self.end {
            let start = self.at;
            let length = text[start..self.end].iter().position(|byte| *byte == b'\n');
            let end = length.map_or(self.end, |length| start + length);
            self.at = (end + 1).min(self.end);
            let line = &text[start..end];
            if !line.iter().all(|byte| matches!(byte, b' '..=b'~')) {
                return Err(NotPlain);
            }
            let indent = line.iter().take_while(|byte| **byte == b' ').count();
            match line.get(indent) {
                None | Some(b'#') => continue,
                Some(b'-') if line == b"---" && !self.marked => {
                    self.marked = true;
                    continue;
                }
                Some(byte) if byte.is_ascii_alphabetic() => {}
                Some(_) => return Err(NotPlain),
            }
            // The marker comes first.
            self.marked = true;
            let key = &line[indent..];
            let length = key.iter().take_while(|byte| is_of_word(**byte)).count();
            let after = &key[length..];
            if !after.starts_with(b":") || length > LONGEST_KEY || is_word_of_its_own(&key[..length]) {
                return Err(NotPlain);
            }
            let value = match after.get(1) {
                None => end..end,
                Some(b' ') => {
                    let spaces = after[1..].iter().take_while(|byte| **byte == b' ').count();
                    start + indent + length + 1 + spaces..end
                }
                Some(_) => return Err(NotPlain),
            };
            if !value.is_empty() && text[value.end - 1] == b' ' {
                return Err(NotPlain);
            }
            return Ok(Some(Line {
                indent,
                key: start + indent..start + indent + length,
                value,
            }));
        }
        Ok(None)
    }

    /// Reads a map from its first line on; returns its entries, and the line after it.
    fn map(&mut self, first: Line, depth: usize) -> Option<(Entries, Option<Line>)> {
        if depth >= DEEPEST {
            return None;
        }
        let indent = first.indent;
        let mut entries: Entries = Vec::with_capacity(4);
        let mut line = first;
        loop {
            let key = Key {
                name: self.file.text()[line.key.clone()].to_owned(),
                span: self.span(line.key),
            };
            if entries.iter().any(|(known, _)| known.name == key.name) {
                return None;
            }
            let next = self.line().ok()?;
            let (node, next) = if line.value.is_empty() {
                // Nothing, or a map that is not indented, is for the library.
                let first = next.filter(|next| next.indent > indent)?;
                let (entries, next) = self.map(first, depth + 1)?;
                let node = Node {
                    kind: NodeKind::Map(entries),
                    span: key.span.clone(),
                    alias: None,
                };
                (node, next)
            } else {
                (self.value(line.value)?, next)
            };
            entries.push((key, node));
            match next {
                None => return Some((entries, None)),
                Some(next) if next.indent == indent => line = next,
                Some(next) if next.indent < indent => return Some((entries, Some(next))),
                // A text that goes on, or a mistake.
                Some(_) => return None,
            }
        }
    }

    fn value(&self, range: Range<usize>) -> Option<Node> {
        let text = &self.file.text().as_bytes()[range.clone()];
        if text.first() != Some(&b'[') {
            return self.scalar(range);
        }
        let inner = text.strip_prefix(b"[")?.strip_suffix(b"]")?;
        let mut items = Vec::new();
        let mut at = 0;
        loop {
            at += inner[at..].iter().take_while(|byte| **byte == b' ').count();
            let length = match inner.get(at)? {
                b'"' => inner[at + 1..].iter().position(|byte| *byte == b'"')? + 2,
                _ => inner[at..].iter().take_while(|byte| is_of_text(**byte)).count(),
            };
            let start = range.start + 1 + at;
            items.push(self.scalar(start..start + length)?);
            at += length;
            match inner.get(at) {
                None => break,
                Some(b',') => at += 1,
                Some(_) => return None,
            }
        }
        Some(Node {
            kind: NodeKind::List(items),
            span: self.span(range),
            alias: None,
        })
    }

    fn scalar(&self, range: Range<usize>) -> Option<Node> {
        let text = &self.file.text()[range.clone()];
        if text.is_empty() || text.len() > LONGEST {
            return None;
        }
        let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let kind = match (quoted, text.as_bytes()) {
            (Some(inner), _) if !inner.contains(['"', '\\']) => NodeKind::String(inner.to_owned()),
            (_, [b'1'..=b'9', rest @ ..]) if rest.len() < 18 && rest.iter().all(u8::is_ascii_digit) => {
                NodeKind::Int(text.parse().ok()?)
            }
            (_, word @ [first, ..])
                if first.is_ascii_alphabetic()
                    && word.iter().all(|byte| is_of_text(*byte))
                    && !is_word_of_its_own(word) =>
            {
                NodeKind::String(text.to_owned())
            }
            _ => return None,
        };
        Some(Node {
            kind,
            span: self.span(range),
            alias: None,
        })
    }

    fn span(&self, range: Range<usize>) -> Span {
        Span::new(self.file, range.start, range.end)
    }
}

/// A line that is for the library.
struct NotPlain;

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Whether a byte has no other meaning within a text without quotes, be it in brackets or not.
fn is_of_text(byte: u8) -> bool {
    is_of_word(byte) || matches!(byte, b'.' | b'/')
}

/// Whether a word may be read as something else than a text.
fn is_word_of_its_own(word: &[u8]) -> bool {
    const WORDS: [&str; 12] = [
        "true", "false", "null", "yes", "no", "on", "off", "y", "n", "inf", "nan", "infinity",
    ];
    word.len() <= 8
        && WORDS
            .iter()
            .any(|known| known.as_bytes().eq_ignore_ascii_case(word))
}
