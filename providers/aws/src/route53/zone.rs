//! `aws_route53_zone`: a hosted zone.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, HostedZone, HostedZoneConfig, Tag, TagResourceType, Vpc, VpcRegion,
};
use gabion_engine::address::{Lineage, ObjectId};
use gabion_engine::provider::{
    AttributeProblem, Call, CreateRequest, ErrorClass, ListedObject, ObjectState, ObserveRequest,
    ProviderError, RecordedObject, UpdateRequest,
};
use gabion_engine::schema::{
    AttributeKind, AttributeSchema, Equality, Idempotency, ReplaceOrder, ResourceSchema,
};
use gabion_engine::value::{AttributePath, Attributes};

use super::record_set::dns_name;
use super::{CONSISTENCY, in_sync, is_zone_id, zone_id};
use crate::attributes::{Written, block, problem, required, text, truth, user_tags};
use crate::clients::Clients;
use crate::error::{Api, Failed};
use crate::kind::{self, Found, Kind, Sought, block_kind, token};
use crate::tags;

/// The resource type.
pub(crate) const TYPE: &str = "aws_route53_zone";

/// How many zones' tags one call tells.
const TAGS_AT_A_TIME: usize = 10;

pub(crate) struct Zones;

#[async_trait]
impl Kind for Zones {
    fn schema(&self) -> ResourceSchema {
        let text = AttributeKind::String;
        let mut schema = kind::schema(
            TYPE,
            "A hosted zone. It answers the world only when the zone above it names its name servers.",
        )
        .attribute(
            "name",
            AttributeSchema::required(text.clone(), "The name, such as `example.com`.")
                .equality(Equality::CaseInsensitive)
                .forces_replacement(),
        )
        .attribute(
            "comment",
            AttributeSchema::optional(text.clone(), "What it is for.").default_value("Managed by gabion"),
        )
        .attribute(
            "force_destroy",
            AttributeSchema::optional(
                AttributeKind::Bool,
                "Whether its records, whoever made them, go with it. Else a zone with records is not deleted.",
            )
            .default_value(false),
        )
        .attribute(
            "vpc",
            AttributeSchema::optional(
                block_kind(&[("vpc_id", text.clone()), ("vpc_region", text.clone())]),
                "One block: the VPC that alone sees it. Null is a public zone.",
            )
            .forces_replacement(),
        )
        .attribute("tags", kind::tags())
        .attribute("zone_id", AttributeSchema::computed(text.clone(), "Its id."))
        .attribute("arn", AttributeSchema::computed(text.clone(), "Its Amazon Resource Name."))
        .attribute(
            "primary_name_server",
            AttributeSchema::computed(text, "The first of its name servers."),
        )
        .attribute(
            "name_servers",
            kind::text_set(AttributeSchema::computed, "Its name servers, which the zone above must name."),
        );
        schema.idempotency = Idempotency::Token;
        schema.consistency_window = CONSISTENCY;
        schema.replace_order = ReplaceOrder::CreateThenDelete;
        schema
    }

    fn validate(&self, inputs: &Attributes) -> Vec<AttributeProblem> {
        match text(inputs, "name") {
            Some(name) if name.contains('*') || name.trim_matches('.').is_empty() => {
                vec![problem(
                    "name",
                    "A zone has no such name.",
                    "write a domain, such as `example.com`",
                )]
            }
            _ => Vec::new(),
        }
    }

