//! dstack's documents, typed.

pub mod backend;
pub mod dev_environment;
pub mod dialect;
pub mod fleet;
pub mod gateway;
pub mod model;
pub mod preset;
pub mod probe;
pub mod profile;
pub mod rate_limit;
pub mod replica_group;
pub mod resources;
pub mod rolling;
pub mod router;
pub mod run;
pub mod scaling;
pub mod service;
pub mod ssh_config;
pub mod task;
pub mod volume;

mod rules;
