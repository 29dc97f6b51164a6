//! Finding out what a region offers.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{InstanceTypeInfo, LocationType, RouteTable};
use gabion_engine::provider::{ErrorClass, ProviderError};
use gabion_engine::value::Attributes;

use crate::attributes::{blocks, text, texts};
use crate::clients::Clients;
use crate::ec2::images::{self, ImagePattern};
use crate::error::Api;
use crate::facts::{
    GpuFacts, HostedZoneFacts, InstanceTypeFacts, RegionFacts, SubnetFacts, VpcFacts, longest_suffix,
};
use crate::route53::{record_set::dns_name, zone, zone_id};
use crate::tags::filter;

/// Instance types for what needs no accelerator: gateways and routers.
const GENERAL: [&str; 8] = [
    "t3.*", "t3a.*", "t4g.*", "m6i.*", "m7i.*", "m7g.*", "c7i.*", "c7g.*",
];

/// Families with accelerators.
const ACCELERATED: [&str; 6] = ["g*", "p*", "inf*", "trn*", "dl*", "vt*"];

/// Looks at a region; see [`RegionFacts`] for what the inputs are.
pub(crate) async fn region(clients: &Clients, inputs: &Attributes) -> Result<RegionFacts, ProviderError> {
    let patterns: Vec<ImagePattern> = blocks(inputs, "images")
        .into_iter()
        .filter_map(|map| ImagePattern::of(&gabion_engine::value::Value::Map(map.clone())))
        .collect();
    let mut wanted = texts(inputs, "instance_types");
    if wanted.is_empty() {
        wanted = GENERAL
            .iter()
            .chain(&ACCELERATED)
            .map(|name| (*name).to_owned())
            .collect();
    }
    let (types, zones, network, images, hosted_zones) = tokio::try_join!(
        instance_types(clients, &wanted),
        zones(clients),
        network(clients, text(inputs, "vpc_id")),
        images::newest(clients, &patterns),
        hosted_zones(clients, texts(inputs, "hosts")),
    )?;
    let (vpc, subnets) = network;
    Ok(RegionFacts {
        region: clients.region.to_string(),
        instance_types: types,
        zones,
        vpc,
        subnets,
        images,
        hosted_zones,
    })
}

async fn instance_types(
    clients: &Clients,
    wanted: &[String],
) -> Result<Vec<InstanceTypeFacts>, ProviderError> {
    let (infos, offered) = tokio::try_join!(describe_types(clients, wanted), offerings(clients, wanted))?;
    let mut types: Vec<InstanceTypeFacts> = infos
        .iter()
        .filter_map(|info| {
            let mut facts = type_facts(info);
            facts.zones.clone_from(offered.get(&facts.name)?);
            Some(facts)
        })
        .collect();
    types.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(types)
}

async fn describe_types(
    clients: &Clients,
    wanted: &[String],
) -> Result<Vec<InstanceTypeInfo>, ProviderError> {
    let mut infos = Vec::new();
    let mut next = None;
    loop {
        let request = clients
            .ec2
            .describe_instance_types()
            .filters(filter("instance-type", wanted.iter().cloned()))
            .set_next_token(next)
            .send();
        let answer = clients.call(Api::ec2("DescribeInstanceTypes"), request).await?;
        next = answer
            .next_token()
            .filter(|token| !token.is_empty())
            .map(str::to_owned);
        infos.extend(answer.instance_types.unwrap_or_default());
        if next.is_none() {
            return Ok(infos);
        }
    }
}

/// Returns the zones that offer each type.
async fn offerings(
    clients: &Clients,
    wanted: &[String],
) -> Result<BTreeMap<String, Vec<String>>, ProviderError> {
    let mut offered: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut next = None;
    loop {
        let request = clients
            .ec2
            .describe_instance_type_offerings()
            .location_type(LocationType::AvailabilityZone)
            .filters(filter("instance-type", wanted.iter().cloned()))
            .set_next_token(next)
            .send();
        let answer = clients
            .call(Api::ec2("DescribeInstanceTypeOfferings"), request)
            .await?;
        next = answer
            .next_token()
            .filter(|token| !token.is_empty())
            .map(str::to_owned);
        for offering in answer.instance_type_offerings() {
            if let (Some(name), Some(zone)) = (offering.instance_type(), offering.location()) {
                offered
                    .entry(name.as_str().to_owned())
                    .or_default()
                    .push(zone.to_owned());
            }
        }
        if next.is_none() {
            break;
        }
    }
    for zones in offered.values_mut() {
        zones.sort();
        zones.dedup();
    }
    Ok(offered)
}

fn type_facts(info: &InstanceTypeInfo) -> InstanceTypeFacts {
    let mut gpus: Vec<GpuFacts> = Vec::new();
    for gpu in info.gpu_info().map(|gpus| gpus.gpus()).unwrap_or_default() {
        gpus.push(GpuFacts {
            vendor: gpu.manufacturer().unwrap_or_default().to_lowercase(),
            name: gpu.name().unwrap_or_default().to_owned(),
            count: gpu.count().unwrap_or_default().into(),
            memory_mib: gpu
                .memory_info()
                .and_then(|memory| memory.size_in_mib())
                .unwrap_or_default()
                .into(),
        });
    }
    let neuron = info.neuron_info().map(|neuron| neuron.neuron_devices());
    for device in neuron.unwrap_or_default() {
        gpus.push(GpuFacts {
            vendor: "aws".to_owned(),
            name: device.name().unwrap_or_default().to_owned(),
            count: device.count().unwrap_or_default().into(),
            memory_mib: device
                .memory_info()
                .and_then(|memory| memory.size_in_mib())
                .unwrap_or_default()
                .into(),
        });
    }
    let architectures = info
        .processor_info()
        .map(|processor| processor.supported_architectures());
    InstanceTypeFacts {
        name: info
            .instance_type()
            .map(|name| name.as_str().to_owned())
            .unwrap_or_default(),
        vcpus: info
            .v_cpu_info()
            .and_then(|cpus| cpus.default_v_cpus())
            .unwrap_or_default()
            .into(),
        memory_mib: info
            .memory_info()
            .and_then(|memory| memory.size_in_mib())
            .unwrap_or_default(),
        architectures: architectures
            .unwrap_or_default()
            .iter()
            .map(|architecture| architecture.as_str().to_owned())
            .collect(),
        gpus,
        spot: info
            .supported_usage_classes()
            .iter()
            .any(|class| class.as_str() == "spot"),
        zones: Vec::new(),
    }
}

