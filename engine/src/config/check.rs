//! Checks across all documents: addresses, references, directives, secrets.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::check_directives::DirectiveCheck;
use super::condition::ConditionExpression;
use super::expression::{Reference, Resolved, Target, Template};
use super::project::{LowerInputs, Project};
use super::registry::Purpose;
use super::secrets::{MissingSecret, SecretSource};
use crate::address::ResourceAddress;
use crate::data::DataDocument;
use crate::diagnostic::{Diagnostic, Diagnostics, Span, did_you_mean};
use crate::resource::{Configuration, Directives, Place, Resource};
use crate::value::{AttributePath, Attributes, Secret, TemplateText, Unknown, Value};

/// Unknown references beyond this many get no suggestion: each costs a look at every address.
const SUGGESTIONS: usize = 20;
/// How many problems of one text are reported; a text with more is broken as a whole.
const PROBLEMS_PER_TEXT: usize = 20;

/// Checks a configuration and opens its secrets.
pub(super) struct Checker<'a> {
    project: &'a Project,
    inputs: LowerInputs<'a>,
    incomplete: bool,
    failed: BTreeSet<&'a str>,
    declared: DeclaredAddresses,
    data: DeclaredAddresses,
    suggested: usize,
    problems: Diagnostics,
}

/// Where each address is declared, by address.
#[derive(Default)]
pub(super) struct DeclaredAddresses(Vec<(ResourceAddress, Place)>);

impl DeclaredAddresses {
    /// Returns where an address is declared, if it is.
    pub(super) fn place(&self, address: &ResourceAddress) -> Option<&Place> {
        let at = self
            .0
            .binary_search_by(|(declared, _)| declared.cmp(address))
            .ok()?;
        Some(&self.0[at].1)
    }

    /// The declared address that was probably meant: another name of the kind, or the name under another kind.
    fn nearest(&self, address: &ResourceAddress) -> Option<(&ResourceAddress, &Place)> {
        let of_kind = || {
            let all = self.0.iter();
            all.filter(|(other, _)| other.resource_type == address.resource_type)
        };
        let of_name = || {
            let all = self.0.iter();
            all.filter(|(other, _)| other.name == address.name)
        };
        let name = did_you_mean(
            address.name.as_str(),
            of_kind().map(|(other, _)| other.name.as_str()),
        );
        let kind = did_you_mean(
            address.resource_type.as_str(),
            of_name().map(|(other, _)| other.resource_type.as_str()),
        );
        of_kind()
            .find(|(other, _)| Some(other.name.as_str()) == name)
            .or_else(|| of_name().find(|(other, _)| Some(other.resource_type.as_str()) == kind))
            .map(|(other, place)| (other, place))
    }
}

impl<'a> Checker<'a> {
    pub(super) fn new(
        project: &'a Project,
        inputs: LowerInputs<'a>,
        incomplete: bool,
        failed: BTreeSet<&'a str>,
    ) -> Self {
        Self {
            project,
            inputs,
            incomplete,
            failed,
            declared: DeclaredAddresses::default(),
            data: DeclaredAddresses::default(),
            suggested: 0,
            problems: Diagnostics::new(),
        }
    }

    /// Sorts the resources, drops duplicates, and replaces values that only environment and secrets fill by secrets
    /// that hold their value.
    pub(super) fn check(mut self, configuration: &mut Configuration) -> Diagnostics {
        configuration.resources = self.unique(std::mem::take(&mut configuration.resources));
        configuration.data = self.unique_data(std::mem::take(&mut configuration.data));
        for document in &mut configuration.data {
            let user = format!("`data.{}`", document.address);
            let inputs = std::mem::take(&mut document.inputs);
            document.inputs = self.attributes(inputs, &user, &|path| Some(document.place_of(path).clone()));
        }
        for resource in &mut configuration.resources {
            if resource.inputs.values().any(has_template) {
                let user = format!("`{}`", resource.address);
                let inputs = std::mem::take(&mut resource.inputs);
                resource.inputs =
                    self.attributes(inputs, &user, &|path| Some(resource.place_of(path).clone()));
            }
            self.declarations(resource);
        }
        let outputs = &self.project.settings.outputs.places;
        let values = std::mem::take(&mut configuration.outputs);
        configuration.outputs = self.attributes(values, "an output", &|path| outputs.get(path).cloned());
        let endpoints = std::mem::take(&mut configuration.endpoints);
        configuration.endpoints = self.attributes(endpoints, "an endpoint", &|_| None);
        self.tokens();
        self.directives(&configuration.directives);
        self.problems
    }

