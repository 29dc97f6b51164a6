//! Runs a command and reads from the kernel what it used.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::cloud::Calls;
use crate::Failure;

/// Waits for a program and says what the kernel counted for it, and what became of its log.
const WAIT: &str = include_str!("wait.py");

/// Measures what it costs to make a write durable.
const SYNC: &str = include_str!("sync.py");

/// What a command used.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    /// Seconds on the clock on the wall.
    pub(super) wall: f64,
    /// Seconds of processor time, of all its threads.
    pub(super) cpu: f64,
    /// The most memory that it held at once, in MiB.
    pub(super) peak: f64,
    /// What it added to the project's log; of gabion only.
    pub(super) log: Option<Growth>,
    /// How many requests to the fake cloud it made, by verb and type.
    pub(super) calls: Option<Calls>,
    /// What a durable write costs in its directory, measured right after it.
    pub(super) sync: Option<Sync>,
    /// Whether it was ended at the limit.
    pub(super) cut: bool,
}

/// What a command added to a project's log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    /// Events.
    pub(super) events: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Commits of the database, of every connection that was open for more than a few milliseconds.
    pub(super) commits: u64,
    /// How many bytes a commit wrote to the write-ahead log; 0 when that could not be seen.
    pub(super) commit_bytes: u64,
}

/// What a durable write costs: medians, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sync {
    /// How many bytes each write has.
    pub(super) bytes: u64,
    /// With `fsync`, which is what the SQLite of gabion calls.
    pub(super) fsync: f64,
    /// With `fdatasync`.
    pub(super) fdatasync: f64,
}

/// Where measuring happens: a directory of its own.
#[derive(Debug)]
pub(super) struct Gauge {
    root: PathBuf,
    count: AtomicUsize,
}

impl Gauge {
    pub(super) fn new() -> Result<Self, Failure> {
        static GAUGES: AtomicUsize = AtomicUsize::new(0);
        let number = GAUGES.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("gabion-bench-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&root).map_err(|error| format!("{}: {error}", root.display()))?;
        Ok(Self {
            root,
            count: AtomicUsize::new(0),
        })
    }

    /// Returns a new place to measure in.
    pub(super) fn place(&self, name: &str) -> Result<Place, Failure> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let root = self.root.join(format!("{name}-{number}"));
        let place = Place {
            directory: root.join("project"),
            home: root.join("home"),
            root,
        };
        for directory in [&place.directory, &place.home] {
            std::fs::create_dir_all(directory)
                .map_err(|error| format!("{}: {error}", directory.display()))?;
        }
        Ok(place)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        // What is left is in a directory for temporary files.
        std::fs::remove_dir_all(&self.root).ok();
    }
}

/// A directory for a project, and a home directory for its user that holds nothing yet. Removed with this.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    directory: PathBuf,
    home: PathBuf,
}

impl Place {
    /// Returns the directory for the project.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes a file of the project.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let file = self.directory.join(name);
        std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Empties what programs cache.
    pub(super) fn forget_cached(&self) -> Result<(), Failure> {
        match std::fs::remove_dir_all(self.cache()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("{}: {error}", self.cache().display()))
            }
            _ => Ok(()),
        }
    }

    /// Returns how many files programs have cached.
    pub(super) fn cached(&self) -> usize {
        files(&self.cache())
    }

    fn cache(&self) -> PathBuf {
        self.home.join(".cache")
    }

    /// Runs a program to its end, or to the limit in seconds; any other failure of it is one.
    ///
    /// `environment` comes on top of `PATH` and a home directory of the place's own.
    pub(super) fn run(
        &self,
        program: &Path,
        arguments: &[&str],
        environment: &[(&str, &Path)],
        limit: u64,
    ) -> Result<Usage, Failure> {
        let mut command = self.python(WAIT);
        command
            .args([&limit.to_string(), ".gabion/state.db"])
            .arg(program)
            .args(arguments)
            .env("NO_COLOR", "1")
            .env("CHECKPOINT_DISABLE", "1")
            .env("TF_IN_AUTOMATION", "1")
            .env("TF_INPUT", "0")
            .envs(environment.iter().copied());
        let answer = said(&mut command)?;
        let number = |name: &str| answer[name].as_f64().unwrap_or_default();
        let code = answer["code"].as_i64().unwrap_or(-1);
        let cut = answer["cut"].as_bool().unwrap_or_default();
        if code != 0 && !cut {
            let said = std::fs::read(self.directory.join("out")).unwrap_or_default();
            // Only the end of what may be very long.
            let said = String::from_utf8_lossy(&said[said.len().saturating_sub(4096)..]).into_owned();
            let end: Vec<&str> = said.lines().rev().take(12).collect();
            let end: Vec<&str> = end.into_iter().rev().collect();
            return Err(format!(
                "`{} {}` ended with {code}:\n{}",
                program.display(),
                arguments.join(" "),
                end.join("\n")
            ));
        }
        let growth = |log: &Value| {
            Some(Growth {
                events: log["events"].as_u64()?,
                bytes: log["bytes"].as_u64()?,
                commits: log["commits"].as_u64()?,
                commit_bytes: log["commit_bytes"].as_u64()?,
            })
        };
        Ok(Usage {
            wall: number("wall"),
            cpu: number("user") + number("system"),
            peak: number("peak") / 1024.0,
            log: growth(&answer["log"]),
            calls: None,
            sync: None,
            cut,
        })
    }

    /// Measures some hundreds of durable writes of so many bytes each, beside the project's state.
    pub(super) fn sync(&self, bytes: u64) -> Result<Sync, Failure> {
        let answer = said(self.python(SYNC).arg(bytes.to_string()))?;
        let number = |name: &str| answer[name].as_f64().unwrap_or_default();
        Ok(Sync {
            bytes,
            fsync: number("fsync"),
            fdatasync: number("fdatasync"),
        })
    }

    /// Rust's standard library does not tell what a process used.
    fn python(&self, script: &str) -> Command {
        let mut command = Command::new("python3");
        command
            .args(["-c", script])
            .current_dir(&self.directory)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left goes with the whole.
        std::fs::remove_dir_all(&self.root).ok();
    }
}

