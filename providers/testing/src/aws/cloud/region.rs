//! A region of the account: its network, and what was made in it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::groups::Group;
use super::instances::{Instance, State};
use super::question::Tags;
use super::storage::Volume;
use super::{Moment, Refused};

/// For how long a terminated instance is shown (EC2 User Guide, "Terminate Amazon EC2 instances": usually an hour).
const SHOWN: Duration = Duration::from_secs(60 * 60);

/// A region.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) name: String,
    pub(super) account: String,
    pub(super) instances: BTreeMap<String, Instance>,
    pub(super) volumes: BTreeMap<String, Volume>,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) addresses: BTreeMap<String, Address>,
    /// By name.
    pub(super) keys: BTreeMap<String, KeyPair>,
    /// By name.
    pub(super) placements: BTreeMap<String, Placement>,
    /// Of everything that has an id.
    pub(super) tags: BTreeMap<String, Tags>,
    /// From when on descriptions show what was made.
    pub(super) seen_from: BTreeMap<String, Instant>,
    /// How much was made, for ids and addresses.
    made: u64,
}

/// An elastic address.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) id: String,
    pub(super) ip: Ipv4Addr,
    pub(super) association: Option<Association>,
}

/// What an elastic address leads to.
#[derive(Debug)]
pub(super) struct Association {
    pub(super) id: String,
    pub(super) instance: String,
}

/// A public SSH key.
#[derive(Debug)]
pub(super) struct KeyPair {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) material: String,
}

/// A placement group.
#[derive(Debug)]
pub(super) struct Placement {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) strategy: String,
    pub(super) partitions: Option<i64>,
    pub(super) spread: Option<String>,
}

/// A subnet of the default VPC: one in each zone.
#[derive(Debug, Clone)]
pub(super) struct Subnet {
    pub(super) id: String,
    pub(super) zone: String,
    pub(super) number: u8,
}

impl Region {
    /// A region as a new account has it: a default VPC, a subnet in each of three zones, one security group.
    pub(super) fn new(name: &str, account: &str) -> Self {
        let mut region = Self {
            name: name.to_owned(),
            account: account.to_owned(),
            instances: BTreeMap::new(),
            volumes: BTreeMap::new(),
            groups: BTreeMap::new(),
            addresses: BTreeMap::new(),
            keys: BTreeMap::new(),
            placements: BTreeMap::new(),
            tags: BTreeMap::new(),
            seen_from: BTreeMap::new(),
            made: 0,
        };
        region.make_group("default", "default VPC security group");
        region
    }

    /// Returns the id of the default VPC.
    pub(super) fn vpc(&self) -> String {
        format!("vpc-{:017x}", fixed(&self.name))
    }

    /// Returns the zones.
    pub(super) fn zones(&self) -> Vec<String> {
        ["a", "b", "c"]
            .map(|zone| format!("{}{zone}", self.name))
            .to_vec()
    }

    /// Returns the subnets.
    pub(super) fn subnets(&self) -> Vec<Subnet> {
        (0_u8..)
            .zip(self.zones())
            .map(|(number, zone)| Subnet {
                id: format!("subnet-{:017x}", fixed(&zone)),
                zone,
                number,
            })
            .collect()
    }

    /// Returns an id that nothing has yet.
    pub(super) fn next_id(&mut self, kind: &str) -> String {
        self.made += 1;
        format!(
            "{kind}-{:017x}",
            fixed(&format!("{}/{}/{kind}", self.name, self.made))
        )
    }

    /// Returns a private address that nothing has yet.
    pub(super) fn private_ip(&mut self, subnet: &Subnet) -> Ipv4Addr {
        self.made += 1;
        let base = Ipv4Addr::new(172, 31, subnet.number * 16, 0).to_bits();
        // The first four of a subnet are AWS's own.
        Ipv4Addr::from_bits(base + 4 + (self.made % 4000) as u32)
    }

