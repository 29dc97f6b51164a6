//! State in object storage: S3 and what is compatible with it.

mod adopting;
mod core;
mod history;
mod leasing;
mod manifest;
mod names;
mod place;
mod probe;
mod proof;
mod reading;
mod s3;
mod segment;
mod settings;
mod store;
mod upkeep;
mod writing;

pub use s3::{open, open_with};
pub use settings::ObjectSettings;
pub use store::{ObjectOptions, ObjectStateStore, Upkeep};
