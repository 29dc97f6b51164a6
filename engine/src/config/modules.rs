//! Modules: a directory of documents with inputs and outputs, used as often as wanted.
//!
//! A document `type: module` names a directory (`source`) and gives its inputs. `module.yml` there declares `inputs`, as
//! `vars` are declared, and `outputs`; its other files are documents as everywhere. Every name in it gets the module's
//! in front, `NAME/…` for resources and `NAME-…` for everything else, and so does every reference from within: a module
//! is written as if it were alone. A reference to what it does not declare is to the project's own; variables it has none of.
//!
//! All of this is done on nodes: first names and references are made the module's own, then its inputs are put in, which
//! refer to what is outside.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::declared::DeclaredResource;
use super::document::Document;
use super::expand::{self, Instance, Scopes};
use super::expression::{Reference, Target, Template};
use super::generic::{DATA, RESOURCE};
use super::map_reader::MapReader;
use super::node::{Key, Node, NodeKind};
use super::sources::Sources;
use super::variables::{self, Variables};
use super::{Spanned, yaml};
use crate::address::{ResourceAddress, ResourceName};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile, Span};
use crate::value::PathSegment;

/// The document type that uses a module.
pub(super) const MODULE: &str = "module";
/// The names of the file with a module's inputs and outputs.
pub(super) const MODULE_FILES: [&str; 2] = ["module.yml", "module.yaml"];
/// How deep modules may use each other.
const DEEPEST: usize = 16;

/// A document as it stands in its file.
struct Raw {
    file: Arc<SourceFile>,
    range: Range<usize>,
    node: Node,
}

/// What files of one level hold: those of the project, or of one use of a module.
pub(super) struct Level {
    /// What they hold, what modules hold included.
    pub(super) content: Content,
    /// What the level's expressions may refer to, the outputs of its modules included.
    pub(super) scopes: Scopes,
    /// Whether documents are missing because a file could not be parsed.
    pub(super) incomplete: bool,
}

/// Documents, each by file and place.
#[derive(Default)]
pub(super) struct Content {
    /// All but resources.
    pub(super) documents: Vec<Document>,
    /// The resources.
    pub(super) declared: Vec<DeclaredResource>,
}

/// Where a level is.
struct Position<'a> {
    /// The directory of its files, from the project's; empty for the project's own.
    directory: &'a str,
    /// The names of the modules that lead there, joined; none for the project's own files.
    prefix: Option<&'a str>,
    /// The directories on the way, for modules that would use themselves.
    path: Vec<&'a str>,
}

/// Reads the project's files.
pub(super) fn read_project(sources: &Sources, scopes: Scopes, problems: &mut Diagnostics) -> Level {
    let position = Position {
        directory: "",
        prefix: None,
        path: Vec::new(),
    };
    let files: Vec<_> = sources.files().collect();
    read_level(sources, &files, &position, scopes, None, problems)
}

