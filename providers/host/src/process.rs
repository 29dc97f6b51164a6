//! What the kernel says about processes: identity, session, life.
//!
//! A process is named by pid, start time and boot id together; a pid alone may belong to somebody else by now. Command lines are never read: programs overwrite theirs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// One process, told apart from any other that ever had or will have its pid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The pid.
    pub pid: i32,
    /// Clock ticks between boot and the process's start (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
    /// The kernel's id of the boot it started in.
    pub boot_id: String,
}

impl ProcessIdentity {
    /// Returns the identity of the calling process.
    pub fn current() -> io::Result<Self> {
        let pid = i32::try_from(std::process::id()).map_err(io::Error::other)?;
        let stat = ProcessStat::read(pid)
            .ok_or_else(|| io::Error::other("/proc/self/stat is missing or has an unknown format"))?;
        Ok(Self {
            pid,
            start_time: stat.start_time,
            boot_id: boot_id()?,
        })
    }

    /// Returns the identity of a process that runs; `None` when there is none with that pid.
    pub fn of(pid: i32) -> io::Result<Option<Self>> {
        let Some(stat) = ProcessStat::read(pid).filter(ProcessStat::is_running) else {
            return Ok(None);
        };
        Ok(Some(Self {
            pid,
            start_time: stat.start_time,
            boot_id: boot_id()?,
        }))
    }

    /// Whether that very process still runs; a zombie does not.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot_id)
            && ProcessStat::read(self.pid)
                .is_some_and(|stat| stat.start_time == self.start_time && stat.is_running())
    }
}

/// The part of `/proc/PID/stat` that gabion uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessStat {
    /// The pid.
    pub pid: i32,
    /// The kernel's state letter, `Z` for a zombie.
    pub state: char,
    /// The parent's pid.
    pub parent: i32,
    /// The pid of the session's leader.
    pub session: i32,
    /// How many threads it has.
    pub threads: u32,
    /// Clock ticks between boot and the process's start.
    pub start_time: u64,
}

impl ProcessStat {
    /// Reads a process's entry; `None` when there is no such process.
    #[must_use]
    pub fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Whether the process can still do anything. A zombie whose other threads have not ended can: it still holds its
    /// ports and devices.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x') || self.threads > 1
    }

    /// Parses one line; the command name, in parentheses, may hold blanks and parentheses itself.
    fn parse(line: &str) -> Option<Self> {
        let pid = line.split(' ').next()?.parse().ok()?;
        let fields: Vec<&str> = line[line.rfind(')')? + 1..].split_ascii_whitespace().collect();
        // The fields after the name start with number 3 of proc(5).
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            pid,
            state: field(3)?.chars().next()?,
            parent: field(4)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            threads: field(20)?.parse().ok()?,
            start_time: field(22)?.parse().ok()?,
        })
    }
}

/// Returns the id of the current boot.
pub fn boot_id() -> io::Result<String> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = fs::read_to_string(path).map_err(|error| crate::durable::at(path, error))?;
    Ok(text.trim().to_owned())
}

/// Returns every process that can still run, ordered by pid.
pub(crate) fn running_processes() -> io::Result<Vec<ProcessStat>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok())
            && let Some(stat) = ProcessStat::read(pid)
            && stat.is_running()
        {
            found.push(stat);
        }
    }
    found.sort_by_key(|stat| stat.pid);
    Ok(found)
}

/// Whether a process has this file open. Processes of other users count as no.
pub(crate) fn has_open(pid: i32, path: &Path) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == path))
}

/// Whether a process has something in this directory open, its output for example, or works in it. Processes of other
/// users count as no.
pub(crate) fn uses_directory(pid: i32, directory: &Path) -> bool {
    let leads_in = |link: PathBuf| fs::read_link(link).is_ok_and(|target| target.starts_with(directory));
    let process = Path::new("/proc").join(pid.to_string());
    leads_in(process.join("cwd"))
        || fs::read_dir(process.join("fd"))
            .is_ok_and(|entries| entries.flatten().any(|entry| leads_in(entry.path())))
}

/// Whether a process was started with this environment variable. Processes of other users count as no.
pub(crate) fn was_given(pid: i32, name: &str, value: &str) -> bool {
    let wanted = format!("{name}={value}");
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
        environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == wanted.as_bytes())
    })
}

/// Sends a signal to that very process; one that is gone, or whose pid is somebody else's by now, is left alone.
pub(crate) fn signal(process: &ProcessStat, signal: Signal) -> io::Result<()> {
    let same = ProcessStat::read(process.pid).is_some_and(|now| now.start_time == process.start_time);
    if !same {
        return Ok(());
    }
    match kill(Pid::from_raw(process.pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(io::Error::from(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_is_parsed() {
        let line = "42 (a) b (c) S 1 42 41 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 777 1 2";
        let stat = ProcessStat::parse(line).unwrap();
        assert_eq!(
            stat,
            ProcessStat {
                pid: 42,
                state: 'S',
                parent: 1,
                session: 41,
                threads: 3,
                start_time: 777
            }
        );
        let zombie = |threads| ProcessStat {
            state: 'Z',
            threads,
            ..stat.clone()
        };
        assert!(zombie(2).is_running() && !zombie(1).is_running());
        assert_eq!(ProcessStat::parse("42 (a"), None);
        assert_eq!(ProcessStat::parse("42 (a) S 1"), None);
    }

    #[test]
    fn the_caller_is_alive_and_an_altered_identity_is_not() {
        let me = ProcessIdentity::current().unwrap();
        assert!(me.is_alive());
        let mut other = me.clone();
        other.start_time += 1;
        assert!(!other.is_alive());
        let mut before = me;
        before.boot_id = "another".to_owned();
        assert!(!before.is_alive());
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as i32;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let stat = loop {
            let stat = ProcessStat::read(pid).expect("not reaped yet");
            if !stat.is_running() {
                break stat;
            }
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        };
        assert!(
            !ProcessIdentity {
                pid,
                start_time: stat.start_time,
                boot_id: boot_id().unwrap()
            }
            .is_alive()
        );
        child.wait().unwrap();
    }
}
