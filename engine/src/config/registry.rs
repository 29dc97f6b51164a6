//! Document families: what gives documents a meaning.
//!
//! The engine knows no document type but its own generic ones. A family declares the types that it understands and
//! lowers all documents of these types in one call, so that a service can see its gateway and each sees the others'
//! names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::decode::Spanned;
use super::document::Document;
use super::node::Node;
use super::root::Root;
use super::settings::Settings;
use crate::address::ResourceAddress;
use crate::data::DataDocument;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::resource::{Directives, Place, Resource};
use crate::state::record::Status;
use crate::state::snapshot::State;
use crate::value::{Attributes, Value};

/// A document type that a family understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentType {
    /// The word after `type:`.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub summary: &'static str,
    /// How its documents are named.
    pub naming: Naming,
}

/// How the documents of a type are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// Each has a name that no other of the type has.
    Unique,
    /// As `Unique`, and one without a name has its file's, with a warning.
    FromFile,
    /// Each has a name; the family says which may be equal.
    Shared,
    /// They may have no name, or none at all: the family says.
    Free,
}

/// A set of document types and their meaning.
pub trait DocumentFamily: Send + Sync {
    /// Returns the types that this family understands.
    fn types(&self) -> &[DocumentType];

    /// Turns all documents of these types into resources. Called once for a project, also when there are none.
    ///
    /// The documents are sorted by file and place, have their names checked as [`Naming`] says, and are not otherwise
    /// validated. The result must be a function of the arguments. A document with an error gives what can be made of
    /// it, or nothing; nothing is planned then, but the rest is still checked in the same run. Addresses, references
    /// and directives are checked by the caller, over all families.
    fn lower(&self, documents: &[&Document], context: &LowerContext<'_>) -> (Lowered, Diagnostics);

    /// Returns what has to be found out about the world before these documents can be lowered, and is not recorded.
    ///
    /// Called as `lower` is. What is found is given to lowering by [`RecordedView::surveyed`].
    fn surveys(&self, documents: &[&Document], context: &LowerContext<'_>) -> Vec<Survey> {
        let _ = (documents, context);
        Vec::new()
    }

    /// Writes a document as it is understood, with every default in it.
    ///
    /// `None` when it has no such form. Problems of the document are those that lowering reports.
    fn resolve(&self, document: &Document, context: &LowerContext<'_>) -> Option<ResolvedDocument> {
        let _ = (document, context);
        None
    }

    /// Returns the JSON Schema of one of its types, for editors.
    fn json_schema(&self, document_type: &str) -> Option<serde_json::Value> {
        let _ = document_type;
        None
    }
}

/// A document as it is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedDocument {
    /// The document with every default in it, as YAML that reads as the same document.
    pub yaml: String,
    /// What is worth knowing about it: sentences.
    pub notes: Vec<String>,
}

/// Why documents are lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To see whether they are well formed: what this build or this machine lacks is no problem.
    Validate,
    /// To plan.
    Plan,
}

/// What a family may look at beside its documents.
#[derive(Clone, Copy)]
pub struct LowerContext<'a> {
    /// Why it is done.
    pub purpose: Purpose,
    /// The project's directory, absolute; empty when the project is in no directory.
    pub directory: &'a Path,
    /// What no path of a document may lead out of, when whoever wrote it is not trusted.
    pub root: Option<&'a Root>,
    /// The project's settings.
    pub settings: &'a Settings,
    /// What the file with profiles holds, if there is one.
    pub profiles: Option<&'a Node>,
    /// The profile that was asked for by name.
    pub profile: Option<&'a Spanned<String>>,
    /// What is recorded.
    pub recorded: &'a dyn RecordedView,
    /// Whether documents are missing because they could not be read: what another one names may be among them.
    pub incomplete: bool,
    /// The environment of whoever runs gabion: a variable's value, if it is set. Values are secrets.
    pub environment: &'a (dyn Fn(&str) -> Option<String> + Sync),
}

/// What lowering needs to know of the state: which addresses are recorded, and how far each is.
///
/// A replica keeps its slot because its address is recorded, and its machine because its inputs are.
pub trait RecordedView: Sync {
    /// Returns the current objects of a resource type whose names start with `prefix`, by address.
    fn under(&self, resource_type: &str, prefix: &str) -> Vec<(ResourceAddress, Status)>;

