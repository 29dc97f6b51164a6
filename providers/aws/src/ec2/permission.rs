//! Rules of security groups as EC2's `IpPermission`s, and their meaning: which traffic they allow, however they are
//! grouped.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{IpPermission, IpRange, Ipv6Range, PrefixListId, UserIdGroupPair};
use gabion_engine::schema::AttributeKind;
use gabion_engine::value::{Attributes, Value};

use crate::attributes::{opened, text, texts, truth};
use crate::kind::block_kind;

/// One kind of traffic from or to one peer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule {
    pub(crate) protocol: String,
    pub(crate) from: i32,
    pub(crate) to: i32,
    pub(crate) peer: Peer,
    pub(crate) description: String,
}

/// Who a rule lets in, or lets be reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Ipv4(String),
    Ipv6(String),
    PrefixList(String),
    Group(String),
    /// The group of the rule itself.
    Own,
}

/// Every protocol.
pub(crate) const ALL: &str = "-1";

/// Returns the type of the attributes `ingress` and `egress`.
pub(crate) fn rules_kind() -> AttributeKind {
    let texts = || AttributeKind::List(Box::new(AttributeKind::String));
    block_kind(&[
        ("from_port", AttributeKind::Int),
        ("to_port", AttributeKind::Int),
        ("protocol", AttributeKind::String),
        ("cidr_blocks", texts()),
        ("ipv6_cidr_blocks", texts()),
        ("prefix_list_ids", texts()),
        ("security_groups", texts()),
        ("self", AttributeKind::Bool),
        ("description", AttributeKind::String),
    ])
}

/// Returns a protocol in the form that EC2 answers with.
pub(crate) fn protocol(written: &str) -> String {
    match written.to_ascii_lowercase().as_str() {
        "all" | "-1" => ALL.to_owned(),
        "6" => "tcp".to_owned(),
        "17" => "udp".to_owned(),
        "1" => "icmp".to_owned(),
        "58" => "icmpv6".to_owned(),
        other => other.to_owned(),
    }
}

/// Returns the ports that a rule means: those of every protocol are none.
fn ports(protocol: &str, from: Option<i64>, to: Option<i64>) -> (i32, i32) {
    if protocol == ALL {
        return (-1, -1);
    }
    let port = |port: Option<i64>| port.and_then(|port| i32::try_from(port).ok());
    let from = port(from).unwrap_or(-1);
    (from, port(to).unwrap_or(from))
}

/// Returns the rules that an attribute means; `own` is the group that they are of, if it has an id yet.
pub(crate) fn rules_of(value: &Value, own: Option<&str>) -> BTreeSet<Rule> {
    let maps = opened(value).as_list().unwrap_or_default();
    maps.iter()
        .filter_map(|item| opened(item).as_map())
        .flat_map(|map| rules_of_block(map, own))
        .collect()
}

fn rules_of_block(map: &Attributes, own: Option<&str>) -> Vec<Rule> {
    let number = |name: &str| map.get(name).map(opened).and_then(Value::as_int);
    let protocol = protocol(text(map, "protocol").unwrap_or(ALL));
    let (from, to) = ports(&protocol, number("from_port"), number("to_port"));
    let mut peers: Vec<Peer> = Vec::new();
    peers.extend(texts(map, "cidr_blocks").into_iter().map(Peer::Ipv4));
    peers.extend(texts(map, "ipv6_cidr_blocks").into_iter().map(Peer::Ipv6));
    peers.extend(texts(map, "prefix_list_ids").into_iter().map(Peer::PrefixList));
    peers.extend(texts(map, "security_groups").into_iter().map(|id| group(id, own)));
    if truth(map, "self").unwrap_or_default() {
        peers.push(Peer::Own);
    }
    peers
        .into_iter()
        .map(|peer| Rule {
            protocol: protocol.clone(),
            from,
            to,
            peer,
            description: text(map, "description").unwrap_or_default().to_owned(),
        })
        .collect()
}

fn group(id: String, own: Option<&str>) -> Peer {
    if Some(id.as_str()) == own {
        Peer::Own
    } else {
        Peer::Group(id)
    }
}

