//! From nodes to [`Value`]s: the free-form parts of documents.

use super::decode::FromNode;
use super::expression::{Reference, Template};
use super::node::{Node, NodeKind};
use crate::diagnostic::{Diagnostics, Span};
use crate::intern::intern;
use crate::resource::{InputPlaces, Place};
use crate::value::{AttributePath, Attributes, Value};

/// A text with expressions, and where it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct SpannedTemplate {
    /// The template.
    pub template: Template,
    /// The whole text.
    pub span: Span,
    /// Each reference of the template with its own place, in order.
    pub references: Vec<(Reference, Span)>,
}

impl SpannedTemplate {
    /// Returns the value before anything is evaluated; see [`Template::to_value`].
    pub fn to_value(&self) -> Value {
        self.template.to_value()
    }
}

impl Template {
    /// Parses a scalar's text; reports each error at its own column.
    pub fn read(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.text() else {
            problems.push(node.wrong_type(&<Self as FromNode>::expected()));
            return None;
        };
        match Self::parse(text) {
            Ok(template) => Some(template),
            Err(errors) => {
                // A text with more errors is broken as a whole.
                for error in errors.into_iter().take(20) {
                    let span = node.part(error.range.start, error.range.end);
                    let problem = node.error("bad-expression", "invalid expression").at(span);
                    problems.push(problem.detail(error.message).hint(error.hint));
                }
                None
            }
        }
    }
}

impl FromNode for Template {
    fn expected() -> String {
        "text, which may hold expressions".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        Self::read(node, problems)
    }
}

impl FromNode for SpannedTemplate {
    fn expected() -> String {
        Template::expected()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let template = Template::read(node, problems)?;
        let references = template
            .references()
            .map(|reference| {
                (
                    reference.clone(),
                    node.part(reference.range.start, reference.range.end),
                )
            })
            .collect();
        Some(Self {
            template,
            span: node.span.clone(),
            references,
        })
    }
}

/// Values with their places: what a resource's inputs are made from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlacedValues {
    /// The values by name; texts with expressions are unknown values that carry their template.
    pub values: Attributes,
    /// Where each value is written, at every depth.
    pub places: InputPlaces,
}

impl FromNode for PlacedValues {
    fn expected() -> String {
        "a map".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut found = Diagnostics::new();
        let values = Self::read(node, &mut found);
        let complete = !found.has_errors();
        problems.extend(found);
        complete.then_some(values)
    }
}

impl PlacedValues {
    /// Reads what can be read: a value with a problem is null. For checks that go on after a problem.
    pub fn read(node: &Node, problems: &mut Diagnostics) -> Self {
        let mut places = Vec::new();
        let values = Self::read_values(node, &mut places, problems);
        Self {
            values,
            places: places.into_iter().collect(),
        }
    }

    /// Reads values, and adds where each is written to others.
    pub(super) fn read_values(
        node: &Node,
        places: &mut Vec<(AttributePath, Place)>,
        problems: &mut Diagnostics,
    ) -> Attributes {
        let Some(entries) = node.as_map() else {
            problems.push(node.wrong_type("a map"));
            return Attributes::default();
        };
        let read = |(key, node): &(super::node::Key, Node)| {
            let path = AttributePath::root(&key.name);
            (intern(&key.name), value(node, path, places, problems))
        };
        entries.iter().map(read).collect()
    }
}

/// Any value; texts with expressions are unknown values that carry their template.
impl FromNode for Value {
    fn expected() -> String {
        "a value".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut found = Diagnostics::new();
        let value = value(node, AttributePath::default(), &mut Vec::new(), &mut found);
        let complete = !found.has_errors();
        problems.extend(found);
        complete.then_some(value)
    }
}

/// Reads a value; null after a problem was reported.
fn value(
    node: &Node,
    path: AttributePath,
    places: &mut Vec<(AttributePath, Place)>,
    problems: &mut Diagnostics,
) -> Value {
    let place = node.span.place();
    let value = match &node.kind {
        NodeKind::Null => Value::Null,
        NodeKind::Bool(truth) => Value::Bool(*truth),
        NodeKind::Int(number) => Value::Int(*number),
        NodeKind::Float(number) => Value::Float(*number),
        NodeKind::String(text) if Template::is_in(text) => {
            Template::read(node, problems).map_or(Value::Null, |template| template.to_value())
        }
        NodeKind::String(text) => Value::string(text),
        NodeKind::List(items) => {
            let read = |(index, item)| value(item, path.index(index), places, problems);
            Value::List(items.iter().enumerate().map(read).collect())
        }
        NodeKind::Map(entries) => {
            let read = |(key, item): &(super::node::Key, Node)| {
                let value = value(item, path.key(&key.name), places, problems);
                (intern(&key.name), value)
            };
            Value::Map(entries.iter().map(read).collect())
        }
    };
    places.push((path, place));
    value
}
