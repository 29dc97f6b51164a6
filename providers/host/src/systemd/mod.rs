//! The runtime `systemd`: a unit whose program systemd runs, watches, starts again and starts with the machine.
//!
//! The service's process is the unit's shim, which becomes the program (or its supervisor): so everything that is true of
//! units is true here too. The mark names the process, the lock is its own, secret values are in the unit's 0600 file and
//! nowhere else. What systemd adds is who starts it, the journal, and a cgroup that nothing leaves.
//!
//! ```text
//! /etc/systemd/system/gabion-<uid>.service        or ~/.config/systemd/user/…; 0644, without a secret
//! <unit>/service.unit                             the same text, to compare with
//! <unit>/service.json                             which start gabion knows of: invocation, restarts, boot
//! <unit>/refused.json                             why the shim did not become the program, if it did not
//! ```

mod error;
mod journal;
mod manager;
mod seen;
mod service;
mod spec;
mod unit_file;

pub use error::SystemdError;
pub(crate) use journal::{Journal, JournalFollower};
pub(crate) use seen::{Look, look, restarts, settle};
pub(crate) use service::{choose_scope, discard, follow, place, place_build, start, stop};
pub use spec::{Scope, ServiceSpec, Sudo, service_name};
