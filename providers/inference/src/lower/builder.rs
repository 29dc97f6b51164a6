//! Putting resources together, with the places that their inputs come from.

use std::sync::Arc;
use std::time::Duration;

use gabion_engine::address::ResourceAddress;
use gabion_engine::diagnostic::Span;
use gabion_engine::resource::{DocumentRef, InputPlaces, Place, Resource, Roll, TimeoutOverrides};
use gabion_engine::schema::ReplaceOrder;
use gabion_engine::value::{AttributePath, Attributes, TemplateText, Value};

/// Returns the address of a lowered resource.
///
/// # Panics
/// When the name is not well formed: names in documents were checked before, and the rest is gabion's own.
pub(crate) fn address(resource_type: &str, name: &str) -> ResourceAddress {
    ResourceAddress::of(resource_type, name).expect("names in documents are checked before lowering")
}

/// Returns the value that an attribute of another resource will have.
pub(crate) fn reference(of: &ResourceAddress, attribute: &str) -> Value {
    Value::template(format!("${{{{ {of}.{attribute} }}}}"))
}

/// A resource in the making.
pub(crate) struct ResourceBuilder {
    resource: Resource,
}

impl ResourceBuilder {
    pub(crate) fn new(address: ResourceAddress, document: &DocumentRef) -> Self {
        Self {
            resource: Resource {
                address,
                inputs: Attributes::new(),
                places: InputPlaces::default(),
                depends_on: Vec::new(),
                lifecycle: Default::default(),
                timeouts: Default::default(),
                conditions: Vec::new(),
                alternatives: Default::default(),
                update_after: Default::default(),
                frees: Default::default(),
                document: document.clone(),
            },
        }
    }

    pub(crate) fn input(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.resource.inputs.insert(name.into(), value.into());
        self
    }

    pub(crate) fn inputs(mut self, entries: Vec<(&'static str, Value)>) -> Self {
        self.resource
            .inputs
            .extend(entries.into_iter().map(|(name, value)| (Arc::from(name), value)));
        self
    }

    pub(crate) fn at(mut self, attribute: &str, span: &Span) -> Self {
        self.resource
            .places
            .insert(AttributePath::root(attribute), span.place());
        self
    }

    pub(crate) fn at_path(mut self, path: AttributePath, span: &Span) -> Self {
        self.resource.places.insert(path, span.place());
        self
    }

    pub(crate) fn depends_on(mut self, address: ResourceAddress, at: Place) -> Self {
        self.resource.depends_on.push((address, at));
        self
    }

    /// Leaves an attribute as it was made.
    pub(crate) fn ignore_changes(mut self, path: AttributePath) -> Self {
        self.resource.lifecycle.ignore_changes.push(path);
        self
    }

    /// Replaces it when an attribute of another resource becomes another.
    pub(crate) fn replaced_with(mut self, of: &ResourceAddress, attribute: &str) -> Self {
        let trigger = TemplateText::new(format!("${{{{ {of}.{attribute} }}}}"));
        self.resource.lifecycle.replace_triggered_by.push(trigger);
        self
    }

    /// Has an update in place wait for what it is to lead to, and what that replaces wait for the update.
    pub(crate) fn update_after(mut self, addresses: Vec<ResourceAddress>) -> Self {
        self.resource.update_after = addresses.into();
        self
    }

    /// Makes a replacement stop the old object before the new one starts.
    pub(crate) fn delete_first(mut self) -> Self {
        self.resource.lifecycle.replace_order = Some(ReplaceOrder::DeleteThenCreate);
        self
    }

    /// Gives a deletion so long.
    pub(crate) fn delete_within(mut self, limit: Duration) -> Self {
        self.resource.timeouts = TimeoutOverrides {
            delete: Some(limit),
            ..TimeoutOverrides::default()
        }
        .into();
        self
    }

    /// Has it replaced in turn with others.
    pub(crate) fn rolled(mut self, roll: Option<Roll>) -> Self {
        self.resource.lifecycle.roll = roll;
        self
    }

    pub(crate) fn build(self) -> Resource {
        self.resource
    }
}
