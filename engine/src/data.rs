//! What a project reads and does not manage: documents with `type: data`.
//!
//! Lowering makes a [`DataDocument`] of each. Before planning they are read ([`crate::gather::data`]), and what was found
//! is put in place of the references to it ([`bind`]). So planning, a saved plan and applying it know values alone: what was
//! reviewed is what is applied, and nothing is read again. A configuration that nobody read for, as that of `validate`, has
//! these references still, and their values are unknown.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::address::{ProviderName, ResourceAddress};
use crate::config::{ConditionExpression, Reference, Target, Template};
use crate::diagnostic::{Diagnostic, Diagnostics, suggestion};
use crate::plan::problem::Places;
use crate::plan::validate::{Subject, against_schema};
use crate::provider::ProviderRegistry;
use crate::resource::{Configuration, InputPlaces, Place};
use crate::seal::Sealer;
use crate::value::{AttributePath, Attributes, PathSegment, TemplateText, Unknown, Value};

/// A document that reads something.
#[derive(Debug, Clone, PartialEq)]
pub struct DataDocument {
    /// Its kind and its name; expressions have `data.` in front.
    pub address: ResourceAddress,
    /// Its arguments; a leaf with a template is unknown until what it refers to was read.
    pub inputs: Attributes,
    /// Where each argument stands, as deep as is known.
    pub places: InputPlaces,
    /// Where the document stands.
    pub place: Place,
    /// What was found; `None` when nothing was read.
    pub found: Option<Attributes>,
}

/// What was read for a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataRead {
    /// Its kind and its name.
    pub address: ResourceAddress,
    /// The provider that read it.
    pub provider: ProviderName,
    /// The arguments.
    pub inputs: Attributes,
    /// What was found.
    pub attributes: Attributes,
    /// Where the document stands.
    pub place: Place,
}

/// Which document of a call of [`Provider::read_data`](crate::provider::Provider::read_data).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataQuery {
    /// Its address, for messages.
    pub address: ResourceAddress,
    /// Its arguments, wholly known.
    pub arguments: Attributes,
}

impl DataDocument {
    /// Returns the place of an argument, or of the nearest enclosing one that has a place.
    pub fn place_of(&self, path: &AttributePath) -> &Place {
        self.places.nearest(path).unwrap_or(&self.place)
    }

    /// Returns whether its arguments are known, so that it can be read.
    pub fn is_ready(&self) -> bool {
        self.inputs.values().all(Value::is_wholly_known)
    }
}

/// Checks data documents and the references to them against what providers declare. Pure; every problem is reported.
pub fn check(
    configuration: &Configuration,
    providers: &ProviderRegistry,
    places: &Places<'_>,
) -> Diagnostics {
    let mut problems = Diagnostics::new();
    if configuration.data.is_empty() {
        return problems;
    }
    for document in &configuration.data {
        check_document(document, providers, places, &mut problems);
    }
    let mut told = BTreeSet::new();
    each_reference(configuration, &mut |reference, user, place| {
        let Target::Data(address) = &reference.target else {
            return;
        };
        let Some(schema) = providers.data_schema(&address.resource_type) else {
            return;
        };
        let first = reference.path.first_key();
        if first.is_some_and(|name| schema.attributes.contains_key(name))
            || !told.insert((reference.to_string(), place.cloned()))
        {
            return;
        }
        let names = || schema.attributes.keys().map(AsRef::as_ref);
        let all = || {
            let all: Vec<&str> = names().collect();
            format!("it has: {}", all.join(", "))
        };
        let (detail, near) = match first {
            Some(name) => (
                format!("{user} uses `{reference}`, and `data.{address}` has no attribute `{name}`."),
                suggestion(name, names()),
            ),
            None => (
                format!("{user} uses `{reference}`, which names no attribute."),
                None,
            ),
        };
        problems.push(
            Diagnostic::error("unknown-attribute", "unknown attribute")
                .detail(detail)
                .at(place.map(|place| places.span(place).below(&reference.to_string())))
                .hint(near.unwrap_or_else(all)),
        );
    });
    problems
}