    async fn read(&self, clients: &Clients, sought: &[Sought]) -> Result<Found, ProviderError> {
        let mut zones = BTreeMap::new();
        for sought in sought {
            let id = sought.id.as_str();
            if is_zone_id(id) && !zones.contains_key(id) {
                let request = clients.route53.get_hosted_zone().id(id).send();
                match clients.call(Api::route53("GetHostedZone"), request).await {
                    Ok(answer) => {
                        let servers = answer
                            .delegation_set()
                            .map(|set| set.name_servers().to_vec())
                            .unwrap_or_default();
                        let vpcs = answer.vpcs().to_vec();
                        if let Some(zone) = answer.hosted_zone {
                            zones.insert(id.to_owned(), Seen { zone, servers, vpcs });
                        }
                    }
                    Err(failed) if failed.error.class == ErrorClass::NotFound => {}
                    Err(failed) => return Err(failed.into()),
                }
            }
        }
        let tags = tags_of(clients, zones.keys().cloned().collect()).await?;
        let none = BTreeMap::new();
        let found = sought.iter().filter_map(|sought| {
            let seen = zones.get(sought.id.as_str())?;
            let tags = tags.get(sought.id.as_str()).unwrap_or(&none);
            Some((sought.id.clone(), state(seen, tags, &sought.inputs)))
        });
        Ok(found.collect())
    }

    async fn create(
        &self,
        clients: &Clients,
        request: &CreateRequest,
        call: &Call,
    ) -> Result<ObjectState, ProviderError> {
        let inputs = &request.inputs;
        let vpc = block(inputs, "vpc").map(|vpc| {
            Vpc::builder()
                .vpc_id(required(vpc, "vpc_id"))
                .vpc_region(VpcRegion::from(
                    text(vpc, "vpc_region").unwrap_or(&clients.region),
                ))
                .build()
        });
        let config = HostedZoneConfig::builder()
            .comment(text(inputs, "comment").unwrap_or("Managed by gabion"))
            .private_zone(vpc.is_some())
            .build();
        let create = clients
            .route53
            .create_hosted_zone()
            .name(required(inputs, "name"))
            .caller_reference(token(call.operation))
            .hosted_zone_config(config)
            .set_vpc(vpc)
            .send();
        let answer = clients
            .call(Api::route53("CreateHostedZone").changing(), create)
            .await?;
        let id = answer.hosted_zone().map(|zone| zone_id(zone.id()).to_owned());
        let id = kind::made_id("CreateHostedZone", id.as_deref())?;
        call.checkpoint(&id, &serde_json::Value::Null).await?;
        set_tags(clients, &id, &tags::all(inputs, call), &[]).await?;
        call.phase("name servers");
        if let Some(change) = answer.change_info() {
            in_sync(clients, change.id(), call).await?;
        }
        kind::read_made(self, clients, &id, inputs, call).await
    }

    async fn update(
        &self,
        clients: &Clients,
        request: &UpdateRequest,
        call: &Call,
    ) -> Result<ObjectState, ProviderError> {
        let id = super::super::ec2::security_group::recorded_id(&request.object)?;
        let inputs = &request.inputs;
        let wanted = text(inputs, "comment").unwrap_or("Managed by gabion");
        let is = kind::read_made(self, clients, &id, inputs, call)
            .await?
            .attributes;
        if text(&is, "comment") != Some(wanted) {
            let update = clients
                .route53
                .update_hosted_zone_comment()
                .id(id.as_str())
                .comment(wanted)
                .send();
            clients
                .call(Api::route53("UpdateHostedZoneComment").changing(), update)
                .await?;
        }
        // The marks too: whoever made the zone may have ended before they were set.
        let there = tags_of(clients, vec![id.to_string()]).await?;
        let there = there.get(id.as_str()).cloned().unwrap_or_default();
        let mut set = user_tags(inputs);
        if !there.contains_key(tags::UID) {
            set = tags::all(inputs, call);
        }
        let gone: Vec<String> = there
            .keys()
            .filter(|name| !tags::is_reserved(name) && !set.contains_key(*name))
            .cloned()
            .collect();
        set.retain(|name, value| there.get(name) != Some(value));
        set_tags(clients, &id, &set, &gone).await?;
        kind::read_made(self, clients, &id, inputs, call).await
    }

