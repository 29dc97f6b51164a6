//! Expansion: `vars`, `inputs`, `module` and `each` in the nodes of documents, and documents with `for_each`.
//!
//! It is done on nodes, before anything else reads them: a variable may stand wherever a value may, and keeps its type.
//! What came from a variable keeps the place of its value, and says where it was used.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::decode::excerpt;
use super::expression::{Reference, Target, Template};
use super::modules::MODULE;
use super::node::{Key, Node, NodeKind};
use super::variables::Variables;
use crate::diagnostic::{Diagnostic, Diagnostics, Span, suggestion};
use crate::value::PathSegment;

/// How many documents one `for_each` may make.
const MOST_INSTANCES: usize = 10_000;

/// The scopes that expansion knows.
const VARS: &str = "vars";
const EACH: &str = "each";
const INPUTS: &str = "inputs";

/// What expressions may refer to at one level: in the project's own files, or in those of a module.
#[derive(Clone, Default)]
pub(super) struct Scopes {
    /// The project's variables; a module sees none of them.
    variables: Option<Variables>,
    /// A module's inputs.
    inputs: Option<Variables>,
    /// The outputs of the modules that are used at this level, by name.
    pub(super) modules: BTreeMap<String, Node>,
}

impl Scopes {
    /// What the project's own files may refer to.
    pub(super) fn of_project(variables: Variables) -> Self {
        Self {
            variables: Some(variables),
            ..Self::default()
        }
    }

    /// What a module's files may refer to.
    pub(super) fn of_module(inputs: Variables) -> Self {
        Self {
            inputs: Some(inputs),
            ..Self::default()
        }
    }
}

/// A document's node after expansion, and the key of the `for_each` entry that it is for.
pub(super) struct Instance {
    pub(super) node: Node,
    pub(super) each: Option<Arc<str>>,
}

/// What the scopes mean in one place.
#[derive(Clone, Copy)]
struct Bindings<'a> {
    scopes: &'a Scopes,
    each: Option<(&'a Key, &'a Node)>,
}

/// Expands the expressions of a node that `for_each` does not multiply.
pub(super) fn expand(node: &Node, scopes: &Scopes, problems: &mut Diagnostics) -> Node {
    let bindings = Bindings { scopes, each: None };
    bindings.expand(node, problems)
}

/// Expands a document into the documents that it stands for, and hands each on: one, unless it has `for_each`.
pub(super) fn instances(
    mut node: Node,
    scopes: &Scopes,
    problems: &mut Diagnostics,
    take: &mut dyn FnMut(Instance, &mut Diagnostics),
) {
    let outer = Bindings { scopes, each: None };
    let Some((key, written)) = node.entry("for_each") else {
        outer.expand_in_place(&mut node, problems);
        return take(Instance { node, each: None }, problems);
    };
    let collection = outer.expand(written, problems);
    let Some(entries) = entries(key, &collection, problems) else {
        return;
    };
    let template = without(&node, "for_each");
    for (key, value) in &entries {
        let bindings = Bindings {
            scopes,
            each: Some((key, value)),
        };
        // What is wrong with the template is wrong in every copy, and is said once.
        let mut said = Diagnostics::new();
        let expanded = bindings.expand(&template, &mut said);
        let broken = said.has_errors();
        problems.extend(said);
        let instance = Instance {
            node: named(expanded, &template, key),
            each: Some(key.name.as_str().into()),
        };
        take(instance, problems);
        if broken {
            break;
        }
    }
}