fn check_document(
    document: &DataDocument,
    providers: &ProviderRegistry,
    places: &Places<'_>,
    problems: &mut Diagnostics,
) {
    let kind = &document.address.resource_type;
    let Some(schema) = providers.data_schema(kind) else {
        let kinds = providers.data_kinds();
        let hint = suggestion(kind.as_str(), kinds.iter().map(|kind| kind.as_str())).unwrap_or_else(|| {
            let all: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
            format!("there are: {}", all.join(", "))
        });
        problems.push(
            Diagnostic::error("unknown-kind", "unknown kind of data")
                .detail(format!("No provider in this build reads `{kind}`."))
                .at(places.span(document.place_of(&AttributePath::default())))
                .hint(hint),
        );
        return;
    };
    let name = format!("data.{}", document.address);
    let subject = Subject {
        name: &name,
        place_of: &|path| document.place_of(path),
    };
    problems.extend(against_schema(&subject, &document.inputs, schema, places));
    let mut later = |reference: &Reference, path: &AttributePath| {
        let Target::Resource(address) = &reference.target else {
            return;
        };
        problems.push(
            Diagnostic::error("data-after-apply", "data that cannot be read before apply")
                .detail(format!(
                    "`{name}` looks for what `{reference}` is, and `{address}` is managed by this project: what it is may be \
                     known only once it is applied, and data is read before planning."
                ))
                .at(places.span(document.place_of(path)).below(&reference.to_string()))
                .hint(format!(
                    "refer to `{address}` where `{name}` is used, or look for it by something that is known: a name, a tag, a variable"
                )),
        );
    };
    for (name, value) in &document.inputs {
        each_template(value, &AttributePath::root(name), &mut |template, path| {
            if let Ok(template) = template.as_str().parse::<Template>() {
                template.references().for_each(|reference| later(reference, path));
            }
        });
    }
}

/// Returns what was read, as a plan keeps it: secrets sealed.
pub(crate) fn reads(configuration: &Configuration, providers: &ProviderRegistry) -> Vec<DataRead> {
    let sealer = Sealer::new(None);
    let documents = configuration.data.iter();
    let read = documents.filter_map(|document| {
        let provider = providers.data_provider(&document.address.resource_type)?;
        Some(DataRead {
            address: document.address.clone(),
            provider: provider.schema().name.clone(),
            inputs: sealer.attributes(&document.inputs),
            attributes: sealer.attributes(document.found.as_ref()?),
            place: document.place.clone(),
        })
    });
    read.collect()
}

/// Puts what was found into the arguments of the documents that are not read yet.
///
/// # Errors
/// What a reference asks for is not in what was found.
pub(crate) fn bind_documents(documents: &mut [DataDocument], places: &Places<'_>) -> Result<(), Diagnostics> {
    let found = Found::of(documents);
    let mut binder = Binder {
        found: &found,
        problems: Diagnostics::new(),
        places,
    };
    for document in documents.iter_mut().filter(|document| document.found.is_none()) {
        let user = format!("`data.{}`", document.address);
        let mut inputs = std::mem::take(&mut document.inputs);
        binder.attributes(&mut inputs, &user, &|path| Some(document.place_of(path)));
        document.inputs = inputs;
    }
    match binder.problems.is_empty() {
        true => Ok(()),
        false => Err(binder.problems),
    }
}

