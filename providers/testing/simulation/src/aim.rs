//! Where a process is to be struck: chosen once its plan is known, toward what is hit rarely.

use gabion_engine::address::ResourceType;
use gabion_engine::plan::Plan;
use gabion_engine::plan::change::Action as Planned;
use gabion_engine::plan::step::{Step, StepOperation};
use gabion_engine::provider::{CallAction, Observation};
use gabion_engine::schema::ReplaceOrder;
use gabion_engine::state::State;
use gabion_engine::state::record::Status;
use gabion_testing::fake::fault::Random;

use crate::cell::{Action, Boundary, Moment, Place};
use crate::gate::place;

/// What becomes of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    /// It ends at once.
    Crash,
    /// It stands still until it is continued.
    Pause,
    /// The store answers with an error, whether it wrote or not, and the process goes on.
    Refuse,
}

/// What is aimed at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aim {
    pub(crate) place: Place,
    pub(crate) moment: Moment,
    /// How many such places are let pass.
    pub(crate) skip: u32,
    pub(crate) strike: Strike,
}

/// Types whose creation says nothing before it is finished.
const QUIET: &[&str] = &["fake_network", "fake_record", "fake_membership"];

/// Returns whether creations of a type tell their object's id before they wait for it.
pub(crate) fn checkpoints(resource_type: &ResourceType) -> bool {
    !QUIET.contains(&resource_type.as_str())
}

/// Returns what each step of a plan is; `None` for those that reach no cloud.
pub(crate) fn steps(plan: &Plan, state: &State) -> Vec<Option<Action>> {
    plan.steps.iter().map(|step| action(plan, step, state)).collect()
}

fn action(plan: &Plan, step: &Step, state: &State) -> Option<Action> {
    let change = &plan.changes[step.change];
    let resource_type = &change.address.resource_type;
    if resource_type.as_str() == "gabion_data" {
        return None;
    }
    let replacing = match change.action {
        Planned::Replace(ReplaceOrder::CreateThenDelete) => Some(Action::ReplaceCreateFirst),
        Planned::Replace(ReplaceOrder::DeleteThenCreate) => Some(Action::ReplaceDeleteFirst),
        _ => None,
    };
    let plain = match step.operation {
        StepOperation::Create { .. } if checkpoints(resource_type) => Action::CheckpointedCreate,
        StepOperation::Create { .. } => Action::Create,
        StepOperation::Update => {
            let record = change.uid.and_then(|uid| state.record(uid));
            let lost = record.is_some_and(|record| {
                let last = record.last_call.as_ref();
                (record.status == Status::Incomplete || record.open.is_some())
                    && last.is_some_and(|call| call.action == CallAction::Create)
            });
            if lost { Action::Adopt } else { Action::Update }
        }
        StepOperation::Delete { .. } => Action::Delete,
        StepOperation::DeleteWith { .. } | StepOperation::Check => return None,
    };
    Some(replacing.unwrap_or(plain))
}

/// Chooses a place of a plan to strike at, rare actions as often as frequent ones; `None` if there is none.
pub(crate) fn choose(
    plan: &Plan,
    steps: &[Option<Action>],
    state: &State,
    random: &mut Random,
    strike: Strike,
) -> Option<Aim> {
    let mut places = places(plan, steps, state);
    if strike == Strike::Refuse {
        places.retain(|place| place.boundary != Boundary::Call);
    }
    let mut actions: Vec<Action> = places.iter().map(|place| place.action).collect();
    actions.sort_unstable();
    actions.dedup();
    // What many plans have is seldom what is looked for.
    let rare: Vec<Action> = actions
        .iter()
        .copied()
        .filter(|action| weight(*action) > 1)
        .collect();
    if !rare.is_empty() && random.below(3) > 0 {
        actions = rare;
    }
    let action = *actions.get(random.below(actions.len() as u64) as usize)?;
    places.retain(|place| place.action == action);
    let chosen = boundary(&places, random)?;
    let of_its_kind = places.iter().filter(|place| **place == chosen).count() as u64;
    let moment = Moment::ALL[random.below(3) as usize];
    Some(Aim {
        place: chosen,
        moment: match (strike, moment) {
            (Strike::Refuse, Moment::After) => Moment::Unheard,
            (_, moment) => moment,
        },
        skip: random.below(of_its_kind) as u32,
        strike,
    })
}

/// Chooses among the boundaries of an action: each as often as every other, however many of them a plan has.
fn boundary(places: &[Place], random: &mut Random) -> Option<Place> {
    let mut kinds = places.to_vec();
    kinds.sort_unstable();
    kinds.dedup();
    // Requests are retried, refused and lost, and not every creation has a checkpoint: those are missed more often.
    let missed: Vec<Place> = kinds
        .iter()
        .copied()
        .filter(|place| matches!(place.boundary, Boundary::Call | Boundary::Checkpoint))
        .collect();
    kinds.extend(missed);
    kinds.get(random.below(kinds.len() as u64) as usize).copied()
}

fn weight(action: Action) -> u32 {
    match action {
        Action::CheckpointedCreate | Action::Update | Action::Create | Action::Delete => 1,
        _ => 2,
    }
}

/// Returns every place of a plan, as often as it is there.
fn places(plan: &Plan, steps: &[Option<Action>], state: &State) -> Vec<Place> {
    let mut places = Vec::new();
    let mut opening = |action, count| {
        for _ in 0..count {
            places.push(place(action, Boundary::Opening));
        }
    };
    opening(Action::Move, plan.moves.len());
    let imports = plan.changes.iter().filter(|change| change.importing.is_some());
    opening(Action::Import, imports.count());
    let forgets = plan
        .changes
        .iter()
        .filter(|change| change.action == Planned::Forget);
    opening(Action::Forget, forgets.count());
    let adopted = plan.settlements.iter().filter(|settlement| {
        matches!(settlement.observation, Observation::Present(_))
            && state
                .record(settlement.uid)
                .and_then(|record| record.open.as_ref())
                .is_some_and(|open| open.action == CallAction::Create)
    });
    opening(Action::Adopt, adopted.count());
    for (step, action) in plan.steps.iter().zip(steps) {
        let Some(action) = *action else { continue };
        let address = &plan.changes[step.change].address;
        for boundary in [Boundary::Intent, Boundary::Call, Boundary::Result] {
            places.push(place(action, boundary));
        }
        if matches!(step.operation, StepOperation::Create { .. }) && checkpoints(&address.resource_type) {
            places.push(place(action, Boundary::Checkpoint));
        }
    }
    places
}
