//! One call that changes the world, from its durable intent to its end: the lease, the deadline, the retries, the
//! cancellation, and a provider that panics.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::control::ApplyControl;
use super::first_poll::{First, first_poll};
use super::withdrawn::Left;
use crate::address::{Lineage, ObjectId, OperationId, ProviderName, ResourceAddress, Uid};
use crate::panic::panic_message;
use crate::plan::step::StepId;
use crate::provider::{
    Call, CallAction, CallSink, CreateRequest, DeleteRequest, Effect, ErrorClass, ObjectState, Provider,
    ProviderError, UpdateRequest,
};
use crate::retry::RetryPolicy;
use crate::state::journal::Journal;
use crate::state::lease::Cover;

/// How much longer than the next deadline the lease is asked to last, in lengths of the lease, so that many calls need
/// one renewal: a minute unless the project sets the length.
const LEASES_AHEAD: u32 = 2;

/// What a call hears or says while it runs.
pub(super) enum Message {
    /// Its object has an id, which must be durable before it goes on.
    Checkpoint {
        step: StepId,
        operation: OperationId,
        id: ObjectId,
        private: serde_json::Value,
        reply: oneshot::Sender<Result<(), ProviderError>>,
    },
    /// It only waits from now on, or no longer.
    Waiting { step: StepId, waits: bool },
    /// It says what it is doing.
    Phase { step: StepId, phase: String },
    /// It failed in a way that may pass.
    Retried {
        step: StepId,
        error: ProviderError,
        attempt: u32,
        delay: Duration,
    },
    /// It ended.
    Ended { step: StepId, end: CallEnd },
}

/// How a call ended.
pub(super) enum CallEnd {
    /// It succeeded; a deletion leaves nothing.
    Succeeded(Option<ObjectState>),
    /// It failed.
    Failed(ProviderError),
    /// There was no capacity for what it had made, which is proved to be gone again.
    Withdrawn(ProviderError),
    /// It was never sent, because the lease does not last or a person said to stop.
    Unsent,
}

/// What is asked of the provider.
#[derive(Clone)]
pub(super) enum CallRequest {
    Create(CreateRequest),
    Update(UpdateRequest),
    Delete(DeleteRequest),
}

impl CallRequest {
    pub(super) fn action(&self) -> CallAction {
        match self {
            Self::Create(_) => CallAction::Create,
            Self::Update(_) => CallAction::Update,
            Self::Delete(_) => CallAction::Delete,
        }
    }
}

/// A call whose intent is durable.
pub(super) struct Launch {
    pub(super) step: StepId,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) request: CallRequest,
    pub(super) operation: OperationId,
    pub(super) uid: Uid,
    pub(super) address: ResourceAddress,
    pub(super) lineage: Lineage,
    pub(super) timeout: Duration,
    /// Whether the plan has another offer, should there be no capacity for this one.
    pub(super) has_other_offers: bool,
    pub(super) journal: Arc<Journal>,
    pub(super) retry: RetryPolicy,
    pub(super) grace: Duration,
    pub(super) control: ApplyControl,
    pub(super) messages: mpsc::UnboundedSender<Message>,
}

impl Launch {
    /// Runs the call as a task of its own; its end is the last message.
    pub(super) fn spawn(self, calls: &mut JoinSet<()>) {
        calls.spawn(self.until_told());
    }

    /// Begins the call on the calling thread; what has to be waited for goes on as a task of its own.
    pub(super) fn begin_here(self, calls: &mut JoinSet<()>) {
        let mut call = Box::pin(self.until_told());
        // Nothing is missed without a waker: the task polls it anew.
        if call
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
        {
            calls.spawn(call);
        }
    }

    async fn until_told(self) {
        let (step, messages) = (self.step, self.messages.clone());
        let end = self.run().await;
        // Nobody listens any more only when the whole run was dropped.
        drop(messages.send(Message::Ended { step, end }));
    }

