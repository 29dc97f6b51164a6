//! Machines that are not this one.
//!
//! Everything that gabion does with programs is code that runs *on* their machine: locks, signals, `/proc`, ports. So a
//! machine elsewhere runs the small static program `gabion-agent`, which has the same providers in it, and the providers
//! here hand it whole requests ([`Spread`]). Nothing is done differently there: fences, marks and probes are the same.
//!
//! ```text
//! engine ──▶ Spread ──▶ provider here                    objects with `machine: local`
//!               └────▶ session ══ one ssh ══▶ agent ──▶ provider there        `machine: FLEET/HOST`
//! ```
//!
//! * [`ssh`]: the way there; [`program`]: what is put there; [`hosts`]: which machines there are, and their connections.
//! * [`reach`]: when a machine that is away is tried again.
//! * `session` and [`agent`]: the two ends of the conversation, [`protocol`] what they say.
//! * [`facts`]: what a machine is. [`ssh_host`]: a machine as a resource. `generation`: machines of one name.
//!
//! A connection ends with the process that made it, and what an agent does for a connection ends with it, within seconds
//! also when the network is cut. Programs stay; they are found again by their units.

pub mod agent;
mod exposed;
pub mod facts;
mod frame;
mod generation;
pub mod hosts;
pub mod program;
pub mod protocol;
pub mod reach;
mod session;
mod spread;
pub mod ssh;
pub mod ssh_host;
mod streams;
pub mod units;

pub use hosts::Hosts;
pub use spread::Spread;
pub use ssh_host::{SSH_HOST, SshProvider};
