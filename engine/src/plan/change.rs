//! What a plan says about each object: the action, why, and attribute by attribute what changes.
//!
//! Reasons and causes explain; they never steer apply, which follows the plan's [steps](super::step::Step).

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::{ObjectId, ProviderName, ResourceAddress, Uid};
use crate::provider::ObjectState;
use crate::resource::{Condition, DocumentRef, Place};
use crate::schema::ReplaceOrder;
use crate::seldom::Seldom;
use crate::state::record::Declaration;
use crate::value::{AttributePath, Attributes, Value};

/// What is to happen to one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The resource's address.
    pub address: ResourceAddress,
    /// The object that exists; `None` for a creation.
    pub uid: Option<Uid>,
    /// The provider that manages it.
    pub provider: ProviderName,
    /// Whether this is about an object whose address another one has taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deposed: bool,
    /// What is done.
    pub action: Action,
    /// Why, the first being the one to show.
    pub reasons: Vec<Reason>,
    /// The address that it had, when a `moved` document renames it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_address: Option<ResourceAddress>,
    /// The id under which it is imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importing: Option<ObjectId>,
    /// The object that is imported, as it was read, sealed: what apply writes its record from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Box<ObjectState>>,
    /// What differs, sorted by path.
    pub attributes: Vec<AttributeChange>,
    /// The object as it is: read, or else recorded.
    pub before: Option<Attributes>,
    /// The object as it shall be; unknown where only apply can know.
    pub after: Option<Attributes>,
    /// The inputs, evaluated as far as they are known; their unknown and secret leaves carry templates that apply
    /// evaluates. `None` when the object goes.
    pub inputs: Option<Attributes>,
    /// What the configuration says about it; `None` when the object goes, or is left as it is and the record says the
    /// same already. An object that is otherwise left as it is gets it recorded without a call.
    pub declaration: Option<Arc<Declaration>>,
    /// What is made in its place when there is no capacity for it, in this order; only of what is made anew.
    #[serde(default, skip_serializing_if = "has_no_alternatives")]
    pub alternatives: Seldom<PlannedAlternatives>,
    /// What apply must check before and after.
    #[serde(default, skip_serializing_if = "Seldom::is_usual")]
    pub conditions: Seldom<Vec<Condition>>,
    /// The document that declared it when it was last applied; only of an object that goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentRef>,
    /// Whether the object was protected against being destroyed, and the configuration protects it no longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unprotects: bool,
    /// The object whose deletion deletes this one without a call of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_with: Option<Uid>,
    /// What else people should read with it.
    #[serde(default, skip_serializing_if = "Seldom::is_usual")]
    pub notes: Seldom<Vec<String>>,
}

/// The offers that apply may go through when it makes an object. Everything that is judged of the change is judged of
/// each of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PlannedAlternatives {
    /// What the change itself makes, for people.
    pub chosen: Arc<str>,
    /// The others.
    pub others: Vec<PlannedAlternative>,
}

/// An object that may be made in place of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedAlternative {
    /// What it is, for people.
    pub label: Arc<str>,
    /// All its inputs, as those of the change.
    pub inputs: Attributes,
    /// The object as it shall be; unknown where only apply can know.
    pub after: Attributes,
}

fn has_no_alternatives(alternatives: &Seldom<PlannedAlternatives>) -> bool {
    alternatives.is_empty()
}

impl PlannedAlternatives {
    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.others.is_empty()
    }

    /// Returns what an offer is, for people: 0 is the change's own.
    #[must_use]
    pub fn label(&self, offer: usize) -> &str {
        match offer.checked_sub(1) {
            None => &self.chosen,
            Some(other) => self.others.get(other).map_or("", |other| &other.label),
        }
    }
}

impl Change {
    /// Returns the inputs of an offer and the object as it shall be; 0 is the change's own.
    #[must_use]
    pub fn offer(&self, offer: usize) -> Option<(&Attributes, Option<&Attributes>)> {
        match offer.checked_sub(1) {
            None => Some((self.inputs.as_ref()?, self.after.as_ref())),
            Some(other) => {
                let other = self.alternatives.others.get(other)?;
                Some((&other.inputs, Some(&other.after)))
            }
        }
    }

    /// Returns the offer that an object was made by, as its inputs tell; 0 when they fit none.
    ///
    /// What differs between offers is known in each of them and never secret.
    #[must_use]
    pub fn offer_of(&self, made_with: &Attributes) -> usize {
        let Some(own) = &self.inputs else { return 0 };
        let others = || self.alternatives.others.iter().map(|other| &other.inputs);
        let varies = |name: &&Arc<str>| others().any(|other| other.get(*name) != own.get(*name));
        let names: Vec<&Arc<str>> = own.keys().chain(others().flat_map(Attributes::keys)).collect();
        let varying: Vec<&Arc<str>> = names.into_iter().filter(varies).collect();
        let fits = |inputs: &Attributes| {
            varying
                .iter()
                .all(|name| inputs.get(*name) == made_with.get(*name))
        };
        std::iter::once(own)
            .chain(others())
            .position(fits)
            .unwrap_or_default()
    }
}

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing. It may still be moved or imported.
    NoOp,
    /// It is made.
    Create,
    /// It is changed in place.
    Update,
    /// Another object takes its place.
    Replace(ReplaceOrder),
    /// It is deleted.
    Delete,
    /// It is no longer managed, and goes on existing.
    Forget,
}

