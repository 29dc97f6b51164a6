//! Security groups and their rules.

use std::collections::BTreeMap;

use super::question::Tags;
use super::region::{Region, well_formed};
use super::xml::Xml;
use super::{Moment, Outcome, Refused, tagging};
use crate::aws::http::Asked;

/// The most rules of a direction (VPC User Guide, "Amazon VPC quotas").
const RULES: usize = 60;

/// A security group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) name: String,
    description: String,
    /// By id.
    pub(super) rules: BTreeMap<String, Rule>,
}

/// A rule of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    is_egress: bool,
    protocol: String,
    from: i64,
    to: i64,
    peer: Peer,
    description: Option<String>,
}

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Peer {
    Ipv4(String),
    Ipv6(String),
    PrefixList(String),
    Group(String),
}

impl Rule {
    /// Returns whether two rules let the same traffic through: there is one of these in a group.
    fn is_like(&self, other: &Self) -> bool {
        let described = |rule: &Self| Self {
            description: None,
            ..rule.clone()
        };
        described(self) == described(other)
    }

    fn of(
        asked: &Asked,
        prefix: &str,
        peer: Peer,
        described: &str,
        is_egress: bool,
    ) -> Result<Self, Refused> {
        let protocol = match asked.needed(&format!("{prefix}.IpProtocol"))? {
            "6" => "tcp",
            "17" => "udp",
            "1" => "icmp",
            "all" | "-1" => "-1",
            other => other,
        };
        let port = |name: &str| asked.number(&format!("{prefix}.{name}"));
        let (from, to) = match protocol {
            "-1" => (-1, -1),
            _ => (port("FromPort").unwrap_or(-1), port("ToPort").unwrap_or(-1)),
        };
        let are_ports = (0..=65_535).contains(&from) && (from..=65_535).contains(&to);
        if matches!(protocol, "tcp" | "udp") && !are_ports {
            return Err(Refused::new(
                "InvalidParameterValue",
                format!("Invalid value for portRange. Must specify both from and to ports with {protocol}."),
            ));
        }
        Ok(Self {
            is_egress,
            protocol: protocol.to_owned(),
            from,
            to,
            peer,
            description: asked
                .parameter(described)
                .filter(|text| !text.is_empty())
                .map(str::to_owned),
        })
    }
}

impl Region {
    pub(super) fn group(&self, id: &str) -> Result<&Group, Refused> {
        if !well_formed("sg-", id) {
            return Err(Refused::new(
                "InvalidGroupId.Malformed",
                format!("Invalid id: \"{id}\""),
            ));
        }
        self.groups.get(id).ok_or_else(|| {
            Refused::new(
                "InvalidGroup.NotFound",
                format!("The security group '{id}' does not exist"),
            )
        })
    }

    /// Makes a group; a new one lets everything out.
    pub(super) fn make_group(&mut self, name: &str, description: &str) -> String {
        let id = self.next_id("sg");
        let everything = Rule {
            is_egress: true,
            protocol: "-1".to_owned(),
            from: -1,
            to: -1,
            peer: Peer::Ipv4("0.0.0.0/0".to_owned()),
            description: None,
        };
        let rule = self.next_id("sgr");
        let group = Group {
            id: id.clone(),
            name: name.to_owned(),
            description: description.to_owned(),
            rules: BTreeMap::from([(rule, everything)]),
        };
        self.groups.insert(id.clone(), group);
        id
    }

    pub(super) fn create_security_group(&mut self, asked: &Asked, moment: &Moment) -> Outcome {
        let name = asked.needed("GroupName")?;
        let description = asked.needed("GroupDescription")?;
        if let Some(vpc) = asked.parameter("VpcId").filter(|vpc| *vpc != self.vpc()) {
            return Err(Refused::new(
                "InvalidVpcID.NotFound",
                format!("The vpc ID '{vpc}' does not exist"),
            ));
        }
        if name.starts_with("sg-") {
            return Err(Refused::new(
                "InvalidParameterValue",
                format!(
                    "Value ({name}) for parameter GroupName is invalid. Group names may not be in the format sg-*."
                ),
            ));
        }
        if self.groups.values().any(|group| group.name == name) {
            let vpc = self.vpc();
            return Err(Refused::new(
                "InvalidGroup.Duplicate",
                format!("The security group '{name}' already exists for VPC '{vpc}'"),
            ));
        }
        let tags = asked.tags_for("security-group")?;
        let id = self.make_group(name, description);
        self.note_made(&id, tags, moment);
        let mut xml = Xml::default();
        xml.text("return", true).text("groupId", &id);
        tagging::write(&mut xml, self.tags_of(&id));
        Ok(xml)
    }

