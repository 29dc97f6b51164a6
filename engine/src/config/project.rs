//! From sources to a [`Configuration`]: parse, lower, check.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::check::Checker;
use super::declared::DeclaredResource;
use super::decode::Spanned;
use super::document::Document;
use super::expand;
use super::node::{Key, Node, NodeKind};
use super::registry::{
    DocumentRegistry, LowerContext, Lowered, Naming, Purpose, RecordedView, ResolvedDocument, Survey,
};
use super::secrets::SecretValues;
use super::settings::Settings;
use super::sources::{Sources, name_of_file};
use super::unread_project::UnreadProject;
use super::variables::GivenVariables;
use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile, Span, suggestion};
use crate::file_name::FileName;
use crate::resource::Configuration;

/// A parsed project: its settings and documents, not yet given a meaning.
#[derive(Clone, Debug)]
pub struct Project {
    /// The texts.
    pub sources: Sources,
    /// `gabion.yml`.
    pub settings: Settings,
    /// What the file with profiles holds.
    pub profiles: Option<Node>,
    /// The profile that was asked for by name, instead of the one that says that it is the default.
    pub profile: Option<Spanned<String>>,
    /// Every document but those that are resources, by file and place.
    pub documents: Vec<Document>,
    /// The resources that documents declare.
    pub(super) declared: Vec<DeclaredResource>,
    /// Whether documents are missing because a file could not be read or parsed.
    pub(super) incomplete: bool,
}

/// What lowering needs beside the documents.
#[derive(Clone, Copy)]
pub struct LowerInputs<'a> {
    /// Why it is done.
    pub purpose: Purpose,
    /// The document types of this build.
    pub registry: &'a DocumentRegistry,
    /// What is recorded.
    pub recorded: &'a dyn RecordedView,
    /// The environment of whoever runs gabion.
    pub environment: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// The secrets that come from files and programs. Asked only for those that something refers to, and not at all to
    /// validate.
    pub secret: &'a SecretValues<'a>,
    /// The version of gabion, `1.2.3`.
    pub version: &'a str,
}

impl Project {
    /// Parses all files; its variables have their defaults.
    pub fn parse(sources: Sources) -> (Self, Diagnostics) {
        Self::parse_with(sources, &GivenVariables::default())
    }

    /// Parses all files and puts the values of variables in. With errors the project can still be lowered, to find more
    /// of them.
    pub fn parse_with(sources: Sources, given: &GivenVariables) -> (Self, Diagnostics) {
        UnreadProject::begin(sources, given).read()
    }

    /// Returns how many documents there are.
    pub fn document_count(&self) -> usize {
        self.documents.len() + self.declared.len()
    }

    /// Gives up the documents, once they have their meaning. It cannot be had again then.
    pub fn release_documents(&mut self) {
        self.documents = Vec::new();
        self.declared = Vec::new();
    }

    /// Marks documents as missing, because reading the sources had errors: what refers to them is not reported.
    #[must_use]
    pub fn incomplete(mut self, incomplete: bool) -> Self {
        self.incomplete |= incomplete;
        self
    }

    /// Asks for a profile by name; `origin` says where: `--profile`.
    #[must_use]
    pub fn with_profile(mut self, name: &str, origin: &str) -> Self {
        let file = SourceFile::argument(origin, name);
        self.sources.add_origin(&file);
        let whole = Span::new(&file, 0, name.len());
        self.profile = Some(Spanned::new(name.to_owned(), whole));
        self
    }

    /// Returns whether whoever wrote the files is trusted. Otherwise secrets stay unresolved: they are neither read nor
    /// missed.
    pub fn is_trusted(&self) -> bool {
        self.sources.root().is_none()
    }

