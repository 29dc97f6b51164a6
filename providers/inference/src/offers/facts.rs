//! What a region has, as its survey says it.

use std::collections::BTreeMap;

use gabion_engine::value::{Attributes, Value};
use serde::{Deserialize, Serialize};

/// What a region offers an account. What a survey lacks is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegionFacts {
    /// The region's name.
    pub region: String,
    /// The instance types that it has.
    pub instance_types: Vec<InstanceType>,
    /// Its availability zones.
    pub zones: Vec<String>,
    /// The VPC that was asked for, or the default one.
    pub vpc: Option<Vpc>,
    /// The subnets of that VPC.
    pub subnets: Vec<Subnet>,
    /// The newest image of each pattern, by [`image_key`].
    pub images: BTreeMap<String, Image>,
    /// The account's zones of DNS.
    pub hosted_zones: Vec<HostedZone>,
    /// How many vCPUs the account may run at a time, by quota (`standard`, `g`, `p`) and for spot instances with
    /// `-spot` after it. A quota that is missing is not known.
    pub vcpu_quotas: BTreeMap<String, u32>,
    /// What types cost here, where that is known better than from the list of this crate: dollars an hour.
    pub prices: BTreeMap<String, TypePrices>,
    /// Of which day those are.
    pub prices_date: Option<String>,
}

/// What an instance type costs, in dollars an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TypePrices {
    /// On demand; `None` when that is not known.
    pub on_demand: Option<f64>,
    /// As a spot instance; `None` when that is not known.
    pub spot: Option<f64>,
}

/// An instance type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceType {
    /// Its name, `g5.xlarge`.
    pub name: String,
    /// Its processors.
    pub vcpus: u32,
    /// Its memory in MiB.
    pub memory_mib: u64,
    /// `x86_64`, `arm64`.
    pub architectures: Vec<String>,
    /// Its accelerators, an entry a model.
    pub gpus: Vec<GpuFacts>,
    /// Whether it can be had interruptible.
    pub spot: bool,
    /// The zones that offer it; empty when that is not known.
    pub zones: Vec<String>,
}

/// The accelerators of one model that an instance type has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuFacts {
    /// The maker in lower case.
    pub vendor: String,
    /// The model.
    pub name: String,
    /// How many.
    pub count: u32,
    /// The memory of one in MiB; 0 when nobody says.
    pub memory_mib: u64,
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vpc {
    /// Its id.
    pub id: String,
    /// Its addresses.
    pub cidr_block: String,
    /// Whether it is the region's default one.
    pub default: bool,
}

/// A part of a network, in one zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subnet {
    /// Its id.
    pub id: String,
    /// Its zone.
    pub availability_zone: String,
    /// Its addresses.
    pub cidr_block: String,
    /// Whether machines in it get a public address unless told otherwise.
    pub map_public_ip_on_launch: bool,
    /// Whether it is the default one of its zone.
    pub default_for_az: bool,
    /// How what is in it reaches the internet: `igw`, `nat`, `other`, `none`; empty when that is not known.
    pub egress: String,
}

/// An image of a machine's disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// Its full name.
    pub name: String,
    /// When it was made.
    pub created: String,
    /// The least that a disk made of it has, in GiB; 0 when that is not known.
    pub root_gib: u64,
}

/// A zone of DNS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostedZone {
    /// Its name, without a dot at its end.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Whether only networks of the account see it.
    pub private: bool,
    /// The name servers that answer for it; empty when that is not known.
    pub name_servers: Vec<String>,
    /// The name servers that the world asks for it in place of its own, which may be none; `None` when its own are asked, or
    /// nobody has looked.
    pub delegated_to: Option<Vec<String>>,
}

/// Returns what an image is found under in [`RegionFacts::images`].
#[must_use]
pub fn image_key(owner: &str, pattern: &str, architecture: &str) -> String {
    format!("{owner}/{pattern}/{architecture}")
}

impl RegionFacts {
    /// Reads a survey's answer.
    #[must_use]
    pub fn of(attributes: &Attributes) -> Self {
        let json = Value::Map(attributes.clone()).to_redacted_json();
        serde_json::from_value(json).unwrap_or_default()
    }

    /// Returns the answer that a survey would give.
    #[must_use]
    pub fn to_attributes(&self) -> Attributes {
        // Plain data whose keys are texts: it has a JSON form.
        match Value::from_json(&serde_json::to_value(self).unwrap_or_default()) {
            Value::Map(attributes) => attributes,
            _ => Attributes::new(),
        }
    }

    /// Returns the public zone that a host name is in: the one with the longest name.
    #[must_use]
    pub fn public_zone(&self, host: &str) -> Option<&HostedZone> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let holds = |zone: &&HostedZone| {
            let name = zone.name.trim_end_matches('.').to_ascii_lowercase();
            !name.is_empty() && (host == name || host.ends_with(&format!(".{name}")))
        };
        let public = self.hosted_zones.iter().filter(|zone| !zone.private);
        public.filter(holds).max_by_key(|zone| zone.name.len())
    }
}

impl InstanceType {
    /// Returns the part of its name before the point: `g5`.
    #[must_use]
    pub fn family(&self) -> &str {
        self.name.split('.').next().unwrap_or(&self.name)
    }

    /// Returns how many accelerators it has.
    #[must_use]
    pub fn gpu_count(&self) -> u32 {
        self.gpus.iter().map(|gpu| gpu.count).sum()
    }
}
