//! Which steps of a plan an earlier, interrupted run of that very plan has done.

use std::collections::BTreeMap;

use crate::address::{ResourceAddress, Uid};
use crate::plan::Plan;
use crate::plan::bindings::ran;
use crate::plan::change::Change;
use crate::plan::step::{Step, StepId, StepOperation};
use crate::provider::CallAction;
use crate::state::State;
use crate::state::record::{Record, Status};

/// How far an earlier run came with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is still to be done.
    Pending,
    /// It is done.
    Done,
    /// It made an object, and what that is must be read before it is relied on: an update finishes it, with no
    /// difference when its attributes are right.
    Unfinished {
        /// The object that it made.
        uid: Uid,
    },
}

/// Returns how far each step is, once the calls of the interrupted run are settled.
///
/// Of a plan that the last run did not carry out, every step is pending. So is a step whose call is still open: settle
/// it first.
pub fn progress(plan: &Plan, digest: &str, state: &State) -> BTreeMap<StepId, Progress> {
    let resumes = ran(state, digest);
    let mut records: BTreeMap<&ResourceAddress, Vec<&Record>> = BTreeMap::new();
    for record in state.records().filter(|_| resumes) {
        records.entry(&record.address).or_default().push(record);
    }
    plan.steps
        .iter()
        .map(|step| {
            let progress = if resumes {
                let change = &plan.changes[step.change];
                let there = records.get(&change.address).map_or(&[][..], Vec::as_slice);
                of_step(step, change, digest, state, there)
            } else {
                Progress::Pending
            };
            (step.id, progress)
        })
        .collect()
}

/// `there` are the records that have the change's address, or had it when they were deposed.
fn of_step(step: &Step, change: &Change, digest: &str, state: &State, there: &[&Record]) -> Progress {
    let called = |record: &Record, action: CallAction| {
        record.last_call.as_ref().is_some_and(|call| {
            call.plan.as_deref() == Some(digest) && call.step == step.id.0 && call.action == action
        })
    };
    match step.operation {
        StepOperation::Create { .. } => {
            // A later step may have moved on from what this one made, never back.
            let made = there
                .iter()
                .find(|record| called(record, CallAction::Create) || finished_by(record, digest, step));
            match made {
                Some(record) if record.open.is_some() => Progress::Pending,
                Some(record) if record.status == Status::Ready => Progress::Done,
                Some(record) => Progress::Unfinished { uid: record.uid },
                None => Progress::Pending,
            }
        }
        StepOperation::Update => {
            let record = match change.uid {
                Some(uid) => state.record(uid),
                None => state.current(&change.address),
            };
            let done = record.is_some_and(|record| {
                called(record, CallAction::Update)
                    && record.open.is_none()
                    && record.status == Status::Ready
                    && record.last_call.as_ref().is_some_and(|call| call.done)
            });
            if done { Progress::Done } else { Progress::Pending }
        }
        StepOperation::Delete { uid } | StepOperation::DeleteWith { uid, .. } => {
            if state.record(uid).is_none() {
                Progress::Done
            } else {
                Progress::Pending
            }
        }
        // Looking again costs nothing and may find what changed meanwhile.
        StepOperation::Check => Progress::Pending,
    }
}

/// Returns whether an unfinished creation of this step was finished by an update of the same step.
fn finished_by(record: &Record, digest: &str, step: &Step) -> bool {
    record.last_call.as_ref().is_some_and(|call| {
        call.plan.as_deref() == Some(digest) && call.step == step.id.0 && call.action == CallAction::Update
    })
}
