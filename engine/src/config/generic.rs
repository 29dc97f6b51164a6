//! The engine's own documents: `resource`, `data`, `moved`, `removed` and `import`.

use super::condition::ConditionExpression;
use super::decode::{FromNode, Spanned};
use super::document::Document;
use super::map_reader::MapReader;
use super::modules::MODULE;
use super::node::Node;
use super::registry::{DocumentFamily, DocumentType, LowerContext, Lowered, Naming};
use super::value_reader::PlacedValues;
use crate::address::{ResourceAddress, ResourceName, ResourceType};
use crate::data::DataDocument;
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::resource::{
    Condition, ConditionTime, Import, Lifecycle, Moved, Place, Removed, Resource, Roll, TimeoutOverrides,
};
use crate::schema::ReplaceOrder;
use crate::seldom::Seldom;
use crate::value::{AttributePath, Attributes, TemplateText};

/// The family of the engine's own documents.
pub(super) struct GenericDocuments;

/// The document type of a single resource.
pub(super) const RESOURCE: &str = "resource";

/// The document type of what is read and not managed.
pub(super) const DATA: &str = "data";

const TYPES: [DocumentType; 6] = [
    DocumentType {
        name: DATA,
        summary: "Reads something that exists and that the project does not manage.",
        naming: Naming::Shared,
    },
    DocumentType {
        name: MODULE,
        summary: "Uses a directory of documents, with inputs.",
        naming: Naming::Unique,
    },
    DocumentType {
        name: RESOURCE,
        summary: "A single resource of any kind that a provider of this build manages.",
        naming: Naming::Shared,
    },
    DocumentType {
        name: "moved",
        summary: "Says that a recorded object has another address now.",
        naming: Naming::Free,
    },
    DocumentType {
        name: "removed",
        summary: "Takes an object out of the configuration, and says whether it is deleted or only forgotten.",
        naming: Naming::Free,
    },
    DocumentType {
        name: "import",
        summary: "Takes an existing object under management.",
        naming: Naming::Free,
    },
];

impl DocumentFamily for GenericDocuments {
    fn types(&self) -> &[DocumentType] {
        &TYPES
    }

    fn lower(&self, documents: &[&Document], _: &LowerContext<'_>) -> (Lowered, Diagnostics) {
        let (mut lowered, mut problems) = (Lowered::default(), Diagnostics::new());
        for document in documents {
            match document.document_type.value.as_str() {
                "moved" => lowered.directives.moved.extend(moved(document, &mut problems)),
                // What they declare stands in their place long before.
                MODULE | RESOURCE => {}
                DATA => lowered.data.extend(data(document, &mut problems)),
                "removed" => lowered
                    .directives
                    .removed
                    .extend(removed(document, &mut problems)),
                _ => lowered.directives.imports.extend(import(document, &mut problems)),
            }
        }
        (lowered, problems)
    }

    fn json_schema(&self, document_type: &str) -> Option<serde_json::Value> {
        super::generic_schema::json_schema(document_type)
    }
}

/// What can be read of a resource: with a problem in one key the others are still checked.
pub(super) fn resource(document: &Document, problems: &mut Diagnostics) -> Option<Resource> {
    let mut map = MapReader::open(&document.node, "resource", problems)?;
    map.known(&["type"]);
    map.place(document.span().clone());
    let resource_type = map.required::<Spanned<ResourceType>>("kind");
    let name = map.required::<ResourceName>("name");
    let mut places = Vec::new();
    let inputs = match map.get("properties").filter(|node| !node.is_null()) {
        Some(node) => PlacedValues::read_values(node, &mut places, map.problems()),
        None => Attributes::default(),
    };
    let depends_on = map.each::<Spanned<AddressText>>("depends_on");
    let timeouts = map.or("timeouts", TimeoutOverrides::default());
    let lifecycle = map.or("lifecycle", Lifecycle::default());
    let conditions = map.or("conditions", Conditions::default());
    map.finish();
    let (resource_type, name) = (resource_type?, name?);
    places.push((AttributePath::default(), resource_type.span.place()));
    let depends_on = depends_on.into_iter();
    Some(Resource {
        document: document.reference_as(name.text()),
        address: ResourceAddress::new(resource_type.value, name),
        inputs,
        places: places.into_iter().collect(),
        depends_on: depends_on.map(|on| (on.value.0, on.span.place())).collect(),
        lifecycle: lifecycle.unwrap_or_default().into(),
        timeouts: timeouts.unwrap_or_default().into(),
        conditions: conditions.unwrap_or_default().0,
        alternatives: Seldom::default(),
        update_after: Seldom::default(),
        frees: Seldom::default(),
    })
}

/// What can be read of a data document.
fn data(document: &Document, problems: &mut Diagnostics) -> Option<DataDocument> {
    let mut map = MapReader::open(&document.node, "data document", problems)?;
    map.known(&["type"]);
    map.place(document.span().clone());
    let kind = map.required::<Spanned<ResourceType>>("kind");
    let name = map.required::<ResourceName>("name");
    let mut places = Vec::new();
    let inputs = match map.get("properties").filter(|node| !node.is_null()) {
        Some(node) => PlacedValues::read_values(node, &mut places, map.problems()),
        None => Attributes::default(),
    };
    map.finish();
    let (kind, name) = (kind?, name?);
    places.push((AttributePath::default(), kind.span.place()));
    Some(DataDocument {
        address: ResourceAddress::new(kind.value, name),
        inputs,
        places: places.into_iter().collect(),
        place: document.span().place(),
        found: None,
    })
}

