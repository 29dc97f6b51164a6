//! Which instance types meet a need.

use super::Price;
use super::catalogue::{self, Family, family};
use super::facts::{InstanceType, RegionFacts};
use super::need::{Market, OfferNeed};
use crate::grammar::cpu::Architecture;
use crate::grammar::gpu::{GpuSpec, Vendor};
use crate::grammar::memory::Memory;
use crate::grammar::range::Range;

/// How much less memory a type may be said to have than what it is sold with: an L4 of 24 GB has 22888 MiB.
const MEMORY_TOLERANCE_PERCENT: u64 = 8;

/// How many near misses are told, each of another family.
const CLOSEST: usize = 5;

/// A machine that meets a need.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer<'a> {
    /// What the region says of it.
    pub instance_type: &'a InstanceType,
    /// What gabion knows of its family.
    pub family: &'static Family,
    /// How it is bought.
    pub market: Market,
    /// What it costs; `None` when that is not known.
    pub price: Option<Price>,
    /// The region that the price is of, when it is another one.
    pub price_of: Option<&'static str>,
}

/// A machine that does not meet a need, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Miss<'a> {
    /// The type.
    pub instance_type: &'a InstanceType,
    /// What it lacks, each a part of a sentence.
    pub lacks: Vec<String>,
    /// Its list price on demand; `None` when that is not known.
    pub price: Option<Price>,
}

/// What a region offers for a need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offers<'a> {
    /// What meets it, best first.
    pub offers: Vec<Offer<'a>>,
    /// What comes closest when nothing does.
    pub closest: Vec<Miss<'a>>,
}

/// Finds what a region offers for a need.
#[must_use]
pub fn find<'a>(region: &'a RegionFacts, need: &OfferNeed<'_>) -> Offers<'a> {
    let mut offers = Vec::new();
    let mut misses = Vec::new();
    for instance_type in &region.instance_types {
        let Some(family) = family(instance_type.family()) else {
            continue;
        };
        let mut lacks = lacks(instance_type, family, need);
        if lacks.is_empty() {
            for market in need.markets() {
                match offer(region, instance_type, family, *market, need) {
                    Ok(offer) => offers.push(offer),
                    Err(why) => lacks.push(why),
                }
            }
        }
        if !lacks.is_empty() {
            misses.push(Miss {
                instance_type,
                lacks,
                price: price(
                    Some(region),
                    &region.region,
                    &instance_type.name,
                    Market::OnDemand,
                )
                .map(|(price, _)| price),
            });
        }
    }
    offers.sort_by(|a, b| order(a).cmp(&order(b)));
    let closest = if offers.is_empty() {
        closest(misses, need)
    } else {
        Vec::new()
    };
    Offers { offers, closest }
}

/// What an offer is sorted by: known prices first, then less before more.
fn order<'a>(offer: &Offer<'a>) -> impl Ord + use<'a> {
    let machine = offer.instance_type;
    (
        offer.price.is_none(),
        offer.price,
        // Without prices, an interruptible machine is the cheaper of two.
        offer.market != Market::Spot,
        machine.gpu_count(),
        machine.vcpus,
        machine.memory_mib,
        machine.name.as_str(),
    )
}

fn offer<'a>(
    region: &RegionFacts,
    instance_type: &'a InstanceType,
    family: &'static Family,
    market: Market,
    need: &OfferNeed<'_>,
) -> Result<Offer<'a>, String> {
    if market == Market::Spot && !instance_type.spot {
        return Err("it is no spot instance, and `spot_policy` asks for one".to_owned());
    }
    let price = price(Some(region), &region.region, &instance_type.name, market);
    if let Some(most) = need.max_price {
        match price {
            Some((price, None)) if price.dollars() <= most => {}
            Some((price, None)) => {
                return Err(format!("{price} {}, and `max_price` is {most}", market.name()));
            }
            Some((_, Some(_))) | None => {
                return Err(format!(
                    "its {} price is not known, and `max_price` is {most}",
                    market.name()
                ));
            }
        }
    }
    Ok(Offer {
        instance_type,
        family,
        market,
        price: price.map(|(price, _)| price),
        price_of: price.and_then(|(_, other)| other),
    })
}

