//! A command of this program that acts, as a process of its own.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::args::Format;
use crate::context::Context;
use crate::interrupt::Interrupts;
use crate::output::Verbosity;
use crate::own_program::own_program;

/// How long the last of what a command said may take to come.
const FAREWELL: Duration = Duration::from_secs(1);

/// How much is kept of what a command says, in bytes.
const SAID: usize = 64 << 10;

/// How much is kept of what it prints as data.
const PRINTED: usize = 16 << 20;

/// What becomes of the data that a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    /// Nobody reads it.
    Dropped,
    /// It is kept.
    Kept,
}

/// A command that runs.
pub(super) struct Child {
    process: tokio::process::Child,
    printed: JoinHandle<Vec<u8>>,
    said: JoinHandle<Vec<u8>>,
}

impl Child {
    /// Starts a command for the same project.
    pub(super) fn start(context: &Context, arguments: &[String], data: Data) -> std::io::Result<Self> {
        let mut command = Command::new(own_program()?);
        command
            .args(context.options.arguments())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(match data {
                Data::Dropped => Stdio::null(),
                Data::Kept => Stdio::piped(),
            })
            // A terminal's Ctrl-C is for this process, which passes it on once.
            .process_group(0);
        // What is only looked at is said by whoever asked.
        if context.printer.verbosity() != Verbosity::Verbose || data == Data::Kept {
            command.arg("-q").stderr(Stdio::piped());
        }
        if context.options.format == Format::Json || data == Data::Kept {
            command.args(["--format", "json"]);
        }
        let mut process = command.spawn()?;
        Ok(Self {
            printed: tokio::spawn(last_of(process.stdout.take(), PRINTED)),
            said: tokio::spawn(last_of(process.stderr.take(), SAID)),
            process,
        })
    }

    /// Waits until it ends, and returns its exit code; `None` when a signal ended it.
    pub(super) async fn ended(&mut self) -> Option<i32> {
        self.process.wait().await.ok().and_then(|status| status.code())
    }

    /// Returns what it printed as data, and what it said beside.
    pub(super) async fn last_words(self) -> [Vec<u8>; 2] {
        let Self {
            mut printed,
            mut said,
            ..
        } = self;
        let mut words = [Vec::new(), Vec::new()];
        for (kept, reading) in words.iter_mut().zip([&mut printed, &mut said]) {
            if let Ok(Ok(text)) = tokio::time::timeout(FAREWELL, &mut *reading).await {
                *kept = text;
            }
            // Somebody who goes on living may have inherited the stream.
            reading.abort();
        }
        words
    }

    /// Asks it to stop.
    pub(super) fn terminate(&self) {
        let pid = self.process.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid {
            // It may have ended in this instant.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    /// Stops it as a person would, once for each time that this process is asked to stop, and waits for its end.
    pub(super) async fn stop(&mut self, interrupts: &Interrupts) -> Option<i32> {
        let mut level = 1;
        loop {
            self.terminate();
            level += 1;
            tokio::select! {
                ended = self.process.wait() => return ended.ok().and_then(|status| status.code()),
                () = interrupts.reach(level) => {}
            }
        }
    }
}

/// Reads a stream to its end and keeps the last of it.
async fn last_of(stream: Option<impl AsyncRead + Unpin>, limit: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return kept };
    let mut bytes = vec![0; 8 << 10];
    while let Ok(count @ 1..) = stream.read(&mut bytes).await {
        kept.extend_from_slice(&bytes[..count]);
        let surplus = kept.len().saturating_sub(limit);
        kept.drain(..surplus);
    }
    kept
}
