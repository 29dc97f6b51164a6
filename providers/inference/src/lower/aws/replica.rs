//! Replicas on AWS: a machine each, in their gateway's region and VPC.

use std::sync::Arc;

use gabion_engine::config::{Lowered, RecordedView};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};
use gabion_engine::value::Value;

use super::machine::{CloudMachine, Role, attribute_of, instance_of};
use super::network::{self, Circle};
use super::pick::{self, Asked};
use super::region::Region;
use super::settings::AwsSettings;
use crate::document::dialect::Member;
use crate::document::service::Service;
use crate::lower::builder::address;
use crate::lower::gateway::GatewayTarget;
use crate::lower::machines::Machine;
use crate::lower::nodes;
use crate::lower::peers::Peers;
use crate::lower::project::{Context, Placed};
use crate::lower::role::Part;
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
        let placing = Placing {
            placed,
            gateway,
            region: &Region::of(&gateway.region, &context.aws, recorded),
            circle: &Arc::new(Circle::of(&placed.document, &gateway.machine.name)),
            context,
            recorded,
        };
        let groups = slots_of(&placed.document, context);
        let mut own: Vec<CloudMachine> = Vec::new();
        // What prefill workers have made of prompts goes to decode workers: they are near each other before all.
        let mut halves: Option<String> = None;
        for (member, paths) in &groups {
            let is_half = Part::of(member).role().is_some();
            let mut told = Vec::new();
            for path in paths {
                let near = halves.as_deref().filter(|_| is_half);
                let near = near.or(gateway.choice.zone.as_deref()).map(str::to_owned);
                // The nodes of a replica are as near each other as can be.
                let mut zone: Option<String> = None;
                for rank in nodes::ranks(member, path) {
                    let spot = Spot {
                        path: &rank,
                        near: near.as_deref(),
                        only: zone.as_slice(),
                    };
                    let mut machine = placing.machine(member, spot);
                    // Replicas that are alike are chosen alike: it is said once.
                    machine.choice.notes.retain(|note| !told.contains(note));
                    told.extend(machine.choice.notes.iter().cloned());
                    if member.nodes() > 1 && zone.is_none() {
                        zone.clone_from(&machine.choice.zone);
                    }
                    if is_half && halves.is_none() {
                        halves.clone_from(&machine.choice.zone);
                    }
                    own.push(machine);
                }
            }
        }
        check_listening(&groups, target, &own, problems);
        machines.append(&mut own);
    }
    machines
}

/// Reports prefill workers that decode workers on other machines do not reach; it is said once of a group.
fn check_listening(
    groups: &[(Member<'_>, Vec<String>)],
    gateway: &GatewayTarget<'_>,
    machines: &[CloudMachine],
    problems: &mut Diagnostics,
) {
    let machine = |path: &str| {
        let mut all = machines.iter().map(|cloud| &cloud.machine);
        all.find(|machine| machine.name == path)
    };
    let peers = Peers::of(groups, gateway, machine);
    for (member, paths) in groups {
        let on = paths
            .iter()
            .filter_map(|path| machine(&nodes::leader(member, path)));
        problems.extend(
            on.into_iter()
                .find_map(|machine| peers.check_listening(member, machine)),
        );
    }
}

/// What all machines of a service have in common.
struct Placing<'a> {
    placed: &'a Placed<Service>,
    gateway: &'a CloudMachine,
    region: &'a Region,
    circle: &'a Arc<Circle>,
    context: &'a Context,
    recorded: &'a dyn RecordedView,
}

/// Which machine is meant, and where it should be.
#[derive(Clone, Copy)]
struct Spot<'a> {
    /// The path of the replica, or of its node.
    path: &'a str,
    /// The zone that is best.
    near: Option<&'a str>,
    /// The zone that it must be in; any of those that the service allows if there is none.
    only: &'a [String],
}

impl Placing<'_> {
    fn machine(&self, member: &Member<'_>, Spot { path, near, only }: Spot<'_>) -> CloudMachine {
        let service = &self.placed.document;
        let (profile, settings) = (&service.profile, &self.context.aws);
        let is_router = member.router.is_some();
        let resources = member.resources;
        let span = if resources.gpu.value.is_needed() {
            &resources.gpu.span
        } else {
            &resources.cpu.span
        };
        let span = place_of_need(span, &member.replicas.span);
        // Types and capacity that are set for a service are for what its workers do; a router does none of that.
        let (instance_types, reservation) = match is_router {
            true => (&[][..], None),
            false => (&profile.instance_types[..], profile.reservation.as_deref()),
        };
        let asked = Asked {
            machine: path,
            need: OfferNeed {
                resources,
                has_image: member.image.is_some(),
                spot_policy: profile.spot_policy,
                max_price: profile.max_price.as_ref().map(|price| price.0),
                instance_types,
                zones: match only {
                    [] => &profile.availability_zones,
                    _ => only,
                },
                reserved: reservation.is_some(),
            },
            disk_gb: disk_gb(member),
            reservation,
            has_public_address: settings.public_ip,
            near,
            what: format!("`{}/{}`", service.name.value, member.name),
            wish: offers::wish(member.resources),
            span: span.clone(),
        };
        let (mut choice, unmet) = pick::choose(&asked, self.region, self.recorded, settings);
        if member.nodes() > 1 {
            // Another offer for one of them alone would be another zone, or another kind of machine.
            choice.others = Vec::new();
        }
        let private = attribute_of(path, "private_ip");
        let machine = Machine::made(
            path,
            private.clone(),
            private,
            &instance_of(path),
            &member.replicas.span,
        )
        .let_in_by(self.circle.rules_in(is_router));
        CloudMachine {
            // All requests of a service go through its router.
            machine: match is_router {
                true => machine.replaced_beside(),
                false => machine,
            },
            unmet,
            region: self.gateway.region.clone(),
            role: Role::Replica {
                circle: Arc::clone(self.circle),
                is_router,
                gateway_host: self.gateway.machine.hostname.clone(),
            },
            choice,
            runs_containers: member.image.is_some(),
            tags: profile.tags.0.clone(),
            document: self.placed.reference.clone(),
            span,
        }
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

/// Adds the networks of each service's machines.
pub(super) fn groups(replicas: &[CloudMachine], settings: &AwsSettings, lowered: &mut Lowered) {
    let mut seen = Vec::new();
    for replica in replicas {
        let Role::Replica {
            circle, is_router, ..
        } = &replica.role
        else {
            continue;
        };
        let group = network::group_of(replica);
        if seen.contains(&group) {
            continue;
        }
        seen.push(group);
        // In the VPC of the gateway, whatever that is.
        let of_gateway = network::gateway_group(&circle.gateway);
        let vpc = lowered
            .resources
            .iter()
            .find(|resource| resource.address == of_gateway)
            .and_then(|resource| {
                resource
                    .inputs
                    .get("vpc_id")
                    .and_then(Value::as_str)
                    .map(str::to_owned)
            });
        network::of_replicas(replica, circle, *is_router, vpc.as_deref(), settings, lowered);
        let route = address("gateway_route", &circle.service);
        let mut resources = lowered.resources.iter_mut();
        if let Some(route) = resources.find(|resource| resource.address == route) {
            route.frees = circle.freed().into();
        }
    }
}
