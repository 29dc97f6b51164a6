//! `aws_volume_attachment`: a volume in an instance.

use async_trait::async_trait;
use aws_sdk_ec2::types::{Volume, VolumeAttachment, VolumeAttachmentState};
use gabion_engine::address::ObjectId;
use gabion_engine::provider::{
    AttributeProblem, Call, CreateRequest, ObjectState, ObserveRequest, ProviderError, RecordedObject,
    UpdateRequest,
};
use gabion_engine::schema::{AttributeKind, AttributeSchema, Idempotency, ReplaceOrder, ResourceSchema};
use gabion_engine::value::{AttributePath, Attributes};

use super::CONSISTENCY;
use super::ebs_volume::{describe, look};
use super::security_group::recorded_id;
use crate::attributes::{Written, problem, required, text, truth};
use crate::clients::Clients;
use crate::error::Api;
use crate::kind::{self, FILTER_VALUES, Found, Kind, Sought};
use crate::{tags, wait};

/// The resource type.
pub(crate) const TYPE: &str = "aws_volume_attachment";

pub(crate) struct VolumeAttachments;

/// What ties what to what: the id, as Terraform takes it for imports.
struct Tie {
    device: String,
    volume: String,
    instance: String,
}

impl Tie {
    fn of(inputs: &Attributes) -> Self {
        Self {
            device: required(inputs, "device_name").to_owned(),
            volume: required(inputs, "volume_id").to_owned(),
            instance: required(inputs, "instance_id").to_owned(),
        }
    }

    fn parse(id: &str) -> Option<Self> {
        let mut parts = id.split(':').map(str::to_owned);
        let tie = Self {
            device: parts.next()?,
            volume: parts.next()?,
            instance: parts.next()?,
        };
        parts.next().is_none().then_some(tie)
    }

    fn id(&self) -> ObjectId {
        ObjectId::new(format!("{}:{}:{}", self.device, self.volume, self.instance))
    }

    fn attachment<'a>(&self, volume: &'a Volume) -> Option<&'a VolumeAttachment> {
        volume.attachments().iter().find(|attachment| {
            attachment.instance_id() == Some(&self.instance)
                && attachment.device() == Some(&self.device)
                && attachment.state() != Some(&VolumeAttachmentState::Detached)
        })
    }
}

#[async_trait]
impl Kind for VolumeAttachments {
    fn schema(&self) -> ResourceSchema {
        let text = AttributeKind::String;
        let mut schema = kind::schema(
            TYPE,
            "A volume in an instance. Its id is `DEVICE:VOLUME:INSTANCE`.",
        )
        .attribute("region", kind::region())
        .attribute(
            "device_name",
            AttributeSchema::required(
                text.clone(),
                "The name that the instance is told, such as `/dev/sdf`.",
            )
            .forces_replacement(),
        )
        .attribute(
            "volume_id",
            AttributeSchema::required(text.clone(), "The volume.").forces_replacement(),
        )
        .attribute(
            "instance_id",
            AttributeSchema::required(text, "The instance.").forces_replacement(),
        )
        .attribute(
            "force_detach",
            AttributeSchema::optional(
                AttributeKind::Bool,
                "Whether it is torn off a machine that does not let go. What was not written is lost.",
            )
            .default_value(false),
        );
        schema.idempotency = Idempotency::NaturalUpsert;
        schema.consistency_window = CONSISTENCY;
        schema.replace_order = ReplaceOrder::DeleteThenCreate;
        schema.deleted_with = Some("instance_id".into());
        schema
    }

    fn validate(&self, inputs: &Attributes) -> Vec<AttributeProblem> {
        match text(inputs, "device_name") {
            Some(name) if name.contains(':') => {
                vec![problem(
                    "device_name",
                    "No device has such a name.",
                    "write `/dev/sdf` to `/dev/sdp`",
                )]
            }
            _ => Vec::new(),
        }
    }

