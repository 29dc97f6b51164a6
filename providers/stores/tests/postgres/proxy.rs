//! A way to the server that can be cut.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to what comes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It passes.
    Pass,
    /// After this many more bytes to the server, every connection is cut.
    CutGoing(usize),
    /// After this many more bytes from the server, every connection is cut.
    CutComing(usize),
    /// The next commit reaches the server, its answer is lost, and every connection is cut.
    LoseCommit,
    /// The same, once the commit was sent.
    LosingCommit,
    /// Nothing passes, and nobody is told.
    Silence,
}

/// A proxy on a port of its own. Dropping it cuts everything.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
    listening: JoinHandle<()>,
}

struct State {
    fate: Mutex<Fate>,
    /// How often everything was cut.
    cuts: watch::Sender<u64>,
    /// Whether connections pass again after a cut.
    heals: bool,
}

impl State {
    fn fate(&self) -> std::sync::MutexGuard<'_, Fate> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        *self.fate() = Fate::Pass;
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Proxy {
    /// Leads to a port; `heals` says whether new connections pass after a cut.
    pub(crate) async fn to(port: u16, heals: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let own = listener.local_addr().expect("it is bound").port();
        let state = Arc::new(State {
            fate: Mutex::new(Fate::Pass),
            cuts: watch::Sender::new(0),
            heals,
        });
        let shared = state.clone();
        let listening = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    return;
                };
                if !shared.heals && *shared.cuts.borrow() > 0 {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                    continue;
                };
                for stream in [&client, &server] {
                    stream.set_nodelay(true).expect("it is a socket");
                }
                let (client_in, client_out) = client.into_split();
                let (server_in, server_out) = server.into_split();
                let mut cut = shared.cuts.subscribe();
                cut.mark_unchanged();
                let (going, coming) = (shared.clone(), shared.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = go(going, client_in, server_out) => {}
                        () = come(coming, server_in, client_out) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self {
            port: own,
            state,
            listening,
        }
    }

    /// Returns a URL with the proxy's port in place of the server's.
    pub(crate) fn url(&self, url: &str) -> String {
        let (start, rest) = url.rsplit_once(':').expect("test URLs have a port");
        let (_, database) = rest.split_once('/').expect("test URLs have a database");
        format!("{start}:{}/{database}", self.port)
    }

    pub(crate) fn set(&self, fate: Fate) {
        *self.state.fate() = fate;
    }

    pub(crate) fn cuts(&self) -> u64 {
        *self.state.cuts.borrow()
    }

    /// Waits until everything is cut.
    pub(crate) async fn is_cut(&self) {
        let mut cuts = self.state.cuts.subscribe();
        cuts.wait_for(|cuts| *cuts > 0).await.expect("the proxy is there");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.state.cut();
    }
}

async fn go(state: Arc<State>, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let mut passing = count;
        let mut cut = false;
        {
            let mut fate = state.fate();
            match &mut *fate {
                Fate::CutGoing(left) if *left <= count => {
                    passing = *left;
                    cut = true;
                }
                Fate::CutGoing(left) => *left -= count,
                Fate::LoseCommit if contains(&buffer[..count], b"COMMIT\0") => {
                    *fate = Fate::LosingCommit;
                }
                Fate::Silence => passing = 0,
                _ => {}
            }
        }
        if to.write_all(&buffer[..passing]).await.is_err() {
            return;
        }
        if cut {
            state.cut();
        }
    }
}

async fn come(state: Arc<State>, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let mut passing = count;
        let mut cut = false;
        {
            let mut fate = state.fate();
            match &mut *fate {
                Fate::CutComing(left) if *left <= count => {
                    passing = *left;
                    cut = true;
                }
                Fate::CutComing(left) => *left -= count,
                Fate::LosingCommit => {
                    passing = 0;
                    cut = contains(&buffer[..count], b"COMMIT\0");
                }
                Fate::Silence => passing = 0,
                _ => {}
            }
        }
        if to.write_all(&buffer[..passing]).await.is_err() {
            return;
        }
        if cut {
            // What was cut off goes on at the server for a moment, as it does in life.
            tokio::time::sleep(Duration::from_millis(1)).await;
            state.cut();
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
