//! Why a command ends early: what to say, and with which exit code.

use std::fmt::Display;

use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Severity};
use gabion_engine::words::sentence;

use crate::exit::Exit;
use crate::output::{Printer, ProblemForm};
use crate::render::annotations;
use crate::render::diagnostic::{self, ProblemJson};

/// What a command returns: its exit, or why it ended early.
pub(crate) type Outcome = Result<Exit, Failure>;

/// What to do about something that this build was made without.
#[allow(dead_code, reason = "a build with all features never says it")]
pub(crate) const DEFAULT_FEATURES: &str =
    "build gabion with its default features, in its repository:\n    cargo build";

/// Why a command ended early.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    what: What,
}

#[derive(Debug)]
enum What {
    /// One thing is wrong, outside any file.
    Message {
        summary: String,
        detail: String,
        hint: Option<String>,
    },
    /// The configuration has problems.
    Diagnostics(Diagnostics),
}

impl Failure {
    /// Makes a failure with exit code 1; `summary` is a few fixed words.
    pub(crate) fn new(summary: impl Into<String>) -> Self {
        Self {
            exit: Exit::Error,
            what: What::Message {
                summary: summary.into(),
                detail: String::new(),
                hint: None,
            },
        }
    }

    /// Makes a failure of gabion's own.
    pub(crate) fn bug(detail: impl Into<String>) -> Self {
        Self::new("this is a bug in gabion")
            .detail(detail)
            .hint("please report it with the command that you ran and this message")
    }

    /// Says what is wrong and why, in full sentences.
    pub(crate) fn detail(mut self, text: impl Into<String>) -> Self {
        if let What::Message { detail, .. } = &mut self.what {
            *detail = text.into();
        }
        self
    }

    /// Says what is wrong with the words of an error, which are made a sentence.
    pub(crate) fn because(self, error: &dyn Display) -> Self {
        self.detail(sentence(&error.to_string()))
    }

    /// Says what to do about it.
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        if let What::Message { hint, .. } = &mut self.what {
            *hint = Some(text.into());
        }
        self
    }

    /// Sets the exit code.
    pub(crate) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Returns the exit code.
    pub(crate) fn code(&self) -> Exit {
        self.exit
    }

    /// Returns what it says first, for a message that is about something larger.
    pub(crate) fn summary(&self) -> String {
        match &self.what {
            What::Message { summary, detail, .. } if detail.is_empty() => summary.clone(),
            What::Message { summary, detail, .. } => {
                format!("{summary}: {}", detail.lines().next().unwrap_or_default())
            }
            What::Diagnostics(diagnostics) => diagnostic::tally(diagnostics),
        }
    }

    /// Prints it where errors go, in the form that was asked for.
    pub(crate) fn print(&self, printer: &Printer) {
        match (&self.what, printer.problem_form()) {
            (
                What::Message {
                    summary,
                    detail,
                    hint,
                },
                ProblemForm::Json,
            ) => {
                let view = ProblemJson {
                    severity: Severity::Error.as_str().to_owned(),
                    code: "failed".into(),
                    summary: summary.clone(),
                    detail: detail.clone(),
                    place: None,
                    related: Vec::new(),
                    hint: hint.clone(),
                };
                printer.error_json(&[view]);
            }
            (
                What::Message {
                    summary,
                    detail,
                    hint,
                },
                ProblemForm::Annotations(_),
            ) => printer.error(&annotations::message(
                Severity::Error,
                summary,
                detail,
                hint.as_deref(),
            )),
            (
                What::Message {
                    summary,
                    detail,
                    hint,
                },
                ProblemForm::Text,
            ) => {
                let hint = hint.as_deref();
                let theme = printer.status_theme();
                printer.error(&diagnostic::message(
                    Severity::Error,
                    summary,
                    detail,
                    hint,
                    &theme,
                ));
            }
            (What::Diagnostics(diagnostics), ProblemForm::Json) => {
                printer.error_json(&diagnostic::problems(diagnostics));
            }
            (What::Diagnostics(diagnostics), ProblemForm::Annotations(repository)) => {
                printer.error(&annotations::annotations(diagnostics, repository));
            }
            (What::Diagnostics(diagnostics), ProblemForm::Text) => {
                let mut text = String::new();
                // Writing to a string cannot fail.
                let _ = diagnostic::write_diagnostics(&mut text, diagnostics, &printer.status_theme());
                text.push_str(&diagnostic::tally(diagnostics));
                text.push_str("; nothing was changed");
                printer.error(&text);
            }
        }
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Self {
            exit: Exit::Error,
            what: What::Diagnostics(diagnostics),
        }
    }
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Diagnostics::from(diagnostic).into()
    }
}
