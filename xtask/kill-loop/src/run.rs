//! One run of gabion, bounded in time, with all it says.

use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gabion_host::process::ProcessStat;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Failure;

/// Longer than any one run takes.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A run that may not have ended yet. Dropping it kills it.
pub struct Run {
    shown: String,
    child: Child,
    pub(crate) files: Files,
    began: Instant,
}

/// Where a run's outputs are.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) stdout: PathBuf,
    pub(crate) stderr: PathBuf,
    pub(crate) events: PathBuf,
}

/// What a run did.
#[derive(Debug, Clone)]
pub struct Said {
    shown: String,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub out: String,
    /// What it wrote to standard error.
    pub err: String,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}   ({:.2} s)", self.shown, self.took.as_secs_f32())?;
        writeln!(f, "{}", self.out.trim_end())?;
        writeln!(f, "--- stderr\n{}", self.err.trim_end())?;
        write!(f, "--- exit {:?}", self.code)
    }
}

impl Said {
    /// Requires an exit code.
    ///
    /// # Errors
    /// With all it said, when it is another.
    pub fn exits(self, code: i32) -> Result<Self, Failure> {
        if self.code == Some(code) {
            Ok(self)
        } else {
            Err(format!("not exit code {code}:\n{self}"))
        }
    }

    /// Requires that it said something, on either output.
    ///
    /// # Errors
    /// With all it said, when it did not.
    pub fn says(self, text: &str) -> Result<Self, Failure> {
        if self.out.contains(text) || self.err.contains(text) {
            Ok(self)
        } else {
            Err(format!("`{text}` is not in:\n{self}"))
        }
    }

    /// Reads standard output as JSON.
    ///
    /// # Errors
    /// With all it said, when it is none.
    pub fn json(&self) -> Result<serde_json::Value, Failure> {
        serde_json::from_str(&self.out).map_err(|error| format!("no JSON ({error}):\n{self}"))
    }
}

impl Run {
    pub(crate) fn start(mut command: Command, files: Files) -> Result<Self, Failure> {
        let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
        let shown = std::iter::once("gabion".to_owned())
            .chain(words)
            .collect::<Vec<_>>()
            .join(" ");
        let open = |path: &PathBuf| {
            File::create(path).map_err(|error| format!("cannot write {}: {error}", path.display()))
        };
        command.stdout(open(&files.stdout)?).stderr(open(&files.stderr)?);
        let began = Instant::now();
        let child = command
            .spawn()
            .map_err(|error| format!("cannot start `{shown}`: {error}"))?;
        Ok(Self {
            shown,
            child,
            files,
            began,
        })
    }

    /// Makes a command hear nothing.
    pub(crate) fn deaf(command: &mut Command) -> &mut Command {
        command.stdin(Stdio::null())
    }

    /// Returns its process.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Returns how long ago it began.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Returns whether it still runs, stopped or not.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Returns what it wrote to standard output so far.
    pub fn out(&self) -> String {
        read(&self.files.stdout)
    }

    /// Returns what it wrote to standard error so far.
    pub fn err(&self) -> String {
        read(&self.files.stderr)
    }

    /// Returns the events that it wrote so far.
    pub fn events(&self) -> Vec<serde_json::Value> {
        events(&self.files.events)
    }

    /// Returns whether it takes care of interrupts itself by now.
    pub fn hears_interrupts(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_some_and(|mask| mask & (1 << (Signal::SIGINT as u32 - 1)) != 0)
    }

    /// Types something at its terminal.
    ///
    /// # Errors
    /// When it has none, or nobody reads there any more.
    pub fn types(&mut self, text: &[u8]) -> Result<(), Failure> {
        let terminal = self.child.stdin.as_mut().ok_or("it has no terminal")?;
        terminal
            .write_all(text)
            .and_then(|()| terminal.flush())
            .map_err(|error| error.to_string())
    }

    /// Returns how many events it told of so far.
    pub fn event_count(&self) -> u64 {
        let text = fs::read(&self.files.events).unwrap_or_default();
        text.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    /// Returns whether it told of an event of this type.
    pub fn has_event(&self, kind: &str) -> bool {
        self.events().iter().any(|event| event["type"] == kind)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        kill(Pid::from_raw(self.pid()), signal)
            .map_err(|error| format!("{signal} to `{}`: {error}", self.shown))
    }

    /// Stops it as Ctrl-Z does, and waits until it stands still.
    ///
    /// # Errors
    /// When it does not.
    pub fn stop(&self) -> Result<(), Failure> {
        self.signal(Signal::SIGSTOP)?;
        until("the process stands still", || self.stands_still())
    }

    /// Returns whether it is stopped.
    pub fn stands_still(&self) -> bool {
        ProcessStat::read(self.pid()).is_some_and(|stat| stat.state == 'T')
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resume(&self) -> Result<(), Failure> {
        self.signal(Signal::SIGCONT)
    }

    /// Ends it as `kill -9` does. Returns whether it had not ended before.
    ///
    /// # Errors
    /// When it cannot be awaited.
    pub fn kill(mut self) -> Result<(bool, Said), Failure> {
        let ran = self.is_running();
        if ran {
            self.signal(Signal::SIGKILL)?;
        }
        let said = self.finish()?;
        Ok((ran && said.code.is_none(), said))
    }

    /// Waits until something holds of it, which it must before it ends.
    ///
    /// # Errors
    /// With what it said, when it ended before or takes too long.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            let running = self.is_running();
            if holds(self) {
                return Ok(());
            }
            if !running || Instant::now() >= end {
                return Err(format!(
                    "`{}` {}: {what}\n{}\n--- stderr\n{}",
                    self.shown,
                    if running { "takes too long" } else { "ended before" },
                    self.out(),
                    self.err()
                ));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn finish(mut self) -> Result<Said, Failure> {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
                Ok(None) => {
                    return Err(format!(
                        "`{}` did not end within {} s\n{}\n--- stderr\n{}",
                        self.shown,
                        PATIENCE.as_secs(),
                        self.out(),
                        self.err()
                    ));
                }
                Err(error) => return Err(format!("cannot wait for `{}`: {error}", self.shown)),
            }
        };
        Ok(Said {
            shown: self.shown.clone(),
            code: status.code(),
            out: self.out(),
            err: self.err(),
            took: self.began.elapsed(),
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // It has ended in most cases; SIGKILL ends a stopped one too.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits until something holds.
///
/// # Errors
/// When that takes too long.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) -> Result<(), Failure> {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() >= end {
            return Err(format!("not within {} s: {what}", PATIENCE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn read(path: &PathBuf) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Returns the whole lines of an event file.
pub(crate) fn events(path: &PathBuf) -> Vec<serde_json::Value> {
    read(path)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}
