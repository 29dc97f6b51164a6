//! Instances: started once a token, on their way between states, and shown for a while after their end.

use std::time::Instant;

use super::question::Tags;
use super::region::{Region, Subnet};
use super::storage::{Attachment, Volume, VolumeSpec};
use super::xml::Xml;
use super::{Moment, Outcome, Refused, catalogue, tagging, timestamp};
use crate::aws::http::Asked;

/// An instance.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) id: String,
    pub(super) state: State,
    /// Until when it is on its way to another state.
    pub(super) passing: Option<Instant>,
    pub(super) ended: Option<Instant>,
    reservation: String,
    image: &'static catalogue::Image,
    kind: String,
    pub(super) subnet: Subnet,
    pub(super) groups: Vec<String>,
    key: Option<String>,
    pub(super) private_ip: String,
    /// The address that it has of its own while it runs.
    own_ip: Option<String>,
    user_data: String,
    profile: Option<String>,
    pub(super) placement: Option<String>,
    tenancy: String,
    ebs_optimized: bool,
    monitoring: bool,
    source_dest_check: bool,
    is_spot: bool,
    capacity: Capacity,
    metadata: Metadata,
    launched: String,
    /// Whether there is no capacity for it, so that it never runs.
    pub(super) starved: bool,
    pub(super) interface: String,
    client_token: String,
}

/// Where it is in its life (EC2 User Guide, "Instance lifecycle").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl State {
    fn code(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    fn write(self, xml: &mut Xml, name: &str) {
        xml.within(name, |state| {
            state.text("code", self.code()).text("name", self.name());
        });
    }
}

/// The capacity reservations that it may run in.
#[derive(Debug)]
struct Capacity {
    preference: Option<String>,
    reservation: Option<String>,
    group: Option<String>,
}

/// The options of its metadata service.
#[derive(Debug)]
struct Metadata {
    tokens: String,
    endpoint: String,
    hops: i64,
    tags: String,
}

impl Instance {
    /// Returns whether it holds on to what it uses.
    pub(super) fn holds(&self) -> bool {
        self.state != State::Terminated
    }

    fn pass(&mut self, state: State, moment: &Moment) {
        self.state = state;
        self.passing = Some(moment.now + moment.boot);
    }
}

impl Region {
    pub(super) fn run_instances(&mut self, asked: &Asked, moment: &Moment) -> Outcome {
        let image = catalogue::image(asked.needed("ImageId")?)?;
        let kind = asked.parameter("InstanceType").unwrap_or("m1.small").to_owned();
        if catalogue::instance_type(&kind).is_none() {
            return Err(Refused::new(
                "InvalidParameterValue",
                format!("Invalid value '{kind}' for InstanceType."),
            ));
        }
        let key = asked.parameter("KeyName").map(str::to_owned);
        if let Some(key) = key.as_ref().filter(|key| !self.keys.contains_key(*key)) {
            return Err(Refused::new(
                "InvalidKeyPair.NotFound",
                format!("The key pair '{key}' does not exist"),
            ));
        }
        let interface = "NetworkInterface.1";
        let of_interface = |name: &str| asked.parameter(&format!("{interface}.{name}"));
        let subnet = self.subnet_for(
            asked.parameter("SubnetId").or(of_interface("SubnetId")),
            asked.parameter("Placement.AvailabilityZone"),
        )?;
        let mut groups = asked.list("SecurityGroupId");
        groups.extend(asked.list(&format!("{interface}.SecurityGroupId")));
        let groups = self.groups_for(&groups)?;
        let placement = asked.parameter("Placement.GroupName").map(str::to_owned);
        if let Some(name) = placement
            .as_ref()
            .filter(|name| !self.placements.contains_key(*name))
        {
            return Err(Refused::new(
                "InvalidPlacementGroup.Unknown",
                format!("The placement group '{name}' is unknown."),
            ));
        }
        let tags = asked.tags_for("instance")?;
        let volume_tags = asked.tags_for("volume")?;
        let count = asked.number("MaxCount").unwrap_or(1).clamp(1, 1000);
        let public = of_interface("AssociatePublicIpAddress").is_none_or(|text| text == "true");
        let reservation = self.next_id("r");
        let mut made = Vec::new();
        for index in 0..count {
            let wanted_ip = asked
                .parameter("PrivateIpAddress")
                .or(of_interface("PrivateIpAddress"));
            let private_ip = match wanted_ip.filter(|_| index == 0) {
                Some(ip) => ip.to_owned(),
                None => self.private_ip(&subnet).to_string(),
            };
            let instance = Instance {
                id: self.next_id("i"),
                state: State::Pending,
                passing: Some(moment.now + moment.boot),
                ended: None,
                reservation: reservation.clone(),
                image,
                kind: kind.clone(),
                subnet: subnet.clone(),
                groups: groups.clone(),
                key: key.clone(),
                private_ip,
                own_ip: public.then(|| self.public_ip().to_string()),
                user_data: asked.parameter("UserData").unwrap_or_default().to_owned(),
                profile: asked.parameter("IamInstanceProfile.Name").map(str::to_owned),
                placement: placement.clone(),
                tenancy: asked
                    .parameter("Placement.Tenancy")
                    .unwrap_or("default")
                    .to_owned(),
                ebs_optimized: asked.flag("EbsOptimized").unwrap_or_default(),
                monitoring: asked.flag("Monitoring.Enabled").unwrap_or_default(),
                source_dest_check: true,
                is_spot: asked.parameter("InstanceMarketOptions.MarketType") == Some("spot"),
                capacity: capacity(asked),
                metadata: metadata(asked),
                launched: timestamp(),
                starved: moment.starved,
                interface: self.next_id("eni"),
                client_token: asked.parameter("ClientToken").unwrap_or_default().to_owned(),
            };
            self.add_disks(asked, &instance, &volume_tags, moment)?;
            self.note_made(&instance.id, tags.clone(), moment);
            made.push(instance.id.clone());
            self.instances.insert(instance.id.clone(), instance);
        }
        Ok(self.reservation(&reservation, &made))
    }

