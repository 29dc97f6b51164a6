//! The successor as a process.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use gabion_host::process::ProcessIdentity;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};
use tokio::process::Command;
use tokio::time::Instant;

use crate::serve::ServeOptions;

/// Starts the program in the background and says its pid: what is started so is an orphan, and belongs to whoever watches
/// the agent itself (systemd, for a service).
///
/// The channel is the shell's standard output, and its standard input is where the pid goes: a background process would be
/// given another standard input, and no further descriptor is known to be free, since the unit's lock has one of them.
const IN_BACKGROUND: &str = "\"$0\" \"$@\" <&1 >&2 & echo $! >&0";

/// How long a killed process may take to vanish.
const VANISH: Duration = Duration::from_secs(10);

/// A successor that has been started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) process: ProcessIdentity,
    /// Its process group until it makes itself a session.
    group: Pid,
}

/// Starts another build with the channel as its standard input. It inherits the unit's lock, the log, the environment and the
/// working directory.
pub(super) async fn start(program: &Path, options: &ServeOptions, channel: OwnedFd) -> io::Result<Started> {
    let (mut reader, writer) = io::pipe()?;
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", IN_BACKGROUND])
        .arg(program)
        .args(arguments(options))
        .stdin(Stdio::from(writer))
        .stdout(Stdio::from(channel))
        .stderr(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?))
        .process_group(0);
    let mut shell = command.spawn()?;
    // With the ends that are the shell's.
    drop(command);
    let group = shell.id().and_then(|pid| i32::try_from(pid).ok());
    shell.wait().await?;
    // It has ended, so what it wrote is there.
    let mut said = [0; 32];
    let count = reader.read(&mut said)?;
    let pid: Option<i32> = String::from_utf8_lossy(&said[..count]).trim().parse().ok();
    let (Some(group), Some(pid)) = (group, pid) else {
        return Err(io::Error::other("the shell did not start it"));
    };
    let process = ProcessIdentity::of(pid)?
        .ok_or_else(|| io::Error::other("it ended at once; its words are in the agent's log"))?;
    Ok(Started {
        process,
        group: Pid::from_raw(group),
    })
}

/// Returns how another build is told to take over from an agent with these options.
fn arguments(options: &ServeOptions) -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<std::ffi::OsString> = ["agent", "serve", "--take-over", "--directory"]
        .map(Into::into)
        .to_vec();
    arguments.push(options.directory.clone().into());
    if let Some(root) = &options.data_root {
        arguments.extend(["--data-root".into(), root.clone().into()]);
    }
    if let Some(lineage) = &options.lineage {
        arguments.extend(["--lineage".into(), lineage.into()]);
    }
    arguments.extend(["--grace".into(), options.grace.as_secs().to_string().into()]);
    arguments
}

impl Started {
    /// Ends the successor, with what it started unless that has gone elsewhere, and waits until it is gone.
    pub(super) async fn end(&self) -> io::Result<()> {
        let deadline = Instant::now() + VANISH;
        while self.process.is_alive() {
            let pid = Pid::from_raw(self.process.pid);
            // What is gone by now needs no signal.
            if getpgid(Some(pid)) == Ok(self.group) {
                let _ = killpg(self.group, Signal::SIGKILL);
            }
            let _ = kill(pid, Signal::SIGKILL);
            if Instant::now() >= deadline {
                return Err(io::Error::other(format!(
                    "process {} cannot be ended",
                    self.process.pid
                )));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}
