//! A unit whose program is succeeded by another build of it, without an end between the two.
//!
//! The program starts its successor itself, so that this inherits the unit's lock, and writes the mark for it: one process
//! writes all marks of a succession, and none of them names a process that has not been started. Whoever is killed on the
//! way leaves a mark of a process that runs, or one of a process that is gone, which is a program that has ended: the next
//! apply starts it again. What drains is part of the unit until it has ended.

use super::directory::UnitDirectory;
use super::error::UnitError;
use super::mark::Mark;
use super::record::to_bytes;
use crate::durable;
use crate::process::ProcessIdentity;

/// A mark that names a successor, and the one before it.
#[derive(Debug)]
pub struct Succession {
    directory: UnitDirectory,
    before: Mark,
}

/// Makes a unit's mark name the successor of the calling process; `None` when the directory has no mark, because nobody
/// launched a unit there.
///
/// # Errors
/// [`UnitError::Invalid`] when the mark names another process than the caller: the unit has been started anew since.
pub fn succeed(
    directory: &UnitDirectory,
    successor: &ProcessIdentity,
    program: &str,
    operation: &str,
    epoch: u64,
) -> Result<Option<Succession>, UnitError> {
    let Some(before) = directory.mark()? else {
        return Ok(None);
    };
    let itself = ProcessIdentity::current()?;
    if before.process != itself {
        return Err(UnitError::Invalid {
            reason: format!(
                "the unit is that of process {} by now, not of {}",
                before.process.pid, itself.pid
            ),
        });
    }
    let mut draining = before.draining.clone();
    draining.retain(ProcessIdentity::is_alive);
    draining.push(itself);
    let after = Mark {
        operation: operation.to_owned(),
        epoch,
        process: successor.clone(),
        program: Some(program.to_owned()),
        draining,
        ..before.clone()
    };
    let succession = Succession {
        directory: directory.clone(),
        before,
    };
    if let Err(error) = write(directory, &after) {
        // It may be in its place although it is not durable.
        succession.revoke()?;
        return Err(error);
    }
    Ok(Some(succession))
}

impl Succession {
    /// Makes the mark name the calling process again: its successor is gone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn revoke(&self) -> Result<(), UnitError> {
        write(&self.directory, &self.before)
    }
}

fn write(directory: &UnitDirectory, mark: &Mark) -> Result<(), UnitError> {
    Ok(durable::write_atomic(
        &directory.mark_file(),
        &to_bytes(mark)?,
        0o600,
    )?)
}