/// Reads what `for_each` goes over: a map, or a list of different texts.
fn entries(key: &Key, collection: &Node, problems: &mut Diagnostics) -> Option<Vec<(Key, Node)>> {
    let entries = match &collection.kind {
        NodeKind::Map(entries) => entries.clone(),
        NodeKind::List(items) => {
            let mut seen: BTreeSet<&str> = BTreeSet::new();
            let mut entries = Vec::new();
            for item in items {
                let Some(text) = item.text().filter(|text| !Template::is_in(text)) else {
                    problems.push(item.wrong_type("a key: text that is known when planning"));
                    return None;
                };
                if !seen.insert(text) {
                    problems.push(
                        item.error("duplicate-key", "duplicate key")
                            .detail(format!("`{}` is in this list twice.", excerpt(text)))
                            .hint("remove one of the two"),
                    );
                    return None;
                }
                let name = text.to_owned();
                let span = item.span.clone();
                entries.push((Key { name, span }, item.clone()));
            }
            entries
        }
        NodeKind::String(text) if is_left_over(text) => return None,
        NodeKind::String(text) if Template::is_in(text) => {
            problems.push(
                collection
                    .error("unknown-keys", "keys that are not known when planning")
                    .detail("What `for_each` goes over must be known before anything is made.")
                    .hint("write the map itself, or a variable: `${{ vars.NAME }}`"),
            );
            return None;
        }
        _ => {
            problems.push(collection.wrong_type("a map, or a list of keys"));
            return None;
        }
    };
    if entries.len() > MOST_INSTANCES {
        problems.push(
            Diagnostic::error("too-many-instances", "too many documents")
                .detail(format!(
                    "This makes {} documents; one `for_each` may make {MOST_INSTANCES}.",
                    entries.len()
                ))
                .at(key.span.clone())
                .hint("split the collection"),
        );
        return None;
    }
    Some(entries)
}

fn without(node: &Node, name: &str) -> Node {
    match &node.kind {
        NodeKind::Map(entries) => Node {
            kind: NodeKind::Map(
                entries
                    .iter()
                    .filter(|(key, _)| key.name != name)
                    .cloned()
                    .collect(),
            ),
            ..node.clone()
        },
        _ => node.clone(),
    }
}

/// Makes a copy's name its own: a name that does not hold `each.key` gets the key at its end.
fn named(mut node: Node, template: &Node, key: &Key) -> Node {
    let holds_key = template
        .get("name")
        .and_then(Node::as_str)
        .and_then(|text| Template::parse(text).ok())
        .is_some_and(|template| template.references().any(is_key));
    if holds_key {
        return node;
    }
    // Resources are addressed by paths; everything else by names that hold no `/`.
    let separator = match node.get("type").and_then(Node::text) {
        Some("resource" | "data") => '/',
        _ => '-',
    };
    if let NodeKind::Map(entries) = &mut node.kind
        && let Some((_, name)) = entries.iter_mut().find(|(key, _)| key.name == "name")
        && let Some(text) = name.text()
    {
        name.kind = NodeKind::String(format!("{text}{separator}{}", key.name));
    }
    node
}

fn is_key(reference: &Reference) -> bool {
    matches!(&reference.target, Target::Scope(scope) if &**scope == EACH)
        && matches!(&*reference.path.0, [PathSegment::Key(name)] if &**name == "key")
}