    fn span(&self, place: &Place) -> Option<Span> {
        self.project.sources.span(place)
    }

    fn unique(&mut self, mut resources: Vec<Resource>) -> Vec<Resource> {
        let root = AttributePath::default();
        let by_place = |a: &Resource, b: &Resource| a.place_of(&root).cmp(b.place_of(&root));
        resources.sort_unstable_by(|a, b| a.address.cmp(&b.address).then_with(|| by_place(a, b)));
        self.declared.0.reserve_exact(resources.len());
        resources.retain(|resource| {
            let place = resource.place_of(&root).clone();
            let before = self.declared.0.last();
            let Some((_, first)) = before.filter(|(address, _)| *address == resource.address) else {
                self.declared.0.push((resource.address.clone(), place));
                return true;
            };
            let problem = Diagnostic::error("duplicate-address", "duplicate address")
                .detail(format!("`{}` is declared twice.", resource.address))
                .at(self.project.sources.span(&place))
                .hint("rename one of the two");
            self.problems.push(match self.project.sources.span(first) {
                Some(span) => problem.related(span, "first declared here"),
                None => problem,
            });
            false
        });
        resources
    }

    fn unique_data(&mut self, mut documents: Vec<DataDocument>) -> Vec<DataDocument> {
        documents.sort_by(|a, b| a.address.cmp(&b.address).then_with(|| a.place.cmp(&b.place)));
        documents.retain(|document| {
            let Some(first) = self.data.place(&document.address) else {
                self.data
                    .0
                    .push((document.address.clone(), document.place.clone()));
                return true;
            };
            let problem = Diagnostic::error("duplicate-address", "duplicate address")
                .detail(format!("`data.{}` is declared twice.", document.address))
                .at(self.project.sources.span(&document.place))
                .hint("rename one of the two");
            self.problems.push(match self.project.sources.span(first) {
                Some(span) => problem.related(span, "first declared here"),
                None => problem,
            });
            false
        });
        documents
    }

    fn attributes(
        &mut self,
        attributes: Attributes,
        user: &str,
        place: &dyn Fn(&AttributePath) -> Option<Place>,
    ) -> Attributes {
        // What holds no template stays as it is, shared with whoever else has it.
        if !attributes.values().any(has_template) {
            return attributes;
        }
        let check = |(name, value): (Arc<str>, Value)| {
            let value = self.value(value, &AttributePath::root(&name), user, place);
            (name, value)
        };
        attributes.into_iter().map(check).collect()
    }

