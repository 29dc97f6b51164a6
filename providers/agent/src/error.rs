//! Why an agent does not do what it is asked.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Why the agent did not do something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum AgentError {
    /// The agent does not speak the protocol of the request.
    #[error("the agent speaks protocol {supported} at the newest, and was asked in protocol {given}")]
    Protocol {
        /// The newest that the agent speaks.
        supported: u32,
        /// The request's version.
        given: u32,
    },
    /// There is no successor, and the agent serves as before.
    #[error("the agent goes on with its build: {reason}")]
    NotHandedOver {
        /// What happened.
        reason: String,
    },
    /// The request is not understood.
    #[error("{reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
    /// A change without a fence.
    #[error("a change needs a lease epoch and an operation id")]
    Unfenced,
    /// The writer's lease was taken over.
    #[error("lease epoch {given} is over: the agent has seen epoch {highest}")]
    StaleEpoch {
        /// The request's epoch.
        given: u64,
        /// The highest epoch seen.
        highest: u64,
    },
    /// The agent belongs to another state.
    #[error("this agent belongs to lineage {agent}, not {given}")]
    WrongLineage {
        /// The agent's lineage.
        agent: String,
        /// The request's lineage.
        given: String,
    },
    /// The port could not be bound.
    #[error("cannot listen on {address}:{port} for gateway `{name}`: {reason}")]
    Bind {
        /// The gateway.
        name: String,
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// The system's words.
        reason: String,
    },
    /// A route names a listener that the agent does not have.
    #[error("gateway `{name}` is not known to the agent")]
    UnknownListener {
        /// The name.
        name: String,
    },
    /// The agent does not have that router.
    #[error("router {uid} is not known to the agent")]
    UnknownRouter {
        /// The uid.
        uid: String,
    },
    /// The object is still used.
    #[error("{what} is still used by {}", by.join(", "))]
    InUse {
        /// The object.
        what: String,
        /// Its users.
        by: Vec<String>,
    },
    /// Two routes want the same requests.
    #[error("{what} is already served by `{by}`")]
    Conflict {
        /// What both want.
        what: String,
        /// Who has it.
        by: String,
    },
    /// The router's process is gone.
    #[error("router {address} is down: its process is gone")]
    RouterDown {
        /// The router's address.
        address: String,
    },
    /// The router's process may run, but it does not answer.
    #[error("router {address} does not answer: {reason}")]
    RouterUnreachable {
        /// The router's address.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The router said no.
    #[error("router {address} refused worker {worker}: {reason}")]
    RouterRefused {
        /// The router's address.
        address: String,
        /// The worker's name.
        worker: String,
        /// The router's words.
        reason: String,
    },
    /// The worker is something else than it is to be registered as.
    #[error("worker {worker} {says}, and is to be registered as {planned}")]
    WrongRole {
        /// The worker's name.
        worker: String,
        /// What it says of itself, as the end of a sentence.
        says: String,
        /// What the membership says.
        planned: String,
        /// Whether only its bootstrap port differs.
        port_only: bool,
    },
    /// The router did not get there in time.
    #[error("router {address} did not {action} worker {worker} within {seconds} s: {state}")]
    RouterTimedOut {
        /// The router's address.
        address: String,
        /// The worker's name.
        worker: String,
        /// `register` or `remove`.
        action: String,
        /// How long the agent waited.
        seconds: u32,
        /// What was last seen.
        state: String,
    },
    /// The agent could not write its files; the change is not in effect.
    #[error("the agent cannot write its files: {reason}")]
    Storage {
        /// What happened, with the path.
        reason: String,
    },
    /// The agent is shutting down.
    #[error("the agent is shutting down")]
    ShuttingDown,
}
