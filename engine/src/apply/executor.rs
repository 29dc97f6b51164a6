//! Carrying out a plan.
//!
//! One task owns the run: it alone decides what starts, writes the log and speaks to the observer. Calls run as tasks of
//! their own and send it messages. Each round it takes in whatever was said meanwhile, and makes one commit of it all:
//! the results, the checkpoints, and the intents of the steps that the results released. Only when that is durable do
//! those calls start.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::call::{CallEnd, CallRequest, Launch, Message};
use super::control::ApplyControl;
use super::event::{ApplyEvent, ApplyObserver, StepOutcome};
use super::prepare::{Prepared, PreparedCall, Preparer};
use super::redact::Redactor;
use super::report::{ApplyError, ApplyOptions, ApplyReport, ApplyRequest, StepReport};
use super::scheduler::Schedule;
use super::view::View;
use super::{preamble, resume, verify};
use crate::address::{Lineage, ObjectId, OperationId, ResourceAddress, Uid};
use crate::plan;
use crate::plan::resume::Progress;
use crate::plan::step::{StepId, StepOperation};
use crate::provider::{Effect, ErrorClass, ObjectState, ProviderError};
use crate::resource::ConditionTime;
use crate::seal::mark_secrets;
use crate::state::event::{EventBody, Intent};
use crate::state::journal::{Journal, JournalError};

/// Carries out a plan, whose bindings were checked before, and writes everything to the journal.
///
/// A step that fails skips what depends on it and nothing else; how each step ended is in the report. Dropping the
/// future drops the calls that run: their intents stay, as after a crash.
///
/// # Errors
/// When nothing could be done at all, the log could not be written, or the lease was lost.
pub async fn apply(
    request: ApplyRequest<'_>,
    journal: &Arc<Journal>,
    options: &ApplyOptions,
    control: &ApplyControl,
    observer: &mut dyn ApplyObserver,
) -> Result<ApplyReport, ApplyError> {
    let plan = request.plan;
    if !plan.blocked.is_empty() {
        return Err(ApplyError::Blocked {
            addresses: plan.blocked.clone(),
        });
    }
    let schedule = Schedule::new(&plan.steps)?;
    let lineage = check_lineage(&request, journal)?;
    check_providers(&request)?;
    let mut view = View::new(
        journal.state(),
        request.providers,
        request.secrets,
        request.fingerprints.clone(),
    );
    let resumes = resume::resumes(&request, &view.state);
    let mut events = preamble::opening(&request, options, &view)?;
    if resumes {
        events.extend(resume::look(&request, &view.state).await);
    }
    view.state = journal.commit(events).await.map_err(|source| ApplyError::Log {
        source,
        report: Box::default(),
    })?;
    let progress = if resumes {
        plan::resume::progress(plan, &request.digest, &view.state)
    } else {
        BTreeMap::new()
    };
    observer.observe(&ApplyEvent::RunStarted {
        steps: plan.steps.len(),
        resumed: progress
            .values()
            .filter(|progress| **progress == Progress::Done)
            .count(),
    });
    let (messages, heard) = mpsc::unbounded_channel();
    let run = Run {
        preparer: Preparer::new(plan, request.facts, progress),
        outcomes: vec![None; plan.steps.len()],
        request,
        journal: journal.clone(),
        options,
        control,
        observer,
        lineage,
        view,
        schedule,
        redactor: Redactor::default(),
        running: BTreeMap::new(),
        calls: JoinSet::new(),
        messages,
        heard,
        stopped: None,
    };
    run.run().await
}

fn check_lineage(request: &ApplyRequest<'_>, journal: &Journal) -> Result<Lineage, ApplyError> {
    let found = journal
        .state()
        .lineage
        .expect("opening a journal creates the log");
    match request.plan.basis.lineage {
        Some(planned) if planned != found => Err(ApplyError::OtherState { planned, found }),
        _ => Ok(found),
    }
}

