//! The document family of `service` and `gateway`.

use std::collections::BTreeMap;
use std::time::Duration;

use gabion_engine::config::{
    Document, DocumentFamily, DocumentType, FromNode, LowerContext, Lowered, MapReader, Naming, Settings,
};
use gabion_engine::diagnostic::Diagnostics;
use gabion_engine::state::record::Status;

use crate::document::gateway::Gateway;
use crate::document::service::Service;
use crate::lower::{self, Context, Placed, RecordedSlot};

/// How long a replica on the local backend may take to become ready unless `ready_timeout` says otherwise.
const READY_TIMEOUT: Duration = Duration::from_secs(600);

/// dstack's documents.
#[derive(Debug, Default, Clone, Copy)]
pub struct Inference;

impl DocumentFamily for Inference {
    fn types(&self) -> &[DocumentType] {
        &[
            DocumentType {
                name: "gateway",
                summary: "A place where requests come in, with a router for the services behind it.",
                naming: Naming::Unique,
            },
            DocumentType {
                name: "service",
                summary: "A model or web service: replicas of a program, reached through a gateway.",
                naming: Naming::Unique,
            },
        ]
    }

    fn lower(&self, documents: &[Document], context: &LowerContext<'_>) -> (Lowered, Diagnostics) {
        let mut problems = Diagnostics::new();
        let gateways = read::<Gateway>(documents, "gateway", &mut problems);
        let services = read::<Service>(documents, "service", &mut problems);
        let context = Context {
            purpose: context.purpose,
            project_directory: context.directory.display().to_string(),
            backends: context
                .settings
                .backends
                .iter()
                .map(|backend| backend.plugin_type.value.clone())
                .collect(),
            ready_timeout: ready_timeout(context.settings, &mut problems),
            tokens: context
                .settings
                .tokens
                .iter()
                .map(|(label, token)| (label.clone(), token.template.text().to_owned()))
                .collect(),
            slots: recorded_slots(context),
        };
        let lowered = lower::lower(&gateways, &services, &context, &mut problems);
        (lowered, problems)
    }

    fn json_schema(&self, document_type: &str) -> Option<serde_json::Value> {
        crate::schema::json_schema(document_type)
    }
}

fn read<T: FromNode>(documents: &[Document], wanted: &str, problems: &mut Diagnostics) -> Vec<Placed<T>> {
    documents
        .iter()
        .filter(|document| document.document_type.value == wanted)
        .filter_map(|document| {
            let read = T::from_node(&document.node, problems)?;
            Some(Placed {
                document: read,
                reference: document.reference(),
                type_span: document.document_type.span.clone(),
            })
        })
        .collect()
}

/// Reads the settings of the backend `local`: `backends: [{type: local, ready_timeout: 60s}]`.
fn ready_timeout(settings: &Settings, problems: &mut Diagnostics) -> Duration {
    let local = settings
        .backends
        .iter()
        .find(|backend| backend.plugin_type.value == lower::LOCAL);
    let Some(node) = local
        .map(|backend| &backend.node)
        .filter(|node| node.as_map().is_some())
    else {
        return READY_TIMEOUT;
    };
    let Some(mut map) = MapReader::open(node, "local backend", problems) else {
        return READY_TIMEOUT;
    };
    map.known(&["type"]);
    let timeout = map.or("ready_timeout", READY_TIMEOUT);
    map.finish();
    timeout.unwrap_or(READY_TIMEOUT)
}

/// Returns the slots of every replica group that has one, by the path before the slot.
fn recorded_slots(context: &LowerContext<'_>) -> BTreeMap<String, Vec<RecordedSlot>> {
    let mut slots: BTreeMap<String, Vec<RecordedSlot>> = BTreeMap::new();
    for (address, status) in context.recorded.under("host_unit", "") {
        let Some((group, slot)) = address.name.as_str().rsplit_once('/') else {
            continue;
        };
        let Ok(slot) = slot.parse() else { continue };
        let needs_repair = status != Status::Ready;
        slots
            .entry(group.to_owned())
            .or_default()
            .push(RecordedSlot { slot, needs_repair });
    }
    slots
}
