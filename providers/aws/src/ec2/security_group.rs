//! `aws_security_group`: a group of rules that instances are put in.

use std::collections::BTreeSet;

use async_trait::async_trait;
use aws_sdk_ec2::types::{ResourceType as Tagged, SecurityGroup};
use gabion_engine::address::{Lineage, ObjectId};
use gabion_engine::provider::{
    AttributeProblem, Call, CreateRequest, ErrorClass, ListedObject, ObjectState, ObserveRequest,
    ProviderError, RecordedObject, UpdateRequest,
};
use gabion_engine::schema::{
    AttributeKind, AttributeSchema, Equality, Idempotency, ReplaceOrder, ResourceSchema,
};
use gabion_engine::value::{AttributePath, Attributes};
use serde_json::json;

use super::CONSISTENCY;
use super::permission::{Rule, rules_kind, rules_of, rules_there, written};
use crate::attributes::{Written, as_written, is_set, problem, text};
use crate::clients::Clients;
use crate::error::{Api, Failed};
use crate::kind::{self, FILTER_VALUES, Found, Kind, Sought};
use crate::tags;

/// The resource type.
pub(crate) const TYPE: &str = "aws_security_group";

pub(crate) struct SecurityGroups;

/// Private data of a group whose first set-up is not known to be done.
fn unfinished() -> serde_json::Value {
    json!({"setup": "default egress"})
}

#[async_trait]
impl Kind for SecurityGroups {
    fn schema(&self) -> ResourceSchema {
        let text = AttributeKind::String;
        let mut schema = kind::schema(
            TYPE,
            "A security group. As in Terraform, the rule that lets everything out, which AWS puts in a new group, is taken \
             away: what may go out is said by `egress`, or by an `aws_vpc_security_group_egress_rule`.",
        )
        .attribute("region", kind::region())
        .attribute(
            "name",
            AttributeSchema::optional_computed(
                text.clone(),
                "Its name, unique in its VPC; null is a name made of the resource's own and its uid.",
            )
            .forces_replacement(),
        )
        .attribute(
            "description",
            AttributeSchema::optional_computed(
                text.clone(),
                "What it is for; null is `Managed by gabion`. AWS lets nobody change it.",
            )
            .forces_replacement(),
        )
        .attribute(
            "vpc_id",
            AttributeSchema::optional_computed(text.clone(), "The VPC that it is in; null is the default one.")
                .forces_replacement(),
        )
        .attribute(
            "ingress",
            AttributeSchema::optional(
                rules_kind(),
                "What may come in: all rules of the group, so that any other is drift. Null leaves them to \
                 `aws_vpc_security_group_ingress_rule` resources; do not use both for one group.",
            )
            .equality(Equality::Set),
        )
        .attribute(
            "egress",
            AttributeSchema::optional(
                rules_kind(),
                "What may go out, as `ingress`. Null leaves it to `aws_vpc_security_group_egress_rule` resources.",
            )
            .equality(Equality::Set),
        )
        .attribute("tags", kind::tags())
        .attribute("arn", AttributeSchema::computed(text.clone(), "Its Amazon Resource Name."))
        .attribute("owner_id", AttributeSchema::computed(text, "The account that it is in."));
        schema.idempotency = Idempotency::TagInCreate;
        schema.consistency_window = CONSISTENCY;
        schema.replace_order = ReplaceOrder::CreateThenDelete;
        schema
    }

    fn validate(&self, inputs: &Attributes) -> Vec<AttributeProblem> {
        let mut problems = Vec::new();
        if let Some(name) = text(inputs, "name") {
            if name.starts_with("sg-") {
                problems.push(problem(
                    "name",
                    "AWS allows no name of a security group that begins with `sg-`.",
                    "choose another name",
                ));
            }
            if name.chars().count() > 255 {
                problems.push(problem(
                    "name",
                    "A name has at most 255 characters.",
                    "shorten it",
                ));
            }
        }
        problems
    }

