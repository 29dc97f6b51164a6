//! Networks: subnets, and security groups with rules as resources of their own.

use std::collections::{BTreeMap, BTreeSet};

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{Lowered, RecordedView};
use gabion_engine::diagnostic::{Diagnostic, Span};
use gabion_engine::value::Value;

use super::machine::{CloudMachine, Role, start, tags};
use super::region::Region;
use super::settings::AwsSettings;
use crate::document::replica_group::GroupRole;
use crate::document::service::Service;
use crate::lower::acme::{HTTP, HTTPS};
use crate::lower::builder::{address, reference};
use crate::lower::role::{BootstrapPort, Part};
use crate::lower::service::RELAY_PORTS;
use crate::offers::{InstanceType, RegionFacts, Subnet};

/// The port of SSH.
const SSH: u16 = 22;

/// The ports that engines may choose for what they hand over: those that need no special right. SSH's is not among them.
const ENGINES_PORTS: (u16, u16) = (1024, u16::MAX);

/// Who talks to whom in a service, beside gabion itself.
#[derive(Clone, Debug)]
pub(super) struct Circle {
    pub(super) service: String,
    /// The machine of its gateway.
    pub(super) gateway: String,
    /// Whether its router is a replica group, and not beside the gateway.
    pub(super) has_router: bool,
    /// Whether prefill and decode workers hand over what they made of prompts.
    pub(super) hands_over: bool,
    /// Whether replicas span several machines, which tell each other what they work out.
    pub(super) spans_nodes: bool,
    /// The ports below those of engines on which decode workers fetch from prefill workers.
    pub(super) low_ports: BTreeSet<u16>,
}

impl Circle {
    /// Returns who talks to whom in a service behind a gateway.
    pub(super) fn of(service: &Service, gateway: &str) -> Self {
        let members = service.members();
        let roles = || members.iter().map(|member| (member, Part::of(member).role()));
        let fetched = roles().filter(|(_, role)| *role == Some(GroupRole::Prefill));
        let ports = fetched.filter_map(|(member, _)| match BootstrapPort::of(member.commands) {
            BootstrapPort::Fixed(port, _) => Some(port),
            BootstrapPort::Leased | BootstrapPort::Unclear(_) => None,
        });
        Self {
            service: service.name.value.clone(),
            gateway: gateway.to_owned(),
            has_router: members.iter().any(|member| member.router.is_some()),
            spans_nodes: members.iter().any(|member| member.nodes() > 1),
            hands_over: roles().any(|(_, role)| role.is_some()),
            low_ports: ports.filter(|port| *port < ENGINES_PORTS.0).collect(),
        }
    }

    /// Returns the group of its replicas, or that of its router.
    fn group(&self, is_router: bool) -> ResourceAddress {
        let what = if is_router { "router" } else { "replicas" };
        address("aws_security_group", &format!("{}/{what}", self.service))
    }

    /// Returns the rules that let others in to programs of its router, or of its other replicas.
    ///
    /// What lets in the gateway and what lets in the router are two: where a service is given another form, one is there
    /// before the other goes.
    fn ways_in(&self, is_router: bool) -> Vec<Rule<'_>> {
        let group = self.group(is_router);
        let rule = |name: &str, ports, peer, what| Rule {
            address: ingress(&format!("{}/{name}", group.name.as_str())),
            protocol: "tcp",
            ports: Some(ports),
            peer: Peer::Group(peer),
            what,
            span: None,
        };
        let mut rules = vec![match self.has_router && !is_router {
            true => rule(
                "router",
                RELAY_PORTS,
                self.group(true),
                "requests, from the router",
            ),
            false => rule(
                "relay",
                RELAY_PORTS,
                gateway_group(&self.gateway),
                "requests, from the gateway",
            ),
        }];
        if (self.hands_over || self.spans_nodes) && !is_router {
            // One rule for both: of two that let in the same, AWS refuses the second.
            let what = match (self.hands_over, self.spans_nodes) {
                (true, true) => "what prefill and decode workers hand over, and nodes tell each other",
                (true, false) => "what prefill and decode workers hand over",
                _ => "what the nodes of a replica tell each other",
            };
            rules.push(rule("workers", ENGINES_PORTS, group.clone(), what));
            for port in &self.low_ports {
                let what = "where decode workers fetch from prefill workers";
                let name = format!("bootstrap-{port}");
                rules.push(rule(&name, (*port, *port), group.clone(), what));
            }
        }
        rules
    }

    /// Returns the addresses of those rules.
    pub(super) fn rules_in(&self, is_router: bool) -> Vec<ResourceAddress> {
        let rules = self.ways_in(is_router).into_iter();
        rules.map(|rule| rule.address).collect()
    }

    /// Returns the rules that its route may have needed in another form. Earlier versions did not record who is reached by
    /// a rule.
    pub(super) fn freed(&self) -> Vec<ResourceAddress> {
        let group = self.group(false);
        let of_gateway = || ingress(&format!("{}/relay", group.name.as_str()));
        self.has_router.then(of_gateway).into_iter().collect()
    }
}

