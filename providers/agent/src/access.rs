//! How providers reach agents: the way to one, the proof that a call is allowed, and errors in the engine's classes.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::provider::{Call, Effect, ErrorClass, ProviderError};
use gabion_engine::words::sentence;
use gabion_host::transport::{LocalTransport, Machines};
use gabion_host::unit::{UnitDirectory, inspect};
use gabion_host::{AgentUpgrade, Handover, HandoverError};

use crate::client::{AgentClient, ClientError, SOCKET_NAME, socket_path};
use crate::metrics::Snapshot;
use crate::offline::{self, Deletion, OfflineError};
use crate::protocol::{AgentError, Fence};

/// The agents of a project's machines.
#[derive(Clone, Debug)]
pub struct Agents {
    machines: Machines,
    data_root: PathBuf,
}

impl Agents {
    /// Names the machines, and where units have their directories on them.
    #[must_use]
    pub fn new(machines: Machines, data_root: impl Into<PathBuf>) -> Self {
        Self {
            machines,
            data_root: data_root.into(),
        }
    }

    /// Returns the directory of a unit, which exists as long as the unit does.
    #[must_use]
    pub fn unit_directory(&self, uid: &str) -> PathBuf {
        self.data_root.join("units").join(uid)
    }

    /// Returns the way to an agent by the id of its unit.
    ///
    /// # Errors
    /// When the machine is not known.
    pub fn client(&self, machine: &str, agent: &str) -> Result<AgentClient, ProviderError> {
        let transport = self.machines.get(machine).ok_or_else(|| {
            ProviderError::new(ErrorClass::Invalid, format!("There is no machine `{machine}`."))
        })?;
        Ok(AgentClient::new(transport, socket_path(&self.data_root, agent)).on(machine))
    }

    /// Returns what the gateways of an agent have counted, by the id of its unit.
    ///
    /// # Errors
    /// When the machine is not known or the agent does not answer.
    pub async fn counted(&self, machine: &str, agent: &str) -> Result<Snapshot, ProviderError> {
        let client = self.client(machine, agent)?;
        client.snapshot().await.map_err(|error| provider_error(&error))
    }

    /// Returns whether an agent's unit is gone for good: then whatever it held is gone too.
    ///
    /// # Errors
    /// When the machine is not known or does not say.
    pub async fn is_gone(&self, machine: &str, agent: &str) -> Result<bool, ProviderError> {
        let transport = self.machines.get(machine).ok_or_else(|| {
            ProviderError::new(ErrorClass::Invalid, format!("There is no machine `{machine}`."))
        })?;
        let directory = self.unit_directory(agent);
        match transport.list(&directory).await {
            Ok(entries) => Ok(entries.is_none()),
            Err(error) => Err(ProviderError::new(
                ErrorClass::Transient,
                format!(
                    "`{}` on machine `{machine}` cannot be looked at: {error}.",
                    directory.display()
                ),
            )),
        }
    }

    /// Returns whether an agent's process is proved not to run. That can be told on the agent's own machine.
    #[must_use]
    pub fn is_stopped(&self, machine: &str, agent: &str) -> bool {
        let unit = UnitDirectory::at(self.unit_directory(agent));
        self.machines.is_here(machine) && inspect(&unit).is_ok_and(|status| !status.is_running())
    }

    /// Deletes something from the files of an agent that [is stopped](Self::is_stopped): to destroy a project must not
    /// need a living agent.
    ///
    /// # Errors
    /// As [`offline::delete`], in the engine's classes.
    pub async fn delete_offline(
        &self,
        agent: &str,
        fence: Fence,
        deletion: Deletion,
    ) -> Result<(), ProviderError> {
        let directory = self.unit_directory(agent);
        let deleting = move || offline::delete(&directory, &fence, &deletion);
        match tokio::task::spawn_blocking(deleting).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(OfflineError::Refused(error))) => Err(provider_error(&ClientError::Refused(error))),
            Ok(Err(OfflineError::Io(error))) => Err(ProviderError::new(
                ErrorClass::Transient,
                sentence(&error.to_string()),
            )),
            Err(error) => Err(ProviderError::new(
                ErrorClass::Uncertain,
                sentence(&error.to_string()),
            )),
        }
    }
}

