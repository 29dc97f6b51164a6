//! The provider `host` through the engine's contract, with real programs.

mod container;
mod container_scene;
mod drift;
mod lifecycle;
mod plan;
mod registry;
mod scene;
mod service;
mod service_drift;
mod service_rights;
mod service_scene;
