//! The data plane: accepts requests, finds their route, and passes them on.
//!
//! It owns no durable state; [`plane::Plane`] is swapped whenever the agent's store changes.

mod body;
mod error;
pub(crate) mod flight;
mod forward;
mod framing;
mod headers;
mod limits;
pub(crate) mod listener;
mod meter;
mod path;
pub(crate) mod plane;
pub(crate) mod rate;
mod redirect;
mod request;

pub use limits::Limits;
