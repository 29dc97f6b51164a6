//! Carries a plan out by folding the events that the executor writes.

use std::sync::Arc;

use gabion_engine::address::{ObjectId, OperationId, ResourceAddress, Uid};
use gabion_engine::config::{Reference, Resolved, Target, Template};
use gabion_engine::plan::Plan;
use gabion_engine::plan::change::{Action, Change};
use gabion_engine::plan::step::{Step, StepOperation};
use gabion_engine::provider::{CallAction, ObjectState, Observation};
use gabion_engine::state::event::{AskedBy, EventBody, Intent, RunStarted};
use gabion_engine::state::record::{Declaration, Record, Status};
use gabion_engine::value::{Attributes, Value, seal_attributes};
use uuid::Uuid;

use super::scenario::Scenario;

impl Scenario {
    /// Carries out a whole plan.
    pub(crate) fn carry_out(&mut self, plan: &Plan) {
        self.begin(plan);
        for step in &plan.steps {
            self.carry_out_step(plan, step);
        }
        let outputs = plan.outputs.iter();
        let outputs = outputs.filter_map(|(name, output)| Some((name.clone(), output.after.clone()?)));
        let outputs = self.evaluate(&outputs.collect());
        self.fold(EventBody::OutputsSet { outputs });
    }

    /// Records what comes before the steps.
    pub(crate) fn begin(&mut self, plan: &Plan) {
        self.running = plan.digest();
        self.fold(EventBody::RunStarted(RunStarted {
            operation: "apply".to_owned(),
            who: "ann".to_owned(),
            host: None,
            plan: Some(self.running.clone()),
            commit: None,
        }));
        for settlement in plan.settlements.iter().filter(|settlement| !settlement.late) {
            self.fold(EventBody::Settled {
                operation: settlement.operation,
                observation: settlement.observation.clone(),
            });
            self.world.observations.remove(&settlement.operation);
        }
        for uid in &plan.vanished {
            self.fold(EventBody::Vanished { uid: *uid });
        }
        for settlement in plan.settlements.iter().filter(|settlement| settlement.late) {
            let record = self.state.tombstones[&settlement.operation]
                .record
                .clone()
                .unwrap();
            let Observation::Present(found) = self.world.observations.remove(&settlement.operation).unwrap()
            else {
                panic!("only what is there turns up");
            };
            self.fold(EventBody::TurnedUp {
                operation: settlement.operation,
                record: Box::new(Record::clone(&record)),
                state: found.clone(),
            });
            self.cloud.insert(settlement.uid, found);
        }
        if !plan.moves.is_empty() {
            self.fold(EventBody::Moved {
                moves: plan.moves.clone(),
            });
        }
        for (uid, attributes) in &plan.accepted {
            self.fold(EventBody::Accepted {
                uid: *uid,
                attributes: attributes.clone(),
            });
        }
        for change in &plan.changes {
            self.record_without_call(change);
        }
    }

    fn record_without_call(&mut self, change: &Change) {
        if change.action == Action::Forget {
            self.fold(EventBody::Forgotten {
                uid: change.uid.unwrap(),
            });
            return;
        }
        if let Some(found) = &change.imported {
            let uid = Uid::from_uuid(self.fresh());
            let record = Record {
                uid,
                address: change.address.clone(),
                deposed: false,
                status: Status::Ready,
                id: Some(found.id.clone()),
                inputs: change.inputs.clone().unwrap(),
                attributes: found.attributes.clone(),
                private: found.private.clone().into(),
                declaration: change.declaration.clone().unwrap(),
                open: None,
                created_at: 0,
                made_at: None,
                changed_at: 0,
                written_at: Default::default(),
                changed_by: None,
                last_call: None,
            };
            self.fold(EventBody::Imported {
                record: record.into(),
            });
            self.cloud.insert(uid, (**found).clone());
            self.world.imports.remove(&change.address);
            return;
        }
        if change.only_declares() {
            self.fold(EventBody::Declared {
                uid: change.uid.unwrap(),
                declaration: change.declaration.clone().unwrap(),
            });
        }
    }

