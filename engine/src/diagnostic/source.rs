//! Source texts and places in them.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::file_name::FileName;
use crate::resource::Place;

/// A place in a text, in bytes. Texts are files of up to 64 MiB; beyond 4 GiB all places are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offset(u32);

impl Offset {
    fn of(bytes: usize) -> Self {
        Self(u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    fn bytes(&self) -> usize {
        self.0 as usize
    }
}

/// The text of one configuration file, and its path as users know it.
#[derive(PartialEq, Eq)]
pub struct SourceFile {
    path: FileName,
    /// Whether the path is where the text was given, and no file's.
    is_argument: bool,
    text: String,
    /// Byte offset at which each line starts; never empty.
    line_starts: Vec<Offset>,
    /// How many characters of its line stand before every [`STRIDE`]-th byte: lines can be as long as files.
    columns: Vec<usize>,
}

/// How many bytes are counted at most to find a column.
const STRIDE: usize = 1024;

impl SourceFile {
    /// Wraps a text read from `path` (relative to the project directory, as shown to users).
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self::wrap(path.into(), text, false))
    }

    /// Wraps a text that is in no file; `origin` says where it was given: `--var size`.
    pub fn argument(origin: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self::wrap(origin.into(), text, true))
    }

    fn wrap(path: String, text: impl Into<String>, is_argument: bool) -> Self {
        let text = text.into();
        let (mut line_starts, mut columns, mut column) = (vec![Offset::of(0)], Vec::new(), 0);
        for (at, byte) in text.bytes().enumerate() {
            if at % STRIDE == 0 {
                columns.push(column);
            }
            if byte == b'\n' {
                line_starts.push(Offset::of(at + 1));
                column = 0;
            } else if is_first_byte(byte) {
                column += 1;
            }
        }
        line_starts.shrink_to_fit();
        Self {
            path: path.into(),
            is_argument,
            text,
            line_starts,
            columns,
        }
    }

    /// Returns whether the text is in no file, so that the path says where else it was given.
    pub fn is_argument(&self) -> bool {
        self.is_argument
    }

    /// Returns the path as users know it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the 1-based line and column (in characters) of a byte offset.
    ///
    /// An offset past the end is the end; one inside a character is that character's.
    pub fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let line = self.line_starts.partition_point(|start| start.bytes() <= offset);
        let start = self.line_starts[line - 1].bytes();
        let known = offset / STRIDE * STRIDE;
        let (from, before) = match self.columns.get(offset / STRIDE) {
            Some(before) if known > start => (known, *before),
            _ => (start, 0),
        };
        // Every first byte before the offset is a character; inside of one, its own is among them.
        let whole = self.text.as_bytes()[from..offset]
            .iter()
            .filter(|byte| is_first_byte(**byte))
            .count();
        let inside = usize::from(!self.text.is_char_boundary(offset));
        Position {
            line,
            column: before + whole + 1 - inside,
        }
    }

    /// Returns a line (1-based) without its line break, or nothing when there is no such line.
    pub fn line(&self, line: usize) -> Option<&str> {
        let start = self.line_starts.get(line.checked_sub(1)?)?.bytes();
        let end = self.line_start(line + 1);
        Some(self.text[start..end].trim_end_matches(['\n', '\r']))
    }

    /// Returns the byte offset at which a line (1-based) starts; past the last line it is the end.
    pub fn line_start(&self, line: usize) -> usize {
        self.line_starts
            .get(line.saturating_sub(1))
            .map_or(self.text.len(), Offset::bytes)
    }

    /// Returns the byte offset of a 1-based line and column, the inverse of [`SourceFile::position`].
    pub fn offset(&self, position: Position) -> usize {
        let start = self.line_start(position.line);
        let end = start + self.line(position.line).unwrap_or_default().len();
        let wanted = position.column.saturating_sub(1);
        // The last known column of this line that is not too far.
        let within = start / STRIDE + 1..(end / STRIDE + 1).max(start / STRIDE + 1);
        let known = &self.columns[within.start.min(self.columns.len())..within.end.min(self.columns.len())];
        let (mut at, mut column) = match known.partition_point(|column| *column <= wanted) {
            0 => (start, 0),
            found => ((within.start + found - 1) * STRIDE, known[found - 1]),
        };
        // A known column may lie inside a character, which counts as passed.
        while !self.text.is_char_boundary(at) {
            at += 1;
        }
        for c in self.text[at..end].chars() {
            if column == wanted {
                return at;
            }
            column += 1;
            at += c.len_utf8();
        }
        at
    }

    /// Returns the part of the source that a snippet of `span` shows, with the span moved into it.
    ///
    /// It is the span's first line, cropped around the span when it is very long (a 10 MB scalar must not become a
    /// 10 MB message).
    pub fn excerpt(&self, span: &Span) -> Excerpt<'_> {
        const SHOWN: usize = 160;
        let line_number = self.position(span.start).line;
        let start = self.line_start(line_number);
        let line = self.line(line_number).unwrap_or_default();
        let from = (span.start.min(self.text.len()))
            .saturating_sub(start)
            .min(line.len());
        let to = span.end.saturating_sub(start).clamp(from, line.len());
        let crop_start = if line.len() <= SHOWN {
            0
        } else {
            floor_boundary(line, from.saturating_sub(SHOWN / 2))
        };
        let crop_end = floor_boundary(line, (crop_start + SHOWN).min(line.len())).max(crop_start);
        let from = floor_boundary(line, from).clamp(crop_start, crop_end);
        let to = floor_boundary(line, to).clamp(from, crop_end);
        Excerpt {
            line: line_number,
            text: &line[crop_start..crop_end],
            start: from - crop_start,
            end: to - crop_start,
            cropped_start: crop_start > 0,
            cropped_end: crop_end < line.len(),
        }
    }
}

