//! Problems for people: place, source line, why, and what to do. And the same as JSON.

use std::fmt::{self, Write};

use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};
use gabion_engine::diagnostic::{Diagnostic, DiagnosticView, Diagnostics, Severity, Span};
use gabion_engine::resource::Place;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::theme::Theme;
use super::words::{count, plain};

/// The answer of `gabion validate --format json`, and what other commands say when the configuration is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiagnosticsJson {
    /// The version of this form: `1.0`.
    pub format_version: String,
    /// Whether there is no error.
    pub valid: bool,
    /// How many errors there are.
    pub error_count: usize,
    /// How many warnings there are.
    pub warning_count: usize,
    /// The problems, in the order of files and places.
    pub diagnostics: Vec<ProblemJson>,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProblemJson {
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
    pub place: Option<PlaceJson>,
    /// Other places that matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<RelatedJson>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceJson {
    /// The file, relative to the project directory.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// How many characters it spans on that line; 0 when only the start is known.
    pub length: u32,
}

/// Another place that matters for a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RelatedJson {
    /// Where.
    pub place: PlaceJson,
    /// What is there.
    pub message: String,
}

impl From<&Place> for PlaceJson {
    fn from(place: &Place) -> Self {
        Self {
            file: place.file.to_string(),
            line: place.line,
            column: place.column,
            length: place.length,
        }
    }
}

impl From<DiagnosticView> for ProblemJson {
    fn from(view: DiagnosticView) -> Self {
        Self {
            severity: view.severity,
            code: view.code,
            summary: view.summary,
            detail: view.detail,
            place: view.place.as_ref().map(Into::into),
            related: view
                .related
                .iter()
                .map(|related| RelatedJson {
                    place: (&related.place).into(),
                    message: related.message.clone(),
                })
                .collect(),
            hint: view.hint,
        }
    }
}

/// Returns the wire form of problems.
pub(crate) fn to_wire(diagnostics: &Diagnostics) -> DiagnosticsJson {
    DiagnosticsJson {
        format_version: "1.0".into(),
        valid: !diagnostics.has_errors(),
        error_count: diagnostics.count(Severity::Error),
        warning_count: diagnostics.count(Severity::Warning),
        diagnostics: problems(diagnostics),
    }
}

/// Returns the wire form of each problem.
pub(crate) fn problems(diagnostics: &Diagnostics) -> Vec<ProblemJson> {
    diagnostics.views().into_iter().map(Into::into).collect()
}

/// Writes problems for people, an empty line after each.
pub(crate) fn write_diagnostics(
    out: &mut dyn Write,
    diagnostics: &Diagnostics,
    theme: &Theme,
) -> fmt::Result {
    for diagnostic in diagnostics {
        writeln!(out, "{}\n", render(diagnostic, theme))?;
    }
    Ok(())
}

/// Returns "2 errors and 1 warning".
pub(crate) fn tally(diagnostics: &Diagnostics) -> String {
    let errors = diagnostics.count(Severity::Error);
    let warnings = diagnostics.count(Severity::Warning);
    match (errors, warnings) {
        (0, warnings) => count(warnings, "warning"),
        (errors, 0) => count(errors, "error"),
        (errors, warnings) => format!("{} and {}", count(errors, "error"), count(warnings, "warning")),
    }
}

/// Returns a problem without a place: what, why, what to do.
pub(crate) fn message(
    severity: Severity,
    summary: &str,
    detail: &str,
    hint: Option<&str>,
    theme: &Theme,
) -> String {
    let style = match severity {
        Severity::Error => theme.bad,
        Severity::Warning => theme.change.bold(),
        Severity::Note => theme.calm,
    };
    let style = if theme.has_colour() {
        style
    } else {
        anstyle::Style::new()
    };
    let strong = theme.strong;
    let word = severity.as_str();
    let mut lines = vec![format!(
        "{style}{word}{style:#}{strong}: {}{strong:#}",
        plain(summary)
    )];
    lines.extend(
        detail
            .lines()
            .map(|line| format!("  {}", plain(line)).trim_end().to_owned()),
    );
    let hint_style = theme.calm;
    for (position, line) in hint.into_iter().flat_map(str::lines).enumerate() {
        let heading = match position {
            0 => format!("{hint_style}hint{hint_style:#}: "),
            _ => String::new(),
        };
        lines.push(format!("{heading}{}", plain(line)));
    }
    lines.join("\n")
}