/// Returns what a type costs, and the region that it costs that in when it is another one.
pub(super) fn price(
    facts: Option<&RegionFacts>,
    region: &str,
    instance_type: &str,
    market: Market,
) -> Option<(Price, Option<&'static str>)> {
    let own = facts.and_then(|facts| facts.prices.get(instance_type));
    let own = own.and_then(|prices| match market {
        Market::OnDemand => prices.on_demand,
        Market::Spot => prices.spot,
    });
    match own.and_then(Price::of_dollars) {
        Some(price) => Some((price, None)),
        None => catalogue::price(region, instance_type, market == Market::Spot),
    }
}

/// Returns of which day the prices are.
#[must_use]
pub fn price_date(region: &RegionFacts) -> &str {
    region
        .prices_date
        .as_deref()
        .unwrap_or_else(|| catalogue::price_date())
}

/// Returns what a type lacks, each a part of a sentence.
fn lacks(has: &InstanceType, family: &Family, need: &OfferNeed<'_>) -> Vec<String> {
    let resources = need.resources;
    let mut lacks = Vec::new();
    if !need.instance_types.is_empty() && !need.instance_types.contains(&has.name) {
        lacks.push("it is not among the `instance_types`".to_owned());
    }
    let wanted_zones = need.zones;
    if !wanted_zones.is_empty()
        && !has.zones.is_empty()
        && !has.zones.iter().any(|zone| wanted_zones.contains(zone))
    {
        lacks.push(format!("it is in {} only", has.zones.join(", ")));
    }
    // Images are made for x86 unless somebody says otherwise.
    let wanted = resources.cpu.value.arch.unwrap_or(Architecture::X86);
    let is = match family.architecture.as_str() {
        "arm64" => Architecture::Arm,
        _ => Architecture::X86,
    };
    if wanted != is {
        lacks.push(format!("its processors are {is}, and {wanted} is asked for"));
    }
    let cpus = resources.cpu.value.count;
    if !cpus.contains(has.vcpus) {
        lacks.push(format!("{} CPUs, and {cpus} are asked for", has.vcpus));
    }
    if !within(&resources.memory, has.memory_mib) {
        lacks.push(format!(
            "{} of memory, and {} is asked for",
            gigabytes(has.memory_mib),
            resources.memory
        ));
    }
    lacks.extend(lacks_gpus(has, family, need));
    lacks
}

fn lacks_gpus(has: &InstanceType, family: &Family, need: &OfferNeed<'_>) -> Option<String> {
    let spec = &need.resources.gpu.value;
    if spec.is_anything() {
        return None;
    }
    let vendor = vendor(spec, need.has_image);
    let (mut count, mut total) = (0, 0);
    for gpu in &has.gpus {
        let memory = match gpu.memory_mib {
            0 => family.memory_gb.unwrap_or_default() * 1024,
            said => said,
        };
        let of_vendor = vendor.is_none_or(|vendor| vendor.to_string() == gpu.vendor);
        let is_named = spec.name.0.is_empty() || spec.name.0.iter().any(|name| is_called(name, &gpu.name));
        let is_large = spec.memory.as_ref().is_none_or(|wanted| within(wanted, memory));
        let can = spec
            .compute_capability
            .is_none_or(|least| family.compute_capability().is_some_and(|has| has >= least));
        if of_vendor && is_named && is_large && can {
            count += gpu.count;
            total += u64::from(gpu.count) * memory;
        }
    }
    let enough = spec.count.contains(count)
        && spec
            .total_memory
            .as_ref()
            .is_none_or(|wanted| within(wanted, total));
    if enough {
        return None;
    }
    let capability = spec
        .compute_capability
        .map(|least| format!(" with compute capability {least}"));
    Some(format!(
        "{}, and `gpu: {spec}`{} is asked for",
        gpus(has, family),
        capability.unwrap_or_default()
    ))
}

/// Returns the maker that is meant: the one that is named or follows from the names; NVIDIA where neither is.
fn vendor(spec: &GpuSpec, has_image: bool) -> Option<Vendor> {
    let said = spec.vendor(has_image);
    said.or_else(|| (spec.name.0.is_empty() && spec.is_needed()).then_some(Vendor::Nvidia))
}

fn is_called(wanted: &str, name: &str) -> bool {
    let plain = |text: &str| text.to_ascii_lowercase().replace([' ', '-', '_'], "");
    plain(wanted) == plain(name)
}