    /// Tells what a call started, as it is by now.
    pub(super) fn reservation(&self, reservation: &str, ids: &[String]) -> Xml {
        let mut xml = Xml::default();
        xml.text("reservationId", reservation)
            .text("ownerId", &self.account);
        let instances = ids.iter().filter_map(|id| self.instances.get(id));
        xml.items("instancesSet", instances, |item, instance| {
            self.write_instance(item, instance);
        });
        xml
    }

    /// Makes the volumes of a new instance: those of its image, as the call changes them.
    fn add_disks(
        &mut self,
        asked: &Asked,
        instance: &Instance,
        tags: &Tags,
        moment: &Moment,
    ) -> Result<(), Refused> {
        let mut devices = vec![(instance.image.root_device.to_owned(), String::new())];
        for number in 1..=asked.count("BlockDeviceMapping") {
            let mapping = format!("BlockDeviceMapping.{number}");
            let device = asked.needed(&format!("{mapping}.DeviceName"))?.to_owned();
            match devices.iter_mut().find(|(known, _)| *known == device) {
                Some((_, prefix)) => *prefix = format!("{mapping}.Ebs."),
                None => devices.push((device, format!("{mapping}.Ebs."))),
            }
        }
        for (device, prefix) in devices {
            let is_root = device == instance.image.root_device;
            let spec = VolumeSpec::of(asked, &prefix, is_root.then_some(instance.image.root_gib))?;
            let id = self.next_id("vol");
            let delete = asked
                .flag(&format!("{prefix}DeleteOnTermination"))
                .unwrap_or(is_root);
            let mut volume = Volume::new(&id, &instance.subnet.zone, spec);
            volume.attachment = Some(Attachment {
                instance: instance.id.clone(),
                device,
                delete_on_termination: delete,
            });
            self.volumes.insert(id.clone(), volume);
            self.note_made(&id, tags.clone(), moment);
        }
        Ok(())
    }

    fn subnet_for(&self, wanted: Option<&str>, zone: Option<&str>) -> Result<Subnet, Refused> {
        let subnets = self.subnets();
        let found = match (wanted, zone) {
            (Some(id), _) => subnets.iter().find(|subnet| subnet.id == id).ok_or_else(|| {
                Refused::new(
                    "InvalidSubnetID.NotFound",
                    format!("The subnet ID '{id}' does not exist"),
                )
            }),
            (None, Some(zone)) => subnets.iter().find(|subnet| subnet.zone == zone).ok_or_else(|| {
                Refused::new(
                    "InvalidParameterValue",
                    format!("Invalid availability zone: [{zone}]"),
                )
            }),
            (None, None) => Ok(&subnets[0]),
        };
        found.cloned()
    }