fn render(diagnostic: &Diagnostic, theme: &Theme) -> String {
    if diagnostic.primary.is_none() && diagnostic.related.is_empty() {
        let hint = diagnostic.hint.as_deref();
        return message(
            diagnostic.severity,
            diagnostic.summary,
            &diagnostic.detail,
            hint,
            theme,
        );
    }
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let mut main = level
        .primary_title(diagnostic.summary)
        .elements(Vec::<Element<'_>>::new());
    if let Some(span) = &diagnostic.primary {
        main = add_place(main, span, AnnotationKind::Primary, None);
    }
    if !diagnostic.detail.is_empty() {
        main = main.element(Level::NOTE.no_name().message(safe_lines(&diagnostic.detail)));
    }
    let mut report = vec![main];
    for related in &diagnostic.related {
        let group = Group::with_title(Level::NOTE.secondary_title(plain(&related.message)));
        report.push(add_place(group, &related.span, AnnotationKind::Context, None));
    }
    if let Some(hint) = &diagnostic.hint {
        let title = Level::HELP.with_name("hint").secondary_title(safe_lines(hint));
        report.push(Group::with_title(title));
    }
    let renderer = if theme.has_colour() {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let text = renderer.render(&report);
    // Lines end where their text ends, so that what is printed can be kept as it is.
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

fn add_place<'a>(
    group: Group<'a>,
    span: &'a Span,
    kind: AnnotationKind,
    label: Option<&'a str>,
) -> Group<'a> {
    let position = span.position();
    let excerpt = span.file.excerpt(span);
    let origin = Origin::path(plain(span.file.path()))
        .line(position.line)
        .char_column(position.column);
    if excerpt.text.trim().is_empty() {
        return group.element(origin);
    }
    let (text, range) = printable(excerpt.text, excerpt.start..excerpt.end);
    let annotation = kind.span(range).label(label);
    let snippet = Snippet::source(text).line_start(excerpt.line).fold(false);
    if excerpt.cropped_start {
        return group.element(origin).element(snippet.annotation(annotation));
    }
    group.element(snippet.path(plain(span.file.path())).annotation(annotation))
}

/// Returns a line without control characters, and where the range is in it.
fn printable(line: &str, range: std::ops::Range<usize>) -> (String, std::ops::Range<usize>) {
    let head = plain_keeping_tabs(&line[..range.start]);
    let body = plain_keeping_tabs(&line[range.clone()]);
    let tail = plain_keeping_tabs(&line[range.end..]);
    let new_range = head.len()..head.len() + body.len();
    (format!("{head}{body}{tail}"), new_range)
}

fn plain_keeping_tabs(text: &str) -> String {
    text.split('\t').map(plain).collect::<Vec<_>>().join("\t")
}

/// Returns text of several lines, none of which can steer a terminal.
fn safe_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use gabion_engine::diagnostic::SourceFile;

    #[test]
    fn a_problem_has_place_source_reason_and_hint() {
        let file = SourceFile::new("qwen.dstack.yml", "type: service\nprot: 8000\nname: a\nname: b\n");
        let mut all = Diagnostics::new();
        all.push(
            Diagnostic::error("unknown-key", "unknown key")
                .detail("A service has no key `prot`.\nIt would be ignored.")
                .at(Span::new(&file, 14, 18))
                .hint("did you mean `port`?"),
        );
        all.push(
            Diagnostic::error("duplicate-key", "duplicate key")
                .at(Span::new(&file, 33, 37))
                .related(Span::new(&file, 25, 29), "first set here"),
        );
        all.push(Diagnostic::error("no-project", "nothing to read").hint("run this:\n    gabion init"));
        let long = SourceFile::new(
            "long.yml",
            format!("{}needle{}", "a".repeat(9000), "b".repeat(900)),
        );
        all.push(Diagnostic::warning("long", "long line").at(Span::new(&long, 9000, 9006)));
        let mut text = String::new();
        write_diagnostics(&mut text, &all, &Theme::plain()).unwrap();
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots/render"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!("diagnostics.txt", text));
    }
}
