//! `gabion schema`: JSON Schemas, for editors and for programs that read what gabion prints; and the reference made of
//! them.

use std::collections::BTreeMap;
use std::path::Path;

use clap::CommandFactory;
use gabion_engine::config::{for_each_json_schema, settings_json_schema};
use gabion_engine::schema::ResourceSchema;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use super::drift::DriftReportJson;
use crate::args::{Cli, Schema};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::render::reference::{
    DocumentPage, Pages, commands_page, data_kinds_page, documents_page, resource_types_page, settings_page,
};
use crate::wire::{
    DiagnosticsJson, EventLineJson, GraphJson, HealReportJson, HealingEventJson, PlanJson, PsJson,
    ScalingEventJson,
};
use crate::wiring;
use gabion_engine::state::{State, log_file};

/// The version of JSON Schema that all of them are written in.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Prints one schema, or the names of all; or writes all, or the reference, into a directory.
pub(crate) fn run(args: &Schema, context: &Context) -> Outcome {
    let printer = &context.printer;
    if let Some(directory) = &args.docs {
        let pages = reference(context)?;
        for (name, text) in &pages {
            write(directory, name, text)?;
        }
        printer.status(&format!(
            "Wrote {} pages to {}.",
            pages.len(),
            directory.display()
        ));
        return Ok(Exit::Done);
    }
    let schemas = all();
    if let Some(directory) = &args.write {
        for (name, schema) in &schemas {
            write(directory, &file_name(name), &text(schema))?;
        }
        printer.status(&format!(
            "Wrote {} schemas to {}.",
            schemas.len(),
            directory.display()
        ));
        return Ok(Exit::Done);
    }
    match &args.name {
        None => {
            let names: Vec<&str> = schemas.keys().map(String::as_str).collect();
            printer.data(&format!("{}\n", names.join("\n")));
        }
        Some(name) => {
            let schema = schemas.get(name).ok_or_else(|| unknown(name, &schemas))?;
            printer.data(&text(schema));
        }
    }
    Ok(Exit::Done)
}

/// Writes the schemas of a project's files, and not those of what commands print.
pub(super) fn write_for_editors(directory: &Path) -> Result<(), Failure> {
    let registry = wiring::documents();
    let types = registry.types();
    let is_written = |name: &str| {
        ["gabion", "document"].contains(&name) || types.iter().any(|document_type| document_type.name == name)
    };
    for (name, schema) in all().iter().filter(|(name, _)| is_written(name)) {
        write(directory, &file_name(name), &text(schema))?;
    }
    Ok(())
}

fn write(directory: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = directory.join(name);
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|error| {
            Failure::new("a file cannot be written").detail(format!("{}: {error}.", path.display()))
        })
}

/// Writes the pages of the reference, by file name.
fn reference(context: &Context) -> Result<Pages, Failure> {
    let schemas = all();
    let registry = wiring::documents();
    let documents: Vec<DocumentPage<'_>> = registry
        .types()
        .into_iter()
        .filter_map(|document_type| {
            Some(DocumentPage {
                name: document_type.name,
                summary: document_type.summary,
                schema: schemas.get(document_type.name)?,
            })
        })
        .collect();
    let providers = wiring::providers(&context.options, "reference", &State::default())?;
    let types: Vec<&ResourceSchema> = providers
        .resource_types()
        .filter_map(|resource_type| providers.schema(resource_type))
        .collect();
    let data_kinds = providers.data_kinds().into_iter();
    let data_kinds: Vec<&ResourceSchema> = data_kinds
        .filter_map(|kind| providers.data_schema(kind))
        .collect();
    Ok(Pages::from([
        ("data-kinds.md", data_kinds_page(&data_kinds)),
        ("documents.md", documents_page(&documents)),
        ("settings.md", settings_page(&schemas["gabion"])),
        ("resource-types.md", resource_types_page(&types)),
        ("commands.md", commands_page(Cli::command())),
    ]))
}

fn unknown(name: &str, schemas: &BTreeMap<String, Value>) -> Failure {
    let names: Vec<&str> = schemas.keys().map(String::as_str).collect();
    let hint = match gabion_engine::diagnostic::did_you_mean(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are: {}", names.join(", ")),
    };
    Failure::new("unknown schema")
        .detail(format!("There is no schema `{name}`."))
        .hint(hint)
}

/// Returns the name of a schema's file.
pub(super) fn file_name(name: &str) -> String {
    format!("{name}.schema.json")
}

/// Returns a schema as it is written.
fn text(schema: &Value) -> String {
    format!("{schema:#}\n")
}

/// Returns every schema by its name.
fn all() -> BTreeMap<String, Value> {
    let registry = wiring::documents();
    let mut settings = settings_json_schema();
    settings["properties"]["state"] = wiring::store_json_schema();
    let mut schemas = BTreeMap::from([
        ("gabion".to_owned(), settings),
        ("plan".to_owned(), schema_of::<PlanJson>()),
        ("events".to_owned(), schema_of::<EventLineJson>()),
        ("diagnostics".to_owned(), schema_of::<DiagnosticsJson>()),
        ("drift".to_owned(), schema_of::<DriftReportJson>()),
        ("graph".to_owned(), schema_of::<GraphJson>()),
        ("heal".to_owned(), schema_of::<HealReportJson>()),
        ("healing-event".to_owned(), schema_of::<HealingEventJson>()),
        ("ps".to_owned(), schema_of::<PsJson>()),
        ("scaling-event".to_owned(), schema_of::<ScalingEventJson>()),
        ("state".to_owned(), log_file::json_schema()),
    ]);
    let mut cases = Vec::new();
    let mut types = Vec::new();
    for document_type in registry.types() {
        let name = document_type.name;
        types.push(json!({ "const": name, "description": document_type.summary }));
        let found = registry.families().find_map(|family| family.json_schema(name));
        let Some(mut schema) = found else { continue };
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert("for_each".to_owned(), for_each_json_schema());
        }
        cases.push(json!({
            "if": { "properties": { "type": { "const": name } }, "required": ["type"] },
            "then": { "$ref": file_name(name) },
        }));
        schemas.insert(name.to_owned(), schema);
    }
    schemas.insert(
        "document".to_owned(),
        json!({
            "$schema": DIALECT,
            "title": "A document of a gabion project",
            "description": "What a `*.dstack.yml` or `*.gabion.yml` file holds, several of them between `---` lines.",
            "type": "object",
            "required": ["type"],
            "properties": { "type": { "oneOf": types } },
            "allOf": cases,
        }),
    );
    for schema in schemas.values_mut().filter_map(Value::as_object_mut) {
        // Validators need not guess which version of JSON Schema it is.
        schema.entry("$schema").or_insert_with(|| DIALECT.into());
    }
    schemas
}

fn schema_of<T: JsonSchema>() -> Value {
    let generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    generator.into_root_schema_for::<T>().to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Run `cargo run -p gabion -- schema --write schemas` to write them again.
    #[test]
    fn committed_schemas_are_those_of_the_code() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
        let schemas = all();
        for (name, schema) in &schemas {
            let path = directory.join(file_name(name));
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == text(schema),
                "{} is out of date; run: cargo run -p gabion -- schema --write schemas",
                path.display()
            );
        }
        let files = std::fs::read_dir(&directory).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let committed = names.filter(|name| name.ends_with(".json")).count();
        assert_eq!(
            committed,
            schemas.len(),
            "a schema is left over in {}",
            directory.display()
        );
    }
}
