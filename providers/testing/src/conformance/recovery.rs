//! What became of calls whose answers were lost.

use gabion_engine::address::{OperationId, Uid};
use gabion_engine::provider::{CallAction, Effect, Observation, ObserveRequest};

use super::calls::{operation, uid};
use super::{Made, Trial};

impl Trial<'_> {
    fn observe_request(&self, operation: OperationId, uid: Uid, made: Option<&Made>) -> ObserveRequest {
        ObserveRequest {
            action: CallAction::Create,
            operation,
            object: self.recorded(uid, None, None),
            inputs: made.map_or_else(|| self.case.inputs.clone(), |made| made.inputs.clone()),
            lineage: self.lineage,
        }
    }

    /// A creation that succeeded is found by its operation id alone; one that was never sent is not.
    pub(super) async fn found_by_its_operation(&mut self, made: &Made, operation: OperationId) {
        if self.subject.record_is_object() {
            return;
        }
        let request = self.observe_request(operation, made.uid, Some(made));
        match self.provider.observe(request).await {
            Ok(Observation::Present(state)) => {
                self.holds(
                    "an observation finds the object",
                    state.id == made.state.id,
                    &state.id,
                );
            }
            Ok(observation) => self.violation("an observation finds the object", format!("{observation:?}")),
            Err(error) => self.violation("an observation finds the object", error),
        }
        for action in [CallAction::Update, CallAction::Delete] {
            let mut request = self.observe_request(super::calls::operation(), made.uid, Some(made));
            request.action = action;
            request.object = self.recorded(made.uid, Some(&made.state.id), Some(made));
            match self.provider.observe(request).await {
                Ok(Observation::Present(state)) if state.id == made.state.id => {}
                other => self.violation(
                    "an observation tells that the object is there",
                    format!("{action:?} {other:?}"),
                ),
            }
        }
    }

    /// A creation whose answer is lost is uncertain, and observation finds what it made.
    pub(super) async fn lose_an_answer(&mut self) {
        let never_sent = self.observe_request(operation(), uid(), None);
        match self.provider.observe(never_sent).await {
            Ok(Observation::Absent) => {}
            other => self.violation(
                "a call that was never sent is observed as absent",
                format!("{other:?}"),
            ),
        }
        let Ok(response) = self.plan(&self.case.inputs, None) else {
            return;
        };
        if !self.subject.lose_next_answer().await {
            return;
        }
        let (operation, uid) = (operation(), uid());
        let (result, _) = self.create(operation, uid, response.planned).await;
        match result {
            Ok(_) => self.violation("a lost answer is an error", "the creation succeeded"),
            Err(error) => {
                self.holds(
                    "a call whose answer was lost may have had an effect",
                    error.effect == Effect::Unknown,
                    format!("{error:?}"),
                );
                self.hides_the_secret("an error", &format!("{error:?}"));
            }
        }
        let request = self.observe_request(operation, uid, None);
        let state = match self.provider.observe(request).await {
            Ok(Observation::Present(state)) => state,
            other => {
                return self.violation("an observation finds what a lost call made", format!("{other:?}"));
            }
        };
        let made = Made {
            uid,
            inputs: self.case.inputs.clone(),
            state,
        };
        self.delete(&made).await;
    }
}