impl Bindings<'_> {
    /// Like [`Bindings::expand`], for a node that is needed no more as it was.
    fn expand_in_place(&self, node: &mut Node, problems: &mut Diagnostics) {
        match &mut node.kind {
            NodeKind::String(text) if Template::is_in(text) => *node = self.expand(node, problems),
            NodeKind::List(items) => {
                for item in items {
                    self.expand_in_place(item, problems);
                }
            }
            NodeKind::Map(entries) => {
                for (_, value) in entries {
                    self.expand_in_place(value, problems);
                }
            }
            _ => {}
        }
    }

    fn expand(&self, node: &Node, problems: &mut Diagnostics) -> Node {
        let kind = match &node.kind {
            NodeKind::String(text) if Template::is_in(text) => return self.expand_text(node, text, problems),
            NodeKind::List(items) => {
                NodeKind::List(items.iter().map(|item| self.expand(item, problems)).collect())
            }
            NodeKind::Map(entries) => NodeKind::Map(
                entries
                    .iter()
                    .map(|(key, value)| (key.clone(), self.expand(value, problems)))
                    .collect(),
            ),
            _ => return node.clone(),
        };
        Node { kind, ..node.clone() }
    }

    fn expand_text(&self, node: &Node, text: &str, problems: &mut Diagnostics) -> Node {
        // A text that does not parse is reported by whoever reads it.
        let Ok(template) = Template::parse(text) else {
            return node.clone();
        };
        if let Some(reference) = template.single()
            && is_ours(reference)
        {
            let use_site = node.part(reference.range.start, reference.range.end);
            return match self.resolve(reference) {
                Ok(found) => used_at(&found, &use_site),
                Err(problem) => {
                    problems.extend(problem.map(|problem| problem.at(use_site)));
                    node.clone()
                }
            };
        }
        let mut expanded = String::new();
        let mut done = 0;
        for reference in template.references().filter(|reference| is_ours(reference)) {
            let use_site = node.part(reference.range.start, reference.range.end);
            let found = match self.resolve(reference) {
                Ok(found) => found,
                Err(problem) => {
                    problems.extend(problem.map(|problem| problem.at(use_site)));
                    return node.clone();
                }
            };
            let Some(value) = found.text() else {
                problems.push(
                    Diagnostic::error("not-text", "list or map within a text")
                        .detail(format!(
                            "`{reference}` is {} and cannot stand within a text.",
                            found.describe()
                        ))
                        .at(use_site)
                        .related(found.span.clone(), "its value is here")
                        .hint("let the expression stand alone"),
                );
                return node.clone();
            };
            // The parser takes a reference only between these.
            let start = text[..reference.range.start]
                .rfind("${{")
                .unwrap_or(reference.range.start);
            let end = reference.range.end + text[reference.range.end..].find("}}").map_or(0, |at| at + 2);
            expanded.push_str(&text[done..start]);
            expanded.push_str(value);
            done = end;
        }
        expanded.push_str(&text[done..]);
        Node {
            kind: NodeKind::String(expanded),
            ..node.clone()
        }
    }

    /// Returns the value of a reference, or the problem with it; none when that was said where a variable is declared.
    fn resolve(&self, reference: &Reference) -> Result<Node, Option<Diagnostic>> {
        self.find(reference).map_err(|problem| *problem)
    }

    fn find(&self, reference: &Reference) -> Result<Node, Box<Option<Diagnostic>>> {
        let mut path = reference.path.0.iter();
        let scope = match &reference.target {
            Target::Scope(scope) => &**scope,
            _ => unreachable!("only references to a scope are resolved here"),
        };
        let name = path.next().and_then(|segment| match segment {
            PathSegment::Key(name) => Some(&**name),
            PathSegment::Index(_) => None,
        });
        let mut found = match scope {
            VARS => match &self.scopes.variables {
                Some(variables) => named_value(variables, VARS, name)?,
                None => {
                    return Err(some(
                        Diagnostic::error("no-variables", "`vars` within a module")
                            .detail("The variables of the project have no meaning in the files of a module.")
                            .hint("declare an input in `module.yml`, and give it the variable where the module is used"),
                    ));
                }
            },
            INPUTS => match &self.scopes.inputs {
                Some(inputs) => named_value(inputs, INPUTS, name)?,
                None => {
                    return Err(some(
                        Diagnostic::error("no-inputs", "`inputs` outside a module")
                            .detail("`inputs` has a meaning only in the files of a module.")
                            .hint("declare a variable under `vars`, and write `${{ vars.NAME }}`"),
                    ));
                }
            },
            MODULE => match name.and_then(|name| self.scopes.modules.get(name)) {
                Some(outputs) => outputs.clone(),
                None => {
                    let known = self.scopes.modules.keys().map(String::as_str);
                    let near = suggestion(name.unwrap_or_default(), known);
                    return Err(some(
                        Diagnostic::error("unknown-reference", "unknown reference")
                            .detail(format!("No module `{}` is used here.", name.unwrap_or_default()))
                            .hint(near.unwrap_or_else(|| {
                                "write `${{ module.NAME.OUTPUT }}`, with the name of a `type: module` document".to_owned()
                            })),
                    ));
                }
            },
            _ => match (self.each, name) {
                (None, _) => {
                    return Err(some(
                        Diagnostic::error("no-for-each", "`each` without `for_each`")
                            .detail("`each` has a meaning only in a document with the key `for_each`.")
                            .hint("add `for_each: …` beside `type`"),
                    ));
                }
                (Some((key, _)), Some("key")) => Node {
                    kind: NodeKind::String(key.name.clone()),
                    span: key.span.clone(),
                    alias: None,
                },
                (Some((_, value)), Some("value")) => value.clone(),
                _ => {
                    return Err(some(
                        Diagnostic::error("unknown-reference", "unknown reference")
                            .detail("`each` has `each.key` and `each.value`.")
                            .hint("write `${{ each.key }}` or `${{ each.value }}`"),
                    ));
                }
            },
        };
        for segment in path {
            let next = match segment {
                PathSegment::Key(name) => found.get(name).cloned(),
                PathSegment::Index(index) => found.as_list().and_then(|items| items.get(*index)).cloned(),
            };
            found = match next {
                Some(next) => next,
                None => {
                    let names = found.as_map().unwrap_or_default().iter();
                    let names: Vec<&str> = names.map(|(key, _)| key.name.as_str()).collect();
                    let hint = match segment {
                        PathSegment::Key(name) => suggestion(name, names.iter().copied()),
                        PathSegment::Index(_) => None,
                    };
                    return Err(some(
                        Diagnostic::error("unknown-reference", "unknown reference")
                            .detail(format!("`{reference}` is not in the value of `{scope}` here."))
                            .related(found.span.clone(), "the value is here")
                            .hint(hint.unwrap_or_else(|| "write a key that it has".to_owned())),
                    ));
                }
            };
        }
        Ok(found)
    }
}

