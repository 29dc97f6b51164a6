//! Why something could not be done with a unit.

use std::io;
use std::path::{Path, PathBuf};

use super::placeholder::PlaceholderError;
use super::shim::ShimError;
use crate::container::ContainerError;
use crate::systemd::SystemdError;

/// Why something could not be done with a unit.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// There is no such unit.
    #[error("{} is not there", path.display())]
    NotFound {
        /// The directory.
        path: PathBuf,
    },
    /// The specification cannot be run.
    #[error("{reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// A newer run of gabion has touched the unit; this one must do nothing more.
    #[error("{}: epoch {offered} is older than {recorded}, which has touched this unit since", path.display())]
    StaleEpoch {
        /// The unit's directory.
        path: PathBuf,
        /// The caller's epoch.
        offered: u64,
        /// The newest epoch seen.
        recorded: u64,
    },
    /// A file of the unit is not what gabion wrote.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The shim could not become the program.
    #[error(transparent)]
    Launch(#[from] ShimError),
    /// Processes of the unit survived SIGKILL.
    #[error("processes {pids:?} of {} do not end, not even killed; they hang in the kernel", path.display())]
    Unkillable {
        /// The unit's directory.
        path: PathBuf,
        /// Who is left.
        pids: Vec<i32>,
    },
    /// The unit's container cannot be done with as it should.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// The unit's service cannot be done with as it should.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// The operating system refused.
    #[error("{source}")]
    Io {
        /// Its words; they name the path.
        #[from]
        source: io::Error,
    },
}

impl UnitError {
    pub(crate) fn damaged(path: &Path, reason: impl ToString) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

impl From<PlaceholderError> for UnitError {
    fn from(error: PlaceholderError) -> Self {
        Self::Invalid {
            reason: error.to_string(),
        }
    }
}
