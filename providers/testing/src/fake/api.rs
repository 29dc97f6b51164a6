//! The fake cloud's API: requests, answers and errors, as they go over a wire.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::fault::FaultRule;

/// Attributes as the API has them: plain JSON, secrets in clear.
pub type Fields = BTreeMap<String, serde_json::Value>;

/// A request to the cloud.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum ApiRequest {
    /// Makes an object.
    Create {
        /// Its type.
        resource_type: String,
        /// Its attributes.
        fields: Fields,
        /// Its ownership marks.
        marks: Marks,
        /// The idempotency token, for the types that have one: the same token again returns the same object.
        token: Option<String>,
    },
    /// Describes objects by id; those that do not exist (or are not visible yet) are left out of the answer.
    Describe {
        /// The type of all of them.
        resource_type: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// Lists objects by their marks.
    Find {
        /// Which.
        filter: Filter,
    },
    /// Changes attributes of an object; those that are null are removed.
    Update {
        /// Its type.
        resource_type: String,
        /// Its id.
        id: String,
        /// The attributes that change.
        fields: Fields,
    },
    /// Deletes an object.
    Delete {
        /// Its type.
        resource_type: String,
        /// Its id.
        id: String,
    },
    /// Returns facts about the cloud.
    Facts,
}

/// What was asked of the cloud, without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// [`ApiRequest::Create`].
    Create,
    /// [`ApiRequest::Describe`].
    Describe,
    /// [`ApiRequest::Find`].
    Find,
    /// [`ApiRequest::Update`].
    Update,
    /// [`ApiRequest::Delete`].
    Delete,
    /// [`ApiRequest::Facts`].
    Facts,
}

impl ApiRequest {
    /// Returns what is asked.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Create { .. } => Verb::Create,
            Self::Describe { .. } => Verb::Describe,
            Self::Find { .. } => Verb::Find,
            Self::Update { .. } => Verb::Update,
            Self::Delete { .. } => Verb::Delete,
            Self::Facts => Verb::Facts,
        }
    }

    /// Returns the type that it is about, if it is about one.
    pub fn resource_type(&self) -> Option<&str> {
        match self {
            Self::Create { resource_type, .. }
            | Self::Describe { resource_type, .. }
            | Self::Update { resource_type, .. }
            | Self::Delete { resource_type, .. } => Some(resource_type),
            Self::Find { filter } => filter.resource_type.as_deref(),
            Self::Facts => None,
        }
    }

    /// Returns whether it changes anything.
    pub fn changes_the_world(&self) -> bool {
        matches!(self.verb(), Verb::Create | Verb::Update | Verb::Delete)
    }
}

/// Which objects to list; all conditions must hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Filter {
    /// Of this type.
    pub resource_type: Option<String>,
    /// Marked with this lineage.
    pub lineage: Option<String>,
    /// Marked with this uid.
    pub uid: Option<String>,
    /// Made by this operation.
    pub operation: Option<String>,
    /// With this value of the attribute `name`.
    pub name: Option<String>,
}

/// The marks that a creating call writes on its object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The lineage of the project that owns it.
    pub lineage: Option<String>,
    /// Its uid.
    pub uid: Option<String>,
    /// Its address.
    pub address: Option<String>,
    /// The operation that made it.
    pub operation: Option<String>,
}

/// An object as the cloud describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Described {
    /// Its type.
    pub resource_type: String,
    /// Its id.
    pub id: String,
    /// Its attributes, computed ones included; what the API never tells is missing.
    pub fields: Fields,
    /// Its marks.
    pub marks: Marks,
    /// How far it is.
    pub status: ObjectStatus,
}

/// How far an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectStatus {
    /// It is being set up.
    Pending,
    /// It works.
    Ready,
    /// It will never work.
    Failed,
    /// It ended by itself, for want of capacity: it is shown, and is not there.
    Withdrawn,
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiResponse {
    /// The object that was made or changed.
    Object(Described),
    /// The objects that were asked for, by type and id.
    Objects(Vec<Described>),
    /// It was deleted.
    Deleted,
    /// Facts.
    Facts(Fields),
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct ApiError {
    /// Its code.
    pub code: ApiErrorCode,
    /// What it says.
    pub message: String,
    /// The attribute at fault.
    pub field: Option<String>,
}

impl ApiError {
    pub(super) fn new(code: ApiErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            field: None,
        }
    }

    pub(super) fn at(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }
}

/// The code of a refusal. Nothing was changed in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiErrorCode {
    /// Too many requests.
    Throttled,
    /// The cloud does not work right now.
    Unavailable,
    /// Something else holds it, or depends on it.
    Conflict,
    /// There is no such object.
    NotFound,
    /// There is no room for it.
    NoCapacity,
    /// The request is wrong.
    Invalid,
    /// It is not allowed.
    Denied,
}

/// What became of a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was carried out.
    Done(ApiResponse),
    /// It was refused; nothing was changed.
    Refused(ApiError),
    /// The connection broke: nobody knows whether it was carried out.
    Lost,
}

/// A connection to a cloud.
#[async_trait]
pub trait CloudClient: Send + Sync {
    /// Sends one request.
    async fn send(&self, request: ApiRequest) -> Answer;
}

/// What a test tells the cloud, beside its API.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "admin", rename_all = "snake_case")]
pub enum AdminRequest {
    /// Misbehave by this rule.
    Fault(FaultRule),
    /// Behave by these settings.
    Settings(Settings),
    /// Change an object behind everybody's back; attributes that are null are removed.
    Mutate {
        /// Its id.
        id: String,
        /// What changes.
        fields: Fields,
    },
    /// Remove an object behind everybody's back.
    Remove {
        /// Its id.
        id: String,
    },
    /// Tell everything.
    Dump,
}

/// Everything that the cloud has and did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dump {
    /// Every object, visible or not, sorted by type and id.
    pub objects: Vec<Described>,
    /// Every request that changed something or was meant to, in order.
    pub changes: Vec<ChangeEntry>,
    /// How often each verb was asked of each type.
    pub calls: BTreeMap<String, u64>,
}

/// A change that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeEntry {
    /// What.
    pub verb: Verb,
    /// The object's type.
    pub resource_type: String,
    /// Its id.
    pub id: String,
    /// The address on its mark.
    pub address: Option<String>,
}

/// How the cloud behaves when it behaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// How long each request takes.
    pub latency: Duration,
    /// How much longer one may take, by chance.
    pub jitter: Duration,
    /// How long a machine takes to become ready.
    pub boot: Duration,
    /// Within this time after its creation an object may be invisible, and after its deletion still visible.
    pub consistency: Duration,
    /// Whether names are unique within a type.
    pub unique_names: bool,
    /// How many objects of a type there may be.
    pub quota: Option<usize>,
    /// How many requests in a second are served; the rest is throttled.
    pub rate: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(50),
            jitter: Duration::ZERO,
            boot: Duration::from_secs(5),
            consistency: Duration::ZERO,
            unique_names: false,
            quota: None,
            rate: None,
        }
    }
}
