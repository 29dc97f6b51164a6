//! Unix socket paths of any length.
//!
//! The kernel's address structure holds 107 bytes of path. A longer one is reached through its directory, held open: `/proc/self/fd/N/name` is short whatever the directory's length.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::durable::at;

/// The longest path that fits into a Unix socket address.
const LONGEST: usize = 107;

/// A path to connect or bind to; keep it until the call is done.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    /// Keeps the descriptor alive that `path` goes through.
    _directory: Option<File>,
}

impl SocketPath {
    /// Prepares a socket path for connect or bind. The directory must exist; the socket need not.
    pub fn new(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= LONGEST {
            return Ok(Self {
                path: path.to_owned(),
                _directory: None,
            });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(at(path, io::ErrorKind::InvalidInput.into()));
        };
        let directory = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_PATH | nix::libc::O_DIRECTORY)
            .open(parent)
            .map_err(|error| at(parent, error))?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
        if short.as_os_str().len() > LONGEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "{}: the name of a socket may have 80 bytes at most",
                    path.display()
                ),
            ));
        }
        Ok(Self {
            path: short,
            _directory: Some(directory),
        })
    }

    /// Returns the path to hand to connect or bind.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.path
    }
}

/// Connects to a Unix socket at a path of any length.
pub async fn connect_unix(path: &Path) -> io::Result<tokio::net::UnixStream> {
    let socket = SocketPath::new(path)?;
    tokio::net::UnixStream::connect(socket.as_path())
        .await
        .map_err(|error| at(path, error))
}

/// Binds a Unix socket at a path of any length. The socket's permission bits are the umask's; bind inside a private directory.
pub fn bind_unix(path: &Path) -> io::Result<tokio::net::UnixListener> {
    let socket = SocketPath::new(path)?;
    tokio::net::UnixListener::bind(socket.as_path()).map_err(|error| at(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_deep_below_is_bound_and_reached() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120)).join("e".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("admin.sock");
        let listener = bind_unix(&path).unwrap();
        let (client, server) = tokio::join!(connect_unix(&path), listener.accept());
        client.unwrap();
        server.unwrap();
        assert!(path.exists());
    }

    #[tokio::test]
    async fn errors_name_the_whole_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d".repeat(150)).join("x.sock");
        let error = connect_unix(&path).await.unwrap_err();
        assert!(error.to_string().contains(&"d".repeat(150)), "{error}");
    }
}
