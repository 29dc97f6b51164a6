//! A DNS server that says what a test wants, for those who ask where names lead and who answers for zones.
//!
//! It answers over UDP, as one that looks names up on behalf of others does: what it was not told is that a name does not
//! exist, or has no such record.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use simple_dns::rdata::{NS, RData};
use simple_dns::{CLASS, Name, Packet, QTYPE, RCODE, ResourceRecord, TYPE};

/// How often it is seen whether the server is to end.
const TICK: Duration = Duration::from_millis(50);

/// A server, which ends when this is dropped.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
    is_over: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

/// What the server was told, by names in lower case without the dot at their ends.
#[derive(Debug, Default)]
struct Told {
    addresses: BTreeMap<String, IpAddr>,
    delegations: BTreeMap<String, Vec<String>>,
    asked: BTreeSet<String>,
}

impl NameServer {
    /// Starts a server at a free port of an address of the network that the caller is on.
    ///
    /// # Errors
    /// None can be had.
    pub fn start(own: Ipv4Addr) -> io::Result<Self> {
        let socket = UdpSocket::bind((own, 0))?;
        socket.set_read_timeout(Some(TICK))?;
        let address = socket.local_addr()?;
        let told: Arc<Mutex<Told>> = Arc::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let (shared, over) = (Arc::clone(&told), Arc::clone(&is_over));
        let serving = std::thread::Builder::new()
            .name("dns".to_owned())
            .spawn(move || {
                let mut buffer = [0; 1024];
                while !over.load(Ordering::Relaxed) {
                    let Ok((length, client)) = socket.recv_from(&mut buffer) else {
                        continue;
                    };
                    let mut told = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(answer) = told.answer(&buffer[..length]) {
                        // Whoever hears nothing asks again.
                        drop(socket.send_to(&answer, client));
                    }
                }
            })?;
        Ok(Self {
            address,
            told,
            is_over,
            serving: Some(serving),
        })
    }

    /// Returns where it is asked.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets a name lead to an address, instead of where it led; `*.` stands for every label in its place.
    pub fn point(&self, name: &str, address: IpAddr) {
        self.tell(|told| told.addresses.insert(name.to_owned(), address));
    }

    /// Names the servers of a zone, instead of those that it had.
    pub fn delegate(&self, zone: &str, servers: &[&str]) {
        let servers = servers.iter().map(|name| (*name).to_owned()).collect();
        self.tell(|told| told.delegations.insert(zone.to_owned(), servers));
    }

    /// Returns the names that were asked for.
    #[must_use]
    pub fn asked(&self) -> BTreeSet<String> {
        self.tell(|told| told.asked.clone())
    }

    fn tell<T>(&self, change: impl FnOnce(&mut Told) -> T) -> T {
        change(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(serving) = self.serving.take() {
            // What it panicked about is on standard error.
            drop(serving.join());
        }
    }
}

impl Told {
    /// Returns the answer to a packet; `None` to what is no question.
    fn answer(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut packet = Packet::parse(packet).ok()?.into_reply();
        let question = packet.questions.first()?;
        let (kind, name) = (question.qtype, question.qname.clone().into_owned());
        let text = name.to_string().to_ascii_lowercase();
        let (address, servers) = (self.address(&text), self.delegations.get(&text));
        let mut found: Vec<RData<'_>> = Vec::new();
        match (kind, address) {
            (QTYPE::TYPE(TYPE::A), Some(IpAddr::V4(address))) => found.push(RData::A(address.into())),
            (QTYPE::TYPE(TYPE::AAAA), Some(IpAddr::V6(address))) => found.push(RData::AAAA(address.into())),
            (QTYPE::TYPE(TYPE::NS), _) => {
                for server in servers.into_iter().flatten() {
                    found.push(RData::NS(NS(Name::new(server).ok()?)));
                }
            }
            _ => {}
        }
        if address.is_none() && servers.is_none() {
            *packet.rcode_mut() = RCODE::NameError;
        }
        let record = |data| ResourceRecord::new(name.clone(), CLASS::IN, 1, data);
        packet.answers = found.into_iter().map(record).collect();
        let bytes = packet.build_bytes_vec().ok();
        self.asked.insert(text);
        bytes
    }

    fn address(&self, name: &str) -> Option<IpAddr> {
        let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let exact = self.addresses.get(name);
        exact.or_else(|| self.addresses.get(&wildcard?)).copied()
    }
}
