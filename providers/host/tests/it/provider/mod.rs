//! The provider `host` through the engine's contract, with real programs.

mod drift;
mod lifecycle;
mod plan;
mod scene;
