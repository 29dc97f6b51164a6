//! dstack's document types, and what gabion makes of them.
//!
//! Documents are decoded into typed structs (`document`), whose value grammars are in `grammar`; `lower` turns all
//! gateways and services of a project into resources. A backend only answers where a machine for a need is.

mod explain;
mod family;
mod schema;
mod traps;

mod attachment;
pub mod document;
pub mod grammar;
pub mod lower;
pub mod offers;
pub mod profiles;
pub mod term;

pub use attachment::{Attachment, Forward, attachment};
pub use family::{Inference, SudoSettings, agent_path, sudo};
pub use lower::AWS_REGION;
