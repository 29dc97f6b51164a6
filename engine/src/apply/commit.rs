//! Making what a round gathered durable, and what happens only then.

use std::time::Duration;

use tokio::time::Instant;

use super::call::Launch;
use super::event::{ApplyEvent, StepOutcome};
use super::executor::{Batch, Effects, Run, Running, Stopped};
use super::prepare::PreparedCall;
use crate::address::{OperationId, Uid};
use crate::plan::step::StepId;
use crate::provider::{ErrorClass, ProviderError};
use crate::state::journal::JournalError;

impl Run<'_> {
    /// Makes a batch durable, then lets happen what follows from it.
    pub(super) async fn commit(&mut self, batch: Batch) {
        let events = batch.events.filter(|events| !events.is_empty());
        let committed = match (&self.stopped, events) {
            (_, None) => Ok(None),
            // The log is closed to this run: nothing is tried, and nothing that follows from it happens.
            (Some(Stopped::Log(error)), Some(_)) => Err(error.clone()),
            // Nobody waits to be heard meanwhile.
            (_, Some(events)) if self.running.is_empty() => {
                self.journal.commit_draft_here(events).await.map(Some)
            }
            (_, Some(events)) => self.journal.commit_draft(events).await.map(Some),
        };
        match committed {
            Ok(state) => {
                if let Some(state) = state {
                    self.view.written(state);
                }
                self.follow_all(batch.effects);
            }
            Err(error) => self.unwritten(&error, batch.effects),
        }
    }

    /// What follows once a commit is durable.
    fn follow_all(&mut self, effects: Vec<Effects>) {
        let effects = effects.into_iter();
        let launches = effects.filter_map(|effect| self.follow(effect)).collect();
        self.begin(launches);
    }

    /// Begins calls. One beside which none runs is begun here, which saves the way to another thread and back where it
    /// ends at once and the next one waits for it; others are begun beside each other.
    fn begin(&mut self, launches: Vec<Launch>) {
        match <[Launch; 1]>::try_from(launches) {
            Ok([launch]) if self.running.len() == 1 => launch.begin_here(&mut self.calls),
            Ok([launch]) => launch.spawn(&mut self.calls),
            Err(launches) => {
                for launch in launches {
                    launch.spawn(&mut self.calls);
                }
            }
        }
    }

    /// What follows of one effect; a call is returned, for it to be begun.
    fn follow(&mut self, effect: Effects) -> Option<Launch> {
        match effect {
            Effects::Launch(step, call, operation, uid) => {
                return Some(self.launch(step, *call, operation, uid));
            }
            // The call may have been given up meanwhile.
            Effects::Confirm(reply) => drop(reply.send(Ok(()))),
            Effects::Passed(step, outcome) => self.passed(step, outcome),
            Effects::Ended(step, outcome, began) => self.ended(step, outcome, began.elapsed()),
            Effects::Skipped(step, outcome) => self.ended(step, outcome, Duration::ZERO),
            Effects::RunEnded => self.ended = true,
        }
        None
    }

    fn launch(&mut self, step: StepId, call: PreparedCall, operation: OperationId, uid: Uid) -> Launch {
        let (address, step_operation) = self.identify(step);
        let started = match call.refused.last() {
            None => ApplyEvent::StepStarted {
                step,
                address,
                operation: step_operation,
                call: Some(operation),
            },
            Some(refused) => {
                let plan = self.request.plan;
                let change = &plan.changes[plan.steps[step.0 as usize].change];
                ApplyEvent::StepOffered {
                    step,
                    address,
                    refused: refused.clone(),
                    offer: change.alternatives.label(call.offer).to_owned(),
                    number: call.offer + 1,
                    of: 1 + change.alternatives.others.len(),
                    call: operation,
                }
            }
        };
        self.observer.observe(&started);
        let change = self.request.plan.steps[step.0 as usize].change;
        let launch = Launch {
            step,
            provider: call.provider.clone(),
            request: call.request.clone(),
            operation,
            uid,
            address: call.address.clone(),
            lineage: self.lineage,
            timeout: call.timeout,
            has_other_offers: !self.request.plan.changes[change].alternatives.is_empty(),
            journal: self.journal.clone(),
            retry: self.options.retry.clone(),
            grace: self.options.grace,
            control: self.control.clone(),
            messages: self.messages.clone(),
        };
        let running = Running {
            call,
            operation,
            uid,
            began: Instant::now(),
            checkpoint: None,
            waits: 0,
        };
        self.running.insert(step, running);
        launch
    }

    /// A step that made no call begins and ends at once.
    fn passed(&mut self, step: StepId, outcome: StepOutcome) {
        let (address, operation) = self.identify(step);
        self.observer.observe(&ApplyEvent::StepStarted {
            step,
            address,
            operation,
            call: None,
        });
        self.ended(step, outcome, Duration::ZERO);
    }

    fn ended(&mut self, step: StepId, outcome: StepOutcome, elapsed: Duration) {
        let (address, operation) = self.identify(step);
        self.outcomes[step.0 as usize] = Some(outcome.clone());
        self.observer.observe(&ApplyEvent::StepFinished {
            step,
            address,
            operation,
            outcome,
            elapsed,
        });
    }

    /// A commit that failed: no call starts, no checkpoint is confirmed, and nothing is called done that is not in the
    /// log. What was sent is in the log as an intent.
    fn unwritten(&mut self, error: &JournalError, effects: Vec<Effects>) {
        let lost = || {
            ProviderError::new(
                ErrorClass::Uncertain,
                "Its result could not be written to the state.",
            )
            .with_detail([error.to_string()])
        };
        let mut follow_up = Batch::default();
        for effect in effects {
            match effect {
                Effects::Launch(step, ..) => {
                    let unsent = ProviderError::new(
                        ErrorClass::Conflict,
                        "It was not sent, because its intent could not be written to the state.",
                    )
                    .with_detail([error.to_string()]);
                    self.settle(step, StepOutcome::Failed(Box::new(unsent)), None, &mut follow_up);
                }
                Effects::Confirm(reply) => drop(reply.send(Err(ProviderError::new(
                    ErrorClass::Uncertain,
                    "The object's id could not be written to the state.",
                )))),
                Effects::Ended(step, outcome, began) => {
                    let outcome = match outcome {
                        StepOutcome::Done | StepOutcome::Unneeded => StepOutcome::Uncertain(Box::new(lost())),
                        other => other,
                    };
                    self.ended(step, outcome, began.elapsed());
                }
                Effects::Passed(step, _) => self.passed(step, StepOutcome::Failed(Box::new(lost()))),
                Effects::Skipped(step, outcome) => self.ended(step, outcome, Duration::ZERO),
                Effects::RunEnded => {}
            }
        }
        if self.stopped.is_none() {
            self.stop(Stopped::Log(error.clone()), &mut follow_up);
        } else if !matches!(self.stopped, Some(Stopped::Lease)) {
            self.stopped = Some(Stopped::Log(error.clone()));
        }
        self.follow_all(follow_up.effects);
    }
}
