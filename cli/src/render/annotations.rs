//! Problems as annotations of a GitHub workflow: a line each, which the runner shows at its place in the pull request.

use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Severity, Span};

use super::repository::RepositoryPath;
use super::words::plain;

/// Returns a line for each problem.
pub(crate) fn annotations(diagnostics: &Diagnostics, repository: &RepositoryPath) -> String {
    let lines: Vec<String> = diagnostics
        .iter()
        .map(|diagnostic| annotation(diagnostic, repository))
        .collect();
    lines.join("\n")
}

/// Returns the line of a problem that is at no place.
pub(crate) fn message(severity: Severity, summary: &str, detail: &str, hint: Option<&str>) -> String {
    line(
        severity,
        &[("title", summary.to_owned())],
        &[detail.to_owned()],
        hint,
    )
}

fn annotation(diagnostic: &Diagnostic, repository: &RepositoryPath) -> String {
    let mut properties = Vec::new();
    if let Some(place) = diagnostic.place_in_file().map(Span::place) {
        properties.push(("file", repository.of(&place.file)));
        properties.push(("line", place.line.to_string()));
        properties.push(("col", place.column.to_string()));
        if place.length > 0 {
            properties.push(("endLine", place.line.to_string()));
            properties.push(("endColumn", (place.column + place.length).to_string()));
        }
    }
    properties.push(("title", diagnostic.summary.to_owned()));
    let mut texts: Vec<String> = diagnostic
        .argument()
        .map(|given| format!("In `{given}`:"))
        .into_iter()
        .collect();
    texts.push(diagnostic.detail.clone());
    texts.extend(diagnostic.related.iter().map(|related| {
        let place = related.span.place();
        let file = repository.of(&place.file);
        format!("{file}:{}:{}: {}", place.line, place.column, related.message)
    }));
    line(
        diagnostic.severity,
        &properties,
        &texts,
        diagnostic.hint.as_deref(),
    )
}

fn line(severity: Severity, properties: &[(&str, String)], texts: &[String], hint: Option<&str>) -> String {
    let command = match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "notice",
    };
    let properties: Vec<String> = properties
        .iter()
        .map(|(name, value)| format!("{name}={}", escaped_property(&plain(value))))
        .collect();
    let hint = hint.map(|hint| format!("hint: {hint}"));
    let texts = texts.iter().chain(&hint);
    let lines: Vec<String> = texts.flat_map(|text| text.lines()).map(plain).collect();
    format!(
        "::{command} {}::{}",
        properties.join(","),
        escaped(&lines.join("\n"))
    )
}

/// Returns text that stays the message of its line.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Returns text that stays the value of its property.
fn escaped_property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use gabion_engine::diagnostic::SourceFile;

    #[test]
    fn hostile_text_stays_inside_its_annotation() {
        let file = SourceFile::new("a,b:%c.yml", "name: x\n");
        let diagnostics = Diagnostics::from(
            Diagnostic::warning("bad-name", "bad name")
                .at(Span::new(&file, 6, 7))
                .detail("It is `100%`\r\n::error::you were hacked`\u{1b}[2J.")
                .related(Span::new(&file, 0, 4), "first: here, %0A")
                .hint("a\nb"),
        );
        assert_eq!(
            annotations(&diagnostics, &RepositoryPath::default()),
            "::warning file=a%2Cb%3A%25c.yml,line=1,col=7,endLine=1,endColumn=8,title=bad name::It is `100%25`%0A\
             ::error::you were hacked`\\u{1b}[2J.%0Aa,b:%25c.yml:1:1: first: here, %250A%0Ahint: a%0Ab"
        );
    }

    #[test]
    fn a_problem_without_a_place_names_no_file() {
        assert_eq!(
            message(Severity::Error, "state is locked", "By ada.", None),
            "::error title=state is locked::By ada."
        );
    }
}