    /// Returns the groups that are wanted, or the default one.
    fn groups_for(&self, wanted: &[&str]) -> Result<Vec<String>, Refused> {
        if wanted.is_empty() {
            let default = self.groups.values().find(|group| group.name == "default");
            return Ok(default.map(|group| group.id.clone()).into_iter().collect());
        }
        for id in wanted {
            self.group(id)?;
        }
        Ok(wanted.iter().map(|id| (*id).to_owned()).collect())
    }

    pub(super) fn describe_instances(&self, asked: &Asked, moment: &Moment) -> Outcome {
        let named = asked.list("InstanceId");
        for id in &named {
            if !self.shows(self.living(id)?.id.as_str(), moment) {
                return Err(Refused::new(
                    "InvalidInstanceID.NotFound",
                    format!("The instance ID '{id}' does not exist"),
                ));
            }
        }
        let seen = self
            .instances
            .values()
            .filter(|instance| named.is_empty() || named.contains(&instance.id.as_str()))
            .filter(|instance| self.shows(&instance.id, moment));
        let found = asked.filtered(
            seen,
            |instance| self.tags_of(&instance.id),
            |instance, name| {
                Some(match name {
                    "instance-id" => vec![instance.id.clone()],
                    "instance-state-name" => vec![instance.state.name().to_owned()],
                    "instance-type" => vec![instance.kind.clone()],
                    "image-id" => vec![instance.image.id.to_owned()],
                    "client-token" => vec![instance.client_token.clone()],
                    "subnet-id" => vec![instance.subnet.id.clone()],
                    "vpc-id" => vec![self.vpc()],
                    "availability-zone" => vec![instance.subnet.zone.clone()],
                    "instance.group-id" => instance.groups.clone(),
                    "private-ip-address" => vec![instance.private_ip.clone()],
                    _ => return None,
                })
            },
        )?;
        let (page, next) = asked.page(found, |instance| &instance.id)?;
        let mut xml = Xml::default();
        xml.items("reservationSet", page, |item, instance| {
            item.text("reservationId", &instance.reservation)
                .text("ownerId", &self.account)
                .items("groupSet", None::<()>, |_, ()| {})
                .items("instancesSet", [instance], |item, instance| {
                    self.write_instance(item, instance);
                });
        });
        xml.some("nextToken", next);
        Ok(xml)
    }

