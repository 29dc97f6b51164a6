//! What each resource type of this provider knows how to do.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::address::{Lineage, ObjectId, OperationId, ResourceType};
use gabion_engine::provider::{
    AttributeProblem, Call, CreateRequest, ErrorClass, ListedObject, ObjectState, ObserveRequest,
    PlanRequest, PlanResponse, ProviderError, RecordedObject, UpdateRequest, propose,
};
use gabion_engine::schema::{AttributeKind, AttributeSchema, Equality, ResourceSchema};
use gabion_engine::value::Attributes;

use crate::clients::Clients;

/// How many values a filter takes.
pub(crate) const FILTER_VALUES: usize = 200;

/// What a look found, by id. What is not in it is not there.
#[derive(Debug, Default)]
pub(crate) struct Found(BTreeMap<ObjectId, Result<ObjectState, ProviderError>>);

impl Found {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Notes an object that is there.
    pub(crate) fn insert(&mut self, id: ObjectId, state: ObjectState) {
        self.0.insert(id, Ok(state));
    }

    /// Notes an object that is there and could not be read to the end: of the others that says nothing.
    pub(crate) fn untold(&mut self, id: ObjectId, why: ProviderError) {
        self.0.insert(id, Err(why));
    }

    /// Takes out what was found of an object.
    pub(crate) fn take(&mut self, id: &ObjectId) -> Option<Result<ObjectState, ProviderError>> {
        self.0.remove(id)
    }
}

impl FromIterator<(ObjectId, ObjectState)> for Found {
    fn from_iter<T: IntoIterator<Item = (ObjectId, ObjectState)>>(states: T) -> Self {
        Self(states.into_iter().map(|(id, state)| (id, Ok(state))).collect())
    }
}

/// A recorded object as far as reading needs it.
#[derive(Clone, Debug)]
pub(crate) struct Sought {
    pub(crate) id: ObjectId,
    /// The inputs that it was last made or updated with: what is there is told in their words.
    pub(crate) inputs: Attributes,
    /// Its recorded attributes.
    pub(crate) attributes: Attributes,
    /// Its private data, which reading keeps.
    pub(crate) private: serde_json::Value,
}

impl Sought {
    pub(crate) fn new(id: ObjectId, inputs: &Attributes) -> Self {
        Self {
            id,
            inputs: inputs.clone(),
            attributes: Attributes::new(),
            private: serde_json::Value::Null,
        }
    }
}

/// One resource type. All of one call happens in one place.
#[async_trait]
pub(crate) trait Kind: Send + Sync {
    /// Returns the schema.
    fn schema(&self) -> ResourceSchema;

    /// Checks inputs beyond the schema. Pure.
    fn validate(&self, inputs: &Attributes) -> Vec<AttributeProblem> {
        let _ = inputs;
        Vec::new()
    }

    /// Decides what the object should become. Pure.
    fn plan(&self, schema: &ResourceSchema, request: &PlanRequest) -> PlanResponse {
        propose(schema, request)
    }

    /// Returns those of the objects that are there.
    async fn read(&self, clients: &Clients, sought: &[Sought]) -> Result<Found, ProviderError>;

    /// Makes the object and waits until it is ready.
    async fn create(
        &self,
        clients: &Clients,
        request: &CreateRequest,
        call: &Call,
    ) -> Result<ObjectState, ProviderError>;

    /// Changes the object in place and waits until it is ready.
    async fn update(
        &self,
        clients: &Clients,
        request: &UpdateRequest,
        call: &Call,
    ) -> Result<ObjectState, ProviderError>;

    /// Returns the address that an update has moved, if it has.
    fn moved<'a>(&self, request: &UpdateRequest, state: &'a ObjectState) -> Option<&'a str> {
        let _ = (request, state);
        None
    }

    /// Deletes the object and waits until it is gone; what is gone is no error.
    async fn delete(
        &self,
        clients: &Clients,
        object: &RecordedObject,
        call: &Call,
    ) -> Result<(), ProviderError>;

    /// Looks once for what a creation made.
    async fn find(
        &self,
        clients: &Clients,
        request: &ObserveRequest,
    ) -> Result<Option<ObjectState>, ProviderError>;

    /// Lists what carries the project's mark.
    async fn list(&self, clients: &Clients, lineage: Lineage) -> Result<Vec<ListedObject>, ProviderError> {
        let _ = (clients, lineage);
        Ok(Vec::new())
    }
}

