//! The provider with a real router, a real agent behind a real socket, and small engines as workers.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod conformance;
mod drift;
mod engine;
mod harness;
mod lifecycle;
mod router;
