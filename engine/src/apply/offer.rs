//! Going on to the next of the plan's offers, once there is no capacity for one.
//!
//! The order is the plan's. An offer is left only when its call is known to have made nothing; the refusal and the intent
//! of the next one, a creation of its own with its own idempotency key, are one commit of the log.

use super::call::CallRequest;
use super::executor::{Batch, Run, Running};
use crate::plan::change::Change;
use crate::plan::step::StepId;
use crate::provider::{Effect, ErrorClass, ProviderError};

/// What follows from a call that failed, whose failure is in the commit.
pub(super) enum Next {
    /// The plan has no other offer for it, or the failure is of another kind.
    Nothing,
    /// The next offer's intent is in the commit.
    Intended,
    /// There is no offer left, or the next one cannot be asked for: this is why the step failed.
    Over(ProviderError),
}

impl Run<'_> {
    /// Goes on to the next offer where there is one.
    pub(super) fn next_offer(
        &mut self,
        step: StepId,
        running: &Running,
        error: &ProviderError,
        batch: &mut Batch,
    ) -> Next {
        let plan = self.request.plan;
        let change = &plan.changes[plan.steps[step.0 as usize].change];
        let made_nothing = error.effect == Effect::None && running.checkpoint.is_none();
        let is_refused = matches!(running.call.request, CallRequest::Create(_))
            && error.class == ErrorClass::NoCapacity
            && made_nothing;
        if !is_refused || change.alternatives.is_empty() {
            return Next::Nothing;
        }
        let mut refused = running.call.refused.clone();
        refused.push(error.clone());
        if refused.len() > change.alternatives.others.len() {
            return Next::Over(none_left(change, &refused));
        }
        if self.stopped.is_some() || self.control.is_stopped() {
            return Next::Over(none_left(change, &refused));
        }
        let prepared = self.preparer.next_offer(&self.view, change, &running.call);
        let intended = prepared.and_then(|mut call| {
            call.refused = refused;
            self.intend(step, Box::new(call), batch)
                .map_err(|error| super::executor::misfit("The next offer was not asked for", &error))
        });
        match intended {
            Ok(()) => Next::Intended,
            Err(error) => Next::Over(self.redactor.error(error)),
        }
    }
}

/// The one error of offers that were all refused, with the reason of each; or of those up to an interruption.
fn none_left(change: &Change, refused: &[ProviderError]) -> ProviderError {
    let all = 1 + change.alternatives.others.len();
    let last = refused.last();
    let detail = refused
        .iter()
        .enumerate()
        .map(|(offer, error)| format!("{}: {}", change.alternatives.label(offer), error.message));
    let message = if refused.len() == all {
        format!("None of the {all} offers for `{}` can be had.", change.address)
    } else {
        format!(
            "{} of the {all} offers for `{}` cannot be had, and the others were not asked for: the run was interrupted.",
            refused.len(),
            change.address
        )
    };
    let error = ProviderError::new(ErrorClass::NoCapacity, message).with_detail(detail);
    match last.and_then(|last| last.hint.clone()) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