fn said(command: &mut Command) -> Result<Value, Failure> {
    let answer = crate::process::output(command)?;
    serde_json::from_str(&answer).map_err(|error| format!("python3 said `{answer}`: {error}"))
}

fn files(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits by a program other than gabion, so that it is known how many there are.
    const COMMITS: &str = "
import os, sqlite3
os.makedirs('.gabion', exist_ok=True)
state = sqlite3.connect('.gabion/state.db', isolation_level=None)
state.execute('pragma journal_mode = wal')
state.execute('create table if not exists events (sequence integer primary key, body text)')
for number in range(500):
    state.execute(\"insert into events (body) values ('four')\")
";

    #[test]
    fn commits_and_bytes_of_a_log_are_those_of_the_command() {
        let gauge = Gauge::new().unwrap();
        let place = gauge.place("commits").unwrap();
        let python = Path::new("/usr/bin/env");
        for round in 0..2 {
            let used = place.run(python, &["python3", "-c", COMMITS], &[], 300).unwrap();
            let log = used.log.unwrap();
            assert_eq!((log.events, log.bytes), (500, 2000));
            // The table is made in the first round only.
            assert!((500..=501).contains(&log.commits), "{round}: {log:?}");
            // A page of 4 KiB with its header, and now and then more than one.
            assert!((4120..6000).contains(&log.commit_bytes), "{log:?}");
            assert!(!used.cut && used.wall > 0.0 && used.peak > 1.0, "{used:?}");
        }
    }

    #[test]
    fn a_command_that_does_not_end_is_cut_and_one_that_fails_says_why() {
        let gauge = Gauge::new().unwrap();
        let place = gauge.place("ends").unwrap();
        let shell = Path::new("/bin/sh");
        assert!(place.run(shell, &["-c", "exec sleep 600"], &[], 1).unwrap().cut);
        let failure = place
            .run(shell, &["-c", "echo why; kill -9 $$"], &[], 60)
            .unwrap_err();
        assert!(failure.contains("why") && failure.contains("-9"), "{failure}");
    }

    #[test]
    fn what_a_durable_write_costs_is_above_nothing() {
        let gauge = Gauge::new().unwrap();
        let sync = gauge.place("sync").unwrap().sync(8192).unwrap();
        assert!(sync.fsync > 0.0 && sync.fdatasync > 0.0, "{sync:?}");
    }

    #[test]
    fn caches_are_counted_and_emptied() {
        let gauge = Gauge::new().unwrap();
        let place = gauge.place("cache").unwrap();
        assert_eq!(place.cached(), 0);
        let shell = Path::new("/bin/sh");
        let fill = "mkdir -p ~/.cache/one && touch ~/.cache/one/a ~/.cache/b";
        place.run(shell, &["-c", fill], &[], 60).unwrap();
        assert_eq!(place.cached(), 2);
        place.forget_cached().unwrap();
        place.forget_cached().unwrap();
        assert_eq!(place.cached(), 0);
    }
}
