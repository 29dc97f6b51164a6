//! The provider of `gabion_data`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use gabion_engine::address::{ObjectId, ProviderName, ResourceType};
use gabion_engine::provider::{
    Call, CallAction, CreateRequest, DeleteRequest, ErrorClass, ImportRequest, ObjectState, Observation,
    ObserveRequest, PlanRequest, PlanResponse, Provider, ProviderError, ReadDataRequest, ReadOutcome,
    ReadRequest, RecordedObject, UpdateRequest, propose,
};
use gabion_engine::schema::{AttributeKind, AttributeSchema, Idempotency, ProviderSchema, ResourceSchema};
use gabion_engine::value::{Attributes, Comparison, Value};

use crate::replica_count::{self, REPLICA_COUNT};

/// Stores `input` and gives `output`; stores numbers of replicas.
#[derive(Debug)]
pub struct DataProvider {
    schema: ProviderSchema,
    data_kinds: BTreeMap<ResourceType, ResourceSchema>,
}

/// The kind of data that is there wherever it is asked for.
fn data_schema() -> ResourceSchema {
    let kind = ResourceType::new("gabion_data").expect("`gabion_data` is well formed");
    ResourceSchema::new(
        kind,
        "A value, given back as it is: to give an expression a name, and to try `type: data` out.",
    )
    .attribute(
        "input",
        AttributeSchema::optional(AttributeKind::Any, "The value."),
    )
    .attribute(
        "output",
        AttributeSchema::computed(AttributeKind::Any, "The same value."),
    )
}

impl Default for DataProvider {
    fn default() -> Self {
        let resource_type = ResourceType::new("gabion_data").expect("`gabion_data` is well formed");
        let mut schema = ResourceSchema::new(
            resource_type,
            "A value that is stored in the project's state and in no cloud.",
        )
        .attribute(
            "input",
            AttributeSchema::optional(AttributeKind::Any, "The value to store."),
        )
        .attribute(
            "triggers_replace",
            AttributeSchema::optional(
                AttributeKind::Any,
                "A value whose change replaces the object, and with it whatever is replaced when this one is.",
            )
            .forces_replacement(),
        )
        .attribute(
            "output",
            AttributeSchema::computed(AttributeKind::Any, "The stored value, for references."),
        )
        .attribute(
            "id",
            AttributeSchema::computed(AttributeKind::String, "The object's identifier."),
        );
        schema.idempotency = Idempotency::NaturalUpsert;
        let data_schema = data_schema();
        Self {
            data_kinds: [(data_schema.resource_type.clone(), data_schema)].into(),
            schema: ProviderSchema {
                name: ProviderName::new("data"),
                source: "gabion.dev/gabion/data".to_owned(),
                resource_types: [schema, replica_count::schema()]
                    .map(|schema| (schema.resource_type.clone(), schema))
                    .into(),
            },
        }
    }
}

#[async_trait]
impl Provider for DataProvider {
    fn schema(&self) -> &ProviderSchema {
        &self.schema
    }

    fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, ProviderError> {
        let mut response = propose(self.resource_schema(&request.resource_type), request);
        if request.resource_type.as_str() == REPLICA_COUNT {
            return Ok(response);
        }
        let input = response.planned.get("input").cloned().unwrap_or_default();
        let prior = request
            .prior
            .as_ref()
            .and_then(|prior| prior.attributes.get("output"))
            .filter(|output| output.compare(&input) != Comparison::Different);
        let output = match (&input, prior) {
            (_, Some(prior)) => prior.clone(),
            // Whatever fills the input fills the output; the template is the input's own to show.
            (Value::Unknown(_), None) => Value::unknown(),
            _ => without_templates(&input),
        };
        response.planned.remove("output");
        if !output.is_null() {
            response.planned.insert("output".into(), output);
        }
        Ok(response)
    }

    async fn read(&self, request: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError> {
        Ok(request
            .objects
            .into_iter()
            .map(|object| match &object.id {
                Some(_) => ReadOutcome::Present(recorded(object)),
                None => ReadOutcome::Absent,
            })
            .collect())
    }

    fn data_kinds(&self) -> &BTreeMap<ResourceType, ResourceSchema> {
        &self.data_kinds
    }

    async fn read_data(
        &self,
        request: ReadDataRequest,
    ) -> Result<Vec<Result<Attributes, ProviderError>>, ProviderError> {
        let queries = request.queries.into_iter();
        let found = queries.map(|query| {
            let mut attributes = query.arguments;
            if let Some(input) = attributes.get("input").cloned() {
                attributes.insert("output".into(), input);
            }
            Ok(attributes)
        });
        Ok(found.collect())
    }

    async fn create(&self, request: CreateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        let id = ObjectId::new(call.uid.to_string());
        Ok(stored(id, &request.inputs))
    }

    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        let id = match request.object.id {
            Some(id) => id,
            None => ObjectId::new(call.uid.to_string()),
        };
        Ok(stored(id, &request.inputs))
    }

    async fn delete(&self, _: DeleteRequest, _: &Call) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn observe(&self, request: ObserveRequest) -> Result<Observation, ProviderError> {
        // Nothing exists but what the log says, so a call without a result did not happen.
        Ok(match (request.action, &request.object.id) {
            (CallAction::Create, _) | (_, None) => Observation::Absent,
            (CallAction::Update | CallAction::Delete, Some(_)) => {
                Observation::Present(recorded(request.object))
            }
        })
    }

    async fn import(&self, request: ImportRequest) -> Result<ObjectState, ProviderError> {
        Err(ProviderError::new(
            ErrorClass::Invalid,
            format!(
                "`{}` cannot be imported: a `{}` exists in the state alone.",
                request.address, request.address.resource_type
            ),
        )
        .with_hint("declare it, and `gabion apply` creates it"))
    }
}

fn recorded(object: RecordedObject) -> ObjectState {
    ObjectState {
        id: object.id.unwrap_or_else(|| ObjectId::new(object.uid.to_string())),
        attributes: object.attributes,
        private: object.private,
        unreadable: Vec::new(),
    }
}

fn stored(id: ObjectId, inputs: &Attributes) -> ObjectState {
    let mut attributes = inputs.clone();
    if let Some(input) = inputs.get("input").filter(|input| !input.is_null()) {
        attributes.insert("output".into(), without_templates(input));
    }
    attributes.insert("id".into(), Value::String(id.text().clone()));
    ObjectState {
        id,
        attributes,
        private: serde_json::Value::Null,
        unreadable: Vec::new(),
    }
}

/// Unknown parts that a template fills in the input are simply not known yet in the output.
fn without_templates(value: &Value) -> Value {
    value.map_leaves(&mut |leaf| match leaf {
        Value::Unknown(_) => Value::unknown(),
        other => other.clone(),
    })
}
