//! Units, packages and probes with real programs.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its scene has failed"
)]

mod conformance;
mod launch;
mod package;
mod probe;
mod provider;
mod secret;
mod stop;
mod supervise;
mod support;
