//! What a provider declares about each resource type: its attributes, and how the engine must treat them.
//!
//! Differences between resource types are data here, so that the engine knows no provider by name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::{ProviderName, ResourceType};
use crate::value::{AttributePath, Value};

/// The schema of one resource type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceSchema {
    /// The type that it describes.
    pub resource_type: ResourceType,
    /// The version of the recorded form; raised when a record must be upgraded.
    pub version: u32,
    /// What an object of this type is, in a sentence.
    pub description: String,
    /// Its attributes, by name.
    pub attributes: BTreeMap<Arc<str>, AttributeSchema>,
    /// The order in which a replacement happens unless the configuration says otherwise.
    pub replace_order: ReplaceOrder,
    /// How long after its creation a "not found" is not believed.
    pub consistency_window: Duration,
    /// How a created object is recognised after a lost answer.
    pub idempotency: Idempotency,
    /// The attribute that names the object whose deletion deletes this one too.
    ///
    /// When that object is deleted or replaced, no delete call is made for this one; only its record goes.
    pub deleted_with: Option<Arc<str>>,
    /// Whether the object holds data that a deletion destroys; shown first in plans.
    pub holds_data: bool,
    /// How long each action may take unless the configuration says otherwise.
    pub timeouts: Timeouts,
}

/// The schema of one attribute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttributeSchema {
    /// The type of its value.
    pub kind: AttributeKind,
    /// Whether the configuration must set it.
    pub required: bool,
    /// Whether the provider sets it when the configuration does not.
    pub computed: bool,
    /// Whether the configuration may set it. Required attributes always may.
    pub configurable: bool,
    /// Whether its value is secret even when it comes from no secret.
    pub sensitive: bool,
    /// Whether a change of it replaces the object.
    pub forces_replacement: bool,
    /// When two values count as the same.
    pub equality: Equality,
    /// The value that stands for an absent one.
    pub default: Option<Value>,
    /// What it is: units, meaning of null, where a rule comes from.
    pub description: String,
}

/// The type of an attribute's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributeKind {
    /// Anything.
    Any,
    /// A bool.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// Text.
    String,
    /// A list of one type.
    List(Box<AttributeKind>),
    /// A map of one type.
    Map(Box<AttributeKind>),
    /// A map of named, typed entries; each may be absent.
    Object(BTreeMap<Arc<str>, AttributeKind>),
}

/// When two values of an attribute count as the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Equality {
    /// When they are equal.
    #[default]
    Exact,
    /// When they are lists of the same items, in any order.
    Set,
    /// When they are texts of the same JSON.
    Json,
    /// When they are texts that differ only in white space at line ends and at the end.
    NormalisedText,
    /// When they are texts that differ only in case.
    CaseInsensitive,
    /// Always: the world changes it by itself, as is its business. What was read last is recorded with the next change.
    Volatile,
}

/// The order of a replacement.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ReplaceOrder {
    /// The new object is made first; the old one, deposed, goes when nothing uses it any more.
    #[default]
    CreateThenDelete,
    /// The old object goes first, because both cannot exist at once.
    DeleteThenCreate,
}

/// How a created object is recognised after its answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Idempotency {
    /// The operation id is the API's idempotency token: the same call again returns the same object.
    Token,
    /// The operation id is written on the object by the creating call itself.
    TagInCreate,
    /// The name is unique where the object lives.
    UniqueName,
    /// Creating what is there already is the same as updating it.
    NaturalUpsert,
}

/// How long each action on an object may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timeouts {
    /// For a creation, readiness included.
    pub create: Duration,
    /// For an update.
    pub update: Duration,
    /// For a deletion, draining included.
    pub delete: Duration,
}

/// A record that says nothing of its timeouts has these, so they stay what they are.
impl Default for Timeouts {
    fn default() -> Self {
        Self {
            create: Duration::from_secs(600),
            update: Duration::from_secs(600),
            delete: Duration::from_secs(600),
        }
    }
}

/// The types that a provider manages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProviderSchema {
    /// The provider's name.
    pub name: ProviderName,
    /// The name by which Terraform's tools know it, such as `registry.terraform.io/hashicorp/aws`, or gabion's own.
    pub source: String,
    /// Its resource types.
    pub resource_types: BTreeMap<ResourceType, ResourceSchema>,
}

impl ResourceSchema {
    /// Starts a schema of version 1 without attributes; builder methods add to it.
    pub fn new(resource_type: ResourceType, description: &str) -> Self {
        Self {
            resource_type,
            version: 1,
            description: description.to_owned(),
            attributes: BTreeMap::new(),
            replace_order: ReplaceOrder::default(),
            consistency_window: Duration::ZERO,
            idempotency: Idempotency::UniqueName,
            deleted_with: None,
            holds_data: false,
            timeouts: Timeouts::default(),
        }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, name: &str, attribute: AttributeSchema) -> Self {
        self.attributes.insert(name.into(), attribute);
        self
    }

    /// Returns the schema of the top-level attribute that a path leads into.
    pub fn attribute_at(&self, path: &AttributePath) -> Option<&AttributeSchema> {
        self.attributes.get(path.first_key()?)
    }
}

impl AttributeSchema {
    fn of(kind: AttributeKind, description: &str) -> Self {
        Self {
            kind,
            required: false,
            computed: false,
            configurable: true,
            sensitive: false,
            forces_replacement: false,
            equality: Equality::Exact,
            default: None,
            description: description.to_owned(),
        }
    }

    /// An attribute that the configuration must set.
    pub fn required(kind: AttributeKind, description: &str) -> Self {
        Self {
            required: true,
            ..Self::of(kind, description)
        }
    }

    /// An attribute that the configuration may set.
    pub fn optional(kind: AttributeKind, description: &str) -> Self {
        Self::of(kind, description)
    }

    /// An attribute that only the provider sets.
    pub fn computed(kind: AttributeKind, description: &str) -> Self {
        Self {
            computed: true,
            configurable: false,
            ..Self::of(kind, description)
        }
    }

    /// An attribute that the provider sets when the configuration does not.
    pub fn optional_computed(kind: AttributeKind, description: &str) -> Self {
        Self {
            computed: true,
            ..Self::of(kind, description)
        }
    }

    /// Makes a change of it replace the object.
    #[must_use]
    pub fn forces_replacement(mut self) -> Self {
        self.forces_replacement = true;
        self
    }

    /// Makes its value secret wherever it comes from.
    #[must_use]
    pub fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// Sets when two of its values count as the same.
    #[must_use]
    pub fn equality(mut self, equality: Equality) -> Self {
        self.equality = equality;
        self
    }

    /// Sets the value that stands for an absent one.
    #[must_use]
    pub fn default_value(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }
}
