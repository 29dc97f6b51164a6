//! Going into a container that runs: its ports, and commands in it.

use std::io;

use bollard::container::LogOutput;
use futures_util::StreamExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::daemon::{Daemon, container_name};
use super::error::ContainerError;
use super::layout::{AGENT_INSIDE, Layout};
use super::relay;
use super::spec::ContainerSpec;
use crate::beside::{Beside, Piece};
use crate::unit::{Exit, UnitDirectory};

/// Pieces of output that wait to be taken.
const WAITING: usize = 8;

/// Connects to a port of the loopback address of a unit's container.
pub(crate) async fn dial(directory: &UnitDirectory, port: u16) -> io::Result<UnixStream> {
    let stream = relay::dial(&Layout::of(directory).run(), port).await;
    stream.map_err(|error| match error.kind() {
        // Its end inside breaks off when the program does not take the connection.
        io::ErrorKind::UnexpectedEof => io::Error::new(
            io::ErrorKind::ConnectionRefused,
            format!("nothing listens on port {port} in the container"),
        ),
        _ => error,
    })
}

/// Runs a command in a unit's container, with the program's environment and as its user.
pub(crate) async fn run_beside(
    uid: &str,
    spec: &ContainerSpec,
    argv: &[String],
) -> Result<Beside, ContainerError> {
    let daemon = Daemon::connect(&spec.socket).await?;
    let mut command: Vec<String> = [AGENT_INSIDE, "agent", "container-beside"]
        .map(str::to_owned)
        .into();
    command.extend(argv.iter().cloned());
    let (id, mut output, input) = daemon.run_inside(&container_name(uid), command).await?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let guard = tokio::spawn(async move {
        while let Some(Ok(said)) = output.next().await {
            let piece = match said {
                LogOutput::StdErr { message } => Piece::Error(message.into()),
                LogOutput::StdOut { message }
                | LogOutput::StdIn { message }
                | LogOutput::Console { message } => Piece::Output(message.into()),
            };
            if sender.send(piece).await.is_err() {
                return;
            }
        }
        // Without a code the container was stopped meanwhile.
        if let Ok(Some(code)) = daemon.exit_of(&id).await {
            let exit = Exit {
                code: Some(code),
                signal: None,
            };
            let _ = sender.send(Piece::Ended(exit)).await;
        }
    });
    Ok(Beside {
        input: Box::new(input),
        output: receiver,
        guard: Some(AbortOnDropHandle::new(guard)),
    })
}
