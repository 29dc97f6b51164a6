//! `aws_ebs_volume`: a disk that outlives the machines that it is attached to.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_ec2::types::{ResourceType as Tagged, Volume, VolumeState, VolumeType};
use gabion_engine::address::{Lineage, ObjectId};
use gabion_engine::provider::{
    AttributeProblem, Call, CreateRequest, Effect, ErrorClass, ListedObject, ObjectState, ObserveRequest,
    PlanRequest, PlanResponse, ProviderError, RecordedObject, ReplaceCause, UpdateRequest, propose,
};
use gabion_engine::schema::{AttributeKind, AttributeSchema, Idempotency, ReplaceOrder, ResourceSchema};
use gabion_engine::value::{AttributePath, Attributes};

use super::CONSISTENCY;
use super::security_group::recorded_id;
use crate::attributes::{Written, int, is_set, problem, required, text, truth};
use crate::clients::Clients;
use crate::error::Api;
use crate::kind::{self, FILTER_VALUES, Found, Kind, Sought, token};
use crate::{tags, wait};

/// The resource type.
pub(crate) const TYPE: &str = "aws_ebs_volume";

pub(crate) struct EbsVolumes;

#[async_trait]
impl Kind for EbsVolumes {
    fn schema(&self) -> ResourceSchema {
        let (text, int, truth) = (AttributeKind::String, AttributeKind::Int, AttributeKind::Bool);
        let either = AttributeSchema::optional_computed;
        let mut schema = kind::schema(
            TYPE,
            "A disk that outlives the machines that it is attached to. It is encrypted unless told otherwise.",
        )
        .attribute("region", kind::region())
        .attribute(
            "availability_zone",
            AttributeSchema::required(text.clone(), "The zone; only instances there can use it.").forces_replacement(),
        )
        .attribute(
            "size",
            either(int.clone(), "Its size in GiB; null is that of its snapshot. A volume never shrinks."),
        )
        .attribute(
            "type",
            AttributeSchema::optional(text.clone(), "`gp3`, `gp2`, `io2`, `io1`, `st1`, `sc1` or `standard`.")
                .default_value("gp3"),
        )
        .attribute("iops", either(int.clone(), "Its operations a second."))
        .attribute("throughput", either(int, "Its throughput in MiB a second; of `gp3` only."))
        .attribute(
            "encrypted",
            AttributeSchema::optional(truth, "Whether it is encrypted.")
                .default_value(true)
                .forces_replacement(),
        )
        .attribute(
            "kms_key_id",
            either(text.clone(), "The key that it is encrypted with; null is the account's default.").forces_replacement(),
        )
        .attribute(
            "snapshot_id",
            AttributeSchema::optional(text.clone(), "The snapshot that it is made from.").forces_replacement(),
        )
        .attribute("tags", kind::tags())
        .attribute("arn", AttributeSchema::computed(text, "Its Amazon Resource Name."));
        schema.idempotency = Idempotency::Token;
        schema.consistency_window = CONSISTENCY;
        schema.replace_order = ReplaceOrder::CreateThenDelete;
        schema.holds_data = true;
        schema
    }

    fn validate(&self, inputs: &Attributes) -> Vec<AttributeProblem> {
        if is_set(inputs, "size") || is_set(inputs, "snapshot_id") {
            return Vec::new();
        }
        vec![problem(
            "size",
            "A volume has a size, or is made from a snapshot that has one.",
            "set `size` in GiB",
        )]
    }

    fn plan(&self, schema: &ResourceSchema, request: &PlanRequest) -> PlanResponse {
        let mut response = propose(schema, request);
        let prior = request
            .prior
            .as_ref()
            .and_then(|prior| int(&prior.attributes, "size"));
        if let (Some(was), Some(wanted)) = (prior, int(&request.desired, "size"))
            && wanted < was
        {
            response.replace.push(ReplaceCause {
                path: AttributePath::root("size"),
                why: Some("A volume never shrinks.".to_owned()),
            });
        }
        response
    }

