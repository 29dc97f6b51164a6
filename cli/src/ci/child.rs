//! Running another command of gabion as a process of its own: what it prints is kept, and its end is told whatever it is.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::Interrupts;
use crate::own_program::own_program;

/// How much of what it says is kept: its end.
const KEPT: usize = 16 << 10;

/// The variables that hold the right to write comments, which nothing that plans for others needs.
const TOKENS: [&str; 5] = [
    "GITHUB_TOKEN",
    "GH_TOKEN",
    "GITLAB_TOKEN",
    "ACTIONS_RUNTIME_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
];

/// How a command ended.
pub(crate) struct Child {
    /// Its exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it printed as data.
    pub(crate) out: String,
    /// The end of what it said beside that.
    pub(crate) said: String,
}

impl Child {
    /// Returns what its end means. One that was killed may have left something unfinished.
    pub(crate) fn exit(&self) -> Exit {
        self.code.and_then(Exit::of_code).unwrap_or(Exit::Incomplete)
    }
}

/// Runs a command of this program for the same project. What it says goes on to whoever listens here; signals go on to it.
pub(crate) async fn run_self(
    context: &Context,
    interrupts: &Interrupts,
    arguments: &[String],
    trusted: bool,
) -> Result<Child, Failure> {
    let cannot = |error: std::io::Error| Failure::new("cannot run gabion").detail(format!("{error}."));
    let program = own_program().map_err(cannot)?;
    let mut command = Command::new(program);
    command
        .args(context.options.arguments())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A terminal's signal would come twice.
        .process_group(0);
    if !trusted {
        for name in TOKENS {
            command.env_remove(name);
        }
    }
    let mut child = command.spawn().map_err(cannot)?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let printer = context.printer.clone();
    let listening = tokio::spawn(async move {
        let mut said = String::new();
        let Some(stderr) = stderr else {
            return said;
        };
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            printer.error(&line);
            said.push_str(&line);
            said.push('\n');
            if said.len() > 2 * KEPT {
                let cut = said.ceil_char_boundary(said.len() - KEPT);
                said.drain(..cut);
            }
        }
        said
    });
    let reading = tokio::spawn(async move {
        let mut bytes = Vec::new();
        if let Some(mut stdout) = stdout {
            // What was read before a failure is all there is.
            let _ = stdout.read_to_end(&mut bytes).await;
        }
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let mut asked = 0;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.map_err(cannot)?,
            () = interrupts.reach(asked + 1) => {
                asked += 1;
                if let Some(pid) = pid {
                    // It may have ended just now.
                    let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
                }
            }
        }
    };
    Ok(Child {
        code: status.code(),
        out: reading.await.unwrap_or_default(),
        said: listening.await.unwrap_or_default(),
    })
}
