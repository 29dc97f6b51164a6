//! Accepts connections of one gateway and serves them until told to stop.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::Refusal;
use super::forward::Tunnels;
use super::framing::Watched;
use super::plane::Plane;
use super::redirect::Redirect;
use super::request::Connection;
use crate::protocol::Listener;

/// How long the accept loop rests when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection over which nothing is asked is kept for a client that may be about to ask, while its process makes
/// way for another.
const LINGER: Duration = Duration::from_secs(20);

/// A listener at work. Dropping it ends everything at once; [`RunningListener::stop`] lets requests finish.
#[derive(Debug)]
pub(crate) struct RunningListener {
    address: SocketAddr,
    http_port: Option<u16>,
    /// Its sockets by port, for a successor; none once nothing is accepted any more.
    sockets: Vec<(u16, OwnedFd)>,
    /// Connections end with their next answer.
    lets_go: CancellationToken,
    /// Ends accepting; connections end with their next answer.
    leaving: CancellationToken,
    /// Ends accepting and lets connections finish what they do.
    wind_down: CancellationToken,
    /// Ends everything.
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl RunningListener {
    /// Binds the ports of a listener and starts to serve a gateway's routes there.
    pub(crate) async fn start(plane: Arc<Plane>, listener: &Listener) -> Result<Self, BindError> {
        let bind = async |port| {
            let bound = TcpListener::bind(SocketAddr::new(listener.address, port)).await;
            bound.map_err(|source| BindError { port, source })
        };
        let socket = bind(listener.port).await?;
        let plain = match listener.http_port {
            Some(port) => Some(bind(port).await?),
            None => None,
        };
        Self::serve(plane, listener, socket, plain)
    }

    /// Serves a gateway's routes on sockets that were bound by another process: on that of its port, and on that of its
    /// second port if it has one.
    pub(crate) fn adopt(
        plane: Arc<Plane>,
        listener: &Listener,
        socket: std::net::TcpListener,
        plain: Option<std::net::TcpListener>,
    ) -> io::Result<Self> {
        let adopted = |socket: std::net::TcpListener| {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)
        };
        let plain = plain.map(adopted).transpose()?;
        Self::serve(plane, listener, adopted(socket)?, plain).map_err(|error| error.source)
    }

    fn serve(
        plane: Arc<Plane>,
        listener: &Listener,
        socket: TcpListener,
        plain: Option<TcpListener>,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError {
            port: listener.port,
            source,
        };
        let mut sockets = Vec::new();
        let both = [
            Some((listener.port, &socket)),
            listener.http_port.zip(plain.as_ref()),
        ];
        for (port, socket) in both.into_iter().flatten() {
            sockets.push((port, socket.as_fd().try_clone_to_owned().map_err(failed)?));
        }
        let gateway = listener.name.clone();
        let speaks = match &plain {
            None => Speaks::Http,
            Some(_) => {
                let tls = plane.served.tls(&gateway);
                let tls = tls.map_err(|error| failed(io::Error::other(error)))?;
                Speaks::Https(TlsAcceptor::from(tls))
            }
        };
        let running = Self {
            address: SocketAddr::new(listener.address, listener.port),
            http_port: listener.http_port,
            sockets,
            lets_go: CancellationToken::new(),
            leaving: CancellationToken::new(),
            wind_down: CancellationToken::new(),
            stop: CancellationToken::new(),
            tracker: TaskTracker::new(),
        };
        let accept = Accept {
            room: Arc::new(Semaphore::new(plane.limits.connections)),
            plane,
            gateway,
            speaks,
            lets_go: running.lets_go.clone(),
            leaving: running.leaving.clone(),
            wind_down: running.wind_down.clone(),
            tunnels: Tunnels {
                tracker: running.tracker.clone(),
                stop: running.stop.clone(),
                hang_up: running.stop.clone(),
            },
            loopback_only: listener.address.is_loopback(),
            peers: Arc::default(),
        };
        if let Some(plain) = plain {
            let redirect = Redirect {
                plane: Arc::clone(&accept.plane),
                gateway: accept.gateway.clone(),
                https_port: listener.port,
            };
            let beside = Accept {
                speaks: Speaks::Redirects(redirect),
                ..accept.clone()
            };
            running.tracker.spawn(beside.run(plain));
        }
        running.tracker.spawn(accept.run(socket));
        Ok(running)
    }

