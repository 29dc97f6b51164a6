//! The agent over real sockets: raw clients in front, small upstreams behind.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod admin;
mod certificates;
mod framing;
mod harness;
mod keeper;
mod limits;
mod negotiation;
mod rate_limits;
mod readers;
mod routing;
mod streaming;
mod swap;
