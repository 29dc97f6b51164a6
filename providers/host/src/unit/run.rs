//! What became of a program that is looked after, in the words of the process that stays beside it.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::UnitError;
use super::record::{parse, to_bytes};
use super::status::Exit;
use crate::durable;
use crate::process::ProcessIdentity;

/// `run.json`, written by a unit's supervisor: before the mark that names it, at every start and end of the program.
///
/// A record without an [end](Self::ended) whose supervisor is gone says that the supervisor was killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Format of this file.
    pub format: u32,
    /// The supervisor, which leads the unit's session.
    #[serde(flatten)]
    pub supervisor: ProcessIdentity,
    /// Whether the program is meant to end.
    pub completes: bool,
    /// How often the program has been started.
    pub attempt: u32,
    /// The program's pid; `None` when none runs.
    pub program: Option<i32>,
    /// When the program was started last.
    pub started_at: Timestamp,
    /// How the attempt before failed.
    pub failure: Option<Exit>,
    /// How it ended for good.
    pub ended: Option<RunEnd>,
}

/// How a program ended for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub cause: EndCause,
    /// How; both parts are absent when the program could not be started.
    #[serde(flatten)]
    pub exit: Exit,
}

/// Why a program ended for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// By itself, or by a signal that its supervisor did not send.
    Itself,
    /// It was asked to end.
    Asked,
    /// It had run for as long as it may.
    MaxDuration,
    /// The master of its run was done.
    MasterDone,
    /// Another node of its run failed.
    NodeFailed,
    /// It could not be started.
    NotStarted,
}

impl RunRecord {
    /// The format this build writes.
    pub const FORMAT: u32 = 1;

    /// Returns the record of a program that is about to be started for the first time.
    pub(super) fn new(supervisor: ProcessIdentity, completes: bool) -> Self {
        Self {
            format: Self::FORMAT,
            supervisor,
            completes,
            attempt: 0,
            program: None,
            started_at: Timestamp::now(),
            failure: None,
            ended: None,
        }
    }

    /// Reads a record; `None` when there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, UnitError> {
        durable::read_optional(path)?
            .map(|bytes| parse(path, &bytes, Self::FORMAT))
            .transpose()
    }

    /// Writes the record durably.
    pub(super) fn write(&self, path: &Path) -> Result<(), UnitError> {
        durable::write_atomic(path, &to_bytes(self)?, 0o600)?;
        Ok(())
    }

    /// Whether the program failed by itself, or could not be started.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        match &self.ended {
            Some(end) => match end.cause {
                EndCause::Itself => !(self.completes && end.exit.is_success()),
                EndCause::NotStarted => true,
                _ => false,
            },
            None => false,
        }
    }

    /// Whether the program was meant to end and did, with exit code 0.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.completes
            && self
                .ended
                .as_ref()
                .is_some_and(|end| end.cause == EndCause::Itself && end.exit.is_success())
    }
}
