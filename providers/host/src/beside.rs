//! Going to where a unit's program is: a connection to one of its ports, or a command beside it.
//!
//! A command has what the program has: its environment, its directory, and with a container the container and the user.
//! Its arguments reach it byte for byte; no shell sees them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::container;
use crate::transport::BoxedStream;
use crate::unit::{Exit, UnitDirectory, UnitError, command_beside};

/// The most bytes of output in one piece.
const PIECE: usize = 32 << 10;

/// Pieces of output that wait to be taken.
const WAITING: usize = 8;

/// Connects to a port of a unit's program: of its container's own loopback address, or else of the machine's.
///
/// # Errors
/// When nothing listens there, or the container is not there.
pub async fn dial(directory: &UnitDirectory, port: u16) -> io::Result<BoxedStream> {
    let launch = directory.launch().map_err(io::Error::other)?;
    if launch.container.is_some() {
        return Ok(Box::new(container::dial(directory, port).await?));
    }
    let stream = match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(stream) => stream,
        Err(error) => TcpStream::connect((Ipv6Addr::LOCALHOST, port))
            .await
            .map_err(|_| error)?,
    };
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

/// What comes of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of its standard output.
    Output(Vec<u8>),
    /// Bytes of its standard error.
    Error(Vec<u8>),
    /// Its end; nothing follows.
    Ended(Exit),
}

/// A command that runs beside a unit's program. Dropping it ends the command where that can be told to.
pub struct Beside {
    /// Its standard input; shut down, it is at its end.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    /// What comes of it; without an end when the connection was lost.
    pub output: mpsc::Receiver<Piece>,
    /// Ends with it.
    pub guard: Option<AbortOnDropHandle<()>>,
}

/// Runs a command beside a unit's program.
///
/// # Errors
/// When there is no such unit, its container does not run, or the command cannot be started.
pub async fn run_beside(directory: &UnitDirectory, argv: &[String]) -> io::Result<Beside> {
    let launch = directory.launch().map_err(|error| match error {
        UnitError::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, "its unit is gone"),
        other => io::Error::other(other),
    })?;
    if let Some(spec) = &launch.container {
        return container::run_beside(&launch.uid, spec, argv)
            .await
            .map_err(io::Error::other);
    }
    let command = command_beside(directory, argv).map_err(io::Error::other)?;
    let mut child = tokio::process::Command::from(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| refused(argv, &error))?;
    let (Some(input), Some(output), Some(error)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::Error::other("the command has no standard streams"));
    };
    let mut group = Group::of(&child);
    let (sender, receiver) = mpsc::channel(WAITING);
    let guard = tokio::spawn(async move {
        let of_output = copy(output, &sender, Piece::Output);
        let of_error = copy(error, &sender, Piece::Error);
        tokio::join!(of_output, of_error);
        if let Ok(status) = child.wait().await {
            group.ended();
            let exit = Exit {
                code: status.code(),
                signal: status.signal(),
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

/// The processes of a command, which go with whoever waits for it.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        Self(
            child
                .id()
                .and_then(|pid| i32::try_from(pid).ok())
                .map(Pid::from_raw),
        )
    }

    /// Its number may be another's from now on.
    fn ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already is as good.
            let _ = killpg(group, Signal::SIGHUP);
        }
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, to: &mpsc::Sender<Piece>, piece: impl Fn(Vec<u8>) -> Piece) {
    let mut bytes = vec![0; PIECE];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if to.send(piece(bytes[..count].to_vec())).await.is_err() {
            return;
        }
    }
}

fn refused(argv: &[String], error: &io::Error) -> io::Error {
    let name = argv.first().map_or("", String::as_str);
    let why = match error.kind() {
        io::ErrorKind::NotFound => format!("the program {name:?} is not on the machine"),
        _ => format!("the program {name:?} cannot be started: {error}"),
    };
    io::Error::new(error.kind(), why)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::unit::{EnvValue, Fence, LogSettings, UnitSpec, write};

    fn unit(root: &std::path::Path) -> UnitDirectory {
        let spec = UnitSpec {
            project: "p".into(),
            uid: "0198".into(),
            address: "host_unit.a".into(),
            role: None,
            argv: vec!["true".into()],
            env: BTreeMap::from([("SECRET".into(), EnvValue::Secret("hunter2".into()))]),
            base_env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
            working_dir: None,
            files: BTreeMap::new(),
            ports: BTreeMap::new(),
            package_dir: None,
            log: LogSettings::default(),
            stop_duration: Duration::from_secs(1),
            supervision: None,
            container: None,
            service: None,
        };
        let fence = Fence {
            lineage: "p".into(),
            operation: "o".into(),
            epoch: 1,
        };
        write(root, &spec, &fence).unwrap()
    }

    #[tokio::test]
    async fn a_command_has_the_programs_environment_and_its_arguments_as_they_are() {
        let root = tempfile::tempdir().unwrap();
        let directory = unit(root.path());
        let argv = [
            "sh",
            "-c",
            "cat; printf %s \"$1$SECRET\"; echo no >&2; exit 7",
            "-",
            "{ports.x} $(id) 'é\n",
        ];
        let argv = argv.map(str::to_owned);
        let mut beside = run_beside(&directory, &argv).await.unwrap();
        beside.input.write_all(b"in ").await.unwrap();
        beside.input.shutdown().await.unwrap();
        drop(beside.input);
        let (mut said, mut error, mut end) = (Vec::new(), Vec::new(), None);
        while let Some(piece) = beside.output.recv().await {
            match piece {
                Piece::Output(bytes) => said.extend(bytes),
                Piece::Error(bytes) => error.extend(bytes),
                Piece::Ended(exit) => end = exit.code,
            }
        }
        let said = String::from_utf8(said).unwrap();
        assert_eq!(
            (said.as_str(), error.as_slice(), end),
            ("in {ports.x} $(id) 'é\nhunter2", &b"no\n"[..], Some(7))
        );
        let missing = run_beside(&directory, &["/none".to_owned()]).await.err().unwrap();
        assert!(missing.to_string().contains("is not on the machine"), "{missing}");
    }
}