async fn zones(clients: &Clients) -> Result<Vec<String>, ProviderError> {
    let request = clients
        .ec2
        .describe_availability_zones()
        .filters(filter("state", ["available"]))
        .filters(filter("zone-type", ["availability-zone"]))
        .send();
    let answer = clients
        .call(Api::ec2("DescribeAvailabilityZones"), request)
        .await?;
    let mut zones: Vec<String> = answer
        .availability_zones()
        .iter()
        .filter_map(|zone| zone.zone_name().map(str::to_owned))
        .collect();
    zones.sort();
    Ok(zones)
}

async fn network(
    clients: &Clients,
    wanted: Option<&str>,
) -> Result<(Option<VpcFacts>, Vec<SubnetFacts>), ProviderError> {
    let which = match wanted {
        Some(id) => filter("vpc-id", [id]),
        None => filter("is-default", ["true"]),
    };
    let request = clients.ec2.describe_vpcs().filters(which).send();
    let answer = clients.call(Api::ec2("DescribeVpcs"), request).await?;
    let Some(vpc) = answer.vpcs().first() else {
        return Ok((None, Vec::new()));
    };
    let id = vpc.vpc_id().unwrap_or_default();
    let of_vpc = || filter("vpc-id", [id]);
    let subnets = clients.ec2.describe_subnets().filters(of_vpc()).send();
    let tables = clients.ec2.describe_route_tables().filters(of_vpc()).send();
    let subnets = clients.call(Api::ec2("DescribeSubnets"), subnets).await?;
    let tables = clients.call(Api::ec2("DescribeRouteTables"), tables).await?;
    let mut facts: Vec<SubnetFacts> = subnets
        .subnets()
        .iter()
        .map(|subnet| {
            let id = subnet.subnet_id().unwrap_or_default();
            SubnetFacts {
                id: id.to_owned(),
                availability_zone: subnet.availability_zone().unwrap_or_default().to_owned(),
                cidr_block: subnet.cidr_block().unwrap_or_default().to_owned(),
                map_public_ip_on_launch: subnet.map_public_ip_on_launch().unwrap_or_default(),
                default_for_az: subnet.default_for_az().unwrap_or_default(),
                egress: egress(tables.route_tables(), id).to_owned(),
            }
        })
        .collect();
    facts.sort_by(|a, b| (&a.availability_zone, &a.id).cmp(&(&b.availability_zone, &b.id)));
    let vpc = VpcFacts {
        id: id.to_owned(),
        cidr_block: vpc.cidr_block().unwrap_or_default().to_owned(),
        default: vpc.is_default().unwrap_or_default(),
    };
    Ok((Some(vpc), facts))
}

/// Returns how a subnet's traffic leaves: by the route for everything in its own table, else in the main one.
fn egress(tables: &[RouteTable], subnet: &str) -> &'static str {
    let of = |wanted: &dyn Fn(&aws_sdk_ec2::types::RouteTableAssociation) -> bool| {
        tables
            .iter()
            .find(|table| table.associations().iter().any(wanted))
    };
    let table = of(&|association| association.subnet_id() == Some(subnet))
        .or_else(|| of(&|association| association.main().unwrap_or_default()));
    let route = table.and_then(|table| {
        table
            .routes()
            .iter()
            .find(|route| route.destination_cidr_block() == Some("0.0.0.0/0"))
    });
    match route {
        None => "none",
        Some(route) if route.gateway_id().is_some_and(|id| id.starts_with("igw-")) => "igw",
        Some(route) if route.nat_gateway_id().is_some() => "nat",
        Some(_) => "other",
    }
}

/// Returns the account's zones; those that have one of the host names with their name servers.
async fn hosted_zones(clients: &Clients, hosts: Vec<String>) -> Result<Vec<HostedZoneFacts>, ProviderError> {
    let mut zones: Vec<HostedZoneFacts> = zone::all(clients)
        .await?
        .iter()
        .map(|zone| HostedZoneFacts {
            name: dns_name(zone.name()),
            id: zone_id(zone.id()).to_owned(),
            private: zone.config().is_some_and(|config| config.private_zone()),
            name_servers: Vec::new(),
        })
        .collect();
    zones.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    let asked: BTreeSet<String> = hosts
        .iter()
        .filter_map(|host| longest_suffix(&zones, host))
        .map(|zone| zone.id.clone())
        .collect();
    for zone in zones.iter_mut().filter(|zone| asked.contains(&zone.id)) {
        match zone::name_servers(clients, &zone.id).await {
            Ok(servers) => zone.name_servers = servers,
            // Whoever may change records need not see zones, and can do without.
            Err(failed) if failed.error.class == ErrorClass::Denied => {}
            Err(failed) => return Err(failed.into()),
        }
    }
    Ok(zones)
}
