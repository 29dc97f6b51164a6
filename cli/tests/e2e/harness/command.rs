//! Running the gabion binary, bounded in time, with all it says.

use std::fmt;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::json_schema::check_printed;

/// What one run of gabion did.
pub(crate) struct Outcome {
    shown: String,
    /// The exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}   ({:.1} s)", self.shown, self.took.as_secs_f32())?;
        writeln!(f, "{}", self.stdout.trim_end())?;
        writeln!(f, "--- stderr\n{}", self.stderr.trim_end())?;
        writeln!(f, "--- exit {:?}", self.code)
    }
}

impl Outcome {
    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Checks that it succeeded.
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        self.exits(0)
    }

    /// Checks that standard output or standard error has a text.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text) || self.stderr.contains(text),
            "`{text}` is not in:\n{self}"
        );
        self
    }

    /// Reads standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}):\n{self}"))
    }
}

/// A run of gabion that has not ended yet.
pub(crate) struct Running {
    shown: String,
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    started: Instant,
}

impl Running {
    /// Starts a command with its outputs read to their ends, as a pipe in a shell does.
    pub(crate) fn start(mut command: Command) -> Self {
        let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
        let shown = std::iter::once("gabion".to_owned())
            .chain(words)
            .collect::<Vec<_>>()
            .join(" ");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = read_to_end(child.stdout.take().unwrap());
        let stderr = read_to_end(child.stderr.take().unwrap());
        Self {
            shown,
            child,
            stdout,
            stderr,
            started: Instant::now(),
        }
    }

    /// Returns whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Presses Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) -> Outcome {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.finish(Duration::from_secs(10))
    }

    /// Waits for its end, and for the ends of its outputs: nothing that it started may hold them open.
    #[track_caller]
    pub(crate) fn finish(mut self, limit: Duration) -> Outcome {
        let deadline = self.started + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() >= deadline {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                let (stdout, stderr) = (self.text_of_stdout(), self.text_of_stderr());
                panic!(
                    "`{}` did not end within {} s\n{stdout}\n--- stderr\n{stderr}",
                    self.shown,
                    limit.as_secs()
                );
            }
            thread::sleep(Duration::from_millis(10));
        };
        let outcome = Outcome {
            took: self.started.elapsed(),
            code: status.code(),
            stdout: self.text_of_stdout(),
            stderr: self.text_of_stderr(),
            shown: self.shown,
        };
        check_printed(outcome.shown.split(' '), outcome.code, &outcome.stdout);
        outcome
    }

    #[track_caller]
    fn text_of_stdout(&self) -> String {
        text(&self.stdout, &self.shown, "output")
    }

    #[track_caller]
    fn text_of_stderr(&self) -> String {
        text(&self.stderr, &self.shown, "error")
    }
}

#[track_caller]
fn text(received: &Receiver<String>, shown: &str, stream: &str) -> String {
    received
        .recv_timeout(Duration::from_secs(10))
        .unwrap_or_else(|_| {
            panic!("`{shown}` ended, and something that it started holds its standard {stream} open")
        })
}

fn read_to_end(mut stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A broken pipe ends what can be read; what was read until then counts.
        stream.read_to_end(&mut bytes).ok();
        sender.send(String::from_utf8_lossy(&bytes).into_owned()).ok();
    });
    receiver
}
