//! Variables: what a project leaves open, declared under `vars` in `gabion.yml` and filled from outside.
//!
//! Values come in layers; of two layers the later one wins: the declaration's default, the stack's file
//! (`gabion.STACK.yml`), the environment (`GABION_VAR_NAME`), files given with `--var-file`, and `--var NAME=VALUE`.
//! They are known before anything else is read, so that they may stand wherever a value may.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decode::{Keyword, Spanned};
use super::expression::Template;
use super::map_reader::MapReader;
use super::node::{Key, Node, NodeKind};
use super::yaml;
use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile, Span, suggestion};

/// What a variable holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariableKind {
    /// Anything.
    Any,
    /// Text; a number or boolean is taken as it is written.
    String,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// `true` or `false`, with YAML 1.1's other words for them.
    Bool,
    /// A list.
    List,
    /// A map.
    Map,
}

impl Keyword for VariableKind {
    const WHAT: &'static str = "a variable's type";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("string", Self::String),
        ("int", Self::Int),
        ("float", Self::Float),
        ("bool", Self::Bool),
        ("list", Self::List),
        ("map", Self::Map),
        ("any", Self::Any),
    ];
}

impl VariableKind {
    fn expected(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::String => "text",
            Self::Int => "a whole number",
            Self::Float => "a number",
            Self::Bool => "`true` or `false`",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }

    /// Returns the value as this kind has it; `None` when it is of another.
    fn read(self, node: &Node) -> Option<Node> {
        let kind = match (self, &node.kind) {
            (Self::Any, kind) => kind.clone(),
            (Self::String, _) => NodeKind::String(node.text()?.to_owned()),
            (Self::Bool, _) => NodeKind::Bool(node.as_bool()?),
            (Self::Float, NodeKind::Int(number)) => NodeKind::Int(*number),
            (Self::Int, kind @ NodeKind::Int(_))
            | (Self::Float, kind @ NodeKind::Float(_))
            | (Self::List, kind @ NodeKind::List(_))
            | (Self::Map, kind @ NodeKind::Map(_)) => kind.clone(),
            _ => return None,
        };
        Some(Node { kind, ..node.clone() })
    }
}

/// A variable as `gabion.yml` declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct VariableDeclaration {
    /// What it holds.
    pub kind: VariableKind,
    /// Its value when nobody gives another; without one it must be given.
    pub default: Option<Node>,
    /// What it is for.
    pub description: Option<String>,
    /// Where it is declared.
    pub span: Span,
}

/// The declarations of `vars`, by name.
pub(super) fn read_declarations(
    node: &Node,
    problems: &mut Diagnostics,
) -> BTreeMap<String, VariableDeclaration> {
    let Some(entries) = node.as_map() else {
        problems.push(node.wrong_type("a map: each variable's name with its declaration"));
        return BTreeMap::new();
    };
    let mut declared = BTreeMap::new();
    for (key, node) in entries {
        if !super::secrets::is_variable(&key.name) {
            problems.push(
                Diagnostic::error("bad-variable", "invalid variable name")
                    .detail("A variable's name has letters, digits and `_`, and starts with no digit.")
                    .at(key.span.clone())
                    .hint("such as `replica_count`"),
            );
            continue;
        }
        if let Some(declaration) = read_declaration(key, node, problems) {
            declared.insert(key.name.clone(), declaration);
        }
    }
    declared
}