    /// Returns the recorded inputs and attributes of a current object.
    fn attributes(&self, address: &ResourceAddress) -> Option<Attributes> {
        let _ = address;
        None
    }

    /// Returns a recorded input or attribute of a current object, if there is one.
    ///
    /// It is for choices that were made once and stand from then on, such as how many replicas there are.
    fn attribute(&self, address: &ResourceAddress, name: &str) -> Option<Value> {
        self.attributes(address)?.remove(name)
    }

    /// Returns whether a person asked for the choices that were made for a resource to be made anew. Otherwise what is
    /// recorded stands for as long as it still meets the need.
    fn is_upgraded(&self, address: &ResourceAddress) -> bool {
        let _ = address;
        false
    }

    /// Returns what a [`Survey`] found; `None` when none was made.
    fn surveyed(&self, address: &ResourceAddress) -> Option<&SurveyResult> {
        let _ = address;
        None
    }
}

/// Something that is there already and has to be looked at before documents can be lowered: a machine that a replica
/// may be placed on.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// The object that it will be.
    pub address: ResourceAddress,
    /// The inputs that it will have.
    pub inputs: Attributes,
}

/// What a survey found: attributes, or why nothing.
pub type SurveyResult = Result<Attributes, SurveyFailure>;

/// Why a survey found nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurveyFailure {
    /// Why, in a full sentence.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// A state without objects.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingRecorded;

impl RecordedView for NothingRecorded {
    fn under(&self, _: &str, _: &str) -> Vec<(ResourceAddress, Status)> {
        Vec::new()
    }
}

impl RecordedView for State {
    fn under(&self, resource_type: &str, prefix: &str) -> Vec<(ResourceAddress, Status)> {
        self.current_records()
            .filter(|record| record.address.resource_type.as_str() == resource_type)
            .filter(|record| record.address.name.as_str().starts_with(prefix))
            .map(|record| (record.address.clone(), record.status))
            .collect()
    }

    fn attributes(&self, address: &ResourceAddress) -> Option<Attributes> {
        let record = self.current(address)?;
        let mut attributes = record.inputs.clone();
        attributes.extend(
            record
                .attributes
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        Some(attributes)
    }
}

/// What a family makes of its documents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lowered {
    /// Resources, in any order.
    pub resources: Vec<Resource>,
    /// What is read and not managed.
    pub data: Vec<DataDocument>,
    /// Moves, removals and imports.
    pub directives: Directives,
    /// Addresses that people use once all is applied, by name.
    pub endpoints: Attributes,
    /// What people should know that is no problem.
    pub notes: Vec<(Arc<str>, Option<Place>)>,
    /// Resources whose need nothing meets, with the error: there is no plan with them, and there is one that leaves them
    /// and what depends on them out. Their inputs may be unknown where the choice would stand.
    pub unmet: BTreeMap<ResourceAddress, Diagnostic>,
}

/// The families of a build.
#[derive(Default)]
pub struct DocumentRegistry {
    families: Vec<Box<dyn DocumentFamily>>,
}

impl DocumentRegistry {
    /// Makes a registry with the engine's own types: `resource`, `data`, `moved`, `removed` and `import`.
    pub fn new() -> Self {
        Self {
            families: vec![Box::new(super::generic::GenericDocuments)],
        }
    }

    /// Adds a family. Of two families with the same type the first added gets its documents.
    #[must_use]
    pub fn with(mut self, family: impl DocumentFamily + 'static) -> Self {
        self.families.push(Box::new(family));
        self
    }

    /// Returns the families, the engine's own first.
    pub fn families(&self) -> impl Iterator<Item = &dyn DocumentFamily> {
        self.families.iter().map(AsRef::as_ref)
    }

    /// Returns every document type, sorted by name.
    pub fn types(&self) -> Vec<DocumentType> {
        let mut types: BTreeMap<&str, DocumentType> = BTreeMap::new();
        for family in &self.families {
            for found in family.types() {
                types.entry(found.name).or_insert(*found);
            }
        }
        types.into_values().collect()
    }

    /// Returns the position of the family that understands a type, with the type.
    pub(super) fn family_of(&self, name: &str) -> Option<(usize, DocumentType)> {
        self.families.iter().enumerate().find_map(|(index, family)| {
            family
                .types()
                .iter()
                .find(|known| known.name == name)
                .map(|known| (index, *known))
        })
    }
}
