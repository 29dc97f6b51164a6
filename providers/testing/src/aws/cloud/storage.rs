//! Volumes, and what they are attached to.

use std::time::Instant;

use super::instances::State;
use super::region::Region;
use super::xml::Xml;
use super::{Moment, Outcome, Refused, tagging, timestamp};
use crate::aws::http::Asked;

/// A volume.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) id: String,
    zone: String,
    spec: VolumeSpec,
    pub(super) attachment: Option<Attachment>,
    /// Until when it is being made.
    making: Option<Instant>,
    created: String,
}

/// What a volume is in.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) instance: String,
    pub(super) device: String,
    pub(super) delete_on_termination: bool,
}

/// What a volume is like.
#[derive(Debug, Clone)]
pub(super) struct VolumeSpec {
    kind: String,
    gib: i64,
    iops: Option<i64>,
    throughput: Option<i64>,
    encrypted: bool,
    key: Option<String>,
    snapshot: Option<String>,
}

impl VolumeSpec {
    /// Reads what a call wants. Without a size it is that of the image, or the call is refused.
    pub(super) fn of(asked: &Asked, prefix: &str, default_gib: Option<i64>) -> Result<Self, Refused> {
        let said = |name: &str| asked.parameter(&format!("{prefix}{name}"));
        let number = |name: &str| asked.number(&format!("{prefix}{name}"));
        // With the mapping of an image the size is named otherwise than with a volume's own call.
        let size = if prefix.is_empty() { "Size" } else { "VolumeSize" };
        let wanted = (default_gib.is_none() || !prefix.is_empty())
            .then(|| number(size))
            .flatten();
        let gib = wanted.or(default_gib).ok_or_else(|| {
            Refused::new(
                "MissingParameter",
                "The request must contain the parameter size/snapshotId",
            )
        })?;
        let (least, most) = (1, 65_536);
        if !(least..=most).contains(&gib) {
            return Err(Refused::new(
                "InvalidParameterValue",
                format!("Volume of {gib}GiB is not between {least}GiB and {most}GiB"),
            ));
        }
        let kind = if default_gib.is_some() && prefix.is_empty() {
            None
        } else {
            said("VolumeType")
        };
        let mut spec = Self {
            kind: kind.unwrap_or("gp2").to_owned(),
            gib,
            iops: number("Iops"),
            throughput: number("Throughput"),
            encrypted: asked.flag(&format!("{prefix}Encrypted")).unwrap_or_default(),
            key: said("KmsKeyId").map(str::to_owned),
            snapshot: said("SnapshotId").map(str::to_owned),
        };
        spec.complete();
        Ok(spec)
    }

    /// Adds what a type has unless told otherwise (EBS User Guide, "Volume types").
    fn complete(&mut self) {
        match self.kind.as_str() {
            "gp3" => {
                self.iops = self.iops.or(Some(3000));
                self.throughput = self.throughput.or(Some(125));
            }
            "gp2" => self.iops = Some((self.gib * 3).clamp(100, 16_000)),
            _ => {}
        }
        if self.kind != "gp3" {
            self.throughput = None;
        }
    }
}

impl Volume {
    pub(super) fn new(id: &str, zone: &str, spec: VolumeSpec) -> Self {
        Self {
            id: id.to_owned(),
            zone: zone.to_owned(),
            spec,
            attachment: None,
            making: None,
            created: timestamp(),
        }
    }

    pub(super) fn settle(&mut self, moment: &Moment) {
        self.making = self.making.filter(|until| *until > moment.now);
    }

    fn state(&self) -> &'static str {
        match (&self.making, &self.attachment) {
            (Some(_), _) => "creating",
            (None, Some(_)) => "in-use",
            (None, None) => "available",
        }
    }
}

impl Region {
    fn volume(&self, id: &str) -> Result<&Volume, Refused> {
        self.volumes.get(id).ok_or_else(|| {
            Refused::new(
                "InvalidVolume.NotFound",
                format!("The volume '{id}' does not exist."),
            )
        })
    }

