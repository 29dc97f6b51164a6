//! Placing all gateways and replicas of a project: what is placed first, then what is new.

use std::collections::{BTreeMap, BTreeSet};

use gabion_engine::config::{Purpose, RecordedView};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};
use gabion_engine::value::Value;

use super::builder::address;
use super::container;
use super::gateway::GatewayTarget;
use super::machines::Machine;
use super::nodes;
use super::peers::Peers;
use super::placement::{Board, Choice, Need, Refusals};
use super::project::{Context, Placed};
use super::role::{BootstrapPort, Part, uses_variable};
use super::service::slots_of;
use crate::document::dialect::Member;
use crate::document::gateway::Gateway;
use crate::document::replica_group::GroupRole;
use crate::document::service::Service;

/// Where replicas are. Those of the machine that runs gabion are not in it.
#[derive(Debug, Default)]
pub(crate) struct Placements<'a> {
    /// The machine of each replica, by the replica's path.
    machines: BTreeMap<String, &'a Machine>,
    /// The replicas beside which there is no room for their successors.
    crowded: BTreeSet<String>,
}

impl<'a> Placements<'a> {
    /// Returns the machine of a replica.
    pub(crate) fn machine(&self, path: &str) -> Option<&'a Machine> {
        self.machines.get(path).copied()
    }

    /// Places a replica on a machine that is made for it: beside it there is room for no other.
    pub(crate) fn add(&mut self, path: &str, machine: &'a Machine) {
        self.machines.insert(path.to_owned(), machine);
        self.crowded.insert(path.to_owned());
    }

    /// Returns whether a replica's successor has no room beside it.
    pub(crate) fn is_crowded(&self, path: &str) -> bool {
        self.crowded.contains(path)
    }
}

/// Returns the machine that a resource is recorded on.
pub(super) fn recorded_machine(
    recorded: &dyn RecordedView,
    resource_type: &str,
    name: &str,
) -> Option<String> {
    let attributes = recorded.attributes(&address(resource_type, name))?;
    attributes
        .get("machine")
        .and_then(Value::as_str)
        .map(str::to_owned)
}

/// Returns the machine of a gateway, reporting that there is none.
pub(crate) fn gateway<'a>(
    placed: &Placed<Gateway>,
    choice: Choice<'_>,
    board: &Board<'a>,
    recorded: &dyn RecordedView,
    context: &Context,
    problems: &mut Diagnostics,
) -> Option<&'a Machine> {
    let gateway = &placed.document;
    let kept = recorded_machine(recorded, "gateway_listener", &gateway.name.value);
    let machine = board.gateway(choice, kept.as_deref());
    if context.purpose == Purpose::Validate {
        return machine;
    }
    let Some(machine) = machine else {
        // A fleet with an error may have it.
        if context.unread.may_have("fleet") {
            return None;
        }
        let span = choice
            .fleets
            .first()
            .map_or(&gateway.backend.span, |fleet| &fleet.span);
        problems.push(
            Diagnostic::error("no-machine", "no machine for a gateway")
                .detail(format!(
                    "None of the fleets that `{}` may be on has a machine that is reached over SSH.",
                    gateway.name.value
                ))
                .at(span.clone())
                .hint("name another fleet, or remove `fleets`"),
        );
        return None;
    };
    if !gateway.public_ip && machine.private_address.is_none() && machine.facts.is_some() {
        problems.push(
            no_private_address(
                machine,
                "`public_ip: false` has it listen on the machine's private address",
            )
            .at(machine.span.clone())
            .related(gateway.name.span.clone(), "the gateway"),
        );
        return None;
    }
    Some(machine)
}

fn no_private_address(machine: &Machine, why: &str) -> Diagnostic {
    Diagnostic::error("no-private-address", "machine without a private address")
        .detail(format!("{why}, and none is known of `{}`.", machine.name))
        .hint("add `internal_ip: …` to every host, or `network: 10.0.0.0/24` to `ssh_config`")
}