    /// Gives the documents their meaning and checks them against each other.
    ///
    /// `before` is what reading and parsing found; a reference to a document with an error in it is not reported. The
    /// result has only the new problems.
    pub fn lower(&self, inputs: LowerInputs<'_>, before: &Diagnostics) -> (Configuration, Diagnostics) {
        let mut problems = Diagnostics::new();
        let mut configuration = Configuration {
            project: self.settings.project.value.as_str().into(),
            digest: self.digest().into(),
            ..Configuration::default()
        };
        if let Some(required) = &self.settings.required_version
            && !required.value.is_met_by(inputs.version)
        {
            problems.push(
                Diagnostic::error("wrong-version", "wrong version of gabion")
                    .detail(format!(
                        "This is gabion {}, and the project requires {}.",
                        inputs.version, required.value
                    ))
                    .at(required.span.clone())
                    .hint("install a version that the project allows"),
            );
            return (configuration, problems);
        }
        configuration.resources.reserve_exact(self.declared.len());
        for declared in &self.declared {
            problems.extend(declared.problems().cloned());
            configuration.resources.extend(declared.resource.clone());
        }
        let lowered = self.lower_families(inputs, &mut problems);
        for family in lowered {
            configuration.resources.extend(family.resources);
            configuration.data.extend(family.data);
            configuration.directives.moved.extend(family.directives.moved);
            configuration.directives.removed.extend(family.directives.removed);
            configuration.directives.imports.extend(family.directives.imports);
            configuration.endpoints.extend(family.endpoints);
            configuration.notes.extend(family.notes);
            configuration.unmet.extend(family.unmet);
        }
        configuration.outputs = self.settings.outputs.values.clone();
        configuration.output_places = self.settings.outputs.places.clone();
        configuration
            .directives
            .moved
            .sort_by(|a, b| a.place.cmp(&b.place));
        configuration
            .directives
            .removed
            .sort_by(|a, b| a.place.cmp(&b.place));
        configuration
            .directives
            .imports
            .sort_by(|a, b| a.place.cmp(&b.place));
        let failed = self.failed(before.iter().chain(&problems));
        let incomplete = self.incomplete;
        let found = Checker::new(self, inputs, incomplete, failed).check(&mut configuration);
        problems.extend(found);
        let problems = problems
            .iter()
            .filter(|problem| !is_echo(problem))
            .cloned()
            .collect();
        (configuration, problems)
    }

    /// The digest of everything that the configuration is made from.
    fn digest(&self) -> String {
        let files = self.sources.digest();
        let values = self.settings.variable_values.values();
        if values.is_empty() && self.profile.is_none() {
            return files;
        }
        let mut hash = Sha256::new();
        hash.update(files);
        for (name, node) in values {
            hash.update(format!("\n{name}={:?}", Plain(node)));
        }
        if let Some(profile) = &self.profile {
            hash.update(format!("\nprofile {}", profile.value));
        }
        hex::encode(hash.finalize())
    }

    /// Returns a file's documents, each as it is understood, if its type has such a form and it has no errors.
    pub fn resolve(&self, file: &str, inputs: LowerInputs<'_>) -> Vec<(Document, Option<ResolvedDocument>)> {
        let context = self.context(inputs);
        let documents = self
            .documents
            .iter()
            .filter(|document| document.file.path() == file);
        let declared = self.declared.iter();
        let declared = declared.filter(|declared| declared.extent().file.path() == file);
        let mut of_file: Vec<Document> = documents
            .cloned()
            .chain(declared.map(DeclaredResource::document))
            .collect();
        of_file.sort_by_key(|document| document.range.start);
        let resolve = |mut document: Document| {
            if is_named_after_file(&document, inputs.registry) {
                // Lowering warns of it.
                let _ = self.give_name(&mut document);
            }
            let known = inputs.registry.family_of(&document.document_type.value);
            let family = known.and_then(|(index, _)| inputs.registry.families().nth(index));
            let resolved = family.and_then(|family| family.resolve(&document, &context));
            (document, resolved)
        };
        of_file.into_iter().map(resolve).collect()
    }

    fn context<'a>(&'a self, inputs: LowerInputs<'a>) -> LowerContext<'a> {
        LowerContext {
            purpose: inputs.purpose,
            directory: self.sources.directory(),
            root: self.sources.root(),
            settings: &self.settings,
            profiles: self.profiles.as_ref(),
            profile: self.profile.as_ref(),
            recorded: inputs.recorded,
            incomplete: self.incomplete,
            environment: inputs.environment,
        }
    }

