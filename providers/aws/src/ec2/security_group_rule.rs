//! `aws_vpc_security_group_ingress_rule` and `aws_vpc_security_group_egress_rule`: one rule of a group, as a resource of
//! its own.

use async_trait::async_trait;
use aws_sdk_ec2::types::{
    ResourceType as Tagged, SecurityGroupRule, SecurityGroupRuleRequest, SecurityGroupRuleUpdate,
};
use gabion_engine::address::{Lineage, ObjectId};
use gabion_engine::provider::{
    AttributeProblem, Call, CreateRequest, ListedObject, ObjectState, ObserveRequest, ProviderError,
    RecordedObject, UpdateRequest,
};
use gabion_engine::schema::{AttributeKind, AttributeSchema, Idempotency, ReplaceOrder, ResourceSchema};
use gabion_engine::value::Attributes;

use super::CONSISTENCY;
use super::permission::{ALL, Peer, Rule, protocol};
use super::security_group::recorded_id;
use crate::attributes::{Written, int, is_set, problem, required, text};
use crate::clients::Clients;
use crate::error::Api;
use crate::kind::{self, FILTER_VALUES, Found, Kind, Sought};
use crate::tags;

/// Which way a rule's traffic goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecurityGroupRules {
    Ingress,
    Egress,
}

/// The attributes of which exactly one says who the peer is.
const PEERS: [&str; 4] = [
    "cidr_ipv4",
    "cidr_ipv6",
    "prefix_list_id",
    "referenced_security_group_id",
];

impl SecurityGroupRules {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ingress => "aws_vpc_security_group_ingress_rule",
            Self::Egress => "aws_vpc_security_group_egress_rule",
        }
    }
}

#[async_trait]
impl Kind for SecurityGroupRules {
    fn schema(&self) -> ResourceSchema {
        let text = AttributeKind::String;
        let (what, peer) = match self {
            Self::Ingress => (
                "A rule of a security group that lets traffic in.",
                "it comes from",
            ),
            Self::Egress => ("A rule of a security group that lets traffic out.", "it goes to"),
        };
        let optional = |description: String| AttributeSchema::optional(AttributeKind::String, &description);
        let mut schema = kind::schema(self.name(), what)
            .attribute("region", kind::region())
            .attribute(
                "security_group_id",
                AttributeSchema::required(text.clone(), "The group that it is a rule of.")
                    .forces_replacement(),
            )
            .attribute(
                "ip_protocol",
                AttributeSchema::required(
                    text.clone(),
                    "`tcp`, `udp`, `icmp`, `icmpv6`, a number, or `-1` for all.",
                ),
            )
            .attribute(
                "from_port",
                AttributeSchema::optional(
                    AttributeKind::Int,
                    "The first port, or the ICMP type; not with `-1`.",
                ),
            )
            .attribute(
                "to_port",
                AttributeSchema::optional(
                    AttributeKind::Int,
                    "The last port, or the ICMP code; not with `-1`.",
                ),
            )
            .attribute("cidr_ipv4", optional(format!("The IPv4 block that {peer}.")))
            .attribute("cidr_ipv6", optional(format!("The IPv6 block that {peer}.")))
            .attribute(
                "prefix_list_id",
                optional(format!("The prefix list that {peer}.")),
            )
            .attribute(
                "referenced_security_group_id",
                optional(format!("The security group whose members {peer}.")),
            )
            .attribute(
                "description",
                AttributeSchema::optional(text.clone(), "What it is for."),
            )
            .attribute("tags", kind::tags())
            .attribute(
                "arn",
                AttributeSchema::computed(text.clone(), "Its Amazon Resource Name."),
            )
            .attribute(
                "security_group_rule_id",
                AttributeSchema::computed(text, "Its id at EC2."),
            );
        schema.idempotency = Idempotency::TagInCreate;
        schema.consistency_window = CONSISTENCY;
        // Two equal rules cannot be in one group.
        schema.replace_order = ReplaceOrder::DeleteThenCreate;
        schema.deleted_with = Some("security_group_id".into());
        schema
    }

