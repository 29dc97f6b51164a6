//! Graphs of what depends on what: of a configuration, or of a plan with what happens to each object.
//!
//! One model, written in several ways: for Graphviz, for Markdown, for programs, as a picture, and as a page that needs
//! nothing but a browser.

pub(crate) mod dot;
pub(crate) mod groups;
pub(crate) mod json;
pub(crate) mod layout;
pub(crate) mod mermaid;
pub(crate) mod model;
pub(crate) mod page;
mod page_data;
pub(crate) mod svg;

#[cfg(test)]
pub(crate) mod tests;