    pub(super) fn delete_security_group(&mut self, asked: &Asked) -> Outcome {
        let id = asked.needed("GroupId")?.to_owned();
        let group = self.group(&id)?;
        if group.name == "default" {
            return Err(Refused::new(
                "CannotDelete",
                format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
            ));
        }
        let used = self
            .instances
            .values()
            .any(|instance| instance.holds() && instance.groups.contains(&id));
        let named = self.groups.values().filter(|other| other.id != id).any(|other| {
            other
                .rules
                .values()
                .any(|rule| rule.peer == Peer::Group(id.clone()))
        });
        if used || named {
            return Err(Refused::new(
                "DependencyViolation",
                format!("resource {id} has a dependent object"),
            ));
        }
        if let Some(group) = self.groups.remove(&id) {
            for rule in group.rules.keys() {
                self.forget(rule);
            }
        }
        self.forget(&id);
        let mut xml = tagging::done();
        xml.text("groupId", &id);
        Ok(xml)
    }

    pub(super) fn write_group_name(&self, xml: &mut Xml, id: &str) {
        let name = self.groups.get(id).map(|group| group.name.as_str());
        xml.text("groupId", id)
            .text("groupName", name.unwrap_or_default());
    }

    pub(super) fn describe_security_groups(&self, asked: &Asked, moment: &Moment) -> Outcome {
        let named = asked.list("GroupId");
        for id in &named {
            self.group(id)?;
        }
        let seen = self
            .groups
            .values()
            .filter(|group| named.is_empty() || named.contains(&group.id.as_str()))
            .filter(|group| self.shows(&group.id, moment));
        let found = asked.filtered(
            seen,
            |group| self.tags_of(&group.id),
            |group, name| {
                Some(match name {
                    "group-id" => vec![group.id.clone()],
                    "group-name" => vec![group.name.clone()],
                    "vpc-id" => vec![self.vpc()],
                    "description" => vec![group.description.clone()],
                    _ => return None,
                })
            },
        )?;
        let (page, next) = asked.page(found, |group| &group.id)?;
        let mut xml = Xml::default();
        xml.items("securityGroupInfo", page, |item, group| {
            item.text("ownerId", &self.account)
                .text("groupId", &group.id)
                .text("groupName", &group.name)
                .text("groupDescription", &group.description)
                .text("vpcId", self.vpc());
            for (name, is_egress) in [("ipPermissions", false), ("ipPermissionsEgress", true)] {
                let rules: Vec<&Rule> = group
                    .rules
                    .values()
                    .filter(|rule| rule.is_egress == is_egress)
                    .collect();
                self.write_permissions(item, name, &rules);
            }
            tagging::write(item, self.tags_of(&group.id));
        });
        xml.some("nextToken", next);
        Ok(xml)
    }

    /// Writes rules as permissions: those for the same traffic share one.
    fn write_permissions(&self, xml: &mut Xml, name: &str, rules: &[&Rule]) {
        let mut traffic: Vec<(&str, i64, i64)> = rules
            .iter()
            .map(|rule| (rule.protocol.as_str(), rule.from, rule.to))
            .collect();
        traffic.sort_unstable();
        traffic.dedup();
        xml.items(name, traffic, |item, (protocol, from, to)| {
            let of_it = || {
                rules
                    .iter()
                    .filter(move |rule| (rule.protocol.as_str(), rule.from, rule.to) == (protocol, from, to))
            };
            item.text("ipProtocol", protocol);
            if protocol != "-1" {
                item.text("fromPort", from).text("toPort", to);
            }
            let groups = of_it().filter_map(|rule| match &rule.peer {
                Peer::Group(id) => Some((id, rule)),
                _ => None,
            });
            item.items("groups", groups, |item, (id, rule)| {
                item.text("userId", &self.account)
                    .text("groupId", id)
                    .some("description", rule.description.as_ref());
            });
            for (list, named) in [
                ("ipRanges", "cidrIp"),
                ("ipv6Ranges", "cidrIpv6"),
                ("prefixListIds", "prefixListId"),
            ] {
                let peers = of_it().filter_map(|rule| {
                    let text = match (&rule.peer, list) {
                        (Peer::Ipv4(text), "ipRanges")
                        | (Peer::Ipv6(text), "ipv6Ranges")
                        | (Peer::PrefixList(text), "prefixListIds") => text,
                        _ => return None,
                    };
                    Some((text, rule))
                });
                item.items(list, peers, |item, (text, rule)| {
                    item.text(named, text)
                        .some("description", rule.description.as_ref());
                });
            }
        });
    }

