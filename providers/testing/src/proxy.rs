//! The network between two programs of a test, which can be cut, silent and whole again, and counts connections.
//!
//! A cut network ends what is open and refuses what is new, as a machine does that was switched off. A silent one keeps
//! everything open and moves nothing, as one does that drops packets: what was sent meanwhile arrives when it is whole
//! again. A way that leads to another server is an address that moves: of what is open nothing arrives any more.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Everything passes.
    Whole,
    /// Connections are ended and refused.
    Cut,
    /// Connections stay, and nothing passes.
    Silent,
}

/// A way to a server on this machine, through a network that a test rules. Dropping it ends the connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    ended: AtomicBool,
}

#[derive(Debug)]
struct State {
    network: Network,
    /// Where new connections lead, and how often that was changed.
    to: SocketAddr,
    moves: u64,
    /// Both ends of each connection that may be open.
    open: Vec<(u64, [TcpStream; 2])>,
    /// How many connections were asked for.
    asked: u64,
    /// The most that were open at once.
    most: usize,
}

impl Proxy {
    /// Starts one that leads to an address, on a free port of the loopback address.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(to: SocketAddr) -> io::Result<Self> {
        Self::start_at(([127, 0, 0, 1], 0).into(), to)
    }

    /// Starts one that leads from one address to another.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start_at(from: SocketAddr, to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(from)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                network: Network::Whole,
                to,
                moves: 0,
                open: Vec::new(),
                asked: 0,
                most: 0,
            }),
            changed: Condvar::new(),
            ended: AtomicBool::new(false),
        });
        let accepted = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepted.ended.load(Ordering::Acquire) {
                    return;
                }
                if let Ok(client) = client {
                    let shared = Arc::clone(&accepted);
                    std::thread::spawn(move || shared.carry(client));
                }
            }
        });
        Ok(Self {
            address,
            shared,
            accepting: Some(accepting),
        })
    }

    /// Returns the port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Makes the network so.
    pub fn set(&self, network: Network) {
        let mut state = self.shared.lock();
        state.network = network;
        if network == Network::Cut {
            for (_, ends) in state.open.drain(..) {
                end(&ends);
            }
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Has new connections lead to another server. Those that are open stay, and nothing passes on them any more.
    pub fn lead_to(&self, to: SocketAddr) {
        let mut state = self.shared.lock();
        state.to = to;
        state.moves += 1;
    }

    /// Returns how many connections were asked for.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.shared.lock().asked
    }

    /// Returns how many were open at once, at most.
    #[must_use]
    pub fn most(&self) -> usize {
        self.shared.lock().most
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.set(Network::Cut);
        // It waits for a connection, this one.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            // A thread that panicked has ended too.
            drop(accepting.join());
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries one connection to its end.
    fn carry(self: Arc<Self>, client: TcpStream) {
        let (number, to, moves) = {
            let mut state = self.lock();
            state.asked += 1;
            (state.asked, state.to, state.moves)
        };
        if !self.passes(moves) {
            return;
        }
        let Ok(server) = TcpStream::connect(to) else {
            return;
        };
        let both = || Ok::<_, io::Error>([client.try_clone()?, server.try_clone()?]);
        let (Ok(kept), Ok(back)) = (both(), both()) else {
            return;
        };
        {
            let mut state = self.lock();
            if state.network == Network::Cut {
                return end(&kept);
            }
            state.open.push((number, kept));
            state.most = state.most.max(state.open.len());
        }
        let [to_client, from_server] = back;
        let shared = Arc::clone(&self);
        let answers = std::thread::spawn(move || shared.copy(from_server, to_client, moves));
        self.copy(client, server, moves);
        drop(answers.join());
        self.lock().open.retain(|(open, _)| *open != number);
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, moves: u64) {
        let mut piece = vec![0; 64 << 10];
        loop {
            let count = from.read(&mut piece).unwrap_or(0);
            // The end of a connection is not heard either where nothing passes.
            if !self.passes(moves) {
                return end(&[from, to]);
            }
            if count == 0 {
                // The other direction may have more to say.
                drop(to.shutdown(Shutdown::Write));
                return;
            }
            if to.write_all(&piece[..count]).is_err() {
                return end(&[from, to]);
            }
        }
    }

    /// Waits while the network is silent, or leads elsewhere than when a connection was made; returns whether it is whole
    /// then.
    fn passes(&self, moves: u64) -> bool {
        let mut state = self.lock();
        while state.network == Network::Silent || state.network == Network::Whole && state.moves != moves {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.network == Network::Whole
    }
}

fn end(ends: &[TcpStream; 2]) {
    for stream in ends {
        // It may be closed already.
        drop(stream.shutdown(Shutdown::Both));
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;

    use super::*;

    /// A server that sends each line back.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut lines = io::BufReader::new(client.try_clone().unwrap());
                    let mut line = String::new();
                    while lines.read_line(&mut line).is_ok_and(|count| count > 0) {
                        (&client).write_all(line.as_bytes()).unwrap();
                        line.clear();
                    }
                });
            }
        });
        address
    }

    fn ask(client: &TcpStream, word: &str) -> io::Result<String> {
        (&*client).write_all(format!("{word}\n").as_bytes())?;
        let mut line = String::new();
        io::BufReader::new(client).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    #[test]
    fn what_is_sent_while_it_is_silent_arrives_later_and_a_cut_ends_it() {
        let proxy = Proxy::start(echo()).unwrap();
        let client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        assert_eq!(ask(&client, "one").unwrap(), "one");
        proxy.set(Network::Silent);
        (&client).write_all(b"two\n").unwrap();
        client
            .set_read_timeout(Some(std::time::Duration::from_millis(50)))
            .unwrap();
        let mut nothing = [0; 1];
        assert!((&client).read(&mut nothing).is_err());
        client.set_read_timeout(None).unwrap();
        proxy.set(Network::Whole);
        let mut line = String::new();
        io::BufReader::new(&client).read_line(&mut line).unwrap();
        assert_eq!(line, "two\n");
        proxy.set(Network::Cut);
        assert!(ask(&client, "three").unwrap_or_default().is_empty());
        let refused = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        assert!(ask(&refused, "four").unwrap_or_default().is_empty());
        proxy.set(Network::Whole);
        let again = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        assert_eq!(ask(&again, "five").unwrap(), "five");
        assert_eq!((proxy.asked(), proxy.most()), (3, 1));
    }
}
