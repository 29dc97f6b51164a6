//! What commands say, compared with what was reviewed.

use std::path::Path;

/// Compares with `snapshots/NAME.snap`; times, identifiers and temporary paths are made the same first.
pub(crate) fn assert_said(name: &str, text: &str) {
    let (directory, name) = name.rsplit_once('/').unwrap_or(("", name));
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../snapshots")
            .join(directory),
    );
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[time]");
    settings.add_filter(
        r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}",
        "[id]",
    );
    settings.add_filter(r"\b[0-9a-f]{64}\b", "[digest]");
    settings.add_filter(r"/[^\s:`]*/(\.tmp|gabion-e2e-)[A-Za-z0-9]{6}", "[dir]");
    settings.add_filter(r"\b\d+\.\ds\b", "[s]");
    settings.add_filter(r"lease taken on \S+", "lease taken on [host]");
    if directory == "plans" {
        settings.add_filter(r"127\.0\.0\.1:\d+", "127.0.0.1:[port]");
        settings.add_filter(r#""(http|metrics|port)": \d{4,}"#, "\"$1\": [port]");
    }
    settings.bind(|| insta::assert_snapshot!(name, text));
}
