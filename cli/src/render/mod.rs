//! Renderings: pure functions from plans, problems and events to text.

pub(crate) mod annotations;
pub(crate) mod catalogue;
pub(crate) mod diagnostic;
pub(crate) mod difference_text;
pub(crate) mod drift_junit;
pub(crate) mod drift_markdown;
pub(crate) mod drift_sarif;
pub(crate) mod drift_text;
pub(crate) mod event_json_types;
pub(crate) mod events;
pub(crate) mod gather;
pub(crate) mod graph;
pub(crate) mod healing_json;
pub(crate) mod markdown;
pub(crate) mod mermaid;
pub(crate) mod plan_events;
pub(crate) mod plan_json;
pub(crate) mod plan_json_document;
pub(crate) mod plan_json_types;
pub(crate) mod plan_markdown;
pub(crate) mod plan_text;
pub(crate) mod price;
pub(crate) mod progress;
pub(crate) mod ps_json;
pub(crate) mod reference;
pub(crate) mod repository;
pub(crate) mod sarif;
pub(crate) mod scaling_json;
pub(crate) mod streamed;
mod structured;
pub(crate) mod theme;
pub(crate) mod value;
pub(crate) mod view;
pub(crate) mod words;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod github;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