    /// Adds rules to a group: all of a call, or none.
    pub(super) fn authorize(&mut self, asked: &Asked, moment: &Moment) -> Outcome {
        let is_egress = asked.operation == "AuthorizeSecurityGroupEgress";
        let id = asked.needed("GroupId")?.to_owned();
        self.group(&id)?;
        let rules = self.rules_of(asked, is_egress)?;
        let tags = asked.tags_for("security-group-rule")?;
        let group = self.group(&id)?;
        for rule in &rules {
            if let Peer::Group(peer) = &rule.peer {
                self.group(peer)?;
            }
            if group.rules.values().any(|there| there.is_like(rule)) {
                return Err(duplicate());
            }
        }
        let there = group
            .rules
            .values()
            .filter(|rule| rule.is_egress == is_egress)
            .count();
        if there + rules.len() > RULES {
            return Err(Refused::new(
                "RulesPerSecurityGroupLimitExceeded",
                "The maximum number of rules per security group has been reached.",
            ));
        }
        let mut made = Vec::new();
        for rule in rules {
            let rule_id = self.next_id("sgr");
            self.note_made(&rule_id, tags.clone(), moment);
            if let Some(group) = self.groups.get_mut(&id) {
                group.rules.insert(rule_id.clone(), rule);
            }
            made.push(rule_id);
        }
        let mut xml = tagging::done();
        let group = self.group(&id)?;
        let made = made.iter().filter_map(|rule| group.rules.get_key_value(rule));
        xml.items("securityGroupRuleSet", made, |item, (rule_id, rule)| {
            self.write_rule(item, &id, rule_id, rule);
        });
        Ok(xml)
    }

    /// Takes rules out of a group: all of a call, or none.
    pub(super) fn revoke(&mut self, asked: &Asked) -> Outcome {
        let is_egress = asked.operation == "RevokeSecurityGroupEgress";
        let id = asked.needed("GroupId")?.to_owned();
        let group = self.group(&id)?;
        let mut gone: Vec<String> = Vec::new();
        for rule in asked.list("SecurityGroupRuleId") {
            let there = group.rules.get(rule);
            if there.is_none_or(|there| there.is_egress != is_egress) {
                return Err(Refused::new(
                    "InvalidSecurityGroupRuleId.NotFound",
                    format!("The security group rule ID '{rule}' does not exist"),
                ));
            }
            gone.push(rule.to_owned());
        }
        for rule in self.rules_of(asked, is_egress)? {
            let there = group.rules.iter().find(|(_, there)| there.is_like(&rule));
            let Some((rule_id, _)) = there else {
                return Err(Refused::new(
                    "InvalidPermission.NotFound",
                    "The specified rule does not exist in this security group.",
                ));
            };
            gone.push(rule_id.clone());
        }
        for rule in gone {
            if let Some(group) = self.groups.get_mut(&id) {
                group.rules.remove(&rule);
            }
            self.forget(&rule);
        }
        Ok(tagging::done())
    }

    fn rules_of(&self, asked: &Asked, is_egress: bool) -> Result<Vec<Rule>, Refused> {
        let mut rules: Vec<Rule> = Vec::new();
        for number in 1..=asked.count("IpPermissions") {
            let prefix = format!("IpPermissions.{number}");
            for (list, named, make) in PEERS {
                for at in 1..=asked.count(&format!("{prefix}.{list}")) {
                    let item = format!("{prefix}.{list}.{at}");
                    let text = asked.needed(&format!("{item}.{named}"))?;
                    check_cidr(list, text)?;
                    let described = format!("{item}.Description");
                    let rule = Rule::of(asked, &prefix, make(text.to_owned()), &described, is_egress)?;
                    if rules.iter().any(|other| other.is_like(&rule)) {
                        return Err(duplicate());
                    }
                    rules.push(rule);
                }
            }
        }
        Ok(rules)
    }

