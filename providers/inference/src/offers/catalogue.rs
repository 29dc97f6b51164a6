//! The data of this crate: families of instance types, their images, and list prices.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::Price;
use crate::grammar::gpu::ComputeCapability;
use crate::term::Line;

const FAMILIES: &str = include_str!("../../data/aws/families.yml");
const PRICES: &str = include_str!("../../data/aws/prices.yml");

static CATALOGUE: LazyLock<Families> =
    LazyLock::new(|| serde_saphyr::from_str(FAMILIES).expect("a test reads the data of this crate"));

static PRICE_LIST: LazyLock<PriceList> =
    LazyLock::new(|| serde_saphyr::from_str(PRICES).expect("a test reads the data of this crate"));

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Families {
    images: BTreeMap<String, ImagePattern>,
    families: Vec<Family>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceList {
    date: String,
    regions: BTreeMap<String, RegionPrices>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionPrices {
    on_demand: BTreeMap<String, f64>,
    #[serde(default)]
    spot: BTreeMap<String, f64>,
}

/// Where the newest image of a kind is found.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagePattern {
    /// The account that owns it, or AWS's name for one.
    pub owner: String,
    /// Its name, `*` standing for anything.
    pub pattern: String,
    /// The user that its machines have.
    pub user: String,
    /// The least that its root disk has, in GB.
    pub root_gb: u64,
    /// Whether Docker is in it.
    #[serde(default)]
    pub has_docker: bool,
}

/// A family of instance types that gabion makes machines of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// Its name: `g5`.
    pub family: String,
    /// The processors' architecture, in EC2's words.
    pub architecture: String,
    image: String,
    /// The vCPU quota that it counts against.
    pub quota: String,
    /// The maker of its accelerators; `None` when it has none.
    #[serde(default)]
    pub vendor: Option<String>,
    /// What its accelerators are called.
    #[serde(default)]
    pub gpu: Option<String>,
    /// The memory of one, in GB, for types of which the region does not say it.
    #[serde(default)]
    pub memory_gb: Option<u64>,
    #[serde(default)]
    compute_capability: Option<String>,
}

impl Family {
    /// Returns the image of its machines.
    #[must_use]
    pub fn image(&self) -> &'static ImagePattern {
        &CATALOGUE.images[&self.image]
    }

    /// Returns what CUDA its accelerators can do.
    #[must_use]
    pub fn compute_capability(&self) -> Option<ComputeCapability> {
        ComputeCapability::parse(self.compute_capability.as_deref()?).ok()
    }
}

/// Returns every family.
#[must_use]
pub fn families() -> &'static [Family] {
    &CATALOGUE.families
}

/// Returns the family of an instance type, if gabion makes machines of it.
#[must_use]
pub fn family(name: &str) -> Option<&'static Family> {
    families().iter().find(|family| family.family == name)
}

/// Returns the date of the price list.
#[must_use]
pub fn price_date() -> &'static str {
    &PRICE_LIST.date
}

/// The region whose prices are shown, marked as such, for regions that the list does not have.
const OTHERWISE: &str = "us-east-1";

/// Returns the list price of an instance type, if it is known, and the region that it is of when that is another one.
#[must_use]
pub fn price(region: &str, instance_type: &str, spot: bool) -> Option<(Price, Option<&'static str>)> {
    let (prices, other) = match PRICE_LIST.regions.get(region) {
        Some(prices) => (prices, None),
        None => (PRICE_LIST.regions.get(OTHERWISE)?, Some(OTHERWISE)),
    };
    let prices = if spot { &prices.spot } else { &prices.on_demand };
    Some((Price::of_dollars(*prices.get(instance_type)?)?, other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::gpu_names::vendor_of;

    #[test]
    fn the_data_is_whole() {
        for family in families() {
            assert!(CATALOGUE.images.contains_key(&family.image), "{family:?}");
            assert!(
                ["x86_64", "arm64"].contains(&family.architecture.as_str()),
                "{family:?}"
            );
            assert!(
                ["standard", "g", "p"].contains(&family.quota.as_str()),
                "{family:?}"
            );
            let parts = [
                family.vendor.is_some(),
                family.gpu.is_some(),
                family.memory_gb.is_some(),
                family.compute_capability().is_some(),
            ];
            assert!(parts == [true; 4] || parts == [false; 4], "{family:?}");
            if let (Some(gpu), Some(vendor)) = (&family.gpu, &family.vendor) {
                // A T4G is Graviton's own T4, which nobody asks for by name elsewhere.
                let known = vendor_of(gpu).map(|vendor| vendor.to_string());
                assert!(known.as_ref().is_none_or(|known| known == vendor), "{family:?}");
            }
        }
        let mut names: Vec<&str> = families().iter().map(|family| family.family.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), families().len(), "a family is listed twice");
    }

    #[test]
    fn every_price_is_of_a_family_that_is_known() {
        let parts: Vec<u32> = price_date()
            .split('-')
            .filter_map(|part| part.parse().ok())
            .collect();
        assert!(
            matches!(parts.as_slice(), [2020..2100, 1..=12, 1..=31]),
            "{parts:?}"
        );
        for (region, prices) in &PRICE_LIST.regions {
            for (name, price) in prices.on_demand.iter().chain(&prices.spot) {
                let of = name.split('.').next().unwrap_or_default();
                assert!(family(of).is_some(), "{region}: {name}");
                assert!(Price::of_dollars(*price).is_some(), "{region}: {name}");
            }
        }
        let of = |dollars| Price::of_dollars(dollars).unwrap();
        assert_eq!(price("eu-west-1", "g4dn.xlarge", false), Some((of(0.587), None)));
        assert_eq!(price("eu-west-1", "g6.xlarge", false), None);
        assert_eq!(price("eu-west-1", "g4dn.xlarge", true), None);
        assert_eq!(
            price("eu-north-1", "g4dn.xlarge", false),
            Some((of(0.526), Some("us-east-1")))
        );
    }
}