/// Places the replicas of services, reporting those that fit nowhere.
pub(crate) fn replicas<'a>(
    services: &[(&Placed<Service>, &GatewayTarget<'_>)],
    board: &mut Board<'a>,
    context: &Context,
    recorded: &dyn RecordedView,
    problems: &mut Diagnostics,
) -> Placements<'a> {
    let mut placements: BTreeMap<String, &Machine> = BTreeMap::new();
    // What is placed has the first word, in all services.
    for settled in [true, false] {
        for (placed, gateway) in services {
            let service = &placed.document;
            for (member, paths) in slots_of(service, context) {
                let need = need_of(service, &member);
                let mut lost = 0;
                let ranks = paths.iter().flat_map(|replica| {
                    let ranks = nodes::ranks(&member, replica).into_iter();
                    ranks.map(move |path| (replica, path.into_owned()))
                });
                for (replica, path) in ranks {
                    if placements.contains_key(&path) {
                        continue;
                    }
                    // A replica spans so many machines because one would not do.
                    let others = nodes::ranks(&member, replica);
                    let others = others.iter().filter_map(|other| placements.get(&**other));
                    let others: Vec<&str> = others.map(|machine| machine.name.as_str()).collect();
                    let need = Need {
                        apart_from: &others,
                        ..need
                    };
                    if settled {
                        let kept = recorded_machine(recorded, "host_unit", &path)
                            .and_then(|machine| board.keep(&need, &machine));
                        placements.extend(kept.map(|machine| (path, machine)));
                        continue;
                    }
                    match board.place(&need) {
                        Ok(machine) => {
                            placements.insert(path, machine);
                        }
                        Err(refusals) => {
                            lost += 1;
                            let may_fit = context.unread.may_have("fleet");
                            if lost > 1 || may_fit || context.purpose == Purpose::Validate {
                                continue;
                            }
                            let what = match member.nodes() {
                                1 => format!("the replica `{path}`"),
                                _ => format!("the node `{path}`"),
                            };
                            let span = member.nodes.map_or(&member.replicas.span, |nodes| &nodes.span);
                            problems.push(no_machine("no machine for a replica", &what, refusals, span));
                        }
                    }
                }
            }
            if !settled && context.purpose == Purpose::Plan {
                check_addresses(service, gateway, &placements, context, problems);
            }
        }
    }
    Placements {
        machines: placements,
        crowded: BTreeSet::new(),
    }
}

/// Takes note of the replicas beside which there is no room for their successors, once everything has its place.
pub(crate) fn crowd<'a>(
    placements: Placements<'a>,
    services: &[(&Placed<Service>, &GatewayTarget<'_>)],
    board: &mut Board<'a>,
    context: &Context,
) -> Placements<'a> {
    let crowded = crowded(services, &placements.machines, board, context);
    Placements {
        crowded,
        ..placements
    }
}

/// Words that no machine can take something.
pub(super) fn no_machine(summary: &'static str, what: &str, refusals: Refusals, span: &Span) -> Diagnostic {
    let reasons: Vec<String> = refusals
        .into_iter()
        .map(|(machine, why)| format!("\n    {machine}: {why}"))
        .collect();
    Diagnostic::error("no-machine", summary)
        .detail(format!("No machine can take {what}:{}", reasons.concat()))
        .at(span.clone())
        .hint("ask for less in `resources` (without it: `cpu: 2..`, `memory: 8GB..`, `disk: 100GB..`), split machines with `blocks`, or add machines")
}

/// Returns what a replica of a group needs.
fn need_of<'a>(service: &'a Service, member: &Member<'a>) -> Need<'a> {
    Need {
        choice: Choice {
            fleets: &service.profile.fleets,
            instances: service.profile.instances.as_deref(),
        },
        resources: member.resources,
        ports: [
            (!container::has_own_ports(member) && !uses_variable(member.commands, "PORT"))
                .then_some(service.port.value.0.0),
            match (Part::of(member).role(), BootstrapPort::of(member.commands)) {
                (Some(GroupRole::Prefill), BootstrapPort::Fixed(port, _)) => Some(port),
                _ => None,
            },
        ],
        in_container: member.image.is_some(),
        apart_from: &[],
    }
}