fn moved(document: &Document, problems: &mut Diagnostics) -> Option<Moved> {
    let mut map = MapReader::open(&document.node, "moved document", problems)?;
    map.known(&["type"]);
    map.place(document.span().clone());
    let from = map.required::<Spanned<AddressText>>("from");
    let to = map.required::<Spanned<AddressText>>("to");
    map.finish();
    let (from, to) = (from?, to?);
    Some(Moved {
        place: from.span.place(),
        from: from.value.0,
        to: to.value.0,
    })
}

fn removed(document: &Document, problems: &mut Diagnostics) -> Option<Removed> {
    let mut map = MapReader::open(&document.node, "removed document", problems)?;
    map.known(&["type"]);
    map.place(document.span().clone());
    let from = map.required::<Spanned<AddressText>>("from");
    let lifecycle = map.required::<RemovedLifecycle>("lifecycle");
    map.finish();
    let from = from?;
    Some(Removed {
        place: from.span.place(),
        from: from.value.0,
        destroy: lifecycle?.destroy,
    })
}

fn import(document: &Document, problems: &mut Diagnostics) -> Option<Import> {
    let mut map = MapReader::open(&document.node, "import document", problems)?;
    map.known(&["type"]);
    map.place(document.span().clone());
    let to = map.required::<Spanned<AddressText>>("to");
    let id = map.required::<String>("id");
    map.finish();
    let to = to?;
    Some(Import {
        place: to.span.place(),
        to: to.value.0,
        id: id?.as_str().into(),
    })
}

/// An address as people write it in `depends_on`, `from` and `to`.
pub(super) struct AddressText(pub(super) ResourceAddress);

impl FromNode for AddressText {
    fn expected() -> String {
        "the address of a resource: `kind.name`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.text() else {
            problems.push(node.wrong_type(&Self::expected()));
            return None;
        };
        // `${{ kind.name }}` is understood: people copy it from elsewhere in the file.
        let bare = text
            .trim()
            .strip_prefix("${{")
            .and_then(|text| text.strip_suffix("}}"))
            .unwrap_or(text);
        match bare.trim().parse() {
            Ok(address) => Some(Self(address)),
            Err(why) => {
                let problem = node.error("bad-address", "invalid address");
                problems.push(
                    problem
                        .detail(format!("{why}."))
                        .hint("write `kind.name`, such as `gabion_data.a`"),
                );
                None
            }
        }
    }
}

macro_rules! name_from_node {
    ($name:ident, $expected:literal) => {
        impl FromNode for $name {
            fn expected() -> String {
                $expected.to_owned()
            }

            fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
                let Some(text) = node.text() else {
                    problems.push(node.wrong_type($expected));
                    return None;
                };
                match $name::new(text) {
                    Ok(name) => Some(name),
                    Err(why) => {
                        problems.push(
                            node.error("bad-name", "invalid name")
                                .detail(format!("{why}."))
                                .hint(concat!("write ", $expected)),
                        );
                        None
                    }
                }
            }
        }
    };
}

name_from_node!(ResourceType, "a kind of resource, such as `gabion_data`");
name_from_node!(ResourceName, "a name, such as `cache`");

impl FromNode for TimeoutOverrides {
    fn expected() -> String {
        "a map of `create`, `update` and `delete` to durations".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "timeouts map", problems)?;
        let (create, update, delete) = (
            map.optional("create"),
            map.optional("update"),
            map.optional("delete"),
        );
        map.finish();
        Some(Self {
            create: create?,
            update: update?,
            delete: delete?,
        })
    }
}

impl FromNode for Lifecycle {
    fn expected() -> String {
        "a map of lifecycle settings".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "lifecycle map", problems)?;
        let prevent_destroy = map.or("prevent_destroy", false);
        let create_first = map.optional::<bool>("create_before_destroy");
        let ignore_changes = map.or("ignore_changes", Vec::<AttributePath>::new());
        let triggers = map.or("replace_triggered_by", Vec::<TriggerText>::new());
        let roll = map.optional::<Spanned<Roll>>("roll");
        if let (Some(Some(true)), Some(Some(roll))) = (create_first, &roll)
            && roll.value.max_surge == 0
        {
            map.problems().push(
                Diagnostic::error("contradictory-roll", "contradictory lifecycle")
                    .detail("`create_before_destroy: true` makes new objects beside old ones, and `max_surge: 0` allows none.")
                    .at(roll.span.clone())
                    .hint("remove one of the two"),
            );
        }
        map.finish();
        let roll = roll?.map(|roll| roll.value);
        let surges = roll.as_ref().is_none_or(|roll| roll.max_surge > 0);
        Some(Self {
            prevent_destroy: prevent_destroy?,
            replace_order: match create_first? {
                Some(true) => Some(ReplaceOrder::CreateThenDelete),
                Some(false) => Some(ReplaceOrder::DeleteThenCreate),
                None if surges => None,
                None => Some(ReplaceOrder::DeleteThenCreate),
            },
            ignore_changes: ignore_changes?,
            replace_triggered_by: triggers?.into_iter().map(|trigger| trigger.0).collect(),
            roll,
            together: None,
        })
    }
}

