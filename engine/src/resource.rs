//! What lowering produces and planning consumes: resources, as the configuration declares them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::address::ResourceAddress;
use crate::data::DataDocument;
use crate::diagnostic::Diagnostic;
use crate::file_name::FileName;
use crate::form::is_left_out;
use crate::intern::interned;
use crate::schema::{ReplaceOrder, Timeouts};
use crate::seldom::Seldom;
use crate::value::{AttributePath, Attributes, PathSegment, TemplateText};
use crate::words::plain;

/// A place in a configuration file, as people read it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// The file, relative to the project directory.
    pub file: FileName,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// How many characters it spans on that line; 0 when only the start is known.
    #[serde(default)]
    pub length: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", plain(&self.file), self.line, self.column)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The document of the configuration that a resource comes from. Copies share it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DocumentRef(Arc<DocumentParts>);

/// The document of the configuration that a resource comes from.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DocumentRef")]
pub struct DocumentParts {
    /// Its type: `service`, `gateway`, `resource`.
    #[serde(deserialize_with = "interned")]
    pub document_type: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Where it starts.
    pub place: Place,
}

impl DocumentRef {
    /// Names a document.
    pub fn new(document_type: Arc<str>, name: Arc<str>, place: Place) -> Self {
        Self(Arc::new(DocumentParts {
            document_type,
            name,
            place,
        }))
    }

    /// Takes a text that is the document's name for it, if nobody shares the document yet.
    pub(crate) fn share_name(&mut self, name: &Arc<str>) {
        if let Some(own) = Arc::get_mut(&mut self.0)
            && own.name == *name
        {
            own.name = name.clone();
        }
    }
}

impl JsonSchema for DocumentRef {
    fn schema_name() -> Cow<'static, str> {
        DocumentParts::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        DocumentParts::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        DocumentParts::json_schema(generator)
    }
}

impl fmt::Debug for DocumentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocumentRef")
            .field("document_type", &self.document_type)
            .field("name", &self.name)
            .field("place", &self.place)
            .finish()
    }
}

impl Deref for DocumentRef {
    type Target = DocumentParts;

    fn deref(&self) -> &DocumentParts {
        &self.0
    }
}

/// One resource that the configuration declares, its references not yet evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Its address.
    pub address: ResourceAddress,
    /// Its inputs. A leaf with a template is [`Value::Unknown`](crate::value::Value::Unknown) until planning evaluates
    /// it; one with only `env` or `secrets` references is a secret that holds its value already.
    pub inputs: Attributes,
    /// Where each input stands in the configuration, as deep as is known. The empty path is the resource itself.
    pub places: InputPlaces,
    /// Dependencies beyond those that references make, each with the place that declares it.
    pub depends_on: Vec<(ResourceAddress, Place)>,
    /// How it may be changed.
    pub lifecycle: Seldom<Lifecycle>,
    /// How long each action may take; `None` means as its schema says.
    pub timeouts: Seldom<TimeoutOverrides>,
    /// What must hold before and after it is applied.
    pub conditions: Vec<Condition>,
    /// What may be made in its place when there is no capacity for what its inputs say.
    pub alternatives: Seldom<Alternatives>,
    /// What must stand before it is updated in place, although it can be made without: what it is to lead to from then on.
    /// What they replace goes only once it is updated.
    pub update_after: Seldom<Vec<ResourceAddress>>,
    /// What only it has used, whether its record says so or not, once nothing declares that any more: objects at these
    /// addresses go once it is applied, and after what it used of the rest and goes too.
    pub frees: Seldom<Vec<ResourceAddress>>,
    /// The document that it comes from.
    pub document: DocumentRef,
}

/// A resource's part in a whole that has no use for a part alone: when one plan makes one of a group, replaces it, or changes
/// one of the attributes that count, it replaces all of the group that are there.
///
/// Nothing in the group has to depend on the others for that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Together {
    /// The group.
    pub group: Arc<str>,
    /// The attributes that count: what begins anew when they change.
    pub attributes: Vec<AttributePath>,
}

