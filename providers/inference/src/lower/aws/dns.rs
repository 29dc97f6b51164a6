//! The record that leads a gateway's host names to its address.

use gabion_engine::config::{Lowered, Spanned};
use gabion_engine::diagnostic::Span;
use gabion_engine::value::Value;

use super::machine::{CloudMachine, Role, with_profile};
use super::region::Region;
use super::settings::AwsSettings;
use crate::lower::builder::{ResourceBuilder, address};
use crate::term::Text;

/// For how many seconds others may remember the record: whoever replaces a gateway waits that long.
const TTL: i64 = 60;

/// Adds the wildcard record where the account holds the domain's public zone; otherwise says which one to add by hand.
pub(super) fn lower(
    gateway: &CloudMachine,
    domain: &Spanned<Text>,
    points_to: Value,
    region: &Region,
    settings: &AwsSettings,
    lowered: &mut Lowered,
) {
    let name = format!("*.{}", domain.value.trim_end_matches('.'));
    let zone = region.facts().and_then(|facts| facts.public_zone(&name));
    let Some(zone) = zone else {
        by_hand(gateway, &name, &domain.span, points_to, region, lowered);
        return;
    };
    let record = address("aws_route53_record", &gateway.machine.name);
    // Route 53 is in no region.
    let record = with_profile(ResourceBuilder::new(record, &gateway.document), settings)
        .input("zone_id", zone.id.as_str())
        .input("name", name)
        .input("type", "A")
        .input("ttl", Value::Int(TTL))
        .input("records", Value::List(vec![points_to]))
        .at("name", &domain.span);
    lowered.resources.push(record.build());
}

fn by_hand(
    gateway: &CloudMachine,
    name: &str,
    span: &Span,
    points_to: Value,
    region: &Region,
    lowered: &mut Lowered,
) {
    // Without the facts nobody knows whose the zone is.
    if region.facts().is_none() {
        return;
    }
    let note = format!(
        "The account has no public hosted zone for `{name}`. Once `{}` has its address, add this record where the domain's DNS \
         is: {name} A ADDRESS (under the endpoints).{}",
        gateway.machine.name,
        match &gateway.role {
            Role::Gateway { is_secure: true, .. } =>
                " An apply waits for it, and asks for certificates once the names lead there.",
            _ => "",
        }
    );
    lowered.notes.push((note.into(), Some(span.place())));
    lowered
        .endpoints
        .insert(format!("DNS record to add: {name} A").into(), points_to);
}
