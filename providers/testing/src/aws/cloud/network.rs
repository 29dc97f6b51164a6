//! Elastic addresses, key pairs and placement groups.

use super::instances::State;
use super::region::{Address, Association, KeyPair, Placement, Region, fixed};
use super::xml::Xml;
use super::{Moment, Outcome, Refused, tagging, timestamp};
use crate::aws::http::Asked;

/// The most elastic addresses of a region (EC2 User Guide, "Elastic IP address quota").
const ADDRESSES: usize = 5;

impl Region {
    pub(super) fn allocate_address(&mut self, asked: &Asked, moment: &Moment) -> Outcome {
        if self.addresses.len() >= ADDRESSES {
            return Err(Refused::new(
                "AddressLimitExceeded",
                "The maximum number of addresses has been reached.",
            ));
        }
        let tags = asked.tags_for("elastic-ip")?;
        let id = self.next_id("eipalloc");
        let ip = self.public_ip();
        self.note_made(&id, tags, moment);
        let mut xml = Xml::default();
        xml.text("publicIp", ip)
            .text("domain", "vpc")
            .text("allocationId", &id);
        let address = Address {
            id: id.clone(),
            ip,
            association: None,
        };
        self.addresses.insert(id, address);
        Ok(xml)
    }

    fn address(&self, id: &str) -> Result<&Address, Refused> {
        self.addresses.get(id).ok_or_else(|| {
            Refused::new(
                "InvalidAllocationID.NotFound",
                format!("The allocation ID '{id}' does not exist"),
            )
        })
    }

    pub(super) fn associate_address(&mut self, asked: &Asked) -> Outcome {
        let id = asked.needed("AllocationId")?.to_owned();
        let address = self.address(&id)?;
        let instance = match (
            asked.parameter("InstanceId"),
            asked.parameter("NetworkInterfaceId"),
        ) {
            (Some(id), _) => self.living(id)?,
            (None, Some(interface)) => self
                .instances
                .values()
                .find(|instance| instance.holds() && instance.interface == interface)
                .ok_or_else(|| {
                    Refused::new(
                        "InvalidNetworkInterfaceID.NotFound",
                        format!("The networkInterface ID '{interface}' does not exist"),
                    )
                })?,
            (None, None) => {
                return Err(Refused::new(
                    "MissingParameter",
                    "Either 'InstanceId' or 'NetworkInterfaceId' must be specified",
                ));
            }
        };
        if !matches!(instance.state, State::Running | State::Stopped | State::Stopping) {
            return Err(Refused::new(
                "InvalidInstanceID",
                format!(
                    "The instance '{}' is not in a valid state for this operation.",
                    instance.id
                ),
            ));
        }
        let instance = instance.id.clone();
        let may_move = asked.flag("AllowReassociation").unwrap_or_default();
        if address.association.is_some() && !may_move {
            return Err(Refused::new(
                "Resource.AlreadyAssociated",
                format!("resource {id} is already associated with associate-id"),
            ));
        }
        let association = self.next_id("eipassoc");
        // An interface has one elastic address on its first private one.
        for other in self.addresses.values_mut() {
            if other
                .association
                .as_ref()
                .is_some_and(|tie| tie.instance == instance)
            {
                other.association = None;
            }
        }
        if let Some(address) = self.addresses.get_mut(&id) {
            address.association = Some(Association {
                id: association.clone(),
                instance,
            });
        }
        let mut xml = tagging::done();
        xml.text("associationId", association);
        Ok(xml)
    }

    pub(super) fn disassociate_address(&mut self, asked: &Asked) -> Outcome {
        let id = asked.needed("AssociationId")?;
        let tied = |address: &&mut Address| address.association.as_ref().is_some_and(|tie| tie.id == id);
        match self.addresses.values_mut().find(tied) {
            Some(address) => {
                address.association = None;
                Ok(tagging::done())
            }
            None => Err(Refused::new(
                "InvalidAssociationID.NotFound",
                format!("The association ID '{id}' does not exist"),
            )),
        }
    }

