//! `gabion.yml`: what holds for the whole project.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::decode::{FromNode, Spanned};
use super::expand::{self, Scopes};
use super::expression::{Target, Template};
use super::map_reader::MapReader;
use super::node::{Key, Node, NodeKind};
use super::policy::Policy;
use super::secrets::{self, SecretSource};
use super::value_reader::{PlacedValues, SpannedTemplate};
use super::variables::{self, GivenVariables, VariableDeclaration, Variables};
use super::version::VersionRequirement;
use crate::address::Lineage;
use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile, Span};

/// The project's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The project's name; by default that of its directory.
    pub project: Spanned<String>,
    /// Where state is stored; `None` is the default store.
    pub state: Option<Plugin>,
    /// How long whoever holds the state may be silent before others may take it over, when it is set.
    pub lease: Option<Spanned<Duration>>,
    /// The lineage that the store must have.
    pub lineage: Option<Spanned<Lineage>>,
    /// What holds for one stack only, by its name.
    pub stacks: BTreeMap<String, StackSettings>,
    /// The backends that documents may name, in the order written.
    pub backends: Vec<Plugin>,
    /// Where each secret's value comes from.
    pub secrets: BTreeMap<String, Spanned<SecretSource>>,
    /// Bearer tokens that services with `auth: true` accept: each a reference to a secret, by label.
    pub tokens: BTreeMap<String, SpannedTemplate>,
    /// The variables that the project declares, by name.
    pub variables: BTreeMap<String, VariableDeclaration>,
    /// Their values.
    pub variable_values: Variables,
    /// Values that people and other tools read after an apply.
    pub outputs: PlacedValues,
    /// What plans of the project may do.
    pub policy: Policy,
    /// The versions of gabion that may work on this project.
    pub required_version: Option<Spanned<VersionRequirement>>,
    /// The settings file, or a stand-in for it when there is none.
    pub file: Arc<SourceFile>,
}

/// A store or backend that this build may or may not have: its type, and what is set for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plugin {
    /// Its type: `local`, `sqlite`.
    pub plugin_type: Spanned<String>,
    /// All of what is written for it: a word, or a map with `type`. Whoever knows the type decodes it.
    pub node: Node,
}

/// What holds for one stack only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StackSettings {
    /// The lineage that the stack's store must have.
    pub lineage: Option<Spanned<Lineage>>,
}

impl Settings {
    /// Returns the settings of a project without a settings file.
    pub(super) fn empty(default_name: &str, file: Arc<SourceFile>) -> Self {
        Self {
            project: Spanned::new(default_name.to_owned(), Span::of_file(&file)),
            state: None,
            lease: None,
            lineage: None,
            stacks: BTreeMap::new(),
            backends: Vec::new(),
            secrets: BTreeMap::new(),
            tokens: BTreeMap::new(),
            variables: BTreeMap::new(),
            variable_values: Variables::default(),
            outputs: PlacedValues::default(),
            policy: Policy::default(),
            required_version: None,
            file,
        }
    }

    /// Reads the settings file's documents; what could not be read has its default, and a diagnostic.
    pub(super) fn read(
        file: &Arc<SourceFile>,
        documents: &[Node],
        default_name: &str,
        scopes: &Scopes,
    ) -> (Self, Diagnostics) {
        let mut settings = Self::empty(default_name, file.clone());
        let mut problems = Diagnostics::new();
        if let [_, second, ..] = documents {
            problems.push(
                second
                    .error("extra-document", "more than one document")
                    .detail(format!(
                        "`{}` holds one document with the project's settings.",
                        file.path()
                    ))
                    .hint("move other documents into a `*.gabion.yml` file"),
            );
        }
        if let Some(node) = documents.first() {
            settings.fill(&expanded(node, scopes, &mut problems), &mut problems);
        }
        settings.check_tokens(&mut problems);
        (settings, problems)
    }

    /// Returns the file with what stands in the place of a secret's source, or is a password, masked, if anything is:
    /// people write the secret itself there, and a diagnostic shows its line.
    pub(super) fn masked(file: &Arc<SourceFile>, documents: &[Node]) -> Option<Arc<SourceFile>> {
        let spans: Vec<Span> = documents
            .iter()
            .flat_map(exposed)
            .filter(|span| !span.text().is_empty())
            .collect();
        if spans.is_empty() {
            return None;
        }
        let mut bytes = file.text().as_bytes().to_vec();
        for span in spans {
            for byte in &mut bytes[span.start..span.end] {
                // Quotes and white space hold the YAML together; every byte keeps its place.
                if !matches!(byte, b'"' | b'\'' | b' ' | b'\t' | b'\r' | b'\n') {
                    *byte = b'x';
                }
            }
        }
        let text = String::from_utf8(bytes).unwrap_or_default();
        Some(SourceFile::new(file.path(), text))
    }

