//! A store as one process sees it: through its gate, with what the store promises checked at every answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::provider::{CallAction, Observation};
use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::event::EventBody;
use gabion_engine::state::folded::Folded;
use gabion_engine::state::store::{
    AppendRequest, CreateRequest, LeaseGrant, LeaseRequest, LeaseView, Loaded,
};
use gabion_engine::state::{Head, State, StateStore, StoreError};
use jiff::Timestamp;

use crate::aim::{Aim, Strike};
use crate::cell::{Action, Boundary, Moment};
use crate::gate::{Gate, Known, Target, place};
use crate::ledger::Ledger;

/// A store behind the gate of a process.
pub(crate) struct GatedStore {
    pub(crate) inner: Arc<dyn StateStore>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) ledger: Arc<Ledger>,
}

impl GatedStore {
    /// Returns what the events of an append are about, and remembers the calls that they announce.
    fn targets(&self, request: &AppendRequest) -> Vec<Target> {
        let mut targets = Vec::new();
        for event in &request.events {
            let mut focus = |action: Option<Action>, boundary, operation| {
                if let Some(action) = action {
                    targets.push(Target {
                        place: place(action, boundary),
                        operation,
                        event: Some((event.sequence, request.epoch)),
                    });
                }
            };
            let of = |operation| self.gate.known(operation).and_then(|known| known.action);
            match &event.body {
                EventBody::Intent(intent) => {
                    let action = self.gate.step(intent.step);
                    self.gate.learn(
                        intent.operation,
                        Known {
                            action,
                            uid: intent.uid,
                            address: intent.address.clone(),
                        },
                    );
                    focus(action, Boundary::Intent, Some(intent.operation));
                }
                EventBody::Checkpoint { operation, .. } => {
                    focus(of(*operation), Boundary::Checkpoint, Some(*operation));
                }
                EventBody::Succeeded { operation, .. } | EventBody::Failed { operation, .. } => {
                    focus(of(*operation), Boundary::Result, Some(*operation));
                }
                EventBody::Settled {
                    operation,
                    observation: Observation::Present(_),
                } if self.ledger.creates(*operation) => {
                    focus(Some(Action::Adopt), Boundary::Opening, Some(*operation));
                }
                EventBody::Moved { .. } => focus(Some(Action::Move), Boundary::Opening, None),
                EventBody::Imported { .. } => focus(Some(Action::Import), Boundary::Opening, None),
                EventBody::Forgotten { .. } => focus(Some(Action::Forget), Boundary::Opening, None),
                _ => {}
            }
        }
        targets
    }

    /// Notes what a durable append says.
    fn durable(&self, request: &AppendRequest) {
        for event in &request.events {
            match &event.body {
                EventBody::Intent(intent) if intent.action == CallAction::Create => {
                    self.ledger.creation(intent.operation);
                }
                EventBody::Settled {
                    operation,
                    observation,
                } => self
                    .ledger
                    .settled(*operation, observation, self.gate.looked_since()),
                EventBody::Forgotten { uid } => self.ledger.forget(*uid),
                _ => {}
            }
        }
    }

    /// Lets an append through, as it was asked for: folded already or not.
    async fn deliver(&self, request: AppendRequest, folded: Option<Arc<Folded>>) -> Result<Head, StoreError> {
        self.gate.pass().await;
        let targets = self.targets(&request);
        let aim = self.gate.strikes(&targets);
        let tell = |what: &str| {
            if let Some(Aim { strike, .. }) = aim {
                let story = &self.ledger.story;
                story.tell(|| format!("{}: {strike:?} {what} {}", self.gate.name, bodies(&request)));
            }
        };
        let at = |moment: Moment| aim.filter(|aim| aim.moment == moment);
        if let Some(aim) = at(Moment::Before) {
            tell("before writing");
            self.gate.strike(aim, &targets).await;
            if aim.strike == Strike::Refuse {
                return Err(self.refused());
            }
        }
        let fenced = self.ledger.epoch() > request.epoch;
        let result = match folded {
            Some(folded) => self.inner.append_folded(request.epoch, folded).await,
            None => self.inner.append(request.clone()).await,
        };
        match &result {
            Ok(head) => {
                self.ledger
                    .story
                    .tell(|| format!("{}: wrote {}", self.gate.name, bodies(&request)));
                self.ledger.appended(&self.gate.name, &request, head, fenced);
                self.durable(&request);
                if self.gate.delivers_twice() {
                    self.deliver_again(request.clone()).await;
                }
            }
            Err(error) => self.ledger.story.tell(|| {
                format!(
                    "{}: could not write {}: {error}",
                    self.gate.name,
                    bodies(&request)
                )
            }),
        }
        match (aim, result.is_ok()) {
            (Some(aim), true) if aim.moment == Moment::Unheard => {
                tell("unheard");
                self.gate.strike(aim, &targets).await;
                if aim.strike == Strike::Refuse {
                    return Err(self.refused());
                }
            }
            (Some(aim), true) if aim.moment == Moment::After => {
                tell("soon");
                self.gate.close_soon(aim, targets);
            }
            _ => self.gate.pass().await,
        }
        if let Ok(head) = &result {
            self.ledger.acknowledge(head);
        }
        result
    }

