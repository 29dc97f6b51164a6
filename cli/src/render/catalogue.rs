//! What renderers need to know about resource types, taken from the providers' schemas.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gabion_engine::address::{ProviderName, ResourceType};
use gabion_engine::provider::ProviderRegistry;
use gabion_engine::value::{Attributes, Secret, Value};

/// What renderers need to know about resource types.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalogue {
    sources: BTreeMap<ProviderName, String>,
    types: BTreeMap<ResourceType, TypeFacts>,
}

/// What renderers need to know about one type.
#[derive(Debug, Clone, Default)]
struct TypeFacts {
    version: u32,
    holds_data: bool,
    sensitive: BTreeSet<Arc<str>>,
}

impl Catalogue {
    /// Takes the facts from the providers.
    pub(crate) fn of(registry: &ProviderRegistry) -> Self {
        let mut catalogue = Self::default();
        for provider in registry.providers() {
            let schema = provider.schema();
            catalogue
                .sources
                .insert(schema.name.clone(), schema.source.clone());
            for (resource_type, resource) in &schema.resource_types {
                let sensitive = resource
                    .attributes
                    .iter()
                    .filter(|(_, attribute)| attribute.sensitive)
                    .map(|(name, _)| name.clone())
                    .collect();
                let facts = TypeFacts {
                    version: resource.version,
                    holds_data: resource.holds_data,
                    sensitive,
                };
                catalogue.types.insert(resource_type.clone(), facts);
            }
        }
        catalogue
    }

    /// Returns the name by which Terraform's tools know a provider.
    pub(crate) fn source(&self, provider: &ProviderName) -> String {
        match self.sources.get(provider) {
            Some(source) => source.clone(),
            None => format!("gabion/{provider}"),
        }
    }

    /// Returns the version of a type's schema.
    pub(crate) fn schema_version(&self, resource_type: &ResourceType) -> u32 {
        self.types.get(resource_type).map_or(1, |facts| facts.version)
    }

    /// Returns whether deleting an object of this type destroys data.
    pub(crate) fn holds_data(&self, resource_type: &ResourceType) -> bool {
        self.types
            .get(resource_type)
            .is_some_and(|facts| facts.holds_data)
    }

    /// Returns attributes with those that the schema calls sensitive as secrets without a value.
    pub(crate) fn masked(&self, resource_type: &ResourceType, attributes: &Attributes) -> Attributes {
        let facts = self.types.get(resource_type);
        attributes
            .iter()
            .map(|(name, value)| {
                let sensitive = facts.is_some_and(|facts| facts.sensitive.contains(name));
                let value = match value {
                    Value::Null | Value::Unknown(_) | Value::Secret(_) => value.clone(),
                    _ if sensitive => Value::Secret(Secret::sealed(None, None)),
                    _ => value.clone(),
                };
                (name.clone(), value)
            })
            .collect()
    }
}
