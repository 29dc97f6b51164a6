//! The wire between a process and the cloud: what was sent arrives even if its sender is gone, and boundaries are struck.

use std::sync::Arc;

use async_trait::async_trait;
use gabion_engine::address::OperationId;
use gabion_engine::provider::{
    AttributeProblem, Call, CallSink, CreateRequest, DeleteRequest, FactsRequest, ImportRequest, ListRequest,
    Listed, ObjectState, Observation, ObserveRequest, PlanRequest, PlanResponse, Provider, ProviderError,
    ReadOutcome, ReadRequest, UpdateRequest, UpgradeRequest, UpgradedObject, ValidateRequest,
};
use gabion_engine::schema::ProviderSchema;
use gabion_engine::value::Value;
use gabion_testing::fake::FakeCloud;
use gabion_testing::fake::api::{Answer, ApiRequest, ApiResponse, CloudClient, ObjectStatus, Verb};

use crate::aim::checkpoints;
use crate::cell::{Boundary, Moment};
use crate::gate::{Gate, Target, place};
use crate::ledger::Ledger;
use crate::order;

tokio::task_local! {
    /// Whose request it is, and for which call.
    static SENDER: Sender;
}

#[derive(Clone)]
struct Sender {
    gate: Arc<Gate>,
    operation: Option<OperationId>,
}

/// The cloud as processes reach it.
pub(crate) struct Wire {
    pub(crate) cloud: FakeCloud,
    pub(crate) ledger: Arc<Ledger>,
}

#[async_trait]
impl CloudClient for Wire {
    async fn send(&self, request: ApiRequest) -> Answer {
        let sender = SENDER
            .try_with(Sender::clone)
            .expect("the provider says who sends");
        let gate = sender.gate;
        gate.pass().await;
        let operation = match sender.operation {
            Some(operation) if request.changes_the_world() => operation,
            _ => {
                let answer = self.cloud.send(request).await;
                gate.pass().await;
                return answer;
            }
        };
        self.change(&gate, operation, request).await
    }
}

impl Wire {
    async fn change(&self, gate: &Arc<Gate>, operation: OperationId, request: ApiRequest) -> Answer {
        let known = gate.known(operation);
        let verb = request.verb();
        let told = |what: &str| {
            let address = known.as_ref().map(|known| known.address.to_string());
            format!("{}: {verb:?} {} {what}", gate.name, address.unwrap_or_default())
        };
        match &known {
            Some(known) => {
                if let Some(problem) = order::problem(gate, known, verb) {
                    self.ledger.violated(problem);
                }
            }
            // The call was sent before its intent was even written.
            None => self.ledger.violated(format!(
                "{}: {verb:?} was sent without an intent (operation {operation})",
                gate.name
            )),
        }
        let targets: Vec<Target> = known
            .iter()
            .filter_map(|known| known.action)
            .map(|action| Target {
                place: place(action, Boundary::Call),
                operation: Some(operation),
                event: None,
            })
            .collect();
        let aim = gate.strikes(&targets);
        let before = aim.filter(|aim| aim.moment == Moment::Before);
        let flight = {
            let (cloud, ledger, held) = (self.cloud.clone(), self.ledger.clone(), gate.clone());
            if let Some(aim) = before {
                self.ledger
                    .story
                    .tell(|| told(&format!("not sent: {:?}", aim.strike)));
                gate.close(aim, &targets);
            }
            // A natural upsert that comes late is laid over the object of another one, whose mark is gone then.
            let stays = !matches!(request.resource_type(), Some("fake_record" | "fake_membership"));
            // On the wire it needs nobody any more. A process that was stopped just before it sends goes on with
            // exactly that.
            tokio::spawn(async move {
                if before.is_some() {
                    held.pass().await;
                }
                let answer = cloud.send(request).await;
                // What ended at once for want of capacity is rightly found to be absent.
                let is_made = matches!(
                    &answer,
                    Answer::Done(ApiResponse::Object(made)) if made.status != ObjectStatus::Withdrawn
                );
                if verb == Verb::Create && stays && is_made {
                    ledger.took_effect(operation);
                }
                answer
            })
        };
        if before.is_none() {
            gate.flies(flight.abort_handle());
        }
        let Ok(answer) = flight.await else {
            // It was lost on the wire, and so was whoever waited for it.
            return std::future::pending().await;
        };
        self.ledger.story.tell(|| {
            told(match &answer {
                Answer::Done(_) => "done",
                Answer::Refused(_) => "refused",
                Answer::Lost => "lost",
            })
        });
        match aim.filter(|_| before.is_none()) {
            None => gate.pass().await,
            Some(aim) if !matches!(answer, Answer::Done(_)) => {
                gate.aim_again(aim);
                gate.pass().await;
            }
            Some(aim) if aim.moment == Moment::Unheard => {
                self.ledger
                    .story
                    .tell(|| told(&format!("unheard: {:?}", aim.strike)));
                gate.strike(aim, &targets).await;
            }
            Some(aim) => {
                self.ledger
                    .story
                    .tell(|| told(&format!("heard, {:?} soon", aim.strike)));
                gate.close_soon(aim, targets);
            }
        }
        answer
    }
}