    /// Lets an append reach the store a second time, as a network may: of the two only one may be taken.
    async fn deliver_again(&self, request: AppendRequest) {
        let told = bodies(&request);
        if !request.events.is_empty() && self.inner.append(request).await.is_ok() {
            self.ledger
                .violated(format!("an append that arrived twice was taken twice: {told}"));
        }
    }

    fn refused(&self) -> StoreError {
        StoreError::Io {
            location: self.location(),
            what: "writing".to_owned(),
            source: "the simulation says so".into(),
        }
    }
}

#[async_trait]
impl StateStore for GatedStore {
    async fn create(&self, request: CreateRequest) -> Result<Head, StoreError> {
        self.gate.pass().await;
        let head = self.inner.create(request).await?;
        self.ledger.created(&head);
        Ok(head)
    }

    async fn load(&self) -> Result<Loaded, StoreError> {
        self.gate.pass().await;
        let before = self.ledger.acknowledged();
        let loaded = self.inner.load().await?;
        self.ledger.loaded(before, &loaded);
        self.gate.pass().await;
        Ok(loaded)
    }

    async fn append(&self, request: AppendRequest) -> Result<Head, StoreError> {
        self.deliver(request, None).await
    }

    async fn append_folded(&self, epoch: u64, folded: Arc<Folded>) -> Result<Head, StoreError> {
        self.deliver(AppendRequest::of(epoch, &folded), Some(folded))
            .await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, StoreError> {
        self.gate.pass().await;
        self.inner.events(after, limit).await
    }

    async fn base(&self) -> Result<State, StoreError> {
        self.gate.pass().await;
        self.inner.base().await
    }

    async fn compact(&self, epoch: u64, up_to: u64) -> Result<u64, StoreError> {
        self.gate.pass().await;
        self.inner.compact(epoch, up_to).await
    }

    async fn take_lease(&self, request: LeaseRequest) -> Result<LeaseGrant, StoreError> {
        self.gate.pass().await;
        let grant = self.inner.take_lease(request).await?;
        self.ledger
            .story
            .tell(|| format!("{}: took the lease, epoch {}", self.gate.name, grant.epoch));
        self.ledger.granted(&self.gate.name, grant);
        self.gate.pass().await;
        Ok(grant)
    }

    async fn renew(&self, epoch: u64, length: Duration, at: Timestamp) -> Result<(), StoreError> {
        self.gate.pass().await;
        let fenced = self.ledger.epoch() > epoch;
        let renewed = self.inner.renew(epoch, length, at).await;
        if renewed.is_ok() && fenced {
            self.ledger.violated(format!(
                "{} renewed the lease of epoch {epoch}, which another had taken over",
                self.gate.name
            ));
        }
        self.gate.pass().await;
        renewed
    }

    async fn release(&self, epoch: u64) -> Result<(), StoreError> {
        self.gate.pass().await;
        self.inner.release(epoch).await
    }

    async fn lease(&self) -> Result<Option<LeaseView>, StoreError> {
        self.gate.pass().await;
        self.inner.lease().await
    }

    fn is_local(&self) -> bool {
        self.inner.is_local()
    }

    /// Nowhere in particular: the same life reads the same wherever its files are.
    fn location(&self) -> String {
        "the store".to_owned()
    }
}

/// Names the events of an append, for the story.
fn bodies(request: &AppendRequest) -> String {
    let names: Vec<String> = request
        .events
        .iter()
        .map(|event| {
            let json = serde_json::to_value(&event.body).unwrap_or_default();
            let text = |name: &str| {
                json.get(name)
                    .and_then(|value| value.as_str())
                    .unwrap_or_default()
            };
            let short = |id: &str| {
                id.rsplit('-')
                    .next()
                    .unwrap_or_default()
                    .trim_start_matches('0')
                    .to_owned()
            };
            match &event.body {
                EventBody::Intent(intent) => format!(
                    "intent {:?} {} (operation {}, object {})",
                    intent.action,
                    intent.address,
                    short(&intent.operation.to_string()),
                    short(&intent.uid.to_string())
                ),
                EventBody::Settled { observation, .. } => format!(
                    "settled {} {}",
                    short(text("operation")),
                    match observation {
                        Observation::Present(state) => format!("present as {}", state.id),
                        Observation::Absent => "absent".to_owned(),
                        Observation::Unknown { .. } => "unknown".to_owned(),
                    }
                ),
                EventBody::Failed { operation, error } => {
                    format!("failed {}: {}", short(&operation.to_string()), error.message)
                }
                _ => format!("{} {}", text("event"), short(text("operation"))),
            }
        })
        .collect();
    format!("[{}] at {}", names.join(", "), request.expected_sequence)
}
