//! What a project's policy says about a plan: a pure function of both.
//!
//! Rules that people write are CEL expressions. They come from a file that may be part of a pull request, so a rule is
//! short, is read and evaluated on a thread of its own with room for deep nesting, and is given up when it takes too
//! long. What cannot be decided is not allowed: a build without the feature `policy-rules` cannot read them, and refuses a
//! project that has some.

mod builtin;
#[cfg(feature = "policy-rules")]
mod facts;
mod price;
#[cfg_attr(not(feature = "policy-rules"), path = "no_rule.rs")]
mod rule;

use gabion_engine::config::Policy;
use gabion_engine::diagnostic::Diagnostics;
use gabion_engine::plan::Plan;
use gabion_engine::plan::policy::{PolicyReport, Ruling};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::render::words;

/// Returns why a plan must not be applied, when its policy forbids it.
pub(crate) fn denied(plan: &Plan) -> Option<Failure> {
    const SHOWN: usize = 10;
    let denials: Vec<&Ruling> = plan.denials().collect();
    if denials.is_empty() {
        return None;
    }
    let mut lines: Vec<String> = denials
        .iter()
        .take(SHOWN)
        .map(|ruling| words::ruling(ruling))
        .collect();
    if denials.len() > SHOWN {
        lines.push(format!("And {} more.", denials.len() - SHOWN));
    }
    let failure = Failure::new("the policy forbids this plan")
        .detail(lines.join("\n"))
        .hint("change what the plan does, or have the policy in gabion.yml changed; then plan again");
    Some(failure.exit(Exit::Blocked))
}

/// Reports rules that cannot be read.
pub(crate) fn problems(policy: &Policy) -> Diagnostics {
    rule::problems(&policy.rules)
}

/// Returns the plan as it is when apply goes down its offers: once with the second of each object that has one, and so on.
/// Apply asks nobody when it takes one, so that each must be allowed.
fn with_other_offers(plan: &Plan) -> Vec<Plan> {
    let most = plan
        .changes
        .iter()
        .map(|change| change.alternatives.others.len())
        .max();
    (1..=most.unwrap_or_default())
        .map(|offer| {
            let mut other = plan.clone();
            for change in &mut other.changes {
                let Some((inputs, after)) = change.offer(offer) else {
                    continue;
                };
                let (inputs, after) = (inputs.clone(), after.cloned());
                change.inputs = Some(inputs);
                change.after = after;
            }
            other
        })
        .collect()
}

/// Returns what a policy says about a plan; `None` when there is no policy.
///
/// # Errors
/// When a rule takes too long.
pub(crate) fn evaluate(policy: &Policy, plan: &Plan) -> Result<Option<PolicyReport>, Failure> {
    if policy.is_empty() {
        return Ok(None);
    }
    let mut rulings = builtin::evaluate(policy, plan);
    rulings.extend(rule::evaluate(&policy.rules, plan)?);
    for other in with_other_offers(plan) {
        rulings.extend(builtin::evaluate(policy, &other));
        rulings.extend(rule::evaluate(&policy.rules, &other)?);
    }
    rulings.sort();
    rulings.dedup();
    Ok(Some(PolicyReport {
        rules: policy.len(),
        rulings,
    }))
}
