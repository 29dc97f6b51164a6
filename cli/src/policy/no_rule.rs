//! What stands in for rules in CEL in a build without the feature `policy-rules`: it refuses them.

use gabion_engine::config::Rule;
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use gabion_engine::plan::Plan;
use gabion_engine::plan::policy::Ruling;

use crate::failure::{DEFAULT_FEATURES, Failure};

/// Reports every rule: none can be read.
pub(super) fn problems(rules: &[Rule]) -> Diagnostics {
    let mut problems = Diagnostics::new();
    for rule in rules {
        problems.push(
            Diagnostic::error("no-policy-rules", "rule that this build cannot read")
                .detail(format!(
                    "The rule `{}`: this build of gabion has no CEL, so that nobody would know whether the rule holds.",
                    rule.name.value
                ))
                .at(rule.condition.span.clone())
                .hint(DEFAULT_FEATURES),
        );
    }
    problems
}

/// Decides nothing, unless there is nothing to decide.
pub(super) fn evaluate(rules: &[Rule], _: &Plan) -> Result<Vec<Ruling>, Failure> {
    let problems = problems(rules);
    if problems.has_errors() {
        return Err(problems.into());
    }
    Ok(Vec::new())
}
