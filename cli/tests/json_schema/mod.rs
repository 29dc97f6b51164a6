//! A validator of JSON Schemas that is not ours, and what it says of plans as JSON.
//!
//! The harnesses of tests ask it about every such plan that a command prints, so that no test can forget to.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// The Python that has the validator; the test command sets it.
const PYTHON: &str = "GABION_TEST_JSON_SCHEMA";

/// Prints what is wrong with each document.
const VALIDATE: &str = "\
import json, sys
import jsonschema_rs
for name, (schema, documents) in json.load(sys.stdin).items():
    validator = jsonschema_rs.validator_for(schema)
    for document in documents:
        for error in validator.iter_errors(document):
            print(name, list(error.instance_path), error.message)
";

/// Returns the Python that has the validator.
pub(crate) fn python() -> Option<OsString> {
    std::env::var_os(PYTHON)
}

/// Returns what is wrong with documents, a line each, by the name of their schema.
#[track_caller]
pub(crate) fn violations(given: &BTreeMap<&str, (Value, Vec<Value>)>) -> String {
    let python = python()
        .unwrap_or_else(|| panic!("{PYTHON} is not set; run the tests with: cargo xtask test -p gabion"));
    let mut validator = Command::new(python)
        .args(["-I", "-c", VALIDATE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The validator reads everything before it answers.
    let mut input = validator.stdin.take().unwrap();
    input.write_all(json!(given).to_string().as_bytes()).unwrap();
    drop(input);
    let output = validator.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Checks plans as JSON against their schema.
///
/// Without the validator nothing is checked; that it is there is what the test of all schemas asserts.
#[track_caller]
pub(crate) fn check_plans<'a>(texts: impl IntoIterator<Item = &'a str>) {
    if python().is_none() {
        return;
    }
    let read = |text| serde_json::from_str(text).unwrap_or_else(|error| panic!("no JSON ({error}):\n{text}"));
    let plans: Vec<Value> = texts.into_iter().map(read).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/plan.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let found = violations(&BTreeMap::from([("plan", (schema, plans))]));
    assert_eq!(found, "", "a plan is not what its schema says");
}

/// Checks what a command printed, if it printed a plan as JSON: a plan that is shown ends with 0, 2 or 5.
#[track_caller]
pub(crate) fn check_printed<'a>(
    arguments: impl IntoIterator<Item = &'a str>,
    code: Option<i32>,
    printed: &str,
) {
    let arguments: Vec<&str> = arguments.into_iter().collect();
    let is_plan = arguments.iter().any(|word| ["plan", "show"].contains(word))
        && !arguments.iter().any(|word| ["state", "ci"].contains(word));
    let is_json = arguments.windows(2).any(|pair| pair == ["--format", "json"]);
    if is_plan && is_json && matches!(code, Some(0 | 2 | 5)) {
        check_plans([printed]);
    }
}
