//! Replicas on AWS: a machine each, in their gateway's region and VPC.

use gabion_engine::config::{Lowered, RecordedView};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};
use gabion_engine::value::Value;

use super::machine::{CloudMachine, Role, attribute_of, instance_of};
use super::network;
use super::pick::{self, Asked};
use super::region::Region;
use super::settings::AwsSettings;
use crate::document::dialect::Member;
use crate::document::service::Service;
use crate::lower::builder::address;
use crate::lower::gateway::GatewayTarget;
use crate::lower::machines::Machine;
use crate::lower::project::{Context, Placed};
use crate::lower::service::slots_of;
use crate::offers::{self, OfferNeed};

/// The disk of a replica whose document says nothing, in GB.
const DISK_GB: u64 = 100;

/// Returns the machines of the replicas on AWS.
pub(crate) fn replicas(
    services: &[(&Placed<Service>, &GatewayTarget<'_>)],
    gateways: &[CloudMachine],
    context: &Context,
    recorded: &dyn RecordedView,
    problems: &mut Diagnostics,
) -> Vec<CloudMachine> {
    let mut machines = Vec::new();
    for (placed, target) in services {
        let gateway = gateways.iter().find(|gateway| {
            target
                .machine
                .is_some_and(|machine| machine.name == gateway.machine.name)
        });
        // A service whose gateway is elsewhere was refused.
        let Some(gateway) = gateway else { continue };
        check_region(&placed.document, gateway, problems);
        let region = Region::of(&gateway.region, &context.aws, recorded);
        for (member, paths) in slots_of(&placed.document, context) {
            let mut told = Vec::new();
            for path in paths {
                let mut machine = of(placed, &member, &path, gateway, &region, context, recorded);
                // Replicas that are alike are chosen alike: it is said once.
                machine.choice.notes.retain(|note| !told.contains(note));
                told.extend(machine.choice.notes.iter().cloned());
                machines.push(machine);
            }
        }
    }
    machines
}

fn of(
    placed: &Placed<Service>,
    member: &Member<'_>,
    path: &str,
    gateway: &CloudMachine,
    region: &Region,
    context: &Context,
    recorded: &dyn RecordedView,
) -> CloudMachine {
    let service = &placed.document;
    let profile = &service.profile;
    let settings = &context.aws;
    let resources = member.resources;
    let span = if resources.gpu.value.is_needed() {
        &resources.gpu.span
    } else {
        &resources.cpu.span
    };
    let span = place_of_need(span, &member.replicas.span);
    let asked = Asked {
        machine: path,
        need: OfferNeed {
            resources,
            has_image: member.image.is_some(),
            spot_policy: profile.spot_policy,
            max_price: profile.max_price.as_ref().map(|price| price.0),
            instance_types: &profile.instance_types,
            zones: &profile.availability_zones,
            reserved: profile.reservation.is_some(),
        },
        disk_gb: disk_gb(member),
        reservation: profile.reservation.as_deref(),
        has_public_address: settings.public_ip,
        near: gateway.choice.zone.as_deref(),
        what: format!("`{}`", path.rsplit_once('/').map_or(path, |(group, _)| group)),
        wish: offers::wish(member.resources),
        span: span.clone(),
    };
    let (choice, unmet) = pick::choose(&asked, region, recorded, settings);
    let private = attribute_of(path, "private_ip");
    CloudMachine {
        machine: Machine::made(
            path,
            private.clone(),
            private,
            &instance_of(path),
            &member.replicas.span,
        ),
        unmet,
        region: gateway.region.clone(),
        role: Role::Replica {
            service: service.name.value.clone(),
            gateway: gateway.machine.name.clone(),
            gateway_host: gateway.machine.hostname.clone(),
        },
        choice,
        runs_containers: member.image.is_some(),
        tags: profile.tags.0.clone(),
        document: placed.reference.clone(),
        span,
    }
}

/// Resources that nobody wrote have no place of their own.
fn place_of_need(span: &Span, otherwise: &Span) -> Span {
    if span.file.path().is_empty() {
        otherwise.clone()
    } else {
        span.clone()
    }
}

fn disk_gb(member: &Member<'_>) -> u64 {
    let disk = member.resources.disk.0;
    let gigabytes = |memory: crate::grammar::memory::Memory| memory.as_megabytes().div_ceil(1024);
    match (disk.min, disk.max) {
        (Some(min), _) => gigabytes(min),
        (None, Some(max)) => gigabytes(max).min(DISK_GB),
        (None, None) => DISK_GB,
    }
}

/// Replicas are in their gateway's region, which the service must allow.
fn check_region(service: &Service, gateway: &CloudMachine, problems: &mut Diagnostics) {
    let regions = &service.profile.regions;
    if regions.is_empty() || regions.contains(&gateway.region) {
        return;
    }
    problems.push(
        Diagnostic::error("region-not-allowed", "gateway in another region")
            .detail(format!(
                "The `regions` of `{}` are {}, and replicas are in the region of their gateway `{}`, {}.",
                service.name.value,
                regions.join(", "),
                gateway.machine.name,
                gateway.region
            ))
            .at(service.name.span.clone())
            .hint("choose a gateway there, or remove `regions`"),
    );
}

/// Adds the network of each service's replicas.
pub(super) fn groups(replicas: &[CloudMachine], settings: &AwsSettings, lowered: &mut Lowered) {
    let mut seen: Vec<&str> = Vec::new();
    for replica in replicas {
        let Role::Replica { service, gateway, .. } = &replica.role else {
            continue;
        };
        if seen.contains(&service.as_str()) {
            continue;
        }
        seen.push(service);
        // In the VPC of the gateway, whatever that is.
        let vpc = lowered
            .resources
            .iter()
            .find(|resource| resource.address == address("aws_security_group", gateway))
            .and_then(|resource| {
                resource
                    .inputs
                    .get("vpc_id")
                    .and_then(Value::as_str)
                    .map(str::to_owned)
            });
        network::of_replicas(replica, gateway, service, vpc.as_deref(), settings, lowered);
    }
}