    fn write_instance(&self, xml: &mut Xml, instance: &Instance) {
        let volumes: Vec<(&Volume, &Attachment)> = self
            .volumes
            .values()
            .filter_map(|volume| Some((volume, volume.attachment.as_ref()?)))
            .filter(|(_, tie)| tie.instance == instance.id)
            .collect();
        let ended = matches!(instance.state, State::Terminated);
        let runs = matches!(instance.state, State::Running | State::Pending);
        let elastic = self.addresses.values().find(|address| {
            let tie = address.association.as_ref();
            tie.is_some_and(|tie| tie.instance == instance.id)
        });
        let public = match (elastic, &instance.own_ip) {
            (Some(address), _) => Some((address.ip.to_string(), self.account.clone())),
            (None, Some(ip)) if instance.state == State::Running => Some((ip.clone(), "amazon".to_owned())),
            _ => None,
        };
        xml.text("instanceId", &instance.id)
            .text("imageId", instance.image.id);
        instance.state.write(xml, "instanceState");
        xml.text(
            "privateDnsName",
            if ended {
                String::new()
            } else {
                self.private_name(instance)
            },
        )
        .text(
            "dnsName",
            public
                .as_ref()
                .map(|(ip, _)| self.public_name(ip))
                .unwrap_or_default(),
        )
        .some("keyName", instance.key.as_ref())
        .text("amiLaunchIndex", 0)
        .text("instanceType", &instance.kind)
        .text("launchTime", &instance.launched)
        .within("placement", |placement| {
            placement
                .text("availabilityZone", &instance.subnet.zone)
                .text("groupName", instance.placement.as_deref().unwrap_or_default())
                .text("tenancy", &instance.tenancy);
        })
        .within("monitoring", |monitoring| {
            let state = if instance.monitoring {
                "enabled"
            } else {
                "disabled"
            };
            monitoring.text("state", state);
        });
        if !ended {
            xml.text("subnetId", &instance.subnet.id)
                .text("vpcId", self.vpc())
                .text("privateIpAddress", &instance.private_ip)
                .some("ipAddress", public.as_ref().map(|(ip, _)| ip));
        }
        xml.text("sourceDestCheck", instance.source_dest_check)
            .items(
                "groupSet",
                if ended { &[] } else { instance.groups.as_slice() },
                |item, id| {
                    self.write_group_name(item, id);
                },
            )
            .text("architecture", instance.image.architecture)
            .text("rootDeviceType", "ebs")
            .text("rootDeviceName", instance.image.root_device)
            .items("blockDeviceMapping", volumes, |item, (volume, tie)| {
                item.text("deviceName", &tie.device).within("ebs", |ebs| {
                    ebs.text("volumeId", &volume.id)
                        .text("status", "attached")
                        .text("deleteOnTermination", tie.delete_on_termination);
                });
            })
            .text("virtualizationType", "hvm")
            .text("clientToken", &instance.client_token);
        tagging::write(xml, self.tags_of(&instance.id));
        xml.text("hypervisor", "xen");
        let interfaces = if ended { None } else { Some(instance) };
        xml.items("networkInterfaceSet", interfaces, |item, instance| {
            self.write_interface(item, instance, public.as_ref());
        });
        if let Some(profile) = &instance.profile {
            xml.within("iamInstanceProfile", |xml| {
                xml.text(
                    "arn",
                    format!("arn:aws:iam::{}:instance-profile/{profile}", self.account),
                );
            });
        }
        xml.text("ebsOptimized", instance.ebs_optimized);
        if instance.is_spot {
            xml.text("instanceLifecycle", "spot");
        }
        write_capacity(xml, &instance.capacity);
        let options = &instance.metadata;
        xml.within("metadataOptions", |xml| {
            xml.text("state", if runs { "applied" } else { "pending" })
                .text("httpTokens", &options.tokens)
                .text("httpPutResponseHopLimit", options.hops)
                .text("httpEndpoint", &options.endpoint)
                .text("instanceMetadataTags", &options.tags);
        });
        if matches!(instance.state, State::ShuttingDown | State::Terminated) {
            let (code, said) = if instance.starved {
                (
                    "Server.InsufficientInstanceCapacity",
                    "Insufficient capacity to satisfy instance request",
                )
            } else {
                ("Client.UserInitiatedShutdown", "User initiated shutdown")
            };
            xml.within("stateReason", |xml| {
                xml.text("code", code).text("message", format!("{code}: {said}"));
            });
        }
    }

    fn write_interface(&self, xml: &mut Xml, instance: &Instance, public: Option<&(String, String)>) {
        xml.text("networkInterfaceId", &instance.interface)
            .text("subnetId", &instance.subnet.id)
            .text("vpcId", self.vpc())
            .text("ownerId", &self.account)
            .text("status", "in-use")
            .text("privateIpAddress", &instance.private_ip)
            .text("sourceDestCheck", instance.source_dest_check)
            .items("groupSet", &instance.groups, |item, id| {
                self.write_group_name(item, id);
            })
            .within("attachment", |xml| {
                xml.text("deviceIndex", 0)
                    .text("status", "attached")
                    .text("deleteOnTermination", true);
            });
        if let Some((ip, owner)) = public {
            xml.within("association", |xml| {
                xml.text("publicIp", ip)
                    .text("publicDnsName", self.public_name(ip))
                    .text("ipOwnerId", owner);
            });
        }
    }

    fn private_name(&self, instance: &Instance) -> String {
        let ip = instance.private_ip.replace('.', "-");
        format!("ip-{ip}.{}.compute.internal", self.name)
    }

    fn public_name(&self, ip: &str) -> String {
        format!("ec2-{}.{}.compute.amazonaws.com", ip.replace('.', "-"), self.name)
    }