    /// The names of the documents with an error: what refers to their resources is not wrong.
    fn failed<'p>(&self, problems: impl Iterator<Item = &'p Diagnostic>) -> BTreeSet<&str> {
        let mut problems = problems.filter(|problem| problem.is_error()).peekable();
        if problems.peek().is_none() {
            return BTreeSet::new();
        }
        let of_documents = self
            .documents
            .iter()
            .map(|document| (document.name(), document.extent()));
        let of_declared = self.declared.iter();
        let of_declared = of_declared.map(|declared| (declared.name(), declared.extent().clone()));
        let mut by_start: BTreeMap<_, Vec<(&str, Span)>> = BTreeMap::new();
        for (name, extent) in of_documents.chain(of_declared) {
            let start = (FileName::from(extent.file.path()), extent.start);
            by_start.entry(start).or_default().push((name, extent));
        }
        let spans = problems.filter_map(|problem| problem.primary.as_ref());
        let documents = spans.flat_map(|span| {
            let file = FileName::from(span.file.path());
            let before = by_start.range((file, 0)..=(file, span.start)).next_back();
            let there = before.map_or(&[][..], |(_, documents)| documents);
            let names = there.iter().filter(|(_, extent)| extent.contains(span));
            names.map(|(name, _)| *name).collect::<Vec<_>>()
        });
        documents.filter(|name| !name.is_empty()).collect()
    }

    /// Returns what has to be found out about the world before the project can be lowered.
    pub fn surveys(&self, inputs: LowerInputs<'_>) -> Vec<Survey> {
        // Their problems are those of lowering.
        let mut unheard = Diagnostics::new();
        let named = self.named_after_files(inputs, &mut unheard);
        let by_family = self.by_family(&named, inputs, &mut unheard);
        let context = self.context(inputs);
        let families = inputs.registry.families().enumerate();
        families
            .filter_map(|(index, family)| Some(family.surveys(by_family.get(&index)?, &context)))
            .flatten()
            .collect()
    }

    /// Hands each family its documents; those of unknown types, or badly named, are reported and left out.
    fn lower_families(&self, inputs: LowerInputs<'_>, problems: &mut Diagnostics) -> Vec<Lowered> {
        let named = self.named_after_files(inputs, problems);
        let by_family = self.by_family(&named, inputs, problems);
        let understood: usize = by_family.values().map(Vec::len).sum();
        let context = LowerContext {
            incomplete: self.incomplete
                || understood < self.documents.len()
                || self.declared.iter().any(DeclaredResource::is_misnamed),
            ..self.context(inputs)
        };
        let lower = |(index, family): (usize, &dyn super::registry::DocumentFamily)| {
            let documents = by_family.get(&index).map_or(&[][..], Vec::as_slice);
            let (lowered, found) = family.lower(documents, &context);
            problems.extend(found);
            lowered
        };
        inputs.registry.families().enumerate().map(lower).collect()
    }

    /// Returns copies of the documents that have their name from their file, in the order of the documents.
    fn named_after_files(&self, inputs: LowerInputs<'_>, problems: &mut Diagnostics) -> Vec<Document> {
        let nameless = |document: &&Document| is_named_after_file(document, inputs.registry);
        let named = self.documents.iter().filter(nameless).map(|document| {
            let mut named = document.clone();
            problems.push(self.give_name(&mut named));
            named
        });
        named.collect()
    }

    /// Returns the documents that have a meaning, by the family that knows it; `named` are those that have their name
    /// from their file.
    fn by_family<'d>(
        &'d self,
        named: &'d [Document],
        inputs: LowerInputs<'_>,
        problems: &mut Diagnostics,
    ) -> BTreeMap<usize, Vec<&'d Document>> {
        let mut by_family: BTreeMap<usize, Vec<&Document>> = BTreeMap::new();
        let mut names: BTreeMap<(String, String), Span> = BTreeMap::new();
        let mut named = named.iter();
        for document in &self.documents {
            let document = match is_named_after_file(document, inputs.registry) {
                true => named.next().unwrap_or(document),
                false => document,
            };
            let type_name = document.document_type.value.as_str();
            let Some((family, known)) = inputs.registry.family_of(type_name) else {
                problems.push(unknown_type(document, inputs.registry));
                continue;
            };
            if !check_document_name(document, known.naming, problems) {
                continue;
            }
            if matches!(known.naming, Naming::Unique | Naming::FromFile) {
                let key = (type_name.to_owned(), document.name().to_owned());
                if let Some(first) = names.get(&key) {
                    problems.push(duplicate_name(document, first));
                    continue;
                }
                names.insert(key, name_span(document));
            }
            by_family.entry(family).or_default().push(document);
        }
        by_family
    }
}

impl Project {
    /// Names a document after its file, and returns the warning about it.
    fn give_name(&self, document: &mut Document) -> Diagnostic {
        let span = document.span().clone();
        let name = name_of_file(document.file.path(), self.sources.default_name());
        let warning = Diagnostic::warning("name-of-file", "document without a name")
            .detail(format!(
                "This {} is called `{name}`, after its file. Another name of the file would make it another one.",
                document.document_type.value
            ))
            .at(span.clone())
            .hint(format!("add `name: {name}`"));
        if let NodeKind::Map(entries) = &mut document.node.kind {
            entries.retain(|(key, _)| key.name != "name");
            let key = Key {
                name: "name".to_owned(),
                span: span.clone(),
            };
            let value = Node {
                kind: NodeKind::String(name.clone()),
                span: span.clone(),
                alias: None,
            };
            entries.push((key, value));
        }
        document.name = Some(Spanned::new(name, span));
        warning
    }
}

