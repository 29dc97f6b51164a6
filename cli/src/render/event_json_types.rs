//! The wire types of the event stream: a line of JSON for each event of planning and of an apply.

use gabion_engine::apply::event::{ApplyEvent, StepOutcome};
use gabion_engine::gather::GatherEvent;
use gabion_engine::plan::step::StepOperation;
use gabion_engine::provider::{Effect, ErrorClass, ProviderError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan_json_types::SummaryJson;

/// One line of the event stream that `--events FILE` writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventLineJson {
    /// The version of this form: `1.0`.
    pub format_version: String,
    /// The line's number, from 1. A gap means that lines were dropped because the file was slow.
    pub sequence: u64,
    /// When it happened.
    pub at: String,
    /// What happened.
    #[serde(flatten)]
    pub event: EventJson,
}

/// What happened while something was planned or applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventJson {
    /// Planning began.
    PlanningStarted {
        /// The project's name.
        project: String,
        /// What the plan is for: `apply` or `destroy`.
        mode: String,
    },
    /// The world is being read.
    ReadingStarted {
        /// How many recorded objects are read.
        objects: usize,
        /// How many calls without a result are looked into.
        observations: usize,
    },
    /// Some objects were read.
    ObjectsRead {
        /// How many so far.
        done: usize,
        /// Of how many.
        of: usize,
    },
    /// Objects that were not found are looked for again, because they may only not be visible yet.
    LookingAgain {
        /// Which.
        addresses: Vec<String>,
        /// For how many milliseconds at most.
        within_ms: u64,
    },
    /// A call of an earlier run, whose result was lost, is looked into.
    CallObserved {
        /// The object's address.
        address: String,
    },
    /// A read failed in a way that may pass, and is made again.
    ReadRetried {
        /// What was asked.
        what: String,
        /// Why.
        error: ErrorJson,
        /// How many milliseconds until the next try.
        delay_ms: u64,
    },
    /// An object is not as it was recorded.
    DriftFound {
        /// The object's address.
        address: String,
        /// `vanished`, `changed` or `cannot_tell`.
        kind: String,
    },
    /// Something is to happen to an object. Values are in the plan, not here.
    ChangePlanned {
        /// The object's address.
        address: String,
        /// The address that it had before a move.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous_address: Option<String>,
        /// Whether another object has taken its address.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        deposed: bool,
        /// What is done, in the words of `resource_changes` of the JSON plan.
        actions: Vec<String>,
        /// The attributes that differ.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attributes: Vec<String>,
        /// Why, from the reason down to the place in the configuration.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        because: Vec<String>,
    },
    /// A rule of the project's policy objects to the plan.
    RuleObjected {
        /// `deny` or `warn`.
        effect: String,
        /// The rule's name.
        rule: String,
        /// The resource, unless it is about the plan as a whole.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        /// What is wrong.
        message: String,
    },
    /// There is a plan.
    PlanFinished {
        /// How many objects each kind of change concerns.
        summary: SummaryJson,
        /// How many calls of earlier runs nobody knows the outcome of.
        unsettled: usize,
        /// Objects whose protection forbids the plan.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        blocked: Vec<String>,
        /// Whether the policy forbids the plan.
        denied: bool,
        /// The state's serial.
        serial: u64,
        /// The plan's digest.
        digest: String,
    },
    /// There is no plan.
    PlanningFailed {
        /// Why.
        message: String,
    },
    /// The run began.
    RunStarted {
        /// How many steps it has.
        steps: usize,
        /// How many of them an earlier run of the same plan has done.
        resumed: usize,
    },
    /// A step began.
    StepStarted {
        /// The step's number in the plan.
        step: u32,
        /// The object's address.
        address: String,
        /// What is done.
        operation: OperationJson,
        /// The call's idempotency key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call: Option<String>,
    },
    /// A step says what it is doing now.
    StepPhase {
        /// The step's number in the plan.
        step: u32,
        /// The object's address.
        address: String,
        /// What it is doing.
        phase: String,
    },
    /// A step's call failed in a way that may pass, and is made again.
    StepRetried {
        /// The step's number in the plan.
        step: u32,
        /// The object's address.
        address: String,
        /// Why.
        error: ErrorJson,
        /// How many times it was tried so far.
        attempt: u32,
        /// How many milliseconds until the next try.
        delay_ms: u64,
    },
    /// There was no capacity for an offer, which made nothing; the plan's next one is asked for.
    StepOffered {
        /// The step's number in the plan.
        step: u32,
        /// The object's address.
        address: String,
        /// Why the offer before was refused.
        refused: ErrorJson,
        /// What is asked for now.
        offer: String,
        /// Its number among the offers, from 1.
        number: usize,
        /// How many offers there are.
        of: usize,
        /// The call's idempotency key.
        call: String,
    },
    /// A step ended.
    StepFinished {
        /// The step's number in the plan.
        step: u32,
        /// The object's address.
        address: String,
        /// What was done.
        operation: OperationJson,
        /// How it ended.
        outcome: OutcomeJson,
        /// Why it failed or is uncertain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<ErrorJson>,
        /// What kept it from starting.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<String>,
        /// How many milliseconds it took.
        elapsed_ms: u64,
    },
    /// No more steps are started; those that run are awaited.
    Draining {
        /// Why.
        reason: String,
        /// The addresses that are awaited.
        awaiting: Vec<String>,
    },
    /// The run ended.
    RunFinished {
        /// How many steps were done.
        done: usize,
        /// How many failed.
        failed: usize,
        /// How many were not started.
        skipped: usize,
        /// How many may or may not have happened.
        uncertain: usize,
        /// The serial of the state now that the lease is given back: what the next command sees.
        serial: u64,
    },
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationJson {
    /// Makes an object.
    Create,
    /// Changes an object in place.
    Update,
    /// Deletes an object.
    Delete,
    /// Records that an object goes with the one that holds it.
    DeleteWith,
    /// Checks conditions.
    Check,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeJson {
    /// As planned.
    Done,
    /// There was nothing left to do.
    Unneeded,
    /// It failed.
    Failed,
    /// It may or may not have happened.
    Uncertain,
    /// It was not started.
    Skipped,
}

/// Why a call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorJson {
    /// What can be done about it: `throttled`, `transient`, `conflict`, `not_found`, `invalid`, `denied` or `uncertain`.
    pub class: String,
    /// What the call may have done: `none`, `partial` or `unknown`.
    pub effect: String,
    /// What happened and why.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Lines that explain it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<String>,
}