/// Returns the rules that EC2 describes.
pub(crate) fn rules_there(permissions: &[IpPermission], own: &str) -> BTreeSet<Rule> {
    let mut rules = BTreeSet::new();
    for permission in permissions {
        let protocol = protocol(permission.ip_protocol().unwrap_or(ALL));
        let (from, to) = ports(
            &protocol,
            permission.from_port().map(Into::into),
            permission.to_port().map(Into::into),
        );
        let mut add = |peer: Option<Peer>, description: Option<&str>| {
            rules.extend(peer.map(|peer| Rule {
                protocol: protocol.clone(),
                from,
                to,
                peer,
                description: description.unwrap_or_default().to_owned(),
            }));
        };
        for range in permission.ip_ranges() {
            add(
                range.cidr_ip().map(|cidr| Peer::Ipv4(cidr.into())),
                range.description(),
            );
        }
        for range in permission.ipv6_ranges() {
            add(
                range.cidr_ipv6().map(|cidr| Peer::Ipv6(cidr.into())),
                range.description(),
            );
        }
        for list in permission.prefix_list_ids() {
            add(
                list.prefix_list_id().map(|id| Peer::PrefixList(id.into())),
                list.description(),
            );
        }
        for pair in permission.user_id_group_pairs() {
            add(
                pair.group_id().map(|id| group(id.into(), Some(own))),
                pair.description(),
            );
        }
    }
    rules
}

/// Returns rules as the attribute writes them, one block a rule.
pub(crate) fn written(rules: &BTreeSet<Rule>) -> Value {
    let blocks = rules.iter().map(|rule| {
        let mut map = Attributes::from([
            ("protocol".into(), Value::string(&rule.protocol)),
            ("from_port".into(), Value::Int(rule.from.max(0).into())),
            ("to_port".into(), Value::Int(rule.to.max(0).into())),
        ]);
        let one = |id: &str| Value::List(vec![Value::string(id)]);
        let (name, value) = match &rule.peer {
            Peer::Ipv4(cidr) => ("cidr_blocks", one(cidr)),
            Peer::Ipv6(cidr) => ("ipv6_cidr_blocks", one(cidr)),
            Peer::PrefixList(id) => ("prefix_list_ids", one(id)),
            Peer::Group(id) => ("security_groups", one(id)),
            Peer::Own => ("self", Value::Bool(true)),
        };
        map.insert(name.into(), value);
        if !rule.description.is_empty() {
            map.insert("description".into(), Value::string(&rule.description));
        }
        Value::Map(map)
    });
    Value::List(blocks.collect())
}

impl Rule {
    /// Returns the rule as a call takes it; `own` is its group.
    pub(crate) fn permission(&self, own: &str) -> IpPermission {
        let mut permission = IpPermission::builder().ip_protocol(&self.protocol);
        if self.protocol != ALL {
            permission = permission.from_port(self.from).to_port(self.to);
        }
        let description = (!self.description.is_empty()).then(|| self.description.clone());
        let pair = |id: &str| {
            UserIdGroupPair::builder()
                .group_id(id)
                .set_description(description.clone())
                .build()
        };
        match &self.peer {
            Peer::Ipv4(cidr) => permission.ip_ranges(
                IpRange::builder()
                    .cidr_ip(cidr)
                    .set_description(description.clone())
                    .build(),
            ),
            Peer::Ipv6(cidr) => permission.ipv6_ranges(
                Ipv6Range::builder()
                    .cidr_ipv6(cidr)
                    .set_description(description.clone())
                    .build(),
            ),
            Peer::PrefixList(id) => permission.prefix_list_ids(
                PrefixListId::builder()
                    .prefix_list_id(id)
                    .set_description(description.clone())
                    .build(),
            ),
            Peer::Group(id) => permission.user_id_group_pairs(pair(id)),
            Peer::Own => permission.user_id_group_pairs(pair(own)),
        }
        .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(entries: &[(&str, Value)]) -> Value {
        Value::List(vec![Value::map(entries.iter().cloned())])
    }

    #[test]
    fn a_block_means_one_rule_a_peer_however_it_is_written() {
        let list = |items: &[&str]| Value::List(items.iter().map(Value::string).collect());
        let web = block(&[
            ("protocol", "6".into()),
            ("from_port", Value::Int(443)),
            ("to_port", Value::Int(443)),
            ("cidr_blocks", list(&["10.0.0.0/8", "0.0.0.0/0"])),
            ("ipv6_cidr_blocks", list(&[])),
            ("self", Value::Bool(true)),
        ]);
        let rules = rules_of(&web, Some("sg-1"));
        assert_eq!(rules.len(), 3);
        assert_eq!(rules_of(&written(&rules), Some("sg-1")), rules);
        let permissions: Vec<_> = rules.iter().map(|rule| rule.permission("sg-1")).collect();
        assert_eq!(rules_there(&permissions, "sg-1"), rules);
    }

    #[test]
    fn every_protocol_has_no_ports() {
        let list = Value::List(vec!["0.0.0.0/0".into()]);
        let zero = block(&[
            ("protocol", "-1".into()),
            ("from_port", Value::Int(0)),
            ("to_port", Value::Int(0)),
            ("cidr_blocks", list.clone()),
        ]);
        let none = block(&[("protocol", "all".into()), ("cidr_blocks", list)]);
        assert_eq!(rules_of(&zero, None), rules_of(&none, None));
    }
}
