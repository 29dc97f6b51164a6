//! Which documents have errors of their own: what names them, or would be on their machines, is not wrong for that.

use std::collections::BTreeSet;

/// The documents of a project that could not be read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unread {
    /// Whether there are some of which not even the type and the name are known.
    unknown: bool,
    documents: BTreeSet<(String, String)>,
}

impl Unread {
    /// Adds a document.
    pub(crate) fn add(&mut self, document_type: &str, name: &str) {
        self.documents.insert((document_type.to_owned(), name.to_owned()));
    }

    /// Adds documents of which not even the type and the name are known, if there are some.
    pub(crate) fn and_unknown(mut self, are_there: bool) -> Self {
        self.unknown |= are_there;
        self
    }

    /// Returns whether a document of a type and name may be among them.
    pub(crate) fn may_be(&self, document_type: &str, name: &str) -> bool {
        let same = |(of_type, of_name): &(String, String)| of_type == document_type && of_name == name;
        self.unknown || self.documents.iter().any(same)
    }

    /// Returns whether a document of a type may be among them.
    pub(crate) fn may_have(&self, document_type: &str) -> bool {
        self.unknown || self.documents.iter().any(|(found, _)| found == document_type)
    }
}
