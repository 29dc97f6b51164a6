//! The provider over the fake cloud's API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::address::{ObjectId, OperationId, ResourceType};
use gabion_engine::provider::{
    AttributeProblem, Call, CallAction, Claim, CreateRequest, DeleteRequest, Effect, ErrorClass,
    FactsRequest, ImportRequest, ListRequest, Listed, ListedObject, ObjectState, Observation, ObserveRequest,
    PlanRequest, PlanResponse, Provider, ProviderError, ReadOutcome, ReadRequest, RecordedObject,
    ReplaceCause, UpdateRequest, UpgradeRequest, UpgradedObject, ValidateRequest, propose,
};
use gabion_engine::schema::{Idempotency, ProviderSchema};
use gabion_engine::value::{AttributePath, Attributes, Comparison, Secret, Value};
use tokio::time::Instant;

use super::api::{
    Answer, ApiError, ApiErrorCode, ApiRequest, ApiResponse, CloudClient, Described, Fields, Filter, Marks,
    ObjectStatus,
};
use super::schema::{CONSISTENCY_WINDOW, WRITE_ONLY, provider_schema};

/// How long the provider waits between two looks at an object, at most.
const POLL: Duration = Duration::from_secs(1);

/// Manages the fake cloud's objects.
pub struct FakeProvider {
    schema: ProviderSchema,
    client: Arc<dyn CloudClient>,
    window: Duration,
    poll: Duration,
}

impl FakeProvider {
    /// Makes a provider over a connection.
    pub fn new(client: Arc<dyn CloudClient>) -> Self {
        Self {
            schema: provider_schema(),
            client,
            window: CONSISTENCY_WINDOW,
            poll: POLL,
        }
    }

    /// Sets within which time after its creation an object of this cloud may be invisible; by default
    /// [`CONSISTENCY_WINDOW`]. It must not be shorter than the cloud's own.
    #[must_use]
    pub fn with_window(mut self, window: Duration) -> Self {
        for schema in self.schema.resource_types.values_mut() {
            schema.consistency_window = window;
        }
        self.window = window;
        self.poll = POLL.min(window / 10);
        self
    }

    async fn describe(&self, resource_type: &str, id: &str) -> Result<Option<Described>, ProviderError> {
        let found = self.describe_any(resource_type, id).await?;
        Ok(found.filter(|found| found.status != ObjectStatus::Withdrawn))
    }

    /// Describes an object, also one that ended and is still shown.
    async fn describe_any(&self, resource_type: &str, id: &str) -> Result<Option<Described>, ProviderError> {
        let request = ApiRequest::Describe {
            resource_type: resource_type.to_owned(),
            ids: vec![id.to_owned()],
        };
        Ok(shown(self.client.send(request).await)?.into_iter().next())
    }

    async fn find(&self, filter: Filter) -> Result<Vec<Described>, ProviderError> {
        objects(self.client.send(ApiRequest::Find { filter }).await)
    }

    /// Waits until an object is ready. Reading may fail meanwhile; only the deadline ends the wait.
    async fn wait_ready(
        &self,
        resource_type: &ResourceType,
        id: &str,
        call: &Call,
    ) -> Result<ObjectState, ProviderError> {
        call.phase("boot");
        let _waiting = call.waiting();
        let mut last = None;
        loop {
            match self.describe_any(resource_type.as_str(), id).await {
                Ok(Some(found)) => match found.status {
                    ObjectStatus::Ready => return Ok(self.state(resource_type, found)),
                    ObjectStatus::Failed => {
                        return Err(ProviderError::new(
                            ErrorClass::Invalid,
                            format!("{resource_type} `{id}` failed while it was set up."),
                        )
                        .with_effect(Effect::Partial)
                        .with_hint("see what the cloud says about it, or replace it")
                        .with_detail(["status: failed".to_owned()]));
                    }
                    ObjectStatus::Withdrawn => {
                        return Err(ProviderError::new(
                            ErrorClass::NoCapacity,
                            format!("{resource_type} `{id}` ended: there is no room for it."),
                        )
                        .with_effect(Effect::Partial));
                    }
                    ObjectStatus::Pending => {}
                },
                Ok(None) => {}
                Err(error) => last = Some(error.message),
            }
            if call.remaining() <= self.poll {
                let message = format!("{resource_type} `{id}` was not ready in time.");
                return Err(ProviderError::new(ErrorClass::Transient, message)
                    .with_effect(Effect::Partial)
                    .with_detail(last));
            }
            self.pause(resource_type, id, call).await?;
        }
    }

