//! Ending a unit, and removing it without a trace.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::directory::UnitDirectory;
use super::error::UnitError;
use super::fence::{self, Fence};
use super::mark::Mark;
use super::status::{members, session};
use crate::durable;
use crate::ports::PortRegistry;
use crate::process;

/// How long a killed process may take to vanish.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// How often the session is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What stopping took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopReport {
    /// Processes that were asked to end.
    pub asked: usize,
    /// Processes that had to be killed.
    pub killed: usize,
}

/// Stops a unit: SIGTERM to every process of its session, then, after the unit's stop duration (or `grace`), SIGKILL.
///
/// Returns when no process of the unit is left. A unit that does not run, or is not there, is fine.
pub async fn stop(
    directory: &UnitDirectory,
    fence: &Fence,
    grace: Option<Duration>,
) -> Result<StopReport, UnitError> {
    if !directory.exists() {
        return Ok(StopReport::default());
    }
    fence::admit(directory, fence)?;
    let grace = match grace {
        Some(grace) => grace,
        // A damaged record must not keep a program running for ever.
        None => directory
            .launch()
            .map_or(Duration::from_secs(10), |record| record.stop_duration()),
    };
    end(directory, grace, Reach::Unit).await
}

/// Stops a unit, releases its ports and removes its directory; what is gone already is fine.
pub async fn remove(
    directory: &UnitDirectory,
    fence: &Fence,
    grace: Option<Duration>,
    ports: &PortRegistry,
) -> Result<StopReport, UnitError> {
    let report = stop(directory, fence, grace).await?;
    if let Some(uid) = directory.path().file_name().and_then(|name| name.to_str()) {
        ports.release(uid).map_err(|error| UnitError::Io {
            source: std::io::Error::other(error.to_string()),
        })?;
    }
    durable::remove_directory(directory.path())?;
    Ok(report)
}

/// Whom to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The session of the last launch; a launch that is under way elsewhere is left alone.
    Session,
    /// Whatever holds on to the unit.
    Unit,
}

/// Ends processes of the unit. Signals go to processes told apart by start time, so a pid that was given to somebody else is left alone.
pub(crate) async fn end(
    directory: &UnitDirectory,
    grace: Duration,
    reach: Reach,
) -> Result<StopReport, UnitError> {
    let members = |directory: &UnitDirectory| match reach {
        Reach::Unit => members(directory),
        Reach::Session => {
            Mark::read_intact(&directory.mark_file())?.map_or(Ok(Vec::new()), |mark| session(&mark))
        }
    };
    let mut report = StopReport::default();
    let mut asked = BTreeSet::new();
    let patience = Instant::now() + grace;
    loop {
        let members = members(directory)?;
        if members.is_empty() {
            return Ok(report);
        }
        if Instant::now() >= patience {
            break;
        }
        for member in &members {
            if asked.insert((member.pid, member.start_time)) {
                process::signal(member, Signal::SIGTERM)?;
                // A stopped process acts on nothing until it is continued.
                process::signal(member, Signal::SIGCONT)?;
                report.asked += 1;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    let mut killed = BTreeSet::new();
    let deadline = Instant::now() + KILL_DEADLINE;
    loop {
        let members = members(directory)?;
        if members.is_empty() {
            report.killed = killed.len();
            return Ok(report);
        }
        if Instant::now() >= deadline {
            return Err(UnitError::Unkillable {
                path: directory.path().to_owned(),
                pids: members.iter().map(|member| member.pid).collect(),
            });
        }
        for member in &members {
            process::signal(member, Signal::SIGKILL)?;
            killed.insert((member.pid, member.start_time));
        }
        tokio::time::sleep(LOOK).await;
    }
}