/// Reads one object, which should be there.
pub(crate) async fn read_one(
    kind: &dyn Kind,
    clients: &Clients,
    id: &ObjectId,
    inputs: &Attributes,
) -> Result<Option<ObjectState>, ProviderError> {
    let sought = Sought::new(id.clone(), inputs);
    kind.read(clients, &[sought]).await?.take(id).transpose()
}

/// Reads an object that was just made or changed, for which "not found" is not believed yet.
pub(crate) async fn read_made(
    kind: &dyn Kind,
    clients: &Clients,
    id: &ObjectId,
    inputs: &Attributes,
    call: &Call,
) -> Result<ObjectState, ProviderError> {
    let mut first = true;
    crate::wait::until(call, "it is there", || {
        let pause = if std::mem::take(&mut first) {
            Duration::ZERO
        } else {
            clients.looks.poll
        };
        async move {
            tokio::time::sleep(pause).await;
            read_one(kind, clients, id, inputs).await
        }
    })
    .await
}

/// Returns the id that a creating call answered with. Without one something was made that has no name yet: what it is,
/// the operation's own mark tells the next run.
pub(crate) fn made_id(call: &str, id: Option<&str>) -> Result<ObjectId, ProviderError> {
    let id = id.filter(|id| !id.is_empty()).map(ObjectId::new);
    id.ok_or_else(|| {
        ProviderError::new(
            ErrorClass::Uncertain,
            format!("AWS made an object and did not say which (in its answer to {call})."),
        )
        .with_hint("apply again: it is looked for first")
    })
}

/// Returns the idempotency token of an operation.
pub(crate) fn token(operation: OperationId) -> String {
    operation.to_string()
}

/// Makes a listed object.
pub(crate) fn listed(resource_type: &str, id: &str, tags: &BTreeMap<String, String>) -> Option<ListedObject> {
    let mark = crate::tags::Mark::of(tags);
    Some(ListedObject {
        resource_type: ResourceType::new(resource_type).ok()?,
        uid: mark.uid,
        address: mark.address,
        id: ObjectId::new(id),
    })
}

/// Starts a schema.
///
/// # Panics
/// When the name is no resource type; it is a constant.
pub(crate) fn schema(resource_type: &str, description: &str) -> ResourceSchema {
    let resource_type = ResourceType::new(resource_type).expect("a constant resource type is well formed");
    ResourceSchema::new(resource_type, description)
        .attribute(
            "profile",
            AttributeSchema::optional(
                AttributeKind::String,
                "The profile of the shared AWS configuration that it is managed with; null is what the SDK's own chain finds.",
            ),
        )
        .attribute(
            "id",
            AttributeSchema::computed(AttributeKind::String, "The id by which it is imported."),
        )
}

/// The attribute `region` of what lives in one.
pub(crate) fn region() -> AttributeSchema {
    AttributeSchema::optional_computed(
        AttributeKind::String,
        "The region, such as `eu-west-1`; null is the region of the SDK's own chain.",
    )
    .forces_replacement()
}

/// The attribute `tags`.
pub(crate) fn tags() -> AttributeSchema {
    AttributeSchema::optional(
        AttributeKind::Map(Box::new(AttributeKind::String)),
        "Tags by name. Names that begin with `gabion:` or `aws:` are not for people to set, and are not shown.",
    )
}

/// A set of texts.
pub(crate) fn text_set(
    attribute: fn(AttributeKind, &str) -> AttributeSchema,
    description: &str,
) -> AttributeSchema {
    attribute(AttributeKind::List(Box::new(AttributeKind::String)), description).equality(Equality::Set)
}

/// A list of maps with named, typed entries: blocks in Terraform's shape.
pub(crate) fn block_kind(entries: &[(&str, AttributeKind)]) -> AttributeKind {
    let entries = entries
        .iter()
        .map(|(name, kind)| ((*name).into(), kind.clone()))
        .collect();
    AttributeKind::List(Box::new(AttributeKind::Object(entries)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_an_id_leaves_it_open_what_was_made() {
        assert_eq!(made_id("RunInstances", Some("i-1")).unwrap().as_str(), "i-1");
        for nothing in [None, Some("")] {
            let error = made_id("RunInstances", nothing).unwrap_err();
            assert_eq!(error.class, ErrorClass::Uncertain);
        }
    }
}
