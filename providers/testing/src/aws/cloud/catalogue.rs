//! What a region offers: images, instance types, zones and the network, as a small part of what AWS has.

use super::region::{Region, fixed, well_formed};
use super::xml::Xml;
use super::{Outcome, Refused};
use crate::aws::http::Asked;

/// An image.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) id: &'static str,
    name: &'static str,
    owner: &'static str,
    alias: Option<&'static str>,
    pub(super) architecture: &'static str,
    pub(super) root_device: &'static str,
    pub(super) root_gib: i64,
    created: &'static str,
}

const IMAGES: [Image; 4] = [
    Image {
        id: "ami-0a2023000000000a1",
        name: "al2023-ami-2023.8.20250915.0-kernel-6.1-x86_64",
        owner: "137112412989",
        alias: Some("amazon"),
        architecture: "x86_64",
        root_device: "/dev/xvda",
        root_gib: 8,
        created: "2025-09-15T20:11:12.000Z",
    },
    Image {
        id: "ami-0a2023000000000b2",
        name: "al2023-ami-2023.8.20250707.0-kernel-6.1-x86_64",
        owner: "137112412989",
        alias: Some("amazon"),
        architecture: "x86_64",
        root_device: "/dev/xvda",
        root_gib: 8,
        created: "2025-07-07T20:11:12.000Z",
    },
    Image {
        id: "ami-0a2023000000000c3",
        name: "al2023-ami-2023.8.20250915.0-kernel-6.1-arm64",
        owner: "137112412989",
        alias: Some("amazon"),
        architecture: "arm64",
        root_device: "/dev/xvda",
        root_gib: 8,
        created: "2025-09-15T20:11:12.000Z",
    },
    Image {
        id: "ami-0c2404000000000d4",
        name: "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20250821",
        owner: "099720109477",
        alias: None,
        architecture: "x86_64",
        root_device: "/dev/sda1",
        root_gib: 8,
        created: "2025-08-21T05:06:07.000Z",
    },
];

/// An instance type.
#[derive(Debug)]
pub(super) struct Type {
    name: &'static str,
    vcpus: i64,
    mib: i64,
    architecture: &'static str,
    /// Manufacturer, name, how many, and the memory of each in MiB.
    gpus: Option<(&'static str, &'static str, i64, i64)>,
}

const fn plain(name: &'static str, vcpus: i64, gib: i64, architecture: &'static str) -> Type {
    Type {
        name,
        vcpus,
        mib: gib * 1024,
        architecture,
        gpus: None,
    }
}

const fn with_gpus(
    name: &'static str,
    vcpus: i64,
    gib: i64,
    gpus: (&'static str, &'static str, i64, i64),
) -> Type {
    Type {
        gpus: Some(gpus),
        ..plain(name, vcpus, gib, "x86_64")
    }
}

/// As `DescribeInstanceTypes` tells of them.
const TYPES: [Type; 12] = [
    plain("m6i.large", 2, 8, "x86_64"),
    plain("m7g.large", 2, 8, "arm64"),
    plain("t3.large", 2, 8, "x86_64"),
    plain("t3.medium", 2, 4, "x86_64"),
    plain("t3.micro", 2, 1, "x86_64"),
    plain("t3.small", 2, 2, "x86_64"),
    plain("t4g.small", 2, 2, "arm64"),
    with_gpus("g4dn.xlarge", 4, 16, ("NVIDIA", "T4", 1, 16_384)),
    with_gpus("g5.2xlarge", 8, 32, ("NVIDIA", "A10G", 1, 22_888)),
    with_gpus("g5.xlarge", 4, 16, ("NVIDIA", "A10G", 1, 22_888)),
    with_gpus("g6.xlarge", 4, 16, ("NVIDIA", "L4", 1, 22_888)),
    with_gpus("p5.48xlarge", 192, 2048, ("NVIDIA", "H100", 8, 81_920)),
];

/// Returns an image by its id.
pub(super) fn image(id: &str) -> Result<&'static Image, Refused> {
    if !well_formed("ami-", id) {
        return Err(Refused::new(
            "InvalidAMIID.Malformed",
            format!("Invalid id: \"{id}\" (expecting \"ami-...\")"),
        ));
    }
    IMAGES.iter().find(|image| image.id == id).ok_or_else(|| {
        Refused::new(
            "InvalidAMIID.NotFound",
            format!("The image id '[{id}]' does not exist"),
        )
    })
}

/// Returns an instance type by its name.
pub(super) fn instance_type(name: &str) -> Option<&'static Type> {
    TYPES.iter().find(|known| known.name == name)
}