fn read_declaration(key: &Key, node: &Node, problems: &mut Diagnostics) -> Option<VariableDeclaration> {
    if !matches!(node.kind, NodeKind::Map(_) | NodeKind::Null) {
        // `size: 3` is a default, and says the kind.
        let kind = match &node.kind {
            NodeKind::Bool(_) => VariableKind::Bool,
            NodeKind::Int(_) => VariableKind::Int,
            NodeKind::Float(_) => VariableKind::Float,
            NodeKind::String(_) => VariableKind::String,
            NodeKind::List(_) => VariableKind::List,
            NodeKind::Null | NodeKind::Map(_) => VariableKind::Any,
        };
        return refuse_expressions(node, problems).then(|| VariableDeclaration {
            kind,
            default: Some(node.clone()),
            description: None,
            span: key.span.clone(),
        });
    }
    if node.is_null() {
        return Some(VariableDeclaration {
            kind: VariableKind::String,
            default: None,
            description: None,
            span: key.span.clone(),
        });
    }
    let mut map = MapReader::open(node, "variable", problems)?;
    map.place(key.span.clone());
    let kind = map.or("type", VariableKind::Any);
    let default = map.get("default").cloned();
    let description = map.optional::<String>("description");
    map.refuse(
        "sensitive",
        "A variable's value is written into plans and state.",
        "declare it under `secrets`, and write `${{ secrets.NAME }}`",
    );
    map.finish();
    let kind = kind?;
    let default = match default {
        None => None,
        Some(node) => match (refuse_expressions(&node, problems), kind.read(&node)) {
            (false, _) => return None,
            (true, Some(node)) => Some(node),
            (true, None) => {
                problems.push(node.wrong_type(kind.expected()));
                return None;
            }
        },
    };
    Some(VariableDeclaration {
        kind,
        default,
        description: description?,
        span: key.span.clone(),
    })
}

/// Values are known before anything else: no expression can stand in one. Reports every one that does.
fn refuse_expressions(node: &Node, problems: &mut Diagnostics) -> bool {
    let before = problems.len();
    report_expressions(node, problems);
    problems.len() == before
}

fn report_expressions(node: &Node, problems: &mut Diagnostics) {
    match &node.kind {
        NodeKind::String(text) if Template::is_in(text) => problems.push(
            node.error("unexpected-expression", "expression in a variable's value")
                .detail("Variables are known before anything else, so no expression can stand here.")
                .hint("write the value itself; use the variable where the expression is needed"),
        ),
        NodeKind::List(items) => items.iter().for_each(|item| report_expressions(item, problems)),
        NodeKind::Map(entries) => entries
            .iter()
            .for_each(|(_, item)| report_expressions(item, problems)),
        _ => {}
    }
}

/// Values of variables from outside the project's files.
#[derive(Clone, Debug, Default)]
pub struct GivenVariables {
    layers: Vec<Layer>,
}

#[derive(Clone, Debug)]
enum Layer {
    /// One value as a text, read as the variable's kind says.
    Text {
        name: String,
        file: Arc<SourceFile>,
        /// Whether a name that is not declared is somebody else's business.
        lenient: bool,
    },
    /// A file with a map of values.
    File {
        file: Arc<SourceFile>,
        key: Option<&'static str>,
    },
}

impl GivenVariables {
    /// Adds a value as a text, which overrides those before. `origin` says where it was given: `--var size`.
    pub fn add_text(&mut self, name: &str, text: &str, origin: &str) {
        let (name, file, lenient) = (name.to_owned(), SourceFile::argument(origin, text), false);
        self.layers.push(Layer::Text { name, file, lenient });
    }

    /// Adds a value from the environment, where other projects' variables may be too.
    pub fn add_environment(&mut self, name: &str, text: &str, variable: &str) {
        let (name, file, lenient) = (name.to_owned(), SourceFile::argument(variable, text), true);
        self.layers.push(Layer::Text { name, file, lenient });
    }

    /// Adds a file that is a map of values, which override those before.
    pub fn add_file(&mut self, file: Arc<SourceFile>) {
        self.layers.push(Layer::File { file, key: None });
    }

    /// Adds a stack's file, whose key `vars` is a map of values, which override those before.
    pub fn add_stack_file(&mut self, file: Arc<SourceFile>) {
        self.layers.push(Layer::File {
            file,
            key: Some("vars"),
        });
    }

