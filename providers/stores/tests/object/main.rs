//! The object store: conformance, damage, faults, and what it costs.

mod cost;
mod damage;
mod faults;
mod memory;
mod moto;
mod racy;
mod reseal;
mod sweep;
mod undone;
