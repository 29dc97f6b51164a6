//! Carrying out a plan.
//!
//! One task owns the run: it alone decides what starts, writes the log and speaks to the observer. Calls run as tasks of
//! their own and send it messages; one beside which none runs is begun by the run's own task, and ends there if it can at once.
//! While no call runs the log is written there too, so that a chain of steps costs little more than its commits.
//!
//! Each round it takes in whatever was said meanwhile, and makes one commit of it all: the results, the checkpoints, and
//! the intents of the steps that the results released. Only when that is durable do those calls start. An event that does
//! not fit the state is its own step's failure, and never comes into the commit that carries those of others.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::call::Message;
use super::control::ApplyControl;
use super::event::{ApplyEvent, ApplyObserver, StepOutcome};
use super::prepare::{Prepared, PreparedCall, Preparer};
use super::report::{ApplyError, ApplyOptions, ApplyReport, ApplyRequest, StepReport};
use super::scheduler::Schedule;
use super::view::View;
use super::{preamble, resume};
use crate::address::{Lineage, ObjectId, OperationId, ResourceAddress, Uid};
use crate::plan;
use crate::plan::resume::Progress;
use crate::plan::step::{StepId, StepOperation};
use crate::provider::{CallAction, ErrorClass, ProviderError};
use crate::redact::Redactor;
use crate::state::event::{AskedBy, EventBody, Intent};
use crate::state::fold::FoldError;
use crate::state::journal::{Draft, Journal, JournalError};
use crate::value::Attributes;

/// Carries out a plan, whose bindings were checked before, and writes everything to the journal. At its end the journal
/// is finished, so that the serial that it tells is the one that the next command sees; closing it is the caller's.
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
        events.extend(resume::left_behind(&request, &view.state, options, control).await);
    }
    let mut opening = journal.draft();
    for event in events {
        opening.push(event).map_err(|error| ApplyError::Log {
            source: error.into(),
            report: Box::default(),
        })?;
    }
    view.state = Arc::new(opening.state().clone());
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
        waiting: 0,
        calls: JoinSet::new(),
        messages,
        heard,
        stopped: None,
        ended: false,
    };
    run.run(opening).await
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

/// How many calls there are at a time at most, those that only wait included: each goes on looking.
const MOST_CALLS: usize = 1000;

/// A run under way.
pub(super) struct Run<'a> {
    pub(super) request: ApplyRequest<'a>,
    pub(super) journal: Arc<Journal>,
    pub(super) options: &'a ApplyOptions,
    pub(super) control: &'a ApplyControl,
    pub(super) observer: &'a mut dyn ApplyObserver,
    pub(super) lineage: Lineage,
    pub(super) view: View<'a>,
    pub(super) preparer: Preparer<'a>,
    pub(super) schedule: Schedule,
    pub(super) redactor: Redactor,
    pub(super) outcomes: Vec<Option<StepOutcome>>,
    pub(super) running: BTreeMap<StepId, Running>,
    /// How many of those that run only wait.
    pub(super) waiting: usize,
    pub(super) calls: JoinSet<()>,
    pub(super) messages: mpsc::UnboundedSender<Message>,
    pub(super) heard: mpsc::UnboundedReceiver<Message>,
    pub(super) stopped: Option<Stopped>,
    /// Whether the log says that the run ended.
    pub(super) ended: bool,
}

/// A call that runs.
pub(super) struct Running {
    pub(super) call: PreparedCall,
    pub(super) operation: OperationId,
    pub(super) uid: Uid,
    pub(super) began: Instant,
    pub(super) checkpoint: Option<ObjectId>,
    /// How many waits it is in: one within another is one all the same.
    pub(super) waits: u32,
}

/// Why no more steps start.
pub(super) enum Stopped {
    Person,
    Lease,
    Log(JournalError),
}

/// What goes into one commit, and what happens once it is durable.
#[derive(Default)]
pub(super) struct Batch {
    /// None as long as nothing happened that is written down.
    pub(super) events: Option<Draft>,
    pub(super) effects: Vec<Effects>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.events.as_ref().is_none_or(Draft::is_empty) && self.effects.is_empty()
    }
}

/// What happens when a commit is durable.
pub(super) enum Effects {
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
    /// The run ended.
    RunEnded,
}