    fn validate(&self, inputs: &Attributes) -> Vec<AttributeProblem> {
        let mut problems = Vec::new();
        let peers = PEERS.iter().filter(|name| is_set(inputs, name)).count();
        if peers != 1 {
            problems.push(problem(
                "cidr_ipv4",
                format!(
                    "A rule is about exactly one of {}; here are {peers}.",
                    PEERS.join(", ")
                ),
                "set one of them; make a rule for each peer",
            ));
        }
        let all = text(inputs, "ip_protocol").is_some_and(|written| protocol(written) == ALL);
        for name in ["from_port", "to_port"] {
            if all && is_set(inputs, name) {
                problems.push(problem(
                    name,
                    "A rule for every protocol has no ports.",
                    "remove it, or name a protocol",
                ));
            }
        }
        let named = text(inputs, "ip_protocol").map(protocol);
        if matches!(named.as_deref(), Some("tcp" | "udp")) && !is_set(inputs, "from_port") {
            problems.push(problem(
                "ip_protocol",
                "A rule for tcp or udp names its ports.",
                "set `from_port` and `to_port`",
            ));
        }
        problems
    }

    async fn read(&self, clients: &Clients, sought: &[Sought]) -> Result<Found, ProviderError> {
        let mut found = Found::new();
        for chunk in sought.chunks(FILTER_VALUES) {
            let ids = chunk.iter().map(|sought| sought.id.as_str());
            for rule in describe(clients, vec![tags::filter("security-group-rule-id", ids)]).await? {
                let id = ObjectId::new(rule.security_group_rule_id().unwrap_or_default());
                for sought in chunk.iter().filter(|sought| sought.id == id) {
                    if self.is_of(&rule) {
                        found.insert(id.clone(), self.state(clients, &rule, &sought.inputs));
                    }
                }
            }
        }
        Ok(found)
    }

    async fn create(
        &self,
        clients: &Clients,
        request: &CreateRequest,
        call: &Call,
    ) -> Result<ObjectState, ProviderError> {
        let inputs = &request.inputs;
        let group = required(inputs, "security_group_id");
        let permission = rule(inputs, group).permission(group);
        let specification = tags::specification(Tagged::SecurityGroupRule, inputs, call);
        let made = match self {
            Self::Ingress => {
                let request = clients
                    .ec2
                    .authorize_security_group_ingress()
                    .group_id(group)
                    .ip_permissions(permission)
                    .tag_specifications(specification)
                    .send();
                let api = Api::ec2("AuthorizeSecurityGroupIngress").changing();
                clients.call(api, request).await?.security_group_rules
            }
            Self::Egress => {
                let request = clients
                    .ec2
                    .authorize_security_group_egress()
                    .group_id(group)
                    .ip_permissions(permission)
                    .tag_specifications(specification)
                    .send();
                let api = Api::ec2("AuthorizeSecurityGroupEgress").changing();
                clients.call(api, request).await?.security_group_rules
            }
        };
        let id = made
            .iter()
            .flatten()
            .find_map(|rule| rule.security_group_rule_id());
        let id = kind::made_id("AuthorizeSecurityGroup…", id)?;
        call.checkpoint(&id, &serde_json::Value::Null).await?;
        kind::read_made(self, clients, &id, inputs, call).await
    }

    async fn update(
        &self,
        clients: &Clients,
        request: &UpdateRequest,
        call: &Call,
    ) -> Result<ObjectState, ProviderError> {
        let id = recorded_id(&request.object)?;
        let inputs = &request.inputs;
        let group = required(inputs, "security_group_id");
        let there = describe(
            clients,
            vec![tags::filter("security-group-rule-id", [id.as_str()])],
        )
        .await?;
        let there = there.first();
        if there.is_none_or(|there| {
            self.state(clients, there, inputs)
                .attributes
                .iter()
                .any(|(name, value)| {
                    name.as_ref() != "tags" && inputs.get(name).is_some_and(|wanted| wanted != value)
                })
                || !peer_is(there, inputs)
        }) {
            let update = SecurityGroupRuleUpdate::builder()
                .security_group_rule_id(id.as_str())
                .security_group_rule(requested(inputs))
                .build();
            let modify = clients
                .ec2
                .modify_security_group_rules()
                .group_id(group)
                .security_group_rules(update)
                .send();
            clients
                .call(Api::ec2("ModifySecurityGroupRules").changing(), modify)
                .await?;
        }
        if let Some(there) = there {
            tags::converge(clients, id.as_str(), &tags::by_name(there.tags()), inputs).await?;
        }
        kind::read_made(self, clients, &id, inputs, call).await
    }