fn read_level(
    sources: &Sources,
    files: &[&Arc<SourceFile>],
    position: &Position<'_>,
    mut scopes: Scopes,
    outputs: Option<&mut Node>,
    problems: &mut Diagnostics,
) -> Level {
    let mut found = Found::default();
    let mut incomplete = false;
    for file in files {
        let mut reader = Reader {
            file,
            position,
            scopes: &scopes,
            last: None,
            count: 0,
            found: &mut found,
            problems,
        };
        let (complete, problems_of_yaml) = yaml::read(file, &mut |node| reader.next(node));
        let is_empty = reader.finish() == 0;
        incomplete |= !complete;
        if is_empty && problems_of_yaml.is_empty() {
            problems.push(
                Diagnostic::error("empty-file", "empty file")
                    .detail(format!("`{}` holds no document.", file.path()))
                    .at(Span::of_file(file))
                    .hint("write a document, or remove the file"),
            );
        }
        problems.extend(problems_of_yaml);
    }
    let Found {
        mut content,
        mut later,
    } = found;
    if let Some(prefix) = position.prefix {
        let own = Names::of(later.iter().map(|raw| &raw.node));
        for raw in &mut later {
            raw.node = own.prefixed(prefix, &raw.node, problems);
        }
        if let Some(outputs) = outputs {
            *outputs = own.expressions(prefix, outputs);
        }
    }
    let (modules, others): (Vec<_>, Vec<_>) = later
        .into_iter()
        .partition(|raw| raw.node.get("type").and_then(Node::as_str) == Some(MODULE));
    for raw in in_order(modules, problems) {
        let mut uses = Vec::new();
        expand::instances(raw.node, &scopes, problems, &mut |instance, _| {
            uses.push(instance.node);
        });
        for node in uses {
            let Some((name, used)) = use_module(sources, &node, position, problems) else {
                incomplete = true;
                continue;
            };
            incomplete |= used.incomplete;
            content.documents.extend(used.content.documents);
            content.declared.extend(used.content.declared);
            scopes.modules.insert(name, used.outputs);
        }
    }
    for raw in others {
        raw.read(position, &scopes, &mut content, problems);
    }
    Level {
        content,
        scopes,
        incomplete,
    }
}

/// What the files of a level hold.
#[derive(Default)]
struct Found {
    /// What was read at once.
    content: Content,
    /// Documents that others must be known for.
    later: Vec<Raw>,
}

/// Takes a file's documents one after another.
struct Reader<'a> {
    file: &'a Arc<SourceFile>,
    position: &'a Position<'a>,
    scopes: &'a Scopes,
    /// The last one: it ends where the next one starts.
    last: Option<Node>,
    /// How many there were so far.
    count: usize,
    found: &'a mut Found,
    problems: &'a mut Diagnostics,
}

impl Reader<'_> {
    fn next(&mut self, node: Node) {
        let start = node.span.start;
        if let Some(last) = self.last.replace(node) {
            self.take(last, start);
        }
    }

    /// Takes the last one, and returns how many there were.
    fn finish(mut self) -> usize {
        if let Some(last) = self.last.take() {
            let end = self.file.text().len();
            self.take(last, end);
        }
        self.count
    }

    fn take(&mut self, node: Node, end: usize) {
        let raw = Raw {
            file: self.file.clone(),
            range: node.span.start..end,
            node,
        };
        self.count += 1;
        let Found { content, later } = &mut *self.found;
        // In a module names depend on what else there is; elsewhere only the outputs of modules are not known yet.
        let is_resource = raw.node.get("type").and_then(Node::as_str) == Some(RESOURCE);
        if is_resource && self.position.prefix.is_none() && used_modules(&raw.node).is_empty() {
            raw.read(self.position, self.scopes, content, self.problems);
        } else {
            later.push(raw);
        }
    }
}

impl Raw {
    /// Reads the documents that it stands for.
    fn read(self, position: &Position<'_>, scopes: &Scopes, into: &mut Content, problems: &mut Diagnostics) {
        let Self { file, range, node } = self;
        expand::instances(node, scopes, problems, &mut |instance, problems| {
            let Instance { node, each } = instance;
            let document = Document::read(&file, range.clone(), node, problems);
            let Some(document) = document else { return };
            let document = Document {
                each,
                module: position.prefix.map(Arc::from),
                ..document
            };
            match document.document_type.value == RESOURCE {
                true => into.declared.push(DeclaredResource::read(&document)),
                false => into.documents.push(document),
            }
        });
    }
}

/// One use of a module.
struct Used {
    content: Content,
    outputs: Node,
    incomplete: bool,
}

