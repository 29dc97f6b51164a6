//! A command beside a program: its streams are gabion's own, and so is how it ends.

use std::time::Duration;

use gabion_host::beside::{Beside, Piece};
use gabion_host::unit::Exit as ProgramExit;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::wiring::Program;

/// How long a command that nobody waits for any more may take to be told so.
const FAREWELL: Duration = Duration::from_millis(200);

/// Runs a command beside a program, and ends as it ends.
pub(super) async fn run(program: &Program, command: &[String], context: &Context) -> Outcome {
    let printer = &context.printer;
    let Beside {
        input,
        mut output,
        guard,
    } = program.run_beside(command).await.map_err(|trouble| {
        let failure = Failure::new("the command cannot be run").detail(trouble.why);
        match trouble.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })?;
    let feeding = tokio::spawn(feed(tokio::io::stdin(), input));
    let outcome = loop {
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => break Ok(Exit::Interrupted),
            piece = output.recv() => match piece {
                Some(Piece::Output(bytes)) => printer.data_bytes(&bytes),
                Some(Piece::Error(bytes)) => printer.error_bytes(&bytes),
                Some(Piece::Ended(exit)) => break Ok(Exit::Command(code(exit))),
                None => break Err(Failure::new("the command is lost").detail(
                    "The connection to it was lost, so how it ended is not known.",
                )),
            },
        }
    };
    feeding.abort();
    // It goes with whoever waits for it.
    drop(output);
    drop(guard);
    if !matches!(outcome, Ok(Exit::Command(_))) {
        tokio::time::sleep(FAREWELL).await;
    }
    outcome
}

/// Returns the exit code, as shells have it for a signal.
fn code(exit: ProgramExit) -> u8 {
    let code = exit.code.or(exit.signal.map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

async fn feed(mut from: impl AsyncRead + Unpin, mut to: Box<dyn AsyncWrite + Send + Unpin>) {
    let mut bytes = vec![0; 32 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let written = to.write_all(&bytes[..count]).await;
        // A command that reads no more is free to.
        if written.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