    async fn delete(
        &self,
        clients: &Clients,
        object: &RecordedObject,
        _: &Call,
    ) -> Result<(), ProviderError> {
        let id = recorded_id(object)?;
        let group = text(&object.attributes, "security_group_id")
            .or(text(&object.inputs, "security_group_id"))
            .unwrap_or_default();
        let result = match self {
            Self::Ingress => {
                let revoke = clients.ec2.revoke_security_group_ingress().group_id(group);
                let request = revoke.security_group_rule_ids(id.as_str()).send();
                let api = Api::ec2("RevokeSecurityGroupIngress").changing();
                clients.call(api, request).await.map(drop)
            }
            Self::Egress => {
                let revoke = clients.ec2.revoke_security_group_egress().group_id(group);
                let request = revoke.security_group_rule_ids(id.as_str()).send();
                let api = Api::ec2("RevokeSecurityGroupEgress").changing();
                clients.call(api, request).await.map(drop)
            }
        };
        match result {
            Err(failed)
                if failed.is("InvalidSecurityGroupRuleId.NotFound")
                    || failed.is("InvalidPermission.NotFound")
                    || failed.is("InvalidGroup.NotFound") =>
            {
                Ok(())
            }
            other => Ok(other?),
        }
    }

    async fn find(
        &self,
        clients: &Clients,
        request: &ObserveRequest,
    ) -> Result<Option<ObjectState>, ProviderError> {
        let rules = describe(clients, vec![tags::made_by(request.operation)]).await?;
        let own = rules.iter().find(|rule| self.is_of(rule));
        Ok(own.map(|rule| self.state(clients, rule, &request.inputs)))
    }

    async fn list(&self, clients: &Clients, lineage: Lineage) -> Result<Vec<ListedObject>, ProviderError> {
        let rules = describe(clients, vec![tags::owned_by(lineage)]).await?;
        let own = rules.iter().filter(|rule| self.is_of(rule));
        let listed = own.filter_map(|rule| {
            kind::listed(
                self.name(),
                rule.security_group_rule_id()?,
                &tags::by_name(rule.tags()),
            )
        });
        Ok(listed.collect())
    }
}

impl SecurityGroupRules {
    fn is_of(self, rule: &SecurityGroupRule) -> bool {
        rule.is_egress().unwrap_or_default() == (self == Self::Egress)
    }

    fn state(self, clients: &Clients, rule: &SecurityGroupRule, inputs: &Attributes) -> ObjectState {
        let id = rule.security_group_rule_id().unwrap_or_default();
        let there = protocol(rule.ip_protocol().unwrap_or(ALL));
        let written = text(inputs, "ip_protocol").filter(|written| protocol(written) == there);
        // EC2 tells -1 where there is no port; of ICMP that means every type, and may be written too.
        let port = |name: &str, port: Option<i32>| {
            port.filter(|port| there != ALL && (*port != -1 || int(inputs, name) == Some(-1)))
        };
        let mut attributes = Written::default();
        attributes
            .place(&clients.region, inputs)
            .text("id", Some(id))
            .text("security_group_rule_id", Some(id))
            .text("security_group_id", rule.group_id())
            .text("ip_protocol", Some(written.unwrap_or(&there)))
            .int("from_port", port("from_port", rule.from_port()))
            .int("to_port", port("to_port", rule.to_port()))
            .text("cidr_ipv4", rule.cidr_ipv4())
            .text("cidr_ipv6", rule.cidr_ipv6())
            .text("prefix_list_id", rule.prefix_list_id())
            .text(
                "referenced_security_group_id",
                rule.referenced_group_info().and_then(|group| group.group_id()),
            )
            .text("description", rule.description().filter(|text| !text.is_empty()))
            .text(
                "arn",
                Some(rule.security_group_rule_arn().map_or_else(
                    || {
                        format!(
                            "arn:aws:ec2:{}:{}:security-group-rule/{id}",
                            clients.region,
                            rule.group_owner_id().unwrap_or_default()
                        )
                    },
                    str::to_owned,
                )),
            )
            .value("tags", tags::attribute(&tags::by_name(rule.tags()), inputs));
        ObjectState {
            id: ObjectId::new(id),
            attributes: attributes.done(),
            private: serde_json::Value::Null,
            unreadable: Vec::new(),
        }
    }
}