/// Reads what one `type: module` document stands for, and returns it with the name that references use.
fn use_module(
    sources: &Sources,
    node: &Node,
    outer: &Position<'_>,
    problems: &mut Diagnostics,
) -> Option<(String, Used)> {
    let mut map = MapReader::open(node, "module", problems)?;
    map.known(&["type"]);
    let name = map.required::<Spanned<String>>("name");
    let source = map.required::<Spanned<String>>("source");
    let inputs = map.get("inputs").filter(|node| !node.is_null()).cloned();
    map.finish();
    let (name, source) = (name?, source?);
    // Within a module the name has the outer one in front already; references from within have it not.
    let own = outer
        .prefix
        .and_then(|prefix| name.value.strip_prefix(prefix)?.strip_prefix('/'))
        .unwrap_or(&name.value)
        .to_owned();
    if own.contains('/') || ResourceName::new(&own).is_err() {
        problems.push(super::settings::bad_name(
            MODULE,
            &name,
            "It must be one word of a path.",
        ));
        return None;
    }
    let Some(directory) = join(outer.directory, &source.value) else {
        problems.push(
            Diagnostic::error("bad-module", "invalid source of a module")
                .detail(format!(
                    "`{}` is no relative path.",
                    super::decode::excerpt(&source.value)
                ))
                .at(source.span.clone())
                .hint("such as `./modules/edge`"),
        );
        return None;
    };
    if outer.path.contains(&directory.as_str()) || outer.path.len() >= DEEPEST {
        problems.push(
            Diagnostic::error("module-in-itself", "module within itself")
                .detail(format!(
                    "The module in `{directory}` uses itself, by way of {}.",
                    outer.path.join(", ")
                ))
                .at(source.span.clone())
                .hint("take one of the uses out"),
        );
        return None;
    }
    if let Some(root) = sources.root()
        && let Err(why) = root.check(&sources.directory().join(&directory))
    {
        problems.push(
            Diagnostic::error("path-outside", "path that leads outside")
                .detail(format!("`{directory}` {why}."))
                .at(source.span.clone())
                .hint("put the module into the repository"),
        );
        return None;
    }
    let files = sources.module(&directory);
    if files.is_empty() {
        problems.push(
            Diagnostic::error("unknown-module", "unknown module")
                .detail(format!(
                    "`{directory}` holds no documents and no `{}`.",
                    MODULE_FILES[0]
                ))
                .at(source.span.clone())
                .hint("the path counts from the directory of this file"),
        );
        return None;
    }
    let (own_settings, files): (Vec<_>, Vec<_>) = files
        .into_iter()
        .partition(|file| MODULE_FILES.iter().any(|known| file.path().ends_with(known)));
    let (declared, mut outputs) = match own_settings.first() {
        Some(file) => read_interface(file, problems)?,
        None => (BTreeMap::new(), empty_map(&source.span)),
    };
    let before = problems.len();
    let given = Variables::of_inputs(&declared, inputs.as_ref(), &name, problems);
    if problems.len() > before {
        return None;
    }
    let mut path = outer.path.clone();
    path.push(&directory);
    let position = Position {
        directory: &directory,
        prefix: Some(&name.value),
        path,
    };
    let level = read_level(
        sources,
        &files,
        &position,
        Scopes::of_module(given),
        Some(&mut outputs),
        problems,
    );
    let used = Used {
        content: level.content,
        outputs: expand::expand(&outputs, &level.scopes, problems),
        incomplete: level.incomplete,
    };
    Some((own, used))
}

type Interface = (BTreeMap<String, variables::VariableDeclaration>, Node);

fn read_interface(file: &Arc<SourceFile>, problems: &mut Diagnostics) -> Option<Interface> {
    let (documents, found) = yaml::parse(file);
    let broken = found.has_errors();
    problems.extend(found);
    if broken {
        return None;
    }
    let whole = Span::of_file(file);
    let Some(node) = documents.into_iter().next() else {
        return Some((BTreeMap::new(), empty_map(&whole)));
    };
    let mut map = MapReader::open(&node, "module's file", problems)?;
    let inputs = map.get("inputs").filter(|node| !node.is_null()).cloned();
    let outputs = map.get("outputs").filter(|node| !node.is_null()).cloned();
    map.finish();
    let declared = inputs.map(|inputs| variables::read_declarations(&inputs, problems));
    Some((
        declared.unwrap_or_default(),
        outputs.unwrap_or_else(|| empty_map(&whole)),
    ))
}

