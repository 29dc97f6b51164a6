//! Plans and problems as short texts for snapshots.

use std::fmt::Write as _;

use gabion_engine::plan::Plan;
use gabion_engine::plan::change::{Action, Cause, Change, DriftKind, Reason};
use gabion_engine::plan::step::StepOperation;
use gabion_engine::provider::Observation;
use gabion_engine::schema::ReplaceOrder;
use gabion_engine::value::Value;

/// What people would want to know of a plan.
pub(crate) fn render(plan: &Plan) -> String {
    let mut out = String::new();
    for settlement in &plan.settlements {
        let found = match &settlement.observation {
            Observation::Present(state) if settlement.late => format!("late as {}", state.id),
            Observation::Present(state) => format!("present as {}", state.id),
            Observation::Absent => "absent".to_owned(),
            Observation::Unknown { .. } => "unknown".to_owned(),
        };
        let _ = writeln!(out, "settled {}: {found}", settlement.address);
    }
    for unsettled in &plan.unsettled {
        let _ = writeln!(out, "unsettled {}: {}", unsettled.address, unsettled.reason);
    }
    for change in &plan.changes {
        one(change, &mut out);
    }
    for drift in &plan.drift {
        match &drift.kind {
            DriftKind::Vanished => {
                let _ = writeln!(out, "drift {}: vanished", drift.address);
            }
            DriftKind::CannotTell { reason } => {
                let _ = writeln!(out, "drift {}: cannot tell: {reason}", drift.address);
            }
            DriftKind::Changed(attributes) => {
                for a in attributes {
                    let _ = writeln!(
                        out,
                        "drift {}.{}: recorded {}, is {}, wanted {}: {:?}",
                        drift.address,
                        a.path,
                        value(a.recorded.as_ref()),
                        value(a.actual.as_ref()),
                        value(a.desired.as_ref()),
                        a.verdict
                    );
                }
            }
        }
    }
    for uid in plan.accepted.keys() {
        let of = plan.changes.iter().find(|change| change.uid == Some(*uid));
        let _ = writeln!(
            out,
            "accepted {}",
            of.map_or_else(|| uid.to_string(), |c| c.address.to_string())
        );
    }
    for (name, output) in plan.outputs.iter().filter(|(_, output)| output.changes()) {
        let _ = writeln!(
            out,
            "output {name}: {} -> {}",
            value(output.before.as_ref()),
            value(output.after.as_ref())
        );
    }
    for left in &plan.left_out {
        let _ = writeln!(out, "left out {left}");
    }
    for note in &plan.notes {
        let _ = writeln!(out, "note {}", note.message);
    }
    out.push_str(&steps(plan));
    if out.is_empty() {
        out.push_str("nothing\n");
    }
    out
}

fn one(change: &Change, out: &mut String) {
    let verb = match change.action {
        Action::NoOp => "keep",
        Action::Create => "create",
        Action::Update => "update",
        Action::Replace(ReplaceOrder::CreateThenDelete) => "replace create-first",
        Action::Replace(ReplaceOrder::DeleteThenCreate) => "replace delete-first",
        Action::Delete => "delete",
        Action::Forget => "forget",
    };
    let shown = change.action != Action::NoOp
        || change.previous_address.is_some()
        || change.importing.is_some()
        || change.only_declares()
        || !change.notes.is_empty()
        || !change.conditions.is_empty();
    if !shown {
        return;
    }
    let deposed = if change.deposed { " (deposed)" } else { "" };
    let reasons: Vec<String> = change.reasons.iter().map(reason).collect();
    let declares = if change.only_declares() {
        ", declared anew"
    } else {
        ""
    };
    let _ = writeln!(
        out,
        "{verb} {}{deposed}: {}{declares}",
        change.address,
        reasons.join(", ")
    );
    if let Some(from) = &change.previous_address {
        let _ = writeln!(out, "    was {from}");
    }
    if let Some(id) = &change.importing {
        let _ = writeln!(out, "    imported from {id}");
    }
    if change.action != Action::Delete {
        for a in &change.attributes {
            let forced = if a.forces_replacement { " !" } else { "" };
            let cause = match &a.cause {
                Cause::Configuration(Some(place)) => format!("{place}"),
                Cause::Configuration(None) => "configuration".to_owned(),
                Cause::Reference(reference) => format!("{}.{}", reference.address, reference.path),
                Cause::Drift => "drift".to_owned(),
                Cause::Computed => "computed".to_owned(),
            };
            let _ = writeln!(
                out,
                "    {}: {} -> {}{forced} ({cause})",
                a.path,
                value(a.before.as_deref()),
                value(a.after.as_ref())
            );
        }
    }
    for condition in change.conditions.iter() {
        let _ = writeln!(out, "    check {:?}: {}", condition.when, condition.condition);
    }
    for note in change.notes.iter() {
        let _ = writeln!(out, "    note {note}");
    }
}

/// The steps of a plan and what each waits for.
fn steps(plan: &Plan) -> String {
    let mut out = String::new();
    for step in &plan.steps {
        let change = &plan.changes[step.change];
        let what = match step.operation {
            StepOperation::Create { deposes: Some(_) } => "create, deposing",
            StepOperation::Create { deposes: None } => "create",
            StepOperation::Update => "update",
            StepOperation::Delete { .. } => "delete",
            StepOperation::DeleteWith { .. } => "gone with holder",
            StepOperation::Check => "check",
        };
        let _ = write!(out, "{}. {what} {}", step.id.0, change.address);
        if !step.after.is_empty() {
            let after: Vec<String> = step.after.iter().map(|id| id.0.to_string()).collect();
            let _ = write!(out, " after {}", after.join(" "));
        }
        out.push('\n');
    }
    out
}

fn value(value: Option<&Value>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:?}"))
}

fn reason(reason: &Reason) -> String {
    match reason {
        Reason::CannotChangeInPlace(paths) => format!("cannot change {paths:?} in place"),
        Reason::Undeclared(None) => "undeclared".to_owned(),
        Reason::Undeclared(Some(place)) => format!("removed at {place}"),
        Reason::TriggeredBy(address) => format!("triggered by {address}"),
        Reason::DependencyReplaced(address) => format!("makes way for {address}"),
        Reason::DeletedWith(address) => format!("goes with {address}"),
        other => format!("{other:?}").to_lowercase(),
    }
}