    pub(super) fn describe_network_interfaces(&self, asked: &Asked) -> Outcome {
        let seen = self.instances.values().filter(|instance| instance.holds());
        let found = asked.filtered(
            seen,
            |_| None,
            |instance, name| {
                Some(match name {
                    "group-id" => instance.groups.clone(),
                    "attachment.instance-id" => vec![instance.id.clone()],
                    "network-interface-id" => vec![instance.interface.clone()],
                    _ => return None,
                })
            },
        )?;
        let mut xml = Xml::default();
        xml.items("networkInterfaceSet", found, |item, instance| {
            item.text("networkInterfaceId", &instance.interface)
                .text("subnetId", &instance.subnet.id)
                .text("vpcId", self.vpc())
                .text("status", "in-use")
                .text("privateIpAddress", &instance.private_ip)
                .within("attachment", |xml| {
                    xml.text("instanceId", &instance.id).text("status", "attached");
                });
        });
        Ok(xml)
    }

    /// `StartInstances`, `StopInstances` and `TerminateInstances`: all of them, or none.
    pub(super) fn change_instances(&mut self, asked: &Asked, moment: &Moment) -> Outcome {
        let ids: Vec<String> = asked.list("InstanceId").into_iter().map(str::to_owned).collect();
        let mut changes = Vec::new();
        for id in &ids {
            let is = self.living(id)?.state;
            let becomes = match (asked.operation.as_str(), is) {
                ("TerminateInstances", State::Terminated | State::ShuttingDown) => None,
                ("TerminateInstances", _) => Some(State::ShuttingDown),
                ("StopInstances", State::Running) => Some(State::Stopping),
                ("StopInstances", State::Stopped | State::Stopping) => None,
                ("StartInstances", State::Stopped) => Some(State::Pending),
                ("StartInstances", State::Running | State::Pending) => None,
                (operation, _) => {
                    let verb = operation.trim_end_matches("Instances").to_lowercase();
                    return Err(Refused::new(
                        "IncorrectInstanceState",
                        format!(
                            "The instance '{id}' is not in a state from which it can be {verb}ed: it is '{}'.",
                            is.name()
                        ),
                    ));
                }
            };
            changes.push((id, is, becomes.unwrap_or(is), becomes.is_some()));
        }
        let mut xml = Xml::default();
        xml.items("instancesSet", &changes, |item, (id, was, becomes, _)| {
            item.text("instanceId", id);
            becomes.write(item, "currentState");
            was.write(item, "previousState");
        });
        for (id, _, becomes, changed) in changes {
            if let Some(instance) = self.instances.get_mut(id).filter(|_| changed) {
                instance.pass(becomes, moment);
                if becomes == State::Pending {
                    instance.launched = timestamp();
                    instance.own_ip = instance.own_ip.take().map(|_| String::new());
                }
            }
        }
        // A machine that is started again gets another address.
        let started: Vec<String> = self
            .instances
            .values()
            .filter(|instance| instance.own_ip.as_deref() == Some(""))
            .map(|instance| instance.id.clone())
            .collect();
        for id in started {
            let ip = self.public_ip().to_string();
            if let Some(instance) = self.instances.get_mut(&id) {
                instance.own_ip = Some(ip);
            }
        }
        Ok(xml)
    }

    pub(super) fn monitor_instances(&mut self, asked: &Asked) -> Outcome {
        let ids: Vec<String> = asked.list("InstanceId").into_iter().map(str::to_owned).collect();
        for id in &ids {
            self.living(id)?;
        }
        let on = asked.operation == "MonitorInstances";
        let mut xml = Xml::default();
        xml.items("instancesSet", &ids, |item, id| {
            item.text("instanceId", id).within("monitoring", |xml| {
                xml.text("state", if on { "pending" } else { "disabling" });
            });
        });
        for id in ids {
            if let Some(instance) = self.instances.get_mut(&id) {
                instance.monitoring = on;
            }
        }
        Ok(xml)
    }

    pub(super) fn modify_instance_attribute(&mut self, asked: &Asked) -> Outcome {
        let id = asked.needed("InstanceId")?.to_owned();
        let state = self.living(&id)?.state;
        if state == State::Terminated {
            return Err(not_stopped(&id));
        }
        let groups = asked.list("GroupId");
        let groups = if groups.is_empty() {
            None
        } else {
            Some(self.groups_for(&groups)?)
        };
        let kind = asked.parameter("InstanceType.Value").map(str::to_owned);
        let user_data = asked.parameter("UserData.Value").map(str::to_owned);
        if (kind.is_some() || user_data.is_some()) && state != State::Stopped {
            return Err(not_stopped(&id));
        }
        if let Some(kind) = kind
            .as_ref()
            .filter(|kind| catalogue::instance_type(kind).is_none())
        {
            return Err(Refused::new(
                "InvalidInstanceAttributeValue",
                format!("Invalid value '{kind}' for InstanceType."),
            ));
        }
        let check = asked.flag("SourceDestCheck.Value");
        if let Some(instance) = self.instances.get_mut(&id) {
            if let Some(groups) = groups {
                instance.groups = groups;
            }
            if let Some(kind) = kind {
                instance.kind = kind;
            }
            if let Some(user_data) = user_data {
                instance.user_data = user_data;
            }
            instance.source_dest_check = check.unwrap_or(instance.source_dest_check);
        }
        Ok(tagging::done())
    }

