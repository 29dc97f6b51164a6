//! A collection of problems.

use super::problem::{Diagnostic, DiagnosticView, Severity};

/// The problems found so far; reading them gives file and place order, whatever order they were found in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    found: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Makes an empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one problem; an exact repetition of one already there is dropped.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if let Err(at) = self.found.binary_search_by(|other| other.order(&diagnostic)) {
            self.found.insert(at, diagnostic);
        }
    }

    /// Adds all problems of another collection.
    pub fn extend(&mut self, other: impl IntoIterator<Item = Diagnostic>) {
        for diagnostic in other {
            self.push(diagnostic);
        }
    }

    /// Tells whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Tells whether at least one is an error.
    pub fn has_errors(&self) -> bool {
        self.found.iter().any(Diagnostic::is_error)
    }

    /// Returns how many have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.found
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count()
    }

    /// Iterates in the order in which they are shown.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.found.iter()
    }

    /// Returns the serialisable forms, in the order in which they are shown.
    pub fn views(&self) -> Vec<DiagnosticView> {
        self.found.iter().map(Diagnostic::view).collect()
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.found.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.found.iter()
    }
}

impl FromIterator<Diagnostic> for Diagnostics {
    fn from_iter<I: IntoIterator<Item = Diagnostic>>(iter: I) -> Self {
        let mut all = Self::new();
        all.extend(iter);
        all
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self {
            found: vec![diagnostic],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{SourceFile, Span};

    #[test]
    fn problems_come_in_file_and_place_order_and_only_once() {
        let (a, b) = (
            SourceFile::new("a.yml", "0123456789"),
            SourceFile::new("b.yml", "0123456789"),
        );
        let at = |file, start| Diagnostic::error("x", "x").at(Span::new(file, start, start + 1));
        let all: Diagnostics = [
            at(&b, 0),
            at(&a, 10),
            at(&a, 2),
            Diagnostic::note("n", "n"),
            at(&a, 2),
        ]
        .into_iter()
        .collect();
        let places: Vec<_> = all
            .iter()
            .map(|found| {
                found
                    .primary
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default()
            })
            .collect();
        assert_eq!(places, ["", "a.yml:1:3", "a.yml:1:11", "b.yml:1:1"]);
        assert!(all.has_errors());
        assert_eq!(all.count(Severity::Note), 1);
    }
}
