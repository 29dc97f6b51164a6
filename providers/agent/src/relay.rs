//! The relay: makes a program that listens on its machine's loopback address reachable for one neighbour.
//!
//! It copies bytes and understands none of them. Whoever connects from an address that is not named is turned away, so
//! that a program which was safe on loopback is reachable for the gateway's machine alone. What it copies is as encrypted
//! as the two ends make it: it is for a private network.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// How many connections are relayed at a time; more wait until one ends.
const MOST: usize = 4096;

/// How long the program may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// From where to where.
#[derive(Clone, Debug)]
pub struct Relay {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where the program listens.
    pub to: SocketAddr,
    /// Who may connect; none means everybody.
    pub from: Vec<IpAddr>,
}

impl Relay {
    /// Relays until the future is dropped.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn run(self) -> io::Result<()> {
        let listener = TcpListener::bind(self.listen)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.listen)))?;
        self.serve(listener).await
    }

    async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let places = Arc::new(Semaphore::new(MOST));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return Ok(());
            };
            let (incoming, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                // Too many open files and its like pass when connections end.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            if !self.from.is_empty() && !self.from.contains(&peer.ip().to_canonical()) {
                continue;
            }
            let to = self.to;
            tokio::spawn(async move {
                // Either end may break off at any time; both then see it.
                let _ = copy(incoming, to).await;
                drop(place);
            });
        }
    }
}

async fn copy(mut incoming: TcpStream, to: SocketAddr) -> io::Result<()> {
    let connecting = TcpStream::connect(to);
    let mut outgoing = tokio::time::timeout(CONNECT, connecting)
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    incoming.set_nodelay(true)?;
    outgoing.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut incoming, &mut outgoing).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn relayed(from: &str) -> String {
        let program = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = program.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = program.accept().await.unwrap();
            let mut said = [0; 4];
            stream.read_exact(&mut said).await.unwrap();
            stream.write_all(&said).await.unwrap();
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        let relay = Relay {
            listen,
            to,
            from: vec![from.parse().unwrap()],
        };
        tokio::spawn(relay.serve(listener));
        let mut client = TcpStream::connect(listen).await.unwrap();
        let mut heard = String::new();
        // Who is turned away cannot write either.
        let _ = client.write_all(b"ping").await;
        let _ = client.shutdown().await;
        let _ = client.read_to_string(&mut heard).await;
        heard
    }

    #[tokio::test]
    async fn bytes_pass_for_the_neighbour_and_for_nobody_else() {
        assert_eq!(relayed("127.0.0.1").await, "ping");
        assert_eq!(relayed("10.9.9.9").await, "");
    }
}