fn check_providers(request: &ApplyRequest<'_>) -> Result<(), ApplyError> {
    let steps = &request.plan.steps;
    match steps
        .iter()
        .map(|step| &request.plan.changes[step.change].address)
        .find(|address| request.providers.provider(&address.resource_type).is_none())
    {
        Some(address) => Err(ApplyError::NoProvider {
            address: address.clone(),
        }),
        None => Ok(()),
    }
}

/// A run under way.
struct Run<'a> {
    request: ApplyRequest<'a>,
    journal: Arc<Journal>,
    options: &'a ApplyOptions,
    control: &'a ApplyControl,
    observer: &'a mut dyn ApplyObserver,
    lineage: Lineage,
    view: View<'a>,
    preparer: Preparer<'a>,
    schedule: Schedule,
    redactor: Redactor,
    outcomes: Vec<Option<StepOutcome>>,
    running: BTreeMap<StepId, Running>,
    calls: JoinSet<()>,
    messages: mpsc::UnboundedSender<Message>,
    heard: mpsc::UnboundedReceiver<Message>,
    stopped: Option<Stopped>,
}

/// A call that runs.
struct Running {
    call: PreparedCall,
    operation: OperationId,
    uid: Uid,
    began: Instant,
    checkpoint: Option<ObjectId>,
}

/// Why no more steps start.
enum Stopped {
    Person,
    Lease,
    Log(JournalError),
}

/// What goes into one commit, and what happens once it is durable.
#[derive(Default)]
struct Batch {
    events: Vec<EventBody>,
    effects: Vec<Effects>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.effects.is_empty()
    }
}

/// What happens when a commit is durable.
enum Effects {
    /// A call starts.
    Launch(StepId, Box<PreparedCall>, OperationId, Uid),
    /// A checkpointed call may go on.
    Confirm(oneshot::Sender<Result<(), ProviderError>>),
    /// A step that made no call ended.
    Passed(StepId, StepOutcome),
    /// A step's call ended.
    Ended(StepId, StepOutcome, Instant),
    /// A step will not start.
    Skipped(StepId, StepOutcome),
}

