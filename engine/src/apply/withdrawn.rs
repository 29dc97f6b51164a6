//! A creation that was accepted, and whose object ended for want of capacity before it was ready.
//!
//! Clouds take requests for machines that they cannot start: the machine has an id, and ends by itself. That it is gone is
//! proved by looking, as after a crash, before anything else is asked for in its place.

use std::time::Duration;

use tokio::time::Instant;

use super::call::{CallRequest, Launch, Message, Sink};
use crate::asking::ask;
use crate::provider::{
    CallAction, Effect, ErrorClass, Observation, ObserveRequest, ProviderError, RecordedObject,
};

/// How long looking may take beside the time for which the provider waits for what may not be visible yet.
const LOOK: Duration = Duration::from_secs(60);

/// What is left of what a creation had made.
pub(super) enum Left {
    /// Nothing, as is proved.
    Nothing,
    /// Perhaps all of it, for this reason.
    Perhaps(String),
}

impl Launch {
    /// Finds out what is left of what a creation made; `None` unless its failure says that it is gone and another offer
    /// depends on it.
    pub(super) async fn left_of(&self, error: &ProviderError, sink: &Sink) -> Option<Left> {
        let may_be = error.class == ErrorClass::NoCapacity && error.effect != Effect::Unknown;
        if !may_be || !self.has_other_offers {
            return None;
        }
        let (CallRequest::Create(request), Some((id, private))) = (&self.request, sink.made()) else {
            return None;
        };
        let observe = ObserveRequest {
            action: CallAction::Create,
            operation: self.operation,
            object: RecordedObject {
                uid: self.uid,
                address: self.address.clone(),
                id: Some(id),
                inputs: request.inputs.clone(),
                attributes: request.planned.clone(),
                private,
            },
            inputs: request.inputs.clone(),
            lineage: self.lineage,
        };
        let schema = self.provider.resource_schema(&request.resource_type);
        let timeout = schema.consistency_window + LOOK;
        // It only waits, so it keeps no other call from starting.
        drop(self.messages.send(Message::Phase {
            step: self.step,
            phase: "find out whether it is gone".to_owned(),
        }));
        self.tell_waiting(true);
        let looked = tokio::select! {
            biased;
            () = self.control.stop.cancelled() => None,
            looked = self.look(observe, timeout) => Some(looked),
        };
        self.tell_waiting(false);
        Some(match looked {
            Some(Ok(Observation::Absent)) => Left::Nothing,
            Some(Ok(Observation::Present(_))) => Left::Perhaps("what was made is still there.".to_owned()),
            Some(Ok(Observation::Unknown { reason })) => unknown(&reason),
            Some(Err(error)) => unknown(&error.message),
            // The next run finds it out.
            None => unknown("The run was interrupted."),
        })
    }

    /// Observes, and again when that fails in a way that may pass.
    async fn look(&self, observe: ObserveRequest, timeout: Duration) -> Result<Observation, ProviderError> {
        let what = format!("Finding out what became of `{}`", self.address);
        let deadline = Instant::now() + timeout;
        let look = || {
            let (provider, observe) = (self.provider.clone(), observe.clone());
            ask(&what, deadline, timeout, async move {
                provider.observe(observe).await
            })
        };
        let on_retry = |error: &ProviderError, attempt, delay| {
            drop(self.messages.send(Message::Retried {
                step: self.step,
                error: error.clone(),
                attempt,
                delay,
            }));
        };
        self.retry.run(deadline, &self.control.stop, look, on_retry).await
    }

    fn tell_waiting(&self, waits: bool) {
        drop(self.messages.send(Message::Waiting {
            step: self.step,
            waits,
        }));
    }
}

fn unknown(why: &str) -> Left {
    Left::Perhaps(format!("whether what was made is gone is not known. {why}"))
}
