//! Documents as they are understood: every default filled in, and the dialect named.

use gabion_engine::config::{Document, ResolvedDocument};
use serde_yaml::{Mapping, Value as Yaml};

use crate::document::dialect::Dialect;
use crate::family::Documents;
use crate::lower::Placed;
use crate::term::MapTerm;

/// Writes the one document that was read.
pub(crate) fn resolved(read: &Documents, document: &Document) -> Option<ResolvedDocument> {
    let document_type = document.document_type.value.as_str();
    let mut dialect = Dialect::Either;
    let written = match document_type {
        "gateway" => read.gateways.first().map(|gateway| {
            dialect = gateway.document.dialect();
            gateway.document.write()
        }),
        "service" => read.services.first().map(|service| {
            dialect = service.document.dialect();
            service.document.write()
        }),
        "dev-environment" => write(&read.dev_environments, document_type),
        "fleet" => write(&read.fleets, document_type),
        "preset" => write(&read.presets, document_type),
        "task" => write(&read.tasks, document_type),
        "volume" => write(&read.volumes, document_type),
        _ => None,
    }?;
    Some(ResolvedDocument {
        yaml: serde_yaml::to_string(&written).ok()?,
        notes: vec![format!("dialect: {dialect}")],
    })
}

fn write<T: MapTerm>(documents: &[Placed<T>], document_type: &str) -> Option<Yaml> {
    let mut out = Mapping::new();
    out.insert("type".into(), document_type.into());
    documents.first()?.document.write_into(&mut out);
    Some(Yaml::Mapping(out))
}
