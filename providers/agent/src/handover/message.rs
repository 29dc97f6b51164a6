//! What the two builds say to each other. Either may be the older one.

use serde::{Deserialize, Serialize};

use crate::store::Contents;

/// The form of the conversation that this build offers, and the newest it takes up.
pub(super) const FORMAT: u32 = 1;

/// What the predecessor says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromPredecessor {
    /// First of all: what follows.
    Offer {
        /// [`FORMAT`] of the predecessor.
        format: u32,
        /// Its version, for people.
        version: String,
        /// How many parts follow.
        parts: usize,
    },
    /// A part; its descriptor comes with it.
    Part(Part),
    /// The successor is to accept from now on.
    Commit,
}

/// What is handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// The lock on the directory.
    Lock,
    /// The socket of the administrators.
    Admin,
    /// The socket of a gateway.
    Listener {
        /// The gateway.
        name: String,
        /// The port that it listens on.
        port: u16,
    },
}

/// What the successor says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromSuccessor {
    /// It has what it needs and could serve.
    Ready(Proof),
    /// It could not serve.
    Refused {
        /// Why not.
        reason: String,
    },
    /// It accepts.
    Accepting,
}

/// How a successor proves that it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proof {
    /// Its version, for people.
    pub(super) version: String,
    /// Its process.
    pub(super) pid: u32,
    /// What it read.
    pub(super) counts: Counts,
}

/// What an agent holds, in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) epoch: u64,
    pub(super) listeners: usize,
    pub(super) routes: usize,
    pub(super) routers: usize,
    pub(super) members: usize,
    pub(super) certificates: usize,
}

impl Counts {
    pub(super) fn of(contents: &Contents) -> Self {
        Self {
            epoch: contents.epoch,
            listeners: contents.listeners.len(),
            routes: contents.all_routes().count(),
            routers: contents.routers.len(),
            members: contents.members.values().map(|members| members.len()).sum(),
            certificates: contents.certificates.len(),
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} listeners, {} routes, {} routers, {} members and {} certificates at epoch {}",
            self.listeners, self.routes, self.routers, self.members, self.certificates, self.epoch
        )
    }
}
