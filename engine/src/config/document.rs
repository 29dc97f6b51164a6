//! Documents: what a project's files hold, before anything gives them a meaning.

use std::ops::Range;
use std::sync::Arc;

use super::decode::{FromNode, Spanned};
use super::node::Node;
use crate::diagnostic::{Diagnostic, Diagnostics, SourceFile, Span};
use crate::intern::intern;
use crate::resource::{DocumentRef, Place};

/// One document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its `type`.
    pub document_type: Spanned<String>,
    /// Its `name`, if it has one.
    pub name: Option<Spanned<String>>,
    /// All of it, `type` and `name` included.
    pub node: Node,
    /// The file.
    pub file: Arc<SourceFile>,
    /// The bytes of the file that it takes.
    pub range: Range<usize>,
    /// The key of the `for_each` entry that it is for, if it was made by one.
    pub each: Option<Arc<str>>,
    /// The module that it is in, if it is in one: what its name begins with.
    pub module: Option<Arc<str>>,
}

impl Document {
    /// Reads a document; reports one without a type, and one that is no map.
    pub(super) fn read(
        file: &Arc<SourceFile>,
        range: Range<usize>,
        node: Node,
        problems: &mut Diagnostics,
    ) -> Option<Self> {
        if node.as_map().is_none() {
            problems.push(node.wrong_type("a document: a map with the key `type`"));
            return None;
        }
        let document_type = match node.get("type") {
            Some(found) => Spanned::<String>::from_node(found, problems)?,
            None => {
                problems.push(
                    Diagnostic::error("missing-type", "document without a type")
                        .detail("Every document says what it is in its key `type`.")
                        .at(node.span.clone())
                        .hint(
                            "add `type: service`, or the type that it is; documents are separated by `---`",
                        ),
                );
                return None;
            }
        };
        let name = match node.get("name").filter(|name| !name.is_null()) {
            Some(found) => Some(Spanned::<String>::from_node(found, problems)?),
            None => None,
        };
        Some(Self {
            document_type,
            name,
            node,
            file: file.clone(),
            range,
            each: None,
            module: None,
        })
    }

    /// Returns the name, or nothing for a document without one.
    pub fn name(&self) -> &str {
        self.name.as_ref().map_or("", |name| &name.value)
    }

    /// Returns where the document starts: its `type`.
    pub fn span(&self) -> &Span {
        &self.document_type.span
    }

    /// Returns where the document starts.
    pub fn place(&self) -> Place {
        self.span().place()
    }

    /// Returns the reference to a document that is one resource, whose name it shares.
    pub(super) fn reference_as(&self, name: &Arc<str>) -> DocumentRef {
        let name = match **name == *self.name() {
            true => name.clone(),
            false => self.name().into(),
        };
        DocumentRef::new(intern(&self.document_type.value), name, self.place())
    }

    /// Returns the reference by which resources and records name this document.
    pub fn reference(&self) -> DocumentRef {
        DocumentRef::new(
            intern(&self.document_type.value),
            self.name().into(),
            self.place(),
        )
    }

    /// Returns the part of the file that it takes.
    pub(super) fn extent(&self) -> Span {
        Span::new(&self.file, self.range.start, self.range.end)
    }
}
