//! How a unit is: by its mark and the kernel, never by command lines.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::directory::UnitDirectory;
use super::error::UnitError;
use super::mark::Mark;
use super::record::parse;
use super::shim::UNIT_VARIABLE;
use crate::durable;
use crate::process::{self, ProcessIdentity, ProcessStat};

/// How a unit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitStatus {
    /// The directory is there, and no launch ever got as far as the program.
    NeverStarted,
    /// The program runs.
    Running {
        /// Who runs it, and for which operation.
        mark: Mark,
    },
    /// The program was launched and runs no more.
    Exited {
        /// The last launch.
        mark: Mark,
        /// How it ended; `None` when nobody was there to see.
        exit: Option<Exit>,
        /// Its descendants that still run, by pid.
        left: Vec<i32>,
    },
    /// The program was launched before the machine was restarted, and not since.
    Rebooted {
        /// The last launch.
        mark: Mark,
    },
}

impl UnitStatus {
    /// Whether the program runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// The mark of the last launch.
    #[must_use]
    pub fn mark(&self) -> Option<&Mark> {
        match self {
            Self::NeverStarted => None,
            Self::Running { mark } | Self::Exited { mark, .. } | Self::Rebooted { mark } => Some(mark),
        }
    }
}

impl Exit {
    /// Whether it ended with exit code 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self.code == Some(0)
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        Self {
            code: status.code(),
            signal: status.signal(),
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(formatter, "exit code {code}"),
            (None, Some(number)) => match Signal::try_from(number) {
                Ok(signal) => write!(formatter, "signal {signal}"),
                Err(_) => write!(formatter, "signal {number}"),
            },
            (None, None) => formatter.write_str("an unknown end"),
        }
    }
}

/// `exit.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct ExitFile {
    pub(crate) format: u32,
    #[serde(flatten)]
    pub(crate) process: ProcessIdentity,
    #[serde(flatten)]
    pub(crate) exit: Exit,
}

impl ExitFile {
    pub(crate) const FORMAT: u32 = 1;
}

/// Says how a unit is.
///
/// # Errors
/// [`UnitError::NotFound`] when there is no such unit.
pub fn inspect(directory: &UnitDirectory) -> Result<UnitStatus, UnitError> {
    if !directory.exists() {
        return Err(UnitError::NotFound {
            path: directory.path().to_owned(),
        });
    }
    let Some(mark) = directory.mark()? else {
        return Ok(UnitStatus::NeverStarted);
    };
    if mark.process.boot_id != process::boot_id()? {
        return Ok(UnitStatus::Rebooted { mark });
    }
    let run = directory.run(&mark)?;
    let ended = run.as_ref().and_then(|run| run.ended.as_ref());
    // A supervisor whose program has ended may still be ending what that left.
    if ended.is_none() && mark.process.is_alive() {
        return Ok(UnitStatus::Running { mark });
    }
    let left = session(directory, &mark)?.iter().map(|stat| stat.pid).collect();
    let exit = match (&run, ended) {
        (Some(_), ended) => ended.map(|end| end.exit),
        (None, _) => last_exit(directory, &mark)?,
    };
    Ok(UnitStatus::Exited { mark, exit, left })
}

fn last_exit(directory: &UnitDirectory, mark: &Mark) -> Result<Option<Exit>, UnitError> {
    let path = directory.exit_file();
    let Some(bytes) = durable::read_optional(&path)? else {
        return Ok(None);
    };
    let file: ExitFile = parse(&path, &bytes, ExitFile::FORMAT)?;
    Ok((file.process == mark.process).then_some(file.exit))
}

/// Returns the running processes of a mark's session, and of the sessions of agents that have handed over to its process.
pub(crate) fn session(directory: &UnitDirectory, mark: &Mark) -> Result<Vec<ProcessStat>, UnitError> {
    let mut found = session_of(directory, mark, &mark.process)?;
    for process in &mark.draining {
        found.extend(session_of(directory, mark, process)?);
    }
    Ok(found)
}

/// Returns the running processes of the session that one process leads, or led.
///
/// The kernel gives a session's number to nobody else while the session has a member. Should the number lead another session by now, that session's leader started at another time; once that leader is gone as well, its members are told from the unit's by what they carry: the log as their output, the lock, the working directory, the environment.
fn session_of(
    directory: &UnitDirectory,
    mark: &Mark,
    led_by: &ProcessIdentity,
) -> Result<Vec<ProcessStat>, UnitError> {
    if led_by.boot_id != process::boot_id()? {
        return Ok(Vec::new());
    }
    let leader = ProcessStat::read(led_by.pid);
    if leader
        .as_ref()
        .is_some_and(|leader| leader.start_time != led_by.start_time)
    {
        return Ok(Vec::new());
    }
    let mut members = process::running_processes()?;
    members.retain(|stat| stat.session == led_by.pid && stat.start_time >= led_by.start_time);
    if leader.is_none() {
        let home = as_proc_shows(directory.path().to_owned());
        members.retain(|stat| {
            process::uses_directory(stat.pid, &home) || process::was_given(stat.pid, UNIT_VARIABLE, &mark.uid)
        });
    }
    Ok(members)
}

/// Returns a path without symbolic links in it, which is how `/proc` shows it.
fn as_proc_shows(path: PathBuf) -> PathBuf {
    path.canonicalize().unwrap_or(path)
}

/// Returns the running processes that hold the unit's lock: its descendants wherever they went, and a shim that has not become the program yet.
pub(crate) fn holders(directory: &UnitDirectory) -> Result<Vec<ProcessStat>, UnitError> {
    let lock = as_proc_shows(directory.lock_file());
    let mut found = process::running_processes()?;
    found.retain(|stat| process::has_open(stat.pid, &lock));
    Ok(found)
}
