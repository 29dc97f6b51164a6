//! Places in the configuration, as spans that a diagnostic can show.

use crate::config::Sources;
use crate::diagnostic::{SourceFile, Span};
use crate::resource::Place;
use crate::value::{AttributePath, PathSegment};

/// Turns places into spans, with the texts of the files if they are at hand.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    sources: &'a Sources,
}

impl<'a> Places<'a> {
    /// Knows these files.
    pub fn new(sources: &'a Sources) -> Self {
        Self { sources }
    }

    /// Returns the span of a place.
    ///
    /// Of a file that is not at hand the span shows the right position and no text.
    pub fn span(&self, place: &Place) -> Span {
        self.sources.span(place).unwrap_or_else(|| {
            let lines = "\n".repeat(place.line.saturating_sub(1) as usize);
            let width = place.column.saturating_sub(1) + place.length;
            let blank = SourceFile::new(&*place.file, format!("{lines}{}", " ".repeat(width as usize)));
            Span::of_place(&blank, place)
        })
    }

    /// Returns the span of an input's key where that is known, else of its value.
    pub fn key(&self, place: &Place, path: &AttributePath) -> Span {
        let span = self.span(place);
        let key = match path.0.last() {
            Some(PathSegment::Key(name)) => span.key(name),
            _ => None,
        };
        key.unwrap_or(span)
    }
}