    /// Reads the variables that the settings declare, and their values.
    pub(super) fn read_variables(
        file: &Arc<SourceFile>,
        documents: &[Node],
        given: &GivenVariables,
        problems: &mut Diagnostics,
    ) -> (BTreeMap<String, VariableDeclaration>, Variables) {
        let declared = documents.first().and_then(|node| node.get("vars"));
        let declared = declared
            .filter(|node| !node.is_null())
            .map(|node| variables::read_declarations(node, problems))
            .unwrap_or_default();
        let values = given.resolve(&declared, file.path(), problems);
        (declared, values)
    }

    fn fill(&mut self, node: &Node, problems: &mut Diagnostics) {
        if let (Some((key, _)), Some(_)) = (node.entry("type"), node.entry("name")) {
            problems.push(
                Diagnostic::error("misplaced-document", "document in the settings file")
                    .detail(format!(
                        "`{}` holds the project's settings, not documents.",
                        self.file.path()
                    ))
                    .at(key.span.clone())
                    .hint("move the document into a `*.gabion.yml` file"),
            );
            return;
        }
        let Some(mut map) = MapReader::open(node, "project", problems) else {
            return;
        };
        if let Some(Some(name)) = map.optional::<Spanned<String>>("project") {
            match check_name(&name.value) {
                Ok(()) => self.project = name,
                Err(why) => map.problems().push(bad_name("project", &name, why)),
            }
        }
        self.state = map.optional("state").flatten();
        if let Some(state) = &mut self.state {
            self.lease = take_lease(&mut state.node, map.problems());
        }
        self.lineage = map.optional::<Spanned<Lineage>>("lineage").flatten();
        let stacks = map.each_entry::<StackSettings>("stacks");
        self.backends = map.each("backends");
        let secrets = map.each_entry::<Spanned<SecretSource>>("secrets");
        let tokens = map.each_entry::<SpannedTemplate>("tokens");
        if let Some(outputs) = map.get("outputs").filter(|node| !node.is_null()) {
            self.outputs = PlacedValues::read(outputs, map.problems());
        }
        if let Some(Some(policy)) = map.optional::<Policy>("policy") {
            self.policy = policy;
        }
        self.required_version = map.optional("required_version").flatten();
        map.known(&["vars"]);
        map.refuse(
            "checks",
            "This version of gabion has no `checks` yet.".to_owned(),
            "remove it",
        );
        map.finish();
        self.stacks = stacks
            .into_iter()
            .map(|(key, stack)| (key.name, stack.unwrap_or_default()))
            .collect();
        for (key, source) in secrets {
            // A secret whose source is wrong is declared all the same.
            let source = source.unwrap_or_else(|| Spanned::new(SecretSource::Invalid, key.span));
            self.secrets.insert(key.name, source);
        }
        let tokens = tokens
            .into_iter()
            .filter_map(|(key, token)| Some((key.name, token?)));
        self.tokens = tokens.collect();
        let mut seen: BTreeMap<&str, &Span> = BTreeMap::new();
        for backend in &self.backends {
            let found = &backend.plugin_type;
            if let Some(first) = seen.insert(&found.value, &found.span) {
                problems.push(
                    Diagnostic::error("duplicate-backend", "duplicate backend")
                        .detail(format!("The backend `{}` is listed twice.", found.value))
                        .at(found.span.clone())
                        .related(first.clone(), "first listed here")
                        .hint("remove one of the two"),
                );
            }
        }
    }

    /// A token is a whole secret: anything else would end up readable in the configuration.
    fn check_tokens(&self, problems: &mut Diagnostics) {
        for (label, token) in &self.tokens {
            match token.template.single().map(|reference| &reference.target) {
                Some(Target::Secret(_)) => {}
                _ => problems.push(
                    Diagnostic::error("bad-token", "token that is no secret")
                        .detail(format!("The token `{label}` must be exactly one secret."))
                        .at(token.span.clone())
                        .hint("declare it under `secrets` and write `${{ secrets.NAME }}`"),
                ),
            }
        }
    }

    /// Returns the lineage that a stack's store must have, if it is pinned; without a name, the project's own.
    pub fn lineage_of(&self, stack: Option<&str>) -> Option<&Spanned<Lineage>> {
        match stack {
            None => self.lineage.as_ref(),
            Some(stack) => self.stacks.get(stack)?.lineage.as_ref(),
        }
    }
}

/// How short a lease may be: a holder renews it four times in that, also over a slow network.
const SHORTEST_LEASE: Duration = Duration::from_secs(5);

/// How long a lease may be: for so long nobody can go on after a machine was lost.
const LONGEST_LEASE: Duration = Duration::from_secs(600);

/// Takes `lease` out of what is written for the state: it means the same for every store, and none decodes it.
fn take_lease(state: &mut Node, problems: &mut Diagnostics) -> Option<Spanned<Duration>> {
    let NodeKind::Map(entries) = &mut state.kind else {
        return None;
    };
    let at = entries.iter().position(|(key, _)| key.name == "lease")?;
    let (_, node) = entries.remove(at);
    let lease = Spanned::<Duration>::from_node(&node, problems)?;
    if (SHORTEST_LEASE..=LONGEST_LEASE).contains(&lease.value) {
        return Some(lease);
    }
    problems.push(
        Diagnostic::error("bad-lease", "lease of that length")
            .detail("A lease lasts between 5 seconds and 10 minutes.")
            .at(lease.span)
            .hint("leave it out for 30 seconds"),
    );
    None
}

