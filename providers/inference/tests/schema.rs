//! The JSON Schemas say what the decoders read: no key more, no key less, and what an absent key means.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot write its project has failed"
)]

use std::collections::BTreeSet;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{
    DocumentFamily, DocumentRegistry, LowerInputs, NothingRecorded, Purpose, load, no_secrets,
};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use gabion_engine::resource::Configuration;
use gabion_engine::value::{self, Attributes};
use gabion_inference::Inference;
use serde_json::{Map, Value, json};

/// Loads a project of one document, with what it goes with: a service for a gateway, a default gateway for a service.
fn load_one(document: &Value, purpose: Purpose) -> (Configuration, Diagnostics) {
    let directory = tempfile::tempdir().unwrap();
    let other = match document["type"].as_str() {
        Some("service") => json!({"type": "gateway", "name": "front", "backend": "local", "default": true}),
        Some("gateway") => {
            json!({"type": "service", "name": "other", "commands": ["serve"], "port": 8000, "auth": false, "gateway": document["name"]})
        }
        _ => json!({"type": "service", "name": "other", "commands": ["serve"], "port": 8000, "auth": false}),
    };
    // JSON is YAML.
    std::fs::write(
        directory.path().join("a.gabion.yml"),
        format!("{document}\n---\n{other}\n"),
    )
    .unwrap();
    std::fs::write(directory.path().join("gabion.yml"), "project: schemas\n").unwrap();
    let registry = DocumentRegistry::new().with(Inference);
    let inputs = LowerInputs {
        purpose,
        registry: &registry,
        recorded: &NothingRecorded,
        environment: &|_| Some("value".to_owned()),
        secret: &no_secrets,
        version: "0.1.0",
    };
    let (_, mut configuration, problems) = load(directory.path(), inputs);
    for resource in &mut configuration.resources {
        // The directory is another one in each call.
        resource.inputs.remove("working_dir");
        if let Some(value::Value::Map(env)) = resource.inputs.get_mut("env") {
            env.remove("DSTACK_WORKING_DIR");
        }
    }
    (configuration, problems)
}

/// A map in a schema, and the document that a value of it is part of.
struct Place<'a> {
    path: String,
    schema: &'a Value,
    around: Box<dyn Fn(Value) -> Value + 'a>,
}

impl<'a> Place<'a> {
    fn properties(&self) -> &'a Map<String, Value> {
        self.schema["properties"].as_object().unwrap()
    }

    /// Returns a document in which the map has the keys that it needs, and one more.
    fn with(&self, key: &str, value: Value) -> Value {
        let mut map = self.required();
        map.insert(key.to_owned(), value);
        (self.around)(Value::Object(map))
    }

    fn required(&self) -> Map<String, Value> {
        let names = self.schema["required"].as_array().into_iter().flatten();
        let mut map: Map<String, Value> = names
            .map(|name| {
                let name = name.as_str().unwrap();
                (name.to_owned(), candidates(&self.properties()[name]).remove(0))
            })
            .collect();
        if let Some(alternatives) = self.schema["anyOf"].as_array() {
            let name = alternatives[0]["required"][0].as_str().unwrap();
            map.insert(name.to_owned(), self.properties()[name]["examples"][0].clone());
        }
        map
    }

    /// Returns the maps inside this one, each with this one around it, and itself.
    fn all(self) -> Vec<Place<'a>> {
        let mut all = Vec::new();
        let this = std::rc::Rc::new(self);
        for (name, schema) in this.properties() {
            for (suffix, inner, in_list) in maps(schema) {
                let outer = this.clone();
                let place = Place {
                    path: format!("{}.{name}{suffix}", this.path),
                    schema: inner,
                    around: Box::new(move |value| {
                        outer.with(name, if in_list { json!([value]) } else { value })
                    }),
                };
                all.extend(place.all());
            }
        }
        let outer = this.clone();
        all.push(Place {
            path: this.path.clone(),
            schema: this.schema,
            around: Box::new(move |value| (outer.around)(value)),
        });
        all
    }
}

/// Returns the maps that a property's value can be, and whether it is a list of them.
fn maps(schema: &Value) -> Vec<(&'static str, &Value, bool)> {
    let mut found = Vec::new();
    let alternatives = schema["anyOf"].as_array().into_iter().flatten();
    for schema in std::iter::once(schema).chain(alternatives) {
        if schema["properties"].is_object() {
            found.push(("", schema, false));
        }
        if schema["items"]["properties"].is_object() {
            found.push(("[]", &schema["items"], true));
        }
    }
    found
}

/// Returns every value that a schema names: its constant, words, examples and default.
fn candidates(schema: &Value) -> Vec<Value> {
    let lists = ["examples", "enum"].map(|key| schema[key].as_array().cloned().unwrap_or_default());
    let single = ["const", "default"].map(|key| schema.get(key).cloned());
    let mut all: Vec<Value> = single[0].iter().cloned().collect();
    all.extend(lists.into_iter().flatten());
    all.extend(single[1].iter().cloned());
    all
}

fn places<'a>(schema: &'a Value, document_type: &str) -> Vec<Place<'a>> {
    let place = Place {
        path: document_type.to_owned(),
        schema,
        around: Box::new(|value| value),
    };
    place.all()
}

