//! Accepts connections of one gateway and serves them until told to stop.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::forward::Tunnels;
use super::framing::Watched;
use super::plane::Plane;
use super::request::Connection;

/// How long the accept loop rests when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener at work. Dropping it ends everything at once; [`RunningListener::stop`] lets requests finish.
#[derive(Debug)]
pub(crate) struct RunningListener {
    pub(crate) address: SocketAddr,
    /// Ends accepting and lets connections finish what they do.
    wind_down: CancellationToken,
    /// Ends everything.
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl RunningListener {
    /// Binds a port and starts to serve a gateway's routes on it.
    pub(crate) async fn start(plane: Arc<Plane>, gateway: String, address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        let running = Self {
            address,
            wind_down: CancellationToken::new(),
            stop: CancellationToken::new(),
            tracker: TaskTracker::new(),
        };
        let accept = Accept {
            room: Arc::new(Semaphore::new(plane.limits.connections)),
            plane,
            gateway,
            wind_down: running.wind_down.clone(),
            tunnels: Tunnels {
                tracker: running.tracker.clone(),
                stop: running.stop.clone(),
            },
        };
        running.tracker.spawn(accept.run(socket));
        Ok(running)
    }

    /// Stops accepting at once, lets requests finish until the deadline, then ends what is left.
    pub(crate) async fn stop(self, deadline: Instant) {
        self.wind_down.cancel();
        self.tracker.close();
        if tokio::time::timeout_at(deadline, self.tracker.wait())
            .await
            .is_err()
        {
            self.stop.cancel();
            self.tracker.wait().await;
        }
    }
}

impl Drop for RunningListener {
    fn drop(&mut self) {
        self.wind_down.cancel();
        self.stop.cancel();
    }
}

struct Accept {
    room: Arc<Semaphore>,
    plane: Arc<Plane>,
    gateway: String,
    wind_down: CancellationToken,
    tunnels: Tunnels,
}

impl Accept {
    async fn run(self, socket: TcpListener) {
        loop {
            let next = async {
                let permit = Arc::clone(&self.room).acquire_owned().await;
                (permit, socket.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                next = next => next,
                () = self.wind_down.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = self.serve(stream, peer);
                    self.tunnels.tracker.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr) -> impl Future<Output = ()> + use<> {
        prepare(&stream);
        let limits = self.plane.limits;
        let (stream, lines) = Watched::new(stream);
        let connection = Arc::new(Connection {
            plane: Arc::clone(&self.plane),
            gateway: self.gateway.clone(),
            peer: peer.ip(),
            lines,
            lines_accounted: AtomicU64::new(0),
            tunnels: self.tunnels.clone(),
        });
        let wind_down = self.wind_down.clone();
        let stop = self.tunnels.stop.clone();
        async move {
            let service = service_fn(move |request| {
                let connection = Arc::clone(&connection);
                async move { Ok::<_, Infallible>(connection.answer(request).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.header_timeout)
                .max_buf_size(limits.header_bytes)
                .max_headers(limits.headers)
                .half_close(false)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::pin!(served);
            tokio::select! {
                // A connection ends in an error when its client misbehaves or leaves; it was answered as far as possible.
                _ = served.as_mut() => return,
                () = stop.cancelled() => return,
                () = wind_down.cancelled() => served.as_mut().graceful_shutdown(),
            }
            tokio::select! {
                _ = served => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

/// Sets what a client's connection needs; none of it is worth refusing a client for.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    // A client that vanished without a word is noticed within minutes, although answers may be silent for an hour.
    let _ = setsockopt(stream, sockopt::KeepAlive, &true);
    let _ = setsockopt(stream, sockopt::TcpKeepIdle, &60);
    let _ = setsockopt(stream, sockopt::TcpKeepInterval, &20);
    let _ = setsockopt(stream, sockopt::TcpKeepCount, &3);
}
