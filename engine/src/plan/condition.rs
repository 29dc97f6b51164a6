//! Conditions: what can be decided at plan is; the rest is left for apply.

use crate::config::{ConditionError, ConditionExpression, Reference, Verdict};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::plan::evaluate::PlanScope;
use crate::plan::problem::Places;
use crate::resource::{Condition, ConditionTime, Resource};
use crate::value::TemplateText;

/// Returns what a condition refers to.
pub(crate) fn references(condition: &TemplateText) -> Result<Vec<Reference>, String> {
    let parsed: ConditionExpression = condition.as_str().parse().map_err(|error| format!("{error}"))?;
    Ok(parsed
        .references()
        .into_iter()
        .map(|(reference, _)| reference)
        .collect())
}

/// Checks the conditions of one time that can be checked now.
///
/// Returns those that only apply can check. One that fails is a problem of the given severity.
pub(super) fn check(
    resource: &Resource,
    when: ConditionTime,
    scope: &PlanScope<'_>,
    severity: Severity,
    places: &Places<'_>,
    problems: &mut Diagnostics,
) -> Vec<Condition> {
    let mut open = Vec::new();
    for condition in resource
        .conditions
        .iter()
        .filter(|condition| condition.when == when)
    {
        let Ok(expression) = condition.condition.as_str().parse::<ConditionExpression>() else {
            continue; // Reported when the graph was built.
        };
        let at = places.span(&condition.place);
        let mut problem = |detail: String| {
            let mut found = Diagnostic::error("condition-failed", "a condition does not hold")
                .detail(detail)
                .at(at.clone());
            found.severity = severity;
            problems.push(found);
        };
        match expression.evaluate(scope) {
            Ok(Verdict::Holds) => {}
            Ok(Verdict::Unknown) => open.push(condition.clone()),
            Ok(Verdict::Fails) => problem(format!(
                "`{}`: {}\nThe condition is `{}`.",
                resource.address, condition.message, condition.condition
            )),
            Err(error) => {
                let why = match &error {
                    ConditionError::Evaluate(error) => scope.explain(error).0,
                    ConditionError::Type(why) => format!("{why}."),
                };
                problem(format!(
                    "The condition `{}` of `{}` cannot be decided: {why}",
                    condition.condition, resource.address
                ));
            }
        }
    }
    open
}
