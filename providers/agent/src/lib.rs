//! What runs on machines while no gabion command does: the gateway and the keeper, in one process per project and machine.
//!
//! * [`protocol`], [`client`]: what can be asked of an agent, and how; [`access`]: the same for providers; [`offline`]: what
//!   can be taken from an agent that does not run.
//! * [`serve()`]: the agent itself. Its data plane routes requests to replicas and routers; its keeper gives a router that
//!   was restarted its workers back; its store makes both survive a restart of the agent.
//!   Certificates of the gateway's host names are got and renewed here too; their keys never leave.
//! * `handover`: one build of the agent makes way for another while requests run.
//! * [`metrics`]: what the data plane counts; [`dns`]: what the world knows of names.
//!
//! Every call to the worker API of a router is made here, on the router's machine: apply and keeper share one way of doing
//! it, and the lease epoch of a writer is checked where the change happens.

pub mod access;
mod admin;
mod agent;
mod certificates;
pub mod client;
pub mod dns;
mod error;
mod gateway;
mod handover;
mod keeper;
mod membership;
pub mod metrics;
pub mod offline;
mod operations;
pub mod protocol;
pub mod relay;
mod router_api;
mod serve;
mod store;
mod worker_load;
mod worker_role;

pub use certificates::Clock;
pub use gateway::Limits;
pub use router_api::normal_url;
pub use serve::{ServeOptions, serve};
