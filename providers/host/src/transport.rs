//! The way to a machine: connections, commands and files.
//!
//! Everything that reaches a program or a file on a machine goes through its [`Transport`], on this machine too, so that a machine behind SSH is one more implementation.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::durable;
use crate::unix_path::connect_unix;

/// Where a program listens, as seen from its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port.
    Tcp {
        /// Host name or address, resolved on the machine.
        host: String,
        /// Port number.
        port: u16,
    },
    /// A Unix socket's path on the machine, of any length.
    Unix(PathBuf),
}

impl Endpoint {
    /// A port on the machine's own loopback address.
    #[must_use]
    pub fn loopback(port: u16) -> Self {
        Self::Tcp {
            host: "127.0.0.1".to_owned(),
            port,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// A connection in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection made by a [`Transport`].
pub type BoxedStream = Box<dyn Stream>;

/// A command to run to its end on a machine.
#[derive(Clone, Default)]
pub struct Command {
    /// Program and arguments. Never secrets: every user of the machine can read them.
    pub argv: Vec<String>,
    /// Bytes for its standard input; the place for secrets.
    pub stdin: Vec<u8>,
    /// Variables added to its environment.
    pub env: BTreeMap<String, String>,
    /// Its working directory; `None` means the transport's own.
    pub working_dir: Option<PathBuf>,
    /// How long it may take; `None` means for ever. It is killed when time is up.
    pub timeout: Option<Duration>,
}

impl fmt::Debug for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Command")
            .field("argv", &self.argv)
            .field("working_dir", &self.working_dir)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// What a command left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutput {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// A way to a machine.
///
/// Paths are paths there. No method retries. Dropping a future abandons the wait; a command that was running is killed, a file is written whole or not at all.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Connects to a program on the machine.
    async fn dial(&self, endpoint: &Endpoint) -> io::Result<BoxedStream>;

    /// Runs a command to its end; a code other than 0 is not an error here.
    async fn run(&self, command: &Command) -> io::Result<CommandOutput>;

    /// Reads a file; `None` when there is none. A file of more than `limit` bytes is an error.
    async fn read_file(&self, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>>;

    /// Writes a file with these permission bits, atomically and durably; missing directories are made, for the owner only.
    async fn write_file(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()>;

    /// Renames a file or directory, replacing a file, and makes that durable.
    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Returns the sorted names in a directory; `None` when there is none.
    async fn list(&self, directory: &Path) -> io::Result<Option<Vec<String>>>;

    /// Removes a file or a directory with all it holds; what is not there is fine.
    async fn remove(&self, path: &Path) -> io::Result<()>;
}

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalTransport;

#[async_trait]
impl Transport for LocalTransport {
    async fn dial(&self, endpoint: &Endpoint) -> io::Result<BoxedStream> {
        match endpoint {
            Endpoint::Tcp { host, port } => {
                let stream = tokio::net::TcpStream::connect((host.as_str(), *port))
                    .await
                    .map_err(|error| io::Error::new(error.kind(), format!("{endpoint}: {error}")))?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Endpoint::Unix(path) => Ok(Box::new(connect_unix(path).await?)),
        }
    }

    async fn run(&self, command: &Command) -> io::Result<CommandOutput> {
        let Some((program, arguments)) = command.argv.split_first() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty command"));
        };
        let mut builder = tokio::process::Command::new(program);
        builder
            .args(arguments)
            .envs(&command.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(directory) = &command.working_dir {
            builder.current_dir(directory);
        }
        let mut child = builder
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        let mut stdin = child.stdin.take();
        let feed = async move {
            if let Some(pipe) = &mut stdin {
                // A command that does not read its input is free to: its exit code tells the rest.
                let _ = pipe.write_all(&command.stdin).await;
            }
            drop(stdin);
        };
        let work = async {
            let (output, ()) = tokio::join!(child.wait_with_output(), feed);
            output
        };
        let output = match command.timeout {
            None => work.await?,
            Some(limit) => tokio::time::timeout(limit, work).await.map_err(|_| {
                io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("{program}: not done after {} s", limit.as_secs_f32()),
                )
            })??,
        };
        Ok(CommandOutput {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: output.stderr,
        })
    }

    async fn read_file(&self, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match tokio::fs::File::open(path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(durable::at(path, error)),
        };
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .await
            .map_err(|error| durable::at(path, error))?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{}: more than {limit} bytes", path.display()),
            ));
        }
        Ok(Some(bytes))
    }

    async fn write_file(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let path = path.to_owned();
        let bytes = bytes.to_vec();
        blocking(move || {
            if let Some(parent) = path.parent() {
                durable::create_private_directory(parent)?;
            }
            durable::write_atomic(&path, &bytes, mode)
        })
        .await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let from = from.to_owned();
        let to = to.to_owned();
        blocking(move || {
            std::fs::rename(&from, &to).map_err(|error| durable::at(&from, error))?;
            for parent in [from.parent(), to.parent()].into_iter().flatten() {
                durable::sync_directory(parent)?;
            }
            Ok(())
        })
        .await
    }

    async fn list(&self, directory: &Path) -> io::Result<Option<Vec<String>>> {
        let directory = directory.to_owned();
        blocking(move || {
            let entries = match std::fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(durable::at(&directory, error)),
            };
            let mut names = Vec::new();
            for entry in entries {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
            names.sort();
            Ok(Some(names))
        })
        .await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        blocking(move || match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(durable::at(&path, error)),
            Ok(metadata) if metadata.is_dir() => durable::remove_directory(&path),
            Ok(_) => {
                std::fs::remove_file(&path).map_err(|error| durable::at(&path, error))?;
                path.parent().map_or(Ok(()), durable::sync_directory)
            }
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

/// The machines a project knows, by name.
#[derive(Clone)]
pub struct Machines {
    by_name: BTreeMap<String, Arc<dyn Transport>>,
}

impl Machines {
    /// The name of the machine that runs gabion.
    pub const LOCAL: &'static str = "local";

    /// Only the machine that runs gabion.
    #[must_use]
    pub fn local() -> Self {
        let local: Arc<dyn Transport> = Arc::new(LocalTransport);
        Self {
            by_name: BTreeMap::from([(Self::LOCAL.to_owned(), local)]),
        }
    }

    /// Only the machine that this process runs on, under the name that a project elsewhere has for it.
    #[must_use]
    pub fn here(name: &str) -> Self {
        let mut machines = Self::local();
        machines.by_name.insert(name.to_owned(), Arc::new(LocalTransport));
        machines
    }

    /// Returns the way to a machine; `None` for a name nobody declared.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<dyn Transport>> {
        self.by_name.get(name).cloned()
    }

    /// Returns whether a name is that of the machine this process runs on.
    #[must_use]
    pub fn is_here(&self, name: &str) -> bool {
        // Others are reached through an agent that does there what is done here.
        self.by_name.contains_key(name)
    }

    /// Returns the names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

impl fmt::Debug for Machines {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.by_name.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_written_read_listed_renamed_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machines::local().get("local").unwrap();
        let directory = root.path().join("a/b");
        let file = directory.join("f");
        assert_eq!(machine.list(&directory).await.unwrap(), None);
        assert_eq!(machine.read_file(&file, 10).await.unwrap(), None);
        machine.write_file(&file, b"12345", 0o600).await.unwrap();
        assert_eq!(machine.read_file(&file, 5).await.unwrap().unwrap(), b"12345");
        let error = machine.read_file(&file, 4).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        machine.rename(&file, &directory.join("g")).await.unwrap();
        assert_eq!(machine.list(&directory).await.unwrap().unwrap(), ["g"]);
        machine.remove(&directory).await.unwrap();
        machine.remove(&directory).await.unwrap();
        assert!(machine.list(&directory).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_command_gets_input_and_environment_and_reports_its_code() {
        let output = LocalTransport
            .run(&Command {
                argv: ["sh", "-c", "cat; echo $X >&2; exit 3"]
                    .map(str::to_owned)
                    .to_vec(),
                stdin: b"in".to_vec(),
                env: BTreeMap::from([("X".to_owned(), "y".to_owned())]),
                ..Command::default()
            })
            .await
            .unwrap();
        assert_eq!(output.code, Some(3));
        assert_eq!(output.stdout, b"in");
        assert_eq!(output.stderr, b"y\n");
    }

    #[tokio::test]
    async fn a_command_is_killed_when_its_time_is_up() {
        let error = LocalTransport
            .run(&Command {
                argv: ["sleep", "600"].map(str::to_owned).to_vec(),
                timeout: Some(Duration::from_millis(50)),
                ..Command::default()
            })
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn debug_of_a_command_shows_neither_input_nor_environment() {
        let command = Command {
            argv: vec!["a".to_owned()],
            stdin: b"hidden".to_vec(),
            env: BTreeMap::from([("K".to_owned(), "hidden".to_owned())]),
            ..Command::default()
        };
        let shown = format!("{command:?}");
        assert!(!shown.contains("hidden") && !shown.contains("104"), "{shown}");
    }
}
