//! Records of an older schema version, brought to the present one: for each call before a provider sees them, and once
//! for all by the next apply.

use crate::provider::{ErrorClass, Provider, ProviderError, RecordedObject, UpgradeRequest};
use crate::state::event::RecordUpgrade;
use crate::state::record::Record;
use crate::value::Attributes;

/// Returns what a provider needs to find, read or delete a recorded object, in the provider's present schema version.
///
/// # Errors
/// When the record has a newer schema version than the provider, or the provider cannot upgrade it.
pub fn recorded_object(record: &Record, provider: &dyn Provider) -> Result<RecordedObject, ProviderError> {
    let mut object = record.to_object();
    if let Some(upgrade) = record_upgrade(record, provider)? {
        object.inputs = upgrade.inputs;
        object.attributes = upgrade.attributes;
        object.private = upgrade.private;
    }
    Ok(object)
}

/// Returns a record of an older schema version in the present one; nothing when it has that already.
///
/// Inputs are upgraded as attributes are, of which they are those that a configuration may set.
///
/// # Errors
/// When the record has a newer schema version than the provider, or the provider cannot upgrade it.
pub fn record_upgrade(
    record: &Record,
    provider: &dyn Provider,
) -> Result<Option<RecordUpgrade>, ProviderError> {
    let resource_type = &record.address.resource_type;
    let schema = provider.resource_schema(resource_type);
    let (recorded, present) = (record.declaration.schema_version, schema.version);
    if recorded == present {
        return Ok(None);
    }
    if recorded > present {
        return Err(ProviderError::new(
            ErrorClass::Invalid,
            format!(
                "`{}` was recorded by a newer gabion: its schema version is {recorded}, and this one knows {present}.",
                record.address
            ),
        )
        .with_hint("use the newer gabion"));
    }
    let upgrade = |attributes: &Attributes, private: &serde_json::Value| {
        provider.upgrade(&UpgradeRequest {
            resource_type: resource_type.clone(),
            from_version: recorded,
            attributes: attributes.clone(),
            private: private.clone(),
        })
    };
    let mut inputs = upgrade(&record.inputs, &record.private)?.attributes;
    inputs.retain(|name, _| {
        let attribute = schema.attributes.get(name);
        attribute.is_some_and(|attribute| attribute.configurable)
    });
    let upgraded = upgrade(&record.attributes, &record.private)?;
    Ok(Some(RecordUpgrade {
        from: recorded,
        to: present,
        inputs,
        attributes: upgraded.attributes,
        private: upgraded.private,
    }))
}