    async fn read(&self, clients: &Clients, sought: &[Sought]) -> Result<Found, ProviderError> {
        let mut found = Found::new();
        for chunk in sought.chunks(FILTER_VALUES) {
            let ids = chunk.iter().map(|sought| sought.id.as_str());
            for volume in describe(clients, tags::filter("volume-id", ids)).await? {
                let id = ObjectId::new(volume.volume_id().unwrap_or_default());
                for sought in chunk.iter().filter(|sought| sought.id == id) {
                    if is_there(&volume) {
                        found.insert(id.clone(), state(clients, &volume, &sought.inputs));
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
        let create = clients
            .ec2
            .create_volume()
            .client_token(token(call.operation))
            .availability_zone(required(inputs, "availability_zone"))
            .volume_type(VolumeType::from(text(inputs, "type").unwrap_or("gp3")))
            .encrypted(truth(inputs, "encrypted").unwrap_or(true))
            .set_size(int(inputs, "size"))
            .set_iops(int(inputs, "iops"))
            .set_throughput(int(inputs, "throughput"))
            .set_kms_key_id(text(inputs, "kms_key_id").map(str::to_owned))
            .set_snapshot_id(text(inputs, "snapshot_id").map(str::to_owned))
            .tag_specifications(tags::specification(Tagged::Volume, inputs, call))
            .send();
        let answer = clients.call(Api::ec2("CreateVolume").changing(), create).await?;
        let id = kind::made_id("CreateVolume", answer.volume_id())?;
        call.checkpoint(&id, &serde_json::Value::Null).await?;
        call.phase("ready");
        ready(clients, &id, call).await?;
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
        ready(clients, &id, call).await?;
        let there = describe(clients, tags::filter("volume-id", [id.as_str()])).await?;
        let Some(there) = there.first() else {
            return Err(crate::error::not_found("volume", id.as_str(), &clients.region));
        };
        let is = state(clients, there, inputs).attributes;
        let differs = |name: &str| is_set(inputs, name) && inputs.get(name) != is.get(name);
        let kind = text(inputs, "type").unwrap_or("gp3");
        if ["size", "iops", "throughput"].iter().any(|name| differs(name)) || text(&is, "type") != Some(kind)
        {
            let modify = clients
                .ec2
                .modify_volume()
                .volume_id(id.as_str())
                .set_size(int(inputs, "size"))
                .volume_type(VolumeType::from(kind))
                .set_iops(int(inputs, "iops"))
                .set_throughput(int(inputs, "throughput"))
                .send();
            clients.call(Api::ec2("ModifyVolume").changing(), modify).await?;
        }
        tags::converge(clients, id.as_str(), &tags::by_name(there.tags()), inputs).await?;
        // Descriptions tell the new size when the modification began to count.
        kind::read_made(self, clients, &id, inputs, call).await
    }

    async fn delete(
        &self,
        clients: &Clients,
        object: &RecordedObject,
        call: &Call,
    ) -> Result<(), ProviderError> {
        let id = recorded_id(object)?;
        let delete = clients.ec2.delete_volume().volume_id(id.as_str()).send();
        match clients.call(Api::ec2("DeleteVolume").changing(), delete).await {
            Ok(_) => {}
            Err(failed) if failed.is("InvalidVolume.NotFound") || failed.is("InvalidParameterValue") => {
                return Ok(());
            }
            Err(failed) => return Err(failed.into()),
        }
        wait::until(call, "the volume is deleted", || async {
            Ok(look(clients, id.as_str()).await?.is_none().then_some(()))
        })
        .await
    }

    async fn find(
        &self,
        clients: &Clients,
        request: &ObserveRequest,
    ) -> Result<Option<ObjectState>, ProviderError> {
        let volumes = describe(clients, tags::made_by(request.operation)).await?;
        // The root volume of an instance carries the operation of the instance.
        let own = volumes.iter().find(|volume| is_there(volume) && is_own(volume));
        Ok(own.map(|volume| state(clients, volume, &request.inputs)))
    }

    async fn list(&self, clients: &Clients, lineage: Lineage) -> Result<Vec<ListedObject>, ProviderError> {
        let volumes = describe(clients, tags::owned_by(lineage)).await?;
        let listed = volumes
            .iter()
            .filter(|volume| is_there(volume) && is_own(volume))
            .filter_map(|volume| kind::listed(TYPE, volume.volume_id()?, &tags::by_name(volume.tags())));
        Ok(listed.collect())
    }
}

/// Returns whether a volume was made as one, and not as part of an instance.
fn is_own(volume: &Volume) -> bool {
    let tags = tags::by_name(volume.tags());
    tags.get(tags::ADDRESS)
        .is_none_or(|address| address.starts_with(TYPE))
}

fn is_there(volume: &Volume) -> bool {
    !matches!(volume.state(), Some(VolumeState::Deleting | VolumeState::Deleted))
}

pub(super) async fn describe(
    clients: &Clients,
    filter: aws_sdk_ec2::types::Filter,
) -> Result<Vec<Volume>, ProviderError> {
    let mut volumes = Vec::new();
    let mut next = None;
    loop {
        let request = clients
            .ec2
            .describe_volumes()
            .filters(filter.clone())
            .set_next_token(next)
            .send();
        let answer = clients.call(Api::ec2("DescribeVolumes"), request).await?;
        next = answer.next_token().map(str::to_owned);
        volumes.extend(answer.volumes.unwrap_or_default());
        if next.is_none() {
            return Ok(volumes);
        }
    }
}

/// Looks at a volume together with all others that are waited for.
pub(super) async fn look(clients: &Clients, id: &str) -> Result<Option<Volume>, ProviderError> {
    let poll = clients.looks.poll;
    clients
        .looks
        .volumes
        .at(id, poll, |wanted| async move {
            let mut found = BTreeMap::new();
            for chunk in wanted.chunks(FILTER_VALUES) {
                let volumes = describe(clients, tags::filter("volume-id", chunk.iter().cloned())).await?;
                found.extend(
                    volumes
                        .into_iter()
                        .filter(|volume| volume.state() != Some(&VolumeState::Deleted))
                        .filter_map(|volume| Some((volume.volume_id()?.to_owned(), volume))),
                );
            }
            Ok(found)
        })
        .await
}

async fn ready(clients: &Clients, id: &ObjectId, call: &Call) -> Result<(), ProviderError> {
    wait::until(call, "the volume is available", || async {
        let volume = look(clients, id.as_str()).await?;
        match volume.as_ref().and_then(|volume| volume.state()) {
            Some(VolumeState::Available | VolumeState::InUse) => Ok(Some(())),
            Some(VolumeState::Error | VolumeState::Deleting) => Err(ProviderError::new(
                ErrorClass::Invalid,
                format!("The volume {id} in {} failed while it was made.", clients.region),
            )
            .with_effect(Effect::Partial)
            .with_hint("often the key in `kms_key_id` may not be used by this identity")),
            _ => Ok(None),
        }
    })
    .await
}

fn state(clients: &Clients, volume: &Volume, inputs: &Attributes) -> ObjectState {
    let id = volume.volume_id().unwrap_or_default();
    let named = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let mut attributes = Written::default();
    attributes
        .place(&clients.region, inputs)
        .text("id", Some(id))
        .text("availability_zone", volume.availability_zone())
        .int("size", volume.size())
        .text("type", volume.volume_type().map(|kind| kind.as_str()))
        .int("iops", volume.iops().filter(|iops| *iops > 0))
        .int(
            "throughput",
            volume.throughput().filter(|throughput| *throughput > 0),
        )
        .truth("encrypted", Some(volume.encrypted().unwrap_or_default()))
        .text("kms_key_id", named(volume.kms_key_id()))
        .text("snapshot_id", named(volume.snapshot_id()))
        .text(
            "arn",
            Some(format!("arn:aws:ec2:{}::volume/{id}", clients.region)),
        )
        .value("tags", tags::attribute(&tags::by_name(volume.tags()), inputs));
    ObjectState {
        id: ObjectId::new(id),
        attributes: attributes.done(),
        private: serde_json::Value::Null,
        unreadable: Vec::new(),
    }
}