    pub(super) fn create_volume(&mut self, asked: &Asked, moment: &Moment) -> Outcome {
        let zone = asked.needed("AvailabilityZone")?;
        if !self.zones().iter().any(|known| known == zone) {
            return Err(Refused::new(
                "InvalidZone.NotFound",
                format!("The zone '{zone}' does not exist."),
            ));
        }
        let spec = VolumeSpec::of(asked, "", None)?;
        let tags = asked.tags_for("volume")?;
        let id = self.next_id("vol");
        let volume = Volume {
            making: Some(moment.now + moment.boot / 4),
            ..Volume::new(&id, zone, spec)
        };
        self.volumes.insert(id.clone(), volume);
        self.note_made(&id, tags, moment);
        Ok(self.tell_volume(&id))
    }

    /// Tells of a volume as it is by now.
    pub(super) fn tell_volume(&self, id: &str) -> Xml {
        let mut xml = Xml::default();
        if let Some(volume) = self.volumes.get(id) {
            self.write_volume(&mut xml, volume);
        }
        xml
    }

    fn write_volume(&self, xml: &mut Xml, volume: &Volume) {
        let spec = &volume.spec;
        xml.text("volumeId", &volume.id)
            .text("size", spec.gib)
            .text("snapshotId", spec.snapshot.as_deref().unwrap_or_default())
            .text("availabilityZone", &volume.zone)
            .text("status", volume.state())
            .text("createTime", &volume.created)
            .items("attachmentSet", &volume.attachment, |item, tie| {
                write_attachment(item, volume, tie, "attached");
            });
        tagging::write(xml, self.tags_of(&volume.id));
        xml.text("volumeType", &spec.kind)
            .some("iops", spec.iops)
            .some("throughput", spec.throughput)
            .text("encrypted", spec.encrypted)
            .some("kmsKeyId", spec.key.as_ref())
            .text("multiAttachEnabled", false);
    }

    pub(super) fn describe_volumes(&self, asked: &Asked, moment: &Moment) -> Outcome {
        let named = asked.list("VolumeId");
        for id in &named {
            self.volume(id)?;
        }
        let seen = self
            .volumes
            .values()
            .filter(|volume| named.is_empty() || named.contains(&volume.id.as_str()))
            .filter(|volume| self.shows(&volume.id, moment));
        let found = asked.filtered(
            seen,
            |volume| self.tags_of(&volume.id),
            |volume, name| {
                Some(match name {
                    "volume-id" => vec![volume.id.clone()],
                    "status" => vec![volume.state().to_owned()],
                    "availability-zone" => vec![volume.zone.clone()],
                    "attachment.instance-id" => {
                        volume.attachment.iter().map(|tie| tie.instance.clone()).collect()
                    }
                    _ => return None,
                })
            },
        )?;
        let (page, next) = asked.page(found, |volume| &volume.id)?;
        let mut xml = Xml::default();
        xml.items("volumeSet", page, |item, volume| self.write_volume(item, volume));
        xml.some("nextToken", next);
        Ok(xml)
    }

    pub(super) fn modify_volume(&mut self, asked: &Asked) -> Outcome {
        let id = asked.needed("VolumeId")?.to_owned();
        let was = self.volume(&id)?.spec.clone();
        let mut spec = was.clone();
        if let Some(gib) = asked.number("Size") {
            if gib < was.gib {
                return Err(Refused::new(
                    "InvalidParameterValue",
                    format!("New size cannot be smaller than existing size {}", was.gib),
                ));
            }
            spec.gib = gib;
        }
        if let Some(kind) = asked.parameter("VolumeType").filter(|kind| *kind != was.kind) {
            kind.clone_into(&mut spec.kind);
            (spec.iops, spec.throughput) = (None, None);
        }
        spec.iops = asked.number("Iops").or(spec.iops);
        spec.throughput = asked.number("Throughput").or(spec.throughput);
        spec.complete();
        let mut xml = Xml::default();
        xml.within("volumeModification", |xml| {
            xml.text("volumeId", &id)
                .text("modificationState", "modifying")
                .text("originalSize", was.gib)
                .text("targetSize", spec.gib)
                .text("targetVolumeType", &spec.kind);
        });
        if let Some(volume) = self.volumes.get_mut(&id) {
            volume.spec = spec;
        }
        Ok(xml)
    }

