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
    /// Who counts, and since when: counts of another one cannot be compared.
    pub(crate) counter: String,
    /// The counts.
    pub(crate) counts: ServiceSnapshot,
}

/// Reads what the gateways of these services have counted, each agent in one call; a service without a route has no counts.
/// Of others of which nothing is known it is said why.
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
                Ok((way, snapshot)) => Ok(of_service(&way, &snapshot, service)),
            };
            Some((service.clone(), found))
        })
        .collect()
}

/// Returns what was counted for a service. One that nobody has asked for anything since the agent began has no counters yet:
/// the first request must be seen as one more than none.
fn of_service(way: &Way, snapshot: &Snapshot, service: &str) -> ServiceTraffic {
    let gateway = snapshot.gateways.get(&way.gateway);
    let counts = gateway.and_then(|services| services.get(service));
    ServiceTraffic {
        counter: format!("{}/{}/{}/{}", way.machine, way.agent, way.gateway, snapshot.began),
        counts: counts.cloned().unwrap_or_default(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_nobody_asked_yet_has_counts_of_zero_and_another_beginning_is_another_counter() {
        let way = Way {
            machine: Machines::LOCAL.to_owned(),
            agent: "agent".to_owned(),
            gateway: "loopback".to_owned(),
        };
        let mut snapshot = Snapshot {
            began: 1,
            ..Snapshot::default()
        };
        let idle = of_service(&way, &snapshot, "qwen");
        assert_eq!(idle.counts, ServiceSnapshot::default());
        let asked = ServiceSnapshot {
            requests: 1,
            ..ServiceSnapshot::default()
        };
        let services = BTreeMap::from([("qwen".to_owned(), asked.clone())]);
        snapshot.gateways.insert("loopback".to_owned(), services);
        let found = of_service(&way, &snapshot, "qwen");
        assert_eq!((&found.counter, &found.counts), (&idle.counter, &asked));
        snapshot.began = 2;
        assert_ne!(of_service(&way, &snapshot, "qwen").counter, idle.counter);
    }
}