impl Effects {
    /// Returns how a step ends with it, if one does.
    fn outcome(&self) -> Option<&StepOutcome> {
        match self {
            Self::Passed(_, outcome) | Self::Ended(_, outcome, _) | Self::Skipped(_, outcome) => {
                Some(outcome)
            }
            Self::Launch(..) | Self::Confirm(_) | Self::RunEnded => None,
        }
    }
}

impl Run<'_> {
    /// `opening` is what the run begins with: it is made durable together with the intents of the first steps.
    async fn run(mut self, opening: Draft) -> Result<ApplyReport, ApplyError> {
        let mut first = None;
        let mut opening = Some(opening);
        loop {
            // What is left of a call that has ended is let go: a run may make a million of them.
            while let Some(ended) = self.calls.try_join_next() {
                joined(ended);
            }
            let mut batch = Batch {
                events: opening.take(),
                effects: Vec::new(),
            };
            while let Some(message) = first.take().or_else(|| self.heard.try_recv().ok()) {
                self.take(message, &mut batch);
            }
            if self.control.is_stopped() && self.stopped.is_none() {
                self.stop(Stopped::Person, &mut batch);
            }
            self.start_steps(&mut batch);
            self.end(&mut batch);
            if !batch.is_empty() {
                self.commit(batch).await;
                // Where calls end as they begin nothing is waited for, and whoever wants to stop the run is heard all the same.
                tokio::task::yield_now().await;
            } else if self.is_over() {
                return self.finish().await;
            } else {
                tokio::select! {
                    biased;
                    () = self.control.stop.cancelled(), if self.stopped.is_none() => {}
                    Some(message) = self.heard.recv() => first = Some(message),
                    Some(ended) = self.calls.join_next() => joined(ended),
                }
            }
        }
    }

    /// Starts what may start, within the bound.
    fn start_steps(&mut self, batch: &mut Batch) {
        // A next offer takes the place of the call before it, which has ended.
        let launches = batch.effects.iter();
        let mut starting = launches
            .filter(|effect| matches!(effect, Effects::Launch(..)))
            .count();
        while self.stopped.is_none() && self.may_start(starting) {
            let Some(id) = self.schedule.start() else {
                return;
            };
            let step = &self.request.plan.steps[id.0 as usize];
            match self.preparer.prepare(&self.view, step) {
                Ok(Prepared::Call(call)) => match self.intend(id, call, batch) {
                    Ok(()) => starting += 1,
                    Err(error) => {
                        let error = misfit("It was not sent", &error);
                        self.settle(id, StepOutcome::Failed(Box::new(error)), None, batch);
                    }
                },
                Ok(Prepared::Finished { events, outcome }) => {
                    let outcome = match self.note(events, batch) {
                        Ok(()) => outcome,
                        Err(error) => StepOutcome::Failed(Box::new(misfit("It was not done", &error))),
                    };
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
                    self.settle(id, StepOutcome::Failed(Box::new(error)), None, batch);
                }
            }
        }
    }

    /// Returns whether another call may start, beside those that are starting.
    ///
    /// A call that waits holds no place. When it goes on it has one again, and until others have ended there may be more
    /// of them than places.
    fn may_start(&self, starting: usize) -> bool {
        let busy = self.running.len() - self.waiting + starting;
        busy < self.options.parallelism.max(1) && self.running.len() + starting < MOST_CALLS
    }

    /// Puts an event into the commit.
    ///
    /// # Errors
    /// When it does not fit the state that the events before it lead to; it is left out then.
    pub(super) fn record(&self, body: EventBody, batch: &mut Batch) -> Result<(), FoldError> {
        batch
            .events
            .get_or_insert_with(|| self.journal.draft())
            .push(body)
    }

    /// Puts what a step without a call says into the commit.
    fn note(&mut self, events: Vec<EventBody>, batch: &mut Batch) -> Result<(), FoldError> {
        for event in events {
            let gone = match &event {
                EventBody::DeletedWith { uid, .. } => Some(*uid),
                _ => None,
            };
            self.record(event, batch)?;
            if let Some(uid) = gone {
                self.view.removed(uid);
            }
        }
        Ok(())
    }

    /// Puts a call's intent into the commit.
    pub(super) fn intend(
        &mut self,
        step: StepId,
        call: Box<PreparedCall>,
        batch: &mut Batch,
    ) -> Result<(), FoldError> {
        let operation = OperationId::from_uuid(self.options.ids.next());
        let uid = call
            .uid
            .unwrap_or_else(|| Uid::from_uuid(self.options.ids.next()));
        self.redactor.learn(&call.inputs);
        let action = call.request.action();
        let intent = EventBody::Intent(Intent {
            operation,
            action,
            uid,
            address: call.address.clone(),
            inputs: match action {
                CallAction::Delete => Attributes::new(),
                CallAction::Create | CallAction::Update => call.inputs.clone(),
            },
            // That of an update comes with its result, if it is another one.
            declaration: call.declaration.clone().filter(|_| action == CallAction::Create),
            deposes: call.deposes,
            asked_by: AskedBy::Run,
            step: step.0,
        });
        self.record(intent, batch)?;
        batch.effects.push(Effects::Launch(step, call, operation, uid));
        Ok(())
    }

    /// Returns whether every step has ended or will not start.
    fn is_over(&self) -> bool {
        self.schedule.is_finished() && self.running.is_empty()
    }

    /// Puts the end of the run into the commit of what its last calls gave.
    fn end(&mut self, batch: &mut Batch) {
        if self.ended || !self.is_over() || matches!(self.stopped, Some(Stopped::Lease | Stopped::Log(_))) {
            return;
        }
        if let Some(events) = &batch.events {
            // The outputs are those of the state that this commit gives, and not of the one before it.
            self.view.state = Arc::new(events.state().clone());
        }
        let outputs = preamble::outputs(&self.request, &self.view);
        let sealed = crate::seal::Sealer::new(self.request.fingerprints.as_deref()).attributes(&outputs);
        let set = (sealed != self.view.state.outputs).then_some(EventBody::OutputsSet { outputs });
        let mut report = ApplyReport::default();
        let ending = batch.effects.iter().filter_map(Effects::outcome);
        for outcome in self.outcomes.iter().flatten().chain(ending) {
            report.count(outcome);
        }
        let finished = EventBody::RunFinished {
            summary: report.summary(),
        };
        for event in set.into_iter().chain([finished]) {
            self.record(event, batch)
                .expect("a run that started can end, and outputs fit every state");
        }
        batch.effects.push(Effects::RunEnded);
    }

    async fn finish(mut self) -> Result<ApplyReport, ApplyError> {
        while let Some(ended) = self.calls.join_next().await {
            joined(ended);
        }
        let endpoints = preamble::endpoints(&self.request, &self.view);
        // The report of a large plan is about as large, and nothing starts any more.
        self.schedule = Schedule::default();
        let mut report = self.report();
        report.endpoints = endpoints;
        report.outputs = self.view.state.outputs.clone();
        if !matches!(self.stopped, Some(Stopped::Lease | Stopped::Log(_)))
            && let Err(error) = self.journal.finish().await
        {
            self.stopped = Some(Stopped::Log(error));
        }
        report.serial = self.journal.state().serial;
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

    fn report(&mut self) -> ApplyReport {
        let outcomes = std::mem::take(&mut self.outcomes);
        let mut report = ApplyReport {
            steps: Vec::with_capacity(outcomes.len()),
            interrupted: matches!(self.stopped, Some(Stopped::Person)),
            ..ApplyReport::default()
        };
        for (step, outcome) in self.request.plan.steps.iter().zip(outcomes) {
            let outcome = outcome.expect("a run ends when every step has");
            report.count(&outcome);
            report.steps.push(StepReport {
                step: step.id,
                address: self.request.plan.changes[step.change].address.clone(),
                operation: step.operation,
                outcome,
            });
        }
        report
    }

    pub(super) fn identify(&self, step: StepId) -> (ResourceAddress, StepOperation) {
        let step = &self.request.plan.steps[step.0 as usize];
        (
            self.request.plan.changes[step.change].address.clone(),
            step.operation,
        )
    }

    pub(super) fn address(&self, step: StepId) -> &ResourceAddress {
        let step = &self.request.plan.steps[step.0 as usize];
        &self.request.plan.changes[step.change].address
    }
}

/// A step that would have written what does not fit the state.
pub(super) fn misfit(what: &str, error: &FoldError) -> ProviderError {
    ProviderError::new(
        ErrorClass::Conflict,
        format!("{what}, because it does not fit the state: {error}."),
    )
    .with_hint("make a new plan: `gabion plan`")
}

/// Takes in that a call's task ended. What it has to say it said before, unless it panicked: calls catch the panics of
/// providers, so that is a bug of the engine, and the run would wait for its message for ever.
fn joined(ended: Result<(), JoinError>) {
    if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
        std::panic::resume_unwind(panic);
    }
}