    pub(super) fn release_address(&mut self, asked: &Asked) -> Outcome {
        let id = asked.needed("AllocationId")?.to_owned();
        let address = self.address(&id)?;
        if address.association.is_some() {
            return Err(Refused::new(
                "InvalidIPAddress.InUse",
                format!("Address {} is in use.", address.ip),
            ));
        }
        self.addresses.remove(&id);
        self.forget(&id);
        Ok(tagging::done())
    }

    pub(super) fn describe_addresses(&self, asked: &Asked, moment: &Moment) -> Outcome {
        let named = asked.list("AllocationId");
        for id in &named {
            self.address(id)?;
        }
        let seen = self
            .addresses
            .values()
            .filter(|address| named.is_empty() || named.contains(&address.id.as_str()))
            .filter(|address| self.shows(&address.id, moment));
        let found = asked.filtered(
            seen,
            |address| self.tags_of(&address.id),
            |address, name| {
                let tie = address.association.as_ref();
                Some(match name {
                    "allocation-id" => vec![address.id.clone()],
                    "public-ip" => vec![address.ip.to_string()],
                    "domain" => vec!["vpc".to_owned()],
                    "association-id" => tie.map(|tie| tie.id.clone()).into_iter().collect(),
                    "instance-id" => tie.map(|tie| tie.instance.clone()).into_iter().collect(),
                    _ => return None,
                })
            },
        )?;
        let mut xml = Xml::default();
        xml.items("addressesSet", found, |item, address| {
            item.text("publicIp", address.ip)
                .text("allocationId", &address.id)
                .text("domain", "vpc");
            if let Some(tie) = &address.association {
                let instance = self.instances.get(&tie.instance);
                item.text("instanceId", &tie.instance)
                    .text("associationId", &tie.id)
                    .some("networkInterfaceId", instance.map(|instance| &instance.interface))
                    .text("networkInterfaceOwnerId", &self.account)
                    .some("privateIpAddress", instance.map(|instance| &instance.private_ip));
            }
            tagging::write(item, self.tags_of(&address.id));
        });
        Ok(xml)
    }

    pub(super) fn import_key_pair(&mut self, asked: &Asked, moment: &Moment) -> Outcome {
        use base64::Engine as _;
        let name = asked.needed("KeyName")?;
        if self.keys.contains_key(name) {
            return Err(Refused::new(
                "InvalidKeyPair.Duplicate",
                format!("The keypair already exists: {name}"),
            ));
        }
        let material = asked.needed("PublicKeyMaterial")?;
        let decoded = base64::engine::general_purpose::STANDARD.decode(material).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let known = |text: &String| text.starts_with("ssh-ed25519 ") || text.starts_with("ssh-rsa ");
        let Some(material) = decoded.filter(known) else {
            return Err(Refused::new(
                "InvalidKey.Format",
                "Key is not in valid OpenSSH public key format",
            ));
        };
        let tags = asked.tags_for("key-pair")?;
        let pair = KeyPair {
            id: self.next_id("key"),
            name: name.to_owned(),
            material,
        };
        self.note_made(&pair.id, tags, moment);
        let mut xml = Xml::default();
        xml.text("keyName", name)
            .text("keyFingerprint", fingerprint(&pair))
            .text("keyPairId", &pair.id);
        self.keys.insert(name.to_owned(), pair);
        Ok(xml)
    }

    pub(super) fn delete_key_pair(&mut self, asked: &Asked) -> Outcome {
        // The same answer whether it was there or not.
        if let Some(pair) = self.keys.remove(asked.needed("KeyName")?) {
            self.forget(&pair.id);
        }
        Ok(tagging::done())
    }

