//! One problem.

use std::cmp::Ordering;

use serde::Serialize;

use super::source::Span;
use crate::resource::Place;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The input cannot be used; nothing is changed.
    Error,
    /// Probably not what was meant, but it can be used.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// Returns the word that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Another place that matters for a problem, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Related {
    /// Where.
    pub span: Span,
    /// What is there, as a short clause: "first defined here".
    pub message: String,
}

/// One problem, or one thing worth knowing, in what a user wrote or asked for.
///
/// ```
/// use gabion_engine::diagnostic::{Diagnostic, SourceFile, Span};
///
/// let file = SourceFile::new("qwen.dstack.yml", "type: service\nprot: 8000\n");
/// let problem = Diagnostic::error("unknown-key", "unknown key")
///     .detail("A service has no key `prot`.")
///     .at(Span::new(&file, 14, 18))
///     .hint("did you mean `port`?");
/// assert_eq!(problem.primary.unwrap().to_string(), "qwen.dstack.yml:2:1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Diagnostic {
    /// A stable identifier for programs, such as `unknown-key`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong in a few fixed words, without names of the user's.
    pub summary: &'static str,
    /// What is wrong and why, in full sentences, with names; may be empty.
    pub detail: String,
    /// Where it is, if it has a place.
    pub primary: Option<Span>,
    /// Other places that matter.
    pub related: Vec<Related>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// Starts an error; `code` is a stable identifier and `summary` a few fixed words.
    pub fn error(code: &'static str, summary: &'static str) -> Self {
        Self::new(Severity::Error, code, summary)
    }

    /// Starts a warning.
    pub fn warning(code: &'static str, summary: &'static str) -> Self {
        Self::new(Severity::Warning, code, summary)
    }

    /// Starts a note.
    pub fn note(code: &'static str, summary: &'static str) -> Self {
        Self::new(Severity::Note, code, summary)
    }

    fn new(severity: Severity, code: &'static str, summary: &'static str) -> Self {
        Self {
            code,
            severity,
            summary,
            detail: String::new(),
            primary: None,
            related: Vec::new(),
            hint: None,
        }
    }

    /// Says what is wrong and why, in full sentences.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Says where it is: a [`Span`], or an `Option` of one.
    pub fn at(mut self, span: impl Into<Option<Span>>) -> Self {
        self.primary = span.into();
        self
    }

    /// Adds another place that matters, with a short clause that says what is there.
    pub fn related(mut self, span: Span, message: impl Into<String>) -> Self {
        self.related.push(Related {
            span,
            message: message.into(),
        });
        self
    }

    /// Says what to do: a `String`, a `&str`, or an `Option<String>`.
    pub fn hint(mut self, hint: impl IntoHint) -> Self {
        self.hint = hint.into_hint();
        self
    }

    /// Tells whether this is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Returns where it is in a file: its own place, or the first related one when its own is in none.
    pub fn place_in_file(&self) -> Option<&Span> {
        let related = self.related.iter().map(|related| &related.span);
        let places = self.primary.iter().chain(related);
        places.into_iter().find(|span| !span.file.is_argument())
    }

    /// Returns where it was given, when that is in no file: `--var size`.
    pub fn argument(&self) -> Option<&str> {
        let file = self.primary.as_ref().map(|span| &span.file)?;
        file.is_argument().then(|| file.path())
    }

    /// Returns the serialisable form.
    pub fn view(&self) -> DiagnosticView {
        DiagnosticView {
            severity: self.severity.as_str().to_owned(),
            code: self.code.to_owned(),
            summary: self.summary.to_owned(),
            detail: self.detail.clone(),
            place: self.primary.as_ref().map(Span::place),
            related: self
                .related
                .iter()
                .map(|related| RelatedView {
                    place: related.span.place(),
                    message: related.message.clone(),
                })
                .collect(),
            hint: self.hint.clone(),
        }
    }

    /// The order in which diagnostics are shown: by file and place, those without a place first.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        (
            &self.primary,
            self.severity,
            self.code,
            &self.detail,
            &self.hint,
            &self.related,
        )
            .cmp(&(
                &other.primary,
                other.severity,
                other.code,
                &other.detail,
                &other.hint,
                &other.related,
            ))
    }
}

/// What [`Diagnostic::hint`] takes.
pub trait IntoHint {
    /// Returns the hint, if there is one.
    fn into_hint(self) -> Option<String>;
}

impl IntoHint for String {
    fn into_hint(self) -> Option<String> {
        Some(self)
    }
}

impl IntoHint for &str {
    fn into_hint(self) -> Option<String> {
        Some(self.to_owned())
    }
}

impl IntoHint for Option<String> {
    fn into_hint(self) -> Option<String> {
        self
    }
}

/// A diagnostic as JSON has it: lines and columns in place of source texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct DiagnosticView {
    /// `error`, `warning` or `note`.
    pub severity: String,
    /// A stable identifier such as `unknown-key`.
    pub code: String,
    /// What is wrong in a few fixed words.
    pub summary: String,
    /// What is wrong and why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Other places that matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<RelatedView>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A related place as JSON has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct RelatedView {
    /// Where.
    pub place: Place,
    /// What is there.
    pub message: String,
}
