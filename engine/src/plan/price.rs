//! What the objects of a plan cost, before and after it: data that travels with the plan. This is the one place where
//! prices are added up.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::address::ResourceAddress;
use crate::price::Price;

/// How many hours a month has, as clouds' own calculators count: 365 days by 24 hours by a twelfth.
pub const HOURS_A_MONTH: u64 = 730;

/// What a plan's objects cost by the hour, as far as somebody knows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlanPrices {
    /// Of which day the prices are.
    pub date: Arc<str>,
    /// Each object that costs something, sorted by address.
    pub objects: Vec<ObjectPrice>,
}

/// What one object costs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectPrice {
    /// Its address.
    pub address: ResourceAddress,
    /// What it costs now; `None` when it is not there yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Rate>,
    /// What it costs once the plan is applied; `None` when it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Rate>,
    /// What it costs as each of the offers that apply may make in its place, in the plan's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Rate>,
    /// Whether the plan makes or changes it.
    pub touched: bool,
}

/// What something costs by the hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// So much.
    Known(Price),
    /// Something, and nobody here knows how much.
    Unknown,
}

/// A sum of prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// What is known of it, in millionths of a dollar an hour.
    pub millionths: u64,
    /// How many objects' prices are missing in it.
    pub unknown: usize,
}

impl Sum {
    /// Returns the dollars an hour.
    #[must_use]
    pub fn per_hour(self) -> f64 {
        self.millionths as f64 / 1e6
    }

    /// Returns the dollars a month.
    #[must_use]
    pub fn per_month(self) -> f64 {
        // Multiplied first: whole numbers are exact.
        self.millionths as f64 * HOURS_A_MONTH as f64 / 1e6
    }
}

impl PlanPrices {
    /// Adds up what everything costs now.
    #[must_use]
    pub fn before(&self) -> Sum {
        sum(self.objects.iter().filter_map(|object| object.before))
    }

    /// Adds up what everything costs once the plan is applied.
    #[must_use]
    pub fn after(&self) -> Sum {
        sum(self.objects.iter().filter_map(|object| object.after))
    }

    /// Adds up what everything costs at most once the plan is applied: with the dearest of each object's offers.
    #[must_use]
    pub fn at_most(&self) -> Sum {
        sum(self.objects.iter().filter_map(ObjectPrice::at_most))
    }

    /// Returns what the plan adds at most, in millionths of a dollar an hour; less than nothing where it saves.
    #[must_use]
    pub fn increase_at_most(&self) -> i64 {
        difference(self.before(), self.at_most())
    }

    /// Returns what the plan adds, in millionths of a dollar an hour; less than nothing where it saves.
    #[must_use]
    pub fn increase(&self) -> i64 {
        difference(self.before(), self.after())
    }

    /// Returns the objects that will be there and whose price, or that of one of their offers, nobody here knows.
    pub fn unknown(&self) -> impl Iterator<Item = &ObjectPrice> {
        self.objects.iter().filter(|object| {
            object
                .after
                .iter()
                .chain(&object.alternatives)
                .any(|rate| *rate == Rate::Unknown)
        })
    }
}

impl ObjectPrice {
    /// Returns what it costs with the dearest of its offers whose price is known.
    fn at_most(&self) -> Option<Rate> {
        let rates = self.after.into_iter().chain(self.alternatives.iter().copied());
        let known = rates.filter(|rate| *rate != Rate::Unknown).max();
        known.or(self.after)
    }
}

fn difference(before: Sum, after: Sum) -> i64 {
    let signed = |sum: Sum| i64::try_from(sum.millionths).unwrap_or(i64::MAX);
    signed(after).saturating_sub(signed(before))
}

fn sum(rates: impl Iterator<Item = Rate>) -> Sum {
    rates.fold(Sum::default(), |sum, rate| match rate {
        Rate::Known(price) => Sum {
            millionths: sum.millionths.saturating_add(price.millionths()),
            ..sum
        },
        Rate::Unknown => Sum {
            unknown: sum.unknown + 1,
            ..sum
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_added_up_and_what_is_not_is_counted() {
        let rate = |dollars| Some(Rate::Known(Price::of_dollars(dollars).unwrap()));
        let object = |name, before, after| ObjectPrice {
            address: ResourceAddress::of("machine", name).unwrap(),
            before,
            after,
            alternatives: Vec::new(),
            touched: before != after,
        };
        let prices = PlanPrices {
            date: "2026-01-01".into(),
            objects: vec![
                object("grows", rate(0.5), rate(1.25)),
                object("goes", rate(0.5), None),
                object("comes", None, Some(Rate::Unknown)),
                object("stays", rate(0.1), rate(0.1)),
            ],
        };
        assert_eq!(
            (prices.before().millionths, prices.before().unknown),
            (1_100_000, 0)
        );
        assert_eq!(
            (prices.after().millionths, prices.after().unknown),
            (1_350_000, 1)
        );
        assert_eq!(prices.increase(), 250_000);
        assert_eq!(prices.after().per_month(), 985.5);
        assert_eq!(prices.unknown().count(), 1);
    }

    #[test]
    fn the_dearest_offer_is_what_it_costs_at_most() {
        let known = |dollars| Rate::Known(Price::of_dollars(dollars).unwrap());
        let prices = PlanPrices {
            date: "2026-01-01".into(),
            objects: vec![ObjectPrice {
                address: ResourceAddress::of("machine", "a").unwrap(),
                before: Some(known(1.0)),
                after: Some(known(1.5)),
                alternatives: vec![known(2.0), known(1.75), Rate::Unknown],
                touched: true,
            }],
        };
        assert_eq!(
            (prices.increase(), prices.increase_at_most()),
            (500_000, 1_000_000)
        );
        assert_eq!(prices.at_most().millionths, 2_000_000);
        assert_eq!(prices.unknown().count(), 1);
    }
}