/// Returns whether a rule has the peer of the inputs, and no description or port that they lack.
fn peer_is(there: &SecurityGroupRule, inputs: &Attributes) -> bool {
    let same = |name: &str, there: Option<&str>| text(inputs, name) == there.filter(|text| !text.is_empty());
    same("cidr_ipv4", there.cidr_ipv4())
        && same("cidr_ipv6", there.cidr_ipv6())
        && same("prefix_list_id", there.prefix_list_id())
        && same(
            "referenced_security_group_id",
            there.referenced_group_info().and_then(|group| group.group_id()),
        )
        && same("description", there.description())
}

fn rule(inputs: &Attributes, group: &str) -> Rule {
    let peer = match PEERS.map(|name| text(inputs, name)) {
        [Some(cidr), ..] => Peer::Ipv4(cidr.to_owned()),
        [_, Some(cidr), ..] => Peer::Ipv6(cidr.to_owned()),
        [_, _, Some(list), _] => Peer::PrefixList(list.to_owned()),
        [.., Some(id)] if id != group => Peer::Group(id.to_owned()),
        _ => Peer::Own,
    };
    let from = int(inputs, "from_port").unwrap_or(-1);
    Rule {
        protocol: protocol(required(inputs, "ip_protocol")),
        from,
        to: int(inputs, "to_port").unwrap_or(from),
        peer,
        description: text(inputs, "description").unwrap_or_default().to_owned(),
    }
}

fn requested(inputs: &Attributes) -> SecurityGroupRuleRequest {
    let owned = |name: &str| text(inputs, name).map(str::to_owned);
    let from = int(inputs, "from_port").unwrap_or(-1);
    SecurityGroupRuleRequest::builder()
        .ip_protocol(protocol(required(inputs, "ip_protocol")))
        .from_port(from)
        .to_port(int(inputs, "to_port").unwrap_or(from))
        .set_cidr_ipv4(owned("cidr_ipv4"))
        .set_cidr_ipv6(owned("cidr_ipv6"))
        .set_prefix_list_id(owned("prefix_list_id"))
        .set_referenced_group_id(owned("referenced_security_group_id"))
        .set_description(owned("description"))
        .build()
}

async fn describe(
    clients: &Clients,
    filters: Vec<aws_sdk_ec2::types::Filter>,
) -> Result<Vec<SecurityGroupRule>, ProviderError> {
    let mut rules = Vec::new();
    let mut next = None;
    loop {
        let request = clients
            .ec2
            .describe_security_group_rules()
            .set_filters(Some(filters.clone()))
            .max_results(1000)
            .set_next_token(next)
            .send();
        let answer = clients
            .call(Api::ec2("DescribeSecurityGroupRules"), request)
            .await?;
        next = answer.next_token().map(str::to_owned);
        rules.extend(answer.security_group_rules.unwrap_or_default());
        if next.is_none() {
            return Ok(rules);
        }
    }
}

#[cfg(test)]
mod tests {
    use gabion_engine::value::Value;

    use super::*;

    fn inputs(entries: &[(&str, Value)]) -> Attributes {
        entries
            .iter()
            .map(|(name, value)| ((*name).into(), value.clone()))
            .collect()
    }

    #[test]
    fn a_rule_has_one_peer_and_ports_where_its_protocol_has_them() {
        let check = |entries: &[(&str, Value)]| SecurityGroupRules::Ingress.validate(&inputs(entries)).len();
        let any = || ("cidr_ipv4", Value::from("0.0.0.0/0"));
        assert_eq!(check(&[any(), ("ip_protocol", "-1".into())]), 0);
        assert_eq!(check(&[("ip_protocol", "-1".into())]), 1);
        assert_eq!(check(&[any(), ("ip_protocol", "tcp".into())]), 1);
        assert_eq!(
            check(&[any(), ("ip_protocol", "all".into()), ("from_port", Value::Int(1))]),
            1
        );
        assert_eq!(
            check(&[any(), ("cidr_ipv6", "::/0".into()), ("ip_protocol", "-1".into())]),
            1
        );
    }
}
