//! Problems for users: what is wrong, where, why, and what to do about it.
//!
//! Parsing and validation collect every problem in a [`Diagnostics`] beside their result; nothing here prints. The
//! command line renders a [`Diagnostic`] with colour and source snippets, [`DiagnosticView`] is its JSON form, and
//! its [`Display`](std::fmt::Display) is the plain text that tests and logs use.

mod list;
mod problem;
mod source;
mod suggest;
mod text;

pub use list::Diagnostics;
pub use problem::IntoHint;
pub use problem::{Diagnostic, DiagnosticView, Related, RelatedView, Severity};
pub use source::{Excerpt, Position, SourceFile, Span};
pub use suggest::{did_you_mean, suggestion};
