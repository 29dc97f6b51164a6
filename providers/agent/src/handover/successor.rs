//! The side that takes over.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::time::Duration;

use super::channel::Channel;
use super::message::{Counts, FORMAT, FromPredecessor, FromSuccessor, Part, Proof};
use crate::agent::Agent;

/// How long the predecessor may be silent.
const SILENCE: Duration = Duration::from_secs(120);

/// What the predecessor has sent.
#[derive(Debug)]
pub(crate) struct Inheritance {
    channel: Channel,
    /// The lock on the directory.
    pub(crate) lock: File,
    /// The socket of the administrators.
    pub(crate) admin: std::os::unix::net::UnixListener,
    /// The sockets of gateways, by name and port.
    pub(crate) listeners: BTreeMap<(String, u16), std::net::TcpListener>,
}

/// Takes what the predecessor sends over standard input.
pub(crate) async fn receive() -> io::Result<Inheritance> {
    // A unit is found by the session that its mark's process leads.
    if nix::unistd::getsid(None)? != nix::unistd::getpid() {
        nix::unistd::setsid()?;
    }
    let channel = Channel::inherited()?;
    let parts = match hear(&channel).await? {
        (FromPredecessor::Offer { format, parts, .. }, _) if format <= FORMAT => parts,
        (FromPredecessor::Offer { format, version, .. }, _) => {
            let reason = format!("agent {version} hands over in form {format}, and this one knows {FORMAT}");
            return Err(refuse(&channel, reason).await);
        }
        _ => return Err(unexpected()),
    };
    let (mut lock, mut admin, mut listeners) = (None, None, BTreeMap::new());
    for _ in 0..parts {
        let (FromPredecessor::Part(part), Some(descriptor)) = hear(&channel).await? else {
            return Err(unexpected());
        };
        match part {
            Part::Lock => lock = Some(File::from(descriptor)),
            Part::Admin => admin = Some(descriptor.into()),
            Part::Listener { name, port } => {
                listeners.insert((name, port), descriptor.into());
            }
        }
    }
    let (Some(lock), Some(admin)) = (lock, admin) else {
        return Err(unexpected());
    };
    Ok(Inheritance {
        channel,
        lock,
        admin,
        listeners,
    })
}

impl Inheritance {
    /// Proves that an agent is ready, and waits until it is to accept.
    pub(crate) async fn prove(&self, agent: &Agent) -> io::Result<()> {
        let proof = Proof {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            counts: agent.read(Counts::of),
        };
        self.channel.send(&FromSuccessor::Ready(proof), None).await?;
        match hear(&self.channel).await? {
            (FromPredecessor::Commit, _) => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Says why there will be no agent.
    pub(crate) async fn refuse(&self, reason: &io::Error) {
        drop(refuse(&self.channel, reason.to_string()).await);
    }

    /// Says that connections are accepted. Whether anybody hears that does not matter any more.
    pub(crate) async fn accepting(&self) {
        let _ = self.channel.send(&FromSuccessor::Accepting, None).await;
    }
}

async fn hear(channel: &Channel) -> io::Result<(FromPredecessor, Option<std::os::fd::OwnedFd>)> {
    match tokio::time::timeout(SILENCE, channel.receive()).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(io::Error::new(
            error.kind(),
            "the agent that was to hand over does not any more",
        )),
        Ok(heard) => heard,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn refuse(channel: &Channel, reason: String) -> io::Error {
    let refused = FromSuccessor::Refused {
        reason: reason.clone(),
    };
    // Without it the predecessor sees that this one has ended.
    let _ = channel.send(&refused, None).await;
    io::Error::other(reason)
}

fn unexpected() -> io::Error {
    io::Error::other("the agent that hands over says something else than was expected")
}
