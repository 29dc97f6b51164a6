//! `policy` in `gabion.yml`: what plans may do.
//!
//! Here it is only read. What the rules say is worked out by whoever shows and applies plans.

use serde::{Deserialize, Serialize};

use super::decode::{FromNode, Spanned};
use super::map_reader::MapReader;
use super::node::Node;
use crate::diagnostic::{Diagnostic, Diagnostics};

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
    /// The project's own rules, in the order written.
    pub rules: Vec<Rule>,
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
