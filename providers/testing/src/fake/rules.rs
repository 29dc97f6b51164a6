//! What the fake cloud refuses.

use gabion_engine::address::ResourceType;
use gabion_engine::schema::{AttributeKind, ProviderSchema, ResourceSchema};
use serde_json::Value as Json;

use super::api::{ApiError, ApiErrorCode, Fields};

/// Returns the schema of a type.
pub(super) fn schema_of<'a>(
    schema: &'a ProviderSchema,
    resource_type: &str,
) -> Result<&'a ResourceSchema, ApiError> {
    ResourceType::new(resource_type)
        .ok()
        .and_then(|resource_type| schema.resource_types.get(&resource_type))
        .ok_or_else(|| invalid(format!("there is no type `{resource_type}`")))
}

/// Refuses attributes that a creation must not or must have.
pub(super) fn check_create(schema: &ResourceSchema, fields: &Fields) -> Result<(), ApiError> {
    check_fields(schema, fields)?;
    for (name, attribute) in &schema.attributes {
        if attribute.required && fields.get(&**name).is_none_or(Json::is_null) {
            return Err(invalid(format!("`{name}` is required")).at(name));
        }
    }
    check_content(schema, fields)
}

/// Refuses attributes that an update must not have.
pub(super) fn check_update(
    schema: &ResourceSchema,
    before: &Fields,
    fields: &Fields,
) -> Result<(), ApiError> {
    check_fields(schema, fields)?;
    for (name, value) in fields {
        let attribute = &schema.attributes[name.as_str()];
        if attribute.forces_replacement {
            return Err(invalid(format!("`{name}` cannot be changed")).at(name));
        }
        if attribute.required && value.is_null() {
            return Err(invalid(format!("`{name}` is required")).at(name));
        }
    }
    if let (Some(old), Some(new)) = (number(before, "size"), number(fields, "size"))
        && new < old
    {
        return Err(invalid("a disk cannot shrink").at("size"));
    }
    check_content(schema, fields)
}

fn check_fields(schema: &ResourceSchema, fields: &Fields) -> Result<(), ApiError> {
    for (name, value) in fields {
        let Some(attribute) = schema.attributes.get(name.as_str()) else {
            return Err(invalid(format!("`{}` has no attribute `{name}`", schema.resource_type)).at(name));
        };
        if !attribute.configurable {
            return Err(invalid(format!("`{name}` cannot be set")).at(name));
        }
        if !fits(&attribute.kind, value) {
            return Err(invalid(format!("`{name}` has the wrong type")).at(name));
        }
    }
    Ok(())
}

fn check_content(schema: &ResourceSchema, fields: &Fields) -> Result<(), ApiError> {
    let text = |name: &str| fields.get(name).and_then(Json::as_str);
    if text("name").is_some_and(str::is_empty) {
        return Err(invalid("`name` is empty").at("name"));
    }
    if text("cidr").is_some_and(|cidr| !cidr.contains('/')) {
        return Err(invalid("`cidr` is no address range").at("cidr"));
    }
    if schema.resource_type.as_str() == "fake_disk" && number(fields, "size").is_some_and(|size| size < 1) {
        return Err(invalid("`size` is less than 1").at("size"));
    }
    if fields
        .get("values")
        .and_then(Json::as_array)
        .is_some_and(Vec::is_empty)
    {
        return Err(invalid("`values` is empty").at("values"));
    }
    Ok(())
}

fn number(fields: &Fields, name: &str) -> Option<i64> {
    fields.get(name).and_then(Json::as_i64)
}

fn fits(kind: &AttributeKind, value: &Json) -> bool {
    match (kind, value) {
        (_, Json::Null) | (AttributeKind::Any, _) => true,
        (AttributeKind::Bool, value) => value.is_boolean(),
        (AttributeKind::Int, value) => value.is_i64(),
        (AttributeKind::Float, value) => value.is_number(),
        (AttributeKind::String, value) => value.is_string(),
        (AttributeKind::List(item), Json::Array(items)) => items.iter().all(|value| fits(item, value)),
        (AttributeKind::Map(item), Json::Object(entries)) => entries.values().all(|value| fits(item, value)),
        (AttributeKind::Object(kinds), Json::Object(entries)) => entries
            .iter()
            .all(|(name, value)| kinds.get(name.as_str()).is_some_and(|kind| fits(kind, value))),
        _ => false,
    }
}

pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ApiErrorCode::Invalid, message)
}
