//! A strict in-memory cloud and the provider over it.
//!
//! The cloud ([`FakeCloud`]) has an API of its own ([`api`]), refuses what a real one would, and misbehaves when told
//! to ([`fault`]). The provider ([`FakeProvider`]) knows only that API, in process or over a socket ([`remote`]), so that
//! the cloud can outlive the gabion that is killed.

pub mod api;
mod cloud;
pub mod fault;
mod handle;
mod provider;
pub mod remote;
mod rules;
pub mod schema;

pub use handle::FakeCloud;
pub use provider::FakeProvider;
