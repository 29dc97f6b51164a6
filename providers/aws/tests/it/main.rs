//! The provider against moto, made stricter: see `gabion_testing::aws`.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod conformance;
mod errors;
mod instances;
mod records;
mod recovery;
mod refresh;
mod servers;
mod support;
mod survey;