impl From<&ProviderError> for ErrorJson {
    fn from(error: &ProviderError) -> Self {
        let class = match error.class {
            ErrorClass::Throttled => "throttled",
            ErrorClass::Transient => "transient",
            ErrorClass::Conflict => "conflict",
            ErrorClass::NoCapacity => "no_capacity",
            ErrorClass::NotFound => "not_found",
            ErrorClass::Invalid => "invalid",
            ErrorClass::Denied => "denied",
            ErrorClass::Uncertain => "uncertain",
        };
        let effect = match error.effect {
            Effect::None => "none",
            Effect::Partial => "partial",
            Effect::Unknown => "unknown",
        };
        Self {
            class: class.into(),
            effect: effect.into(),
            message: error.message.clone(),
            hint: error.hint.clone(),
            detail: error.detail.clone(),
        }
    }
}

impl From<StepOperation> for OperationJson {
    fn from(operation: StepOperation) -> Self {
        match operation {
            StepOperation::Create { .. } => Self::Create,
            StepOperation::Update => Self::Update,
            StepOperation::Delete { .. } => Self::Delete,
            StepOperation::DeleteWith { .. } => Self::DeleteWith,
            StepOperation::Check => Self::Check,
        }
    }
}

impl From<&GatherEvent> for EventJson {
    fn from(event: &GatherEvent) -> Self {
        match event {
            GatherEvent::Started {
                objects,
                observations,
            } => Self::ReadingStarted {
                objects: *objects,
                observations: *observations,
            },
            GatherEvent::Read { done, of } => Self::ObjectsRead { done: *done, of: *of },
            GatherEvent::LookingAgain { addresses, within } => Self::LookingAgain {
                addresses: addresses.iter().map(ToString::to_string).collect(),
                within_ms: milliseconds(*within),
            },
            GatherEvent::Observing { address } => Self::CallObserved {
                address: address.to_string(),
            },
            GatherEvent::Retried { what, error, delay } => Self::ReadRetried {
                what: what.clone(),
                error: error.into(),
                delay_ms: milliseconds(*delay),
            },
        }
    }
}

impl From<&ApplyEvent> for EventJson {
    fn from(event: &ApplyEvent) -> Self {
        match event {
            ApplyEvent::RunStarted { steps, resumed } => Self::RunStarted {
                steps: *steps,
                resumed: *resumed,
            },
            ApplyEvent::StepStarted {
                step,
                address,
                operation,
                call,
            } => Self::StepStarted {
                step: step.0,
                address: address.to_string(),
                operation: (*operation).into(),
                call: call.map(|call| call.to_string()),
            },
            ApplyEvent::StepPhase { step, address, phase } => Self::StepPhase {
                step: step.0,
                address: address.to_string(),
                phase: phase.clone(),
            },
            ApplyEvent::StepRetried {
                step,
                address,
                error,
                attempt,
                delay,
            } => Self::StepRetried {
                step: step.0,
                address: address.to_string(),
                error: error.into(),
                attempt: *attempt,
                delay_ms: milliseconds(*delay),
            },
            ApplyEvent::StepOffered {
                step,
                address,
                refused,
                offer,
                number,
                of,
                call,
            } => Self::StepOffered {
                step: step.0,
                address: address.to_string(),
                refused: refused.into(),
                offer: offer.clone(),
                number: *number,
                of: *of,
                call: call.to_string(),
            },
            ApplyEvent::StepFinished {
                step,
                address,
                operation,
                outcome,
                elapsed,
            } => {
                let (word, error, because) = match outcome {
                    StepOutcome::Done => (OutcomeJson::Done, None, None),
                    StepOutcome::Unneeded => (OutcomeJson::Unneeded, None, None),
                    StepOutcome::Failed(error) => (OutcomeJson::Failed, Some(error), None),
                    StepOutcome::Uncertain(error) => (OutcomeJson::Uncertain, Some(error), None),
                    StepOutcome::Skipped { because } => (OutcomeJson::Skipped, None, Some(because.clone())),
                };
                Self::StepFinished {
                    step: step.0,
                    address: address.to_string(),
                    operation: (*operation).into(),
                    outcome: word,
                    error: error.map(|error| error.as_ref().into()),
                    because,
                    elapsed_ms: milliseconds(*elapsed),
                }
            }
            ApplyEvent::Draining { reason, awaiting } => Self::Draining {
                reason: reason.clone(),
                awaiting: awaiting.iter().map(ToString::to_string).collect(),
            },
            ApplyEvent::RunFinished {
                done,
                failed,
                skipped,
                uncertain,
                serial,
            } => Self::RunFinished {
                done: *done,
                failed: *failed,
                skipped: *skipped,
                uncertain: *uncertain,
                serial: *serial,
            },
        }
    }
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