    async fn run(self) -> CallEnd {
        let Some(_cover) = self.cover().await else {
            return CallEnd::Unsent;
        };
        let deadline = Instant::now() + self.timeout;
        let sink = Arc::new(Sink {
            step: self.step,
            operation: self.operation,
            action: self.request.action(),
            provider: self.provider.schema().name.clone(),
            messages: self.messages.clone(),
            object: Mutex::default(),
        });
        let lease_lost = AtomicBool::new(false);
        let result = self
            .retry
            .run(
                deadline,
                &self.control.stop,
                || self.try_once(deadline, &sink, &lease_lost),
                |error, attempt, delay| {
                    drop(self.messages.send(Message::Retried {
                        step: self.step,
                        error: error.clone(),
                        attempt,
                        delay,
                    }));
                },
            )
            .await;
        match result {
            Ok(state) => CallEnd::Succeeded(state),
            Err(_) if lease_lost.load(Ordering::Relaxed) => CallEnd::Unsent,
            Err(error) => match self.left_of(&error, &sink).await {
                None => CallEnd::Failed(error),
                Some(Left::Nothing) => CallEnd::Withdrawn(error),
                Some(Left::Perhaps(why)) => {
                    CallEnd::Failed(error.with_detail([format!("No other offer was asked for: {why}")]))
                }
            },
        }
    }

    /// Makes the lease last as long as the call may take, counted from when this returns. Not waited for longer than
    /// people would, nor when they said to stop.
    async fn cover(&self) -> Option<Cover> {
        let ahead = self.journal.lease_length() * LEASES_AHEAD;
        let wait = ahead / 2;
        let end = Instant::now() + self.timeout;
        // Other calls may be why it lasts now, and end before this one.
        let cover = self.journal.reserve_lease(end + ahead);
        if self.journal.lease_outlives(end + wait) {
            return Some(cover);
        }
        tokio::select! {
            biased;
            () = self.control.stop.cancelled() => None,
            covered = self.journal.cover_until(end + ahead) => covered,
            () = tokio::time::sleep(wait) => {
                let end = Instant::now() + self.timeout;
                self.journal.lease_outlives(end).then_some(cover)
            }
        }
    }

    async fn try_once(
        &self,
        deadline: Instant,
        sink: &Arc<Sink>,
        lease_lost: &AtomicBool,
    ) -> Result<Option<ObjectState>, ProviderError> {
        if !self.journal.lease_outlives(deadline) {
            lease_lost.store(true, Ordering::Relaxed);
            return Err(ProviderError::new(
                ErrorClass::Conflict,
                "The lease does not last.",
            ));
        }
        // A provider that keeps to its deadline can say what it waited for; the engine gives up a little later.
        let reserve = (self.timeout / 10).min(Duration::from_secs(2));
        let cancel = CancellationToken::new();
        let call = Call {
            operation: self.operation,
            uid: self.uid,
            address: self.address.clone(),
            lineage: self.lineage,
            epoch: self.journal.epoch(),
            deadline: deadline - reserve,
            cancel: cancel.clone(),
            sink: sink.clone(),
        };
        let (provider, request) = (self.provider.clone(), self.request.clone());
        let asked = async move {
            match request {
                CallRequest::Create(request) => provider.create(request, &call).await.map(Some),
                CallRequest::Update(request) => provider.update(request, &call).await.map(Some),
                CallRequest::Delete(request) => provider.delete(request, &call).await.map(|()| None),
            }
        };
        // What answers at once needs no task of its own; what has to be waited for has one, so that it cannot keep the
        // deadline from being seen.
        let asked = match first_poll(Box::pin(asked)).await {
            Ok(First::Ready(result)) => return result.map_err(|error| sink.judge(error)),
            Ok(First::Pending(asked)) => asked,
            Err(payload) => return Err(sink.judge(self.panicked(&*payload))),
        };
        let mut task = JoinSet::new();
        task.spawn(asked);
        let given_up = async {
            self.control.cancel.cancelled().await;
            cancel.cancel();
            tokio::time::sleep(self.grace).await;
        };
        let result = tokio::select! {
            biased;
            joined = task.join_next() => match joined {
                Some(Ok(result)) => result,
                Some(Err(error)) => Err(match error.try_into_panic() {
                    Ok(payload) => self.panicked(&*payload),
                    Err(_) => self.broke_off("it was stopped"),
                }),
                None => unreachable!("one task was spawned"),
            },
            () = tokio::time::sleep_until(deadline) => Err(ProviderError::new(
                ErrorClass::Uncertain,
                format!("It did not end within {}.", seconds(self.timeout)),
            )
            .with_hint("give it more time with `timeouts`")),
            () = given_up => Err(ProviderError::new(
                ErrorClass::Uncertain,
                "It was cancelled before its end was known.",
            )),
        };
        result.map_err(|error| sink.judge(error))
    }