    /// Returns the texts that values came from, for places in them.
    pub(super) fn files(&self) -> impl Iterator<Item = &Arc<SourceFile>> {
        self.layers.iter().map(|layer| match layer {
            Layer::Text { file, .. } | Layer::File { file, .. } => file,
        })
    }

    /// Returns each declared variable's value, and reports what is missing, unknown or of the wrong type.
    pub(super) fn resolve(
        &self,
        declared: &BTreeMap<String, VariableDeclaration>,
        settings: &str,
        problems: &mut Diagnostics,
    ) -> Variables {
        let mut values = BTreeMap::new();
        let mut broken = Vec::new();
        for layer in &self.layers {
            for (key, node) in layer.entries(declared, problems) {
                let Some(declaration) = declared.get(&key.name) else {
                    if !matches!(layer, Layer::Text { lenient: true, .. }) {
                        problems.push(undeclared(&key, declared, settings));
                    }
                    continue;
                };
                if !refuse_expressions(&node, problems) {
                    broken.push(key.name);
                    continue;
                }
                match declaration.kind.read(&node) {
                    Some(node) => drop(values.insert(key.name, node)),
                    None => {
                        problems.push(
                            node.wrong_type(declaration.kind.expected())
                                .related(declaration.span.clone(), "declared here"),
                        );
                        broken.push(key.name);
                    }
                }
            }
        }
        for (name, declaration) in declared {
            if values.contains_key(name) {
                continue;
            }
            match &declaration.default {
                Some(default) => drop(values.insert(name.clone(), default.clone())),
                None if broken.contains(name) => {}
                None => problems.push(
                    Diagnostic::error("missing-variable", "variable without a value")
                        .detail(format!(
                            "The variable `{name}` has no default{}.",
                            declaration
                                .description
                                .as_ref()
                                .map(|about| format!(", and must be given: {}", about.trim_end_matches('.')))
                                .unwrap_or_else(|| ", and must be given".to_owned())
                        ))
                        .at(declaration.span.clone())
                        .hint(format!("give it with `--var {name}=…`, or set GABION_VAR_{name}")),
                ),
            }
        }
        Variables {
            values,
            declared: declared.keys().cloned().collect(),
            hint: format!("declare it in `{settings}` under `vars`"),
        }
    }
}

impl Layer {
    fn entries(
        &self,
        declared: &BTreeMap<String, VariableDeclaration>,
        problems: &mut Diagnostics,
    ) -> Vec<(Key, Node)> {
        match self {
            Self::Text { name, file, .. } => {
                let whole = Span::new(file, 0, file.text().len());
                let key = Key {
                    name: name.clone(),
                    span: whole.clone(),
                };
                let as_text = Node {
                    kind: NodeKind::String(file.text().to_owned()),
                    span: whole,
                    alias: None,
                };
                if declared
                    .get(name)
                    .is_none_or(|declared| declared.kind == VariableKind::String)
                {
                    return vec![(key, as_text)];
                }
                let (documents, found) = yaml::parse(file);
                let broken = found.has_errors();
                problems.extend(found);
                match <[Node; 1]>::try_from(documents) {
                    Ok([node]) if !broken => vec![(key, node)],
                    _ if broken => Vec::new(),
                    _ => vec![(key, as_text)],
                }
            }
            Self::File { file, key } => {
                let (documents, found) = yaml::parse(file);
                problems.extend(found);
                let Some(node) = documents.into_iter().next() else {
                    return Vec::new();
                };
                let node = match key {
                    None => node,
                    Some(key) => {
                        let Some(mut map) = MapReader::open(&node, "stack's file", problems) else {
                            return Vec::new();
                        };
                        let values = map.get(key).cloned();
                        map.finish();
                        match values {
                            Some(values) => values,
                            None => return Vec::new(),
                        }
                    }
                };
                match node.kind {
                    NodeKind::Map(entries) => entries,
                    NodeKind::Null => Vec::new(),
                    _ => {
                        problems.push(node.wrong_type("a map: each variable's name with its value"));
                        Vec::new()
                    }
                }
            }
        }
    }
}

