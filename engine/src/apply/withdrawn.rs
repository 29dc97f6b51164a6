//! A creation that was accepted, and whose object ended for want of capacity before it was ready.
//!
//! Clouds take requests for machines that they cannot start: the machine has an id, and ends by itself. That it is gone is
//! proved by looking, as after a crash, before anything else is asked for in its place.

use std::time::Duration;

use tokio::task::JoinSet;

use super::call::{CallRequest, Launch, Message, Sink};
use crate::provider::{
    CallAction, Effect, ErrorClass, Observation, ObserveRequest, ProviderError, RecordedObject,
};

/// How long looking may take beside the time for which the provider waits for what may not be visible yet.
const LOOK: Duration = Duration::from_secs(60);

impl Launch {
    /// Finds out whether what a creation made is gone, where its failure says so and another offer depends on it.
    pub(super) async fn is_withdrawn(&self, error: &ProviderError, sink: &Sink) -> bool {
        let may_be = error.class == ErrorClass::NoCapacity && error.effect != Effect::Unknown;
        if !may_be || !self.has_other_offers {
            return false;
        }
        let (CallRequest::Create(request), Some((id, private))) = (&self.request, sink.made()) else {
            return false;
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
        let window = self
            .provider
            .resource_schema(&request.resource_type)
            .consistency_window;
        let provider = self.provider.clone();
        // A task of its own: what it does when it panics is its own affair.
        let mut looking = JoinSet::new();
        looking.spawn(async move { provider.observe(observe).await });
        // It only waits, so it keeps no other call from starting.
        drop(self.messages.send(Message::Phase {
            step: self.step,
            phase: "find out whether it is gone".to_owned(),
        }));
        self.tell_waiting(true);
        let is_gone = tokio::select! {
            biased;
            // The next run finds it out.
            () = self.control.stop.cancelled() => false,
            looked = tokio::time::timeout(window + LOOK, looking.join_next()) => {
                matches!(looked, Ok(Some(Ok(Ok(Observation::Absent)))))
            }
        };
        self.tell_waiting(false);
        is_gone
    }

    fn tell_waiting(&self, waits: bool) {
        drop(self.messages.send(Message::Waiting {
            step: self.step,
            waits,
        }));
    }
}
