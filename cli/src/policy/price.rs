//! Ceilings of what everything costs, and of what one plan adds to it.
//!
//! What nobody knows the price of is no part of a sum, and no plan gets past a ceiling by it: a plan that makes or changes such
//! a thing is forbidden, or warned of where the project says so. What is there already is said.

use gabion_engine::config::{Effect, Policy, PriceCeiling};
use gabion_engine::diagnostic::Span;
use gabion_engine::plan::Plan;
use gabion_engine::plan::policy::Ruling;
use gabion_engine::plan::price::{HOURS_A_MONTH, ObjectPrice, PlanPrices};

use crate::render::price::{hourly, monthly};
use crate::render::words::count;

/// Returns what the ceilings object to.
pub(super) fn evaluate(policy: &Policy, plan: &Plan) -> Vec<Ruling> {
    let Some(prices) = &plan.prices else {
        return Vec::new();
    };
    let mut rulings = Vec::new();
    // Whichever offers apply goes through, it stays below the ceiling.
    let after = prices.at_most();
    let increase = u64::try_from(prices.increase_at_most()).unwrap_or(0);
    let is_dearer = after != prices.after();
    // A plan that makes it cheaper, or no dearer, is not what keeps it above the ceiling.
    if let Some(ceiling) = &policy.max_price {
        if increase > 0 {
            let what = match is_dearer {
                false => "Everything would cost",
                true => "With the dearest of its offers everything would cost",
            };
            rulings.extend(over(ceiling, "max_price", what, after.millionths));
        }
        rulings.extend(unknown(ceiling, "max_price", prices));
        let staying = prices.unknown().filter(|object| !object.touched).count();
        if staying > 0 {
            let message = format!(
                "The price of {} that stay{} is not known and not counted.",
                count(staying, "object"),
                if staying == 1 { "s" } else { "" }
            );
            rulings.push(ruling(Effect::Warn, "max_price", None, &ceiling.span, message));
        }
    }
    if let Some(ceiling) = &policy.max_price_increase {
        let what = match is_dearer {
            false => "This plan would add",
            true => "With the dearest of its offers this plan would add",
        };
        rulings.extend(over(ceiling, "max_price_increase", what, increase));
        rulings.extend(unknown(ceiling, "max_price_increase", prices));
    }
    rulings
}

/// A limit is met exactly by the price that it was written from.
fn millionths_of(dollars: f64) -> f64 {
    (dollars * 1e6).round()
}

/// Returns what a sum exceeds.
fn over(ceiling: &PriceCeiling, rule: &str, what: &str, millionths: u64) -> Vec<Ruling> {
    let mut rulings = Vec::new();
    let sum = millionths as f64;
    if let Some(limit) = &ceiling.per_hour
        && sum > millionths_of(limit.value)
    {
        let message = format!(
            "{what} {}, and ${} an hour is the most.",
            hourly(millionths),
            limit.value
        );
        rulings.push(ruling(Effect::Deny, rule, None, &limit.span, message));
    }
    if let Some(limit) = &ceiling.per_month
        && sum * HOURS_A_MONTH as f64 > millionths_of(limit.value)
    {
        let message = format!(
            "{what} {}, and ${} a month is the most.",
            monthly(millionths),
            limit.value
        );
        rulings.push(ruling(Effect::Deny, rule, None, &limit.span, message));
    }
    rulings
}

fn unknown<'a>(
    ceiling: &'a PriceCeiling,
    rule: &'a str,
    prices: &'a PlanPrices,
) -> impl Iterator<Item = Ruling> + 'a {
    let touched = prices.unknown().filter(|object| object.touched);
    touched.map(move |object| {
        let message = match ceiling.unknown {
            Effect::Deny => "Its price is not known, so this cannot be decided.",
            Effect::Warn => "Its price is not known and not counted.",
        };
        ruling(
            ceiling.unknown,
            rule,
            Some(object),
            &ceiling.span,
            message.to_owned(),
        )
    })
}

fn ruling(effect: Effect, rule: &str, object: Option<&ObjectPrice>, span: &Span, message: String) -> Ruling {
    Ruling {
        effect,
        rule: rule.into(),
        address: object.map(|object| object.address.clone()),
        message,
        place: span.place(),
    }
}

#[cfg(test)]
mod tests {
    use gabion_engine::address::ResourceAddress;
    use gabion_engine::config::Spanned;
    use gabion_engine::diagnostic::SourceFile;
    use gabion_engine::plan::price::Rate;
    use gabion_engine::price::Price;

    use super::*;
    use crate::render::fixture;

    fn said(
        limits: (Option<f64>, Option<f64>),
        unknown: Effect,
        objects: &[(Option<f64>, Option<f64>)],
    ) -> Vec<String> {
        let span = Span::of_file(&SourceFile::new("gabion.yml", "project: x\n"));
        let spanned = |value| Spanned::new(value, span.clone());
        let ceiling = |limit: Option<f64>| {
            limit.map(|limit| PriceCeiling {
                span: span.clone(),
                per_hour: Some(spanned(limit)),
                per_month: None,
                unknown,
            })
        };
        let policy = Policy {
            max_price: ceiling(limits.0),
            max_price_increase: ceiling(limits.1),
            ..Policy::default()
        };
        // A negative number stands for a price that nobody knows.
        let rate = |dollars: Option<f64>| {
            dollars.map(|dollars| Price::of_dollars(dollars).map_or(Rate::Unknown, Rate::Known))
        };
        let mut plan = fixture::nothing();
        plan.prices = Some(PlanPrices {
            date: "2026-01-01".into(),
            objects: objects
                .iter()
                .enumerate()
                .map(|(number, (before, after))| ObjectPrice {
                    address: ResourceAddress::of("machine", &format!("m{number}")).unwrap(),
                    before: rate(*before),
                    after: rate(*after),
                    alternatives: Vec::new(),
                    touched: before != after,
                })
                .collect(),
        });
        let mut found = evaluate(&policy, &plan);
        found.sort();
        let line = |ruling: &Ruling| {
            let effect = if ruling.effect == Effect::Deny {
                "deny"
            } else {
                "warn"
            };
            format!("{effect} {}: {}", ruling.rule, ruling.message)
        };
        found.iter().map(line).collect()
    }

    #[test]
    fn the_whole_and_what_a_plan_adds_have_ceilings_of_their_own() {
        let grows = [(Some(1.0), Some(1.0)), (None, Some(1.5))];
        assert_eq!(
            said((Some(2.0), Some(1.0)), Effect::Deny, &grows),
            [
                "deny max_price: Everything would cost $2.500/h, and $2 an hour is the most.",
                "deny max_price_increase: This plan would add $1.500/h, and $1 an hour is the most."
            ]
        );
        assert_eq!(
            said((Some(2.5), Some(1.5)), Effect::Deny, &grows),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_plan_that_saves_is_not_kept_from_it() {
        let shrinks = [(Some(5.0), Some(5.0)), (Some(5.0), None)];
        assert_eq!(
            said((Some(2.0), Some(0.0)), Effect::Deny, &shrinks),
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_nobody_knows_the_price_of_is_said() {
        let unknown = [(None, Some(-1.0)), (Some(-1.0), Some(-1.0))];
        assert_eq!(
            said((Some(2.0), None), Effect::Deny, &unknown),
            [
                "deny max_price: Its price is not known, so this cannot be decided.",
                "warn max_price: The price of 1 object that stays is not known and not counted."
            ]
        );
        assert_eq!(
            said((None, Some(2.0)), Effect::Warn, &unknown),
            ["warn max_price_increase: Its price is not known and not counted."]
        );
    }
}