#[async_trait]
impl AgentUpgrade for Agents {
    async fn hand_over(&self, directory: &UnitDirectory, handover: &Handover) -> Result<(), HandoverError> {
        let socket = directory.path().join(SOCKET_NAME);
        let client = AgentClient::new(std::sync::Arc::new(LocalTransport), socket);
        let fence = Fence {
            epoch: handover.fence.epoch,
            operation: handover.fence.operation.clone(),
            lineage: Some(handover.fence.lineage.clone()),
        };
        let seconds = u32::try_from(handover.patience.as_secs().max(1)).unwrap_or(u32::MAX);
        let asked = client
            .hand_over(&fence, &handover.program, &handover.digest, seconds)
            .await;
        let Err(error) = asked else { return Ok(()) };
        // An answer may be lost; the mark says what became of it.
        let mark = directory.mark().ok().flatten();
        let done = mark.is_some_and(|mark| {
            mark.program.as_deref() == Some(handover.digest.as_str()) && mark.process.is_alive()
        });
        let reason = error.to_string();
        match error {
            ClientError::Uncertain { .. } if done => Ok(()),
            ClientError::Uncertain { .. } | ClientError::Mismatch => Err(HandoverError::Uncertain { reason }),
            ClientError::TooOld { .. } => Err(HandoverError::Refused {
                reason: format!(
                    "{reason}, and cannot be upgraded in place; `gabion apply --replace` starts it anew"
                ),
            }),
            _ => Err(HandoverError::Refused { reason }),
        }
    }
}

/// Returns what lets a call through at an agent.
#[must_use]
pub fn fence(call: &Call) -> Fence {
    Fence {
        epoch: call.epoch,
        operation: call.operation.to_string(),
        lineage: Some(call.lineage.to_string()),
    }
}

/// Returns a number of seconds as the agent's protocol has it, at most what is left of a call.
#[must_use]
pub fn seconds_within(call: &Call, wanted: u64) -> u32 {
    // What the agent and the way to it need beside the wait itself.
    u32::try_from(wanted.min(wait_within(call.remaining()))).unwrap_or(u32::MAX)
}

fn wait_within(remaining: Duration) -> u64 {
    // Of a short time, most is for the wait all the same.
    let beside = (remaining / 4).min(Duration::from_secs(40));
    remaining.saturating_sub(beside).as_secs()
}

/// Returns an agent's error in the engine's classes.
#[must_use]
pub fn provider_error(error: &ClientError) -> ProviderError {
    let message = sentence(&error.to_string());
    match error {
        ClientError::Unreachable { machine, .. } => {
            let error = ProviderError::new(ErrorClass::Transient, message);
            match machine {
                Some(machine) => error.with_hint(format!("look at its log: gabion logs agent/{machine}")),
                None => error,
            }
        }
        ClientError::TooOld { machine, .. } => {
            ProviderError::new(ErrorClass::Invalid, message).with_hint(format!(
                "Start the agent anew, which ends what is open: gabion apply --replace host_unit.agent/{}",
                machine.as_deref().unwrap_or(Machines::LOCAL)
            ))
        }
        ClientError::TooNew { .. } => ProviderError::new(ErrorClass::Invalid, message)
            .with_hint("Run the newer gabion, which somebody has upgraded the agent with."),
        ClientError::Uncertain { .. } => ProviderError::new(ErrorClass::Uncertain, message),
        ClientError::Mismatch => ProviderError::new(ErrorClass::Uncertain, message),
        ClientError::Refused(refused) => {
            let (class, effect) = match refused {
                AgentError::Bind { .. } | AgentError::InUse { .. } | AgentError::Conflict { .. } => {
                    (ErrorClass::Conflict, Effect::None)
                }
                AgentError::UnknownListener { .. } | AgentError::UnknownRouter { .. } => {
                    (ErrorClass::NotFound, Effect::None)
                }
                AgentError::StaleEpoch { .. } | AgentError::WrongLineage { .. } | AgentError::Unfenced => {
                    (ErrorClass::Denied, Effect::None)
                }
                AgentError::ShuttingDown => (ErrorClass::Transient, Effect::None),
                AgentError::NotHandedOver { .. } => (ErrorClass::Invalid, Effect::None),
                // A membership is durable before its router is asked, and stays when the router does not get there.
                AgentError::RouterDown { .. }
                | AgentError::RouterUnreachable { .. }
                | AgentError::RouterRefused { .. }
                | AgentError::RouterTimedOut { .. } => (ErrorClass::Invalid, Effect::Partial),
                AgentError::Storage { .. } => (ErrorClass::Invalid, Effect::Unknown),
                AgentError::Protocol { .. } | AgentError::Invalid { .. } | AgentError::WrongRole { .. } => {
                    (ErrorClass::Invalid, Effect::None)
                }
            };
            ProviderError::new(class, message).with_effect(effect)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_does_not_answer_is_looked_at_on_its_own_machine() {
        let hint = |machine: Option<&str>| {
            let error = ClientError::Unreachable {
                reason: "connection refused".to_owned(),
                machine: machine.map(str::to_owned),
            };
            provider_error(&error).hint
        };
        assert_eq!(
            hint(Some("edge/10.0.0.7")).as_deref(),
            Some("look at its log: gabion logs agent/edge/10.0.0.7")
        );
        assert_eq!(hint(None), None);
    }

    #[test]
    fn a_short_time_still_leaves_a_wait() {
        for (remaining, wait) in [(600, 560), (160, 120), (60, 45), (20, 15), (0, 0)] {
            assert_eq!(wait_within(Duration::from_secs(remaining)), wait, "{remaining}");
        }
    }
}
