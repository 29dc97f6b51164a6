//! Whether a schema makes sense.

use gabion_engine::schema::{AttributeKind, ProviderSchema, ResourceSchema};
use gabion_engine::value::Value;

pub(super) fn check(schema: &ProviderSchema) -> Vec<String> {
    let mut found = Vec::new();
    if schema.name.as_str().is_empty() || schema.source.is_empty() {
        found.push("the provider has no name or source".to_owned());
    }
    for (resource_type, resource) in &schema.resource_types {
        if resource.resource_type != *resource_type {
            found.push(format!(
                "{resource_type}: its schema is that of {}",
                resource.resource_type
            ));
        }
        check_resource(resource, &mut |detail| {
            found.push(format!("{resource_type}: {detail}"));
        });
    }
    found
}

fn check_resource(schema: &ResourceSchema, wrong: &mut dyn FnMut(String)) {
    if !schema.description.ends_with('.') {
        wrong("its description is no sentence".to_owned());
    }
    if let Some(holder) = &schema.deleted_with
        && !schema.attributes.contains_key(holder)
    {
        wrong(format!("`deleted_with` names `{holder}`, which is no attribute"));
    }
    if schema.version == 0 {
        wrong("versions start at 1".to_owned());
    }
    for (name, attribute) in &schema.attributes {
        let well_formed = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if name.is_empty() || !well_formed {
            wrong(format!("`{name}` is no attribute name"));
        }
        if attribute.description.is_empty() {
            wrong(format!("`{name}` has no description"));
        }
        if attribute.required
            && (attribute.computed || attribute.default.is_some() || !attribute.configurable)
        {
            wrong(format!(
                "`{name}` is required, so it can neither be computed nor have a default"
            ));
        }
        if !attribute.configurable && !attribute.computed {
            wrong(format!("nobody can set `{name}`"));
        }
        if !attribute.configurable && attribute.forces_replacement {
            wrong(format!(
                "`{name}` is only computed, so it cannot force a replacement"
            ));
        }
        if let Some(default) = &attribute.default
            && !fits(&attribute.kind, default)
        {
            wrong(format!("the default of `{name}` is not of its type"));
        }
    }
}

fn fits(kind: &AttributeKind, value: &Value) -> bool {
    match (kind, value) {
        (AttributeKind::Any, _)
        | (_, Value::Null)
        | (AttributeKind::Bool, Value::Bool(_))
        | (AttributeKind::Int, Value::Int(_))
        | (AttributeKind::Float, Value::Int(_) | Value::Float(_))
        | (AttributeKind::String, Value::String(_)) => true,
        (AttributeKind::List(inner), Value::List(items)) => items.iter().all(|item| fits(inner, item)),
        (AttributeKind::Map(inner), Value::Map(entries)) => entries.values().all(|item| fits(inner, item)),
        (AttributeKind::Object(kinds), Value::Map(entries)) => entries
            .iter()
            .all(|(name, item)| kinds.get(name).is_some_and(|kind| fits(kind, item))),
        _ => false,
    }
}
