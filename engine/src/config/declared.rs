//! Resources as documents declare them: each `type: resource`, read as soon as its document is.
//!
//! A project may have a million of them. They are kept as what they mean: their documents, let alone the nodes of these,
//! would take several times as much.

use super::decode::Spanned;
use super::document::Document;
use super::generic::{self, RESOURCE};
use super::node::{Node, NodeKind};
use super::project::check_document_name;
use super::registry::Naming;
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::resource::Resource;

/// A `type: resource` of a project.
#[derive(Clone, Debug)]
pub(super) struct DeclaredResource {
    /// What could be read of it.
    pub(super) resource: Option<Resource>,
    /// The part of the file that is its document.
    extent: Span,
    /// What is wrong with it, for lowering to report.
    fault: Option<Box<Fault>>,
}

/// What is wrong with a resource.
#[derive(Clone, Debug)]
struct Fault {
    /// The name of its document, if it has one.
    name: Option<Spanned<String>>,
    problems: Diagnostics,
    /// Whether the name is none that a resource can have.
    is_misnamed: bool,
}

impl DeclaredResource {
    /// Reads a document that is a resource.
    pub(super) fn read(document: &Document) -> Self {
        let mut problems = Diagnostics::new();
        let is_misnamed = !check_document_name(document, Naming::Shared, &mut problems);
        let resource = match is_misnamed {
            true => None,
            false => generic::resource(document, &mut problems),
        };
        let is_faulty = resource.is_none() || !problems.is_empty();
        let fault = is_faulty.then(|| {
            Box::new(Fault {
                name: document.name.clone(),
                problems,
                is_misnamed,
            })
        });
        Self {
            resource,
            extent: document.extent(),
            fault,
        }
    }

    /// Returns the name of its document, or nothing for one without a name.
    pub(super) fn name(&self) -> &str {
        match (&self.resource, &self.fault) {
            (Some(resource), _) => &resource.document.name,
            (None, Some(fault)) => fault.name.as_ref().map_or("", |name| &name.value),
            (None, None) => "",
        }
    }

    /// Returns the part of the file that is its document.
    pub(super) fn extent(&self) -> &Span {
        &self.extent
    }

    /// Returns what is wrong with it.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Diagnostic> {
        self.fault.iter().flat_map(|fault| fault.problems.iter())
    }

    /// Returns whether it is left out because of its name, and what refers to it may mean it.
    pub(super) fn is_misnamed(&self) -> bool {
        self.fault.as_ref().is_some_and(|fault| fault.is_misnamed)
    }

    /// Returns its document again, without the nodes.
    pub(super) fn document(&self) -> Document {
        let start = Span::new(&self.extent.file, self.extent.start, self.extent.start);
        let name = self.name();
        Document {
            document_type: Spanned::new(RESOURCE.to_owned(), start.clone()),
            name: (!name.is_empty()).then(|| Spanned::new(name.to_owned(), start.clone())),
            node: Node {
                kind: NodeKind::Null,
                span: start,
                alias: None,
            },
            file: self.extent.file.clone(),
            range: self.extent.start..self.extent.end,
            each: None,
            module: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_resource_takes_little_more_room_than_the_resource() {
        assert!(size_of::<DeclaredResource>() <= size_of::<Resource>() + 40);
    }
}