/// Why an action is planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The configuration declares it and no record has it.
    New,
    /// It was recorded and the world no longer has it.
    Vanished,
    /// The configuration asks for other values than the object has.
    Changed,
    /// The world was changed behind our back and the configuration still asks for the recorded values.
    Drifted,
    /// These attributes cannot be changed in place.
    CannotChangeInPlace(Vec<AttributePath>),
    /// A person marked it for replacement.
    Tainted,
    /// Its creation had been given up as absent, and it turned up after that.
    TurnedUp,
    /// An earlier run did not finish it.
    Incomplete,
    /// The configuration no longer declares it. The place is where a `removed` document says so.
    Undeclared(Option<Place>),
    /// The document that declared it is still there and asks for fewer of its kind, or does without it.
    Surplus(DocumentRef),
    /// The person asked for its replacement.
    Requested,
    /// Something that its lifecycle names changed.
    TriggeredBy(ResourceAddress),
    /// It makes way for a replacement of what it depends on.
    DependencyReplaced(ResourceAddress),
    /// Everything is to be destroyed.
    Destroy,
    /// Another object has taken its address.
    Deposed,
    /// It is imported.
    Imported,
    /// It is deleted together with the object that holds it.
    DeletedWith(ResourceAddress),
}

/// A difference in one attribute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttributeChange {
    /// Which.
    pub path: AttributePath,
    /// What it is; `None` when it is absent. Large plans are mostly of objects that are made, and then it takes no room.
    pub before: Option<Box<Value>>,
    /// What it shall be; `None` when it shall be absent.
    pub after: Option<Value>,
    /// Whether it forces the replacement.
    pub forces_replacement: bool,
    /// Whether the schema says that it is secret.
    pub sensitive: bool,
    /// Where the difference comes from.
    pub cause: Cause,
}

/// Where a difference comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The configuration says something new, at this place.
    Configuration(Option<Place>),
    /// An attribute of another resource changes, and this one refers to it. Few attributes have such a cause, so it takes
    /// no room in all the others.
    Reference(Box<CausingReference>),
    /// The world was changed behind our back.
    Drift,
    /// The provider computes it.
    Computed,
}

/// A reference through which a change passes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CausingReference {
    /// The other resource.
    pub address: ResourceAddress,
    /// Its attribute.
    pub path: AttributePath,
    /// Where the reference stands.
    pub place: Option<Place>,
}

/// A difference between what was recorded and what is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// The object's address.
    pub address: ResourceAddress,
    /// The object.
    pub uid: Uid,
    /// Its provider.
    pub provider: ProviderName,
    /// When what it is compared with was recorded; `None` when an earlier version recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_at: Option<Timestamp>,
    /// Where the document is that declares it, or did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What is different.
    pub kind: DriftKind,
}

/// What is different between record and world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// The object is gone.
    Vanished,
    /// Attributes differ.
    Changed(Vec<AttributeDrift>),
    /// It could not be read.
    CannotTell {
        /// Why, as a sentence for people.
        reason: String,
    },
}

/// A difference in one attribute between record, world and configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttributeDrift {
    /// Which.
    pub path: AttributePath,
    /// What was recorded; `None` when it was absent.
    pub recorded: Option<Value>,
    /// What is there; `None` when it is absent.
    pub actual: Option<Value>,
    /// What the configuration asks for; `None` when it does not say.
    pub desired: Option<Value>,
    /// What becomes of it.
    pub verdict: DriftVerdict,
    /// Whether the schema says that it is secret.
    pub sensitive: bool,
}

/// What becomes of a difference between record and world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftVerdict {
    /// The next apply puts back what the configuration asks for.
    Reverted,
    /// The configuration asks for what is there, or does not care: the record follows.
    Accepted,
    /// The lifecycle says to ignore it.
    Ignored,
    /// It cannot be compared.
    CannotTell,
}

/// How many objects each kind of change concerns; every object is counted once under its action, and moves and imports
/// apart from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Made.
    pub create: usize,
    /// Changed in place.
    pub update: usize,
    /// Replaced.
    pub replace: usize,
    /// Deleted; deposed objects that an earlier run left are counted here.
    pub destroy: usize,
    /// No longer managed.
    pub forget: usize,
    /// Renamed.
    pub moved: usize,
    /// Brought under management.
    pub import: usize,
}

/// A note on a plan as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Note {
    /// What people should know, in a full sentence.
    pub message: Arc<str>,
    /// Where it comes from.
    pub place: Option<Place>,
}
