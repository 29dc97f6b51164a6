//! Whether the world asks the hosted zones that records are made in.
//!
//! A zone that nobody delegates to is there, takes records, and leads nobody anywhere. That is seen by asking DNS, as
//! everybody does, whose name servers answer for the zone's name; where DNS does not tell, nothing is said.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use gabion_agent::dns;
use gabion_agent::protocol::Zone;
use gabion_engine::value::{Attributes, Value};
use gabion_inference::offers::{HostedZone, RegionFacts};

/// How long a plan waits for DNS.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many zones are asked about at a time.
const AT_A_TIME: usize = 8;

/// Adds to what a region's survey found which name servers are asked in place of those of its zones. Only zones that the
/// survey was to tell the name servers of are looked at, by the DNS server that its inputs name, or this machine's own.
pub(super) async fn look(inputs: &Attributes, found: &mut Attributes) {
    let mut facts = RegionFacts::of(found);
    let nameserver = inputs.get("nameserver").and_then(Value::as_str).and_then(server);
    let asked: Vec<Option<Vec<String>>> = stream::iter(&facts.hosted_zones)
        .map(|zone| elsewhere(zone, nameserver))
        .buffered(AT_A_TIME)
        .collect()
        .await;
    if asked.iter().all(Option::is_none) {
        return;
    }
    for (zone, asked) in facts.hosted_zones.iter_mut().zip(asked) {
        zone.delegated_to = asked;
    }
    *found = facts.to_attributes();
}

async fn elsewhere(zone: &HostedZone, nameserver: Option<SocketAddr>) -> Option<Vec<String>> {
    if zone.name_servers.is_empty() {
        return None;
    }
    let zone = Zone {
        name: zone.name.clone(),
        id: zone.id.clone(),
        name_servers: zone.name_servers.clone(),
    };
    let asked = tokio::time::timeout(PATIENCE, dns::delegated_elsewhere(&zone, nameserver)).await;
    asked.ok()?.ok()?
}

/// Reads `ADDRESS` or `ADDRESS:PORT`; the setting is checked with what it is for.
fn server(text: &str) -> Option<SocketAddr> {
    let with_port = text.parse().ok();
    with_port.or_else(|| Some((text.parse::<IpAddr>().ok()?, dns::PORT).into()))
}