fn within(range: &Range<Memory>, megabytes: u64) -> bool {
    let generous = megabytes + megabytes * MEMORY_TOLERANCE_PERCENT / 100;
    range.min.is_none_or(|min| min.as_megabytes() <= generous)
        && range.max.is_none_or(|max| megabytes <= max.as_megabytes())
}

fn gigabytes(megabytes: u64) -> String {
    format!("{:.0}GB", megabytes as f64 / 1024.0)
}

/// Describes the accelerators of a type: `no GPU`, `1 T4 of 16GB`.
fn gpus(has: &InstanceType, family: &Family) -> String {
    match has.gpus.first() {
        None => "no GPU".to_owned(),
        Some(gpu) => {
            let memory = family
                .memory_gb
                .map_or_else(|| gigabytes(gpu.memory_mib), |memory| format!("{memory}GB"));
            format!("{} {} of {memory}", has.gpu_count(), gpu.name)
        }
    }
}

/// Returns the misses that lack least: of the maker that is asked for before others, with accelerators before those
/// without where some are needed, then those that would cost least.
fn closest<'a>(mut misses: Vec<Miss<'a>>, need: &OfferNeed<'_>) -> Vec<Miss<'a>> {
    let spec = &need.resources.gpu.value;
    let vendor = vendor(spec, need.has_image).map(|vendor| vendor.to_string());
    let is_named = !spec.name.0.is_empty();
    let distance = |miss: &Miss<'a>| {
        let has = miss.instance_type;
        let of_vendor = has
            .gpus
            .iter()
            .any(|gpu| vendor.as_ref().is_none_or(|vendor| *vendor == gpu.vendor));
        let count = has.gpu_count();
        let wrong_count = spec.is_needed() && !spec.count.contains(count);
        (
            miss.lacks.len(),
            spec.is_needed() && count == 0,
            spec.is_needed() && !of_vendor,
            wrong_count,
            // Who names one that is not there wants much: the largest come closest.
            std::cmp::Reverse(is_named.then(|| has.gpus.iter().map(|gpu| gpu.memory_mib).max())),
            miss.price.is_none(),
            miss.price,
            has.name.clone(),
        )
    };
    if spec.is_needed() && misses.iter().any(|miss| !miss.instance_type.gpus.is_empty()) {
        misses.retain(|miss| !miss.instance_type.gpus.is_empty());
    }
    misses.sort_by_cached_key(distance);
    // One of a family says what it has; the next size says no more.
    let mut families: Vec<String> = Vec::new();
    misses.retain(|miss| {
        let family = miss.instance_type.family().to_owned();
        let is_first = !families.contains(&family);
        families.push(family);
        is_first
    });
    misses.truncate(CLOSEST);
    misses
}

