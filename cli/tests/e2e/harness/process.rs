//! Processes: those of units, by their marks, and how to end them.

use std::fs;
use std::path::{Path, PathBuf};

use gabion_host::process::ProcessIdentity;
use gabion_host::unit::{self, UnitDirectory, UnitStatus};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A unit on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) uid: String,
    pub(crate) directory: PathBuf,
    /// The process of its last launch, if there was one.
    pub(crate) process: Option<ProcessIdentity>,
}

impl Unit {
    /// Returns whether its process runs.
    pub(crate) fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(ProcessIdentity::is_alive)
    }

    /// Returns the pid of its running process.
    #[track_caller]
    pub(crate) fn pid(&self) -> i32 {
        let process = self.process.as_ref().filter(|process| process.is_alive());
        process
            .unwrap_or_else(|| panic!("unit {} does not run", self.uid))
            .pid
    }

    /// Returns the last lines of its log.
    pub(crate) fn log(&self, lines: usize) -> String {
        let text = fs::read(self.directory.join("log/current.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Returns every process of its session, descendants that outlived their parent included.
    pub(crate) fn session(&self) -> Vec<i32> {
        let directory = UnitDirectory::at(&self.directory);
        match unit::inspect(&directory) {
            Ok(UnitStatus::Running { mark }) => session_of(mark.process.pid),
            Ok(UnitStatus::Exited { left, .. }) => left,
            _ => Vec::new(),
        }
    }
}

/// Returns the units in every `units` directory below a directory.
pub(crate) fn units_below(directory: &Path) -> Vec<Unit> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else {
        return found;
    };
    for entry in entries.filter_map(Result::ok) {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        if path.join("launch.json").is_file() || path.join("mark.json").is_file() {
            let process = UnitDirectory::at(&path)
                .mark()
                .ok()
                .flatten()
                .map(|mark| mark.process);
            let uid = entry.file_name().to_string_lossy().into_owned();
            found.push(Unit {
                uid,
                directory: path,
                process,
            });
        } else {
            found.extend(units_below(&path));
        }
    }
    found.sort_by(|left, right| left.uid.cmp(&right.uid));
    found
}

fn session_of(leader: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            gabion_host::process::ProcessStat::read(*pid)
                .is_some_and(|stat| stat.session == leader && stat.state != 'Z')
        })
        .collect()
}

/// Returns every process that runs with this text in its environment: units get their user's HOME.
pub(crate) fn with_environment(text: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let holds = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(text)
    };
    pids.filter(holds).filter(|pid| alive(*pid)).collect()
}

/// Returns whether a process runs; one that has ended and was not reaped does not.
pub(crate) fn alive(pid: i32) -> bool {
    gabion_host::process::ProcessStat::read(pid).is_some_and(|stat| stat.state != 'Z')
}

/// Sends SIGKILL to a process that a mark names.
pub(crate) fn kill_process(pid: i32) {
    // It may have ended by itself in the meantime, which is what is wanted.
    kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
}