    pub(super) fn modify_security_group_rules(&mut self, asked: &Asked) -> Outcome {
        let id = asked.needed("GroupId")?.to_owned();
        let group = self.group(&id)?;
        let mut changed: Vec<(String, Rule)> = Vec::new();
        for number in 1..=asked.count("SecurityGroupRule") {
            let item = format!("SecurityGroupRule.{number}");
            let rule_id = asked.needed(&format!("{item}.SecurityGroupRuleId"))?;
            let Some(is) = group.rules.get(rule_id) else {
                return Err(Refused::new(
                    "InvalidSecurityGroupRuleId.NotFound",
                    format!("The security group rule ID '{rule_id}' does not exist"),
                ));
            };
            let wanted = format!("{item}.SecurityGroupRule");
            let said = |name: &str| asked.parameter(&format!("{wanted}.{name}")).map(str::to_owned);
            let peer = said("CidrIpv4")
                .map(Peer::Ipv4)
                .or(said("CidrIpv6").map(Peer::Ipv6))
                .or(said("PrefixListId").map(Peer::PrefixList))
                .or(said("ReferencedGroupId").map(Peer::Group))
                .unwrap_or_else(|| is.peer.clone());
            if let Peer::Group(peer) = &peer {
                self.group(peer)?;
            }
            let described = format!("{wanted}.Description");
            let rule = Rule::of(asked, &wanted, peer, &described, is.is_egress)?;
            let others = group.rules.iter().filter(|(other, _)| *other != rule_id);
            if others.map(|(_, other)| other).any(|other| other.is_like(&rule)) {
                return Err(duplicate());
            }
            changed.push((rule_id.to_owned(), rule));
        }
        if let Some(group) = self.groups.get_mut(&id) {
            group.rules.extend(changed);
        }
        Ok(tagging::done())
    }

    pub(super) fn describe_security_group_rules(&self, asked: &Asked, moment: &Moment) -> Outcome {
        let all: Vec<(&Group, &String, &Rule)> = self
            .groups
            .values()
            .flat_map(|group| group.rules.iter().map(move |(id, rule)| (group, id, rule)))
            .filter(|(_, id, _)| self.shows(id, moment))
            .collect();
        let tags = |rule: &(&Group, &String, &Rule)| -> Option<&Tags> { self.tags_of(rule.1) };
        let found = asked.filtered(&all, tags, |(group, id, _), name| {
            Some(match name {
                "security-group-rule-id" => vec![(*id).clone()],
                "group-id" => vec![group.id.clone()],
                _ => return None,
            })
        })?;
        let mut sorted = found;
        sorted.sort_by_key(|(_, id, _)| (*id).clone());
        let (page, next) = asked.page(sorted, |(_, id, _)| id)?;
        let mut xml = Xml::default();
        xml.items("securityGroupRuleSet", page, |item, (group, id, rule)| {
            self.write_rule(item, &group.id, id, rule);
        });
        xml.some("nextToken", next);
        Ok(xml)
    }

    fn write_rule(&self, xml: &mut Xml, group: &str, id: &str, rule: &Rule) {
        xml.text("securityGroupRuleId", id)
            .text("groupId", group)
            .text("groupOwnerId", &self.account)
            .text("isEgress", rule.is_egress)
            .text("ipProtocol", &rule.protocol)
            .text("fromPort", rule.from)
            .text("toPort", rule.to)
            .some("description", rule.description.as_ref());
        match &rule.peer {
            Peer::Ipv4(cidr) => xml.text("cidrIpv4", cidr),
            Peer::Ipv6(cidr) => xml.text("cidrIpv6", cidr),
            Peer::PrefixList(list) => xml.text("prefixListId", list),
            Peer::Group(peer) => xml.within("referencedGroupInfo", |xml| {
                xml.text("groupId", peer).text("userId", &self.account);
            }),
        };
        tagging::write(xml, self.tags_of(id));
    }
}

type MakePeer = fn(String) -> Peer;

/// How each kind of peer is written in a permission.
const PEERS: [(&str, &str, MakePeer); 4] = [
    ("IpRanges", "CidrIp", Peer::Ipv4),
    ("Ipv6Ranges", "CidrIpv6", Peer::Ipv6),
    ("PrefixListIds", "PrefixListId", Peer::PrefixList),
    ("Groups", "GroupId", Peer::Group),
];

fn check_cidr(list: &str, text: &str) -> Result<(), Refused> {
    let (address, bits) = text.split_once('/').unwrap_or((text, ""));
    let good = match list {
        "IpRanges" => {
            address.parse::<std::net::Ipv4Addr>().is_ok() && bits.parse().is_ok_and(|bits: u8| bits <= 32)
        }
        "Ipv6Ranges" => {
            address.parse::<std::net::Ipv6Addr>().is_ok() && bits.parse().is_ok_and(|bits: u8| bits <= 128)
        }
        _ => true,
    };
    if good {
        return Ok(());
    }
    Err(Refused::new(
        "InvalidParameterValue",
        format!("CIDR block {text} is malformed"),
    ))
}

fn duplicate() -> Refused {
    Refused::new("InvalidPermission.Duplicate", "the specified rule already exists")
}
