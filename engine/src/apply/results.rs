//! What calls say while they run and when they end, and what follows for the steps that wait for them.

use tokio::time::Instant;

use super::call::{CallEnd, CallRequest, Message};
use super::event::{ApplyEvent, StepOutcome};
use super::executor::{Batch, Effects, Run, Running, Stopped};
use super::offer::Next;
use super::verify;
use crate::address::{ObjectId, OperationId};
use crate::plan::step::StepId;
use crate::provider::{Effect, ErrorClass, ObjectState, Observation, ProviderError};
use crate::resource::ConditionTime;
use crate::seal::mark_secrets;
use crate::state::event::EventBody;
use crate::state::fold::FoldError;

impl Run<'_> {
    /// Takes in what a call said.
    pub(super) fn take(&mut self, message: Message, batch: &mut Batch) {
        match message {
            Message::Checkpoint {
                step,
                operation,
                id,
                private,
                reply,
            } => match self.checkpointed(step, operation, id, private, batch) {
                Ok(()) => batch.effects.push(Effects::Confirm(reply)),
                // The call may have been given up meanwhile.
                Err(error) => drop(reply.send(Err(error))),
            },
            Message::Waiting { step, waits } => self.waits(step, waits),
            Message::Phase { step, phase } => {
                let event = ApplyEvent::StepPhase {
                    step,
                    address: self.address(step).clone(),
                    phase: self.redactor.text(&phase),
                };
                self.observer.observe(&event);
            }
            Message::Retried {
                step,
                error,
                attempt,
                delay,
            } => {
                let event = ApplyEvent::StepRetried {
                    step,
                    address: self.address(step).clone(),
                    error: self.redactor.error(error),
                    attempt,
                    delay,
                };
                self.observer.observe(&event);
            }
            Message::Ended { step, end } => {
                let running = self
                    .running
                    .remove(&step)
                    .expect("only a call that runs says that it ended");
                self.waiting -= usize::from(running.waits > 0);
                match end {
                    CallEnd::Succeeded(state) => self.succeeded(step, running, state, batch),
                    CallEnd::Failed(error) => self.failed(step, &running, error, batch),
                    CallEnd::Withdrawn(error) => self.withdrawn(step, running, error, batch),
                    CallEnd::Unsent => self.unsent(step, &running, batch),
                }
            }
        }
    }

    /// Notes that a call only waits, or no longer: what a call started may go on after its end.
    fn waits(&mut self, step: StepId, waits: bool) {
        let Some(running) = self.running.get_mut(&step) else {
            return;
        };
        let waited = running.waits > 0;
        running.waits = if waits {
            running.waits + 1
        } else {
            running.waits.saturating_sub(1)
        };
        match (waited, running.waits > 0) {
            (false, true) => self.waiting += 1,
            (true, false) => self.waiting -= 1,
            _ => {}
        }
    }

    /// Puts a call's checkpoint into the commit.
    fn checkpointed(
        &mut self,
        step: StepId,
        operation: OperationId,
        id: ObjectId,
        private: serde_json::Value,
        batch: &mut Batch,
    ) -> Result<(), ProviderError> {
        let running = self.running.get(&step);
        if running.is_none_or(|running| running.operation != operation) {
            return Err(ProviderError::new(
                ErrorClass::Uncertain,
                "The object's id came after the call's end, and is not written to the state.",
            ));
        }
        let checkpoint = EventBody::Checkpoint {
            operation,
            id: id.clone(),
            private,
        };
        self.record(checkpoint, batch).map_err(|error| {
            ProviderError::new(
                ErrorClass::Uncertain,
                "The object's id does not fit the state, and is not written to it.",
            )
            .with_detail([error.to_string()])
        })?;
        if let Some(running) = self.running.get_mut(&step) {
            running.checkpoint = Some(id);
        }
        Ok(())
    }

    /// A deletion that leaves nothing.
    fn deleted(&mut self, step: StepId, running: &Running, outcome: StepOutcome, batch: &mut Batch) {
        let succeeded = EventBody::Succeeded {
            operation: running.operation,
            state: None,
            declaration: None,
        };
        match self.record(succeeded, batch) {
            Ok(()) => {
                self.view.removed(running.uid);
                self.settle(step, outcome, Some(running.began), batch);
            }
            Err(error) => self.unfit(step, running, &error, batch),
        }
    }

    /// A result that does not fit the state: its intent stays, and the next run finds out what became of it.
    fn unfit(&mut self, step: StepId, running: &Running, error: &FoldError, batch: &mut Batch) {
        let error = ProviderError::new(
            ErrorClass::Uncertain,
            format!(
                "What provider `{}` answered does not fit the state: {error}.",
                running.call.provider.schema().name
            ),
        )
        .with_hint("report this to the provider's authors");
        let error = self.redactor.error(error);
        self.settle(
            step,
            StepOutcome::Uncertain(Box::new(error)),
            Some(running.began),
            batch,
        );
    }

    fn succeeded(&mut self, step: StepId, running: Running, state: Option<ObjectState>, batch: &mut Batch) {
        let operation = running.operation;
        let is_delete = matches!(running.call.request, CallRequest::Delete(_));
        let Some(state) = state.filter(|_| !is_delete) else {
            return self.deleted(step, &running, StepOutcome::Done, batch);
        };
        let schema = running
            .call
            .provider
            .resource_schema(&running.call.address.resource_type);
        let state = ObjectState {
            attributes: mark_secrets(schema, &running.call.inputs, &state.attributes),
            ..state
        };
        self.redactor.learn(&state.attributes);
        let mut breaches = verify::breaches(schema, &running.call.planned, &state);
        if let Some(known) = running.checkpoint.as_ref().filter(|known| **known != state.id) {
            breaches.push(format!(
                "id: wanted `{known}`, as checkpointed, got `{}`",
                state.id
            ));
        }
        if !breaches.is_empty() {
            let document = running
                .call
                .declaration
                .as_ref()
                .and_then(|declaration| declaration.document.as_ref());
            let error = verify::error(&*running.call.provider, document, breaches);
            // The object is there and must not be lost, whatever it is.
            if running.checkpoint.is_none() && !state.id.as_str().is_empty() {
                let checkpoint = EventBody::Checkpoint {
                    operation,
                    id: state.id,
                    private: state.private,
                };
                if let Err(error) = self.record(checkpoint, batch) {
                    return self.unfit(step, &running, &error, batch);
                }
            }
            return self.failed(step, &running, error, batch);
        }
        let attributes = with_unreadable(&state, &running.call.inputs);
        let id = state.id.clone();
        // A creation's is in its intent, and most updates leave it as it was: it is not written twice.
        let recorded = self.view.record(running.uid).map(|record| &record.declaration);
        let declaration = running
            .call
            .declaration
            .clone()
            .filter(|declaration| recorded != Some(declaration));
        let succeeded = EventBody::Succeeded {
            operation,
            state: Some(state),
            declaration,
        };
        if let Err(error) = self.record(succeeded, batch) {
            return self.unfit(step, &running, &error, batch);
        }
        self.preparer.made(&running.call.address);
        self.view
            .made(running.call.address.clone(), running.uid, id, attributes);
        let change = &self.request.plan.changes[self.request.plan.steps[step.0 as usize].change];
        let outcome = match self.view.check(&change.conditions, ConditionTime::After) {
            Ok(()) => StepOutcome::Done,
            Err(error) => StepOutcome::Failed(Box::new(self.redactor.error(error))),
        };
        self.settle(step, outcome, Some(running.began), batch);
    }

    fn failed(&mut self, step: StepId, running: &Running, error: ProviderError, batch: &mut Batch) {
        let operation = running.operation;
        let error = self.redactor.error(error);
        let is_delete = matches!(running.call.request, CallRequest::Delete(_));
        if is_delete && error.class == ErrorClass::NotFound {
            // What is gone is deleted.
            return self.deleted(step, running, StepOutcome::Unneeded, batch);
        }
        let failed = EventBody::Failed {
            operation,
            error: error.clone(),
        };
        if let Err(error) = self.record(failed, batch) {
            return self.unfit(step, running, &error, batch);
        }
        self.refused(step, running, error, batch);
    }

    /// What follows from a failure that is in the commit: the next offer, or the step's end.
    fn refused(&mut self, step: StepId, running: &Running, error: ProviderError, batch: &mut Batch) {
        let error = match self.next_offer(step, running, &error, batch) {
            Next::Nothing => error,
            Next::Intended => return,
            Next::Over(error) => error,
        };
        let outcome = match error.effect {
            Effect::Unknown => StepOutcome::Uncertain(Box::new(error)),
            Effect::None | Effect::Partial => StepOutcome::Failed(Box::new(error)),
        };
        self.settle(step, outcome, Some(running.began), batch);
    }

    /// A creation whose object ended for want of capacity. That nothing is left of it is an observation, as after a crash.
    fn withdrawn(&mut self, step: StepId, mut running: Running, error: ProviderError, batch: &mut Batch) {
        let operation = running.operation;
        let error = self.redactor.error(error);
        let events = [
            EventBody::Failed {
                operation,
                error: error.clone().with_effect(Effect::Unknown),
            },
            EventBody::Settled {
                operation,
                observation: Observation::Absent,
            },
        ];
        for event in events {
            if let Err(error) = self.record(event, batch) {
                return self.unfit(step, &running, &error, batch);
            }
        }
        running.checkpoint = None;
        self.refused(step, &running, error.with_effect(Effect::None), batch);
    }

    /// A call that was never sent: if the log can still be written, it says so; if not, its intent is found absent.
    fn unsent(&mut self, step: StepId, running: &Running, batch: &mut Batch) {
        let why = if self.control.is_stopped() {
            "the run was interrupted"
        } else {
            "the lease on the state does not last as long as it may take"
        };
        let error = ProviderError::new(ErrorClass::Conflict, format!("It was not sent, because {why}."));
        if !self.journal.lease_is_lost() {
            let failed = EventBody::Failed {
                operation: running.operation,
                error: error.clone(),
            };
            if let Err(error) = self.record(failed, batch) {
                return self.unfit(step, running, &error, batch);
            }
        }
        self.settle(
            step,
            StepOutcome::Failed(Box::new(error)),
            Some(running.began),
            batch,
        );
        if self.stopped.is_none() && !self.control.is_stopped() {
            self.stop(Stopped::Lease, batch);
        }
    }

    /// Notes how a step ended, and what that means for those that wait for it.
    pub(super) fn settle(
        &mut self,
        step: StepId,
        outcome: StepOutcome,
        began: Option<Instant>,
        batch: &mut Batch,
    ) {
        let done = matches!(outcome, StepOutcome::Done | StepOutcome::Unneeded);
        batch.effects.push(match began {
            Some(began) => Effects::Ended(step, outcome, began),
            None => Effects::Passed(step, outcome),
        });
        if done {
            self.schedule.succeed(step);
            return;
        }
        let because = self.address(step).to_string();
        for skipped in self.schedule.fail(step) {
            let because = because.clone();
            batch
                .effects
                .push(Effects::Skipped(skipped, StepOutcome::Skipped { because }));
        }
    }

    /// Starts nothing more.
    pub(super) fn stop(&mut self, why: Stopped, batch: &mut Batch) {
        let reason = match &why {
            Stopped::Person => "interrupted".to_owned(),
            Stopped::Lease => "the lease on the state was lost".to_owned(),
            Stopped::Log(error) => error.to_string(),
        };
        let because = match &why {
            Stopped::Person => "the run was interrupted",
            Stopped::Lease => "the lease on the state was lost",
            Stopped::Log(_) => "the state could not be written",
        };
        self.stopped = Some(why);
        for skipped in self.schedule.skip_rest() {
            batch.effects.push(Effects::Skipped(
                skipped,
                StepOutcome::Skipped {
                    because: because.to_owned(),
                },
            ));
        }
        let awaiting = self
            .running
            .values()
            .map(|running| running.call.address.clone())
            .collect();
        self.observer.observe(&ApplyEvent::Draining { reason, awaiting });
    }
}

/// An object's attributes for those that refer to it: what the world does not tell is as it was given.
fn with_unreadable(state: &ObjectState, inputs: &crate::value::Attributes) -> crate::value::Attributes {
    let mut attributes = state.attributes.clone();
    for name in state.unreadable.iter().filter_map(|path| path.first_key()) {
        if let Some(value) = inputs.get(name) {
            attributes.get_or_insert_with(&name.into(), || value.clone());
        }
    }
    attributes
}
