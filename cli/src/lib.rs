//! The command line of gabion.

#![allow(dead_code)]
mod args;
mod exit;
mod failure;
mod options;
mod output;
mod render;

/// The forms of what gabion prints as JSON.
pub mod wire {
    pub use crate::render::diagnostic::{DiagnosticsJson, PlaceJson, ProblemJson, RelatedJson};
    pub use crate::render::event_json_types::*;
    pub use crate::render::plan_json_types::*;
}
