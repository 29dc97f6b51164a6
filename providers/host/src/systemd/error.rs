//! Why something could not be done with a service of systemd.

use std::io;
use std::path::PathBuf;

use super::spec::Scope;

/// Why something could not be done with a service of systemd.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// The machine is run by something else.
    #[error("systemd does not run this machine")]
    NotBooted,
    /// The user has no manager, or one that ends when the user logs out.
    #[error("the programs of `{user}` end when that user logs out: {why}")]
    NoUserManager {
        /// The user.
        user: String,
        /// What was found.
        why: String,
    },
    /// What is asked for takes root.
    #[error("{doing} takes root, and nothing says that `sudo` may be used")]
    NeedsRoot {
        /// What was to be done.
        doing: String,
    },
    /// `sudo` does not let the user become root.
    #[error("{doing}: sudo refuses: {reason}")]
    SudoRefused {
        /// What was to be done.
        doing: String,
        /// Its words.
        reason: String,
        /// Whether a password was given.
        with_password: bool,
    },
    /// A unit file of that name is there that is not this unit's.
    #[error("{} is there, and gabion did not write it", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The service does not start as it is written.
    #[error("{name} does not start: {reason}")]
    NotStarted {
        /// The service.
        name: String,
        /// What systemd says of it.
        reason: String,
    },
    /// systemd does not know of the process that has succeeded a service's.
    #[error("systemd has not taken note of the process that is {name} now")]
    NotFollowed {
        /// The service.
        name: String,
    },
    /// systemd, or a tool of it, refused.
    #[error("{doing} ({scope}): {reason}")]
    Failed {
        /// What was to be done.
        doing: String,
        /// Of which manager.
        scope: Scope,
        /// Its words.
        reason: String,
    },
    /// The operating system refused.
    #[error("{source}")]
    Io {
        /// Its words; they name the path.
        #[from]
        source: io::Error,
    },
}
