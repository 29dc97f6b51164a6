//! Which resources are shown together, and folded together.

use std::collections::BTreeMap;

use gabion_engine::address::ResourceType;
use gabion_engine::file_name::FileName;
use gabion_engine::resource::DocumentRef;

use super::model::Graph;
use crate::render::words::plain;

/// How many documents of a single resource a file may have before they are told apart by type too.
const SINGLES: usize = 40;

/// Resources that are shown together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// What they have in common: `service qwen`, a file, a file and a type.
    pub(crate) title: String,
    /// Where their document starts, where they have one in common.
    pub(crate) place: Option<String>,
    /// Their positions, in order.
    pub(crate) nodes: Vec<usize>,
}

/// What makes resources belong together, in the order in which groups stand.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    /// A document that makes several, by its place.
    Document(&'a str, u32, &'a DocumentRef),
    /// Documents of a single resource each that `for_each` made of one, by its place.
    Copies(&'a str, u32, &'a str),
    /// Other documents of a single resource each, by their file; and by type, where there are many.
    File(&'a str, Option<&'a ResourceType>),
    /// No document.
    None,
}

/// Returns the groups in the order of the files, each resource in one of them.
///
/// What comes from one document belongs together. A low-level resource has a document of its own: these are put together
/// by file.
pub(crate) fn of(graph: &Graph<'_>) -> Vec<Group> {
    let mut made: BTreeMap<&DocumentRef, usize> = BTreeMap::new();
    for document in graph.nodes.iter().filter_map(|node| node.document) {
        *made.entry(document).or_default() += 1;
    }
    let is_single = |document: &DocumentRef| {
        matches!(&*document.document_type, "resource" | "data") && made.get(document) == Some(&1)
    };
    let mut copies: BTreeMap<(&str, u32, &str), usize> = BTreeMap::new();
    let mut singles: BTreeMap<&FileName, usize> = BTreeMap::new();
    for document in made.keys().filter(|document| is_single(document)) {
        if let Some((stem, _)) = document.name.rsplit_once('/') {
            *copies
                .entry((&document.place.file, document.place.line, stem))
                .or_default() += 1;
        }
        *singles.entry(&document.place.file).or_default() += 1;
    }
    let mut groups: BTreeMap<Key<'_>, Vec<usize>> = BTreeMap::new();
    for (position, node) in graph.nodes.iter().enumerate() {
        let key = match node.document {
            None => Key::None,
            Some(document) if is_single(document) => {
                let (file, line) = (&document.place.file, document.place.line);
                // What is recorded of an object that goes may name a line where another document stands now.
                let stem = document.name.rsplit_once('/').map(|(stem, _)| stem);
                if let Some(stem) = stem
                    && copies
                        .get(&(&**file, line, stem))
                        .is_some_and(|number| *number > 1)
                {
                    groups
                        .entry(Key::Copies(file, line, stem))
                        .or_default()
                        .push(position);
                    continue;
                }
                let many = singles.get(file).is_some_and(|number| *number > SINGLES);
                Key::File(file, many.then_some(&node.address.resource_type))
            }
            Some(document) => Key::Document(&document.place.file, document.place.line, document),
        };
        groups.entry(key).or_default().push(position);
    }
    groups
        .into_iter()
        .map(|(key, nodes)| {
            let (title, place) = match key {
                Key::Document(_, _, document) => (
                    plain(&format!("{} {}", document.document_type, document.name)),
                    Some(document.place.to_string()),
                ),
                Key::Copies(file, line, stem) => (
                    plain(&format!("{stem}/…")),
                    Some(format!("{}:{line}", plain(file))),
                ),
                Key::File(file, None) => (format!("resources of {}", plain(file)), None),
                Key::File(file, Some(kind)) => (format!("{kind} of {}", plain(file)), None),
                Key::None => ("in no document".to_owned(), None),
            };
            Group { title, place, nodes }
        })
        .collect()
}
