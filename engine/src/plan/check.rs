//! A linter over finished plans: what must hold of every plan, whoever made it.
//!
//! It runs on every plan in debug builds and on every plan that is loaded, so that the executor can rely on it.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::Uid;
use crate::plan::Plan;
use crate::plan::change::{Action, Change};
use crate::plan::step::{Step, StepOperation};
use crate::schema::ReplaceOrder;

/// Checks a plan; returns every fault as a sentence.
pub fn check(plan: &Plan) -> Vec<String> {
    let mut faults = Vec::new();
    steps_are_well_formed(plan, &mut faults);
    if faults.is_empty() {
        changes_have_their_steps(plan, &mut faults);
        bindings_are_complete(plan, &mut faults);
    }
    changes_are_well_formed(plan, &mut faults);
    faults
}

fn steps_are_well_formed(plan: &Plan, faults: &mut Vec<String>) {
    for (index, step) in plan.steps.iter().enumerate() {
        if step.id.0 as usize != index {
            faults.push(format!("Step {} stands at position {index}.", step.id.0));
        }
        if step.change >= plan.changes.len() {
            faults.push(format!(
                "Step {index} belongs to change {}, which is not there.",
                step.change
            ));
        }
        if !step.after.is_sorted() || step.after.windows(2).any(|pair| pair[0] == pair[1]) {
            faults.push(format!(
                "The predecessors of step {index} are not sorted, or repeated."
            ));
        }
        // Steps are numbered in an order that respects their predecessors, so this also excludes cycles.
        if step.after.iter().any(|before| before.0 as usize >= index) {
            faults.push(format!(
                "Step {index} waits for one that does not come before it."
            ));
        }
    }
}

fn changes_have_their_steps(plan: &Plan, faults: &mut Vec<String>) {
    let mut of: Vec<Vec<&Step>> = vec![Vec::new(); plan.changes.len()];
    for step in &plan.steps {
        of[step.change].push(step);
    }
    let removes = |step: &Step, uid: Option<Uid>| match step.operation {
        StepOperation::Delete { uid: gone } | StepOperation::DeleteWith { uid: gone, .. } => {
            uid == Some(gone)
        }
        _ => false,
    };
    let creates = |step: &Step, deposed: Option<Uid>| matches!(step.operation, StepOperation::Create { deposes } if deposes == deposed);
    for (change, steps) in plan.changes.iter().zip(&of) {
        let uid = change.uid;
        let right = match (change.action, steps.as_slice()) {
            (Action::NoOp | Action::Forget, []) => true,
            (Action::NoOp, [step]) => step.operation == StepOperation::Check,
            (Action::Create, [step]) => creates(step, None),
            (Action::Update, [step]) => step.operation == StepOperation::Update,
            (Action::Delete, [step]) => removes(step, uid),
            (Action::Replace(ReplaceOrder::CreateThenDelete), [first, then]) => {
                creates(first, uid) && uid.is_some() && removes(then, uid)
            }
            (Action::Replace(ReplaceOrder::DeleteThenCreate), [first, then]) => {
                removes(first, uid) && creates(then, None)
            }
            _ => false,
        };
        if !right {
            let operations: Vec<_> = steps.iter().map(|step| step.operation).collect();
            faults.push(format!(
                "`{}` has the action {:?} and the steps {operations:?}.",
                change.address, change.action
            ));
        }
        if steps.iter().any(|step| matches!(step.operation, StepOperation::DeleteWith { with, .. } if change.deleted_with != Some(with))) {
            faults.push(format!("`{}` goes with an object that its change does not name.", change.address));
        }
    }
}

fn changes_are_well_formed(plan: &Plan, faults: &mut Vec<String>) {
    let key = |change: &Change| (change.address.clone(), change.deposed, change.uid);
    if !plan.changes.iter().map(key).is_sorted() {
        faults.push("The changes are not sorted.".to_owned());
    }
    let mut current = BTreeSet::new();
    let mut uids = BTreeSet::new();
    for change in &plan.changes {
        let address = &change.address;
        let goes = matches!(change.action, Action::Delete | Action::Forget);
        if !change.deposed && !current.insert(address) {
            faults.push(format!("`{address}` is changed twice."));
        }
        if change.uid.is_some_and(|uid| !uids.insert(uid)) {
            faults.push(format!("Two changes are about the object of `{address}`."));
        }
        if change.deposed && !goes {
            faults.push(format!("A deposed object of `{address}` is not deleted."));
        }
        let makes = matches!(
            change.action,
            Action::Create | Action::Update | Action::Replace(_)
        );
        if makes && (change.inputs.is_none() || change.after.is_none() || change.declaration.is_none()) {
            faults.push(format!(
                "`{address}` is made without inputs, result or declaration."
            ));
        }
        let anew = matches!(change.action, Action::Create | Action::Replace(_));
        if !anew && !change.alternatives.is_empty() {
            faults.push(format!("`{address}` is not made anew and has alternatives."));
        }
        if goes && (change.after.is_some() || change.inputs.is_some()) {
            faults.push(format!("`{address}` goes and has a result."));
        }
        let exists = !matches!(change.action, Action::Create);
        if exists && change.uid.is_none() && change.imported.is_none() {
            faults.push(format!("`{address}` is said to exist and has no object."));
        }
        if change.action == Action::Create && change.uid.is_some() {
            faults.push(format!("`{address}` is created and has an object already."));
        }
        if !change.attributes.iter().map(|a| &a.path).is_sorted() {
            faults.push(format!("The attributes of `{address}` are not sorted."));
        }
        let claims_change = matches!(
            change.action,
            Action::Update | Action::Replace(_) | Action::Create
        );
        if claims_change && change.reasons.is_empty() {
            faults.push(format!("Nothing says why `{address}` changes."));
        }
    }
}

fn bindings_are_complete(plan: &Plan, faults: &mut Vec<String>) {
    let absent: BTreeSet<_> = plan.bindings.absent.iter().collect();
    let by_uid: BTreeMap<Uid, &Change> = plan
        .changes
        .iter()
        .filter_map(|change| Some((change.uid?, change)))
        .collect();
    for change in &plan.changes {
        if change.action == Action::Create && !absent.contains(&change.address) {
            faults.push(format!(
                "The plan is not bound to the absence of `{}`.",
                change.address
            ));
        }
    }
    for (uid, change) in by_uid {
        let goes = matches!(change.action, Action::Delete | Action::Replace(_));
        // What turns up late has no record yet.
        let late = plan.settlements.iter().any(|s| s.late && s.uid == uid);
        if change.action != Action::NoOp && !late && !plan.bindings.records.contains_key(&uid) {
            faults.push(format!(
                "The plan is not bound to the record of `{}`.",
                change.address
            ));
        }
        if goes && !plan.bindings.dependants.contains_key(&uid) {
            faults.push(format!(
                "The plan is not bound to what depends on `{}`.",
                change.address
            ));
        }
    }
}
