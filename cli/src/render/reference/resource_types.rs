//! The page about resource types, from what the providers of this build declare.

use std::time::Duration;

use gabion_engine::schema::{AttributeKind, AttributeSchema, Equality, ReplaceOrder, ResourceSchema};

use super::{GENERATED, Table, code};

/// Writes the page about all resource types, in the order given.
pub(crate) fn resource_types_page(schemas: &[&ResourceSchema]) -> String {
    let mut page = format!(
        "{GENERATED}\n# Resource types\n\nWhat plans show, and what a document with `type: resource` can declare: `kind` is the type, \
         `properties` are the attributes. Attributes that are *computed* are set by the provider and can be referred to \
         with `${{{{ KIND.NAME.ATTRIBUTE }}}}`.\n\n"
    );
    let mut index = Table::new(&["`kind`", ""]);
    for schema in schemas {
        let link = format!("[`{0}`](#{0})", schema.resource_type);
        index.row([link, schema.description.clone()]);
    }
    page.push_str(&index.text);
    for schema in schemas {
        page.push_str(&section(schema));
    }
    page
}

/// Writes the page about kinds of data, in the order given.
pub(crate) fn data_kinds_page(schemas: &[&ResourceSchema]) -> String {
    let mut page = format!(
        "{GENERATED}\n# Kinds of data\n\nWhat a document with `type: data` can read: `kind` is the kind, `properties` are the \
         arguments. `${{{{ data.KIND.NAME.ATTRIBUTE }}}}` refers to what was found; arguments are attributes too.\n\n"
    );
    let mut index = Table::new(&["`kind`", ""]);
    for schema in schemas {
        let link = format!("[`{0}`](#{0})", schema.resource_type);
        index.row([link, schema.description.clone()]);
    }
    page.push_str(&index.text);
    for schema in schemas {
        page.push_str(&format!(
            "\n## {}\n\n{}\n\n",
            schema.resource_type, schema.description
        ));
        page.push_str(&attributes(schema));
    }
    page
}

fn section(schema: &ResourceSchema) -> String {
    let order = match schema.replace_order {
        ReplaceOrder::CreateThenDelete => "the new object is made before the old one is deleted",
        ReplaceOrder::DeleteThenCreate => "the old object is deleted before the new one is made",
    };
    let mut text = format!(
        "\n## {}\n\n{}\n\nWhen it is replaced, {order}. An action may take: create {}, update {}, delete {}.",
        schema.resource_type,
        schema.description,
        duration(schema.timeouts.create),
        duration(schema.timeouts.update),
        duration(schema.timeouts.delete),
    );
    if let Some(holder) = &schema.deleted_with {
        text.push_str(&format!(
            " It is deleted together with the object that `{holder}` names."
        ));
    }
    if schema.holds_data {
        text.push_str(" It holds data that a deletion destroys.");
    }
    text.push_str("\n\n");
    text.push_str(&attributes(schema));
    text
}

/// Writes the table of attributes: those that can be set come first.
fn attributes(schema: &ResourceSchema) -> String {
    let mut table = Table::new(&["Attribute", "Type", "", "What it is"]);
    let (set, computed): (Vec<_>, Vec<_>) = schema
        .attributes
        .iter()
        .partition(|(_, attribute)| attribute.configurable);
    for (name, attribute) in set.into_iter().chain(computed) {
        let kind = kind(&attribute.kind);
        table.row([code(name), kind, traits(attribute), attribute.description.clone()]);
    }
    table.text
}

/// Says how an attribute behaves, in a few words each.
fn traits(attribute: &AttributeSchema) -> String {
    let mut words = Vec::new();
    match (attribute.required, attribute.computed, attribute.configurable) {
        (true, ..) => words.push("required".to_owned()),
        (_, true, false) => words.push("computed".to_owned()),
        (_, true, true) => words.push("computed if not set".to_owned()),
        _ => {}
    }
    if let Some(default) = &attribute.default {
        words.push(format!("default `{}`", crate::render::value::inline(default)));
    }
    if attribute.forces_replacement {
        words.push("a change replaces".to_owned());
    }
    if attribute.sensitive {
        words.push("secret".to_owned());
    }
    match attribute.equality {
        Equality::Exact => {}
        Equality::Set => words.push("order does not count".to_owned()),
        Equality::Json => words.push("compared as JSON".to_owned()),
        Equality::NormalisedText => words.push("white space at line ends does not count".to_owned()),
        Equality::CaseInsensitive => words.push("case does not count".to_owned()),
        Equality::Volatile => words.push("changes by itself".to_owned()),
    }
    words.join("; ")
}

fn kind(kind: &AttributeKind) -> String {
    match kind {
        AttributeKind::Any => "anything".to_owned(),
        AttributeKind::Bool => "`true` or `false`".to_owned(),
        AttributeKind::Int => "whole number".to_owned(),
        AttributeKind::Float => "number".to_owned(),
        AttributeKind::String => "text".to_owned(),
        AttributeKind::List(item) => format!("list of {}", many(item)),
        AttributeKind::Map(item) => format!("map of {}", many(item)),
        AttributeKind::Object(entries) => {
            let names: Vec<String> = entries.keys().map(|name| code(name)).collect();
            format!("map with {}", names.join(", "))
        }
    }
}

fn many(item: &AttributeKind) -> String {
    match item {
        AttributeKind::Int => "whole numbers".to_owned(),
        AttributeKind::Float => "numbers".to_owned(),
        AttributeKind::String => "texts".to_owned(),
        AttributeKind::Object(_) => kind(item).replacen("map", "maps", 1),
        other => kind(other),
    }
}

fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}
