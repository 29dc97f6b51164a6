//! What a region offers: read in one go before documents are lowered, and the same in every plan made from one reading.
//!
//! # Where it appears
//! Whoever lowers documents asks for it with a [`Survey`](gabion_engine::config::Survey) of the pseudo-type
//! [`AWS_REGION`], named by the region (`aws_region.eu-west-1`; with a profile `aws_region.PROFILE/eu-west-1`), and finds
//! the answer with [`RecordedView::surveyed`](gabion_engine::config::RecordedView::surveyed). No resource of that type
//! ever exists. [`RegionFacts::from_attributes`] reads the answer back.
//!
//! # What the survey's inputs are
//! | input | meaning |
//! | --- | --- |
//! | `region` | the region; null is the region of the SDK's own chain |
//! | `profile` | the profile of the shared configuration; null is the default one |
//! | `images` | image patterns to look up: a list of `{owner, name, architecture}`; the last may be null |
//! | `vpc_id` | the VPC to describe; null is the default one |
//! | `hosts` | host names of the project: the public zone that has one of them tells its name servers |
//! | `instance_types` | patterns of instance types (`g5.*`, `p5*`); null or empty is those with a GPU and a small set of general ones |

use std::collections::BTreeMap;

use gabion_engine::value::{Attributes, Value};
use serde::{Deserialize, Serialize};

/// The pseudo-type of a region in a survey.
pub const AWS_REGION: &str = "aws_region";

/// What a region offers an account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegionFacts {
    /// The region's name, such as `eu-west-1`.
    pub region: String,
    /// The instance types that it offers, sorted by name.
    pub instance_types: Vec<InstanceTypeFacts>,
    /// Its availability zones that can be used, sorted by name.
    pub zones: Vec<String>,
    /// The VPC that was asked for, or the default one; `None` when there is no such VPC.
    pub vpc: Option<VpcFacts>,
    /// The subnets of that VPC, sorted by zone and id.
    pub subnets: Vec<SubnetFacts>,
    /// The newest image of each pattern that was asked for, by [`image_key`]; a pattern that nothing matches is missing.
    pub images: BTreeMap<String, ImageFacts>,
    /// The account's hosted zones, public and private, sorted by name and id.
    pub hosted_zones: Vec<HostedZoneFacts>,
}

/// An instance type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceTypeFacts {
    /// Its name, such as `g5.xlarge`.
    pub name: String,
    /// Its vCPUs.
    pub vcpus: i64,
    /// Its memory in MiB.
    pub memory_mib: i64,
    /// Its architectures: `x86_64`, `arm64`.
    pub architectures: Vec<String>,
    /// Its GPUs and other accelerators, one entry a model.
    pub gpus: Vec<GpuFacts>,
    /// Whether it can be had as a spot instance.
    pub spot: bool,
    /// The availability zones that offer it, sorted.
    pub zones: Vec<String>,
}

/// The accelerators of one model that an instance type has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuFacts {
    /// `nvidia`, `amd`, `aws` (Inferentia, Trainium), `habana`, `xilinx`: the manufacturer in lower case.
    pub vendor: String,
    /// The model as EC2 names it: `A10G`, `H100`, `L4`, `Inferentia2`.
    pub name: String,
    /// How many.
    pub count: i64,
    /// The memory of one in MiB; 0 when EC2 does not say.
    pub memory_mib: i64,
}

/// A VPC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VpcFacts {
    /// Its id.
    pub id: String,
    /// Its main IPv4 block.
    pub cidr_block: String,
    /// Whether it is the region's default VPC.
    pub default: bool,
}

/// A subnet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubnetFacts {
    /// Its id.
    pub id: String,
    /// Its availability zone.
    pub availability_zone: String,
    /// Its IPv4 block.
    pub cidr_block: String,
    /// Whether instances get a public address there unless told otherwise.
    pub map_public_ip_on_launch: bool,
    /// Whether it is the default subnet of its zone.
    pub default_for_az: bool,
    /// Whether a route leads from it to the internet: by an internet gateway (`igw`), a NAT gateway (`nat`), another way
    /// (`other`), or none (`none`).
    pub egress: String,
}

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageFacts {
    /// Its id.
    pub id: String,
    /// Its full name.
    pub name: String,
    /// When it was made, as EC2 says it (RFC 3339).
    pub created: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// Its root device, such as `/dev/sda1`.
    pub root_device: String,
    /// The size of its root volume in GiB; 0 when EC2 does not say.
    pub root_gib: i64,
}

/// A hosted zone of Route 53.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostedZoneFacts {
    /// Its name without the dot at its end.
    pub name: String,
    /// Its id, such as `Z0123456789`.
    pub id: String,
    /// Whether only VPCs see it.
    pub private: bool,
    /// The name servers that Route 53 answers for it with, sorted; empty for a zone that has none of the host names that were
    /// asked for, and where the account's owner does not let us see them.
    pub name_servers: Vec<String>,
}

