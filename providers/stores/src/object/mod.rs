//! State in object storage: S3 and what is compatible with it.

mod core;
mod history;
mod leasing;
mod manifest;
mod names;
mod place;
mod probe;
mod proof;
mod reading;
mod segment;
mod store;
mod upkeep;
mod writing;

pub use store::{ObjectOptions, ObjectStateStore, Upkeep};
