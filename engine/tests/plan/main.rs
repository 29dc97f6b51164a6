//! The planner's specification: a file per behaviour, against a provider that follows its schema.
//!
//! A scenario changes the configuration or the world, plans, and compares the plan with a snapshot; applying a plan
//! here is a few lines that fold the events which the real executor writes.

#![expect(
    clippy::unwrap_used,
    reason = "a scenario that does not hold together may panic"
)]

mod support;

mod attributes;
mod bindings;
mod claims;
mod conditions;
mod contract;
mod cycles;
mod drift;
mod fates;
mod imports;
mod leads;
mod lifecycle;
mod linter;
mod moves;
mod properties;
mod recovery;
mod references;
mod removal;
mod replacement;
mod secrets;
mod selection;
mod sharing;
mod together;
