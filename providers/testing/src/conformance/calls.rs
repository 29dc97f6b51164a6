//! Making calls as the executor does, and noting what they say meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use gabion_engine::address::{IdSource, ObjectId, OperationId, RandomIds, Uid};
use gabion_engine::provider::{
    Call, CallSink, CreateRequest, DeleteRequest, ErrorClass, ObjectState, PlanRequest, PlanResponse,
    PriorObject, ProviderError, ReadOutcome, ReadRequest, RecordedObject, UpdateRequest,
};
use gabion_engine::value::{AttributePath, Attributes};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Made, Trial};

/// What a call said, in order.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    Checkpoint(ObjectId),
    Phase(String),
}

#[derive(Default)]
pub(super) struct Notes(Mutex<Vec<Said>>);

impl Notes {
    pub(super) fn said(&self) -> Vec<Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, said: Said) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    }
}

#[async_trait]
impl CallSink for Notes {
    async fn checkpoint(
        &self,
        _: OperationId,
        id: ObjectId,
        _: serde_json::Value,
    ) -> Result<(), ProviderError> {
        self.add(Said::Checkpoint(id));
        Ok(())
    }

    fn phase(&self, _: OperationId, phase: &str) {
        self.add(Said::Phase(phase.to_owned()));
    }
}

impl Trial<'_> {
    pub(super) fn call(&self, operation: OperationId, uid: Uid) -> (Call, Arc<Notes>) {
        let notes = Arc::new(Notes::default());
        let call = Call {
            operation,
            uid,
            address: self.case.address.clone(),
            lineage: self.lineage,
            epoch: 1,
            deadline: Instant::now() + self.subject.patience(),
            cancel: CancellationToken::new(),
            sink: notes.clone(),
        };
        (call, notes)
    }

    pub(super) fn plan(
        &self,
        desired: &Attributes,
        prior: Option<&Made>,
    ) -> Result<PlanResponse, ProviderError> {
        self.provider.plan(&PlanRequest {
            resource_type: self.case.address.resource_type.clone(),
            address: self.case.address.clone(),
            desired: desired.clone(),
            prior: prior.map(|made| PriorObject {
                inputs: made.inputs.clone(),
                attributes: made.state.attributes.clone(),
                private: made.state.private.clone(),
            }),
            replaces: None,
            facts: self.facts.clone(),
        })
    }

    pub(super) async fn create(
        &self,
        operation: OperationId,
        uid: Uid,
        planned: Attributes,
    ) -> (Result<ObjectState, ProviderError>, Vec<Said>) {
        let (call, notes) = self.call(operation, uid);
        let request = CreateRequest {
            resource_type: self.case.address.resource_type.clone(),
            address: self.case.address.clone(),
            inputs: self.case.inputs.clone(),
            planned,
        };
        let result = self.provider.create(request, &call).await;
        (result, notes.said())
    }

    pub(super) async fn update(
        &self,
        made: &Made,
        inputs: &Attributes,
        planned: Attributes,
        changed: Vec<AttributePath>,
    ) -> Result<ObjectState, ProviderError> {
        let (call, _) = self.call(operation(), made.uid);
        let request = UpdateRequest {
            object: self.recorded(made.uid, Some(&made.state.id), Some(made)),
            inputs: inputs.clone(),
            planned,
            changed,
        };
        self.provider.update(request, &call).await
    }

    pub(super) async fn delete_once(&self, made: &Made) -> Result<(), ProviderError> {
        let (call, _) = self.call(operation(), made.uid);
        let request = DeleteRequest {
            object: self.recorded(made.uid, Some(&made.state.id), Some(made)),
            deposed: false,
        };
        self.provider.delete(request, &call).await
    }

    /// Reads, waiting out the consistency window for what should be there.
    pub(super) async fn read(&self, objects: Vec<RecordedObject>) -> Result<Vec<ReadOutcome>, ProviderError> {
        let request = ReadRequest {
            resource_type: self.case.address.resource_type.clone(),
            objects,
        };
        self.provider.read(request).await
    }

    pub(super) async fn read_one(&self, made: &Made) -> Result<ReadOutcome, ProviderError> {
        let object = self.recorded(made.uid, Some(&made.state.id), Some(made));
        let end = Instant::now() + self.schema().consistency_window;
        loop {
            let mut outcomes = self.read(vec![object.clone()]).await?;
            let outcome = match (outcomes.pop(), outcomes.is_empty()) {
                (Some(outcome), true) => outcome,
                _ => {
                    return Err(ProviderError::new(
                        ErrorClass::Invalid,
                        "one read was not answered once",
                    ));
                }
            };
            if outcome != ReadOutcome::Absent || Instant::now() >= end {
                return Ok(outcome);
            }
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    }
}

pub(super) fn operation() -> OperationId {
    OperationId::from_uuid(RandomIds.next())
}

pub(super) fn uid() -> Uid {
    Uid::from_uuid(RandomIds.next())
}