/// Puts what was found in place of every reference to it.
///
/// # Errors
/// What a reference asks for is not in what was found.
pub fn bind(configuration: &mut Configuration, places: &Places<'_>) -> Result<(), Diagnostics> {
    if configuration.data.is_empty() {
        return Ok(());
    }
    let found = Found::of(&configuration.data);
    let mut binder = Binder {
        found: &found,
        problems: Diagnostics::new(),
        places,
    };
    for resource in &mut configuration.resources {
        let user = format!("`{}`", resource.address);
        let mut inputs = std::mem::take(&mut resource.inputs);
        binder.attributes(&mut inputs, &user, &|path| Some(resource.place_of(path)));
        resource.inputs = inputs;
        for condition in &mut resource.conditions {
            binder.condition(&mut condition.condition, &user, &condition.place);
        }
    }
    let places = &configuration.output_places;
    for (name, output) in &mut configuration.outputs {
        let user = output_name(name);
        *output = binder.value(output, &AttributePath::root(name), &user, &|path| {
            places.nearest(path)
        });
    }
    for (name, endpoint) in &mut configuration.endpoints {
        let user = endpoint_name(name);
        *endpoint = binder.value(endpoint, &AttributePath::root(name), &user, &|_| None);
    }
    match binder.problems.is_empty() {
        true => Ok(()),
        false => Err(binder.problems),
    }
}

/// What was found, by address.
struct Found(BTreeMap<ResourceAddress, Attributes>);

impl Found {
    fn of(documents: &[DataDocument]) -> Self {
        let found = documents.iter();
        Self(
            found
                .filter_map(|document| Some((document.address.clone(), document.found.clone()?)))
                .collect(),
        )
    }
}

struct Binder<'a> {
    found: &'a Found,
    problems: Diagnostics,
    places: &'a Places<'a>,
}

impl Binder<'_> {
    fn attributes<'p>(
        &mut self,
        attributes: &mut Attributes,
        user: &str,
        place_of: &dyn Fn(&AttributePath) -> Option<&'p Place>,
    ) {
        let uses_data = |value: &Value| {
            let mut uses = false;
            each_template(value, &AttributePath::default(), &mut |template, _| {
                uses |= template.as_str().contains("data.");
            });
            uses
        };
        // What refers to nothing that was read stays as it is, shared with whoever else has it.
        if !attributes.values().any(uses_data) {
            return;
        }
        let bound = attributes.iter().map(|(name, value)| {
            let path = AttributePath::root(name);
            (name.clone(), self.value(value, &path, user, place_of))
        });
        *attributes = bound.collect();
    }

    fn value<'p>(
        &mut self,
        value: &Value,
        path: &AttributePath,
        user: &str,
        place_of: &dyn Fn(&AttributePath) -> Option<&'p Place>,
    ) -> Value {
        match value {
            Value::List(items) => {
                let items = items.iter().enumerate();
                Value::List(
                    items
                        .map(|(index, item)| self.value(item, &path.index(index), user, place_of))
                        .collect(),
                )
            }
            Value::Map(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(key, item)| (key.clone(), self.value(item, &path.key(key), user, place_of)))
                    .collect(),
            ),
            Value::Unknown(Unknown {
                template: Some(template),
            }) => match template.as_str().parse::<Template>() {
                Ok(parsed) => self.template(&parsed, user, place_of(path)),
                Err(_) => value.clone(),
            },
            other => other.clone(),
        }
    }

    fn template(&mut self, template: &Template, user: &str, place: Option<&Place>) -> Value {
        for reference in template.references() {
            self.reports_missing(reference, user, place);
        }
        template
            .filled(&|reference| self.find(reference)?)
            .unwrap_or_else(|error| {
                self.report(error.reference(), format!("{user}: {error}."), place);
                template.to_value()
            })
    }

    /// Conditions are texts: what was found stands in them as a value of their own grammar.
    fn condition(&mut self, condition: &mut TemplateText, user: &str, place: &Place) {
        let text = condition.as_str();
        let Ok(parsed) = text.parse::<ConditionExpression>() else {
            return;
        };
        for (reference, _) in parsed.references() {
            self.reports_missing(&reference, user, Some(place));
        }
        match parsed.filled(&|reference| self.find(reference)?) {
            Ok(None) => {}
            Ok(Some(changed)) => *condition = TemplateText::new(changed),
            Err((reference, why)) => {
                let why = format!("A condition of {user} uses `{reference}`, which {why}.");
                self.report(&reference, why, Some(place));
            }
        }
    }

    /// What a reference stands for: nothing when it is about something else or was not read, `Some(None)` when what was read
    /// has nothing there.
    fn find(&self, reference: &Reference) -> Option<Option<Value>> {
        let Target::Data(address) = &reference.target else {
            return None;
        };
        let attributes = self.found.0.get(address)?;
        Some(at(attributes, &reference.path))
    }

    fn reports_missing(&mut self, reference: &Reference, user: &str, place: Option<&Place>) {
        if let Some(None) = self.find(reference) {
            let why = format!("{user} uses `{reference}`, and nothing was found there.");
            self.report(reference, why, place);
        }
    }

    fn report(&mut self, reference: &Reference, why: String, place: Option<&Place>) {
        self.problems.push(
            Diagnostic::error("no-value", "reference without a value")
                .detail(why)
                .at(place.map(|place| self.places.span(place).below(&reference.to_string())))
                .hint("`gabion plan --format json` shows what was read; refer to an attribute, or an entry, that is there"),
        );
    }
}