    pub(super) fn describe_key_pairs(&self, asked: &Asked, moment: &Moment) -> Outcome {
        let named = asked.list("KeyName");
        for name in &named {
            if !self.keys.contains_key(*name) {
                return Err(Refused::new(
                    "InvalidKeyPair.NotFound",
                    format!("The key pair '{name}' does not exist"),
                ));
            }
        }
        let seen = self
            .keys
            .values()
            .filter(|pair| named.is_empty() || named.contains(&pair.name.as_str()))
            .filter(|pair| self.shows(&pair.id, moment));
        let found = asked.filtered(
            seen,
            |pair| self.tags_of(&pair.id),
            |pair, name| {
                Some(match name {
                    "key-name" => vec![pair.name.clone()],
                    "key-pair-id" => vec![pair.id.clone()],
                    "fingerprint" => vec![fingerprint(pair)],
                    _ => return None,
                })
            },
        )?;
        let with_key = asked.flag("IncludePublicKey").unwrap_or_default();
        let mut xml = Xml::default();
        xml.items("keySet", found, |item, pair| {
            let kind = if pair.material.starts_with("ssh-rsa") {
                "rsa"
            } else {
                "ed25519"
            };
            item.text("keyPairId", &pair.id)
                .text("keyName", &pair.name)
                .text("keyFingerprint", fingerprint(pair))
                .text("keyType", kind)
                .some("publicKey", with_key.then_some(&pair.material))
                .text("createTime", timestamp());
            tagging::write(item, self.tags_of(&pair.id));
        });
        Ok(xml)
    }

    pub(super) fn create_placement_group(&mut self, asked: &Asked, moment: &Moment) -> Outcome {
        let name = asked.needed("GroupName")?;
        if self.placements.contains_key(name) {
            return Err(Refused::new(
                "InvalidPlacementGroup.Duplicate",
                format!("The Placement Group '{name}' already exists."),
            ));
        }
        let strategy = asked.parameter("Strategy").unwrap_or("cluster");
        if !["cluster", "spread", "partition"].contains(&strategy) {
            return Err(Refused::new(
                "InvalidParameterValue",
                format!("Value ({strategy}) for parameter strategy is invalid."),
            ));
        }
        let tags = asked.tags_for("placement-group")?;
        let partitions = asked.number("PartitionCount");
        let spread = asked.parameter("SpreadLevel").unwrap_or("rack");
        let placement = Placement {
            id: self.next_id("pg"),
            name: name.to_owned(),
            strategy: strategy.to_owned(),
            partitions: (strategy == "partition").then(|| partitions.unwrap_or(2)),
            spread: (strategy == "spread").then(|| spread.to_owned()),
        };
        self.note_made(&placement.id, tags, moment);
        let mut xml = tagging::done();
        xml.within("placementGroup", |xml| self.write_placement(xml, &placement));
        self.placements.insert(name.to_owned(), placement);
        Ok(xml)
    }

    fn write_placement(&self, xml: &mut Xml, placement: &Placement) {
        xml.text("groupName", &placement.name)
            .text("groupId", &placement.id)
            .text("strategy", &placement.strategy)
            .text("state", "available")
            .some("partitionCount", placement.partitions)
            .some("spreadLevel", placement.spread.as_ref());
        tagging::write(xml, self.tags_of(&placement.id));
    }

    pub(super) fn delete_placement_group(&mut self, asked: &Asked) -> Outcome {
        let name = asked.needed("GroupName")?;
        let used = self
            .instances
            .values()
            .any(|instance| instance.holds() && instance.placement.as_deref() == Some(name));
        if used {
            return Err(Refused::new(
                "InvalidPlacementGroup.InUse",
                format!("The placement group '{name}' is in use and may not be deleted."),
            ));
        }
        match self.placements.remove(name) {
            Some(placement) => {
                self.forget(&placement.id);
                Ok(tagging::done())
            }
            None => Err(Refused::new(
                "InvalidPlacementGroup.Unknown",
                format!("The Placement Group '{name}' is unknown."),
            )),
        }
    }

    pub(super) fn describe_placement_groups(&self, asked: &Asked, moment: &Moment) -> Outcome {
        let seen = self
            .placements
            .values()
            .filter(|placement| self.shows(&placement.id, moment));
        let found = asked.filtered(
            seen,
            |placement| self.tags_of(&placement.id),
            |placement, name| {
                Some(match name {
                    "group-name" => vec![placement.name.clone()],
                    "group-id" => vec![placement.id.clone()],
                    "strategy" => vec![placement.strategy.clone()],
                    "state" => vec!["available".to_owned()],
                    _ => return None,
                })
            },
        )?;
        let mut xml = Xml::default();
        xml.items("placementGroupSet", found, |item, placement| {
            self.write_placement(item, placement);
        });
        Ok(xml)
    }
}

fn fingerprint(pair: &KeyPair) -> String {
    format!("{:016x}", fixed(&pair.material))
}
