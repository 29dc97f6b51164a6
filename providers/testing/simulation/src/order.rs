//! Edges: what a call relies on is recorded before it is sent, and what relies on an object is gone before it goes.

use gabion_engine::address::Uid;
use gabion_engine::state::State;
use gabion_engine::state::record::{Record, Status};
use gabion_engine::value::Value;
use gabion_testing::fake::api::Verb;

use crate::cell::Action;
use crate::gate::{Gate, Known};

/// Returns which edge a call that is about to be sent does not respect, judged by the durable log.
pub(crate) fn problem(gate: &Gate, call: &Known, verb: Verb) -> Option<String> {
    let journal = gate.journal()?;
    let state = journal.state();
    match verb {
        Verb::Create | Verb::Update => early(&state, call),
        Verb::Delete => late(&state, call),
        Verb::Describe | Verb::Find | Verb::Facts => None,
    }
    .map(|problem| format!("{}: {problem}", gate.name))
}

/// An object is made or changed only when what it depends on is there and finished.
fn early(state: &State, call: &Known) -> Option<String> {
    let Some(record) = state.record(call.uid) else {
        return Some(format!("`{}` is changed, and no record says so", call.address));
    };
    if record.open.is_none() {
        return Some(format!("`{}` is changed without a durable intent", call.address));
    }
    // Of an update the intent does not change the declaration, so that its edges may be those of before.
    let creates = record.status == Status::Creating;
    record
        .declaration
        .dependencies
        .iter()
        .filter(|_| creates)
        .find_map(|dependency| {
            let found = state.current(&dependency.address);
            let finished = found.is_some_and(|found| found.open.is_none() && found.status == Status::Ready);
            (!finished).then(|| {
                format!(
                    "`{}` is created before `{}`, which it depends on, is recorded as ready",
                    call.address, dependency.address
                )
            })
        })
}

/// An object is deleted only when nothing that is recorded depends on it. One that is replaced delete-first may leave
/// those standing that can follow it.
fn late(state: &State, call: &Known) -> Option<String> {
    if call.action == Some(Action::ReplaceDeleteFirst) {
        return None;
    }
    state
        .records()
        .filter(|record| !goes_along(record, state, call.uid))
        .filter(|record| record.uid != call.uid)
        .find(|record| {
            let mut dependencies = record.declaration.dependencies.iter();
            // Of one that was replaced first the address leads to another object already.
            dependencies.any(|dependency| {
                dependency.uid == Some(call.uid)
                    && state
                        .current(&dependency.address)
                        .is_some_and(|current| current.uid == call.uid)
            })
        })
        .map(|record| {
            format!(
                "`{}` is deleted while `{}` depends on it",
                call.address, record.address
            )
        })
}

/// Whether a record is of a membership that goes with a machine, which the log says right afterwards.
fn goes_along(record: &Record, state: &State, machine: Uid) -> bool {
    let router = record
        .attributes
        .get("router")
        .or_else(|| record.inputs.get("router"));
    let id = state.record(machine).and_then(|machine| machine.id.as_ref());
    record.address.resource_type.as_str() == "fake_membership"
        && id.is_some_and(|id| router.and_then(Value::as_str) == Some(id.as_str()))
}