    fn value(
        &mut self,
        value: Value,
        path: &AttributePath,
        user: &str,
        place: &dyn Fn(&AttributePath) -> Option<Place>,
    ) -> Value {
        match value {
            Value::List(items) => {
                let items = items.into_iter().enumerate();
                Value::List(
                    items
                        .map(|(index, item)| self.value(item, &path.index(index), user, place))
                        .collect(),
                )
            }
            Value::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, item)| {
                        let item = self.value(item, &path.key(&key), user, place);
                        (key, item)
                    })
                    .collect(),
            ),
            Value::Unknown(Unknown {
                template: Some(template),
            }) => {
                let place = place(path);
                match template.as_str().parse::<Template>() {
                    Ok(parsed) => self.template(&parsed, user, place.as_ref()),
                    Err(error) => {
                        self.problems.push(
                            Diagnostic::error("bad-expression", "invalid expression")
                                .detail(error.message)
                                .at(place.and_then(|place| self.span(&place)))
                                .hint(error.hint),
                        );
                        Value::Unknown(Unknown {
                            template: Some(template),
                        })
                    }
                }
            }
            other => other,
        }
    }

    /// Checks a template's references; a template that needs nothing but secrets becomes the secret itself.
    fn template(&mut self, template: &Template, user: &str, place: Option<&Place>) -> Value {
        let whole = place.and_then(|place| self.span(place));
        let (mut only_secrets, before) = (true, self.problems.len());
        for reference in template.references() {
            only_secrets &= matches!(reference.target, Target::Environment(_) | Target::Secret(_));
            if self.problems.len() < before + PROBLEMS_PER_TEXT {
                self.reference(reference, user, whole.as_ref());
            }
        }
        if !only_secrets || template.literal().is_some() {
            return template.to_value();
        }
        let environment = |reference: &Reference| match self.secret_value(reference) {
            Some(value) => Resolved::Known(Value::string(value)),
            None => Resolved::Missing,
        };
        if !self.project.is_trusted() {
            return Value::Secret(Secret::sealed(Some(TemplateText::new(template.text())), None));
        }
        // A missing one was reported above.
        template
            .evaluate(&environment)
            .unwrap_or_else(|_| template.to_value())
    }

    fn secret_value(&self, reference: &Reference) -> Option<String> {
        match &reference.target {
            Target::Environment(name) => (self.inputs.environment)(name),
            Target::Secret(name) => match &self.project.settings.secrets.get(&**name)?.value {
                SecretSource::Environment(variable) => (self.inputs.environment)(variable),
                source => self.read_secret(source).ok().flatten(),
            },
            Target::Resource(_) | Target::Data(_) | Target::Scope(_) => None,
        }
    }

    /// Gets a secret that comes from a file or a program. Validating needs none.
    fn read_secret(&self, source: &SecretSource) -> Result<Option<String>, MissingSecret> {
        match (self.inputs.purpose, source) {
            (Purpose::Plan, SecretSource::File(_) | SecretSource::Command(_))
                if self.project.is_trusted() =>
            {
                (self.inputs.secret)(source)
            }
            _ => Ok(None),
        }
    }

    /// Whether a variable is not set. Validating needs none.
    fn lacks(&self, variable: &str) -> bool {
        self.inputs.purpose == Purpose::Plan
            && self.project.is_trusted()
            && (self.inputs.environment)(variable).is_none()
    }

    fn reference(&mut self, reference: &Reference, user: &str, whole: Option<&Span>) {
        match &reference.target {
            Target::Environment(name) => {
                if self.lacks(name) {
                    let span = whole.map(|whole| whole.below(&reference.to_string()));
                    self.problems
                        .push(missing_variable(name, format!("{user} needs it."), span));
                }
            }
            Target::Secret(name) => match self.project.settings.secrets.get(&**name) {
                None => {
                    let span = whole.map(|whole| whole.below(&reference.to_string()));
                    self.problems
                        .push(self.project.settings.undeclared_secret(name, span));
                }
                Some(declared) => {
                    if let SecretSource::Environment(variable) = &declared.value
                        && self.lacks(variable)
                    {
                        let why = format!("The secret `{name}` comes from it.");
                        self.problems
                            .push(missing_variable(variable, why, Some(declared.span.clone())));
                    }
                    if let Err(missing) = self.read_secret(&declared.value) {
                        self.problems
                            .push(self.project.settings.missing_secret(name, missing));
                    }
                }
            },
            Target::Resource(address) => {
                if !self.exists(address) {
                    let span = whole.map(|whole| whole.below(&reference.to_string()));
                    self.unknown_reference(address, user, span);
                }
            }
            Target::Data(address) => {
                let is_failed = || self.failed.contains(address.name.as_str());
                if !self.incomplete && self.data.place(address).is_none() && !is_failed() {
                    let span = whole.map(|whole| whole.below(&reference.to_string()));
                    self.unknown_data(address, user, span);
                }
            }
            // What is left of them after expansion was reported there.
            Target::Scope(name) if super::expand::is_scope(name) => {}
            Target::Scope(name) => {
                let span = whole.map(|whole| whole.below(&reference.to_string()));
                self.problems.push(
                    Diagnostic::error("unknown-reference", "unknown reference")
                        .detail(format!(
                            "{user} uses `{reference}`, and nothing here is called `{name}`."
                        ))
                        .at(span)
                        .hint("there is `env.NAME`, `secrets.NAME` and `kind.name.attribute`"),
                );
            }
        }
    }

    /// Tells whether an address is declared, or would be if a document without errors stood in its place.
    fn exists(&self, address: &ResourceAddress) -> bool {
        let of_failed = || {
            let head = address.name.as_str().split('/').next().unwrap_or_default();
            let machine = address.name.as_str().rsplit('/').next().unwrap_or_default();
            let whole = address.name.as_str();
            self.failed.contains(head) || self.failed.contains(machine) || self.failed.contains(whole)
        };
        self.incomplete || self.declared.place(address).is_some() || of_failed()
    }

    fn unknown_reference(&mut self, address: &ResourceAddress, user: &str, span: Option<Span>) {
        let mut hint = "declare it, or write the address of a resource that is declared".to_owned();
        if self.suggested < SUGGESTIONS {
            self.suggested += 1;
            if let Some((near, place)) = self.declared.nearest(address) {
                hint = format!("did you mean `{near}` ({place})?");
            }
        }
        self.problems.push(
            Diagnostic::error("unknown-reference", "unknown reference")
                .detail(format!(
                    "{} uses `{address}`, which no document declares.",
                    sentence_start(user)
                ))
                .at(span)
                .hint(hint),
        );
    }

    fn unknown_data(&mut self, address: &ResourceAddress, user: &str, span: Option<Span>) {
        let hint = match self.data.nearest(address) {
            Some((near, place)) => format!("did you mean `data.{near}` ({place})?"),
            None => format!(
                "declare it with `type: data`, `kind: {}` and `name: {}`",
                address.resource_type, address.name
            ),
        };
        self.problems.push(
            Diagnostic::error("unknown-reference", "unknown reference")
                .detail(format!(
                    "{} uses `data.{address}`, which no document declares.",
                    sentence_start(user)
                ))
                .at(span)
                .hint(hint),
        );
    }
    /// Checks what a resource says beside its inputs.
    fn declarations(&mut self, resource: &Resource) {
        let triggers = &resource.lifecycle.replace_triggered_by;
        if resource.depends_on.is_empty() && triggers.is_empty() && resource.conditions.is_empty() {
            return;
        }
        let user = format!("`{}`", resource.address);
        for (address, place) in &resource.depends_on {
            if !self.exists(address) {
                let span = self.span(place);
                self.unknown_reference(address, &user, span);
            }
        }
        let root = self.span(resource.place_of(&AttributePath::default()));
        for trigger in triggers {
            if let Ok(template) = trigger.as_str().parse::<Template>() {
                for reference in template.references() {
                    self.reference(reference, &user, root.as_ref());
                }
            }
        }
        for condition in &resource.conditions {
            if let Ok(parsed) = condition.condition.as_str().parse::<ConditionExpression>() {
                let whole = self.span(&condition.place);
                let user = format!("a condition of {user}");
                for (reference, _) in parsed.references() {
                    self.reference(&reference, &user, whole.as_ref());
                }
            }
        }
    }

    /// A token's secret must be declared; whether it has a value matters where the token is used.
    fn tokens(&mut self) {
        for token in self.project.settings.tokens.values() {
            for (reference, span) in &token.references {
                if let Target::Secret(name) = &reference.target
                    && !self.project.settings.secrets.contains_key(&**name)
                {
                    self.problems
                        .push(self.project.settings.undeclared_secret(name, Some(span.clone())));
                }
            }
        }
    }

    fn directives(&mut self, directives: &Directives) {
        let mut check = DirectiveCheck {
            declared: &self.declared,
            sources: &self.project.sources,
            exists: &|address| self.exists(address),
            undeclared: Vec::new(),
            problems: Diagnostics::new(),
        };
        check.check(directives);
        let DirectiveCheck {
            undeclared, problems, ..
        } = check;
        self.problems.extend(problems);
        for (address, place) in undeclared {
            let span = self.span(&place);
            self.unknown_reference(&address, "this document", span);
        }
    }
}

fn missing_variable(name: &str, why: String, span: Option<Span>) -> Diagnostic {
    Diagnostic::error("missing-variable", "environment variable is not set")
        .detail(format!(
            "`{name}` is not set in the environment. {}",
            sentence_start(&why)
        ))
        .at(span)
        .hint(format!("set it: export {name}=…"))
}

fn sentence_start(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

/// Returns whether a value has a leaf that a template fills.
fn has_template(value: &Value) -> bool {
    match value {
        Value::List(items) => items.iter().any(has_template),
        Value::Map(entries) => entries.values().any(has_template),
        Value::Unknown(unknown) => unknown.template.is_some(),
        _ => false,
    }
}