    async fn delete(
        &self,
        clients: &Clients,
        object: &RecordedObject,
        call: &Call,
    ) -> Result<(), ProviderError> {
        let id = super::super::ec2::security_group::recorded_id(object)?;
        if truth(&object.inputs, "force_destroy").unwrap_or_default() {
            empty(clients, id.as_str()).await?;
        }
        let delete = clients.route53.delete_hosted_zone().id(id.as_str()).send();
        match clients
            .call(Api::route53("DeleteHostedZone").changing(), delete)
            .await
        {
            Ok(answer) => match answer.change_info() {
                Some(change) => in_sync(clients, change.id(), call).await,
                None => Ok(()),
            },
            Err(failed) if failed.is("NoSuchHostedZone") => Ok(()),
            Err(failed) if failed.is("HostedZoneNotEmpty") => Err(failed.error.with_hint(
                "remove its records, or set `force_destroy: true` and apply that first: then all of them go with it",
            )),
            Err(failed) => Err(failed.into()),
        }
    }

    async fn find(
        &self,
        clients: &Clients,
        request: &ObserveRequest,
    ) -> Result<Option<ObjectState>, ProviderError> {
        let reference = token(request.operation);
        let zones = all(clients).await?;
        let Some(zone) = zones.iter().find(|zone| zone.caller_reference() == reference) else {
            return Ok(None);
        };
        let id = ObjectId::new(zone_id(zone.id()));
        kind::read_one(self, clients, &id, &request.inputs).await
    }

    async fn list(&self, clients: &Clients, lineage: Lineage) -> Result<Vec<ListedObject>, ProviderError> {
        let zones = all(clients).await?;
        let ids = zones.iter().map(|zone| zone_id(zone.id()).to_owned()).collect();
        let lineage = lineage.to_string();
        let listed = tags_of(clients, ids)
            .await?
            .into_iter()
            .filter(|(_, tags)| tags.get(tags::LINEAGE) == Some(&lineage))
            .filter_map(|(id, tags)| kind::listed(TYPE, &id, &tags));
        Ok(listed.collect())
    }
}

struct Seen {
    zone: HostedZone,
    servers: Vec<String>,
    vpcs: Vec<Vpc>,
}

/// Lists the account's zones.
pub(crate) async fn all(clients: &Clients) -> Result<Vec<HostedZone>, ProviderError> {
    let mut zones = Vec::new();
    let mut marker = None;
    loop {
        let request = clients.route53.list_hosted_zones().set_marker(marker).send();
        let answer = clients.call(Api::route53("ListHostedZones"), request).await?;
        zones.extend(answer.hosted_zones);
        marker = answer.next_marker.filter(|_| answer.is_truncated);
        if marker.is_none() {
            return Ok(zones);
        }
    }
}

/// Returns the name servers that a zone has, sorted.
pub(crate) async fn name_servers(clients: &Clients, id: &str) -> Result<Vec<String>, Failed> {
    let request = clients.route53.get_hosted_zone().id(id).send();
    let answer = clients.call(Api::route53("GetHostedZone"), request).await?;
    let set = answer.delegation_set();
    let mut servers = set.map(|set| set.name_servers().to_vec()).unwrap_or_default();
    servers.sort();
    Ok(servers)
}

async fn tags_of(
    clients: &Clients,
    ids: Vec<String>,
) -> Result<BTreeMap<String, BTreeMap<String, String>>, ProviderError> {
    let mut found = BTreeMap::new();
    for chunk in ids.chunks(TAGS_AT_A_TIME) {
        let request = clients
            .route53
            .list_tags_for_resources()
            .resource_type(TagResourceType::Hostedzone)
            .set_resource_ids(Some(chunk.to_vec()))
            .send();
        let answer = clients
            .call(Api::route53("ListTagsForResources"), request)
            .await?;
        for set in answer.resource_tag_sets() {
            let tags = set
                .tags()
                .iter()
                .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned())));
            if let Some(id) = set.resource_id() {
                found.insert(zone_id(id).to_owned(), tags.collect());
            }
        }
    }
    Ok(found)
}