/// Returns whether a document has no name and gets that of its file.
fn is_named_after_file(document: &Document, registry: &DocumentRegistry) -> bool {
    let is_nameless = document.name.is_none();
    let naming = || {
        let (_, known) = registry.family_of(&document.document_type.value)?;
        Some(known.naming)
    };
    is_nameless && naming() == Some(Naming::FromFile)
}

fn unknown_type(document: &Document, registry: &DocumentRegistry) -> Diagnostic {
    let types = registry.types();
    let word = &document.document_type.value;
    let hint = suggestion(word, types.iter().map(|known| known.name)).unwrap_or_else(|| {
        let names: Vec<&str> = types.iter().map(|known| known.name).collect();
        format!("the types are {}", names.join(", "))
    });
    Diagnostic::error("unknown-type", "unknown document type")
        .detail(format!(
            "This build of gabion has no document type `{}`.",
            super::decode::excerpt(word)
        ))
        .at(document.span().clone())
        .hint(hint)
}

/// Names are path segments of addresses: no `/`, and nothing that an address cannot hold.
pub(super) fn check_document_name(document: &Document, naming: Naming, problems: &mut Diagnostics) -> bool {
    let what = &document.document_type.value;
    match &document.name {
        None if matches!(naming, Naming::Unique | Naming::FromFile) => {
            problems.push(
                Diagnostic::error("missing-key", "missing key")
                    .detail(format!("A {what} needs the key `name`."))
                    .at(document.span().clone())
                    .hint("add `name: …`"),
            );
            false
        }
        Some(name) if naming != Naming::Free && own_name(document, &name.value).contains('/') => {
            problems.push(super::settings::bad_name(what, name, "It must not hold `/`."));
            false
        }
        _ => true,
    }
}

/// Tells whether a problem only follows from an expression that expansion could not fill, and reported.
pub(super) fn is_echo(problem: &Diagnostic) -> bool {
    let span = problem.primary.as_ref();
    span.is_some_and(|span| expand::is_left_over(span.text()))
}

/// The name that people wrote: a module's has that of the module in front, a copy that `for_each` made has the entry's
/// key at its end, both with a `/` between.
fn own_name<'a>(document: &Document, name: &'a str) -> &'a str {
    let within = |module: &str| name.strip_prefix(module)?.strip_prefix('/');
    let name = document.module.as_deref().and_then(within).unwrap_or(name);
    let of_entry = |key: &str| {
        let own = name.strip_suffix(key)?.strip_suffix('/')?;
        (!key.contains('/')).then_some(own)
    };
    document.each.as_deref().and_then(of_entry).unwrap_or(name)
}

/// A node without its places, for digests.
struct Plain<'a>(&'a Node);

impl std::fmt::Debug for Plain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0.kind {
            NodeKind::List(items) => f.debug_list().entries(items.iter().map(Plain)).finish(),
            NodeKind::Map(entries) => f
                .debug_map()
                .entries(entries.iter().map(|(key, value)| (&key.name, Plain(value))))
                .finish(),
            scalar => scalar.fmt(f),
        }
    }
}

fn name_span(document: &Document) -> Span {
    let name = document.name.as_ref();
    name.map_or(document.span(), |name| &name.span).clone()
}

fn duplicate_name(document: &Document, first: &Span) -> Diagnostic {
    Diagnostic::error("duplicate-name", "duplicate name")
        .detail(format!(
            "There are two documents `{} {}`.",
            document.document_type.value,
            document.name()
        ))
        .at(name_span(document))
        .related(first.clone(), "the first has its name here")
        .hint("rename one of the two")
}

/// Reads, parses and lowers a project directory in one call; its variables have their defaults.
pub fn load(
    directory: &std::path::Path,
    inputs: LowerInputs<'_>,
) -> (Arc<Project>, Configuration, Diagnostics) {
    let (sources, mut problems) = Sources::load(directory);
    let unread = problems.has_errors();
    let (project, found) = Project::parse(sources);
    problems.extend(found);
    let project = project.incomplete(unread);
    let (configuration, found) = project.lower(inputs, &problems);
    problems.extend(found);
    (Arc::new(project), configuration, problems)
}
