//! Records of an older schema version, brought to the present one before a provider sees them.

use crate::provider::{ErrorClass, Provider, ProviderError, RecordedObject, UpgradeRequest};
use crate::state::record::Record;

/// Returns what a provider needs to find, read or delete a recorded object, in the provider's present schema version.
///
/// # Errors
/// When the record has a newer schema version than the provider, or the provider cannot upgrade it.
pub fn recorded_object(record: &Record, provider: &dyn Provider) -> Result<RecordedObject, ProviderError> {
    let resource_type = &record.address.resource_type;
    let present = provider.resource_schema(resource_type).version;
    let recorded = record.declaration.schema_version;
    let mut object = record.to_object();
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
    if recorded < present {
        let upgraded = provider.upgrade(&UpgradeRequest {
            resource_type: resource_type.clone(),
            from_version: recorded,
            attributes: object.attributes,
            private: object.private,
        })?;
        object.attributes = upgraded.attributes;
        object.private = upgraded.private;
    }
    Ok(object)
}
