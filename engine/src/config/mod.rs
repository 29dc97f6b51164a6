//! Project files: reading, typed decoding, expressions and documents.
//!
//! `yaml` turns text into [`Node`] trees with a place on every value, `decode` and `map_reader` turn nodes into typed
//! values, `expression` parses and evaluates `${{ … }}`. Everything here is pure and reports every problem at once.

mod decode;
mod expression;
mod expression_parser;
mod map_reader;
mod node;
mod yaml;
mod yaml_error;

pub use decode::{Entries, FromNode, Keyword, OneOrMany, Spanned, Switch};
pub use expression::{EvaluateError, ExpressionError, Reference, Resolved, Scope, Target, Template};
pub use map_reader::MapReader;
pub use node::{Key, Node, NodeKind};
pub use yaml::{MAX_ALIAS_EXPANSION, MAX_DEPTH, MAX_FILE_BYTES, MAX_SCALAR_BYTES, parse as parse_yaml};

#[cfg(test)]
mod tests;