/// The fake cloud's provider as one process has it.
pub(crate) struct GatedProvider {
    pub(crate) inner: Arc<dyn Provider>,
    pub(crate) gate: Arc<Gate>,
}

impl GatedProvider {
    async fn read_only<T>(&self, work: impl Future<Output = T>) -> T {
        let sender = Sender {
            gate: self.gate.clone(),
            operation: None,
        };
        SENDER.scope(sender, work).await
    }

    async fn calling<T>(&self, call: &Call, work: impl Future<Output = T>) -> T {
        let sender = Sender {
            gate: self.gate.clone(),
            operation: Some(call.operation),
        };
        SENDER.scope(sender, work).await
    }
}

/// Keeps a creation from telling anything before it is finished.
struct Quiet(Arc<dyn CallSink>);

#[async_trait]
impl CallSink for Quiet {
    async fn checkpoint(
        &self,
        _: OperationId,
        _: gabion_engine::address::ObjectId,
        _: serde_json::Value,
    ) -> Result<(), ProviderError> {
        Ok(())
    }

    fn phase(&self, operation: OperationId, phase: &str) {
        self.0.phase(operation, phase);
    }

    fn waiting(&self, operation: OperationId, waits: bool) {
        self.0.waiting(operation, waits);
    }
}

#[async_trait]
impl Provider for GatedProvider {
    fn schema(&self) -> &ProviderSchema {
        self.inner.schema()
    }

    fn validate(&self, request: &ValidateRequest) -> Vec<AttributeProblem> {
        self.inner.validate(request)
    }

    fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, ProviderError> {
        self.inner.plan(request)
    }

    async fn read(&self, request: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError> {
        self.read_only(self.inner.read(request)).await
    }

    async fn create(&self, request: CreateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        if checkpoints(&request.resource_type) {
            return self.calling(call, self.inner.create(request, call)).await;
        }
        let quiet = Call {
            operation: call.operation,
            uid: call.uid,
            address: call.address.clone(),
            lineage: call.lineage,
            epoch: call.epoch,
            deadline: call.deadline,
            cancel: call.cancel.clone(),
            sink: Arc::new(Quiet(call.sink.clone())),
        };
        self.calling(call, self.inner.create(request, &quiet)).await
    }

    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        self.calling(call, self.inner.update(request, call)).await
    }

    async fn delete(&self, request: DeleteRequest, call: &Call) -> Result<(), ProviderError> {
        self.calling(call, self.inner.delete(request, call)).await
    }

    async fn observe(&self, request: ObserveRequest) -> Result<Observation, ProviderError> {
        self.read_only(self.inner.observe(request)).await
    }

    async fn list(&self, request: ListRequest) -> Result<Listed, ProviderError> {
        self.read_only(self.inner.list(request)).await
    }

    async fn import(&self, request: ImportRequest) -> Result<ObjectState, ProviderError> {
        self.read_only(self.inner.import(request)).await
    }

    async fn facts(
        &self,
        request: FactsRequest,
    ) -> Result<std::collections::BTreeMap<String, Value>, ProviderError> {
        self.read_only(self.inner.facts(request)).await
    }

    fn upgrade(&self, request: &UpgradeRequest) -> Result<UpgradedObject, ProviderError> {
        self.inner.upgrade(request)
    }
}