/// Returns the security group of a machine: a gateway has its own, and so has a router that is a replica group; the other
/// replicas of a service share one.
pub(super) fn group_of(machine: &CloudMachine) -> ResourceAddress {
    match &machine.role {
        Role::Gateway { .. } => gateway_group(&machine.machine.name),
        Role::Replica {
            circle, is_router, ..
        } => circle.group(*is_router),
    }
}

pub(super) fn gateway_group(gateway: &str) -> ResourceAddress {
    address("aws_security_group", gateway)
}

/// Returns the rules without which nobody gets to a machine.
pub(super) fn rules_before(machine: &CloudMachine, settings: &AwsSettings) -> Vec<ResourceAddress> {
    let group = group_of(machine);
    let name = group.name.as_str();
    let mut rules: Vec<ResourceAddress> = match &machine.role {
        Role::Gateway { .. } => settings
            .admin_cidrs
            .iter()
            .map(|cidr| ingress(&format!("{name}/{}", ssh_rule(&cidr.value))))
            .collect(),
        Role::Replica { .. } => vec![ingress(&format!("{name}/ssh"))],
    };
    rules.push(egress(&format!("{name}/all")));
    rules
}

fn ingress(name: &str) -> ResourceAddress {
    address("aws_vpc_security_group_ingress_rule", name)
}

fn egress(name: &str) -> ResourceAddress {
    address("aws_vpc_security_group_egress_rule", name)
}

/// Names the rule that lets a network log in.
fn ssh_rule(cidr: &str) -> String {
    format!("ssh-{}", cidr.replace(['/', ':', '.'], "-"))
}

/// Who a rule lets in.
enum Peer<'a> {
    Network(&'a str),
    Group(ResourceAddress),
}

/// Adds the group of a machine.
fn group(
    machine: &CloudMachine,
    what: &str,
    vpc: Option<&str>,
    settings: &AwsSettings,
    lowered: &mut Lowered,
) {
    let address = group_of(machine);
    let name = address.name.to_string();
    let mut builder = start(address, machine, settings)
        .input("description", what)
        .input("tags", tags(machine, &name, settings));
    if let Some(vpc) = vpc {
        builder = builder.input("vpc_id", vpc);
    }
    lowered.resources.push(builder.build());
}

struct Rule<'a> {
    address: ResourceAddress,
    protocol: &'a str,
    ports: Option<(u16, u16)>,
    peer: Peer<'a>,
    what: &'a str,
    span: Option<&'a Span>,
}

fn rule(machine: &CloudMachine, rule: Rule<'_>, settings: &AwsSettings, lowered: &mut Lowered) {
    let mut builder = start(rule.address, machine, settings)
        .input("security_group_id", reference(&group_of(machine), "id"))
        .input("ip_protocol", rule.protocol)
        .input("description", rule.what);
    if let Some((from, to)) = rule.ports {
        builder = builder
            .input("from_port", Value::Int(from.into()))
            .input("to_port", Value::Int(to.into()));
    }
    builder = match rule.peer {
        Peer::Network(cidr) if cidr.contains(':') => builder.input("cidr_ipv6", cidr),
        Peer::Network(cidr) => builder.input("cidr_ipv4", cidr),
        Peer::Group(group) => builder.input("referenced_security_group_id", reference(&group, "id")),
    };
    if let Some(span) = rule.span {
        builder = builder.at("cidr_ipv4", span).at("cidr_ipv6", span);
    }
    lowered.resources.push(builder.build());
}

