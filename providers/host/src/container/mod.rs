//! The runtime `docker`: a unit whose program runs in a container.
//!
//! The unit's process is the *keeper* ([`keep`]): it makes the container, copies its output into the unit's log, relays
//! the unit's leased ports into it, stops and removes it, and ends as it ends. So everything that is true of units is
//! true here too: the mark names the keeper, the lock is its own, a supervisor starts it again. What a keeper that was
//! killed leaves behind is found by its name, `gabion-<uid>`, and by its labels.
//!
//! Inside, the first process is the agent's static program ([`init`]). It reads arguments and environment from a file
//! that only the owner can read, so that `docker inspect` shows neither; becomes the user that was asked for; hands on
//! signals; and connects what the keeper relays to the container's own loopback address, where programs often listen.
//! It needs no privilege on the machine beyond the use of the daemon. A container on the machine's own network has nothing
//! relayed: its program listens on the unit's ports itself.
//!
//! ```text
//! <unit>/container/         read only in the container, as /.gabion
//!   agent                   the static program
//!   launch.json             arguments and environment, 0600
//!   files/                  where the unit's files are mounted
//!   run/relay.sock          the first process inside listens here
//! <unit>/container.json     which container it is, and since when it runs
//! ```

mod beside;
mod daemon;
mod error;
mod init;
mod keeper;
mod layout;
mod relay;
mod seen;
mod spec;
pub(crate) mod user;

pub(crate) use beside::{dial, run_beside};
pub use daemon::{Credentials, Daemon};
pub use error::ContainerError;
pub use init::{become_user, beside as become_beside, init};
pub use keeper::keep;
pub(crate) use keeper::{discard, is_started};
pub use layout::{check_agent, is_static};
pub(crate) use layout::{show_files, substitution};
pub(crate) use seen::{Look, look, restarts, settle};
pub use spec::{ContainerMount, ContainerSettings, ContainerSpec, Gpus, Image, Network, Restart};
