//! The provider against moto, made stricter: see `gabion_testing::aws`.

mod conformance;
mod errors;
mod instances;
mod records;
mod recovery;
mod refresh;
mod support;
mod survey;
