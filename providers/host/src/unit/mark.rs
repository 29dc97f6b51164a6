//! Who runs a unit, in the words of that very process.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::UnitError;
use super::record::parse;
use crate::durable;
use crate::process::ProcessIdentity;

/// `mark.json`, written by the shim under the unit's lock just before it becomes the program; exec changes neither pid nor start time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Format of this file.
    pub format: u32,
    /// The unit.
    pub uid: String,
    /// The operation that launched it.
    pub operation: String,
    /// The lease epoch of that operation.
    pub epoch: u64,
    /// Digest of all that the program could read when it was launched, secret values included: it stays on the machine. See [`UnitDirectory::launch_digest`](super::UnitDirectory::launch_digest).
    pub launched: String,
    /// The process, which leads the unit's session.
    #[serde(flatten)]
    pub process: ProcessIdentity,
    /// The SHA-256 of the program file that the process was started from; of agents alone, which are upgraded in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Agents that have handed over to the process and may still finish what they had begun, each the leader of a session.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub draining: Vec<ProcessIdentity>,
}

impl Mark {
    /// The format this build writes.
    pub const FORMAT: u32 = 1;

    /// Reads a mark; `None` when the unit was never launched.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, UnitError> {
        durable::read_optional(path)?
            .map(|bytes| parse(path, &bytes, Self::FORMAT))
            .transpose()
    }

    /// Reads a mark; one that cannot be understood is as good as none.
    pub(crate) fn read_intact(path: &Path) -> Result<Option<Self>, UnitError> {
        match Self::read(path) {
            Err(UnitError::Damaged { .. }) => Ok(None),
            other => other,
        }
    }
}