    /// Returns whether this is what a listener is to be.
    pub(crate) fn is_at(&self, listener: &Listener) -> bool {
        self.address == SocketAddr::new(listener.address, listener.port)
            && self.http_port == listener.http_port
    }

    /// Has connections end with the answers to their next requests, so that clients make new ones to where names lead by now.
    /// Others are accepted as before.
    pub(crate) fn let_go(&self) {
        self.lets_go.cancel();
    }

    /// Stops accepting at once, lets requests finish until the deadline, then ends what is left.
    pub(crate) async fn stop(mut self, deadline: Instant) {
        self.sockets.clear();
        self.leaving.cancel();
        self.wind_down.cancel();
        self.tracker.close();
        self.end(deadline).await;
    }

    /// Stops accepting at once because another process does. Connections end with the answer to their next request, so that no
    /// client meets a connection that closes while it asks; those that are silent for [`LINGER`] are closed. What is left at
    /// the deadline is ended.
    pub(crate) async fn retire(mut self, deadline: Instant, hurried: CancellationToken) {
        self.sockets.clear();
        self.leaving.cancel();
        self.tracker.close();
        let silent = (Instant::now() + LINGER).min(deadline);
        tokio::select! {
            () = self.tracker.wait() => return,
            () = tokio::time::sleep_until(silent) => {}
            () = hurried.cancelled() => {}
        }
        self.wind_down.cancel();
        self.end(deadline).await;
    }

    /// Returns its sockets by port, while connections are accepted.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = (u16, BorrowedFd<'_>)> {
        self.sockets.iter().map(|(port, socket)| (*port, socket.as_fd()))
    }

    async fn end(&self, deadline: Instant) {
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
        self.leaving.cancel();
        self.wind_down.cancel();
        self.stop.cancel();
    }
}

/// A port that cannot be listened on.
#[derive(Debug)]
pub(crate) struct BindError {
    pub(crate) port: u16,
    pub(crate) source: io::Error,
}

/// What a port is for.
#[derive(Clone)]
enum Speaks {
    /// Routes.
    Http,
    /// Routes, over TLS.
    Https(TlsAcceptor),
    /// The way to HTTPS.
    Redirects(Redirect),
}