impl Run<'_> {
    async fn run(mut self) -> Result<ApplyReport, ApplyError> {
        let mut first = None;
        loop {
            let mut batch = Batch::default();
            while let Some(message) = first.take().or_else(|| self.heard.try_recv().ok()) {
                self.take(message, &mut batch);
            }
            if self.control.is_stopped() && self.stopped.is_none() {
                self.stop(Stopped::Person, &mut batch);
            }
            self.start_steps(&mut batch);
            if !batch.is_empty() {
                self.commit(batch).await;
            } else if self.schedule.is_finished() && self.running.is_empty() {
                return self.finish().await;
            } else {
                tokio::select! {
                    biased;
                    () = self.control.stop.cancelled(), if self.stopped.is_none() => {}
                    Some(message) = self.heard.recv() => first = Some(message),
                }
            }
        }
    }

    /// Starts what may start, within the bound.
    fn start_steps(&mut self, batch: &mut Batch) {
        let mut starting = 0;
        while self.stopped.is_none() && self.running.len() + starting < self.options.parallelism.max(1) {
            let Some(id) = self.schedule.start() else {
                return;
            };
            let step = &self.request.plan.steps[id.0 as usize];
            match self.preparer.prepare(&self.view, step) {
                Ok(Prepared::Call(call)) => {
                    starting += 1;
                    self.intend(id, call, batch);
                }
                Ok(Prepared::Finished { events, outcome }) => {
                    for event in &events {
                        if let EventBody::DeletedWith { uid, .. } = event {
                            self.view.removed(*uid);
                        }
                    }
                    batch.events.extend(events);
                    self.settle(id, outcome, None, batch);
                }
                Err(error) => {
                    // It may quote what it was given, and no intent has told of those inputs.
                    let inputs = self.request.plan.changes[step.change].inputs.as_ref();
                    if let Some(evaluated) = inputs.and_then(|inputs| self.view.evaluate_inputs(inputs).ok())
                    {
                        self.redactor.learn(&evaluated.inputs);
                    }
                    let error = self.redactor.error(error);
                    self.settle(id, StepOutcome::Failed(error), None, batch);
                }
            }
        }
    }

    /// Puts a call's intent into the commit.
    fn intend(&mut self, step: StepId, call: Box<PreparedCall>, batch: &mut Batch) {
        let operation = OperationId::from_uuid(self.options.ids.next());
        let uid = call
            .uid
            .unwrap_or_else(|| Uid::from_uuid(self.options.ids.next()));
        self.redactor.learn(&call.inputs);
        batch.events.push(EventBody::Intent(Intent {
            operation,
            action: call.request.action(),
            uid,
            address: call.address.clone(),
            inputs: call.inputs.clone(),
            declaration: call.declaration.clone(),
            deposes: call.deposes,
            plan: Some(self.request.digest.clone()),
            step: step.0,
        }));
        batch.effects.push(Effects::Launch(step, call, operation, uid));
    }

    /// Takes in what a call said.
    fn take(&mut self, message: Message, batch: &mut Batch) {
        match message {
            Message::Checkpoint {
                step,
                operation,
                id,
                private,
                reply,
            } => {
                if let Some(running) = self.running.get_mut(&step) {
                    running.checkpoint = Some(id.clone());
                }
                batch.events.push(EventBody::Checkpoint {
                    operation,
                    id,
                    private,
                });
                batch.effects.push(Effects::Confirm(reply));
            }
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
                match end {
                    CallEnd::Succeeded(state) => self.succeeded(step, running, state, batch),
                    CallEnd::Failed(error) => self.failed(step, &running, error, batch),
                    CallEnd::LeaseLost => self.unsent(step, &running, batch),
                }
            }
        }
    }

    fn succeeded(&mut self, step: StepId, running: Running, state: Option<ObjectState>, batch: &mut Batch) {
        let operation = running.operation;
        let is_delete = matches!(running.call.request, CallRequest::Delete(_));
        let Some(state) = state.filter(|_| !is_delete) else {
            self.view.removed(running.uid);
            batch.events.push(EventBody::Succeeded {
                operation,
                state: None,
                declaration: None,
            });
            return self.settle(step, StepOutcome::Done, Some(running.began), batch);
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
                batch.events.push(EventBody::Checkpoint {
                    operation,
                    id: state.id,
                    private: state.private,
                });
            }
            return self.failed(step, &running, error, batch);
        }
        self.view.made(
            running.call.address.clone(),
            running.uid,
            state.id.clone(),
            with_unreadable(&state, &running.call.inputs),
        );
        batch.events.push(EventBody::Succeeded {
            operation,
            state: Some(state),
            declaration: running.call.declaration.clone(),
        });
        let change = &self.request.plan.changes[self.request.plan.steps[step.0 as usize].change];
        let outcome = match self.view.check(&change.conditions, ConditionTime::After) {
            Ok(()) => StepOutcome::Done,
            Err(error) => StepOutcome::Failed(self.redactor.error(error)),
        };
        self.settle(step, outcome, Some(running.began), batch);
    }

    fn failed(&mut self, step: StepId, running: &Running, error: ProviderError, batch: &mut Batch) {
        let operation = running.operation;
        let error = self.redactor.error(error);
        let is_delete = matches!(running.call.request, CallRequest::Delete(_));
        if is_delete && error.class == ErrorClass::NotFound {
            // What is gone is deleted.
            self.view.removed(running.uid);
            batch.events.push(EventBody::Succeeded {
                operation,
                state: None,
                declaration: None,
            });
            return self.settle(step, StepOutcome::Unneeded, Some(running.began), batch);
        }
        batch.events.push(EventBody::Failed {
            operation,
            error: error.clone(),
        });
        let outcome = match error.effect {
            Effect::Unknown => StepOutcome::Uncertain(error),
            Effect::None | Effect::Partial => StepOutcome::Failed(error),
        };
        self.settle(step, outcome, Some(running.began), batch);
    }

    /// A call that was never sent: if the log can still be written, it says so; if not, its intent is found absent.
    fn unsent(&mut self, step: StepId, running: &Running, batch: &mut Batch) {
        let error = ProviderError::new(
            ErrorClass::Conflict,
            "It was not sent, because the lease on the state does not last as long as it may take.",
        );
        if !self.journal.lease_is_lost() {
            batch.events.push(EventBody::Failed {
                operation: running.operation,
                error: error.clone(),
            });
        }
        self.settle(step, StepOutcome::Failed(error), Some(running.began), batch);
        if self.stopped.is_none() {
            self.stop(Stopped::Lease, batch);
        }
    }

    /// Notes how a step ended, and what that means for those that wait for it.
    fn settle(&mut self, step: StepId, outcome: StepOutcome, began: Option<Instant>, batch: &mut Batch) {
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
    fn stop(&mut self, why: Stopped, batch: &mut Batch) {
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

    /// Makes a batch durable, then lets happen what follows from it.
    async fn commit(&mut self, batch: Batch) {
        let committed = match &self.stopped {
            // The log is closed to this run: nothing is tried, and nothing that follows from it happens.
            Some(Stopped::Log(error)) if !batch.events.is_empty() => Err(error.clone()),
            _ if batch.events.is_empty() => Ok(self.view.state.clone()),
            _ => self.journal.commit(batch.events).await,
        };
        match committed {
            Ok(state) => {
                self.view.state = state;
                for effect in batch.effects {
                    self.follow(effect);
                }
            }
            Err(error) => self.unwritten(&error, batch.effects),
        }
    }

    /// What follows once a commit is durable.
    fn follow(&mut self, effect: Effects) {
        match effect {
            Effects::Launch(step, call, operation, uid) => self.launch(step, *call, operation, uid),
            // The call may have been given up meanwhile.
            Effects::Confirm(reply) => drop(reply.send(Ok(()))),
            Effects::Passed(step, outcome) => {
                let (address, operation) = self.identify(step);
                self.observer.observe(&ApplyEvent::StepStarted {
                    step,
                    address,
                    operation,
                    call: None,
                });
                self.ended(step, outcome, std::time::Duration::ZERO);
            }
            Effects::Ended(step, outcome, began) => self.ended(step, outcome, began.elapsed()),
            Effects::Skipped(step, outcome) => self.ended(step, outcome, std::time::Duration::ZERO),
        }
    }

    fn launch(&mut self, step: StepId, call: PreparedCall, operation: OperationId, uid: Uid) {
        let (address, step_operation) = self.identify(step);
        self.observer.observe(&ApplyEvent::StepStarted {
            step,
            address,
            operation: step_operation,
            call: Some(operation),
        });
        Launch {
            step,
            provider: call.provider.clone(),
            request: call.request.clone(),
            operation,
            uid,
            address: call.address.clone(),
            lineage: self.lineage,
            timeout: call.timeout,
            journal: self.journal.clone(),
            retry: self.options.retry.clone(),
            grace: self.options.grace,
            control: self.control.clone(),
            messages: self.messages.clone(),
        }
        .spawn(&mut self.calls);
        let running = Running {
            call,
            operation,
            uid,
            began: Instant::now(),
            checkpoint: None,
        };
        self.running.insert(step, running);
    }

    fn ended(&mut self, step: StepId, outcome: StepOutcome, elapsed: std::time::Duration) {
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
                    self.settle(step, StepOutcome::Failed(unsent), None, &mut follow_up);
                }
                Effects::Confirm(reply) => drop(reply.send(Err(ProviderError::new(
                    ErrorClass::Uncertain,
                    "The object's id could not be written to the state.",
                )))),
                Effects::Ended(step, outcome, began) => {
                    let outcome = match outcome {
                        StepOutcome::Done | StepOutcome::Unneeded => StepOutcome::Uncertain(lost()),
                        other => other,
                    };
                    self.ended(step, outcome, began.elapsed());
                }
                Effects::Passed(step, _) => {
                    self.ended(step, StepOutcome::Failed(lost()), std::time::Duration::ZERO);
                }
                Effects::Skipped(step, outcome) => self.ended(step, outcome, std::time::Duration::ZERO),
            }
        }
        if self.stopped.is_none() {
            self.stop(Stopped::Log(error.clone()), &mut follow_up);
        } else if !matches!(self.stopped, Some(Stopped::Lease)) {
            self.stopped = Some(Stopped::Log(error.clone()));
        }
        for effect in follow_up.effects {
            self.follow(effect);
        }
    }

    async fn finish(mut self) -> Result<ApplyReport, ApplyError> {
        while self.calls.join_next().await.is_some() {}
        let outputs = preamble::outputs(&self.request, &self.view);
        let endpoints = preamble::endpoints(&self.request, &self.view);
        let mut report = self.report();
        report.endpoints = endpoints;
        if !matches!(self.stopped, Some(Stopped::Lease | Stopped::Log(_))) {
            let mut events = Vec::new();
            let sealed = crate::seal::Sealer::new(self.request.fingerprints.as_deref()).attributes(&outputs);
            if sealed != self.view.state.outputs {
                events.push(EventBody::OutputsSet { outputs });
            }
            events.push(EventBody::RunFinished {
                summary: [
                    ("done", report.done),
                    ("failed", report.failed),
                    ("skipped", report.skipped),
                    ("uncertain", report.uncertain),
                ]
                .into_iter()
                .map(|(name, count)| (name.into(), count as u64))
                .collect(),
            });
            match self.journal.commit(events).await {
                Ok(state) => self.view.state = state,
                Err(error) => self.stopped = Some(Stopped::Log(error)),
            }
        }
        report.serial = self.view.state.serial;
        report.outputs = self.view.state.outputs.clone();
        self.observer.observe(&ApplyEvent::RunFinished {
            done: report.done,
            failed: report.failed,
            skipped: report.skipped,
            uncertain: report.uncertain,
            serial: report.serial,
        });
        match self.stopped {
            Some(Stopped::Log(source)) => Err(ApplyError::Log {
                source,
                report: Box::new(report),
            }),
            Some(Stopped::Lease) => Err(ApplyError::LeaseLost {
                report: Box::new(report),
            }),
            Some(Stopped::Person) | None => Ok(report),
        }
    }

    fn report(&self) -> ApplyReport {
        let mut report = ApplyReport {
            interrupted: matches!(self.stopped, Some(Stopped::Person)),
            ..ApplyReport::default()
        };
        for (step, outcome) in self.request.plan.steps.iter().zip(&self.outcomes) {
            let outcome = outcome.clone().expect("a run ends when every step has");
            *match &outcome {
                StepOutcome::Done | StepOutcome::Unneeded => &mut report.done,
                StepOutcome::Failed(_) => &mut report.failed,
                StepOutcome::Uncertain(_) => &mut report.uncertain,
                StepOutcome::Skipped { .. } => &mut report.skipped,
            } += 1;
            report.steps.push(StepReport {
                step: step.id,
                address: self.request.plan.changes[step.change].address.clone(),
                operation: step.operation,
                outcome,
            });
        }
        report
    }

    fn identify(&self, step: StepId) -> (ResourceAddress, StepOperation) {
        let step = &self.request.plan.steps[step.0 as usize];
        (
            self.request.plan.changes[step.change].address.clone(),
            step.operation,
        )
    }

    fn address(&self, step: StepId) -> &ResourceAddress {
        let step = &self.request.plan.steps[step.0 as usize];
        &self.request.plan.changes[step.change].address
    }
}

/// An object's attributes for those that refer to it: what the world does not tell is as it was given.
fn with_unreadable(state: &ObjectState, inputs: &crate::value::Attributes) -> crate::value::Attributes {
    let mut attributes = state.attributes.clone();
    for name in state.unreadable.iter().filter_map(|path| path.first_key()) {
        if let Some(value) = inputs.get(name) {
            attributes.entry(name.into()).or_insert_with(|| value.clone());
        }
    }
    attributes
}