fn everything_out(machine: &CloudMachine, settings: &AwsSettings, lowered: &mut Lowered) {
    let name = group_of(machine).name.to_string();
    let all = Rule {
        address: egress(&format!("{name}/all")),
        protocol: "-1",
        ports: None,
        peer: Peer::Network("0.0.0.0/0"),
        what: "packages, images and models",
        span: None,
    };
    rule(machine, all, settings, lowered);
}

/// Adds the network of a gateway: requests from everywhere, or from its VPC alone; SSH from where it is allowed.
pub(super) fn of_gateway(
    gateway: &CloudMachine,
    region: &Region,
    is_public: bool,
    settings: &AwsSettings,
    lowered: &mut Lowered,
) {
    let vpc = region.facts().and_then(|facts| facts.vpc.as_ref());
    let name = gateway.machine.name.clone();
    let what = format!("gabion: the gateway {name}");
    group(gateway, &what, vpc.map(|vpc| vpc.id.as_str()), settings, lowered);
    let from = match (is_public, vpc) {
        (false, Some(vpc)) if !vpc.cidr_block.is_empty() => vpc.cidr_block.as_str(),
        _ => "0.0.0.0/0",
    };
    let is_secure = matches!(gateway.role, Role::Gateway { is_secure: true, .. });
    let plainly = match is_secure {
        true => "the way to HTTPS, and challenges of the authority that makes certificates",
        false => "requests",
    };
    let secure = is_secure.then_some(("https", HTTPS, "requests"));
    for (scheme, port, what) in [("http", HTTP, plainly)].into_iter().chain(secure) {
        let requests = Rule {
            address: ingress(&format!("{name}/{scheme}")),
            protocol: "tcp",
            ports: Some((port, port)),
            peer: Peer::Network(from),
            what,
            span: None,
        };
        rule(gateway, requests, settings, lowered);
    }
    for cidr in &settings.admin_cidrs {
        let ssh = Rule {
            address: ingress(&format!("{name}/{}", ssh_rule(&cidr.value))),
            protocol: "tcp",
            ports: Some((SSH, SSH)),
            peer: Peer::Network(&cidr.value),
            what: "gabion and people",
            span: Some(&cidr.span),
        };
        rule(gateway, ssh, settings, lowered);
    }
    everything_out(gateway, settings, lowered);
}

/// Adds the network of a service's router, or of its other replicas: they are reached by those who talk to them, and by
/// gabion through the gateway.
pub(super) fn of_replicas(
    replica: &CloudMachine,
    circle: &Circle,
    is_router: bool,
    vpc: Option<&str>,
    settings: &AwsSettings,
    lowered: &mut Lowered,
) {
    let whose = if is_router { "router" } else { "replicas" };
    let what = format!("gabion: {whose} of the service {}", circle.service);
    group(replica, &what, vpc, settings, lowered);
    let name = group_of(replica).name.to_string();
    for way_in in circle.ways_in(is_router) {
        rule(replica, way_in, settings, lowered);
    }
    let ssh = Rule {
        address: ingress(&format!("{name}/ssh")),
        protocol: "tcp",
        ports: Some((SSH, SSH)),
        peer: Peer::Group(gateway_group(&circle.gateway)),
        what: "gabion, through the gateway",
        span: None,
    };
    rule(replica, ssh, settings, lowered);
    everything_out(replica, settings, lowered);
}

/// What a subnet must be.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The zones that will do; any if none are given.
    pub(super) zones: &'a [String],
    /// The zone that is best.
    pub(super) near: Option<&'a str>,
    /// Whether the machine in it has a public address.
    pub(super) has_public_address: bool,
    /// The subnet that was chosen before.
    pub(super) kept: Option<&'a str>,
}