    async fn read(&self, clients: &Clients, sought: &[Sought]) -> Result<Found, ProviderError> {
        let mut found = Found::new();
        for chunk in sought.chunks(FILTER_VALUES) {
            let ties: Vec<(&Sought, Tie)> = chunk
                .iter()
                .filter_map(|sought| Some((sought, Tie::parse(sought.id.as_str())?)))
                .collect();
            if ties.is_empty() {
                continue;
            }
            let ids = ties.iter().map(|(_, tie)| tie.volume.as_str());
            let volumes = describe(clients, tags::filter("volume-id", ids)).await?;
            for (sought, tie) in ties {
                let volume = volumes
                    .iter()
                    .find(|volume| volume.volume_id() == Some(&tie.volume));
                if volume.and_then(|volume| tie.attachment(volume)).is_some() {
                    found.insert(sought.id.clone(), state(clients, &tie, &sought.inputs));
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
        let tie = Tie::of(inputs);
        let attach = clients
            .ec2
            .attach_volume()
            .device(&tie.device)
            .volume_id(&tie.volume)
            .instance_id(&tie.instance)
            .send();
        clients.call(Api::ec2("AttachVolume").changing(), attach).await?;
        let id = tie.id();
        call.checkpoint(&id, &serde_json::Value::Null).await?;
        call.phase("attach");
        attached(clients, &tie, call).await?;
        Ok(state(clients, &tie, inputs))
    }

    async fn update(
        &self,
        clients: &Clients,
        request: &UpdateRequest,
        call: &Call,
    ) -> Result<ObjectState, ProviderError> {
        let tie = Tie::of(&request.inputs);
        attached(clients, &tie, call).await?;
        Ok(state(clients, &tie, &request.inputs))
    }

    async fn delete(
        &self,
        clients: &Clients,
        object: &RecordedObject,
        call: &Call,
    ) -> Result<(), ProviderError> {
        let id = recorded_id(object)?;
        let Some(tie) = Tie::parse(id.as_str()) else {
            return Ok(());
        };
        let there = describe(clients, tags::filter("volume-id", [tie.volume.as_str()])).await?;
        if there.first().and_then(|volume| tie.attachment(volume)).is_none() {
            return Ok(());
        }
        let detach = clients
            .ec2
            .detach_volume()
            .device(&tie.device)
            .volume_id(&tie.volume)
            .instance_id(&tie.instance)
            .force(truth(&object.inputs, "force_detach").unwrap_or_default())
            .send();
        match clients.call(Api::ec2("DetachVolume").changing(), detach).await {
            Ok(_) => {}
            Err(failed) if failed.is("IncorrectState") || failed.is("InvalidAttachment.NotFound") => {}
            Err(failed) => return Err(failed.into()),
        }
        call.phase("detach");
        wait::until(call, "the volume is detached", || async {
            let volume = look(clients, &tie.volume).await?;
            let there = volume.as_ref().and_then(|volume| tie.attachment(volume));
            Ok(there.is_none().then_some(()))
        })
        .await
    }

    async fn find(
        &self,
        clients: &Clients,
        request: &ObserveRequest,
    ) -> Result<Option<ObjectState>, ProviderError> {
        let tie = Tie::of(&request.inputs);
        let volumes = describe(clients, tags::filter("volume-id", [tie.volume.as_str()])).await?;
        let there = volumes.first().and_then(|volume| tie.attachment(volume));
        Ok(there.map(|_| state(clients, &tie, &request.inputs)))
    }
}

async fn attached(clients: &Clients, tie: &Tie, call: &Call) -> Result<(), ProviderError> {
    wait::until(call, "the volume is attached", || async {
        let volume = look(clients, &tie.volume).await?;
        let attachment = volume.as_ref().and_then(|volume| tie.attachment(volume));
        let state = attachment.and_then(|attachment| attachment.state());
        Ok((state == Some(&VolumeAttachmentState::Attached)).then_some(()))
    })
    .await
}

fn state(clients: &Clients, tie: &Tie, inputs: &Attributes) -> ObjectState {
    let mut attributes = Written::default();
    attributes
        .place(&clients.region, inputs)
        .text("id", Some(tie.id().as_str()))
        .text("device_name", Some(&tie.device))
        .text("volume_id", Some(&tie.volume))
        .text("instance_id", Some(&tie.instance))
        .truth(
            "force_detach",
            Some(truth(inputs, "force_detach").unwrap_or_default()),
        );
    ObjectState {
        id: tie.id(),
        attributes: attributes.done(),
        private: serde_json::Value::Null,
        // How it is to be torn off is said here only.
        unreadable: vec![AttributePath::root("force_detach")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_device_volume_and_instance() {
        let tie = Tie::parse("/dev/sdf:vol-1:i-1").unwrap();
        assert_eq!(tie.id().as_str(), "/dev/sdf:vol-1:i-1");
        assert!(Tie::parse("vol-1").is_none());
        assert!(Tie::parse("a:b:c:d").is_none());
    }
}