    /// Returns a public address that nothing has yet, of a block that is for tests of networks (RFC 2544).
    pub(super) fn public_ip(&mut self) -> Ipv4Addr {
        self.made += 1;
        Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + 1 + (self.made % 120_000) as u32)
    }

    /// Notes that something was made: descriptions may show it later.
    pub(super) fn note_made(&mut self, id: &str, tags: Tags, moment: &Moment) {
        self.tags.insert(id.to_owned(), tags);
        if !moment.lag.is_zero() {
            self.seen_from.insert(id.to_owned(), moment.now + moment.lag);
        }
    }

    /// Returns whether descriptions show what has an id.
    pub(super) fn shows(&self, id: &str, moment: &Moment) -> bool {
        self.seen_from.get(id).is_none_or(|from| *from <= moment.now)
    }

    /// Forgets what is gone.
    pub(super) fn forget(&mut self, id: &str) {
        self.tags.remove(id);
        self.seen_from.remove(id);
    }

    /// Returns whether something has an id.
    pub(super) fn has(&self, id: &str) -> bool {
        self.instances.contains_key(id)
            || self.volumes.contains_key(id)
            || self.groups.contains_key(id)
            || self.addresses.contains_key(id)
            || self.groups.values().any(|group| group.rules.contains_key(id))
            || self.keys.values().any(|key| key.id == id)
            || self.placements.values().any(|placement| placement.id == id)
    }

    /// Returns an instance that is not terminated.
    pub(super) fn living(&self, id: &str) -> Result<&Instance, Refused> {
        if !well_formed("i-", id) {
            return Err(Refused::new(
                "InvalidInstanceID.Malformed",
                format!("Invalid id: \"{id}\""),
            ));
        }
        self.instances.get(id).ok_or_else(|| {
            Refused::new(
                "InvalidInstanceID.NotFound",
                format!("The instance ID '{id}' does not exist"),
            )
        })
    }

    /// Lets what takes time come to its end.
    pub(super) fn settle(&mut self, moment: &Moment) {
        let mut ended = Vec::new();
        for instance in self.instances.values_mut() {
            let Some(until) = instance.passing.filter(|until| *until <= moment.now) else {
                continue;
            };
            instance.passing = None;
            instance.state = match instance.state {
                State::Pending if instance.starved => State::Terminated,
                State::Pending => State::Running,
                State::Stopping => State::Stopped,
                State::ShuttingDown => State::Terminated,
                settled => settled,
            };
            if instance.state == State::Terminated {
                instance.ended = Some(until);
                ended.push(instance.id.clone());
            }
        }
        for id in ended {
            self.let_go(&id);
        }
        let gone: Vec<String> = self
            .instances
            .values()
            .filter(|instance| instance.ended.is_some_and(|ended| ended + SHOWN <= moment.now))
            .map(|instance| instance.id.clone())
            .collect();
        for id in gone {
            self.instances.remove(&id);
            self.forget(&id);
        }
        for volume in self.volumes.values_mut() {
            volume.settle(moment);
        }
    }

    /// What an instance held is free once it is terminated.
    fn let_go(&mut self, instance: &str) {
        for address in self.addresses.values_mut() {
            if address
                .association
                .as_ref()
                .is_some_and(|tie| tie.instance == instance)
            {
                address.association = None;
            }
        }
        let mut gone = Vec::new();
        for volume in self.volumes.values_mut() {
            if volume
                .attachment
                .as_ref()
                .is_some_and(|tie| tie.instance == instance)
            {
                let tie = volume.attachment.take();
                if tie.is_some_and(|tie| tie.delete_on_termination) {
                    gone.push(volume.id.clone());
                }
            }
        }
        for id in gone {
            self.volumes.remove(&id);
            self.forget(&id);
        }
    }
}

/// Returns whether an id has the form of its kind: 8 or 17 hexadecimal digits.
pub(super) fn well_formed(prefix: &str, id: &str) -> bool {
    id.strip_prefix(prefix).is_some_and(|rest| {
        [8, 17].contains(&rest.len()) && rest.chars().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// Returns a number that looks like chance and follows from a text (FNV-1a).
pub(super) fn fixed(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