/// Returns the replicas beside which their successors find no room, as many at a time as may surge.
fn crowded<'a>(
    services: &[(&Placed<Service>, &GatewayTarget<'_>)],
    placements: &BTreeMap<String, &'a Machine>,
    board: &mut Board<'a>,
    context: &Context,
) -> BTreeSet<String> {
    let mut crowded = BTreeSet::new();
    for (placed, _) in services {
        let service = &placed.document;
        for (member, paths) in slots_of(service, context) {
            let mut by_machine: BTreeMap<&str, (&'a Machine, Vec<String>)> = BTreeMap::new();
            for path in paths {
                if let Some(machine) = placements.get(&path) {
                    let (_, paths) = by_machine.entry(&machine.name).or_insert((machine, Vec::new()));
                    paths.push(path);
                }
            }
            for (machine, paths) in by_machine.into_values() {
                let there = u32::try_from(paths.len()).unwrap_or(u32::MAX);
                let surge = service.rolling.max_surge.min(there);
                if !board.take_beside(&need_of(service, &member), machine, surge) {
                    crowded.extend(paths);
                }
            }
        }
    }
    crowded
}

/// The nodes of a replica reach each other at their machines' private addresses.
fn check_between_nodes<'a>(
    service: &Service,
    member: &Member<'_>,
    replicas: &[String],
    machine: impl Fn(&str) -> Option<&'a Machine>,
    seen: &mut Vec<&'a str>,
    problems: &mut Diagnostics,
) {
    let Some(nodes) = member.nodes.filter(|nodes| nodes.value.0 > 1) else {
        return;
    };
    let paths = replicas.iter().flat_map(|replica| nodes::ranks(member, replica));
    for machine in paths.filter_map(|path| machine(&path)) {
        let is_known = machine.private_address.is_some() || machine.facts.is_none();
        if is_known || seen.contains(&machine.name.as_str()) {
            continue;
        }
        seen.push(&machine.name);
        let why = format!(
            "The nodes of a replica of `{}` reach each other at their machines' private addresses",
            service.name.value
        );
        problems.push(
            no_private_address(machine, &why)
                .at(machine.span.clone())
                .related(nodes.span.clone(), "more than one node"),
        );
    }
}

/// A replica away from whoever talks to it is reached at its machine's private address.
fn check_addresses<'a>(
    service: &Service,
    gateway: &GatewayTarget<'a>,
    placements: &BTreeMap<String, &'a Machine>,
    context: &Context,
    problems: &mut Diagnostics,
) {
    let slots = slots_of(service, context);
    let peers = Peers::of(&slots, gateway, |path| placements.get(path).copied());
    let mut seen: Vec<&str> = Vec::new();
    for (member, paths) in &slots {
        let of = |path: &str| placements.get(path).copied();
        let machines: Vec<&Machine> = paths
            .iter()
            .filter_map(|path| of(&nodes::leader(member, path)))
            .collect();
        check_between_nodes(service, member, paths, of, &mut seen, problems);
        // It is said once of a group.
        problems.extend(
            machines
                .iter()
                .find_map(|machine| peers.check_listening(member, machine)),
        );
        for machine in machines {
            let is_known = machine.private_address.is_some() || machine.facts.is_none();
            if is_known || !peers.are_away(member, machine) || seen.contains(&machine.name.as_str()) {
                continue;
            }
            seen.push(&machine.name);
            problems.push(
                no_private_address(
                    machine,
                    &format!(
                        "A replica of `{}` on it is reached from another machine at its private address",
                        service.name.value
                    ),
                )
                .at(machine.span.clone())
                .related(service.name.span.clone(), "the service"),
            );
        }
    }
}