    /// Carries out one step.
    pub(crate) fn carry_out_step(&mut self, plan: &Plan, step: &Step) {
        let change = &plan.changes[step.change];
        let (action, uid, deposes) = match step.operation {
            StepOperation::Create { deposes } => (CallAction::Create, Uid::from_uuid(self.fresh()), deposes),
            StepOperation::Update => {
                let uid = change
                    .uid
                    .or_else(|| Some(self.state.current(&change.address)?.uid));
                (CallAction::Update, uid.unwrap(), None)
            }
            StepOperation::Delete { uid } => (CallAction::Delete, uid, None),
            StepOperation::DeleteWith { uid, with } => {
                assert!(
                    self.state.record(with).is_none(),
                    "{} goes before its holder",
                    change.address
                );
                self.fold(EventBody::DeletedWith { uid, with });
                self.cloud.remove(&uid);
                return;
            }
            StepOperation::Check => return,
        };
        let deleting = action == CallAction::Delete;
        let inputs = match &change.inputs {
            Some(inputs) if !deleting => self.evaluate(inputs),
            _ => self.state.record(uid).unwrap().inputs.clone(),
        };
        let operation = OperationId::from_uuid(self.fresh());
        let declaration = change.declaration.clone().filter(|_| !deleting);
        let declaration = declaration.map(|declaration| self.with_uids(declaration));
        self.fold(EventBody::Intent(Intent {
            operation,
            action,
            uid,
            address: change.address.clone(),
            inputs: seal_attributes(&inputs),
            declaration: declaration.clone(),
            deposes,
            asked_by: AskedBy::Digest(Some(self.running.clone())),
            step: step.id.0,
        }));
        let state = if deleting {
            self.strictly_delete(uid, &change.address);
            None
        } else {
            let mut object = self.make(uid, &change.address, &inputs);
            if let Some(before) = self.cloud.get(&uid) {
                object.id = before.id.clone();
                object.attributes.insert("id".into(), before.id.as_str().into());
            }
            self.cloud.insert(uid, object.clone());
            Some(object)
        };
        self.fold(EventBody::Succeeded {
            operation,
            state,
            declaration,
        });
    }

    /// As a real cloud does, refuses to delete what another object still refers to.
    fn strictly_delete(&mut self, uid: Uid, at: &ResourceAddress) {
        let id = self.cloud.get(&uid).map(|object| object.id.as_str().to_owned());
        if let Some(id) = id {
            let users = self.cloud.iter().filter(|(other, object)| {
                **other != uid && object.attributes.get("input").and_then(Value::as_str) == Some(&*id)
            });
            let users: Vec<_> = users.map(|(other, _)| other).collect();
            assert!(users.is_empty(), "{at} is deleted while {users:?} use it");
        }
        self.cloud.remove(&uid);
        let held: Vec<Uid> = self
            .cloud
            .iter()
            .filter(|(_, object)| {
                object.attributes.get("holder").and_then(Value::as_str)
                    == Some(&*format!("id-{}", uid.as_uuid().as_u64_pair().1))
            })
            .map(|(held, _)| *held)
            .collect();
        for held in held {
            self.cloud.remove(&held);
        }
    }

    /// What the toy cloud makes of inputs.
    pub(crate) fn make(&self, uid: Uid, at: &ResourceAddress, inputs: &Attributes) -> ObjectState {
        let mut attributes = inputs.clone();
        attributes.retain(|_, value| !value.is_null());
        let id = format!("id-{}", uid.as_uuid().as_u64_pair().1);
        let mut computed = |name: &str, value: Value| {
            attributes.get_or_insert_with(&Arc::from(name), || value);
        };
        computed("size", Value::Int(1));
        computed("id", id.as_str().into());
        computed("zone", format!("zone-of-{}", at.name).into());
        if let Some(input) = inputs.get("input") {
            computed("output", input.clone());
        }
        ObjectState {
            id: ObjectId::new(id),
            attributes: seal_attributes(&attributes),
            private: serde_json::Value::Null,
            unreadable: Vec::new(),
        }
    }

    /// Fills templates with what is recorded now.
    fn evaluate(&self, inputs: &Attributes) -> Attributes {
        let scope = |reference: &Reference| match &reference.target {
            Target::Resource(at) => {
                let Some(record) = self.state.current(at) else {
                    return Resolved::Missing;
                };
                match Value::Map(record.attributes.clone()).at(&reference.path) {
                    Some(value) => Resolved::Known(value.clone()),
                    None => Resolved::Known(Value::Null),
                }
            }
            other => Resolved::Known(
                self.environment
                    .get(&other.to_string())
                    .map_or(Value::Null, |v| v.as_str().into()),
            ),
        };
        let filled = Value::Map(inputs.clone()).map_leaves(&mut |leaf| match leaf {
            Value::Unknown(unknown) => {
                let template = unknown
                    .template
                    .as_ref()
                    .expect("an input is known or has a template");
                template
                    .as_str()
                    .parse::<Template>()
                    .unwrap()
                    .evaluate(&scope)
                    .unwrap()
            }
            other => other.clone(),
        });
        match filled {
            Value::Map(filled) => filled,
            _ => unreachable!("a map stays a map"),
        }
    }

    fn with_uids(&self, mut declaration: Arc<Declaration>) -> Arc<Declaration> {
        for dependency in &mut Arc::make_mut(&mut declaration).dependencies {
            dependency.uid = self.state.current(&dependency.address).map(|record| record.uid);
        }
        declaration
    }

    fn fresh(&mut self) -> Uuid {
        self.made += 1;
        Uuid::from_u64_pair(1, self.made)
    }
}
