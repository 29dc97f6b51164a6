//! Lowering: what a project's gateways and services are made of.
//!
//! Of a machine that serves: the agent. Of a gateway: its listener on the agent. Of a service: per replica a unit, with
//! a router one `router_worker` each and the router's unit, and one route. The order of applying falls out of the
//! references between them.

mod backend;
mod builder;
mod check;
mod gateway;
mod names;
mod project;
mod service;
mod slots;
pub(crate) mod unsupported;

pub use project::{Context, Placed, RecordedSlot, lower};

pub(crate) use backend::LOCAL;
