//! The object store: conformance, damage, faults, and what it costs.

mod memory;
mod moto;
mod racy;
