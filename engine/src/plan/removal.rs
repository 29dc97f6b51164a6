//! Objects that go: those that nothing declares any more, deposed ones, and all of them when destroying.

use std::cell::LazyCell;
use std::collections::BTreeMap;

use crate::address::ResourceAddress;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::diff::differences;
use crate::graph::ResourceGraph;
use crate::plan::Mode;
use crate::plan::change::{Action, AttributeChange, Cause, Change, Reason};
use crate::plan::evaluate::protect;
use crate::plan::known::Known;
use crate::plan::options::PlanInput;
use crate::plan::problem::Places;
use crate::plan::selection::Selection;
use crate::resource::{DocumentRef, Removed};
use crate::seldom::Seldom;
use crate::state::record::Record;
use crate::value::Attributes;

/// What becomes of recorded objects that no resource keeps.
pub(super) struct Removals {
    /// What happens to each.
    pub(super) changes: Vec<Change>,
    /// Those that a selection left out.
    pub(super) left_out: Vec<ResourceAddress>,
}

/// Plans the objects that go.
pub(super) fn plan(
    input: &PlanInput<'_>,
    graph: &ResourceGraph,
    known: &Known<'_>,
    selection: &Selection,
    places: &Places<'_>,
    problems: &mut Diagnostics,
) -> Removals {
    let destroy = input.options.mode == Mode::Destroy;
    let removed = removed_documents(input, graph, places, problems);
    // Mostly nothing goes, and nobody asks.
    let documents = LazyCell::new(|| {
        let resources = input.configuration.resources.iter();
        let documents = resources.map(|resource| &resource.document);
        let keyed = documents.map(|document| (Some((&*document.document_type, &*document.name)), document));
        keyed.collect::<BTreeMap<DocumentKey<'_>, &DocumentRef>>()
    });
    let mut removals = Removals {
        changes: Vec::new(),
        left_out: Vec::new(),
    };
    for record in known.state.records() {
        let declared = graph.position(&record.address);
        if declared.is_some() && !record.deposed && !destroy {
            continue;
        }
        if known.unsettled_objects.contains(&record.uid) {
            continue;
        }
        if !selection.covers_object(record.uid) {
            removals.left_out.push(record.address.clone());
            continue;
        }
        let document = removed.get(&record.address).filter(|_| !record.deposed);
        let forget = document.is_some_and(|document| !document.destroy) && !destroy;
        let reason = match (record.deposed, destroy) {
            (true, _) => Reason::Deposed,
            (false, true) => Reason::Destroy,
            (false, false) => match (document, documents.get(&document_key(record))) {
                (None, Some(document)) => Reason::Surplus((*document).clone()),
                (document, _) => Reason::Undeclared(document.map(|document| document.place.clone())),
            },
        };
        let reasons = match (known.turned_up(record.uid), record.deposed) {
            (false, _) => vec![reason],
            (true, true) => vec![Reason::TurnedUp, reason],
            (true, false) => vec![reason, Reason::TurnedUp],
        };
        if let Some(change) = goes(input, known, record, reasons, forget, problems) {
            removals.changes.push(change);
        }
    }
    removals
}

/// What makes a document the same one in record and configuration: its type and its name.
type DocumentKey<'a> = Option<(&'a str, &'a str)>;

fn document_key(record: &Record) -> DocumentKey<'_> {
    let document = record.declaration.document.as_ref()?;
    Some((&document.document_type, &document.name))
}

fn removed_documents<'a>(
    input: &PlanInput<'a>,
    graph: &ResourceGraph,
    places: &Places<'_>,
    problems: &mut Diagnostics,
) -> BTreeMap<&'a ResourceAddress, &'a Removed> {
    let mut found = BTreeMap::new();
    for removed in &input.configuration.directives.removed {
        if let Some(at) = graph.position(&removed.from) {
            let resource = &input.configuration.resources[at];
            problems.push(
                Diagnostic::error("removed-and-declared", "removed and declared at once")
                    .detail(format!(
                        "`{}` is said to be removed, and the configuration declares it.",
                        removed.from
                    ))
                    .at(places.span(&removed.place))
                    .related(places.span(&resource.document.place), "declared here")
                    .hint("take one of the two out"),
            );
            continue;
        }
        found.insert(&removed.from, removed);
    }
    found
}

fn goes(
    input: &PlanInput<'_>,
    known: &Known<'_>,
    record: &Record,
    reasons: Vec<Reason>,
    forget: bool,
    problems: &mut Diagnostics,
) -> Option<Change> {
    let Some(provider) = input.providers.provider(&record.address.resource_type) else {
        if forget {
            return Some(change(
                record,
                reasons,
                Action::Forget,
                record.attributes.clone(),
                Vec::new(),
            ));
        }
        problems.push(
            Diagnostic::error("no-provider", "nothing can delete this object")
                .detail(format!(
                    "`{}` is recorded, the configuration no longer declares it, and no provider of this build manages \
                     `{}`.",
                    record.address, record.address.resource_type
                ))
                .hint(format!(
                    "use a build with the provider `{}`, or `gabion state rm {}` to forget the object",
                    record.declaration.provider, record.address
                )),
        );
        return None;
    };
    let schema = provider.resource_schema(&record.address.resource_type);
    let mut before = known.attributes(record);
    protect(schema, &mut before, input.options.key.as_deref());
    let attributes = if forget {
        Vec::new()
    } else {
        let found = differences(schema, &before, &Attributes::new()).found.into_iter();
        found
            .map(|difference| AttributeChange {
                path: difference.path,
                before: difference.before.map(Box::new),
                after: None,
                forces_replacement: false,
                sensitive: difference.sensitive,
                cause: Cause::Configuration(None),
            })
            .collect()
    };
    let action = if forget { Action::Forget } else { Action::Delete };
    Some(change(record, reasons, action, before, attributes))
}

fn change(
    record: &Record,
    reasons: Vec<Reason>,
    action: Action,
    before: Attributes,
    attributes: Vec<AttributeChange>,
) -> Change {
    Change {
        address: record.address.clone(),
        uid: Some(record.uid),
        provider: record.declaration.provider.clone(),
        deposed: record.deposed,
        action,
        reasons,
        previous_address: None,
        importing: None,
        imported: None,
        attributes,
        before: Some(before),
        after: None,
        inputs: None,
        declaration: None,
        alternatives: Seldom::default(),
        conditions: Seldom::default(),
        document: record.declaration.document.clone(),
        unprotects: false,
        deleted_with: None,
        notes: Seldom::default(),
    }
}