/// Returns the subnet for a machine of a type, if one is right.
pub(super) fn subnet<'a>(
    facts: &'a RegionFacts,
    machine: &InstanceType,
    wanted: Wanted<'_>,
    settings: &AwsSettings,
) -> Option<&'a Subnet> {
    let is_right = |subnet: &&Subnet| {
        let zone = &subnet.availability_zone;
        let listed =
            settings.subnet_ids.is_empty() || settings.subnet_ids.iter().any(|id| id.value == subnet.id);
        let in_zone = wanted.zones.is_empty() || wanted.zones.contains(zone);
        let offered = machine.zones.is_empty() || machine.zones.contains(zone);
        listed && in_zone && offered
    };
    // By an internet gateway only what has a public address gets out.
    let gets_out = |subnet: &&Subnet| match subnet.egress.as_str() {
        "none" => false,
        "igw" => wanted.has_public_address,
        _ => true,
    };
    let right = || facts.subnets.iter().filter(is_right);
    if let Some(kept) = right().find(|subnet| Some(subnet.id.as_str()) == wanted.kept) {
        return Some(kept);
    }
    right()
        .filter(gets_out)
        .min_by_key(|subnet| order(subnet, wanted.near))
}

/// Returns a subnet of each other zone that will do as well as one that was chosen, the best first.
pub(super) fn other_subnets<'a>(
    facts: &'a RegionFacts,
    machine: &InstanceType,
    wanted: Wanted<'_>,
    chosen: &Subnet,
    settings: &AwsSettings,
) -> Vec<&'a Subnet> {
    let mut zones: Vec<&String> = facts
        .subnets
        .iter()
        .map(|subnet| &subnet.availability_zone)
        .filter(|zone| **zone != chosen.availability_zone)
        .collect();
    zones.sort();
    zones.dedup();
    let mut others: Vec<&Subnet> = zones
        .into_iter()
        .filter(|zone| wanted.zones.is_empty() || wanted.zones.contains(zone))
        .filter_map(|zone| {
            let there = Wanted {
                zones: std::slice::from_ref(zone),
                kept: None,
                ..wanted
            };
            subnet(facts, machine, there, settings)
        })
        .collect();
    others.sort_by_key(|subnet| order(subnet, wanted.near));
    others
}

/// The nearest first.
fn order<'a>(subnet: &'a Subnet, near: Option<&str>) -> (bool, &'a str, &'a str) {
    (
        Some(subnet.availability_zone.as_str()) != near,
        &subnet.availability_zone,
        &subnet.id,
    )
}

/// Reports machines that would take more processors than the account may have, where its quotas are known.
pub(super) fn check_quotas(
    gateways: &[&CloudMachine],
    replicas: &[CloudMachine],
    settings: &AwsSettings,
    recorded: &dyn RecordedView,
    lowered: &mut Lowered,
) {
    let mut totals: BTreeMap<(&str, String), u32> = BTreeMap::new();
    for machine in gateways.iter().copied().chain(replicas) {
        let choice = &machine.choice;
        let Some(family) = choice.family else { continue };
        let quota = match choice.is_spot {
            true => format!("{}-spot", family.quota),
            false => family.quota.clone(),
        };
        let region = Region::of(&machine.region, settings, recorded);
        let most = region
            .facts()
            .and_then(|facts| facts.vcpu_quotas.get(&quota).copied());
        let total = totals.entry((&machine.region, quota.clone())).or_default();
        *total += choice.vcpus;
        if let Some(most) = most.filter(|most| *total > *most) {
            lowered.unmet.insert(
                machine.instance(),
                Diagnostic::error("over-quota", "more processors than the quota")
                    .detail(format!(
                        "With `{}` the machines of this project take {total} vCPUs of the quota `{quota}` in {}, and the \
                         account has {most}.",
                        machine.machine.name, machine.region
                    ))
                    .at(machine.span.clone())
                    .hint("ask AWS for a higher quota, or for fewer or smaller machines"),
            );
        }
    }
}