/// Whether a byte of UTF-8 starts a character.
fn is_first_byte(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceFile({})", self.path)
    }
}

fn floor_boundary(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One line of source for a snippet; see [`SourceFile::excerpt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excerpt<'a> {
    /// The 1-based number of the line.
    pub line: usize,
    /// The line, or the part of it that is shown.
    pub text: &'a str,
    /// Where the span starts, as a byte offset into `text`.
    pub start: usize,
    /// Where the span (or its part in this line) ends, as a byte offset into `text`.
    pub end: usize,
    /// Whether text before `text` on the same line is left out.
    pub cropped_start: bool,
    /// Whether text after `text` on the same line is left out.
    pub cropped_end: bool,
}

/// A 1-based line and column; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A range of bytes in a source file. Cheap to clone.
#[derive(Clone)]
pub struct Span {
    /// The file.
    pub file: Arc<SourceFile>,
    /// The byte offset of the first byte.
    pub start: usize,
    /// The byte offset after the last byte; equal to `start` for a point.
    pub end: usize,
}

impl Span {
    /// Makes a span; an end before the start becomes the start.
    pub fn new(file: &Arc<SourceFile>, start: usize, end: usize) -> Self {
        let start = start.min(file.text.len());
        Self {
            file: file.clone(),
            start,
            end: end.clamp(start, file.text.len().max(start)),
        }
    }

    /// Makes the span of a file as a whole: a point at its beginning.
    pub fn of_file(file: &Arc<SourceFile>) -> Self {
        Self::new(file, 0, 0)
    }

    /// Returns the text that the span covers.
    pub fn text(&self) -> &str {
        self.file.text.get(self.start..self.end).unwrap_or_default()
    }

    /// Returns whether another span starts in this one.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file) && (self.start..self.end).contains(&other.start)
    }

    /// Returns where the span starts.
    pub fn position(&self) -> Position {
        self.file.position(self.start)
    }

    /// Returns where the span ends (the place after its last character).
    pub fn end_position(&self) -> Position {
        self.file.position(self.end)
    }

    /// Returns the span of a part: `start` and `end` are byte offsets into this span's text.
    pub fn part(&self, start: usize, end: usize) -> Self {
        let start = (self.start + start).min(self.end);
        Self {
            file: self.file.clone(),
            start,
            end: (self.start + end).clamp(start, self.end),
        }
    }

    /// Returns the span of a text that is written in this span as it is, or all of the span.
    pub fn part_with(&self, text: &str) -> Self {
        match self.text().find(text) {
            Some(at) if !text.is_empty() => self.part(at, at + text.len()),
            _ => self.clone(),
        }
    }

    /// Returns the span of a text that is written somewhere after this span's start, or all of this span. For parts of a
    /// block scalar, whose place is its first line.
    pub fn below(&self, text: &str) -> Self {
        /// Further away it is another one.
        const WITHIN: usize = 64 * 1024;
        let source = self.file.text();
        let end = floor_boundary(source, self.start + WITHIN);
        match source.get(self.start..end).and_then(|source| source.find(text)) {
            Some(at) if !text.is_empty() => {
                Self::new(&self.file, self.start + at, self.start + at + text.len())
            }
            _ => self.clone(),
        }
    }

    /// Returns the span of a value's key, where the value stands right behind it: `key: value`, with an anchor or a
    /// line break between at most. A value of several lines has its key's span already.
    pub fn key(&self, name: &str) -> Option<Self> {
        if self.text() == name {
            return Some(self.clone());
        }
        let before = self.file.text.get(..self.start)?.trim_end();
        let anchored = before.rsplit_once(char::is_whitespace);
        let before = match anchored {
            Some((rest, anchor)) if anchor.starts_with('&') => rest.trim_end(),
            _ => before,
        };
        let before = before.strip_suffix(':')?.trim_end();
        let quote = before.chars().next_back().filter(|c| matches!(c, '"' | '\''));
        let end = before.len() - quote.map_or(0, char::len_utf8);
        let start = before[..end].strip_suffix(name)?.len();
        Some(Self::new(&self.file, start, end))
    }

    /// Returns the place, which carries no text and can be kept and written.
    ///
    /// Its length is that of the span's part on its first line.
    pub fn place(&self) -> Place {
        let Position { line, column } = self.position();
        let shown = self.text().lines().next().unwrap_or_default();
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Place {
            file: self.file.path,
            line: small(line),
            column: small(column),
            length: small(shown.chars().count()),
        }
    }

    /// Returns the span of a place in this file's text.
    pub fn of_place(file: &Arc<SourceFile>, place: &Place) -> Self {
        let start = file.offset(Position {
            line: place.line as usize,
            column: place.column as usize,
        });
        let end =
            file.line_start(place.line as usize) + file.line(place.line as usize).unwrap_or_default().len();
        let shown = &file.text[start..end.max(start)];
        let length = shown
            .char_indices()
            .nth(place.length as usize)
            .map_or(shown.len(), |(at, _)| at);
        Self::new(file, start, start + length)
    }
}

impl PartialEq for Span {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Span {}

impl PartialOrd for Span {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By path, then start, then end.
impl Ord for Span {
    fn cmp(&self, other: &Self) -> Ordering {
        let path = if Arc::ptr_eq(&self.file, &other.file) {
            Ordering::Equal
        } else {
            self.file.path.cmp(&other.file.path)
        };
        path.then(self.start.cmp(&other.start))
            .then(self.end.cmp(&other.end))
    }
}

/// `path:line:column`, as users and editors write a place.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.path, self.position())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}-{}",
            self.file.path,
            self.position(),
            self.end_position()
        )
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.place().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_and_survive_any_offset() {
        let file = SourceFile::new("a.yml", "é: 1\r\nb: ü\n");
        let check =
            |offset, line, column| assert_eq!(file.position(offset), Position { line, column }, "{offset}");
        check(0, 1, 1);
        check(1, 1, 1);
        check(2, 1, 2);
        check(7, 2, 1);
        check(10, 2, 4);
        check(12, 2, 5);
        check(13, 3, 1);
        check(99, 3, 1);
        assert_eq!(file.line(1), Some("é: 1"));
        assert_eq!(file.line(3), Some(""));
        assert_eq!(file.line(4), None);
        for offset in [0, 2, 7, 10] {
            assert_eq!(file.offset(file.position(offset)), offset);
        }
    }

    #[test]
    fn columns_of_long_lines_are_right_at_every_offset() {
        let text = format!("{}\n{}\n", "éx".repeat(1500), "y€".repeat(700));
        let file = SourceFile::new("a.yml", text.as_str());
        for (at, _) in text.char_indices() {
            let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
            assert_eq!(
                file.position(at).column,
                text[start..at].chars().count() + 1,
                "{at}"
            );
            assert_eq!(file.offset(file.position(at)), at);
        }
        assert_eq!(file.position(1), Position { line: 1, column: 1 });
    }

    #[test]
    fn a_value_has_its_key_before_it() {
        let check = |text: &str, value: &str, expected: Option<usize>| {
            let file = SourceFile::new("a.yml", text);
            let start = text.rfind(value).unwrap_or_default();
            let key = Span::new(&file, start, start + value.len()).key("port");
            assert_eq!(key.as_ref().map(|key| key.start), expected, "{text}");
            assert!(key.is_none_or(|key| key.text() == "port"));
        };
        check("port: 80", "80", Some(0));
        check("{a: 1, port: 80}", "80", Some(7));
        check("\"port\" : 80", "80", Some(1));
        check("port:\n  80", "80", Some(0));
        check("port: &a 80", "80", Some(0));
        check("other: &a 80\nport: *a", "80", None);
        check("port:\n  x: 1", "port", Some(0));
        check("- 80", "80", None);
    }

    #[test]
    fn an_excerpt_of_a_long_line_is_cropped_around_the_span() {
        let text = format!("{}needle{}", "é".repeat(400), "x".repeat(400));
        let file = SourceFile::new("a.yml", text);
        let excerpt = file.excerpt(&Span::new(&file, 800, 806));
        assert_eq!(&excerpt.text[excerpt.start..excerpt.end], "needle");
        assert!(excerpt.text.len() <= 160 && excerpt.cropped_start && excerpt.cropped_end);
    }
}
