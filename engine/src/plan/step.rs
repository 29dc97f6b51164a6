//! The steps of a plan: the calls that apply makes, and the order between them.
//!
//! Apply makes no choice: it starts every step whose predecessors are done, within its bound, and nothing else.

use serde::{Deserialize, Serialize};

use crate::address::Uid;

/// The number of a step, which is its position in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub u32);

/// One call, or one entry in the log, that carries out part of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its number.
    pub id: StepId,
    /// The position of its change in the plan's list of changes.
    pub change: usize,
    /// What is done.
    pub operation: StepOperation,
    /// The steps that must be done before it, sorted.
    pub after: Vec<StepId>,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOperation {
    /// Makes the object. With `deposes`, the object that has the address now is deposed by the same entry in the log.
    Create {
        /// The object to depose.
        deposes: Option<Uid>,
    },
    /// Changes the object in place. An *incomplete* object whose attributes are right is updated with no difference:
    /// the provider then only waits for its readiness.
    Update,
    /// Deletes an object.
    Delete {
        /// The object.
        uid: Uid,
    },
    /// Records that an object goes with the one that holds it; makes no call.
    DeleteWith {
        /// The object.
        uid: Uid,
        /// The object that holds it.
        with: Uid,
    },
    /// Checks conditions of a resource that is otherwise unchanged.
    Check,
}
