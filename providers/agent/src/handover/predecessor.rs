//! The side that hands over.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gabion_host::unit::{Succession, UnitDirectory, program_digest, succeed};
use tokio::time::Instant;

use super::channel::Channel;
use super::message::{Counts, FORMAT, FromPredecessor, FromSuccessor, Part};
use super::start::{Started, start};
use super::systemd::tell_main_process;
use crate::agent::Agent;
use crate::certificates::renewal;
use crate::protocol::{AgentError, Fence};

/// How long changes that are under way may take to end before an agent hands over.
const CHANGES: Duration = Duration::from_secs(20);

/// How long a successor that was told to accept may take to say that it does.
const ACCEPTING: Duration = Duration::from_secs(30);

/// What an agent holds that a successor shares.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The lock on the directory.
    pub(crate) lock: File,
    /// The socket of the administrators.
    pub(crate) admin: OwnedFd,
}

impl Shared {
    /// Makes another pair of descriptors for the same lock and socket.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            lock: self.lock.try_clone()?,
            admin: self.admin.try_clone()?,
        })
    }
}

/// What is to be handed over to.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// The file of the program.
    pub(crate) program: PathBuf,
    /// Its SHA-256.
    pub(crate) digest: String,
    /// How long it may take to be ready.
    pub(crate) patience: Duration,
}

/// Hands over to another build; returns the successor's pid. After an error the agent serves as before.
pub(crate) async fn hand_over(agent: &Arc<Agent>, order: Order, fence: &Fence) -> Result<i32, AgentError> {
    let refused = |reason: String| AgentError::NotHandedOver { reason };
    let path = order.program.clone();
    let digest = tokio::task::spawn_blocking(move || program_digest(&path))
        .await
        .map_err(|error| refused(error.to_string()))?
        .map_err(|error| refused(error.to_string()))?;
    if digest != order.digest {
        return Err(refused(format!(
            "{} is another build than the one that is to take over",
            order.program.display()
        )));
    }
    // From here on nobody changes anything: who wants to waits, and asks the successor then.
    let Ok(_turn) = tokio::time::timeout(CHANGES, agent.turns.write()).await else {
        return Err(refused(format!(
            "changes are still under way that were asked for before, and did not end within {} s",
            CHANGES.as_secs()
        )));
    };
    if agent.stopping.is_cancelled() {
        return Err(AgentError::ShuttingDown);
    }
    let listening = agent.listening().await;
    agent.freeze(true);
    // An order of a certificate that is under way is noted, and gone on with by whoever serves then.
    renewal::stop(agent).await;
    let handed = tokio::select! {
        handed = converse(agent, &listening, &order, fence) => handed,
        () = agent.stopping.cancelled() => Err(Trouble::from("the agent was told to stop")),
    };
    let trouble = match handed {
        Ok(pid) => {
            agent.handed_over.cancel();
            return Ok(pid);
        }
        Err(trouble) => trouble,
    };
    agent.freeze(false);
    Err(refused(trouble.0))
}

/// Why there is no successor, in a sentence's words.
struct Trouble(String);

impl From<&str> for Trouble {
    fn from(words: &str) -> Self {
        Self(words.to_owned())
    }
}

/// A successor that is ended again unless it has taken over, also when nobody waits any more.
struct Attempt {
    started: Option<Started>,
    succession: Option<Succession>,
}

impl Attempt {
    /// Ends the successor and takes the mark back.
    async fn end(mut self) -> Result<(), io::Error> {
        let (started, succession) = (self.started.take(), self.succession.take());
        undo(started, succession).await
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let (started, succession) = (self.started.take(), self.succession.take());
        if started.is_some() {
            tokio::spawn(undo(started, succession));
        }
    }
}

async fn undo(started: Option<Started>, succession: Option<Succession>) -> io::Result<()> {
    // The mark first names somebody else when the one it names is gone.
    let ended = match started {
        Some(started) => started.end().await,
        None => Ok(()),
    };
    if let Some(succession) = succession {
        succession.revoke().map_err(io::Error::other)?;
    }
    ended
}

