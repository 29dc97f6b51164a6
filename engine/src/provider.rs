//! The provider contract: what the engine asks of the code that knows one kind of infrastructure.
//!
//! Requests and responses are plain serialisable structs, so that a provider can move out of process without a
//! redesign. What cannot be data (progress, checkpoints, cancellation) is in [`Call`].
//!
//! # The rules
//! * [`Provider::plan`] and [`Provider::validate`] are synchronous and pure: same request, same answer, no I/O.
//! * The engine writes an intent before it calls `create`, `update` or `delete`, and never repeats such a call blindly:
//!   after a lost answer it asks [`Provider::observe`].
//! * A call that returns an error says with [`ProviderError::effect`] whether the world may have changed.
//! * Retrying throttled and transient errors is the engine's; a provider (and the SDK it uses) retries nothing.
//! * A provider whose object lives at a far end that it owns passes [`Call::epoch`] along; the far end refuses an older
//!   epoch than it has seen.
//! * A provider never reads the environment, prints, or keeps credentials in what it returns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::address::{Lineage, ObjectId, OperationId, ResourceAddress, ResourceType, Uid};
use crate::data::DataQuery;
use crate::form::is_left_out;
use crate::schema::{ProviderSchema, ReplaceOrder, ResourceSchema};
use crate::value::{AttributePath, Attributes, Value};

/// Code that manages the objects of some resource types.
///
/// Its futures do not block the thread that polls them, which may be the one that carries out the run: what computes for
/// long is given to a thread of its own.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Returns what this provider manages.
    fn schema(&self) -> &ProviderSchema;

    /// Checks inputs beyond what the schema says; values may be unknown. Pure.
    ///
    /// Returns one entry per problem; none when the inputs are fine.
    fn validate(&self, request: &ValidateRequest) -> Vec<AttributeProblem> {
        let _ = request;
        Vec::new()
    }

    /// Decides what the object should become, and whether that takes a replacement. Pure.
    ///
    /// Start from [`propose`], which follows the schema, and change what the schema cannot say.
    fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, ProviderError> {
        Ok(propose(self.resource_schema(&request.resource_type), request))
    }

    /// Reads objects, in as few calls as the API allows. Answers in the order of the request, one for each.
    ///
    /// An unknown id is [`ReadOutcome::Absent`] and must not fail the rest; what cannot be reached is
    /// [`ReadOutcome::CannotTell`]. An error means that nothing could be read at all.
    async fn read(&self, request: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError>;

    /// Returns how many objects one call of [`Provider::read`] takes at most; `None` leaves that to whoever reads.
    ///
    /// A provider that reads many in one call of its API says more than is usual, so that a refresh takes few.
    fn read_batch(&self) -> Option<usize> {
        None
    }

    /// Makes the object and waits until it is ready.
    ///
    /// As soon as the object has an id, and before any waiting, the provider passes it to [`Call::checkpoint`]; what is
    /// checkpointed is never lost. When it then fails, the record stays as *incomplete*.
    async fn create(&self, request: CreateRequest, call: &Call) -> Result<ObjectState, ProviderError>;

    /// Changes the object in place and waits until it is ready.
    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError>;

    /// Deletes the object and waits until it is gone. Deleting what is gone already succeeds.
    async fn delete(&self, request: DeleteRequest, call: &Call) -> Result<(), ProviderError>;

    /// Finds out what became of a call whose result is not recorded. Changes nothing.
    async fn observe(&self, request: ObserveRequest) -> Result<Observation, ProviderError>;

    /// Lists the objects that carry this project's ownership mark, whether recorded or not.
    ///
    /// A provider whose objects carry no mark returns none. One whose objects are in several places answers what the
    /// places say that can be asked, and names the others: an object that is not listed is absent only if nothing was
    /// left out. An error means that nothing could be asked at all.
    async fn list(&self, request: ListRequest) -> Result<Listed, ProviderError> {
        let _ = request;
        Ok(Listed::default())
    }

    /// Reads an existing object by the id that a person gave, to bring it under management.
    async fn import(&self, request: ImportRequest) -> Result<ObjectState, ProviderError>;

    /// Returns facts about the world that planning needs (machines, offers, images), with no secret in them.
    async fn facts(&self, request: FactsRequest) -> Result<BTreeMap<String, Value>, ProviderError> {
        let _ = request;
        Ok(BTreeMap::new())
    }

    /// Returns the kinds of data that this provider reads and does not manage, each with its arguments and what it finds.
    fn data_kinds(&self) -> &BTreeMap<ResourceType, ResourceSchema> {
        static NONE: BTreeMap<ResourceType, ResourceSchema> = BTreeMap::new();
        &NONE
    }

    /// Finds what data documents of one kind ask for. Answers in the order of the request, one for each, with all their
    /// attributes, arguments included. Changes nothing.
    ///
    /// What is not found, or not the only one, is that document's own error and must not fail the rest. An error means that
    /// nothing could be read at all, and the call is made again where that may help.
    async fn read_data(
        &self,
        request: ReadDataRequest,
    ) -> Result<Vec<Result<Attributes, ProviderError>>, ProviderError> {
        Err(ProviderError::new(
            ErrorClass::Invalid,
            format!(
                "The provider `{}` reads no `{}`.",
                self.schema().name,
                request.kind
            ),
        ))
    }

    /// Brings recorded attributes and private data of an older schema version to the present one. Pure.
    fn upgrade(&self, request: &UpgradeRequest) -> Result<UpgradedObject, ProviderError> {
        Ok(UpgradedObject {
            attributes: request.attributes.clone(),
            private: request.private.clone(),
        })
    }

    /// Returns the schema of one of its own types.
    ///
    /// # Panics
    /// When the type is not the provider's; the engine never asks for such a one.
    fn resource_schema(&self, resource_type: &ResourceType) -> &ResourceSchema {
        self.schema()
            .resource_types
            .get(resource_type)
            .expect("the engine asks a provider only for types in its schema")
    }
}