    fn panicked(&self, payload: &(dyn Any + Send)) -> ProviderError {
        self.broke_off(&panic_message(payload))
    }

    fn broke_off(&self, why: &str) -> ProviderError {
        ProviderError::new(
            ErrorClass::Uncertain,
            format!("Provider `{}` panicked: {why}.", self.provider.schema().name),
        )
        .with_hint("this is a bug in the provider; please report it to its authors")
    }
}

fn seconds(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

/// Where one call's checkpoints and phases go.
pub(super) struct Sink {
    step: StepId,
    operation: OperationId,
    action: CallAction,
    provider: ProviderName,
    messages: mpsc::UnboundedSender<Message>,
    object: Mutex<Named>,
}

/// What the call's object was called.
#[derive(Default)]
struct Named {
    /// The first id that was told. Every other one is refused, also before the first is durable.
    id: Option<ObjectId>,
    /// What the provider said with its id, once both are durable.
    durable: Option<serde_json::Value>,
}

impl Sink {
    fn object(&self) -> MutexGuard<'_, Named> {
        // Every change is a plain assignment.
        self.object.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something that has an id exists: such a call had an effect, whatever the provider says.
    fn judge(&self, error: ProviderError) -> ProviderError {
        if error.effect == Effect::None && self.object().durable.is_some() {
            return error.with_effect(Effect::Partial);
        }
        error
    }

    /// Returns the durable id of the call's object, with what the provider said beside it.
    pub(super) fn made(&self) -> Option<(ObjectId, serde_json::Value)> {
        let object = self.object();
        Some((object.id.clone()?, object.durable.clone()?))
    }

    /// Takes an id for the call's object, the only one that it may have.
    fn claim(&self, operation: OperationId, id: &ObjectId) -> Result<(), ProviderError> {
        if operation != self.operation {
            return Err(self.breach("it told an object's id under the operation of another call"));
        }
        if self.action == CallAction::Delete {
            return Err(self.breach(&format!(
                "it told the id `{id}` during a deletion, whose object is recorded already"
            )));
        }
        if id.as_str().is_empty() {
            return Err(self.breach("it told an empty id"));
        }
        let mut object = self.object();
        match &object.id {
            Some(known) if known != id => {
                let both = format!("it called one object `{known}` and then `{id}`");
                Err(self.breach(&both))
            }
            _ => {
                object.id = Some(id.clone());
                Ok(())
            }
        }
    }

    fn breach(&self, what: &str) -> ProviderError {
        ProviderError::new(
            ErrorClass::Invalid,
            format!("Provider `{}` broke its contract: {what}.", self.provider),
        )
        .with_effect(Effect::Partial)
        .with_hint("report this to the provider's authors")
    }
}

#[async_trait]
impl CallSink for Sink {
    async fn checkpoint(
        &self,
        operation: OperationId,
        id: ObjectId,
        private: serde_json::Value,
    ) -> Result<(), ProviderError> {
        self.claim(operation, &id)?;
        let (reply, answer) = oneshot::channel();
        let unwritten = || {
            ProviderError::new(
                ErrorClass::Uncertain,
                "The object's id could not be written to the state.",
            )
        };
        self.messages
            .send(Message::Checkpoint {
                step: self.step,
                operation,
                id,
                private: private.clone(),
                reply,
            })
            .map_err(|_| unwritten())?;
        answer.await.map_err(|_| unwritten())??;
        self.object().durable = Some(private);
        Ok(())
    }

    fn phase(&self, _: OperationId, phase: &str) {
        drop(self.messages.send(Message::Phase {
            step: self.step,
            phase: phase.to_owned(),
        }));
    }

    fn waiting(&self, _: OperationId, waits: bool) {
        drop(self.messages.send(Message::Waiting {
            step: self.step,
            waits,
        }));
    }
}
