//! What the world changed behind our back as JUnit XML: a test for each object, failed where it differs.

use std::fmt::Write;

use gabion_engine::address::ResourceAddress;
use gabion_engine::plan::change::{Drift, DriftKind, DriftVerdict};
use gabion_engine::world::NotAsked;
use jiff::Timestamp;

use super::drift_text::sides;
use super::words::{self, plain};

/// What is reported.
pub(crate) struct Report<'a> {
    /// The project's name.
    pub(crate) project: &'a str,
    /// When the world was read.
    pub(crate) gathered_at: Timestamp,
    /// Every object that was looked at.
    pub(crate) objects: &'a [ResourceAddress],
    /// What differs.
    pub(crate) drift: &'a [Drift],
    /// Objects with the project's mark that are in no record.
    pub(crate) unmanaged: &'a [String],
    /// What could not be asked for such objects.
    pub(crate) not_asked: &'a [NotAsked],
}

/// Returns the report as XML.
pub(crate) fn write(report: &Report<'_>) -> String {
    let mut cases = String::new();
    let (mut failures, mut errors) = (0, 0);
    for address in report.objects {
        let name = escaped(&address.to_string());
        let class = escaped(address.resource_type.as_str());
        let found: Vec<&Drift> = report
            .drift
            .iter()
            .filter(|drift| drift.address == *address)
            .collect();
        let mut inside = String::new();
        for drift in found {
            match &drift.kind {
                DriftKind::Vanished => {
                    failures += 1;
                    inside.push_str("<failure message=\"it is gone\"/>");
                }
                DriftKind::CannotTell { reason } => {
                    errors += 1;
                    let _ = write!(inside, "<error message=\"cannot be read: {}\"/>", escaped(reason));
                }
                DriftKind::Changed(attributes) => {
                    let lines: Vec<String> = attributes
                        .iter()
                        .map(|attribute| {
                            let [recorded, actual, _] = sides(attribute);
                            let path = plain(&attribute.path.to_string());
                            format!(
                                "{path}: {recorded} -> {actual} ({})",
                                words::verdict(attribute.verdict)
                            )
                        })
                        .collect();
                    let counts = |verdict| matches!(verdict, DriftVerdict::Reverted | DriftVerdict::Accepted);
                    let text = escaped(&lines.join("; "));
                    if attributes.iter().any(|attribute| counts(attribute.verdict)) {
                        failures += 1;
                        let _ = write!(
                            inside,
                            "<failure message=\"it was changed outside gabion\">{text}</failure>"
                        );
                    } else {
                        let _ = write!(inside, "<system-out>{text}</system-out>");
                    }
                }
            }
        }
        let _ = writeln!(
            cases,
            "    <testcase classname=\"{class}\" name=\"{name}\">{inside}</testcase>"
        );
    }
    for name in report.unmanaged {
        failures += 1;
        let _ = writeln!(
            cases,
            "    <testcase classname=\"in no record\" name=\"{}\"><failure message=\"it carries the project&apos;s mark and is in no record\"/></testcase>",
            escaped(name)
        );
    }
    for missing in report.not_asked {
        errors += 1;
        let _ = writeln!(
            cases,
            "    <testcase classname=\"not asked\" name=\"{}\"><error message=\"could not be asked: {}\"/></testcase>",
            escaped(&missing.part),
            escaped(&missing.why)
        );
    }
    let tests = report.objects.len() + report.unmanaged.len() + report.not_asked.len();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"gabion drift {}\" tests=\"{tests}\" \
         failures=\"{failures}\" errors=\"{errors}\" timestamp=\"{:.0}\">\n{cases}  </testsuite>\n</testsuites>\n",
        escaped(report.project),
        report.gathered_at
    )
}

/// Returns text for XML: nothing in it is markup, and no character that XML forbids is left.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture;

    #[test]
    fn each_object_is_a_test() {
        let plan = fixture::everything();
        let objects: Vec<ResourceAddress> = plan.drift.iter().map(|drift| drift.address.clone()).collect();
        let report = Report {
            project: "a<b>&\"\u{1b}",
            gathered_at: plan.basis.gathered_at,
            objects: &objects,
            drift: &plan.drift,
            unmanaged: &["gabion_data]]>".to_owned()],
            not_asked: &[fixture::not_asked()],
        };
        let xml = write(&report);
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots/render"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!("drift.xml", xml));
    }
}