/// Which documents [`Provider::read_data`] shall find something for: all of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadDataRequest {
    /// The kind of all of them.
    pub kind: ResourceType,
    /// The documents.
    pub queries: Vec<DataQuery>,
}

/// What [`Provider::validate`] gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ValidateRequest {
    /// The resource's type.
    pub resource_type: ResourceType,
    /// The resource's address, for messages.
    pub address: ResourceAddress,
    /// Its inputs; may hold unknown values.
    pub inputs: Attributes,
}

/// A problem with one attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeProblem {
    /// Where.
    pub path: AttributePath,
    /// What is wrong and why, in a full sentence.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// What [`Provider::plan`] gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlanRequest {
    /// The resource's type.
    pub resource_type: ResourceType,
    /// The resource's address.
    pub address: ResourceAddress,
    /// What the configuration asks for; may hold unknown values and secrets.
    pub desired: Attributes,
    /// The object as it is; `None` when one is to be made.
    pub prior: Option<PriorObject>,
    /// The attributes of the object in whose place another is to be made; `None` when none is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Attributes>,
    /// The provider's own [facts](Provider::facts), as gathered.
    pub facts: BTreeMap<String, Value>,
}

/// The object as the engine knows it when it plans.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PriorObject {
    /// The inputs that it was last made or updated with.
    pub inputs: Attributes,
    /// Its attributes: as read just now, or as recorded when reading was not asked for or not possible.
    pub attributes: Attributes,
    /// The provider's private data.
    pub private: serde_json::Value,
}

/// What [`Provider::plan`] answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanResponse {
    /// The attributes that the object should have afterwards; those that only apply can know are unknown.
    pub planned: Attributes,
    /// Why a replacement is needed; empty when the object can be kept.
    pub replace: Vec<ReplaceCause>,
    /// What the object will hold exclusively (a name, a port, a GPU); two objects cannot hold the same.
    ///
    /// A replacement whose claims meet those of the old object deletes that one first.
    pub claims: Vec<Claim>,
    /// In which order one object should be replaced with this one; `None` is the order of the schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_order: Option<ReplaceOrder>,
    /// What else people should read with this change.
    pub notes: Vec<String>,
}

/// An attribute that cannot be changed in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplaceCause {
    /// Which.
    pub path: AttributePath,
    /// Why not, in a full sentence; `None` when the schema says it all.
    pub why: Option<String>,
}

/// Something that only one object can hold at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// What, in a form that is equal for equal things: `tcp/local/8000`.
    pub key: Arc<str>,
    /// The attribute that claims it, for the place in a message.
    pub path: AttributePath,
}

/// Which objects [`Provider::read`] shall read: all of one type.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReadRequest {
    /// The type of all of them.
    pub resource_type: ResourceType,
    /// The objects.
    pub objects: Vec<RecordedObject>,
}

/// An object as recorded: what it takes to find, read or delete it, also when the configuration is gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordedObject {
    /// The object's uid.
    pub uid: Uid,
    /// Its address, for messages.
    pub address: ResourceAddress,
    /// The provider's id, if it is known.
    pub id: Option<ObjectId>,
    /// The inputs that it was last made or updated with. Secrets are sealed.
    pub inputs: Attributes,
    /// Its recorded attributes. Secrets are sealed.
    pub attributes: Attributes,
    /// The provider's private data.
    pub private: serde_json::Value,
}

