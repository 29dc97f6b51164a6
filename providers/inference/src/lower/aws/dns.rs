//! The record that leads a gateway's host names to its address.

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{Lowered, RecordedView, Spanned};
use gabion_engine::diagnostic::Span;
use gabion_engine::resource::Resource;
use gabion_engine::value::Value;

use super::machine::{CloudMachine, Role, with_profile};
use super::region::Region;
use super::settings::AwsSettings;
use crate::lower::builder::{ResourceBuilder, address, reference};
use crate::lower::gateway::agent_of;
use crate::lower::program::seconds;
use crate::offers::HostedZone;
use crate::term::Text;

/// Returns the name of the record that leads the host names of a domain to their gateway.
pub(super) fn record_name(domain: &str) -> String {
    format!("*.{}", domain.trim_end_matches('.'))
}

/// Returns the account's public zone that the record of a domain belongs in.
pub(super) fn zone(domain: &str, region: &Region) -> Option<HostedZone> {
    region.facts()?.public_zone(&record_name(domain)).cloned()
}

/// Adds the wildcard record where the account holds the domain's public zone; otherwise says which one to add by hand.
pub(super) fn lower(
    gateway: &CloudMachine,
    domain: &Spanned<Text>,
    points_to: Value,
    region: &Region,
    settings: &AwsSettings,
    recorded: &dyn RecordedView,
    lowered: &mut Lowered,
) {
    let name = record_name(&domain.value);
    let Some(zone) = gateway.zone() else {
        by_hand(gateway, &name, &domain.span, points_to, region, recorded, lowered);
        return;
    };
    if let Some(asked) = &zone.delegated_to {
        let note = not_delegated(gateway, zone, asked);
        lowered.notes.push((note.into(), Some(domain.span.place())));
    }
    // Route 53 is in no region.
    let record = address("aws_route53_record", &gateway.machine.name);
    let record = with_profile(ResourceBuilder::new(record, &gateway.document), settings)
        .input("zone_id", zone.id.as_str())
        .input("name", name)
        .input("type", "A")
        .input("ttl", seconds(settings.record_ttl))
        .input("records", Value::List(vec![points_to]))
        .at("name", &domain.span)
        .update_after(served_by(gateway, lowered));
    lowered.resources.push(record.build());
}

/// Returns what must stand on a machine of a gateway before names, or an address, lead there: where it listens, and what it
/// serves.
///
/// A route over HTTPS needs its certificate, for which names must lead there already.
pub(super) fn served_by(gateway: &CloudMachine, lowered: &Lowered) -> Vec<ResourceAddress> {
    let name = &gateway.machine.name;
    let is_secure = matches!(gateway.role, Role::Gateway { is_secure: true, .. });
    let agent = reference(&agent_of(Some(&gateway.machine)), "id");
    let serves = |resource: &&Resource| match resource.address.resource_type.as_str() {
        "gateway_replica" | "router_worker" => true,
        "gateway_route" => !is_secure,
        _ => false,
    };
    let of_services = lowered
        .resources
        .iter()
        .filter(serves)
        .filter(|resource| resource.inputs.get("agent") == Some(&agent))
        .map(|resource| resource.address.clone());
    [address("gateway_listener", name)]
        .into_iter()
        .chain(of_services)
        .collect()
}

/// Says that the record will be where nobody looks for it, and what to do about that.
fn not_delegated(gateway: &CloudMachine, zone: &HostedZone, asked: &[String]) -> String {
    let name = &zone.name;
    let asked = match asked {
        [] => format!("`{name}` has no name servers"),
        asked => format!("the name servers of `{name}` are {}", asked.join(", ")),
    };
    format!(
        "The hosted zone `{name}` ({}) is not delegated to: {asked}. Set these, and no others, where `{name}` is registered, or \
         as its NS record in the zone above it: {}.{}",
        zone.id,
        zone.name_servers.join(", "),
        waits(gateway)
    )
}

/// Returns what an apply does until names lead to a gateway, as a sentence; nothing for one that needs no certificates.
fn waits(gateway: &CloudMachine) -> &'static str {
    match &gateway.role {
        Role::Gateway { is_secure: true, .. } => {
            " An apply waits for it, and asks for certificates once the names lead there."
        }
        _ => "",
    }
}

fn by_hand(
    gateway: &CloudMachine,
    name: &str,
    span: &Span,
    points_to: Value,
    region: &Region,
    recorded: &dyn RecordedView,
    lowered: &mut Lowered,
) {
    let endpoint = format!("DNS record to add: {name} A");
    if region.facts().is_none() {
        // Whose the zone is nobody knows then, only what was made without one: a machine with an address of its own.
        let instance = recorded.attributes(&gateway.instance());
        let own = instance.and_then(|made| made.get("associate_public_ip_address").cloned());
        if own == Some(Value::Bool(true)) {
            lowered.endpoints.insert(endpoint.into(), points_to);
        }
        return;
    }
    let note = format!(
        "The account has no public hosted zone for `{name}`. Once `{}` has its address, add this record where the domain's DNS \
         is: {name} A ADDRESS (under the endpoints).{}",
        gateway.machine.name,
        waits(gateway)
    );
    lowered.notes.push((note.into(), Some(span.place())));
    lowered.endpoints.insert(endpoint.into(), points_to);
}