fn schemas() -> Vec<(&'static str, Value)> {
    let types = Inference.types().iter().map(|found| found.name);
    types
        .map(|name| (name, Inference.json_schema(name).unwrap()))
        .collect()
}

#[test]
fn every_example_word_and_default_is_accepted() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for (document_type, schema) in schemas() {
        for place in places(&schema, document_type) {
            for (key, property) in place.properties() {
                for candidate in candidates(property) {
                    let mut document = place.with(key, candidate);
                    // What a probe's body goes with is a rule between two keys.
                    if place.path == "service.probes[]" && key == "body" {
                        document["probes"][0]["method"] = json!("post");
                    }
                    let (_, problems) = load_one(&document, Purpose::Validate);
                    // The backends of this build are fewer than those that can be written.
                    let problems: Vec<&Diagnostic> = problems
                        .iter()
                        .filter(|problem| problem.is_error() && !BETWEEN_KEYS.contains(&problem.code))
                        .filter(|problem| !is_about_this_build(&place, problem))
                        .collect();
                    if !problems.is_empty() {
                        wrong.push(format!("{document}: {problems:?}"));
                    }
                    checked += 1;
                }
            }
        }
        for example in schema["examples"].as_array().unwrap() {
            let is_planned = ["gateway", "service"].contains(&document_type);
            let purpose = if is_planned {
                Purpose::Plan
            } else {
                Purpose::Validate
            };
            let (configuration, problems) = load_one(example, purpose);
            assert!(
                problems.is_empty() && !configuration.resources.is_empty(),
                "{example}: {problems:?}"
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 100, "only {checked} values were checked");
}

/// What is wrong with keys that stand together, which no schema of single keys says.
const BETWEEN_KEYS: [&str; 10] = [
    "bad-gateway",
    "bad-instance",
    "bad-model",
    "exclusive-keys",
    "misplaced-key",
    "missing-image",
    "missing-key",
    "scaling-without-range",
    "router-replicas",
    "unsupported-policy",
];

/// A gateway's keys for machines are known, and of no use to the backend `local`; the schema says so.
fn is_about_this_build(place: &Place<'_>, problem: &Diagnostic) -> bool {
    let described = |key: &str| {
        let description = place.properties().get(key).map(|schema| &schema["description"]);
        description.and_then(Value::as_str).is_some_and(|text| {
            ["`aws`", "No backend of this build", "This build"]
                .iter()
                .any(|word| text.contains(word))
        })
    };
    let is_inside = place.path.starts_with("gateway.");
    problem.code == "unsupported-key"
        && (is_inside || problem.detail.split('`').nth(1).is_some_and(described))
}

#[test]
fn decoders_and_schemas_know_the_same_keys() {
    for (document_type, schema) in schemas() {
        for place in places(&schema, document_type) {
            let document = place.with("zzqqzzqq", json!(1));
            let (_, problems) = load_one(&document, Purpose::Validate);
            // A map of free keys, or one that decides by its keys what it is, names none.
            let unknown = problems.iter().find(|problem| problem.code == "unknown-key");
            let hint = unknown
                .and_then(|problem| problem.hint.as_deref())
                .unwrap_or_else(|| panic!("{}: {document}: {problems:?}", place.path));
            let known: BTreeSet<&str> = hint
                .strip_prefix("its keys are ")
                .unwrap_or_else(|| panic!("{}: {hint}", place.path))
                .split(", ")
                .collect();
            let described: BTreeSet<&str> = place.properties().keys().map(String::as_str).collect();
            let missing: Vec<&&str> = described.difference(&known).collect();
            assert!(
                missing.is_empty(),
                "{}: the decoder does not know {missing:?}",
                place.path
            );
            for key in known.difference(&described) {
                let (_, problems) = load_one(&place.with(key, json!("1")), Purpose::Validate);
                assert!(
                    problems
                        .iter()
                        .any(|problem| ["mixed-dialects", "misplaced-key", "unsupported-key"]
                            .contains(&problem.code)),
                    "{}: the schema does not describe `{key}`: {problems:?}",
                    place.path
                );
            }
        }
    }
}

/// Returns what a document is lowered to, without the places, which are others when a key more is written.
fn resources(document: &Value) -> Vec<(ResourceAddress, Attributes)> {
    let (configuration, _) = load_one(document, Purpose::Validate);
    let resources = configuration.resources.into_iter();
    resources
        .map(|resource| (resource.address, resource.inputs))
        .collect()
}

#[test]
fn default_is_what_absence_means() {
    let mut checked = 0;
    for (document_type, schema) in schemas() {
        for place in places(&schema, document_type) {
            let absent = (place.around)(Value::Object(place.required()));
            for (key, property) in place.properties() {
                let Some(default) = property.get("default") else {
                    continue;
                };
                if place.required().contains_key(key) {
                    continue;
                }
                let written = place.with(key, default.clone());
                let (absent, written) = (resources(&absent), resources(&written));
                assert!(!absent.is_empty());
                assert_eq!(
                    absent, written,
                    "{}: `{key}: {default}` is not what its absence means",
                    place.path
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 20, "only {checked} defaults were checked");
}