impl FromNode for Roll {
    fn expected() -> String {
        "a map such as `{group: web, max_surge: 1}`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "roll", problems)?;
        let group = map.required::<String>("group");
        let max_surge = map.or("max_surge", 1_u32);
        let max_unavailable = map.or("max_unavailable", 0_u32);
        map.finish();
        if let (Some(0), Some(0)) = (max_surge, max_unavailable) {
            problems.push(stuck_roll(&node.span));
            return None;
        }
        Some(Self {
            group: group?.into(),
            member: None,
            max_surge: max_surge?,
            max_unavailable: max_unavailable?,
        })
    }
}

/// Says of a rolling change that it could never begin.
pub fn stuck_roll(span: &Span) -> Diagnostic {
    Diagnostic::error("stuck-roll", "rolling change that cannot move")
        .detail("With `max_surge: 0` and `max_unavailable: 0` no object could ever be replaced.")
        .at(span.clone())
        .hint("set one of the two to 1 or more")
}

impl FromNode for AttributePath {
    fn expected() -> String {
        "the path of an attribute, such as `tags.owner` or `ports[0]`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let path = node.text().and_then(|text| text.parse().ok());
        if path.is_none() {
            problems.push(node.wrong_type(&Self::expected()));
        }
        path
    }
}

/// A resource, or an attribute of one, with or without braces around it.
struct TriggerText(TemplateText);

impl FromNode for TriggerText {
    fn expected() -> String {
        "a resource or an attribute of one: `kind.name.attribute`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.text() else {
            problems.push(node.wrong_type(&Self::expected()));
            return None;
        };
        let braced = if text.contains("${{") {
            text.to_owned()
        } else {
            format!("${{{{ {} }}}}", text.trim())
        };
        let template = super::expression::Template::parse(&braced).ok();
        let is_resource = template
            .as_ref()
            .and_then(|template| template.single())
            .is_some_and(|reference| matches!(reference.target, super::expression::Target::Resource(_)));
        if !is_resource {
            problems.push(
                node.error("bad-address", "invalid address")
                    .detail(format!("Expected {}.", Self::expected()))
                    .hint("write `kind.name` or `kind.name.attribute`"),
            );
            return None;
        }
        Some(Self(TemplateText::new(braced)))
    }
}

struct RemovedLifecycle {
    destroy: bool,
}

impl FromNode for RemovedLifecycle {
    fn expected() -> String {
        "`{destroy: true}` to delete the object, `{destroy: false}` to forget it".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "lifecycle map", problems)?;
        let destroy = map.required("destroy");
        map.finish();
        Some(Self { destroy: destroy? })
    }
}

/// The conditions that can be read; with a problem in one the others are still checked.
#[derive(Default)]
struct Conditions(Vec<Condition>);

impl FromNode for Conditions {
    fn expected() -> String {
        "a map of `before` and `after` to lists of conditions".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "conditions map", problems)?;
        let before = map.each::<OneCondition>("before");
        let after = map.each::<OneCondition>("after");
        map.finish();
        let at = |when| move |one: OneCondition| one.at(when);
        let before = before.into_iter().map(at(ConditionTime::Before));
        Some(Self(
            before
                .chain(after.into_iter().map(at(ConditionTime::After)))
                .collect(),
        ))
    }
}

struct OneCondition {
    condition: String,
    message: String,
    place: Place,
}

impl OneCondition {
    fn at(self, when: ConditionTime) -> Condition {
        Condition {
            when,
            condition: TemplateText::new(&self.condition),
            message: self.message,
            place: self.place,
        }
    }
}

impl FromNode for OneCondition {
    fn expected() -> String {
        "a condition: `{condition, error_message}`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "condition", problems)?;
        let condition = map.required::<Spanned<ConditionText>>("condition");
        let message = map.required::<String>("error_message");
        map.finish();
        let Spanned {
            value: ConditionText(condition),
            span,
        } = condition?;
        Some(Self {
            condition,
            message: message?,
            place: span.place(),
        })
    }
}

/// The source of a condition that parses.
struct ConditionText(String);

impl FromNode for ConditionText {
    fn expected() -> String {
        "a condition such as `${{ gabion_data.a.output }} == 5`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.text() else {
            problems.push(node.wrong_type(&Self::expected()));
            return None;
        };
        match text.parse::<ConditionExpression>() {
            Ok(_) => Some(Self(text.to_owned())),
            Err(error) => {
                let span: Span = node.part(error.range.start, error.range.end);
                problems.push(
                    node.error("bad-condition", "invalid condition")
                        .at(span)
                        .detail(error.message)
                        .hint(error.hint),
                );
                None
            }
        }
    }
}