/// What became of one read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadOutcome {
    /// It is there.
    Present(ObjectState),
    /// It is proved not to be there.
    Absent,
    /// Neither could be found out.
    CannotTell {
        /// Why, as a sentence for people.
        reason: String,
    },
}

/// An object as its provider describes it.
///
/// A secret that the provider read back is a secret with its value exposed; the engine fingerprints it and
/// drops the value before anything is written. An attribute that cannot be read back is left out and named in
/// `unreadable`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectState {
    /// The provider's id.
    pub id: ObjectId,
    /// All its attributes, inputs included, as they are in the world.
    pub attributes: Attributes,
    /// Data that only the provider reads.
    #[serde(default, skip_serializing_if = "is_left_out")]
    pub private: serde_json::Value,
    /// Attributes that the world does not tell; their recorded values stand.
    #[serde(default, skip_serializing_if = "is_left_out")]
    pub unreadable: Vec<AttributePath>,
}

/// What [`Provider::create`] gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateRequest {
    /// The type.
    pub resource_type: ResourceType,
    /// The address.
    pub address: ResourceAddress,
    /// The inputs, wholly known; secrets hold their values.
    pub inputs: Attributes,
    /// What was planned; computed attributes may be unknown.
    pub planned: Attributes,
}

/// What [`Provider::update`] gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdateRequest {
    /// The object to change, as recorded.
    pub object: RecordedObject,
    /// The inputs, wholly known; secrets hold their values.
    pub inputs: Attributes,
    /// What was planned; computed attributes may be unknown.
    pub planned: Attributes,
    /// The attributes that differ.
    pub changed: Vec<AttributePath>,
}

/// What [`Provider::delete`] gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteRequest {
    /// The object to delete, as recorded.
    pub object: RecordedObject,
    /// Whether another object has taken its address and stands in for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deposed: bool,
}

/// What [`Provider::observe`] gets: an intent whose result is not recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ObserveRequest {
    /// The call that was meant.
    pub action: CallAction,
    /// The operation id that the call carried.
    pub operation: OperationId,
    /// The object as recorded when the call was meant; of a creation, its intended inputs, and the id if it was
    /// checkpointed.
    pub object: RecordedObject,
    /// The inputs that the call carried. Secrets are sealed.
    pub inputs: Attributes,
    /// This project's lineage, as in ownership marks.
    pub lineage: Lineage,
}

/// The kinds of call that change the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallAction {
    /// Making an object.
    Create,
    /// Changing one.
    Update,
    /// Deleting one.
    Delete,
}

/// What an observation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// The object is there.
    Present(ObjectState),
    /// It is not there, proved by repeated negative reads over the type's consistency window.
    Absent,
    /// Neither could be found out yet.
    Unknown {
        /// Why, as a sentence for people.
        reason: String,
    },
}

/// What [`Provider::list`] gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListRequest {
    /// Whose objects to list.
    pub lineage: Lineage,
}

/// What [`Provider::list`] found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// The objects that carry the mark.
    pub objects: Vec<ListedObject>,
    /// What could not be asked: objects that are there are missing in the list.
    #[serde(default)]
    pub unasked: Vec<Unasked>,
}

impl From<Vec<ListedObject>> for Listed {
    /// What a provider found that could ask everywhere.
    fn from(objects: Vec<ListedObject>) -> Self {
        Self {
            objects,
            unasked: Vec::new(),
        }
    }
}

/// A part of what a provider manages that could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unasked {
    /// Which, as people know it: ``machine `gpu/h2` ``.
    pub part: String,
    /// Why, as a sentence.
    pub why: String,
}

/// An object that carries the project's mark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListedObject {
    /// Its type.
    pub resource_type: ResourceType,
    /// The uid on its mark.
    pub uid: Option<Uid>,
    /// The address on its mark.
    pub address: Option<ResourceAddress>,
    /// Its id.
    pub id: ObjectId,
}

/// What [`Provider::import`] gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImportRequest {
    /// The type.
    pub resource_type: ResourceType,
    /// The address that it shall have.
    pub address: ResourceAddress,
    /// The id as the person gave it.
    pub id: ObjectId,
}

/// What [`Provider::facts`] gets.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FactsRequest {
    /// The inputs of the project's resources of this provider, by address; may hold unknown values.
    pub resources: BTreeMap<ResourceAddress, Attributes>,
}

