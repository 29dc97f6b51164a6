//! What the world changed behind our back as SARIF 2.1.0: a result for each object, where the project declares it.

use gabion_engine::plan::change::{Drift, DriftKind};
use gabion_engine::words::ago;
use gabion_engine::world::NotAsked;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::drift_text::sides;
use super::repository::RepositoryPath;
use super::sarif;
use super::words;

/// What results are about: an id, and what it means.
const RULES: [(&str, &str); 5] = [
    ("drift-gone", "An object is gone."),
    ("drift-changed", "An object was changed outside gabion."),
    ("drift-unreadable", "An object cannot be read."),
    (
        "drift-unmanaged",
        "An object carries the project's mark and is in no record.",
    ),
    (
        "drift-not-asked",
        "A place where objects of the project may be could not be asked.",
    ),
];

/// Returns the log of one look at the world; `settings` is the project's settings file, where results stand that are about
/// nothing that the project declares.
pub(crate) fn log(
    drift: &[Drift],
    unmanaged: &[String],
    not_asked: &[NotAsked],
    now: Timestamp,
    repository: &RepositoryPath,
    settings: &str,
) -> Value {
    let declared = |drift: &Drift| match &drift.place {
        Some(place) => json!({
            "artifactLocation": sarif::artifact(&place.file, repository),
            "region": { "startLine": place.line, "startColumn": place.column },
        }),
        None => start(repository, settings),
    };
    let mut results: Vec<Value> = drift
        .iter()
        .map(|drift| {
            let address = drift.address.to_string();
            let (rule, level, words) = match &drift.kind {
                DriftKind::Vanished => (0, "error", "is gone.".to_owned()),
                DriftKind::Changed(attributes) => {
                    let lines: Vec<String> = attributes
                        .iter()
                        .map(|attribute| {
                            let [recorded, actual, _] = sides(attribute);
                            let verdict = words::verdict(attribute.verdict);
                            format!("\n{}: {recorded} → {actual} ({verdict})", attribute.path)
                        })
                        .collect();
                    (
                        1,
                        "warning",
                        format!("was changed outside gabion:{}", lines.concat()),
                    )
                }
                DriftKind::CannotTell { reason } => (2, "note", format!("cannot be read: {reason}")),
            };
            let since = match drift.recorded_at {
                Some(at) => format!(" (recorded {})", ago(at, now)),
                None => String::new(),
            };
            result(
                rule,
                level,
                &address,
                &format!("{address}{since} {words}"),
                declared(drift),
            )
        })
        .collect();
    results.extend(unmanaged.iter().map(|name| {
        let words = format!("{name} carries the project's mark and is in no record.");
        result(3, "warning", name, &words, start(repository, settings))
    }));
    results.extend(not_asked.iter().map(|missing| {
        let words = format!("{} could not be asked: {}", missing.part, missing.why);
        result(4, "warning", &missing.part, &words, start(repository, settings))
    }));
    let rules = RULES.map(|(id, text)| json!({ "id": id, "shortDescription": { "text": text } }));
    sarif::log(&rules, &results)
}

/// Services refuse a result without a place.
fn start(repository: &RepositoryPath, settings: &str) -> Value {
    json!({ "artifactLocation": sarif::artifact(settings, repository), "region": { "startLine": 1 } })
}

fn result(rule: usize, level: &str, name: &str, words: &str, place: Value) -> Value {
    json!({
        "ruleId": RULES[rule].0,
        "ruleIndex": rule,
        "level": level,
        "message": { "text": sarif::message(words) },
        "locations": [{ "physicalLocation": place }],
        // Tells results apart that stand at the same place.
        "partialFingerprints": { "object/v1": sarif::message(name) },
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::render::fixture;

    #[test]
    fn each_difference_stands_where_its_object_is_declared() {
        let plan = fixture::everything();
        let repository = RepositoryPath::new(Path::new("deploy"), None);
        let hostile = ["gabion_data.[x](https://example.org)\u{202e}".to_owned()];
        let now = plan.basis.gathered_at;
        let not_asked = [fixture::not_asked()];
        let log = log(&plan.drift, &hostile, &not_asked, now, &repository, "gabion.yml");
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots/render"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let text = serde_json::to_string_pretty(&log).unwrap();
        settings.bind(|| insta::assert_snapshot!("drift.sarif", text));
    }
}