fn empty_map(span: &Span) -> Node {
    Node {
        kind: NodeKind::Map(Vec::new()),
        span: span.clone(),
        alias: None,
    }
}

/// Puts a relative path onto a directory, both with `/`. `None` for an absolute one.
pub(super) fn join(directory: &str, path: &str) -> Option<String> {
    if path.is_empty() || path.starts_with('/') || Template::is_in(path) {
        return None;
    }
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Sorts modules so that each comes after those whose outputs it uses; those that use each other are reported.
fn in_order(modules: Vec<Raw>, problems: &mut Diagnostics) -> Vec<Raw> {
    let name = |raw: &Raw| {
        raw.node
            .get("name")
            .and_then(Node::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let names: Vec<String> = modules.iter().map(name).collect();
    let needs: Vec<BTreeSet<String>> = modules.iter().map(|raw| used_modules(&raw.node)).collect();
    // `for_each` puts `-KEY` at the end of a name; within a module the outer name stands in front.
    let is_of = |used: &str, name: &str| {
        let own = name.rsplit('/').next().unwrap_or(name);
        used.strip_prefix(own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let mut left: Vec<(usize, Raw)> = modules.into_iter().enumerate().collect();
    let mut sorted = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |index: usize| {
            left.iter()
                .any(|(other, _)| needs[index].iter().any(|used| is_of(used, &names[*other])))
        };
        let ready: BTreeSet<usize> = left
            .iter()
            .map(|(index, _)| *index)
            .filter(|index| !waits(*index))
            .collect();
        if ready.is_empty() {
            for (_, raw) in &left {
                problems.push(
                    raw.node
                        .error("module-cycle", "modules that need each other")
                        .detail("This module's inputs use outputs of a module that in turn needs this one's.")
                        .hint("give one of them a value that does not come from the other"),
                );
            }
            return sorted;
        }
        let (now, later) = left.into_iter().partition(|(index, _)| ready.contains(index));
        left = later;
        let now: Vec<(usize, Raw)> = now;
        sorted.extend(now.into_iter().map(|(_, raw)| raw));
    }
    sorted
}

/// The modules whose outputs a node's expressions use.
fn used_modules(node: &Node) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    each_text(node, &mut |text| {
        let Ok(template) = Template::parse(text) else {
            return;
        };
        for reference in template.references() {
            if matches!(&reference.target, Target::Scope(scope) if &**scope == MODULE)
                && let Some(PathSegment::Key(name)) = reference.path.0.first()
            {
                used.insert(name.to_string());
            }
        }
    });
    used
}

fn each_text(node: &Node, visit: &mut dyn FnMut(&str)) {
    match &node.kind {
        NodeKind::String(text) if Template::is_in(text) => visit(text),
        NodeKind::List(items) => items.iter().for_each(|item| each_text(item, visit)),
        NodeKind::Map(entries) => entries.iter().for_each(|(_, value)| each_text(value, visit)),
        _ => {}
    }
}

/// The names that a module's documents declare.
#[derive(Default)]
struct Names {
    /// `kind.name` of low-level resources; with `for_each` their copies have more after a `/`.
    resources: BTreeSet<(String, String)>,
    /// `kind.name` of what is read; with `for_each` as with resources.
    data: BTreeSet<(String, String)>,
    /// Type and name of all other documents.
    documents: BTreeSet<(String, String)>,
}

impl Names {
    fn of<'a>(nodes: impl Iterator<Item = &'a Node>) -> Self {
        let mut names = Self::default();
        for node in nodes {
            let text = |key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
            match (text("type"), text("kind"), text("name")) {
                (Some(kind), Some(resource), Some(name)) if kind == RESOURCE => {
                    names.resources.insert((resource, name));
                }
                (Some(kind), Some(read), Some(name)) if kind == DATA => {
                    names.data.insert((read, name));
                }
                (Some(kind), _, Some(name)) if kind != MODULE => {
                    names.documents.insert((kind, name));
                }
                _ => {}
            }
        }
        names
    }

    /// Makes a document the module's own: its name, the names that it uses, and its references.
    fn prefixed(&self, prefix: &str, node: &Node, problems: &mut Diagnostics) -> Node {
        let node = self.expressions(prefix, node);
        let document_type = node
            .get("type")
            .and_then(Node::text)
            .unwrap_or_default()
            .to_owned();
        let NodeKind::Map(entries) = &node.kind else {
            return node;
        };
        let change = |(key, value): &(Key, Node)| {
            let value = match (document_type.as_str(), key.name.as_str()) {
                (_, "name") => {
                    if value.as_str().is_some_and(Template::is_in) {
                        problems.push(
                            value
                                .error("bad-name", "expression in a name")
                                .detail("A name within a module holds no expression: it gets the module's name in front.")
                                .hint("write a plain name; `for_each` gives each copy its key"),
                        );
                    }
                    named(
                        value,
                        prefix,
                        matches!(document_type.as_str(), "resource" | DATA | MODULE),
                    )
                }
                ("resource", "depends_on") => self.addresses(prefix, value),
                ("resource", "lifecycle") => change_key(value, "replace_triggered_by", |value| {
                    self.triggers(prefix, value)
                }),
                ("moved" | "removed" | "import", "from" | "to") => {
                    // What was once declared here need not be any more.
                    each_string(value, &|text| {
                        let address = text.parse::<ResourceAddress>().ok()?;
                        let own = self.own(prefix, &address);
                        own.or_else(|| within(prefix, &address))
                            .map(|own| own.to_string())
                    })
                }
                (_, key) => match value.as_str() {
                    // A key that is a document type names a document of it: `gateway: front`.
                    Some(text) if self.documents.contains(&(key.to_owned(), text.to_owned())) => {
                        named(value, prefix, false)
                    }
                    _ => value.clone(),
                },
            };
            (key.clone(), value)
        };
        let kind = NodeKind::Map(entries.iter().map(change).collect());
        Node { kind, ..node.clone() }
    }

    /// Makes plain addresses the module's own.
    fn addresses(&self, prefix: &str, node: &Node) -> Node {
        each_string(node, &|text| {
            let own = self.own(prefix, &text.parse().ok()?)?;
            Some(own.to_string())
        })
    }

    /// Makes `kind.name` and `kind.name.attribute` the module's own.
    fn triggers(&self, prefix: &str, node: &Node) -> Node {
        each_string(node, &|text| {
            let template = Template::parse(&format!("${{{{ {text} }}}}")).ok()?;
            let reference = template.single()?;
            let Target::Resource(address) = &reference.target else {
                return None;
            };
            let target = Target::Resource(self.own(prefix, address)?);
            Some(
                Reference {
                    target,
                    ..reference.clone()
                }
                .to_string(),
            )
        })
    }

    /// Makes the references of expressions the module's own.
    fn expressions(&self, prefix: &str, node: &Node) -> Node {
        let kind = match &node.kind {
            NodeKind::String(text) if Template::is_in(text) => {
                let Ok(template) = Template::parse(text) else {
                    return node.clone();
                };
                let mut changed = String::new();
                let mut done = 0;
                for reference in template.references() {
                    let own = match &reference.target {
                        Target::Resource(address) => self.own(prefix, address).map(Target::Resource),
                        Target::Data(address) => self.own_data(prefix, address).map(Target::Data),
                        _ => None,
                    };
                    if let Some(target) = own {
                        changed.push_str(&text[done..reference.range.start]);
                        changed.push_str(
                            &Reference {
                                target,
                                ..reference.clone()
                            }
                            .to_string(),
                        );
                        done = reference.range.end;
                    }
                }
                changed.push_str(&text[done..]);
                NodeKind::String(changed)
            }
            NodeKind::List(items) => {
                NodeKind::List(items.iter().map(|item| self.expressions(prefix, item)).collect())
            }
            NodeKind::Map(entries) => NodeKind::Map(
                entries
                    .iter()
                    .map(|(key, value)| (key.clone(), self.expressions(prefix, value)))
                    .collect(),
            ),
            _ => return node.clone(),
        };
        Node { kind, ..node.clone() }
    }

    /// Returns the address that what is read within the module has, if the module declares it.
    fn own_data(&self, prefix: &str, address: &ResourceAddress) -> Option<ResourceAddress> {
        declares(&self.data, address).then(|| within(prefix, address))?
    }

    /// Returns the address that an address within the module stands for, if the module declares it.
    fn own(&self, prefix: &str, address: &ResourceAddress) -> Option<ResourceAddress> {
        if declares(&self.resources, address) {
            return within(prefix, address);
        }
        let name = address.name.as_str();
        // A lowered resource's name is a path with names of documents in it.
        let is_document = |part: &str| self.documents.iter().any(|(_, name)| name == part);
        let parts: Vec<String> = name
            .split('/')
            .map(|part| match is_document(part) {
                true => dashed(prefix, part),
                false => part.to_owned(),
            })
            .collect();
        let own = parts.join("/");
        if own == name {
            return None;
        }
        let name = ResourceName::new(&own).ok()?;
        Some(ResourceAddress::new(address.resource_type.clone(), name))
    }
}

/// Returns whether an address is one of those declared, or of a copy that `for_each` makes of one.
fn declares(declared: &BTreeSet<(String, String)>, address: &ResourceAddress) -> bool {
    let is_declared =
        |name: &str| declared.contains(&(address.resource_type.as_str().to_owned(), name.to_owned()));
    let name = address.name.as_str();
    is_declared(name) || name.rsplit_once('/').is_some_and(|(name, _)| is_declared(name))
}

/// Returns the address that a low-level resource within the module has.
fn within(prefix: &str, address: &ResourceAddress) -> Option<ResourceAddress> {
    let name = ResourceName::new(&format!("{prefix}/{}", address.name)).ok()?;
    Some(ResourceAddress::new(address.resource_type.clone(), name))
}

/// Changes plain texts, alone or in a list; what the change does not know stays.
fn each_string(node: &Node, change: &dyn Fn(&str) -> Option<String>) -> Node {
    let kind = match &node.kind {
        NodeKind::String(text) if !Template::is_in(text) => match change(text) {
            Some(changed) => NodeKind::String(changed),
            None => return node.clone(),
        },
        NodeKind::List(items) => NodeKind::List(items.iter().map(|item| each_string(item, change)).collect()),
        _ => return node.clone(),
    };
    Node { kind, ..node.clone() }
}

fn dashed(prefix: &str, name: &str) -> String {
    format!("{}-{name}", prefix.replace('/', "-"))
}

/// Puts the module's name in front of a name.
fn named(node: &Node, prefix: &str, is_path: bool) -> Node {
    let Some(text) = node.text() else {
        return node.clone();
    };
    let name = if is_path {
        format!("{prefix}/{text}")
    } else {
        dashed(prefix, text)
    };
    Node {
        kind: NodeKind::String(name),
        ..node.clone()
    }
}

fn change_key(node: &Node, name: &str, change: impl Fn(&Node) -> Node) -> Node {
    let NodeKind::Map(entries) = &node.kind else {
        return node.clone();
    };
    let entries = entries.iter().map(|(key, value)| {
        let value = if key.name == name {
            change(value)
        } else {
            value.clone()
        };
        (key.clone(), value)
    });
    Node {
        kind: NodeKind::Map(entries.collect()),
        ..node.clone()
    }
}
