//! Asks where a host name leads, and whose name servers answer for a zone.
//!
//! A server that looks names up on behalf of others is asked, over UDP and, when the answer does not fit, over TCP. It
//! follows aliases and delegations; everything in its answer counts.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::protocol::Zone;

/// The port of DNS servers.
pub const PORT: u16 = 53;

/// How long one server may take to answer once.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often each server is asked.
const TRIES: usize = 2;

/// The bit of an answer's third byte that says that it did not fit.
const TRUNCATED: u8 = 0b10;

/// The file that names the machine's servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Why something is not known.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The name cannot be asked for.
    #[error("`{0}` is no host name")]
    Name(String),
    /// No server answered.
    #[error("no DNS server answered: {0}")]
    Silence(String),
}

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lead {
    /// Where it should, and nowhere else.
    Right,
    /// Not there, or not there alone; as the end of a sentence that begins with the name.
    Wrong(String),
}

/// Returns whether a name leads to a machine alone, which is given by its address or by a name of its own.
pub(crate) async fn leads_to(
    name: &str,
    machine: &str,
    nameserver: Option<SocketAddr>,
) -> Result<Lead, DnsError> {
    let servers = servers(nameserver);
    let expected = match machine.parse() {
        Ok(address) => BTreeSet::from([address]),
        Err(_) => addresses(machine, &servers).await?,
    };
    let found = addresses(name, &servers).await?;
    Ok(if found.is_empty() {
        Lead::Wrong("does not exist".to_owned())
    } else if found.is_subset(&expected) {
        Lead::Right
    } else {
        Lead::Wrong(format!("leads to {}", Listed(&found)))
    })
}

/// Returns the name servers that are asked for a zone in place of its own: those that the zone above it names, sorted, and
/// none when it names none. `None` says that the zone's own are asked, under whichever names. Without a server to ask, the
/// machine's own are asked.
///
/// # Errors
/// Nobody says.
pub async fn delegated_elsewhere(
    zone: &Zone,
    nameserver: Option<SocketAddr>,
) -> Result<Option<Vec<String>>, DnsError> {
    let servers = servers(nameserver);
    let own: BTreeSet<String> = zone.name_servers.iter().map(|name| plain(name)).collect();
    let answer = ask_any(zone.name.trim_end_matches('.'), TYPE::NS, &servers).await?;
    let names = answer.into_iter().filter_map(|record| match record {
        RData::NS(name) => Some(plain(&name.0.to_string())),
        _ => None,
    });
    let asked: BTreeSet<String> = names.collect();
    if asked.is_empty() || asked.is_subset(&own) {
        return Ok(asked.is_empty().then(Vec::new));
    }
    // Who has other names for the zone's servers has the same servers.
    let (mut theirs, mut ours) = (BTreeSet::new(), BTreeSet::new());
    for name in &asked {
        theirs.extend(addresses(name, &servers).await?);
    }
    for name in &own {
        ours.extend(addresses(name, &servers).await?);
    }
    let are_ours = !theirs.is_empty() && theirs.is_subset(&ours);
    Ok((!are_ours).then(|| asked.into_iter().collect()))
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Addresses in a sentence.
struct Listed<'a>(&'a BTreeSet<IpAddr>);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, address) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(f, "{comma}{address}")?;
        }
        Ok(())
    }
}

/// Returns the servers to ask: one that is named, or those that the machine asks.
fn servers(named: Option<SocketAddr>) -> Vec<SocketAddr> {
    named.map_or_else(machine_servers, |server| vec![server])
}

/// Returns the servers that the machine asks.
fn machine_servers() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let mut servers: Vec<SocketAddr> = text.lines().filter_map(nameserver_of).collect();
    if servers.is_empty() {
        // What a resolver does without the file.
        servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        servers.push((Ipv6Addr::LOCALHOST, PORT).into());
    }
    servers
}

fn nameserver_of(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    let address = words
        .next()
        .filter(|word| *word == "nameserver")
        .and(words.next())?;
    // A zone such as `fe80::1%eth0` is left out: such a server is a neighbour that seldom is the only one.
    Some((address.parse::<IpAddr>().ok()?, PORT).into())
}