async fn converse(
    agent: &Arc<Agent>,
    listening: &crate::agent::Listening<'_>,
    order: &Order,
    fence: &Fence,
) -> Result<i32, Trouble> {
    let failed = |doing: &str, error: &io::Error| Trouble(format!("{doing}: {error}"));
    let (channel, other) = Channel::pair().map_err(|error| failed("no channel can be made", &error))?;
    let started = start(&order.program, &agent.options, other)
        .await
        .map_err(|error| failed("the new build does not start", &error))?;
    let process = started.process.clone();
    let mut attempt = Attempt {
        started: Some(started),
        succession: None,
    };
    let outcome = async {
        prove(agent, listening, &channel, order.patience).await?;
        let unit = UnitDirectory::at(&agent.options.directory);
        let (digest, operation, epoch) = (order.digest.clone(), fence.operation.clone(), fence.epoch);
        let named = process.clone();
        // A few bytes: the wait for the disk is not worth a thread of its own.
        attempt.succession = succeed(&unit, &named, &digest, &operation, epoch)
            .map_err(|error| Trouble(format!("the unit's mark cannot be written: {error}")))?;
        let accepting = async {
            channel.send(&FromPredecessor::Commit, None).await?;
            channel.receive::<FromSuccessor>().await
        };
        match tokio::time::timeout(ACCEPTING, accepting).await {
            Ok(Ok((FromSuccessor::Accepting, _))) => Ok(()),
            Ok(Ok(_)) => Err(Trouble::from(
                "the new build says something else than that it accepts",
            )),
            Ok(Err(error)) => Err(ended("when it was to accept", &error)),
            Err(_) => Err(Trouble(format!(
                "the new build did not accept within {} s",
                ACCEPTING.as_secs()
            ))),
        }
    }
    .await;
    match outcome {
        Ok(()) => {
            attempt.started = None;
            attempt.succession = None;
            if let Some(socket) = &agent.options.notify_socket {
                // systemd then starts the unit again when this process ends, which is late and not lost.
                let _ = tell_main_process(socket, process.pid);
            }
            Ok(process.pid)
        }
        Err(Trouble(reason)) => Err(match attempt.end().await {
            Ok(()) => Trouble(format!("{reason}; it was ended, and the one before it serves on")),
            Err(error) => Trouble(format!("{reason}; and it could not be ended cleanly: {error}")),
        }),
    }
}

/// Sends the successor what it needs, and checks that it has read what is here.
async fn prove(
    agent: &Arc<Agent>,
    listening: &crate::agent::Listening<'_>,
    channel: &Channel,
    patience: Duration,
) -> Result<(), Trouble> {
    let deadline = Instant::now() + patience;
    let shared = agent
        .shared()
        .map_err(|error| Trouble(error.to_string()))?
        .ok_or_else(|| Trouble::from("the agent was told to stop"))?;
    let mut parts = vec![
        (Part::Lock, shared.lock.as_fd()),
        (Part::Admin, shared.admin.as_fd()),
    ];
    for (name, running) in listening.iter() {
        parts.extend(running.sockets().map(|(port, socket)| {
            let name = name.clone();
            (Part::Listener { name, port }, socket)
        }));
    }
    let sending = async {
        let offer = FromPredecessor::Offer {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            parts: parts.len(),
        };
        channel.send(&offer, None).await?;
        for (part, descriptor) in parts {
            channel
                .send(&FromPredecessor::Part(part), Some(descriptor))
                .await?;
        }
        channel.receive::<FromSuccessor>().await
    };
    let answer = tokio::time::timeout_at(deadline, sending).await;
    let proof = match answer {
        Ok(Ok((FromSuccessor::Ready(proof), _))) => proof,
        Ok(Ok((FromSuccessor::Refused { reason }, _))) => {
            return Err(Trouble(format!("the new build cannot serve: {reason}")));
        }
        Ok(Ok((FromSuccessor::Accepting, _))) => {
            return Err(Trouble::from("the new build accepts before it was told to"));
        }
        Ok(Err(error)) => return Err(ended("before it was ready", &error)),
        Err(_) => {
            return Err(Trouble(format!(
                "the new build was not ready within {} s",
                patience.as_secs_f32()
            )));
        }
    };
    let counts = agent.read(Counts::of);
    if proof.counts == counts {
        return Ok(());
    }
    Err(Trouble(format!(
        "the new build ({}) has read {}, and there are {counts}",
        proof.version, proof.counts
    )))
}

fn ended(when: &str, error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Trouble(
            format!("the new build ended {when}; its words are in the agent's log"),
        ),
        _ => Trouble(format!("the new build cannot be spoken with {when}: {error}")),
    }
}