pub(super) fn describe_images(asked: &Asked) -> Outcome {
    let named = asked.list("ImageId");
    for id in &named {
        image(id)?;
    }
    let owners = asked.list("Owner");
    let seen = IMAGES
        .iter()
        .filter(|image| named.is_empty() || named.contains(&image.id))
        .filter(|image| {
            let is = |owner: &&str| *owner == image.owner || Some(*owner) == image.alias;
            owners.is_empty() || owners.iter().any(is)
        });
    let found = asked.filtered(
        seen,
        |_| None,
        |image, name| {
            Some(match name {
                "image-id" => vec![image.id.to_owned()],
                "name" => vec![image.name.to_owned()],
                "architecture" => vec![image.architecture.to_owned()],
                "owner-id" => vec![image.owner.to_owned()],
                "owner-alias" => image.alias.into_iter().map(str::to_owned).collect(),
                "state" => vec!["available".to_owned()],
                "root-device-type" => vec!["ebs".to_owned()],
                "virtualization-type" => vec!["hvm".to_owned()],
                _ => return None,
            })
        },
    )?;
    let mut xml = Xml::default();
    xml.items("imagesSet", found, |item, image| {
        item.text("imageId", image.id)
            .text(
                "imageLocation",
                format!("{}/{}", image.alias.unwrap_or(image.owner), image.name),
            )
            .text("imageState", "available")
            .text("imageOwnerId", image.owner)
            .some("imageOwnerAlias", image.alias)
            .text("isPublic", true)
            .text("architecture", image.architecture)
            .text("imageType", "machine")
            .text("name", image.name)
            .text("creationDate", image.created)
            .text("rootDeviceType", "ebs")
            .text("rootDeviceName", image.root_device)
            .text("virtualizationType", "hvm")
            .items("blockDeviceMapping", [image], |item, image| {
                item.text("deviceName", image.root_device).within("ebs", |ebs| {
                    ebs.text("volumeSize", image.root_gib)
                        .text("volumeType", "gp3")
                        .text("deleteOnTermination", true)
                        .text("encrypted", false);
                });
            });
    });
    Ok(xml)
}

fn type_value(known: &Type, name: &str) -> Option<Vec<String>> {
    match name {
        "instance-type" => Some(vec![known.name.to_owned()]),
        "processor-info.supported-architecture" => Some(vec![known.architecture.to_owned()]),
        _ => None,
    }
}

pub(super) fn describe_instance_types(asked: &Asked) -> Outcome {
    let named = asked.list("InstanceType");
    if let Some(unknown) = named.iter().find(|name| instance_type(name).is_none()) {
        return Err(Refused::new(
            "InvalidInstanceType",
            format!("The following supplied instance types do not exist: [{unknown}]"),
        ));
    }
    let seen = TYPES
        .iter()
        .filter(|known| named.is_empty() || named.contains(&known.name));
    let found = asked.filtered(seen, |_| None, type_value)?;
    let mut xml = Xml::default();
    xml.items("instanceTypeSet", found, |item, known| {
        item.text("instanceType", known.name)
            .within("supportedUsageClasses", |list| {
                list.text("item", "on-demand").text("item", "spot");
            })
            .within("processorInfo", |xml| {
                xml.within("supportedArchitectures", |list| {
                    list.text("item", known.architecture);
                });
            })
            .within("vCpuInfo", |xml| {
                xml.text("defaultVCpus", known.vcpus);
            })
            .within("memoryInfo", |xml| {
                xml.text("sizeInMiB", known.mib);
            });
        if let Some((manufacturer, name, count, mib)) = known.gpus {
            item.within("gpuInfo", |xml| {
                xml.items("gpus", [known], |item, _| {
                    item.text("name", name)
                        .text("manufacturer", manufacturer)
                        .text("count", count)
                        .within("memoryInfo", |xml| {
                            xml.text("sizeInMiB", mib);
                        });
                })
                .text("totalGpuMemoryInMiB", mib * count);
            });
        }
    });
    Ok(xml)
}

