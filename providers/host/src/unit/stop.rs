//! Ending a unit, and removing it without a trace.

use std::collections::BTreeSet;
use std::ops::AddAssign;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::directory::{UnitDirectory, move_directory, remove_abandoned};
use super::error::UnitError;
use super::fence::{self, Fence};
use super::mark::Mark;
use super::status::{holders, session};
use crate::container;
use crate::durable;
use crate::ports::PortRegistry;
use crate::process::{self, ProcessStat};
use crate::systemd;

/// How much longer a container's keeper may take to end than the program: it removes the container.
const KEEPER: Duration = Duration::from_secs(15);

/// How long a killed process may take to vanish.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// The pause between two looks at the session, at first and at most.
const LOOK: Duration = Duration::from_millis(20);
const LONGEST_LOOK: Duration = Duration::from_millis(500);

/// What stopping took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopReport {
    /// Processes that were asked to end.
    pub asked: usize,
    /// Processes that had to be killed.
    pub killed: usize,
}

impl AddAssign for StopReport {
    fn add_assign(&mut self, other: Self) {
        self.asked += other.asked;
        self.killed += other.killed;
    }
}

/// Stops a unit: SIGTERM to every process of its session, then, after the unit's stop duration (or `grace`), SIGKILL.
///
/// Returns when no process of the unit is left. A unit that does not run, or is not there, is fine.
pub async fn stop(
    directory: &UnitDirectory,
    fence: &Fence,
    grace: Option<Duration>,
) -> Result<StopReport, UnitError> {
    let directory = directory.found();
    if !directory.exists() {
        return Ok(StopReport::default());
    }
    fence::admit(&directory, fence)?;
    let grace = grace.unwrap_or_else(|| patience(&directory));
    // Or systemd would start it again.
    systemd::stop(&directory, None, grace).await?;
    end(&directory, grace, Reach::Unit).await
}

/// Returns how long a unit's program may take to end.
pub(crate) fn patience(directory: &UnitDirectory) -> Duration {
    // A damaged record must not keep a program running for ever.
    directory
        .launch()
        .map_or(Duration::from_secs(10), |record| record.stop_duration())
}

/// Stops a unit, releases its ports and removes its directory, and after the last unit the data root unless something else is in it; what is gone already is fine.
///
/// Nothing is removed under a running program: once the unit is stopped its directory gets another name, so that nobody can start it any more, and whoever was quicker is stopped there. A removal that was interrupted is continued by the next.
pub async fn remove(
    directory: &UnitDirectory,
    fence: &Fence,
    grace: Option<Duration>,
    ports: &PortRegistry,
) -> Result<StopReport, UnitError> {
    let leaving = directory.leaving();
    let mut report = match stop(directory, fence, grace).await {
        // Perhaps only because somebody starts the unit again and again; once it has left its place, nobody can.
        Err(UnitError::Unkillable { .. }) if directory.exists() => StopReport::default(),
        stopped => stopped?,
    };
    if directory.exists() {
        let grace = grace.unwrap_or_else(|| patience(directory));
        // Left by a removal that did not end, and made again since: what runs there has no other way to end.
        if leaving.exists() {
            report += end(&leaving, grace, Reach::Unit).await?;
            durable::remove_directory(leaving.path())?;
        }
        {
            let _lock = fence::hold(directory, fence)?;
            move_directory(directory, &leaving)?;
        }
        report += end(&leaving, grace, Reach::Unit).await?;
    }
    if let Some(uid) = directory.path().file_name().and_then(|name| name.to_str()) {
        ports.release(uid).map_err(|error| UnitError::Io {
            source: std::io::Error::other(error.to_string()),
        })?;
    }
    durable::remove_directory(leaving.path())?;
    // The last one takes the directories with it that were made for the first.
    if let Some(units) = directory.path().parent() {
        remove_abandoned(units)?;
        durable::remove_if_empty(units)?;
        if let Some(data_root) = units.parent().filter(|_| !units.exists()) {
            durable::remove_if_empty(data_root)?;
        }
    }
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

/// Ends a unit: its processes, and then what of its container is left by a keeper that had to be killed.
pub(crate) async fn end(
    directory: &UnitDirectory,
    grace: Duration,
    reach: Reach,
) -> Result<StopReport, UnitError> {
    let in_container = directory.launch().is_ok_and(|launch| launch.container.is_some());
    let grace = if in_container { grace + KEEPER } else { grace };
    let report = end_processes(directory, grace, reach).await?;
    if in_container {
        container::discard(directory).await?;
    }
    Ok(report)
}

/// Ends processes of the unit. Signals go to processes told apart by start time, so a pid that was given to somebody else is left alone.
async fn end_processes(
    directory: &UnitDirectory,
    grace: Duration,
    reach: Reach,
) -> Result<StopReport, UnitError> {
    let mut report = StopReport::default();
    let mut asked = BTreeSet::new();
    let mut pause = LOOK;
    let patience = Instant::now() + grace;
    loop {
        let left = left(directory, reach)?;
        if left.is_empty() {
            return Ok(report);
        }
        if Instant::now() >= patience {
            break;
        }
        let supervisor = supervisor(directory, &left)?;
        for process in &left {
            // A supervisor asks the others itself: twice asked, some programs end at once and lose their work.
            if supervisor.is_some_and(|pid| pid != process.pid) {
                continue;
            }
            if asked.insert((process.pid, process.start_time)) {
                process::signal(process, Signal::SIGTERM)?;
                // A stopped process acts on nothing until it is continued.
                process::signal(process, Signal::SIGCONT)?;
                report.asked += 1;
            }
        }
        tokio::time::sleep_until((Instant::now() + pause).min(patience)).await;
        pause = (pause * 5 / 4).min(LONGEST_LOOK);
    }
    let mut killed = BTreeSet::new();
    let deadline = Instant::now() + KILL_DEADLINE;
    loop {
        let left = left(directory, reach)?;
        if left.is_empty() {
            report.killed = killed.len();
            return Ok(report);
        }
        if Instant::now() >= deadline {
            return Err(UnitError::Unkillable {
                path: directory.path().to_owned(),
                pids: left.iter().map(|process| process.pid).collect(),
            });
        }
        for process in &left {
            process::signal(process, Signal::SIGKILL)?;
            killed.insert((process.pid, process.start_time));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Returns the pid of the unit's supervisor if that is among those who are left.
fn supervisor(directory: &UnitDirectory, left: &[ProcessStat]) -> Result<Option<i32>, UnitError> {
    let Some(mark) = Mark::read_intact(&directory.mark_file())? else {
        return Ok(None);
    };
    let pid = mark.process.pid;
    let is_left = left.iter().any(|process| process.pid == pid);
    let supervises = is_left && matches!(directory.run(&mark), Ok(Some(_)));
    Ok(supervises.then_some(pid))
}

/// Returns who is left but the caller: the session while it has members, then whoever left it. Looking for the latter is the costly part.
pub(crate) fn left(directory: &UnitDirectory, reach: Reach) -> Result<Vec<ProcessStat>, UnitError> {
    let mut found = match Mark::read_intact(&directory.mark_file())? {
        Some(mark) => session(directory, &mark)?,
        None => Vec::new(),
    };
    found.retain(is_another);
    if reach == Reach::Session || !found.is_empty() {
        return Ok(found);
    }
    found = holders(directory)?;
    found.retain(is_another);
    Ok(found)
}

/// Whether a process is not the caller: a supervisor ends all of its unit but itself.
fn is_another(process: &ProcessStat) -> bool {
    u32::try_from(process.pid) != Ok(std::process::id())
}