    pub(super) fn delete_volume(&mut self, asked: &Asked) -> Outcome {
        let id = asked.needed("VolumeId")?.to_owned();
        if let Some(tie) = &self.volume(&id)?.attachment {
            return Err(Refused::new(
                "VolumeInUse",
                format!("Volume {id} is currently attached to {}", tie.instance),
            ));
        }
        self.volumes.remove(&id);
        self.forget(&id);
        Ok(tagging::done())
    }

    pub(super) fn attach_volume(&mut self, asked: &Asked) -> Outcome {
        let (id, instance) = (asked.needed("VolumeId")?, asked.needed("InstanceId")?);
        let device = asked.needed("Device")?;
        let volume = self.volume(id)?;
        let machine = self.living(instance)?;
        if let Some(tie) = &volume.attachment {
            return Err(Refused::new(
                "VolumeInUse",
                format!("{id} is already attached to {}", tie.instance),
            ));
        }
        if volume.making.is_some() {
            return Err(Refused::new(
                "IncorrectState",
                format!("{id} is not 'available'."),
            ));
        }
        if !matches!(machine.state, State::Running | State::Stopped) {
            return Err(Refused::new(
                "IncorrectState",
                format!("Instance '{instance}' is not 'running'."),
            ));
        }
        if machine.subnet.zone != volume.zone {
            return Err(Refused::new(
                "InvalidVolume.ZoneMismatch",
                format!("The volume '{id}' is not in the same availability zone as instance '{instance}'"),
            ));
        }
        let taken = self.volumes.values().any(|other| {
            let tie = other.attachment.as_ref();
            tie.is_some_and(|tie| tie.instance == instance && tie.device == device)
        });
        if taken {
            return Err(Refused::new(
                "InvalidParameterValue",
                format!(
                    "Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
                ),
            ));
        }
        let tie = Attachment {
            instance: instance.to_owned(),
            device: device.to_owned(),
            delete_on_termination: false,
        };
        let mut xml = Xml::default();
        if let Some(volume) = self.volumes.get_mut(id) {
            write_attachment(&mut xml, volume, &tie, "attaching");
            volume.attachment = Some(tie);
        }
        Ok(xml)
    }

    pub(super) fn detach_volume(&mut self, asked: &Asked) -> Outcome {
        let id = asked.needed("VolumeId")?;
        let volume = self.volume(id)?;
        let fits = |tie: &Attachment| {
            asked
                .parameter("InstanceId")
                .is_none_or(|wanted| tie.instance == wanted)
                && asked
                    .parameter("Device")
                    .is_none_or(|wanted| tie.device == wanted)
        };
        match &volume.attachment {
            None => {
                return Err(Refused::new(
                    "IncorrectState",
                    format!("Volume '{id}' is in the 'available' state."),
                ));
            }
            Some(tie) if !fits(tie) => {
                return Err(Refused::new(
                    "InvalidAttachment.NotFound",
                    format!("The volume {id} is not attached so."),
                ));
            }
            Some(_) => {}
        }
        let mut xml = Xml::default();
        if let Some(volume) = self.volumes.get_mut(id)
            && let Some(tie) = volume.attachment.take()
        {
            write_attachment(&mut xml, volume, &tie, "detaching");
        }
        Ok(xml)
    }
}

fn write_attachment(xml: &mut Xml, volume: &Volume, tie: &Attachment, state: &str) {
    xml.text("volumeId", &volume.id)
        .text("instanceId", &tie.instance)
        .text("device", &tie.device)
        .text("status", state)
        .text("deleteOnTermination", tie.delete_on_termination);
}
