//! Problems as SARIF 2.1.0, which code scanning services show at their places.

use std::collections::BTreeMap;

use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};
use gabion_engine::words::sentence;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::repository::RepositoryPath;
use super::words::plain;

/// The schema that the log says it follows.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// What stays as it is in the path of a URI.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Returns the problems as a SARIF log of one run; `settings` is the project's settings file.
///
/// Services refuse a log in which a result has no place: what is wrong with the project as a whole is put at the start of
/// its settings.
pub(crate) fn sarif(diagnostics: &Diagnostics, repository: &RepositoryPath, settings: &str) -> Value {
    // What a rule is called is the same wherever it is broken.
    let rules: BTreeMap<&str, &str> = diagnostics
        .iter()
        .map(|diagnostic| (diagnostic.code, diagnostic.summary))
        .collect();
    let index: BTreeMap<&str, usize> = rules.keys().copied().zip(0..).collect();
    let results: Vec<Value> = diagnostics
        .iter()
        .map(|diagnostic| result(diagnostic, index[diagnostic.code], repository, settings))
        .collect();
    let rules: Vec<Value> = rules
        .iter()
        .map(|(code, summary)| json!({ "id": code, "shortDescription": { "text": sentence(summary) } }))
        .collect();
    log(&rules, &results)
}

/// Returns a log of one run.
pub(super) fn log(rules: &[Value], results: &[Value]) -> Value {
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "gabion",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "invocations": [{ "executionSuccessful": true }],
            "results": results,
        }],
    })
}

fn result(diagnostic: &Diagnostic, rule: usize, repository: &RepositoryPath, settings: &str) -> Value {
    let place = match diagnostic.place_in_file() {
        Some(span) => physical(span, repository),
        None => json!({ "artifactLocation": artifact(settings, repository), "region": { "startLine": 1 } }),
    };
    let mut lines: Vec<String> = diagnostic
        .argument()
        .map(|given| format!("In `{given}`:"))
        .into_iter()
        .collect();
    lines.push(match diagnostic.detail.is_empty() {
        true => sentence(diagnostic.summary),
        false => diagnostic.detail.clone(),
    });
    lines.extend(diagnostic.hint.iter().map(|hint| format!("Hint: {hint}")));
    let mut result = json!({
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": diagnostic.severity.as_str(),
        "message": { "text": message(&lines.join("\n")) },
        "locations": [{ "physicalLocation": place }],
    });
    if !diagnostic.related.is_empty() {
        let related = diagnostic.related.iter().enumerate().map(|(position, related)| {
            json!({
                "id": position,
                "physicalLocation": physical(&related.span, repository),
                "message": { "text": message(&related.message) },
            })
        });
        result["relatedLocations"] = related.collect();
    }
    result
}

fn physical(span: &Span, repository: &RepositoryPath) -> Value {
    let place = span.place();
    let mut region = json!({ "startLine": place.line, "startColumn": place.column });
    if place.length > 0 {
        region["endLine"] = place.line.into();
        // The column after the last one.
        region["endColumn"] = (place.column + place.length).into();
    }
    json!({ "artifactLocation": artifact(&place.file, repository), "region": region })
}

/// Returns a file of the project as a log names it.
pub(super) fn artifact(file: &str, repository: &RepositoryPath) -> Value {
    let path = repository.of(file);
    let uri = utf8_percent_encode(&path, ESCAPED).to_string();
    match path.starts_with('/') {
        true => json!({ "uri": format!("file://{uri}") }),
        false => json!({ "uri": uri, "uriBaseId": "%SRCROOT%" }),
    }
}

/// Returns text of several lines in which nothing is a link or steers a terminal.
pub(super) fn message(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(plain).collect();
    lines.join("\n").replace("](", "] (")
}

#[cfg(test)]
mod tests {
    use super::*;
    use gabion_engine::diagnostic::SourceFile;
    use std::path::Path;

    #[test]
    fn hostile_text_is_neither_a_link_nor_another_file() {
        let file = SourceFile::new("a #?ü.yml", "name: é\nname: é\n");
        let mut diagnostics = Diagnostics::from(
            Diagnostic::error("duplicate-key", "duplicate key")
                .at(Span::new(&file, 15, 17))
                .detail("[here](https://example.org) \u{202e}")
                .related(Span::new(&file, 0, 4), "first set here"),
        );
        diagnostics.push(Diagnostic::note("no-name", "no name"));
        let repository = RepositoryPath::new(Path::new("deploy"), None);
        let log = sarif(&diagnostics, &repository, "gabion.yml");
        let results = &log["runs"][0]["results"];
        assert_eq!(
            results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
            "deploy/gabion.yml"
        );
        assert_eq!(results[0]["message"]["text"], "No name.");
        let place = &results[1]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "deploy/a%20%23%3F%C3%BC.yml");
        assert_eq!(
            place["region"],
            json!({ "startLine": 2, "startColumn": 7, "endLine": 2, "endColumn": 8 })
        );
        assert_eq!(
            results[1]["message"]["text"],
            "[here] (https://example.org) \\u{202e}"
        );
        assert_eq!(
            results[1]["relatedLocations"][0]["message"]["text"],
            "first set here"
        );
        assert_eq!(
            log["runs"][0]["tool"]["driver"]["rules"][0]["id"],
            "duplicate-key"
        );
    }
}
