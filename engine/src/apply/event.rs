//! What happens during an apply, as events for whoever shows it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::{OperationId, ResourceAddress};
use crate::plan::step::{StepId, StepOperation};
use crate::provider::ProviderError;

/// Something that happened during an apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ApplyEvent {
    /// The run began.
    RunStarted {
        /// How many steps it has.
        steps: usize,
        /// How many of them were done by an earlier run of the same plan.
        resumed: usize,
    },
    /// A step began: its intent is durable.
    StepStarted {
        /// The step.
        step: StepId,
        /// The object's address.
        address: ResourceAddress,
        /// What is done.
        operation: StepOperation,
        /// The call's idempotency key; `None` when the step makes no call.
        call: Option<OperationId>,
    },
    /// A step says what it is doing now.
    StepPhase {
        /// The step.
        step: StepId,
        /// The object's address.
        address: ResourceAddress,
        /// What it is doing, in a word or a short phrase.
        phase: String,
    },
    /// A step's call failed in a way that may pass; it is made again.
    StepRetried {
        /// The step.
        step: StepId,
        /// The object's address.
        address: ResourceAddress,
        /// Why.
        error: ProviderError,
        /// How many times it was tried so far.
        attempt: u32,
        /// How long until the next try.
        delay: Duration,
    },
    /// There was no capacity for an offer: it made nothing, and the plan's next one is asked for; its intent is durable.
    StepOffered {
        /// The step.
        step: StepId,
        /// The object's address.
        address: ResourceAddress,
        /// Why the offer before was refused.
        refused: ProviderError,
        /// What is asked for now, for people.
        offer: String,
        /// Its number among the offers, from 1.
        number: usize,
        /// How many offers there are.
        of: usize,
        /// The call's idempotency key.
        call: OperationId,
    },
    /// A step ended: its result is durable.
    StepFinished {
        /// The step.
        step: StepId,
        /// The object's address.
        address: ResourceAddress,
        /// What is done.
        operation: StepOperation,
        /// How it ended.
        outcome: StepOutcome,
        /// How long it took.
        elapsed: Duration,
    },
    /// No more steps are started; those that run are awaited.
    Draining {
        /// Why: a person asked, or the log cannot be written.
        reason: String,
        /// The addresses that are awaited.
        awaiting: Vec<ResourceAddress>,
    },
    /// The run ended.
    RunFinished {
        /// How many steps were done.
        done: usize,
        /// How many failed.
        failed: usize,
        /// How many were not started because another failed.
        skipped: usize,
        /// How many may or may not have happened.
        uncertain: usize,
        /// The serial of the state now that the lease is given back: what the next command sees.
        serial: u64,
    },
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// As planned.
    Done,
    /// There was nothing left to do: the value proved equal, or the object was gone already.
    Unneeded,
    /// It failed.
    Failed(Box<ProviderError>),
    /// It may or may not have happened; the next plan finds out.
    Uncertain(Box<ProviderError>),
    /// It was not started, because of this one.
    Skipped {
        /// The address whose failure, or the interruption that, kept it from starting.
        because: String,
    },
}

/// Whoever shows an apply. Called in order, from one task; must return quickly.
pub trait ApplyObserver: Send {
    /// Takes one event.
    fn observe(&mut self, event: &ApplyEvent);
}
