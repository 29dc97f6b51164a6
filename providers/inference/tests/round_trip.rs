//! A document that is written back as it is understood, and read again, is the same: over documents that are put together
//! from what the schemas name.
#![expect(clippy::unwrap_used, reason = "a test that cannot read a schema has failed")]

mod support;

use gabion_engine::config::DocumentFamily;
use gabion_inference::Inference;
use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::{Map, Value, json};

use support::{errors, resolve, validate};

/// Numbers to choose by, one after the other.
struct Choices {
    numbers: Vec<u32>,
    at: usize,
}

impl Choices {
    /// Returns a number below `count`.
    fn below(&mut self, count: usize) -> usize {
        let number = self.numbers[self.at % self.numbers.len()] as usize;
        self.at += 1;
        number % count.max(1)
    }
}

/// Puts a value together that a schema describes.
fn value(schema: &Value, choices: &mut Choices, depth: usize) -> Value {
    let listed = |key: &str| schema[key].as_array().cloned().unwrap_or_default();
    let mut named: Vec<Value> = ["examples", "enum"].into_iter().flat_map(listed).collect();
    named.extend(schema.get("default").cloned());
    named.extend(schema.get("const").cloned());
    let mut forms = listed("anyOf");
    forms.retain(|form| form["properties"].is_object());
    let wants_map = named.is_empty() || choices.below(3) == 0;
    if wants_map && depth < 5 {
        if schema["properties"].is_object() {
            return map(schema, choices, depth);
        }
        if !forms.is_empty() {
            return map(&forms[choices.below(forms.len())], choices, depth);
        }
        if schema["items"].is_object() {
            let count = choices.below(3);
            return (0..count)
                .map(|_| value(&schema["items"], choices, depth + 1))
                .collect();
        }
    }
    match named.is_empty() {
        true => json!("text"),
        false => named[choices.below(named.len())].clone(),
    }
}

fn map(schema: &Value, choices: &mut Choices, depth: usize) -> Value {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let mut map = Map::new();
    for (key, property) in schema["properties"].as_object().unwrap() {
        if required.iter().any(|name| name == key) || choices.below(6) == 0 {
            map.insert(key.clone(), value(property, choices, depth + 1));
        }
    }
    Value::Object(map)
}

proptest! {
    #![proptest_config(Config { cases: 100, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_document_is_the_same_when_it_is_written_back(numbers in prop::collection::vec(any::<u32>(), 40..200)) {
        let mut choices = Choices { numbers, at: 0 };
        let types = Inference.types();
        let document_type = types[choices.below(types.len())].name;
        let schema = Inference.json_schema(document_type).unwrap();
        let mut document = map(&schema, &mut choices, 0);
        let example = schema["examples"][0].clone();
        // What the type needs comes from its example, so that more of the documents are good ones.
        for (key, value) in example.as_object().unwrap() {
            document.as_object_mut().unwrap().entry(key.clone()).or_insert(value.clone());
        }
        let text = document.to_string();
        let problems = validate("a", &text);
        prop_assert!(problems.iter().all(|problem| problem.primary.is_some()), "{}: {:?}", text, errors(&problems));
        for (yaml, _) in resolve("a", &text) {
            let again = resolve("a", &yaml);
            prop_assert_eq!(again.first().map(|(yaml, _)| yaml), Some(&yaml), "{}", text);
        }
    }
}
