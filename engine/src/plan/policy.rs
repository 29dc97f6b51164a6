//! What a project's policy says about a plan: data that travels with the plan, so that a saved plan that was denied is
//! refused wherever it is applied.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::address::ResourceAddress;
use crate::config::Effect;
use crate::plan::Plan;
use crate::resource::Place;

/// What a policy says about a plan as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PolicyReport {
    /// How many rules were looked at.
    pub rules: usize,
    /// What they object to, denials first.
    pub rulings: Vec<Ruling>,
}

/// What one rule objects to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ruling {
    /// What follows from it.
    pub effect: Effect,
    /// The rule's name.
    pub rule: Arc<str>,
    /// The resource that it is about; `None` when it is about the plan as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<ResourceAddress>,
    /// What is wrong, as people wrote it or as the rule words it.
    pub message: String,
    /// Where the rule stands.
    pub place: Place,
}

impl Plan {
    /// Returns what forbids that the plan is applied.
    pub fn denials(&self) -> impl Iterator<Item = &Ruling> {
        let rulings = self.policy.iter().flat_map(|report| &report.rulings);
        rulings.filter(|ruling| ruling.effect == Effect::Deny)
    }
}
