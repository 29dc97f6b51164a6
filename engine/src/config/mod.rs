//! Project files: reading, typed decoding, expressions and documents.
//!
//! ```text
//! directory ──sources──▶ Sources ──yaml──▶ Nodes ──expand──▶ Documents ──registry──▶ resources ──check──▶ Configuration
//! ```
//!
//! Only `sources`, and `root` for it, do I/O. `yaml` turns text into [`Node`] trees with a place on every value
//! (`yaml_plain` the plainest, without the library), a few documents at a time, `expand` puts variables
//! in and multiplies documents with `for_each`, `declared` keeps those that are resources as what they mean, `decode` and
//! `map_reader` turn nodes into typed values, `expression` parses and evaluates `${{ … }}`, `registry` says what a
//! family of document types is, `generic` is the engine's own, `project` runs the stages and `check` looks across all
//! documents. Everything reports every problem at once and goes on.

mod check;
mod check_directives;
mod condition;
mod declared;
mod decode;
mod document;
mod expand;
mod expression;
mod expression_parser;
mod generic;
mod generic_schema;
mod map_reader;
mod modules;
mod node;
mod policy;
mod project;
mod registry;
mod root;
mod secrets;
mod settings;
mod share;
mod sources;
mod unread_project;
mod value_reader;
mod variables;
mod version;
mod yaml;
mod yaml_error;
mod yaml_plain;

pub use condition::{ConditionError, ConditionExpression, Verdict};
pub use decode::{Entries, FromNode, Keyword, OneOrMany, Spanned, Switch};
pub use document::Document;
pub use expression::{EvaluateError, ExpressionError, Reference, Resolved, Scope, Target, Template};
pub use generic::stuck_roll;
pub use generic_schema::{for_each_json_schema, settings_json_schema};
pub use map_reader::MapReader;
pub use node::{Key, Node, NodeKind};
pub use policy::{Effect, Policy, PriceCeiling, Rule};
pub use project::{LowerInputs, Project, load};
pub use registry::{
    DocumentFamily, DocumentRegistry, DocumentType, LowerContext, Lowered, Naming, NothingRecorded, Purpose,
    RecordedView, ResolvedDocument, Survey, SurveyFailure, SurveyResult,
};
pub use root::Root;
pub use secrets::{MissingSecret, SecretSource, SecretValues, is_variable, no_secrets};
pub use settings::{Plugin, Settings, StackSettings, bad_name, check_name};
pub use sources::Sources;
pub use unread_project::UnreadProject;
pub use value_reader::{PlacedValues, SpannedTemplate};
pub use variables::{GivenVariables, VariableDeclaration, VariableKind, Variables};
pub use version::VersionRequirement;
pub use yaml::{MAX_ALIAS_EXPANSION, MAX_DEPTH, MAX_FILE_BYTES, MAX_SCALAR_BYTES, parse as parse_yaml};

#[cfg(test)]
mod tests;
