//! Why something could not be done with a container.

use std::io;
use std::path::PathBuf;

/// Why something could not be done with a container.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// No daemon answers.
    #[error("no Docker daemon answers at {}: {reason}", socket.display())]
    NoDaemon {
        /// Its socket.
        socket: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The image is not on the machine, and cannot be fetched.
    #[error("the image {image} is not on the machine and cannot be pulled: {reason}")]
    NoImage {
        /// The image, as it was asked for.
        image: String,
        /// Why not.
        reason: String,
    },
    /// The registry refused whoever asked.
    #[error("the registry of {image} refuses the credentials: {reason}")]
    Refused {
        /// The image, as it was asked for.
        image: String,
        /// Its words.
        reason: String,
    },
    /// A container that is not this unit's has its name.
    #[error("a container named {name} is there that gabion did not make")]
    Foreign {
        /// The name.
        name: String,
    },
    /// The daemon refused.
    #[error("{doing}: {reason}")]
    Daemon {
        /// What it was asked for.
        doing: String,
        /// Its words.
        reason: String,
    },
    /// Docker's words for an error that does not pass by itself: the container cannot be made as it was asked for.
    #[error("{doing}: {reason}")]
    Invalid {
        /// What it was asked for.
        doing: String,
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

impl ContainerError {
    /// Words what the daemon said.
    pub(super) fn of(doing: impl Into<String>, error: &bollard::errors::Error) -> Self {
        let doing = doing.into();
        match error {
            bollard::errors::Error::DockerResponseServerError {
                status_code: 400..=499,
                message,
            } => Self::Invalid {
                doing,
                reason: message.trim().to_owned(),
            },
            bollard::errors::Error::DockerResponseServerError { message, .. } => Self::Daemon {
                doing,
                reason: message.trim().to_owned(),
            },
            other => Self::Daemon {
                doing,
                reason: other.to_string(),
            },
        }
    }
}