    /// Waits for the next look, or for the word to stop.
    async fn pause(&self, resource_type: &ResourceType, id: &str, call: &Call) -> Result<(), ProviderError> {
        tokio::select! {
            biased;
            () = tokio::time::sleep(self.poll) => Ok(()),
            () = call.cancel.cancelled() => Err(ProviderError::new(
                ErrorClass::Uncertain,
                format!("Stopped waiting for {resource_type} `{id}`."),
            )
            .with_effect(Effect::Partial)),
        }
    }

    /// Returns an object as the engine wants it: what is sensitive is secret.
    fn state(&self, resource_type: &ResourceType, found: Described) -> ObjectState {
        let schema = self.resource_schema(resource_type);
        let mut attributes = Attributes::new();
        for (name, json) in &found.fields {
            let value = Value::from_json(json);
            let sensitive = schema
                .attributes
                .get(name.as_str())
                .is_some_and(|attribute| attribute.sensitive);
            let value = if sensitive {
                Value::Secret(Secret::new(None, value))
            } else {
                value
            };
            attributes.insert(name.as_str().into(), value);
        }
        attributes.insert("id".into(), Value::string(&found.id));
        ObjectState {
            id: ObjectId::new(&found.id),
            attributes,
            private: serde_json::Value::Null,
            unreadable: WRITE_ONLY
                .iter()
                .filter(|(of, _)| *of == resource_type.as_str())
                .map(|(_, name)| AttributePath::root(name))
                .collect(),
        }
    }

    async fn found_by_operation(&self, request: &ObserveRequest) -> Result<Option<Described>, ProviderError> {
        let resource_type = &request.object.address.resource_type;
        let schema = self.resource_schema(resource_type);
        let mut filter = Filter {
            resource_type: Some(resource_type.to_string()),
            ..Filter::default()
        };
        match schema.idempotency {
            Idempotency::Token | Idempotency::TagInCreate => {
                filter.operation = Some(request.operation.to_string());
            }
            Idempotency::UniqueName | Idempotency::NaturalUpsert => {
                filter.lineage = Some(request.lineage.to_string());
                filter.uid = Some(request.object.uid.to_string());
            }
        }
        let found = self.find(filter).await?.into_iter().next();
        match (found, &request.object.id) {
            (None, Some(id)) => self.describe(resource_type.as_str(), id.as_str()).await,
            (found, _) => Ok(found),
        }
    }
}

#[async_trait]
impl Provider for FakeProvider {
    fn schema(&self) -> &ProviderSchema {
        &self.schema
    }

    fn validate(&self, request: &ValidateRequest) -> Vec<AttributeProblem> {
        let mut problems = Vec::new();
        let mut problem = |name: &str, message: &str, hint: &str| {
            problems.push(AttributeProblem {
                path: AttributePath::root(name),
                message: message.to_owned(),
                hint: Some(hint.to_owned()),
            });
        };
        if let Some(cidr) = request.inputs.get("cidr").and_then(Value::as_str)
            && !cidr.contains('/')
        {
            problem("cidr", "This is no address range.", "write it as `10.0.0.0/16`");
        }
        if request.resource_type.as_str() == "fake_disk"
            && request
                .inputs
                .get("size")
                .and_then(Value::as_int)
                .is_some_and(|size| size < 1)
        {
            problem("size", "A disk has at least 1 GB.", "write a positive number");
        }
        problems
    }

    fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, ProviderError> {
        let mut response = propose(self.resource_schema(&request.resource_type), request);
        let prior = request.prior.as_ref().map(|prior| &prior.attributes);
        match request.resource_type.as_str() {
            "fake_disk" => {
                let size = |attributes: &Attributes| attributes.get("size").and_then(Value::as_int);
                if let (Some(old), Some(new)) = (prior.and_then(size), size(&response.planned))
                    && new < old
                {
                    response.replace.push(ReplaceCause {
                        path: AttributePath::root("size"),
                        why: Some(format!("A disk of {old} GB cannot shrink to {new} GB.")),
                    });
                }
            }
            "fake_machine" => {
                let size = |attributes: &Attributes| attributes.get("size").cloned().unwrap_or_default();
                if let Some(prior) = prior
                    && size(prior).compare(&size(&response.planned)) == Comparison::Different
                {
                    response.planned.insert("ip".into(), Value::unknown());
                    response
                        .notes
                        .push("It restarts and gets another address.".to_owned());
                }
                if let Some(Value::String(image)) = response.planned.get("image")
                    && let Some(Value::String(newest)) = request.facts.get("newest_image")
                    && image != newest
                {
                    response.notes.push(format!("There is a newer image: {newest}."));
                }
            }
            "fake_address" => {
                if let Some(Value::String(ip)) = response.planned.get("ip") {
                    response.claims.push(Claim {
                        key: format!("fake-address/{ip}").into(),
                        path: AttributePath::root("ip"),
                    });
                }
            }
            _ => {}
        }
        Ok(response)
    }

    async fn read(&self, request: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError> {
        let ids = request
            .objects
            .iter()
            .filter_map(|object| object.id.as_ref().map(ToString::to_string))
            .collect();
        let describe = ApiRequest::Describe {
            resource_type: request.resource_type.to_string(),
            ids,
        };
        let mut found: BTreeMap<String, Described> = objects(self.client.send(describe).await)?
            .into_iter()
            .map(|object| (object.id.clone(), object))
            .collect();
        Ok(request
            .objects
            .iter()
            .map(
                |object| match object.id.as_ref().and_then(|id| found.remove(id.as_str())) {
                    Some(found) => ReadOutcome::Present(self.state(&request.resource_type, found)),
                    None => ReadOutcome::Absent,
                },
            )
            .collect())
    }

    async fn create(&self, request: CreateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        let token = self.resource_schema(&request.resource_type).idempotency == Idempotency::Token;
        let create = ApiRequest::Create {
            resource_type: request.resource_type.to_string(),
            fields: fields(&request.inputs)?,
            marks: Marks {
                lineage: Some(call.lineage.to_string()),
                uid: Some(call.uid.to_string()),
                address: Some(call.address.to_string()),
                operation: Some(call.operation.to_string()),
            },
            token: token.then(|| call.operation.to_string()),
        };
        let made = object(
            self.client.send(create).await,
            "create",
            &request.resource_type,
            call.operation,
        )?;
        call.checkpoint(&ObjectId::new(&made.id), &serde_json::Value::Null)
            .await?;
        self.wait_ready(&request.resource_type, &made.id, call).await
    }

    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        let resource_type = request.object.address.resource_type.clone();
        let id = known_id(&request.object)?;
        if !request.changed.is_empty() {
            let wanted = fields(&request.inputs)?;
            let changed: Fields = request
                .changed
                .iter()
                .filter_map(AttributePath::first_key)
                .filter(|name| {
                    self.resource_schema(&resource_type)
                        .attributes
                        .get(*name)
                        .is_some_and(|attribute| attribute.configurable)
                })
                .map(|name| (name.to_owned(), self.wanted_field(&resource_type, &wanted, name)))
                .collect();
            let update = ApiRequest::Update {
                resource_type: resource_type.to_string(),
                id: id.to_string(),
                fields: changed,
            };
            object(
                self.client.send(update).await,
                "update",
                &resource_type,
                call.operation,
            )?;
        }
        self.wait_ready(&resource_type, id.as_str(), call).await
    }