/// Returns the key of an image pattern in [`RegionFacts::images`]: `owner/name`, and `owner/name/architecture` where the
/// pattern names one.
pub fn image_key(owner: &str, name: &str, architecture: Option<&str>) -> String {
    match architecture {
        Some(architecture) => format!("{owner}/{name}/{architecture}"),
        None => format!("{owner}/{name}"),
    }
}

impl RegionFacts {
    /// Returns the facts as the attributes of the pseudo-resource [`AWS_REGION`].
    ///
    /// Each field is an attribute of its name; lists hold maps with the names of the fields here, `images` is a map, and
    /// `vpc` is null when there is none.
    #[must_use]
    pub fn to_attributes(&self) -> Attributes {
        // Plain data whose map keys are all texts: it always has a JSON form.
        let json = serde_json::to_value(self).unwrap_or_default();
        match Value::from_json(&json) {
            Value::Map(attributes) => attributes,
            _ => Attributes::new(),
        }
    }

    /// Reads the answer of a survey back; what it lacks is empty.
    #[must_use]
    pub fn from_attributes(attributes: &Attributes) -> Self {
        let json = Value::Map(attributes.clone()).to_redacted_json();
        serde_json::from_value(json).unwrap_or_default()
    }

    /// Returns the public hosted zone with the longest name that a host name ends with.
    #[must_use]
    pub fn public_zone(&self, host: &str) -> Option<&HostedZoneFacts> {
        longest_suffix(&self.hosted_zones, host)
    }
}

/// Returns the public zone with the longest name that a host name ends with.
pub(crate) fn longest_suffix<'a>(zones: &'a [HostedZoneFacts], host: &str) -> Option<&'a HostedZoneFacts> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    zones
        .iter()
        .filter(|zone| !zone.private)
        .filter(|zone| {
            let name = zone.name.to_ascii_lowercase();
            host == name || host.ends_with(&format!(".{name}"))
        })
        .max_by_key(|zone| zone.name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> RegionFacts {
        RegionFacts {
            region: "eu-west-1".into(),
            instance_types: vec![InstanceTypeFacts {
                name: "g5.xlarge".into(),
                vcpus: 4,
                memory_mib: 16384,
                architectures: vec!["x86_64".into()],
                gpus: vec![GpuFacts {
                    vendor: "nvidia".into(),
                    name: "A10G".into(),
                    count: 1,
                    memory_mib: 24576,
                }],
                spot: true,
                zones: vec!["eu-west-1a".into()],
            }],
            zones: vec!["eu-west-1a".into()],
            vpc: Some(VpcFacts {
                id: "vpc-1".into(),
                cidr_block: "172.31.0.0/16".into(),
                default: true,
            }),
            subnets: vec![SubnetFacts {
                id: "subnet-1".into(),
                availability_zone: "eu-west-1a".into(),
                cidr_block: "172.31.0.0/20".into(),
                map_public_ip_on_launch: true,
                default_for_az: true,
                egress: "igw".into(),
            }],
            images: BTreeMap::from([(
                image_key("amazon", "al2023-*", Some("x86_64")),
                ImageFacts {
                    id: "ami-1".into(),
                    ..ImageFacts::default()
                },
            )]),
            hosted_zones: ["example.com", "ml.example.com"]
                .into_iter()
                .map(|name| HostedZoneFacts {
                    name: name.into(),
                    id: format!("Z{}", name.len()),
                    private: false,
                    name_servers: vec!["ns-1.awsdns-01.com".into()],
                })
                .collect(),
        }
    }

    #[test]
    fn facts_survive_the_way_through_attributes() {
        let attributes = facts().to_attributes();
        assert_eq!(RegionFacts::from_attributes(&attributes), facts());
        let gpus = attributes["instance_types"].as_list().unwrap()[0]
            .as_map()
            .unwrap()["gpus"]
            .clone();
        assert_eq!(
            gpus.as_list().unwrap()[0].as_map().unwrap()["memory_mib"],
            Value::Int(24576)
        );
        assert_eq!(
            RegionFacts::from_attributes(&Attributes::new()),
            RegionFacts::default()
        );
    }

    #[test]
    fn a_host_belongs_to_the_public_zone_with_the_longest_matching_name() {
        let mut facts = facts();
        let zone = |facts: &RegionFacts, host: &str| facts.public_zone(host).map(|zone| zone.name.clone());
        assert_eq!(
            zone(&facts, "*.ml.example.com").as_deref(),
            Some("ml.example.com")
        );
        assert_eq!(zone(&facts, "ML.example.com.").as_deref(), Some("ml.example.com"));
        assert_eq!(zone(&facts, "a.example.com").as_deref(), Some("example.com"));
        assert_eq!(zone(&facts, "notexample.com"), None);
        facts.hosted_zones[1].private = true;
        assert_eq!(zone(&facts, "x.ml.example.com").as_deref(), Some("example.com"));
    }
}
