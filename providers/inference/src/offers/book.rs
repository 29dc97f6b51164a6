//! What objects of a cloud cost by the hour, by their attributes alone: for plans, whoever wrote the objects down.

use std::collections::{BTreeMap, BTreeSet};

use gabion_engine::plan::price::Rate;
use gabion_engine::value::{Attributes, Value};

use super::facts::RegionFacts;
use super::need::Market;
use super::{catalogue, choose};

/// List prices, and what the facts of regions put in their place.
#[derive(Clone, Debug, Default)]
pub struct PriceBook {
    regions: BTreeMap<String, RegionFacts>,
}

impl PriceBook {
    /// Makes a book of the list and of what is known of regions.
    #[must_use]
    pub fn new(facts: impl IntoIterator<Item = RegionFacts>) -> Self {
        let by_name = |facts: RegionFacts| (facts.region.clone(), facts);
        Self {
            regions: facts.into_iter().map(by_name).collect(),
        }
    }

    /// Returns of which days the prices are.
    #[must_use]
    pub fn date(&self) -> String {
        let mut days: BTreeSet<&str> = self.regions.values().map(choose::price_date).collect();
        if days.is_empty() {
            days.insert(catalogue::price_date());
        }
        days.into_iter().collect::<Vec<_>>().join(", ")
    }

    /// Returns what an object costs by the hour; `None` for one of a type that has no hourly price of its own here: of
    /// machines it is the machine's alone, without volumes, addresses and traffic.
    ///
    /// The price of another region is none: a budget is not kept by guessing.
    #[must_use]
    pub fn rate(&self, resource_type: &str, attributes: &Attributes) -> Option<Rate> {
        if resource_type != "aws_instance" {
            return None;
        }
        let text = |name: &str| attributes.get(name).and_then(Value::as_str);
        let market = match attributes.get("instance_market_options") {
            Some(Value::List(blocks)) if !blocks.is_empty() => Market::Spot,
            None | Some(Value::Null | Value::List(_)) => Market::OnDemand,
            Some(_) => return Some(Rate::Unknown),
        };
        let (Some(instance_type), Some(region)) = (text("instance_type"), text("region")) else {
            return Some(Rate::Unknown);
        };
        let price = choose::price(self.regions.get(region), region, instance_type, market);
        Some(match price {
            Some((price, None)) => Rate::Known(price),
            Some((_, Some(_))) | None => Rate::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(instance_type: &str, region: Option<&str>, spot: bool) -> Option<Rate> {
        let mut attributes = Attributes::new();
        attributes.insert("instance_type".into(), instance_type.into());
        if let Some(region) = region {
            attributes.insert("region".into(), region.into());
        }
        if spot {
            let block = Value::map([("market_type", Value::from("spot"))]);
            attributes.insert("instance_market_options".into(), Value::List(vec![block]));
        }
        PriceBook::default().rate("aws_instance", &attributes)
    }

    #[test]
    fn what_the_list_does_not_have_of_a_region_is_unknown() {
        assert!(
            matches!(rate("g4dn.xlarge", Some("eu-west-1"), false), Some(Rate::Known(price)) if price.dollars() == 0.587)
        );
        for unknown in [
            rate("g4dn.xlarge", Some("sa-east-1"), false),
            rate("g4dn.xlarge", None, false),
            rate("g4dn.xlarge", Some("eu-west-1"), true),
            rate("p5.48xlarge", Some("eu-west-1"), false),
        ] {
            assert_eq!(unknown, Some(Rate::Unknown));
        }
        assert_eq!(PriceBook::default().rate("aws_eip", &Attributes::new()), None);
    }
}