/// What [`Provider::upgrade`] gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpgradeRequest {
    /// The type.
    pub resource_type: ResourceType,
    /// The schema version that the record has.
    pub from_version: u32,
    /// The recorded attributes.
    pub attributes: Attributes,
    /// The recorded private data.
    pub private: serde_json::Value,
}

/// A record in the present schema version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpgradedObject {
    /// The attributes.
    pub attributes: Attributes,
    /// The private data.
    pub private: serde_json::Value,
}

/// The circumstances of one call that changes the world.
pub struct Call {
    /// The idempotency key of this call.
    pub operation: OperationId,
    /// The object's uid, for its ownership mark.
    pub uid: Uid,
    /// The object's address, for its ownership mark and messages.
    pub address: ResourceAddress,
    /// The project's lineage, for its ownership mark.
    pub lineage: Lineage,
    /// The lease epoch under which the call is made.
    pub epoch: u64,
    /// How long the call may take in all; the engine gives up on it afterwards.
    pub deadline: tokio::time::Instant,
    /// Cancelled when a person asked a second time to stop: return soon, saying what may have happened.
    pub cancel: CancellationToken,
    /// Where checkpoints and progress go.
    pub sink: Arc<dyn CallSink>,
}

impl Call {
    /// Makes the object's id durable; returns once it is.
    ///
    /// # Errors
    /// When the log cannot be written: the provider must stop and return the error.
    pub async fn checkpoint(&self, id: &ObjectId, private: &serde_json::Value) -> Result<(), ProviderError> {
        self.sink
            .checkpoint(self.operation, id.clone(), private.clone())
            .await
    }

    /// Says what the call is doing now, in a word or a short phrase: `boot`, `pull`, `load`, `ready`, `drain`.
    pub fn phase(&self, phase: &str) {
        self.sink.phase(self.operation, phase);
    }

    /// Says that from now on the call only waits, until the guard is dropped: for a machine to boot, for a program to be
    /// ready, for requests to end. Such a call leaves its place among those that run at a time to another one. It may look
    /// how far things are; what asks more of an API than that belongs after the guard.
    pub fn waiting(&self) -> Waiting {
        self.sink.waiting(self.operation, true);
        Waiting {
            operation: self.operation,
            sink: self.sink.clone(),
        }
    }

    /// Returns how much time is left.
    pub fn remaining(&self) -> Duration {
        self.deadline
            .saturating_duration_since(tokio::time::Instant::now())
    }
}

/// A call that only waits; see [`Call::waiting`].
#[must_use = "the call waits only as long as this is kept"]
pub struct Waiting {
    operation: OperationId,
    sink: Arc<dyn CallSink>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.sink.waiting(self.operation, false);
    }
}

/// Where a call's checkpoints and progress go.
#[async_trait]
pub trait CallSink: Send + Sync {
    /// Makes an id durable.
    async fn checkpoint(
        &self,
        operation: OperationId,
        id: ObjectId,
        private: serde_json::Value,
    ) -> Result<(), ProviderError>;

    /// Reports a phase.
    fn phase(&self, operation: OperationId, phase: &str);

    /// Reports that the call only waits, or no longer does.
    fn waiting(&self, operation: OperationId, waits: bool) {
        let _ = (operation, waits);
    }
}

/// Why a provider's call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// What can be done about it.
    pub class: ErrorClass,
    /// Whether the world may have changed.
    pub effect: Effect,
    /// What happened and why, in full sentences, with the API's own code and request id.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Lines that explain it, such as the last lines of a program's log; never with a secret in them.
    pub detail: Vec<String>,
    /// The attribute at fault, if one is.
    pub path: Option<AttributePath>,
}

/// What can be done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The API asks for fewer calls; the engine waits and tries again.
    Throttled,
    /// It may work in a moment; the engine tries again when the call had no effect.
    Transient,
    /// Something else holds what is wanted.
    Conflict,
    /// Nobody has what is asked for, or may have so much of it: another offer may do. Nothing was made.
    NoCapacity,
    /// The object is not there.
    NotFound,
    /// The request can never work, or the object will never become ready.
    Invalid,
    /// The credentials do not allow it.
    Denied,
    /// The answer was lost: the call may have happened.
    Uncertain,
}

/// What a failed call may have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing was changed.
    None,
    /// Something was changed, and the object needs reading before it is used.
    Partial,
    /// It is not known whether anything was changed.
    Unknown,
}

