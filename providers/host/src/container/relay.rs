//! The relay into a container: from a port of the machine to a port of the container's own loopback address.
//!
//! Between the two is a Unix socket in a directory that both see: sockets with a path belong to no network. Whoever
//! connects there names a port in two bytes and hears one byte when the program has accepted.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use crate::durable::at;

/// What is heard when the program has accepted.
const ACCEPTED: u8 = 1;

/// How long a program may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// The pause before a program that does not listen yet is tried again.
const LOOK: Duration = Duration::from_millis(100);

/// Connections that wait to be accepted, per port.
const BACKLOG: u32 = 1024;

/// Serves the relay's end inside the container for ever.
pub(super) async fn serve_inside(listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(async move {
                    // Either end may break off at any time; both then see it.
                    let _ = connect_inside(stream).await;
                });
            }
            // Too many open files and its like pass when connections end.
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

async fn connect_inside(mut outside: UnixStream) -> io::Result<()> {
    let port = outside.read_u16().await?;
    let connect = async {
        let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        match TcpStream::connect(v4).await {
            Ok(stream) => Ok(stream),
            Err(_) => TcpStream::connect(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port)).await,
        }
    };
    let mut program = tokio::time::timeout(CONNECT, connect)
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    program.set_nodelay(true)?;
    outside.write_u8(ACCEPTED).await?;
    tokio::io::copy_bidirectional(&mut outside, &mut program).await?;
    Ok(())
}

/// Connects to a port of the container's loopback address; `run` is the directory of its end.
pub(super) async fn dial(run: &Path, port: u16) -> io::Result<UnixStream> {
    let (path, _held) = socket_of(run)?;
    let mut stream = UnixStream::connect(path).await?;
    stream.write_u16(port).await?;
    let heard = tokio::time::timeout(CONNECT + LOOK, stream.read_u8())
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    match heard {
        ACCEPTED => Ok(stream),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Returns a path to the relay's own socket. Whoever is inside may put anything in its place: a link that leads to
/// another socket of the machine is not followed.
fn socket_of(run: &Path) -> io::Result<(String, File)> {
    let path = run.join("relay.sock");
    let held = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_PATH | nix::libc::O_NOFOLLOW)
        .open(&path)
        .map_err(|error| at(&path, error))?;
    if !held.metadata()?.file_type().is_socket() {
        return Err(at(&path, io::Error::other("it is not a socket")));
    }
    Ok((format!("/proc/self/fd/{}", held.as_raw_fd()), held))
}

/// A port of the machine that is held and not open yet.
pub(super) struct Port {
    socket: TcpSocket,
    inside: u16,
}

impl Port {
    /// Takes a port of this machine's loopback address.
    ///
    /// # Errors
    /// When somebody else listens there.
    pub(super) fn take(port: u16, inside: u16) -> io::Result<Self> {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(address).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("port {port} of the machine cannot be taken: {error}"),
            )
        })?;
        Ok(Self { socket, inside })
    }

    /// Relays until the future is dropped. The port opens when the program inside listens for the first time, so that
    /// whoever is let in before is not turned away.
    ///
    /// # Errors
    /// When it cannot listen.
    pub(super) async fn relay(self, run: &Path) -> io::Result<()> {
        while dial(run, self.inside).await.is_err() {
            tokio::time::sleep(LOOK).await;
        }
        let listener: TcpListener = self.socket.listen(BACKLOG)?;
        loop {
            let Ok((mut outside, _)) = listener.accept().await else {
                tokio::time::sleep(LOOK).await;
                continue;
            };
            let (run, inside) = (run.to_owned(), self.inside);
            tokio::spawn(async move {
                let relayed = async {
                    outside.set_nodelay(true)?;
                    let mut inside = dial(&run, inside).await?;
                    tokio::io::copy_bidirectional(&mut outside, &mut inside).await
                };
                // Either end may break off at any time; both then see it.
                let _ = relayed.await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_pass_and_a_port_opens_with_the_program() {
        let run = tempfile::tempdir().unwrap();
        let inside = UnixListener::bind(run.path().join("relay.sock")).unwrap();
        tokio::spawn(serve_inside(inside));
        let program = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at_program = program.local_addr().unwrap().port();
        drop(program);
        assert!(dial(run.path(), at_program).await.is_err());

        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outside = free.local_addr().unwrap().port();
        drop(free);
        let port = Port::take(outside, at_program).unwrap();
        let path = run.path().to_owned();
        let relaying = tokio::spawn(async move { port.relay(&path).await });
        tokio::time::sleep(LOOK * 2).await;
        let closed = TcpStream::connect(("127.0.0.1", outside)).await.unwrap_err();
        assert_eq!(closed.kind(), io::ErrorKind::ConnectionRefused);

        let program = TcpListener::bind(("127.0.0.1", at_program)).await.unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = program.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let mut client = loop {
            match TcpStream::connect(("127.0.0.1", outside)).await {
                Ok(client) => break client,
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        };
        client.write_all(b"ping").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "ping");
        relaying.abort();
    }

    #[tokio::test]
    async fn a_link_in_the_sockets_place_is_not_followed() {
        let run = tempfile::tempdir().unwrap();
        let other = run.path().join("docker.sock");
        let _listener = UnixListener::bind(&other).unwrap();
        std::os::unix::fs::symlink(&other, run.path().join("relay.sock")).unwrap();
        assert!(dial(run.path(), 1).await.is_err());
    }
}
