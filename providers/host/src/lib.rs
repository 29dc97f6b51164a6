//! Programs on machines: how gabion reaches a machine, runs a program there and keeps hold of it.
//!
//! * [`transport`]: the way to a machine (connections, commands, files); [`http`] and [`unix_path`] build on it.
//! * [`mod@unit`]: a long-running program that outlives the command that started it.
//! * [`container`]: such a program in a container of the machine's Docker daemon.
//! * [`systemd`]: such a program as a service of the machine's, or the user's, own systemd.
//! * [`ports`]: which port belongs to whom, for all projects of a user.
//! * [`package`]: shared, hash-checked environments that programs come from.
//! * [`probe`]: when a program counts as ready.
//! * [`provider`]: the provider `host`, which makes the resource type `host_unit` of all that.

pub mod beside;
pub mod container;
pub mod durable;
mod host_unit;
pub mod http;
pub mod package;
pub mod ports;
pub mod probe;
pub mod process;
pub mod provider;
mod restarts;
pub mod schema;
pub mod systemd;
pub mod transport;
pub mod unit;
pub mod unix_path;

pub use provider::{
    AgentBuilds, AgentConfig, AgentUpgrade, ContainerConfig, Handover, HandoverError, HostConfig,
    HostProvider, SystemdConfig,
};
pub use restarts::restarts;
pub use schema::HOST_UNIT;
