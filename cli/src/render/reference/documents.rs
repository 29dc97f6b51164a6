//! The pages about documents and about `gabion.yml`, from their JSON Schemas.

use serde_json::{Map, Value};

use super::{GENERATED, Table, code};

/// A document type and its schema.
pub(crate) struct DocumentPage<'a> {
    /// The word after `type:`.
    pub(crate) name: &'a str,
    /// What it is, in a sentence.
    pub(crate) summary: &'a str,
    /// Its JSON Schema.
    pub(crate) schema: &'a Value,
}

/// Writes the page about all document types.
pub(crate) fn documents_page(documents: &[DocumentPage<'_>]) -> String {
    let mut page = format!(
        "{GENERATED}\n# Documents\n\nWhat `*.dstack.yml` and `*.gabion.yml` files hold, several of them between `---` lines. \
         The key `type` says what a document is.\n\n"
    );
    let mut index = Table::new(&["`type`", ""]);
    for document in documents {
        let link = format!("[`{0}`](#{0})", document.name);
        index.row([link, document.summary.to_owned()]);
    }
    page.push_str(&index.text);
    for document in documents {
        page.push_str(&format!("\n## {}\n\n{}\n", document.name, document.summary));
        page.push_str(&example(
            document.schema,
            &format!("{}.gabion.yml", document.name),
        ));
        page.push_str(&keys(document.schema));
    }
    page
}

/// Writes the page about `gabion.yml`.
pub(crate) fn settings_page(schema: &Value) -> String {
    let summary = text(schema, "description");
    format!(
        "{GENERATED}\n# gabion.yml\n\n{summary}\n{}{}",
        example(schema, "gabion.yml"),
        keys(schema)
    )
}

/// Shows a schema's first example as the file that it would be.
fn example(schema: &Value, file: &str) -> String {
    let Some(example) = schema["examples"].get(0) else {
        return String::new();
    };
    let yaml = serde_yaml::to_string(&in_order(example, schema)).unwrap_or_default();
    format!("\n```yaml {file}\n{yaml}```\n")
}

/// Puts the keys of an example, and of the maps in it, in the order in which people write them.
fn in_order(example: &Value, schema: &Value) -> serde_yaml::Value {
    match example {
        Value::Object(entries) => {
            let mut yaml = serde_yaml::Mapping::new();
            for (key, value) in sorted(Some(entries), schema) {
                yaml.insert(key.into(), in_order(value, &schema["properties"][key]));
            }
            serde_yaml::Value::Mapping(yaml)
        }
        Value::Array(items) => items
            .iter()
            .map(|item| in_order(item, &schema["items"]))
            .collect(),
        scalar => serde_yaml::to_value(scalar).unwrap_or_default(),
    }
}

fn keys(schema: &Value) -> String {
    let mut table = Table::new(&["Key", "Type", "Default", "What it is"]);
    rows(schema, "", &mut table);
    format!("\n{}", table.text)
}

fn rows(schema: &Value, prefix: &str, table: &mut Table) {
    for (key, property) in sorted(schema["properties"].as_object(), schema) {
        // What every document has is said at the top of the page.
        if prefix.is_empty() && key == "type" {
            continue;
        }
        let path = format!("{prefix}{key}");
        let default = match property.get("default") {
            _ if is_required(schema, key) => "required".to_owned(),
            Some(default) => code(&default.to_string()),
            None => String::new(),
        };
        table.row([
            code(&path),
            type_of(property),
            default,
            text(property, "description").to_owned(),
        ]);
        let alternatives = property["anyOf"].as_array().into_iter().flatten();
        for schema in std::iter::once(property).chain(alternatives) {
            inner_rows(schema, &format!("{path}."), table);
            inner_rows(&schema["items"], &format!("{path}[]."), table);
            inner_rows(&schema["additionalProperties"], &format!("{path}.NAME."), table);
        }
    }
}

/// Adds the keys of a map that says what they are; the two bounds of a range speak for themselves.
fn inner_rows(schema: &Value, prefix: &str, table: &mut Table) {
    let described = |properties: &Map<String, Value>| {
        properties
            .values()
            .any(|property| property.get("description").is_some())
    };
    if schema["properties"].as_object().is_some_and(described) {
        rows(schema, prefix, table);
    }
}

/// Sorts keys as people write them: what it is, its name, what must be there, then the rest.
fn sorted<'a>(entries: Option<&'a Map<String, Value>>, schema: &Value) -> Vec<(&'a str, &'a Value)> {
    let mut entries: Vec<(&str, &Value)> = entries
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
        .collect();
    entries.sort_by_key(|(key, _)| {
        let rank = match *key {
            "type" => 0,
            "name" | "project" => 1,
            key if is_required(schema, key) => 2,
            _ => 3,
        };
        (rank, *key)
    });
    entries
}

fn is_required(schema: &Value, key: &str) -> bool {
    let required = schema["required"].as_array().into_iter().flatten();
    required.into_iter().any(|name| name == key)
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema[key].as_str().unwrap_or_default()
}

/// Names the type of a value in words.
fn type_of(schema: &Value) -> String {
    if let Some(title) = schema["title"].as_str() {
        return title.to_owned();
    }
    if let Some(word) = schema.get("const") {
        return code(&plain(word));
    }
    let listed = |key: &str| schema[key].as_array().cloned().unwrap_or_default();
    let words: Vec<String> = listed("enum").iter().map(|word| code(&plain(word))).collect();
    if !words.is_empty() {
        return words.join(", ");
    }
    let mut alternatives: Vec<String> = listed("anyOf").iter().map(type_of).collect();
    alternatives.dedup();
    if !alternatives.is_empty() && schema.get("type").is_none() {
        return alternatives.join(" or ");
    }
    let mut names = listed("type");
    if let Some(name) = schema.get("type").filter(|name| name.is_string()) {
        names.push(name.clone());
    }
    let names: Vec<String> = names
        .iter()
        .map(|name| match name.as_str().unwrap_or_default() {
            "array" => match type_of(&schema["items"]).as_str() {
                "anything" => "list".to_owned(),
                item => format!("list of {}", many(item)),
            },
            "object" if schema["additionalProperties"].is_object() => {
                format!("map of {}", many(&type_of(&schema["additionalProperties"])))
            }
            "object" => "map".to_owned(),
            "string" => "text".to_owned(),
            "integer" => "whole number".to_owned(),
            "boolean" => "`true` or `false`".to_owned(),
            other => other.to_owned(),
        })
        .collect();
    match names.is_empty() {
        true => "anything".to_owned(),
        false => names.join(" or "),
    }
}

fn many(item: &str) -> String {
    match item {
        "map" => "maps".to_owned(),
        "text" => "texts".to_owned(),
        "whole number" => "whole numbers".to_owned(),
        "text or number" => "texts or numbers".to_owned(),
        other => other.to_owned(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
