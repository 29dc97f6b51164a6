//! Which agent an object lives in.

use gabion_agent::access::{Agents, provider_error};
use gabion_agent::client::{AgentClient, ClientError};
use gabion_agent::offline::Deletion;
use gabion_agent::protocol::Fence;
use gabion_engine::provider::{PlanRequest, PlanResponse, ProviderError, RecordedObject};
use gabion_engine::value::Attributes;
use gabion_host::transport::Machines;

use crate::values::Reader;

/// Returns the parts of an object's id; as long as it has none, the inputs of these names.
///
/// `None` when neither tells: then the object was never made.
pub(crate) fn parts_of<'a, const N: usize>(
    object: &'a RecordedObject,
    names: [&str; N],
) -> Option<[&'a str; N]> {
    let parts: Vec<&str> = match &object.id {
        Some(id) => id.as_str().splitn(N, '/').collect(),
        None => {
            let inputs = Reader(&object.inputs);
            names.iter().filter_map(|name| inputs.text(name)).collect()
        }
    };
    <[&str; N]>::try_from(parts)
        .ok()
        .filter(|parts| parts.iter().all(|part| !part.is_empty()))
}

/// Returns whether an object is planned on another machine than the one that it is to replace: then both can be there.
pub(crate) fn moves(request: &PlanRequest, response: &PlanResponse) -> bool {
    let machine = |attributes: &Attributes| attributes.get("machine").cloned();
    let before = request.replaces.as_ref().map(machine);
    before.is_some_and(|before| before != machine(&response.planned))
}

/// The agent that holds an object, as the object's inputs name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    agents: &'a Agents,
    machine: &'a str,
    agent: &'a str,
}

impl<'a> Place<'a> {
    /// Names the agent, on the machine that the inputs say.
    pub(crate) fn new(agents: &'a Agents, inputs: Reader<'a>, agent: &'a str) -> Self {
        let machine = inputs.text("machine").unwrap_or(Machines::LOCAL);
        Self {
            agents,
            machine,
            agent,
        }
    }

    /// Returns the id of the agent's unit.
    pub(crate) fn agent(self) -> &'a str {
        self.agent
    }

    /// Returns what tells two places apart.
    pub(crate) fn key(self) -> (&'a str, &'a str) {
        (self.machine, self.agent)
    }

    /// Returns the way to the agent.
    pub(crate) fn client(self) -> Result<AgentClient, ProviderError> {
        self.agents.client(self.machine, self.agent)
    }

    /// Asks the agent something for a read: `None` when its unit is gone, and why when it does not say.
    pub(crate) async fn ask<T, F>(self, ask: impl FnOnce(AgentClient) -> F) -> Result<Option<T>, String>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let client = self.client().map_err(|error| error.message)?;
        match ask(client).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => match self.agents.is_gone(self.machine, self.agent).await {
                Ok(true) => Ok(None),
                Ok(false) => Err(provider_error(&error).message),
                Err(error) => Err(error.message),
            },
        }
    }

    /// Returns whether it is proved that the agent serves nobody: its unit is gone, or its process does not run.
    pub(crate) async fn serves_nobody(self) -> bool {
        self.agents.is_stopped(self.machine, self.agent)
            || matches!(self.agents.is_gone(self.machine, self.agent).await, Ok(true))
    }

    /// Settles a deletion that the agent did not confirm: done when its unit is gone, and from its files when its process
    /// is.
    pub(crate) async fn delete_without_agent(
        self,
        error: ClientError,
        fence: Fence,
        deletion: Deletion,
    ) -> Result<(), ProviderError> {
        if !matches!(error, ClientError::Unreachable { .. }) {
            return Err(provider_error(&error));
        }
        if self.agents.is_gone(self.machine, self.agent).await? {
            return Ok(());
        }
        if self.agents.is_stopped(self.machine, self.agent) {
            return self.agents.delete_offline(self.agent, fence, deletion).await;
        }
        Err(provider_error(&error))
    }
}