/// Other offers that meet the need of a resource, for when nobody has what its inputs say: the next is tried only once
/// the one before it is known to have made nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Alternatives {
    /// What the inputs themselves are, for people: `g5.xlarge on demand in eu-west-1a`.
    pub chosen: Arc<str>,
    /// The others, the best first.
    pub others: Vec<Alternative>,
}

/// Another offer.
#[derive(Debug, Clone, PartialEq)]
pub struct Alternative {
    /// What it is, for people.
    pub label: Arc<str>,
    /// The inputs that differ from the resource's own, wholly known and not secret; null takes one away.
    pub inputs: Attributes,
}

impl Resource {
    /// Returns the place of an input, or of the nearest enclosing one that has a place.
    pub fn place_of(&self, path: &AttributePath) -> &Place {
        self.places.nearest(path).unwrap_or(&self.document.place)
    }
}

/// Where values stand in the configuration, by their paths.
///
/// Copies share what they hold: a project has one of these for each resource, and few are changed.
#[derive(Clone, PartialEq, Default)]
pub struct InputPlaces(Option<Arc<[(AttributePath, Place)]>>);

impl InputPlaces {
    fn entries(&self) -> &[(AttributePath, Place)] {
        self.0.as_deref().unwrap_or_default()
    }

    fn find(&self, path: &[PathSegment]) -> Result<usize, usize> {
        let entries = self.entries();
        entries.binary_search_by(|(own, _)| (*own.0).cmp(path))
    }

    fn at(&self, path: &[PathSegment]) -> Option<&Place> {
        let at = self.find(path).ok()?;
        Some(&self.entries()[at].1)
    }

    /// Returns the place of a value, or of the nearest enclosing one that has a place.
    pub fn nearest(&self, path: &AttributePath) -> Option<&Place> {
        let mut segments = &*path.0;
        loop {
            if let Some(place) = self.at(segments) {
                return Some(place);
            }
            (_, segments) = segments.split_last()?;
        }
    }

    /// Returns the place of a value.
    pub fn get(&self, path: &AttributePath) -> Option<&Place> {
        self.at(&path.0)
    }

    /// Sets the place of a value, and returns the one that it had.
    pub fn insert(&mut self, path: AttributePath, place: Place) -> Option<Place> {
        let found = self.find(&path.0);
        let mut entries = self.entries().to_vec();
        let before = match found {
            Ok(at) => Some(std::mem::replace(&mut entries[at].1, place)),
            Err(at) => {
                entries.insert(at, (path, place));
                None
            }
        };
        self.0 = Some(entries.into());
        before
    }

    /// Takes one out.
    pub fn remove(&mut self, path: &AttributePath) -> Option<Place> {
        let at = self.find(&path.0).ok()?;
        let mut entries = self.entries().to_vec();
        let (_, place) = entries.remove(at);
        self.0 = Some(entries.into());
        Some(place)
    }

    /// Returns the paths and their places, in the order of the paths.
    pub fn iter(&self) -> impl Iterator<Item = (&AttributePath, &Place)> {
        self.entries().iter().map(|(path, place)| (path, place))
    }
}

impl fmt::Debug for InputPlaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl FromIterator<(AttributePath, Place)> for InputPlaces {
    /// Of several places of one path the last counts.
    fn from_iter<I: IntoIterator<Item = (AttributePath, Place)>>(entries: I) -> Self {
        let mut entries: Vec<(AttributePath, Place)> = entries.into_iter().collect();
        if entries.is_empty() {
            return Self(None);
        }
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            entries.reverse();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.dedup_by(|later, first| later.0 == first.0);
        }
        Self(Some(entries.into()))
    }
}

/// How a resource may be changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Lifecycle {
    /// Whether a plan that would delete the object is refused.
    #[serde(skip_serializing_if = "is_left_out")]
    pub prevent_destroy: bool,
    /// The order of replacements; `None` means as the schema says.
    #[serde(skip_serializing_if = "is_left_out")]
    pub replace_order: Option<ReplaceOrder>,
    /// Attributes whose differences are not acted on.
    #[serde(skip_serializing_if = "is_left_out")]
    pub ignore_changes: Vec<AttributePath>,
    /// Resources, or attributes of resources, whose change replaces this one.
    #[serde(skip_serializing_if = "is_left_out")]
    pub replace_triggered_by: Vec<TemplateText>,
    /// With which others it is replaced in turn, a few at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roll: Option<Roll>,
    /// With which others it stands and falls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub together: Option<Together>,
}