/// Returns what a path leads to. An attribute that is not set is null; an entry that is not there is nothing.
fn at(attributes: &Attributes, path: &AttributePath) -> Option<Value> {
    let (first, rest) = path.0.split_first()?;
    let PathSegment::Key(name) = first else {
        return None;
    };
    match attributes.get(name) {
        Some(value) => value.at(&AttributePath(rest.into())).cloned(),
        None => rest.is_empty().then_some(Value::Null),
    }
}

/// Calls `look` with each template of a value.
fn each_template(value: &Value, path: &AttributePath, look: &mut dyn FnMut(&TemplateText, &AttributePath)) {
    match value {
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                each_template(item, &path.index(index), look);
            }
        }
        Value::Map(entries) => {
            for (key, item) in entries {
                each_template(item, &path.key(key), look);
            }
        }
        Value::Unknown(Unknown {
            template: Some(template),
        }) => look(template, path),
        _ => {}
    }
}

fn output_name(name: &str) -> String {
    format!("The output `{name}`")
}

/// An endpoint is made from documents and stands in none: its name says which it is.
fn endpoint_name(name: &str) -> String {
    format!("The endpoint `{name}`")
}

/// Calls `look` with each reference of a configuration, who uses it, and where.
fn each_reference(configuration: &Configuration, look: &mut dyn FnMut(&Reference, &str, Option<&Place>)) {
    let mut in_value =
        |name: &str, value: &Value, user: &str, place_of: &dyn Fn(&AttributePath) -> Option<Place>| {
            each_template(value, &AttributePath::root(name), &mut |template, path| {
                if let Ok(template) = template.as_str().parse::<Template>() {
                    let place = place_of(path);
                    for reference in template.references() {
                        look(reference, user, place.as_ref());
                    }
                }
            });
        };
    for document in &configuration.data {
        let user = format!("`data.{}`", document.address);
        for (name, value) in &document.inputs {
            in_value(name, value, &user, &|path| Some(document.place_of(path).clone()));
        }
    }
    for resource in &configuration.resources {
        let user = format!("`{}`", resource.address);
        for (name, value) in &resource.inputs {
            in_value(name, value, &user, &|path| Some(resource.place_of(path).clone()));
        }
    }
    for (name, value) in &configuration.outputs {
        in_value(name, value, &output_name(name), &|path| {
            configuration.output_places.nearest(path).cloned()
        });
    }
    for (name, value) in &configuration.endpoints {
        in_value(name, value, &endpoint_name(name), &|_| None);
    }
    for resource in &configuration.resources {
        for condition in &resource.conditions {
            if let Ok(parsed) = condition.condition.as_str().parse::<ConditionExpression>() {
                let user = format!("A condition of `{}`", resource.address);
                for (reference, _) in parsed.references() {
                    look(&reference, &user, Some(&condition.place));
                }
            }
        }
    }
}