    pub(super) fn modify_instance_metadata_options(&mut self, asked: &Asked) -> Outcome {
        let id = asked.needed("InstanceId")?.to_owned();
        self.living(&id)?;
        let mut xml = Xml::default();
        xml.text("instanceId", &id);
        if let Some(instance) = self.instances.get_mut(&id) {
            let set = |is: &mut String, name: &str| {
                if let Some(text) = asked.parameter(name) {
                    text.clone_into(is);
                }
            };
            set(&mut instance.metadata.tokens, "HttpTokens");
            set(&mut instance.metadata.endpoint, "HttpEndpoint");
            set(&mut instance.metadata.tags, "InstanceMetadataTags");
            if let Some(hops) = asked.number("HttpPutResponseHopLimit") {
                instance.metadata.hops = hops;
            }
        }
        Ok(xml)
    }

    pub(super) fn describe_instance_attribute(&self, asked: &Asked) -> Outcome {
        let instance = self.living(asked.needed("InstanceId")?)?;
        if asked.needed("Attribute")? != "userData" {
            return Err(Refused::new(
                "InvalidParameterValue",
                "Only userData is told here.",
            ));
        }
        let mut xml = Xml::default();
        xml.text("instanceId", &instance.id).within("userData", |xml| {
            if !instance.user_data.is_empty() {
                xml.text("value", &instance.user_data);
            }
        });
        Ok(xml)
    }

    pub(super) fn get_console_output(&self, asked: &Asked, moment: &Moment) -> Outcome {
        use base64::Engine as _;
        let instance = self.living(asked.needed("InstanceId")?)?;
        let mut xml = Xml::default();
        xml.text("instanceId", &instance.id)
            .text("timestamp", timestamp());
        if instance.state == State::Running && !moment.console.is_empty() {
            let output = base64::engine::general_purpose::STANDARD.encode(&moment.console);
            xml.text("output", output);
        }
        Ok(xml)
    }
}

fn not_stopped(id: &str) -> Refused {
    Refused::new(
        "IncorrectInstanceState",
        format!("The instance '{id}' is not in the 'stopped' state."),
    )
}

fn capacity(asked: &Asked) -> Capacity {
    let said = |name: &str| {
        let name = format!("CapacityReservationSpecification.{name}");
        asked.parameter(&name).map(str::to_owned)
    };
    Capacity {
        preference: said("CapacityReservationPreference"),
        reservation: said("CapacityReservationTarget.CapacityReservationId"),
        group: said("CapacityReservationTarget.CapacityReservationResourceGroupArn"),
    }
}

fn write_capacity(xml: &mut Xml, capacity: &Capacity) {
    xml.within("capacityReservationSpecification", |xml| {
        if capacity.reservation.is_some() || capacity.group.is_some() {
            xml.within("capacityReservationTarget", |xml| {
                xml.some("capacityReservationId", capacity.reservation.as_ref())
                    .some("capacityReservationResourceGroupArn", capacity.group.as_ref());
            });
        } else {
            xml.text(
                "capacityReservationPreference",
                capacity.preference.as_deref().unwrap_or("open"),
            );
        }
    });
}

fn metadata(asked: &Asked) -> Metadata {
    let said = |name: &str, default: &str| {
        let name = format!("MetadataOptions.{name}");
        asked.parameter(&name).unwrap_or(default).to_owned()
    };
    Metadata {
        tokens: said("HttpTokens", "optional"),
        endpoint: said("HttpEndpoint", "enabled"),
        hops: asked
            .number("MetadataOptions.HttpPutResponseHopLimit")
            .unwrap_or(1),
        tags: said("InstanceMetadataTags", "disabled"),
    }
}