    async fn read(&self, clients: &Clients, sought: &[Sought]) -> Result<Found, ProviderError> {
        let mut found = Found::new();
        for chunk in sought.chunks(FILTER_VALUES) {
            let ids = chunk.iter().map(|sought| sought.id.as_str());
            let groups = describe(clients, vec![tags::filter("group-id", ids)]).await?;
            for group in groups {
                let id = ObjectId::new(group.group_id().unwrap_or_default());
                for sought in chunk.iter().filter(|sought| sought.id == id) {
                    let state = ObjectState {
                        private: sought.private.clone(),
                        ..state(clients, &group, &sought.inputs)
                    };
                    found.insert(id.clone(), state);
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
        let name = match text(inputs, "name") {
            Some(name) => name.to_owned(),
            None => made_name(call),
        };
        let create = clients
            .ec2
            .create_security_group()
            .group_name(name)
            .description(text(inputs, "description").unwrap_or("Managed by gabion"))
            .set_vpc_id(text(inputs, "vpc_id").map(str::to_owned))
            .tag_specifications(tags::specification(Tagged::SecurityGroup, inputs, call))
            .send();
        let answer = clients
            .call(Api::ec2("CreateSecurityGroup").changing(), create)
            .await?;
        let id = kind::made_id("CreateSecurityGroup", answer.group_id())?;
        call.checkpoint(&id, &unfinished()).await?;
        call.phase("rules");
        converge(self, clients, &id, inputs, true, call).await?;
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
        let first = request.object.private == unfinished();
        let there = converge(self, clients, &id, inputs, first, call).await?;
        tags::converge(clients, id.as_str(), &tags::by_name(there.tags()), inputs).await?;
        kind::read_made(self, clients, &id, inputs, call).await
    }

    async fn delete(
        &self,
        clients: &Clients,
        object: &RecordedObject,
        _: &Call,
    ) -> Result<(), ProviderError> {
        let id = recorded_id(object)?;
        let delete = clients.ec2.delete_security_group().group_id(id.as_str()).send();
        match clients
            .call(Api::ec2("DeleteSecurityGroup").changing(), delete)
            .await
        {
            Ok(_) => Ok(()),
            Err(failed) if failed.is("InvalidGroup.NotFound") => Ok(()),
            Err(failed) if failed.is("DependencyViolation") => Err(in_use(clients, &id, failed).await),
            Err(failed) => Err(failed.into()),
        }
    }

    async fn find(
        &self,
        clients: &Clients,
        request: &ObserveRequest,
    ) -> Result<Option<ObjectState>, ProviderError> {
        let groups = describe(clients, vec![tags::made_by(request.operation)]).await?;
        let found = groups.first().map(|group| ObjectState {
            // Whether its set-up was done nobody knows.
            private: unfinished(),
            ..state(clients, group, &request.inputs)
        });
        Ok(found)
    }

    async fn list(&self, clients: &Clients, lineage: Lineage) -> Result<Vec<ListedObject>, ProviderError> {
        let groups = describe(clients, vec![tags::owned_by(lineage)]).await?;
        let listed = groups
            .iter()
            .filter_map(|group| kind::listed(TYPE, group.group_id()?, &tags::by_name(group.tags())));
        Ok(listed.collect())
    }
}

/// Returns the id of a recorded object.
pub(crate) fn recorded_id(object: &RecordedObject) -> Result<ObjectId, ProviderError> {
    object.id.clone().ok_or_else(|| {
        ProviderError::new(
            ErrorClass::NotFound,
            format!("`{}` is recorded without an id.", object.address),
        )
    })
}

/// Returns a name that is unique without anybody choosing it.
pub(crate) fn made_name(call: &Call) -> String {
    let name: String = call
        .address
        .name
        .as_str()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(80)
        .collect();
    let uid = call.uid.to_string();
    let short = &uid[uid.len().saturating_sub(12)..];
    format!("{name}-{short}")
}

async fn describe(
    clients: &Clients,
    filters: Vec<aws_sdk_ec2::types::Filter>,
) -> Result<Vec<SecurityGroup>, ProviderError> {
    let mut groups = Vec::new();
    let mut next = None;
    loop {
        let request = clients
            .ec2
            .describe_security_groups()
            .set_filters(Some(filters.clone()))
            .max_results(1000)
            .set_next_token(next)
            .send();
        let answer = clients.call(Api::ec2("DescribeSecurityGroups"), request).await?;
        next = answer.next_token().map(str::to_owned);
        groups.extend(answer.security_groups.unwrap_or_default());
        if next.is_none() {
            return Ok(groups);
        }
    }
}

fn state(clients: &Clients, group: &SecurityGroup, inputs: &Attributes) -> ObjectState {
    let id = group.group_id().unwrap_or_default();
    let arn = format!(
        "arn:aws:ec2:{}:{}:security-group/{id}",
        clients.region,
        group.owner_id().unwrap_or_default()
    );
    let mut attributes = Written::default();
    attributes
        .place(&clients.region, inputs)
        .text("id", Some(id))
        .text("name", group.group_name())
        .text("description", group.description())
        .text("vpc_id", group.vpc_id())
        .text("arn", group.security_group_arn().map(str::to_owned).or(Some(arn)))
        .text("owner_id", group.owner_id())
        .value("tags", tags::attribute(&tags::by_name(group.tags()), inputs));
    for (name, permissions) in [
        ("ingress", group.ip_permissions()),
        ("egress", group.ip_permissions_egress()),
    ] {
        // Rules that are resources of their own are not told here too.
        if is_set(inputs, name) {
            let there = written(&rules_there(permissions, id));
            let value = as_written(inputs.get(name), there, |value| rules_of(value, Some(id)));
            attributes.value(name, Some(value));
        }
    }
    ObjectState {
        id: ObjectId::new(id),
        attributes: attributes.done(),
        private: serde_json::Value::Null,
        // Told when the inputs say whose the rules are, which what is imported does not have yet.
        unreadable: match inputs.is_empty() {
            true => ["ingress", "egress"].map(AttributePath::root).into(),
            false => Vec::new(),
        },
    }
}

/// Makes the rules those of the inputs, as far as these say anything; of a new group takes the rule away that AWS put in.
async fn converge(
    kind: &SecurityGroups,
    clients: &Clients,
    id: &ObjectId,
    inputs: &Attributes,
    first: bool,
    call: &Call,
) -> Result<SecurityGroup, ProviderError> {
    kind::read_made(kind, clients, id, &Attributes::new(), call).await?;
    let groups = describe(clients, vec![tags::filter("group-id", [id.as_str()])]).await?;
    let Some(group) = groups.into_iter().next() else {
        return Err(crate::error::not_found(
            "security group",
            id.as_str(),
            &clients.region,
        ));
    };
    let own = id.as_str();
    let out = rules_there(group.ip_permissions_egress(), own);
    let wanted_out = match inputs.get("egress") {
        Some(value) if !value.is_null() => Some(rules_of(value, Some(own))),
        _ if first => Some(out.iter().filter(|rule| !is_default(rule)).cloned().collect()),
        _ => None,
    };
    if let Some(wanted) = wanted_out {
        change(clients, own, Direction::Out, &out, &wanted).await?;
    }
    if let Some(value) = inputs.get("ingress").filter(|value| !value.is_null()) {
        let there = rules_there(group.ip_permissions(), own);
        change(clients, own, Direction::In, &there, &rules_of(value, Some(own))).await?;
    }
    Ok(group)
}

/// Returns whether a rule is one that AWS puts in a new group: everything may go everywhere.
fn is_default(rule: &Rule) -> bool {
    use super::permission::{ALL, Peer};
    rule.protocol == ALL
        && match &rule.peer {
            Peer::Ipv4(cidr) => cidr == "0.0.0.0/0",
            Peer::Ipv6(cidr) => cidr == "::/0",
            _ => false,
        }
}

#[derive(Clone, Copy)]
enum Direction {
    In,
    Out,
}

/// Takes away what is too much, then adds what lacks: a rule whose description changes is a rule that goes and comes.
async fn change(
    clients: &Clients,
    id: &str,
    direction: Direction,
    there: &BTreeSet<Rule>,
    wanted: &BTreeSet<Rule>,
) -> Result<(), ProviderError> {
    let permissions = |rules: Vec<&Rule>| Some(rules.into_iter().map(|rule| rule.permission(id)).collect());
    let gone: Vec<&Rule> = there.difference(wanted).collect();
    let new: Vec<&Rule> = wanted.difference(there).collect();
    if !gone.is_empty() {
        let result = match direction {
            Direction::In => {
                let revoke = clients.ec2.revoke_security_group_ingress().group_id(id);
                let request = revoke.set_ip_permissions(permissions(gone)).send();
                let api = Api::ec2("RevokeSecurityGroupIngress").changing();
                clients.call(api, request).await.map(drop)
            }
            Direction::Out => {
                let revoke = clients.ec2.revoke_security_group_egress().group_id(id);
                let request = revoke.set_ip_permissions(permissions(gone)).send();
                let api = Api::ec2("RevokeSecurityGroupEgress").changing();
                clients.call(api, request).await.map(drop)
            }
        };
        tolerate(result, "InvalidPermission.NotFound")?;
    }
    if !new.is_empty() {
        let result = match direction {
            Direction::In => {
                let authorize = clients.ec2.authorize_security_group_ingress().group_id(id);
                let request = authorize.set_ip_permissions(permissions(new)).send();
                let api = Api::ec2("AuthorizeSecurityGroupIngress").changing();
                clients.call(api, request).await.map(drop)
            }
            Direction::Out => {
                let authorize = clients.ec2.authorize_security_group_egress().group_id(id);
                let request = authorize.set_ip_permissions(permissions(new)).send();
                let api = Api::ec2("AuthorizeSecurityGroupEgress").changing();
                clients.call(api, request).await.map(drop)
            }
        };
        tolerate(result, "InvalidPermission.Duplicate")?;
    }
    Ok(())
}

fn tolerate(result: Result<(), Failed>, code: &str) -> Result<(), ProviderError> {
    match result {
        Err(failed) if failed.is(code) => Ok(()),
        other => Ok(other?),
    }
}

/// What uses a group that cannot be deleted. An instance that was just terminated lets go of it in a while, so the call
/// is made again.
async fn in_use(clients: &Clients, id: &ObjectId, failed: Failed) -> ProviderError {
    let request = clients
        .ec2
        .describe_network_interfaces()
        .filters(tags::filter("group-id", [id.as_str()]))
        .send();
    let users = match clients.call(Api::ec2("DescribeNetworkInterfaces"), request).await {
        Ok(answer) => answer
            .network_interfaces()
            .iter()
            .filter_map(|interface| {
                let instance = interface
                    .attachment()
                    .and_then(|attachment| attachment.instance_id());
                instance.or(interface.network_interface_id())
            })
            .map(str::to_owned)
            .collect(),
        Err(_) => Vec::new(),
    };
    let mut error = failed.error;
    error.class = ErrorClass::Transient;
    let users = if users.is_empty() {
        "another group's rule, or something that is just being deleted".to_owned()
    } else {
        users.join(", ")
    };
    error.with_hint(format!(
        "it is used by {users}: take that out of the group, then run the command again"
    ))
}

#[cfg(test)]
mod tests {
    use gabion_engine::value::Value;

    use super::*;

    #[test]
    fn names_that_aws_refuses_are_refused_before() {
        let inputs = |name: &str| Attributes::from([("name".into(), Value::string(name))]);
        assert!(SecurityGroups.validate(&inputs("web")).is_empty());
        assert_eq!(SecurityGroups.validate(&inputs("sg-web")).len(), 1);
    }
}