async fn addresses(name: &str, servers: &[SocketAddr]) -> Result<BTreeSet<IpAddr>, DnsError> {
    let mut found = BTreeSet::new();
    for kind in [TYPE::A, TYPE::AAAA] {
        let answer = ask_any(name.trim_end_matches('.'), kind, servers).await?;
        found.extend(answer.into_iter().filter_map(|record| match record {
            RData::A(address) => Some(IpAddr::V4(address.address.into())),
            RData::AAAA(address) => Some(IpAddr::V6(address.address.into())),
            _ => None,
        }));
    }
    Ok(found)
}

/// The data of the records in an answer.
type Records = Vec<RData<'static>>;

/// Returns the first answer of the servers that says something, also that there is nothing.
async fn ask_any(name: &str, kind: TYPE, servers: &[SocketAddr]) -> Result<Records, DnsError> {
    let mut last = String::from("the machine names none");
    for _ in 0..TRIES {
        for server in servers {
            let (id, question) = question(name, kind)?;
            match timeout(PATIENCE, ask(id, &question, *server)).await {
                Ok(Ok(answer)) => match Packet::parse(&answer) {
                    Ok(packet) => match packet.rcode() {
                        RCODE::NoError | RCODE::NameError => {
                            let answers = packet.answers.into_iter();
                            return Ok(answers.map(|record| record.rdata.into_owned()).collect());
                        }
                        other => last = format!("{server} says {other:?}"),
                    },
                    Err(error) => last = format!("{server}: {error}"),
                },
                Ok(Err(error)) => last = format!("{server}: {error}"),
                Err(_) => last = format!("{server} is silent"),
            }
        }
    }
    Err(DnsError::Silence(last))
}

/// Returns a question with its number, which nobody guesses.
fn question(name: &str, kind: TYPE) -> Result<(u16, Vec<u8>), DnsError> {
    let wrong = |_| DnsError::Name(name.to_owned());
    let mut random = [0; 2];
    // Without random numbers there was no TLS either.
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_| DnsError::Silence("this machine has no random numbers".to_owned()))?;
    let id = u16::from_be_bytes(random);
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).map_err(wrong)?;
    packet
        .questions
        .push(Question::new(name, kind.into(), CLASS::IN.into(), false));
    Ok((id, packet.build_bytes_vec().map_err(wrong)?))
}

async fn ask(id: u16, question: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Only what comes from this server is taken.
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = [0; 4096];
    let answer = loop {
        let length = socket.recv(&mut buffer).await?;
        // What answers another question is not ours, or somebody's guess.
        if answers(id, question, &buffer[..length]) {
            break &buffer[..length];
        }
    };
    // Read from its head: what was cut in the middle of a record is no whole packet.
    if answer.get(2).is_none_or(|flags| flags & TRUNCATED == 0) {
        return Ok(answer.to_vec());
    }
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes()[..], question].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    match answers(id, question, &bytes) {
        true => Ok(bytes),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it answers another question",
        )),
    }
}

/// Returns whether a packet answers a question: it has its number, and repeats it.
fn answers(id: u16, question: &[u8], answer: &[u8]) -> bool {
    let asked = question.get(12..).unwrap_or_default();
    let repeated = answer.get(12..).unwrap_or_default();
    answer.starts_with(&id.to_be_bytes())
        && repeated.len() >= asked.len()
        && repeated[..asked.len()].eq_ignore_ascii_case(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_resolvers_read_them() {
        assert_eq!(
            nameserver_of("nameserver  192.0.2.53"),
            "192.0.2.53:53".parse().ok()
        );
        assert_eq!(
            nameserver_of("nameserver 2001:db8::53 # ours"),
            "[2001:db8::53]:53".parse().ok()
        );
        for line in ["# nameserver 192.0.2.53", "search example.com", "nameserver", ""] {
            assert_eq!(nameserver_of(line), None, "{line}");
        }
    }
}
