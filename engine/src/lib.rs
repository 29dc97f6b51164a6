//! The engine of gabion: infrastructure as code for LLM inference.
//!
//! Placeholder: the architecture and its invariants are described here once the parts stand.

pub mod address;
pub mod apply;
pub mod config;
pub mod diagnostic;
pub mod diff;
pub mod drift;
pub mod gather;
pub mod graph;
mod panic;
pub mod plan;
pub mod provider;
pub mod resource;
pub mod retry;
pub mod schema;
pub mod seal;
pub mod state;
pub mod upgrade;
pub mod value;
pub mod world;
