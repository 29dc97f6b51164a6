//! The JSON Schemas, by a validator that is not ours: they accept every document that is read, and refuse those that are
//! refused, but for what `schemas/README.md` lists.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot read its own files has failed; where the validator is, the test command says"
)]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gabion_engine::config::{DocumentFamily, Node, NodeKind, parse_yaml};
use gabion_engine::diagnostic::SourceFile;
use gabion_inference::Inference;
use serde_json::{Value, json};

/// The Python that has the validator.
const PYTHON: &str = "GABION_TEST_JSON_SCHEMA";

/// Prints, a line for each document, whether its schema accepts it, as JSON.
const VALIDATE: &str = "\
import json, sys
import jsonschema_rs
given = json.load(sys.stdin)
validators = {name: jsonschema_rs.validator_for(schema) for name, schema in given['schemas'].items()}
print(json.dumps([validators[name].is_valid(document) for name, document in given['documents']]))
";

struct Document {
    file: String,
    value: Value,
    /// The code of its error.
    code: Option<String>,
}

fn json_of(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Null => Value::Null,
        NodeKind::Bool(value) => json!(value),
        NodeKind::Int(value) => json!(value),
        NodeKind::Float(value) => json!(value),
        NodeKind::String(value) => json!(value),
        NodeKind::List(items) => items.iter().map(json_of).collect(),
        NodeKind::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.name.clone(), json_of(value)))
            .collect(),
    }
}

/// The documents of a directory's files; of those with several only good ones are known one by one.
fn documents(directory: &Path) -> Vec<Document> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml"))
        .collect();
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let problems = support::validate(&file, &text);
        let code = problems.iter().find(|problem| problem.is_error());
        let (nodes, _) = parse_yaml(&SourceFile::new(file.as_str(), text));
        all.extend(nodes.iter().map(|node| Document {
            file: file.clone(),
            value: json_of(node),
            code: code.map(|problem| problem.code.to_owned()),
        }));
    }
    all
}

/// Returns for each document whether its type's schema accepts it.
fn verdicts(documents: &[Document]) -> Vec<bool> {
    let python = std::env::var_os(PYTHON).unwrap_or_else(|| {
        panic!("{PYTHON} is not set; run the tests with: cargo xtask test -p gabion-inference")
    });
    let types = Inference.types().iter().map(|found| found.name);
    let schemas: BTreeMap<&str, Value> = types
        .map(|name| (name, Inference.json_schema(name).unwrap()))
        .collect();
    // A type that there is none of has no schema that could accept it.
    let known = |document: &Document| {
        let name = document.value["type"].as_str().unwrap_or_default();
        schemas.contains_key(name).then(|| name.to_owned())
    };
    let given: Vec<Value> = documents
        .iter()
        .filter_map(|document| Some(json!([known(document)?, document.value])))
        .collect();
    let mut validator = Command::new(python)
        .args(["-I", "-c", VALIDATE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = json!({ "schemas": schemas, "documents": given }).to_string();
    // The validator reads everything before it answers.
    validator
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = validator.wait_with_output().unwrap();
    assert!(output.status.success());
    let answers: Vec<bool> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers.len(), given.len());
    let mut answers = answers.into_iter();
    documents
        .iter()
        .map(|document| known(document).is_some() && answers.next().unwrap())
        .collect()
}

/// The codes of errors that schemas do not see.
fn exceptions() -> Vec<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned())
        .collect()
}

#[test]
fn schemas_accept_what_is_read_and_refuse_the_rest_but_for_the_exceptions() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut all = Vec::new();
    for directory in ["mutations", "spellings/read", "spellings/refused"] {
        all.extend(documents(&here.join(directory)));
    }
    // Real files, where they lie beside the repository.
    let beside = here.ancestors().skip(4).take(3);
    let corpus = beside
        .map(|above| above.join("shared/corpus/dstack"))
        .find(|place| place.is_dir());
    all.extend(corpus.iter().flat_map(|directory| documents(directory)));
    let exceptions = exceptions();
    assert!(exceptions.len() > 10, "{exceptions:?}");
    let (mut refused, mut unseen, mut wrong) = (0, 0, Vec::new());
    for (document, accepts) in all.iter().zip(verdicts(&all)) {
        match (&document.code, accepts) {
            (None, true) => {}
            (None, false) => wrong.push(format!("{} is read, and its schema refuses it", document.file)),
            (Some(_), false) => refused += 1,
            (Some(code), true) if exceptions.contains(code) => unseen += 1,
            (Some(code), true) => wrong.push(format!(
                "{} is refused ({code}), and its schema accepts it",
                document.file
            )),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused >= 40 && unseen > 0, "{refused} refused, {unseen} unseen");
}
