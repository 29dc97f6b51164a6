//! A provider whose types differ in what the planner must treat differently. It plans with `propose` and makes
//! `output` unknown when `input` changes.

use async_trait::async_trait;
use gabion_engine::address::{ProviderName, ResourceType};
use gabion_engine::provider::{
    AttributeProblem, Call, Claim, CreateRequest, DeleteRequest, ErrorClass, ImportRequest, ObjectState,
    Observation, ObserveRequest, PlanRequest, PlanResponse, Provider, ProviderError, ReadOutcome,
    ReadRequest, UpdateRequest, ValidateRequest, propose,
};
use gabion_engine::schema::{
    AttributeKind as Kind, AttributeSchema, Equality, ProviderSchema, ReplaceOrder, ResourceSchema,
};
use gabion_engine::value::{AttributePath, Value};

/// The provider.
pub(crate) struct Toy {
    schema: ProviderSchema,
    /// Plans what was not asked for, to see that it is noticed.
    pub(crate) breaks_contract: bool,
}

impl Default for Toy {
    fn default() -> Self {
        let types = [
            thing("box"),
            // Two of these cannot exist at once.
            ResourceSchema {
                replace_order: ReplaceOrder::DeleteThenCreate,
                ..thing("slot")
            },
            // Goes when the object at `holder` goes.
            ResourceSchema {
                deleted_with: Some("holder".into()),
                ..thing("part")
            },
        ];
        let resource_types = types
            .into_iter()
            .map(|schema| (schema.resource_type.clone(), schema));
        Self {
            schema: ProviderSchema {
                name: ProviderName::new("toy"),
                source: "toy".to_owned(),
                resource_types: resource_types.collect(),
            },
            breaks_contract: false,
        }
    }
}

fn thing(name: &str) -> ResourceSchema {
    let schema = ResourceSchema::new(ResourceType::new(name).unwrap(), "A thing.");
    schema
        .attribute("input", AttributeSchema::optional(Kind::Any, "Anything."))
        .attribute(
            "image",
            AttributeSchema::optional(Kind::String, "Cannot change in place.").forces_replacement(),
        )
        .attribute(
            "port",
            AttributeSchema::optional(Kind::Int, "Claimed exclusively."),
        )
        .attribute(
            "tags",
            AttributeSchema::optional(Kind::List(Box::new(Kind::String)), "In any order.")
                .equality(Equality::Set),
        )
        .attribute(
            "holder",
            AttributeSchema::optional(Kind::String, "The id of what it goes with.").forces_replacement(),
        )
        .attribute(
            "size",
            AttributeSchema::optional(Kind::Int, "How large.").default_value(Value::Int(1)),
        )
        .attribute(
            "password",
            AttributeSchema::optional(Kind::String, "Secret.").sensitive(),
        )
        .attribute(
            "zone",
            AttributeSchema::optional_computed(Kind::String, "Chosen if not set."),
        )
        .attribute("id", AttributeSchema::computed(Kind::String, "The id."))
        .attribute("output", AttributeSchema::computed(Kind::Any, "The input again."))
}

#[async_trait]
impl Provider for Toy {
    fn schema(&self) -> &ProviderSchema {
        &self.schema
    }

    fn validate(&self, request: &ValidateRequest) -> Vec<AttributeProblem> {
        let port = request.inputs.get("port").and_then(Value::as_int);
        let wrong = port.filter(|port| !(1..65536).contains(port));
        wrong
            .map(|port| AttributeProblem {
                path: AttributePath::root("port"),
                message: format!("{port} is no port."),
                hint: Some("use 1 to 65535".to_owned()),
            })
            .into_iter()
            .collect()
    }

    fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, ProviderError> {
        let schema = &self.schema.resource_types[&request.resource_type];
        if request.desired.get("input").and_then(Value::as_str) == Some("impossible") {
            let error = ProviderError::new(ErrorClass::Invalid, "That is impossible.");
            return Err(error
                .at(AttributePath::root("input"))
                .with_hint("wish for something else"));
        }
        let mut response = propose(schema, request);
        let prior = request.prior.as_ref();
        let before = prior.and_then(|prior| prior.attributes.get("input"));
        if before != response.planned.get("input") {
            response.planned.insert("output".into(), Value::unknown());
        }
        // In another zone it can exist beside the old one.
        let zone = request.desired.get("zone");
        if let Some(old) = &request.replaces
            && zone.is_some()
            && zone != old.get("zone")
        {
            response.replace_order = Some(ReplaceOrder::CreateThenDelete);
        }
        if let Some(port) = request.desired.get("port").and_then(Value::as_int) {
            response.claims.push(Claim {
                key: format!("port/{port}").into(),
                path: AttributePath::root("port"),
            });
        }
        if self.breaks_contract {
            response.planned.insert("size".into(), Value::Int(99));
            response.planned.insert("colour".into(), "red".into());
        }
        Ok(response)
    }

    async fn read(&self, _: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError> {
        unreachable!("planning does no I/O")
    }
    async fn create(&self, _: CreateRequest, _: &Call) -> Result<ObjectState, ProviderError> {
        unreachable!("planning does no I/O")
    }
    async fn update(&self, _: UpdateRequest, _: &Call) -> Result<ObjectState, ProviderError> {
        unreachable!("planning does no I/O")
    }
    async fn delete(&self, _: DeleteRequest, _: &Call) -> Result<(), ProviderError> {
        unreachable!("planning does no I/O")
    }
    async fn observe(&self, _: ObserveRequest) -> Result<Observation, ProviderError> {
        unreachable!("planning does no I/O")
    }
    async fn import(&self, _: ImportRequest) -> Result<ObjectState, ProviderError> {
        unreachable!("planning does no I/O")
    }
}
