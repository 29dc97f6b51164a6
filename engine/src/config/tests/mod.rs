//! Tests of the whole of `config`, as data.

mod decode;
mod expression;
mod grammars;
mod modules;
mod project;
mod project_problems;
mod sources;
mod unread_project;
mod variables;
mod yaml;

use super::{Node, parse_yaml};
use crate::diagnostic::{Diagnostics, SourceFile};

/// Parses one document that must be valid YAML.
fn node(text: &str) -> Node {
    let (mut documents, problems) = parse_yaml(&SourceFile::new("a.gabion.yml", text));
    assert!(problems.is_empty(), "{problems}");
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

/// The problems of a text.
fn yaml_problems(text: &str) -> Diagnostics {
    parse_yaml(&SourceFile::new("a.gabion.yml", text)).1
}
