//! What gateways count, read from the agents that they are in.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use gabion_agent::access::Agents;
use gabion_agent::metrics::Snapshot;
pub(crate) use gabion_agent::metrics::{HistogramSnapshot, ServiceSnapshot};
use gabion_engine::provider::ProviderError;
use gabion_engine::state::State;
use gabion_gateway::GATEWAY_ROUTE;
use gabion_host::transport::Machines;

use super::machines::units_root;
use super::remote;
use crate::options::Options;

/// How long an agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The way of a service's requests, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    machine: String,
    agent: String,
    gateway: String,
}

/// What a gateway has counted for a service.
#[derive(Debug, Clone)]
pub(crate) struct ServiceTraffic {
    /// The agent that counts, and the gateway: another one begins anew.
    pub(crate) counter: String,
    /// The counts.
    pub(crate) counts: ServiceSnapshot,
}

/// Reads what the gateways of these services have counted, each agent in one call; a service that was never asked for
/// anything has no counts, nor has one without a route. Of others it is said why nothing is known.
pub(crate) async fn traffic<'a>(
    options: &Options,
    state: &State,
    services: impl IntoIterator<Item = &'a str>,
) -> BTreeMap<String, Result<ServiceTraffic, String>> {
    remote::declare_recorded(options, state);
    let ways: BTreeMap<String, Way> = services
        .into_iter()
        .filter_map(|service| Some((service.to_owned(), way(state, service)?)))
        .collect();
    let mut agents: Vec<(&str, &str)> = ways
        .values()
        .map(|way| (way.machine.as_str(), way.agent.as_str()))
        .collect();
    agents.sort_unstable();
    agents.dedup();
    let here = Agents::new(Machines::local(), units_root(options, state));
    let asked = agents.into_iter().map(|(machine, agent)| {
        let here = &here;
        async move { ((machine, agent), counted(options, here, machine, agent).await) }
    });
    let counted: BTreeMap<(&str, &str), Result<Snapshot, String>> =
        join_all(asked).await.into_iter().collect();
    let of = |way: &Way| {
        let snapshot = counted.get(&(way.machine.as_str(), way.agent.as_str()))?;
        Some(snapshot.clone().map(|snapshot| (way.clone(), snapshot)))
    };
    ways.iter()
        .filter_map(|(service, way)| {
            let found = match of(way)? {
                Err(why) => Err(why),
                Ok((way, snapshot)) => Ok(ServiceTraffic {
                    counter: format!("{}/{}", way.agent, way.gateway),
                    counts: snapshot.gateways.get(&way.gateway)?.get(service)?.clone(),
                }),
            };
            Some((service.clone(), found))
        })
        .collect()
}

async fn counted(options: &Options, here: &Agents, machine: &str, agent: &str) -> Result<Snapshot, String> {
    let asking = async {
        match machine {
            Machines::LOCAL => here.counted(machine, agent).await,
            machine => options.machines.counted(machine, agent).await,
        }
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(answer) => answer.map_err(|ProviderError { message, .. }| message),
        Err(_) => Err(format!(
            "The agent on machine `{machine}` has not answered within {} s.",
            PATIENCE.as_secs()
        )),
    }
}

/// Returns where the requests of a service come in.
fn way(state: &State, service: &str) -> Option<Way> {
    let route = state.current_records().find(|record| {
        record.address.resource_type.as_str() == GATEWAY_ROUTE && record.address.name.as_str() == service
    })?;
    let text = |name: &str| {
        let value = route.attributes.get(name).or_else(|| route.inputs.get(name))?;
        value.as_str().map(str::to_owned)
    };
    Some(Way {
        machine: text("machine")?,
        agent: text("agent")?,
        gateway: text("gateway")?,
    })
}