async fn set_tags(
    clients: &Clients,
    id: &ObjectId,
    set: &BTreeMap<String, String>,
    gone: &[String],
) -> Result<(), ProviderError> {
    if set.is_empty() && gone.is_empty() {
        return Ok(());
    }
    let tags: Vec<Tag> = set
        .iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect();
    let request = clients
        .route53
        .change_tags_for_resource()
        .resource_type(TagResourceType::Hostedzone)
        .resource_id(id.as_str())
        .set_add_tags((!tags.is_empty()).then_some(tags))
        .set_remove_tag_keys((!gone.is_empty()).then(|| gone.to_vec()))
        .send();
    clients
        .call(Api::route53("ChangeTagsForResource").changing(), request)
        .await?;
    Ok(())
}

/// Deletes every record of a zone that can be deleted.
async fn empty(clients: &Clients, id: &str) -> Result<(), ProviderError> {
    loop {
        let request = clients
            .route53
            .list_resource_record_sets()
            .hosted_zone_id(id)
            .send();
        let answer = match clients
            .call(Api::route53("ListResourceRecordSets"), request)
            .await
        {
            Ok(answer) => answer,
            Err(failed) if failed.is("NoSuchHostedZone") => return Ok(()),
            Err(failed) => return Err(failed.into()),
        };
        let apex = answer
            .resource_record_sets()
            .iter()
            .find(|set| set.r#type().as_str() == "SOA")
            .map(|set| dns_name(set.name()));
        let changes: Vec<Change> = answer
            .resource_record_sets()
            .iter()
            .filter(|set| {
                let own = matches!(set.r#type().as_str(), "SOA" | "NS");
                !(own && Some(dns_name(set.name())) == apex)
            })
            .filter_map(|set| {
                Change::builder()
                    .action(ChangeAction::Delete)
                    .resource_record_set(set.clone())
                    .build()
                    .ok()
            })
            .collect();
        if changes.is_empty() {
            return Ok(());
        }
        let batch = ChangeBatch::builder().set_changes(Some(changes)).build();
        let batch = batch.map_err(|error| ProviderError::new(ErrorClass::Invalid, error.to_string()))?;
        let request = clients
            .route53
            .change_resource_record_sets()
            .hosted_zone_id(id)
            .change_batch(batch)
            .send();
        clients
            .call(Api::route53("ChangeResourceRecordSets").changing(), request)
            .await?;
    }
}

fn state(seen: &Seen, tags: &BTreeMap<String, String>, inputs: &Attributes) -> ObjectState {
    let id = zone_id(seen.zone.id());
    let name = dns_name(seen.zone.name());
    let written = text(inputs, "name").filter(|written| dns_name(written) == name);
    let config = seen.zone.config();
    let mut servers = seen.servers.clone();
    servers.sort();
    let mut attributes = Written::default();
    attributes
        .text("profile", text(inputs, "profile"))
        .text("id", Some(id))
        .text("zone_id", Some(id))
        .text("arn", Some(format!("arn:aws:route53:::hostedzone/{id}")))
        .text("name", Some(written.unwrap_or(&name)))
        .text("comment", config.and_then(|config| config.comment()))
        .truth(
            "force_destroy",
            Some(truth(inputs, "force_destroy").unwrap_or_default()),
        )
        .text("primary_name_server", servers.first())
        .texts("name_servers", servers.iter())
        .value("tags", tags::attribute(tags, inputs));
    let mut unreadable = vec![AttributePath::root("force_destroy")];
    if let Some(vpc) = inputs.get("vpc").filter(|vpc| !vpc.is_null()) {
        // In the words of the inputs: a region that they leave out is that of the client.
        if seen.vpcs.is_empty() {
            unreadable.push(AttributePath::root("vpc"));
        }
        attributes.value("vpc", Some(vpc.clone()));
    }
    ObjectState {
        id: ObjectId::new(id),
        attributes: attributes.done(),
        private: serde_json::Value::Null,
        unreadable,
    }
}