    async fn delete(&self, request: DeleteRequest, call: &Call) -> Result<(), ProviderError> {
        let resource_type = request.object.address.resource_type.clone();
        let Some(id) = request.object.id.clone() else {
            return Ok(());
        };
        let delete = ApiRequest::Delete {
            resource_type: resource_type.to_string(),
            id: id.to_string(),
        };
        match self.client.send(delete).await {
            Answer::Done(_) => {}
            Answer::Refused(error) if error.code == ApiErrorCode::NotFound => {}
            Answer::Refused(error) => return Err(refused(error)),
            Answer::Lost => return Err(lost("delete", &resource_type)),
        }
        call.phase("delete");
        let _waiting = call.waiting();
        loop {
            if let Ok(None) = self.describe(resource_type.as_str(), id.as_str()).await {
                return Ok(());
            }
            if call.remaining() <= self.poll {
                return Err(ProviderError::new(
                    ErrorClass::Transient,
                    format!("{resource_type} `{id}` was not gone in time."),
                )
                .with_effect(Effect::Partial));
            }
            self.pause(&resource_type, id.as_str(), call).await?;
        }
    }

    async fn observe(&self, request: ObserveRequest) -> Result<Observation, ProviderError> {
        let resource_type = request.object.address.resource_type.clone();
        if request.action != CallAction::Create {
            let found = match &request.object.id {
                Some(id) => self.describe(resource_type.as_str(), id.as_str()).await?,
                None => None,
            };
            return Ok(match found {
                Some(found) => Observation::Present(self.state(&resource_type, found)),
                None => Observation::Absent,
            });
        }
        // One empty answer proves nothing: the object may be there and not be listed yet.
        let end = Instant::now() + self.window;
        loop {
            if let Some(found) = self.found_by_operation(&request).await? {
                return Ok(Observation::Present(self.state(&resource_type, found)));
            }
            if Instant::now() >= end {
                return Ok(Observation::Absent);
            }
            tokio::time::sleep(self.poll).await;
        }
    }

    async fn list(&self, request: ListRequest) -> Result<Listed, ProviderError> {
        let filter = Filter {
            lineage: Some(request.lineage.to_string()),
            ..Filter::default()
        };
        let found = self.find(filter).await?;
        let objects: Vec<ListedObject> = found
            .into_iter()
            .filter_map(|found| {
                Some(ListedObject {
                    resource_type: ResourceType::new(&found.resource_type).ok()?,
                    uid: found.marks.uid.and_then(|uid| uid.parse().ok()),
                    address: found.marks.address.and_then(|address| address.parse().ok()),
                    id: ObjectId::new(&found.id),
                })
            })
            .collect();
        Ok(objects.into())
    }

    async fn import(&self, request: ImportRequest) -> Result<ObjectState, ProviderError> {
        match self
            .describe(request.resource_type.as_str(), request.id.as_str())
            .await?
        {
            Some(found) => Ok(self.state(&request.resource_type, found)),
            None => Err(ProviderError::new(
                ErrorClass::NotFound,
                format!("There is no {} `{}`.", request.resource_type, request.id),
            )),
        }
    }

    async fn facts(&self, _: FactsRequest) -> Result<BTreeMap<String, Value>, ProviderError> {
        match self.client.send(ApiRequest::Facts).await {
            Answer::Done(ApiResponse::Facts(facts)) => Ok(facts
                .iter()
                .map(|(name, fact)| (name.clone(), Value::from_json(fact)))
                .collect()),
            answer => Err(unexpected(answer)),
        }
    }

    fn upgrade(&self, request: &UpgradeRequest) -> Result<UpgradedObject, ProviderError> {
        let mut attributes = request.attributes.clone();
        // Version 1 of a record had one `value`.
        if request.resource_type.as_str() == "fake_record"
            && request.from_version == 1
            && let Some(value) = attributes.remove("value")
        {
            attributes.insert("values".into(), Value::List(vec![value]));
        }
        Ok(UpgradedObject {
            attributes,
            private: request.private.clone(),
        })
    }
}

impl FakeProvider {
    /// What an attribute shall be: what is asked for, else its default, else nothing.
    fn wanted_field(&self, resource_type: &ResourceType, wanted: &Fields, name: &str) -> serde_json::Value {
        match wanted.get(name) {
            Some(value) if !value.is_null() => value.clone(),
            _ => self
                .resource_schema(resource_type)
                .attributes
                .get(name)
                .and_then(|attribute| attribute.default.as_ref())
                .map(Value::to_redacted_json)
                .unwrap_or_default(),
        }
    }
}