/// Returns a variable's or an input's value.
fn named_value(values: &Variables, scope: &str, name: Option<&str>) -> Result<Node, Box<Option<Diagnostic>>> {
    let (who, what, unknown) = match scope {
        VARS => ("project", "variable", "unknown variable"),
        _ => ("module", "input", "unknown input"),
    };
    let Some(name) = name else {
        return Err(some(
            Diagnostic::error("unknown-variable", "reference without a name")
                .detail(format!("`{scope}` is followed by a name: that of one {what}."))
                .hint(format!("write `${{{{ {scope}.NAME }}}}`")),
        ));
    };
    match values.values().get(name) {
        Some(node) => Ok(node.clone()),
        // Declared and without a value: said where it is declared.
        None if values.is_declared(name) => Err(Box::new(None)),
        None => Err(some(
            Diagnostic::error("unknown-variable", unknown)
                .detail(format!("The {who} declares no {what} `{name}`."))
                .hint(values.hint(name)),
        )),
    }
}

fn some(problem: Diagnostic) -> Box<Option<Diagnostic>> {
    Box::new(Some(problem))
}

/// Tells whether a word names a scope that expansion knows.
pub(super) fn is_scope(name: &str) -> bool {
    matches!(name, VARS | EACH | INPUTS | MODULE)
}

fn is_ours(reference: &Reference) -> bool {
    matches!(&reference.target, Target::Scope(scope) if is_scope(scope))
}

/// Tells whether a text still holds an expression that expansion should have filled: why it did not was reported, and
/// what follows from it is not worth a word.
pub(super) fn is_left_over(text: &str) -> bool {
    let text = text.trim_matches(['"', '\'']);
    Template::is_in(text) && Template::parse(text).is_ok_and(|template| template.references().any(is_ours))
}

/// A value where it is used: its place stays that of the value, and every part of it knows where it is used.
fn used_at(node: &Node, use_site: &Span) -> Node {
    let kind = match &node.kind {
        NodeKind::List(items) => NodeKind::List(items.iter().map(|item| used_at(item, use_site)).collect()),
        NodeKind::Map(entries) => NodeKind::Map(
            entries
                .iter()
                .map(|(key, value)| (key.clone(), used_at(value, use_site)))
                .collect(),
        ),
        kind => kind.clone(),
    };
    Node {
        kind,
        span: node.span.clone(),
        alias: Some(node.alias.clone().unwrap_or_else(|| use_site.clone())),
    }
}