impl Offer<'_> {
    /// Describes the machine: `4 CPUs, 16GB, 1 T4 of 16GB`.
    #[must_use]
    pub fn describe(&self) -> String {
        let has = self.instance_type;
        let mut text = format!("{} CPUs, {}", has.vcpus, gigabytes(has.memory_mib));
        if has.gpu_count() > 0 {
            text.push_str(&format!(", {}", gpus(has, self.family)));
        }
        text
    }

    /// Describes what it costs: `$0.587/h on demand`, `price unknown on demand`.
    #[must_use]
    pub fn cost(&self) -> String {
        match (self.price, self.price_of) {
            (Some(price), None) => format!("{price} {}", self.market.name()),
            (Some(price), Some(other)) => format!("{price} {} (the price of {other})", self.market.name()),
            (None, _) => format!("price unknown, {}", self.market.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use gabion_engine::config::{FromNode, parse_yaml};
    use gabion_engine::diagnostic::SourceFile;

    use super::*;
    use crate::document::profile::SpotPolicy;
    use crate::document::resources::Resources;
    use crate::offers::GpuFacts;

    fn machine(name: &str, vcpus: u32, gibibytes: u64, gpus: &[(&str, &str, u32, u64)]) -> InstanceType {
        InstanceType {
            name: name.to_owned(),
            vcpus,
            memory_mib: gibibytes * 1024,
            gpus: gpus
                .iter()
                .map(|(vendor, name, count, gibibytes)| GpuFacts {
                    vendor: (*vendor).to_owned(),
                    name: (*name).to_owned(),
                    count: *count,
                    memory_mib: gibibytes * 1024,
                })
                .collect(),
            spot: true,
            ..InstanceType::default()
        }
    }

    fn region() -> RegionFacts {
        RegionFacts {
            region: "us-east-1".to_owned(),
            instance_types: vec![
                machine("g4ad.xlarge", 4, 16, &[("amd", "Radeon Pro V520", 1, 8)]),
                machine("g4dn.12xlarge", 48, 192, &[("nvidia", "T4", 4, 16)]),
                machine("g4dn.xlarge", 4, 16, &[("nvidia", "T4", 1, 16)]),
                machine("g5.xlarge", 4, 16, &[("nvidia", "A10G", 1, 24)]),
                // EC2 says less than 24GB of an L4.
                InstanceType {
                    gpus: vec![GpuFacts {
                        vendor: "nvidia".to_owned(),
                        name: "L4".to_owned(),
                        count: 1,
                        memory_mib: 22888,
                    }],
                    ..machine("g6.xlarge", 4, 16, &[])
                },
                machine("m6i.large", 2, 8, &[]),
                machine("m7g.large", 2, 8, &[]),
                machine("p4d.24xlarge", 96, 1152, &[("nvidia", "A100", 8, 40)]),
                machine("t3.large", 2, 8, &[]),
            ],
            ..RegionFacts::default()
        }
    }

    fn resources(text: &str) -> Resources {
        let (nodes, mut problems) = parse_yaml(&SourceFile::new("a.yml", text));
        let read = Resources::from_node(&nodes[0], &mut problems).unwrap();
        assert!(!problems.has_errors(), "{problems:?}");
        read
    }

    /// Returns the types that meet a need, in their order.
    fn check(text: &str, expected: &[&str]) {
        let (region, resources) = (region(), resources(text));
        let found = find(&region, &OfferNeed::of(&resources));
        let names: Vec<&str> = found
            .offers
            .iter()
            .map(|offer| offer.instance_type.name.as_str())
            .collect();
        assert_eq!(names, expected, "{text}");
        assert_eq!(found.closest.is_empty(), !expected.is_empty());
    }

    #[test]
    fn what_meets_a_need_is_sorted_by_price_and_then_by_size() {
        check("{gpu: '8GB..24GB:1'}", &["g4dn.xlarge", "g6.xlarge", "g5.xlarge"]);
        check("{gpu: '24GB..:1'}", &["g6.xlarge", "g5.xlarge"]);
        check("{gpu: 'T4:2..'}", &["g4dn.12xlarge"]);
        // A name is that name: an A10 is no A10G.
        check("{gpu: 'A10:1'}", &[]);
        check("{gpu: {count: 1, compute_capability: 8.9}}", &["g6.xlarge"]);
        check("{gpu: {total_memory: 200GB.., count: 1..}}", &["p4d.24xlarge"]);
        check("{gpu: 0, cpu: 2, memory: 8GB}", &["t3.large", "m6i.large"]);
        check("{gpu: 0, cpu: 'arm:2..', memory: 8GB}", &["m7g.large"]);
        // Nobody is given a machine that gabion does not set up.
        check("{gpu: 'amd:1'}", &[]);
    }

    #[test]
    fn an_unknown_price_comes_last_and_is_under_no_limit() {
        let (region, resources) = (region(), resources("{gpu: '1..'}"));
        let names = |need: &OfferNeed<'_>| -> Vec<String> {
            let offers = find(&region, need).offers;
            offers
                .iter()
                .map(|offer| format!("{} {}", offer.instance_type.name, offer.cost()))
                .collect()
        };
        let all = names(&OfferNeed::of(&resources));
        assert_eq!(all.last().unwrap(), "p4d.24xlarge price unknown, on demand");
        let limited = OfferNeed {
            max_price: Some(1.0),
            ..OfferNeed::of(&resources)
        };
        assert_eq!(
            names(&limited),
            ["g4dn.xlarge $0.526/h on demand", "g6.xlarge $0.8048/h on demand"]
        );
        let spot = OfferNeed {
            spot_policy: SpotPolicy::Auto,
            ..OfferNeed::of(&resources)
        };
        // With no price of any spot instance, those on demand come first.
        assert_eq!(names(&spot)[0], "g4dn.xlarge $0.526/h on demand");
    }
}