/// Returns where a settings document holds a secret that it must not hold.
fn exposed(document: &Node) -> Vec<Span> {
    let secrets = document.get("secrets").and_then(Node::as_map).unwrap_or_default();
    let mut sources: Vec<&Node> = secrets.iter().map(|(_, source)| source).collect();
    let state = document.get("state");
    let encryption = state.and_then(|state| state.get("encryption"));
    if let Some(encryption) = encryption {
        sources.extend(encryption.get("key"));
        if let Some(previous) = encryption.get("previous") {
            sources.push(previous);
            sources.extend(previous.as_list().unwrap_or_default());
        }
    }
    let mut spans: Vec<Span> = sources.into_iter().flat_map(secrets::written_in).collect();
    spans.extend(
        encryption
            .filter(|node| node.text().is_some())
            .map(|node| node.span.clone()),
    );
    for key in ["url", "endpoint"] {
        spans.extend(state.and_then(|state| password(state.get(key)?)));
    }
    let backends = document
        .get("backends")
        .and_then(Node::as_list)
        .unwrap_or_default();
    for (key, value) in backends.iter().filter_map(Node::as_map).flatten() {
        let is_written = |text: &str| !Template::is_in(text);
        if key.name.ends_with("password") && value.text().is_some_and(is_written) {
            spans.push(value.span.clone());
        }
    }
    spans
}

/// Returns where a URL holds a password.
fn password(url: &Node) -> Option<Span> {
    let text = url.as_str()?;
    let start = text.find("://")? + 3;
    let end = text[start..]
        .find(['/', '?', '#'])
        .map_or(text.len(), |end| start + end);
    let at = start + text[start..end].rfind('@')?;
    let colon = start + text[start..at].find(':')? + 1;
    (colon < at).then(|| url.part(colon, at))
}

/// The settings with what expressions refer to put in, `vars` left as it is.
fn expanded(node: &Node, scopes: &Scopes, problems: &mut Diagnostics) -> Node {
    let Some(entries) = node.as_map() else {
        return node.clone();
    };
    let expand = |(key, value): &(Key, Node)| {
        let value = match key.name.as_str() {
            "vars" => value.clone(),
            _ => expand::expand(value, scopes, problems),
        };
        (key.clone(), value)
    };
    Node {
        kind: NodeKind::Map(entries.iter().map(expand).collect()),
        ..node.clone()
    }
}

impl FromNode for Plugin {
    fn expected() -> String {
        "a type, or a map with the key `type`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let plugin_type = match node.as_map() {
            Some(_) => match node.get("type") {
                Some(found) => Spanned::<String>::from_node(found, problems)?,
                None => {
                    problems.push(
                        node.error("missing-key", "missing key")
                            .detail("This map needs the key `type`.")
                            .hint("add `type: …`"),
                    );
                    return None;
                }
            },
            None => match node.text() {
                Some(_) => Spanned::<String>::from_node(node, problems)?,
                None => {
                    problems.push(node.wrong_type(&Self::expected()));
                    return None;
                }
            },
        };
        Some(Self {
            plugin_type,
            node: node.clone(),
        })
    }
}

impl FromNode for StackSettings {
    fn expected() -> String {
        "what holds for the stack: `{lineage: …}`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "stack", problems)?;
        let lineage = map.optional::<Spanned<Lineage>>("lineage");
        map.finish();
        Some(Self { lineage: lineage? })
    }
}

impl FromNode for Lineage {
    fn expected() -> String {
        "a lineage: a UUID, as `gabion state list` shows it".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let lineage = node.text().and_then(|text| text.parse().ok());
        if lineage.is_none() {
            problems.push(node.wrong_type(&Self::expected()));
        }
        lineage
    }
}

/// Checks a name against the grammar that projects, services, gateways and fleets share.
///
/// # Errors
/// What is wrong with it, as a full sentence.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Err("It must start with a lower-case letter.");
    }
    if name
        .bytes()
        .any(|byte| !(byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'))
    {
        return Err("It may hold lower-case letters, digits and `-` only.");
    }
    if !(2..=41).contains(&name.len()) {
        return Err("It must have 2 to 41 characters.");
    }
    Ok(())
}

/// Returns the error for a name that [`check_name`] refuses; `what` is what it names, without an article.
pub fn bad_name(what: &str, name: &Spanned<String>, why: &str) -> Diagnostic {
    Diagnostic::error("bad-name", "invalid name")
        .detail(format!(
            "`{}` cannot be the name of a {what}. {why}",
            super::decode::excerpt(&name.value)
        ))
        .at(name.span.clone())
        .hint("such as `qwen-chat`")
}