impl ProviderError {
    /// Makes an error of a call that had no effect.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        let effect = if class == ErrorClass::Uncertain {
            Effect::Unknown
        } else {
            Effect::None
        };
        Self {
            class,
            effect,
            message: message.into(),
            hint: None,
            detail: Vec::new(),
            path: None,
        }
    }

    /// Sets what the call may have done.
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Sets what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds lines that explain it.
    #[must_use]
    pub fn with_detail(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.detail.extend(lines);
        self
    }

    /// Names the attribute at fault.
    #[must_use]
    pub fn at(mut self, path: AttributePath) -> Self {
        self.path = Some(path);
        self
    }
}

/// Proposes what an object should become, as its schema says.
///
/// * What the configuration sets is planned as it stands; a schema default stands for what it leaves out.
/// * What is computed keeps its prior value, also when that is none; of an object to be made it is unknown.
/// * What the configuration no longer sets, and is not computed, becomes absent.
/// * Each changed attribute that forces replacement is a [`ReplaceCause`]; so is one that is unknown.
pub fn propose(schema: &ResourceSchema, request: &PlanRequest) -> PlanResponse {
    let mut planned = Attributes::new();
    let mut replace = Vec::new();
    for (name, attribute) in &schema.attributes {
        let desired = request
            .desired
            .get(name)
            .filter(|value| !value.is_null())
            .or(attribute.default.as_ref());
        let prior = request
            .prior
            .as_ref()
            .and_then(|prior| prior.attributes.get(name));
        let value = match (desired, attribute.computed) {
            (Some(value), _) => value.clone(),
            (None, true) if request.prior.is_some() => prior.cloned().unwrap_or_default(),
            (None, true) => Value::unknown(),
            (None, false) => Value::Null,
        };
        if attribute.forces_replacement && request.prior.is_some() {
            let before = prior.cloned().unwrap_or_default();
            let known_same = crate::diff::same(attribute.equality, &before, &value);
            if known_same == crate::value::Comparison::Different {
                replace.push(ReplaceCause {
                    path: AttributePath::root(name),
                    why: None,
                });
            }
        }
        if !value.is_null() {
            planned.insert(name.clone(), value);
        }
    }
    PlanResponse {
        planned,
        replace,
        claims: Vec::new(),
        replace_order: None,
        notes: Vec::new(),
    }
}

/// The providers of a run, by the resource types that they manage.
#[derive(Clone, Default)]
pub struct ProviderRegistry {
    by_type: BTreeMap<ResourceType, Arc<dyn Provider>>,
    by_data_kind: BTreeMap<ResourceType, Arc<dyn Provider>>,
}

impl ProviderRegistry {
    /// Adds a provider for all its types.
    ///
    /// # Panics
    /// When another provider has one of its types already; wiring is code, and this is a bug in it.
    pub fn register(&mut self, provider: Arc<dyn Provider>) {
        for kind in provider.data_kinds().keys() {
            let earlier = self.by_data_kind.insert(kind.clone(), provider.clone());
            assert!(earlier.is_none(), "two providers read `{kind}`");
        }
        for resource_type in provider.schema().resource_types.keys() {
            let earlier = self.by_type.insert(resource_type.clone(), provider.clone());
            assert!(earlier.is_none(), "two providers manage `{resource_type}`");
        }
    }

    /// Returns the provider that reads a kind of data.
    pub fn data_provider(&self, kind: &ResourceType) -> Option<&Arc<dyn Provider>> {
        self.by_data_kind.get(kind)
    }

    /// Returns the schema of a kind of data.
    pub fn data_schema(&self, kind: &ResourceType) -> Option<&ResourceSchema> {
        self.by_data_kind.get(kind)?.data_kinds().get(kind)
    }

    /// Returns all kinds of data, in order.
    pub fn data_kinds(&self) -> Vec<&ResourceType> {
        self.by_data_kind.keys().collect()
    }

    /// Returns the provider of a type.
    pub fn provider(&self, resource_type: &ResourceType) -> Option<&Arc<dyn Provider>> {
        self.by_type.get(resource_type)
    }

    /// Returns the schema of a type.
    pub fn schema(&self, resource_type: &ResourceType) -> Option<&ResourceSchema> {
        self.by_type
            .get(resource_type)
            .map(|provider| provider.resource_schema(resource_type))
    }

    /// Returns all types, in order.
    pub fn resource_types(&self) -> impl Iterator<Item = &ResourceType> {
        self.by_type.keys()
    }

    /// Returns each provider once, in the order of their names.
    pub fn providers(&self) -> Vec<&Arc<dyn Provider>> {
        let mut providers: Vec<_> = self.by_type.values().collect();
        providers.sort_by(|a, b| a.schema().name.cmp(&b.schema().name));
        providers.dedup_by(|a, b| a.schema().name == b.schema().name);
        providers
    }
}

impl std::fmt::Debug for ProviderRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_type.keys()).finish()
    }
}