fn known_id(object: &RecordedObject) -> Result<ObjectId, ProviderError> {
    object.id.clone().ok_or_else(|| {
        ProviderError::new(
            ErrorClass::NotFound,
            format!("The id of `{}` is not known.", object.address),
        )
    })
}

/// Turns inputs into the API's attributes; this is where secrets are handed over.
fn fields(inputs: &Attributes) -> Result<Fields, ProviderError> {
    inputs
        .iter()
        .map(|(name, value)| Ok((name.to_string(), json(name, value)?)))
        .collect()
}

fn json(name: &str, value: &Value) -> Result<serde_json::Value, ProviderError> {
    Ok(match value {
        Value::Secret(secret) => match secret.expose() {
            Some(exposed) => json(name, exposed)?,
            None => return Err(missing(name, "is a secret whose value is not at hand")),
        },
        Value::Unknown(_) => return Err(missing(name, "is not known")),
        Value::List(items) => items
            .iter()
            .map(|item| json(name, item))
            .collect::<Result<_, _>>()?,
        Value::Map(entries) => serde_json::Value::Object(
            entries
                .iter()
                .map(|(key, item)| Ok((key.to_string(), json(name, item)?)))
                .collect::<Result<_, ProviderError>>()?,
        ),
        plain => plain.to_redacted_json(),
    })
}

fn missing(name: &str, why: &str) -> ProviderError {
    ProviderError::new(ErrorClass::Invalid, format!("`{name}` {why}.")).at(AttributePath::root(name))
}

fn object(
    answer: Answer,
    verb: &str,
    resource_type: &ResourceType,
    operation: OperationId,
) -> Result<Described, ProviderError> {
    match answer {
        Answer::Done(ApiResponse::Object(object)) => Ok(object),
        Answer::Lost => Err(lost(verb, resource_type).with_detail([format!("operation {operation}")])),
        answer => Err(unexpected(answer)),
    }
}

/// The objects that an answer tells of and that are there.
fn objects(answer: Answer) -> Result<Vec<Described>, ProviderError> {
    let mut objects = shown(answer)?;
    objects.retain(|object| object.status != ObjectStatus::Withdrawn);
    Ok(objects)
}

/// The objects that an answer tells of.
fn shown(answer: Answer) -> Result<Vec<Described>, ProviderError> {
    match answer {
        Answer::Done(ApiResponse::Objects(objects)) => Ok(objects),
        answer => Err(unexpected(answer)),
    }
}

fn lost(verb: &str, resource_type: &ResourceType) -> ProviderError {
    ProviderError::new(
        ErrorClass::Uncertain,
        format!("The connection broke before the cloud answered the {verb} of a {resource_type}."),
    )
}

/// The error behind an answer to a request that changes nothing, or that was refused.
fn unexpected(answer: Answer) -> ProviderError {
    match answer {
        Answer::Refused(error) => refused(error),
        Answer::Lost => ProviderError::new(
            ErrorClass::Transient,
            "The connection broke before the cloud answered.",
        ),
        Answer::Done(_) => ProviderError::new(
            ErrorClass::Uncertain,
            "The cloud answered something other than what was asked.",
        ),
    }
}

fn refused(error: ApiError) -> ProviderError {
    let class = match error.code {
        ApiErrorCode::Throttled => ErrorClass::Throttled,
        ApiErrorCode::Unavailable => ErrorClass::Transient,
        ApiErrorCode::Conflict => ErrorClass::Conflict,
        ApiErrorCode::NoCapacity => ErrorClass::NoCapacity,
        ApiErrorCode::NotFound => ErrorClass::NotFound,
        ApiErrorCode::Invalid => ErrorClass::Invalid,
        ApiErrorCode::Denied => ErrorClass::Denied,
    };
    let refusal = ProviderError::new(class, format!("The cloud refused: {}.", error.message));
    match error.field {
        Some(field) => refusal.at(AttributePath::root(field)),
        None => refusal,
    }
}