/// A resource's part in a rolling change: of the members of a group that one plan replaces, a few go at a time, and the
/// next ones wait until those before them are done, old objects gone. When one fails, those after it stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Roll {
    /// The group.
    pub group: Arc<str>,
    /// The member of the group that it belongs to: all resources of a member go in the same turn. `None`: it is a member
    /// of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Arc<str>>,
    /// How many members may have their new object beside the old one at a time; at least 1 where objects are made before
    /// the old ones go.
    pub max_surge: u32,
    /// How many members may be without an object at a time, where the old one must go before the new one is made; 0
    /// counts as 1 there.
    pub max_unavailable: u32,
}

/// How long each action may take, where the configuration says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeoutOverrides {
    /// For a creation, readiness included.
    pub create: Option<Duration>,
    /// For an update.
    pub update: Option<Duration>,
    /// For a deletion, draining included.
    pub delete: Option<Duration>,
}

impl TimeoutOverrides {
    /// Returns the schema's timeouts with these in their place.
    pub fn over(self, schema: Timeouts) -> Timeouts {
        Timeouts {
            create: self.create.unwrap_or(schema.create),
            update: self.update.unwrap_or(schema.update),
            delete: self.delete.unwrap_or(schema.delete),
        }
    }
}

/// Something that must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// When it is checked.
    pub when: ConditionTime,
    /// What must hold: a comparison of templates, as written.
    pub condition: TemplateText,
    /// What to say when it does not.
    pub message: String,
    /// Where it stands.
    pub place: Place,
}

/// When a condition is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionTime {
    /// Before the resource is changed; at plan when everything in it is known by then.
    Before,
    /// After the resource was changed, and before its dependants are.
    After,
}

/// What documents beyond resources ask of a plan.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Directives {
    /// Renames, in the order of the files.
    pub moved: Vec<Moved>,
    /// Objects to stop managing.
    pub removed: Vec<Removed>,
    /// Objects to start managing.
    pub imports: Vec<Import>,
}

/// A rename: the object at `from` is now the one at `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The old address.
    pub from: ResourceAddress,
    /// The new address.
    pub to: ResourceAddress,
    /// Where it says so.
    pub place: Place,
}

/// An object that leaves the configuration on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Its address.
    pub from: ResourceAddress,
    /// Whether it is deleted; otherwise it is forgotten and goes on existing.
    pub destroy: bool,
    /// Where it says so.
    pub place: Place,
}

/// An existing object that is to be managed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The address that it gets.
    pub to: ResourceAddress,
    /// Its id, as the provider's `import` reads it.
    pub id: Arc<str>,
    /// Where it says so.
    pub place: Place,
}

/// A project's configuration, loaded, checked and lowered: what planning starts from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Configuration {
    /// The project's name.
    pub project: Arc<str>,
    /// The SHA-256 of the configuration's files, in hexadecimal.
    pub digest: Arc<str>,
    /// Every resource, sorted by address; addresses are unique.
    pub resources: Vec<Resource>,
    /// What is read and not managed, sorted by address; addresses are unique.
    pub data: Vec<DataDocument>,
    /// What documents beyond resources ask for.
    pub directives: Directives,
    /// The project's outputs: values whose unknown and secret leaves carry templates.
    pub outputs: Attributes,
    /// Where each output stands, as deep as is known.
    pub output_places: InputPlaces,
    /// Addresses that people use once all is applied, such as a service's URL, by name.
    pub endpoints: Attributes,
    /// What people should know that is no problem, each with its place.
    pub notes: Vec<(Arc<str>, Option<Place>)>,
    /// Why nothing meets the need of a resource, by its address: such a resource cannot be planned. A plan that leaves it
    /// out is none the worse.
    pub unmet: BTreeMap<ResourceAddress, Diagnostic>,
}