#[derive(Clone)]
struct Accept {
    room: Arc<Semaphore>,
    plane: Arc<Plane>,
    gateway: String,
    speaks: Speaks,
    lets_go: CancellationToken,
    leaving: CancellationToken,
    wind_down: CancellationToken,
    tunnels: Tunnels,
    loopback_only: bool,
    peers: Arc<Peers>,
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
                () = self.leaving.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Some(place) = self
                        .peers
                        .admit(peer.ip(), self.plane.limits.connections_per_peer)
                    else {
                        refuse(&stream);
                        continue;
                    };
                    let connection = self.serve(stream, peer);
                    self.tunnels.tracker.spawn(async move {
                        connection.await;
                        drop((permit, place));
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr) -> impl Future<Output = ()> + use<> {
        prepare(&stream);
        let serving = Serving {
            hang_up: self.tunnels.stop.child_token(),
            accept: self.clone(),
            peer,
        };
        async move {
            match serving.accept.speaks.clone() {
                Speaks::Http => serving.routes(stream, false).await,
                Speaks::Redirects(redirect) => serving.redirects(stream, redirect).await,
                Speaks::Https(acceptor) => {
                    let patience = serving.accept.plane.limits.header_timeout;
                    let shaken = tokio::select! {
                        shaken = tokio::time::timeout(patience, acceptor.accept(stream)) => shaken,
                        () = serving.hang_up.cancelled() => return,
                    };
                    // One that asks for no name of ours, or speaks something else, was told so by the handshake.
                    if let Ok(Ok(stream)) = shaken {
                        serving.routes(stream, true).await;
                    }
                }
            }
        }
    }
}

/// One connection that is served.
struct Serving {
    accept: Accept,
    peer: SocketAddr,
    hang_up: CancellationToken,
}

impl Serving {
    /// Serves the routes of the gateway.
    async fn routes<S>(self, stream: S, is_secure: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let accept = &self.accept;
        let limits = accept.plane.limits;
        let (stream, lines) = Watched::new(stream, limits.write_idle);
        let connection = Arc::new(Connection {
            plane: Arc::clone(&accept.plane),
            gateway: accept.gateway.clone(),
            peer: self.peer.ip(),
            lines,
            lines_accounted: AtomicU64::new(0),
            tunnels: Tunnels {
                hang_up: self.hang_up.clone(),
                ..accept.tunnels.clone()
            },
            loopback_only: accept.loopback_only,
            is_secure,
        });
        let ends = [accept.leaving.clone(), accept.lets_go.clone()];
        let service = service_fn(move |request| {
            let (connection, ends) = (Arc::clone(&connection), ends.clone());
            async move {
                let mut answer = connection.answer(request).await;
                let ends = ends.iter().any(CancellationToken::is_cancelled);
                if ends && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(CONNECTION, close);
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let served = http(&accept.plane)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(served);
        tokio::select! {
            // A connection ends in an error when its client misbehaves or leaves; it was answered as far as possible.
            _ = served.as_mut() => return,
            () = self.hang_up.cancelled() => return,
            () = accept.wind_down.cancelled() => served.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            _ = served => {}
            () = self.hang_up.cancelled() => {}
        }
    }

    /// Answers authorities, and sends everybody else to HTTPS. Nothing here takes long: it ends with the listener.
    async fn redirects(self, stream: TcpStream, redirect: Redirect) {
        let (stream, _) = Watched::new(stream, self.accept.plane.limits.write_idle);
        let service = service_fn(move |request| std::future::ready(redirect.answer(request)));
        let served = http(&self.accept.plane).serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            _ = served => {}
            () = self.accept.wind_down.cancelled() => {}
            () = self.hang_up.cancelled() => {}
        }
    }
}

/// Returns how HTTP is spoken to clients.
fn http(plane: &Plane) -> http1::Builder {
    let limits = &plane.limits;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes)
        .max_headers(limits.headers)
        .half_close(false);
    http
}

/// How many connections each client has open.
#[derive(Debug, Default)]
struct Peers(Mutex<BTreeMap<IpAddr, usize>>);

impl Peers {
    /// Counts a connection until the returned value is dropped; `None` when the client has as many as it may.
    fn admit(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Place> {
        let address = client_of(address);
        let mut counts = self.lock();
        let count = counts.entry(address).or_default();
        if *count >= most && !address.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Place {
            peers: Arc::clone(self),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what stands for one client: an IPv4 address, or the network that an IPv6 user is given.
pub(crate) fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into()
        }
        other => other,
    }
}

/// A connection that counts.
#[derive(Debug)]
struct Place {
    peers: Arc<Peers>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Tells a client that it has too many connections, if it can be told at once.
fn refuse(stream: &TcpStream) {
    let body = Refusal::TooManyConnections.to_body().to_string();
    let _ = stream.try_write(
        format!(
            "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_cannot_take_all_connections() {
        let peers = Arc::new(Peers::default());
        let admit = |text: &str| peers.admit(text.parse().unwrap(), 2);
        let (first, _second) = (admit("2001:db8::1").unwrap(), admit("2001:db8::2").unwrap());
        assert!(admit("2001:db8::ffff").is_none());
        assert!(admit("2001:db8:0:1::1").is_some());
        assert!(admit("192.0.2.1").is_some());
        drop(first);
        let _third = admit("2001:db8::3").unwrap();
        let local: Vec<Option<Place>> = (0..9).map(|_| admit("127.0.0.1")).collect();
        assert!(local.iter().all(Option::is_some));
        drop(local);
        assert_eq!(peers.lock().len(), 1);
    }
}
