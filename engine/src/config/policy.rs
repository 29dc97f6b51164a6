//! `policy` in `gabion.yml`: what plans may do.
//!
//! Here it is only read. What the rules say is worked out by whoever shows and applies plans.

use serde::{Deserialize, Serialize};

use super::decode::{FromNode, Keyword, Spanned};
use super::map_reader::MapReader;
use super::node::Node;
use crate::diagnostic::{Diagnostic, Diagnostics, Span};

/// What plans of the project may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// How many objects one plan may destroy.
    pub max_destroy: Option<Spanned<u32>>,
    /// How many objects one plan may replace.
    pub max_replace: Option<Spanned<u32>>,
    /// What may be neither destroyed nor replaced: kinds, or addresses in which `*` stands for anything.
    pub protected: Vec<Spanned<String>>,
    /// The regions in which anything may be made.
    pub regions: Option<Spanned<Vec<String>>>,
    /// The ports that may be open to the whole internet.
    pub open_ports: Option<Spanned<Vec<u16>>>,
    /// What everything may cost once a plan is applied.
    pub max_price: Option<PriceCeiling>,
    /// By how much one plan may raise what everything costs.
    pub max_price_increase: Option<PriceCeiling>,
    /// The project's own rules, in the order written.
    pub rules: Vec<Rule>,
}

/// A limit in US dollars.
#[derive(Clone, Debug, PartialEq)]
pub struct PriceCeiling {
    /// Where it is written.
    pub span: Span,
    /// How much an hour.
    pub per_hour: Option<Spanned<f64>>,
    /// How much a month of 730 hours.
    pub per_month: Option<Spanned<f64>>,
    /// What follows where a plan makes or changes something whose price nobody knows.
    pub unknown: Effect,
}

impl Keyword for Effect {
    const WHAT: &'static str = "what follows";
    const WORDS: &'static [(&'static str, Self)] = &[("deny", Self::Deny), ("warn", Self::Warn)];
}

impl FromNode for PriceCeiling {
    fn expected() -> String {
        "a limit such as `{per_hour: 5, per_month: 3000}`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "price limit", problems)?;
        let per_hour: Option<Spanned<f64>> = map.optional("per_hour").flatten();
        let per_month: Option<Spanned<f64>> = map.optional("per_month").flatten();
        let unknown = map.optional("unknown").flatten().unwrap_or(Effect::Deny);
        for limit in [&per_hour, &per_month].into_iter().flatten() {
            if limit.value.is_nan() || limit.value < 0.0 {
                map.problems().push(
                    Diagnostic::error("bad-limit", "limit below nothing")
                        .detail("A limit is a number of US dollars, 0 or more.")
                        .at(limit.span.clone()),
                );
            }
        }
        if per_hour.is_none() && per_month.is_none() {
            let problem = node
                .error("no-limit", "price limit without a limit")
                .detail("It has neither `per_hour` nor `per_month`.")
                .hint("write a number of US dollars under one of them, such as `per_hour: 5`");
            map.problems().push(problem);
        }
        map.finish();
        Some(Self {
            span: node.span.clone(),
            per_hour,
            per_month,
            unknown,
        })
    }
}

/// What follows when a rule objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The plan is shown and never applied.
    Deny,
    /// People are told.
    Warn,
}

/// A rule that the project's people wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: Spanned<String>,
    /// What follows where its condition holds.
    pub effect: Effect,
    /// Its condition, in CEL.
    pub condition: Spanned<String>,
    /// What people are told.
    pub message: String,
}

impl Policy {
    /// Returns how many rules there are.
    pub fn len(&self) -> usize {
        usize::from(self.max_destroy.is_some())
            + usize::from(self.max_replace.is_some())
            + usize::from(!self.protected.is_empty())
            + usize::from(self.regions.is_some())
            + usize::from(self.open_ports.is_some())
            + usize::from(self.max_price.is_some())
            + usize::from(self.max_price_increase.is_some())
            + self.rules.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl FromNode for Policy {
    fn expected() -> String {
        "a map such as `{max_destroy: 5, rules: […]}`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "policy", problems)?;
        let max_destroy = map.optional("max_destroy").flatten();
        let max_replace = map.optional("max_replace").flatten();
        let max_price = map.optional("max_price").flatten();
        let max_price_increase = map.optional("max_price_increase").flatten();
        let protected = map.each("protected");
        let span = |map: &MapReader<'_>, key: &str| map.node().get(key).map(|node| node.span.clone());
        let regions = span(&map, "regions").map(|at| Spanned::new(map.each::<String>("regions"), at));
        let open_ports = span(&map, "open_ports").map(|at| Spanned::new(map.each::<u16>("open_ports"), at));
        let rules: Vec<Rule> = map.each("rules");
        for (position, rule) in rules.iter().enumerate() {
            if let Some(first) = rules[..position]
                .iter()
                .find(|other| other.name.value == rule.name.value)
            {
                map.problems().push(
                    Diagnostic::error("duplicate-rule", "two rules with one name")
                        .detail(format!("The rule `{}` is written twice.", rule.name.value))
                        .at(rule.name.span.clone())
                        .related(first.name.span.clone(), "first written here")
                        .hint("give one of them another name"),
                );
            }
        }
        map.finish();
        Some(Self {
            max_destroy,
            max_replace,
            protected,
            regions,
            open_ports,
            max_price,
            max_price_increase,
            rules,
        })
    }
}

impl FromNode for Rule {
    fn expected() -> String {
        "a rule: `{name: …, deny: CONDITION, message: …}`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "rule", problems)?;
        let name = map.required::<Spanned<String>>("name");
        let deny = map.optional::<Spanned<String>>("deny").flatten();
        let warn = map.optional::<Spanned<String>>("warn").flatten();
        let message = map.required::<String>("message");
        let (effect, condition) = match (deny, warn) {
            (Some(condition), None) => (Effect::Deny, Some(condition)),
            (None, Some(condition)) => (Effect::Warn, Some(condition)),
            (found, _) => {
                let what = match found {
                    Some(_) => "This rule has both `deny` and `warn`.",
                    None => "This rule has neither `deny` nor `warn`.",
                };
                let problem = node
                    .error("bad-rule", "rule without one effect")
                    .detail(what)
                    .hint("write the condition under `deny`, or under `warn`");
                map.problems().push(problem);
                (Effect::Deny, None)
            }
        };
        map.finish();
        Some(Self {
            name: name?,
            effect,
            condition: condition?,
            message: message?,
        })
    }
}