impl Region {
    pub(super) fn describe_instance_type_offerings(&self, asked: &Asked) -> Outcome {
        let found = asked.filtered(
            &TYPES,
            |_| None,
            |known, name| match name {
                "location" => Some(self.zones()),
                other => type_value(known, other),
            },
        )?;
        let by_zone = asked.parameter("LocationType") == Some("availability-zone");
        let mut offered: Vec<(&str, String)> = Vec::new();
        for known in found {
            if by_zone {
                // The largest are not everywhere.
                let zones = self.zones();
                let some = if known.vcpus > 100 {
                    &zones[..1]
                } else {
                    &zones[..]
                };
                offered.extend(some.iter().map(|zone| (known.name, zone.clone())));
            } else {
                offered.push((known.name, self.name.clone()));
            }
        }
        let kind = asked.parameter("LocationType").unwrap_or("region");
        let mut xml = Xml::default();
        xml.items("instanceTypeOfferingSet", offered, |item, (name, location)| {
            item.text("instanceType", name)
                .text("locationType", kind)
                .text("location", location);
        });
        Ok(xml)
    }

    pub(super) fn describe_availability_zones(&self, asked: &Asked) -> Outcome {
        let zones = self.zones();
        let found = asked.filtered(
            &zones,
            |_| None,
            |zone, name| {
                Some(match name {
                    "zone-name" => vec![zone.clone()],
                    "state" => vec!["available".to_owned()],
                    "zone-type" => vec!["availability-zone".to_owned()],
                    "region-name" => vec![self.name.clone()],
                    "opt-in-status" => vec!["opt-in-not-required".to_owned()],
                    _ => return None,
                })
            },
        )?;
        let mut xml = Xml::default();
        xml.items("availabilityZoneInfo", found, |item, zone| {
            item.text("zoneName", zone)
                .text("zoneState", "available")
                .text("regionName", &self.name)
                .text("zoneType", "availability-zone")
                .text("optInStatus", "opt-in-not-required");
        });
        Ok(xml)
    }

    pub(super) fn describe_vpcs(&self, asked: &Asked) -> Outcome {
        let vpcs = [self.vpc()];
        let found = asked.filtered(
            &vpcs,
            |_| None,
            |vpc, name| {
                Some(match name {
                    "vpc-id" => vec![vpc.clone()],
                    "is-default" | "isDefault" => vec!["true".to_owned()],
                    "state" => vec!["available".to_owned()],
                    _ => return None,
                })
            },
        )?;
        let mut xml = Xml::default();
        xml.items("vpcSet", found, |item, vpc| {
            item.text("vpcId", vpc)
                .text("ownerId", &self.account)
                .text("state", "available")
                .text("cidrBlock", "172.31.0.0/16")
                .text("isDefault", true);
        });
        Ok(xml)
    }

    pub(super) fn describe_subnets(&self, asked: &Asked) -> Outcome {
        let subnets = self.subnets();
        let found = asked.filtered(
            &subnets,
            |_| None,
            |subnet, name| {
                Some(match name {
                    "subnet-id" => vec![subnet.id.clone()],
                    "vpc-id" => vec![self.vpc()],
                    "availability-zone" => vec![subnet.zone.clone()],
                    "default-for-az" => vec!["true".to_owned()],
                    _ => return None,
                })
            },
        )?;
        let mut xml = Xml::default();
        xml.items("subnetSet", found, |item, subnet| {
            item.text("subnetId", &subnet.id)
                .text("state", "available")
                .text("vpcId", self.vpc())
                .text(
                    "cidrBlock",
                    format!("172.31.{}.0/20", u16::from(subnet.number) * 16),
                )
                .text("availabilityZone", &subnet.zone)
                .text("defaultForAz", true)
                .text("mapPublicIpOnLaunch", true);
        });
        Ok(xml)
    }

    pub(super) fn describe_route_tables(&self, asked: &Asked) -> Outcome {
        let tables = [format!("rtb-{:017x}", fixed(&self.vpc()))];
        let found = asked.filtered(
            &tables,
            |_| None,
            |table, name| {
                Some(match name {
                    "route-table-id" => vec![table.clone()],
                    "vpc-id" => vec![self.vpc()],
                    _ => return None,
                })
            },
        )?;
        let mut xml = Xml::default();
        xml.items("routeTableSet", found, |item, table| {
            item.text("routeTableId", table)
                .text("vpcId", self.vpc())
                .within("routeSet", |routes| {
                    routes.within("item", |xml| {
                        xml.text("destinationCidrBlock", "172.31.0.0/16")
                            .text("gatewayId", "local")
                            .text("state", "active");
                    });
                    routes.within("item", |xml| {
                        xml.text("destinationCidrBlock", "0.0.0.0/0")
                            .text("gatewayId", format!("igw-{:017x}", fixed(table)))
                            .text("state", "active");
                    });
                })
                .items("associationSet", [table], |item, table| {
                    item.text("routeTableId", table).text("main", true);
                });
        });
        Ok(xml)
    }
}
