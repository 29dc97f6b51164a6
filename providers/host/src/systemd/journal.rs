//! What a unit's program says, as the journal has it.

use std::io;
use std::process::{Command, Stdio};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout};

use super::spec::{Scope, identifier, service_name};
use crate::unit::UnitDirectory;

/// The journal's lines of one unit.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    arguments: Vec<String>,
}

impl Journal {
    /// Returns where the lines of a unit are; `None` for one that is no service.
    pub(crate) fn of(directory: &UnitDirectory) -> Option<Self> {
        let launch = directory.launch().ok()?;
        let spec = launch.service?;
        let field = match spec.scope {
            Scope::System => "_SYSTEMD_UNIT",
            Scope::User => "_SYSTEMD_USER_UNIT",
        };
        Some(Self {
            arguments: vec![
                // The journal does not know the service of a line whose writer has ended by the time it looks.
                format!("SYSLOG_IDENTIFIER={}", identifier(&launch.uid)),
                "+".to_owned(),
                format!("{field}={}", service_name(&launch.uid)),
            ],
        })
    }

    /// Returns the last `lines` lines of those from `since` on, `max_bytes` at most.
    pub(crate) fn read(
        &self,
        lines: Option<usize>,
        since: Option<Timestamp>,
        max_bytes: u64,
    ) -> io::Result<String> {
        // What was said last may still be on its way; only root can wait for it.
        if nix::unistd::geteuid().is_root() {
            let _ = quiet(Command::new("journalctl").arg("--sync")).status();
        }
        let output = quiet(&mut self.command())
            .args(lines.map(|lines| format!("--lines={lines}")))
            .args(since.map(|since| format!("--since=@{}", since.as_second())))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .args(&self.arguments)
            .output()
            .map_err(|error| io::Error::new(error.kind(), format!("journalctl: {error}")))?;
        if !output.status.success() {
            return Err(unreadable(&String::from_utf8_lossy(&output.stderr)));
        }
        let most = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        let from = output.stdout.len().saturating_sub(most);
        Ok(String::from_utf8_lossy(&output.stdout[from..]).into_owned())
    }

    /// Follows the lines from now on.
    pub(crate) fn follow(&self) -> JournalFollower {
        JournalFollower {
            journal: self.clone(),
            running: None,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("journalctl");
        command.args(["--quiet", "--no-pager", "--all", "--output=cat"]);
        command
    }
}

fn quiet(command: &mut Command) -> &mut Command {
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

fn unreadable(said: &str) -> io::Error {
    let said = said
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no word why");
    io::Error::other(format!(
        "the journal cannot be read: {}; users read it in the group `systemd-journal`",
        said.trim().trim_end_matches('.')
    ))
}

/// The journal's lines of a unit as they come.
#[derive(Debug)]
pub(crate) struct JournalFollower {
    journal: Journal,
    running: Option<(Child, ChildStdout)>,
}

impl JournalFollower {
    /// Waits for the next lines.
    ///
    /// # Cancellation
    /// Safe: bytes are returned or still to come.
    pub(crate) async fn next(&mut self) -> io::Result<Bytes> {
        let output = match &mut self.running {
            Some((_, output)) => output,
            empty => {
                let mut command = self.journal.command();
                quiet(&mut command)
                    .args(["--follow", "--lines=0"])
                    .args(&self.journal.arguments)
                    .stdout(Stdio::piped());
                let mut child = tokio::process::Command::from(command)
                    .kill_on_drop(true)
                    .spawn()
                    .map_err(|error| io::Error::new(error.kind(), format!("journalctl: {error}")))?;
                let output = child
                    .stdout
                    .take()
                    .ok_or_else(|| io::Error::other("journalctl has no output"))?;
                &mut empty.insert((child, output)).1
            }
        };
        let mut bytes = vec![0; 64 << 10];
        let count = output.read(&mut bytes).await?;
        if count == 0 {
            self.running = None;
            return Err(io::Error::other("journalctl ended"));
        }
        bytes.truncate(count);
        Ok(Bytes::from(bytes))
    }
}
