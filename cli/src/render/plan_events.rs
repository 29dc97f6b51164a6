//! The event stream of planning: what is read, and what the plan is in the end, without any value.

use gabion_engine::config::Effect;
use gabion_engine::gather::{GatherEvent, GatherObserver};
use gabion_engine::plan::change::DriftKind;
use gabion_engine::plan::{Mode, Plan};

use super::event_json_types::EventJson;
use super::events::Events;
use super::plan_json::{actions, summary_json};
use super::view;
use crate::failure::Failure;

/// Passes the course of gathering on to people and to the event stream.
pub(crate) struct Told<'a, T> {
    /// What people see.
    pub(crate) display: T,
    /// The stream, if somebody asked for it.
    pub(crate) events: Option<&'a Events>,
}

impl<T: GatherObserver> GatherObserver for Told<'_, T> {
    fn observe(&mut self, event: &GatherEvent) {
        self.display.observe(event);
        if let Some(events) = self.events {
            events.write(event.into());
        }
    }
}

/// Says that planning began.
pub(crate) fn started(events: &Events, project: &str, mode: Mode) {
    events.write(EventJson::PlanningStarted {
        project: project.to_owned(),
        mode: mode_word(mode).to_owned(),
    });
}

/// Says what was planned.
pub(crate) fn finished(events: &Events, plan: &Plan) {
    // What it takes to write them grows with the plan.
    if !events.is_wanted() {
        return;
    }
    for drift in &plan.drift {
        events.write(EventJson::DriftFound {
            address: drift.address.to_string(),
            kind: match drift.kind {
                DriftKind::Vanished => "vanished".into(),
                DriftKind::Changed(_) => "changed".into(),
                DriftKind::CannotTell { .. } => "cannot_tell".into(),
            },
        });
    }
    for change in plan.effective_changes() {
        events.write(EventJson::ChangePlanned {
            address: change.address.to_string(),
            previous_address: change.previous_address.as_ref().map(ToString::to_string),
            deposed: change.deposed,
            actions: actions(change.action),
            attributes: change
                .attributes
                .iter()
                .map(|attribute| attribute.path.to_string())
                .collect(),
            because: view::because(plan, change)
                .into_iter()
                .map(|(_, text)| text)
                .collect(),
        });
    }
    for ruling in plan.policy.iter().flat_map(|report| &report.rulings) {
        events.write(EventJson::RuleObjected {
            effect: match ruling.effect {
                Effect::Deny => "deny".into(),
                Effect::Warn => "warn".into(),
            },
            rule: ruling.rule.to_string(),
            address: ruling.address.as_ref().map(ToString::to_string),
            message: ruling.message.clone(),
        });
    }
    events.write(EventJson::PlanFinished {
        summary: summary_json(plan),
        unsettled: plan.unsettled.len(),
        blocked: plan.blocked.iter().map(ToString::to_string).collect(),
        denied: plan.denials().next().is_some(),
        serial: plan.basis.serial,
        digest: plan.digest().to_string(),
    });
}

/// Says that there is no plan.
pub(crate) fn failed(events: &Events, failure: &Failure) {
    events.write(EventJson::PlanningFailed {
        message: failure.summary(),
    });
}

fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Apply => "apply",
        Mode::Destroy => "destroy",
    }
}