fn undeclared(key: &Key, declared: &BTreeMap<String, VariableDeclaration>, settings: &str) -> Diagnostic {
    Diagnostic::error("unknown-variable", "unknown variable")
        .detail(format!(
            "The project declares no variable `{}`.",
            super::decode::excerpt(&key.name)
        ))
        .at(key.span.clone())
        .hint(
            suggestion(&key.name, declared.keys().map(String::as_str))
                .unwrap_or_else(|| format!("declare it in `{settings}` under `vars`")),
        )
}

impl Variables {
    /// Returns the values of a module's inputs, as the document that uses it gives them; expressions may stand in them.
    pub(super) fn of_inputs(
        declared: &BTreeMap<String, VariableDeclaration>,
        given: Option<&Node>,
        module: &Spanned<String>,
        problems: &mut Diagnostics,
    ) -> Self {
        let mut values = BTreeMap::new();
        let given = given.map_or(&[][..], |node| {
            if node.as_map().is_none() {
                problems.push(node.wrong_type("a map: each input's name with its value"));
            }
            node.as_map().unwrap_or_default()
        });
        for (key, node) in given {
            let Some(declaration) = declared.get(&key.name) else {
                problems.push(
                    Diagnostic::error("unknown-input", "unknown input")
                        .detail(format!(
                            "The module declares no input `{}`.",
                            super::decode::excerpt(&key.name)
                        ))
                        .at(key.span.clone())
                        .hint(
                            suggestion(&key.name, declared.keys().map(String::as_str)).unwrap_or_else(|| {
                                "declare it in its `module.yml` under `inputs`".to_owned()
                            }),
                        ),
                );
                continue;
            };
            let is_expression = node.as_str().is_some_and(Template::is_in);
            match declaration.kind.read(node) {
                // What an expression gives is known later, and checked where it is used.
                _ if is_expression => drop(values.insert(key.name.clone(), node.clone())),
                Some(node) => drop(values.insert(key.name.clone(), node)),
                None => problems.push(
                    node.wrong_type(declaration.kind.expected())
                        .related(declaration.span.clone(), "declared here"),
                ),
            }
        }
        for (name, declaration) in declared {
            if given.iter().any(|(key, _)| key.name == *name) {
                continue;
            }
            match &declaration.default {
                Some(default) => drop(values.insert(name.clone(), default.clone())),
                None => problems.push(
                    Diagnostic::error("missing-input", "input without a value")
                        .detail(format!(
                            "The module's input `{name}` has no default, and must be given."
                        ))
                        .at(module.span.clone())
                        .related(declaration.span.clone(), "declared here")
                        .hint(format!("add it under `inputs`: `{name}: …`")),
                ),
            }
        }
        Self {
            values,
            declared: declared.keys().cloned().collect(),
            hint: "declare it in the module's `module.yml` under `inputs`".to_owned(),
        }
    }
}

/// The values of a project's variables, or of a module's inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variables {
    values: BTreeMap<String, Node>,
    /// Every declared name: one without a value was reported already.
    declared: Vec<String>,
    /// What to do about one that is not declared.
    hint: String,
}

impl Variables {
    /// Returns the values, by name.
    pub fn values(&self) -> &BTreeMap<String, Node> {
        &self.values
    }

    /// Returns whether a variable is declared, whether or not it has a value.
    pub(super) fn is_declared(&self, name: &str) -> bool {
        self.declared.iter().any(|known| known == name)
    }

    /// Returns what to write instead of a variable that is not declared.
    pub(super) fn hint(&self, name: &str) -> String {
        let near = suggestion(name, self.declared.iter().map(String::as_str));
        near.unwrap_or_else(|| self.hint.clone())
    }
}
