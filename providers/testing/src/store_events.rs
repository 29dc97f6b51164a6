//! Events for tests of the state: short to write, and all the same from run to run.

use std::sync::Arc;

use gabion_engine::address::{Lineage, ObjectId, OperationId, ProviderName, ResourceAddress, RunId, Uid};
use gabion_engine::provider::{CallAction, Effect, ErrorClass, ObjectState, Observation, ProviderError};
use gabion_engine::schema::ReplaceOrder;
use gabion_engine::state::clock::StoppedClock;
use gabion_engine::state::event::{
    AskedBy, Created, Event, EventBody, Holder, Intent, ObjectMove, RunStarted,
};
use gabion_engine::state::record::{Declaration, Record, Status};
use gabion_engine::state::store::CreateRequest;
use gabion_engine::state::{Clock, FORMAT_VERSION};
use gabion_engine::value::{Attributes, Value};
use uuid::Uuid;

/// Returns the uid that tests call by a number.
pub fn uid(number: u64) -> Uid {
    Uid::from_uuid(Uuid::from_u64_pair(1, number))
}

/// Returns the operation id that tests call by a number.
pub fn operation(number: u64) -> OperationId {
    OperationId::from_uuid(Uuid::from_u64_pair(2, number))
}

/// Returns the run that tests call by a number.
pub fn run(number: u64) -> RunId {
    RunId::from_uuid(Uuid::from_u64_pair(3, number))
}

/// Returns the address `gabion_data.NAME`.
///
/// # Panics
/// When it is no name.
pub fn address(name: &str) -> ResourceAddress {
    ResourceAddress::of("gabion_data", name).expect("tests use well-formed names")
}

/// Returns attributes with one entry, `input`.
pub fn input(value: i64) -> Attributes {
    Attributes::from([(Arc::from("input"), Value::Int(value))])
}

/// Returns a declaration that says as little as possible.
pub fn declaration() -> Arc<Declaration> {
    Arc::new(Declaration {
        provider: ProviderName::new("data"),
        schema_version: 1,
        document: None,
        dependencies: Vec::new(),
        lifecycle: Default::default(),
        timeouts: Default::default(),
        replace_order: ReplaceOrder::CreateThenDelete,
        claims: Default::default(),
        pins: Default::default(),
    })
}

/// Returns what a provider says about an object: its id, and `input`.
pub fn object(id: &str, value: i64) -> ObjectState {
    ObjectState {
        id: ObjectId::new(id),
        attributes: input(value),
        private: serde_json::Value::Null,
        unreadable: Vec::new(),
    }
}

/// Returns an error of a call that had this effect.
pub fn error(effect: Effect) -> ProviderError {
    ProviderError::new(ErrorClass::Transient, "The test says so.").with_effect(effect)
}

/// Returns an intent; the operation of uid N's call number M is free to choose.
pub fn intent(action: CallAction, call: u64, object: u64, name: &str, value: i64) -> Intent {
    Intent {
        operation: operation(call),
        action,
        uid: uid(object),
        address: address(name),
        inputs: input(value),
        declaration: (action != CallAction::Delete).then(declaration),
        deposes: None,
        asked_by: AskedBy::Digest(None),
        step: 0,
    }
}

/// Returns the intent to create an object.
pub fn create(call: u64, object: u64, name: &str) -> EventBody {
    EventBody::Intent(intent(CallAction::Create, call, object, name, 1))
}

/// Returns the intent to create an object that deposes another one.
pub fn create_deposing(call: u64, object: u64, name: &str, deposed: u64) -> EventBody {
    let mut intent = intent(CallAction::Create, call, object, name, 1);
    intent.deposes = Some(uid(deposed));
    EventBody::Intent(intent)
}

/// Returns the intent to update an object.
pub fn update(call: u64, object: u64, name: &str, value: i64) -> EventBody {
    EventBody::Intent(intent(CallAction::Update, call, object, name, value))
}

/// Returns the intent to delete an object.
pub fn delete(call: u64, object: u64, name: &str) -> EventBody {
    EventBody::Intent(intent(CallAction::Delete, call, object, name, 1))
}

/// Returns a checkpoint.
pub fn checkpoint(call: u64, id: &str) -> EventBody {
    EventBody::Checkpoint {
        operation: operation(call),
        id: ObjectId::new(id),
        private: serde_json::json!({"step": call}),
    }
}

/// Returns the success of a creation or update.
pub fn succeeded(call: u64, id: &str, value: i64) -> EventBody {
    EventBody::Succeeded {
        operation: operation(call),
        state: Some(object(id, value)),
        declaration: None,
    }
}

/// Returns the success of a deletion.
pub fn deleted(call: u64) -> EventBody {
    EventBody::Succeeded {
        operation: operation(call),
        state: None,
        declaration: None,
    }
}

/// Returns a failure.
pub fn failed(call: u64, effect: Effect) -> EventBody {
    EventBody::Failed {
        operation: operation(call),
        error: error(effect),
    }
}

/// Returns what an observation found; `None` is absent.
pub fn settled(call: u64, found: Option<ObjectState>) -> EventBody {
    EventBody::Settled {
        operation: operation(call),
        observation: found.map_or(Observation::Absent, Observation::Present),
    }
}

/// Returns moves of objects, all at once.
pub fn moved(moves: &[(u64, &str, &str)]) -> EventBody {
    EventBody::Moved {
        moves: moves
            .iter()
            .map(|(object, from, to)| ObjectMove {
                uid: uid(*object),
                from: address(from),
                to: address(to),
            })
            .collect(),
    }
}

/// Returns an import of an object that must still be read.
pub fn imported(object_number: u64, name: &str, id: &str) -> EventBody {
    EventBody::Imported {
        record: Box::new(Record {
            uid: uid(object_number),
            address: address(name),
            deposed: false,
            status: Status::Incomplete,
            id: Some(ObjectId::new(id)),
            inputs: input(1),
            attributes: input(1),
            private: serde_json::Value::Null.into(),
            declaration: declaration(),
            open: None,
            created_at: 0,
            made_at: None,
            changed_at: 0,
            written_at: Default::default(),
            changed_by: None,
            last_call: None,
        }),
    }
}

/// Returns the start of a run.
pub fn run_started() -> EventBody {
    EventBody::RunStarted(RunStarted {
        operation: "apply".to_owned(),
        who: "ada".to_owned(),
        host: None,
        plan: Some("digest".into()),
        commit: None,
    })
}

/// Returns a holder that cannot be looked at from anywhere.
pub fn holder(who: &str) -> Holder {
    Holder {
        who: who.to_owned(),
        host: "elsewhere".to_owned(),
        process: None,
        operation: "apply".to_owned(),
    }
}

/// Returns the request that creates a log.
pub fn creation() -> CreateRequest {
    CreateRequest {
        created: Created {
            format_version: FORMAT_VERSION,
            lineage: Lineage::from_uuid(Uuid::from_u64_pair(4, 1)),
            project: "tests".into(),
        },
        at: StoppedClock::default().now(),
        run: run(1),
    }
}

/// Returns events in a row: the first has the number `from`.
pub fn events(from: u64, epoch: u64, bodies: impl IntoIterator<Item = EventBody>) -> Vec<Event> {
    (from..)
        .zip(bodies)
        .map(|(sequence, body)| Event {
            sequence,
            at: StoppedClock::default().now(),
            run: Some(run(1)),
            epoch: Some(epoch),
            body,
        })
        .collect()
}

/// Returns the event that takes the lease.
pub fn lease_taken() -> EventBody {
    EventBody::LeaseTaken {
        holder: holder("ada"),
    }
}
