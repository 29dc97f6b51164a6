//! The provider with a real agent behind a real socket.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod another_machine;
mod conformance;
mod harness;
mod listener;
mod replica;
mod route;
