//! Applying one event to a state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::address::{ObjectId, OperationId, ResourceAddress, RunId, Uid};
use crate::provider::{CallAction, Effect, ObjectState, Observation};
use crate::seldom::Seldom;
use crate::state::chain;
use crate::state::event::{AskedBy, Created, Destination, Event, EventBody, Intent, ObjectMove};
use crate::state::fold::FORMAT_VERSION;
use crate::state::fold::attributes::{accept, adopt};
use crate::state::fold::error::{FoldError, contradiction, same_id};
use crate::state::record::{LastCall, OpenCall, Record, Status, WrittenAt};
use crate::state::snapshot::{LastRun, LastWriter, State, Tombstone};
use crate::value::Attributes;

/// How long a creation that was settled as absent is remembered; later runs look for it for 24 hours.
const TOMBSTONE_LIFE: SignedDuration = SignedDuration::from_hours(48);

impl State {
    /// Applies one event. On an error nothing has changed.
    ///
    /// # Errors
    /// When the event contradicts the state.
    pub fn fold(&mut self, event: &Event) -> Result<(), FoldError> {
        let hash = chain::link(&self.chain, &chain::encode(event));
        self.fold_hashed(event, hash).map(|_| ())
    }

    /// Applies one event whose hash is known, and returns the objects whose records it made, changed or removed.
    ///
    /// # Errors
    /// When the event contradicts the state; nothing has changed then.
    pub fn fold_hashed(&mut self, event: &Event, hash: Arc<str>) -> Result<BTreeSet<Uid>, FoldError> {
        let (state, touched) = self.clone().folded(event, hash)?;
        *self = state;
        Ok(touched)
    }

    /// Returns the state after one event whose hash is known, and the objects whose records it made, changed or removed.
    ///
    /// It changes in place what no other copy of the state shares, so it costs less than
    /// [`fold_hashed`](Self::fold_hashed), which keeps the state before the event until it is certain.
    ///
    /// # Errors
    /// When the event contradicts the state.
    pub fn folded(self, event: &Event, hash: Arc<str>) -> Result<(Self, BTreeSet<Uid>), FoldError> {
        let Some(run) = event.run.or(self.run.0) else {
            return Err(FoldError::Unfit {
                reason: "it does not say which run wrote it, and neither does what comes before",
            });
        };
        let plan = self
            .last_run
            .as_ref()
            .filter(|last| last.run == run)
            .and_then(|last| last.started.plan.clone());
        let mut folding = Folding {
            state: self,
            touched: BTreeSet::new(),
            sequence: event.sequence,
            at: event.at,
            run,
            plan,
        };
        folding.apply(event)?;
        let Folding {
            mut state, touched, ..
        } = folding;
        state.serial = event.sequence;
        state.chain = hash;
        state.run = LastWriter(Some(run));
        Ok((state, touched))
    }
}

/// A state that an event is being applied to.
struct Folding {
    state: State,
    touched: BTreeSet<Uid>,
    sequence: u64,
    at: Timestamp,
    run: RunId,
    /// The digest of the plan whose run wrote the event.
    plan: Option<Arc<str>>,
}

impl Folding {
    fn apply(&mut self, event: &Event) -> Result<(), FoldError> {
        let serial = self.state.serial;
        if event.sequence != serial + 1 {
            return Err(FoldError::Sequence {
                last: serial,
                found: event.sequence,
            });
        }
        match (&event.body, serial) {
            (EventBody::Created(created), 0) => return self.created(created, event.epoch.unwrap_or(0)),
            (EventBody::Created(_), _) => {
                return Err(FoldError::CreatedTwice {
                    sequence: event.sequence,
                });
            }
            (_, 0) => return Err(FoldError::NotCreated),
            _ => {}
        }
        if let Some(to) = &self.state.moved_to
            && !matches!(event.body, EventBody::LogArrived { .. })
        {
            return Err(FoldError::LogMoved { to: to.clone() });
        }
        let current = self.state.epoch;
        let epoch = event.epoch.unwrap_or(current);
        let takes_lease = event.body.takes_lease();
        if epoch < current || (takes_lease == (epoch == current)) {
            return Err(FoldError::Epoch {
                current,
                found: epoch,
            });
        }
        self.state.epoch = epoch;
        self.body(event)
    }

    fn body(&mut self, event: &Event) -> Result<(), FoldError> {
        match &event.body {
            EventBody::Created(_) => Err(FoldError::CreatedTwice {
                sequence: event.sequence,
            }),
            EventBody::LeaseTaken { .. } | EventBody::LeaseReleased => Ok(()),
            EventBody::RunStarted(started) => {
                self.state.last_run = Some(LastRun {
                    run: self.run,
                    started: started.clone(),
                    finished: false,
                });
                self.prune_tombstones(event.at);
                Ok(())
            }
            EventBody::RunFinished { .. } => match &mut self.state.last_run {
                Some(last) if last.run == self.run && !last.finished => {
                    last.finished = true;
                    Ok(())
                }
                _ => Err(FoldError::Unfit {
                    reason: "a run ended that is not the one that started last",
                }),
            },
            EventBody::Intent(intent) => self.intent(intent, self.state.epoch),
            EventBody::Checkpoint {
                operation,
                id,
                private,
            } => self.checkpoint(*operation, id, private),
            EventBody::Succeeded {
                operation,
                state,
                declaration,
            } => {
                let (mut record, open) = self.close(*operation)?;
                match (open.action, state) {
                    (CallAction::Delete, None) => {
                        self.remove(&record);
                        return Ok(());
                    }
                    (CallAction::Delete, Some(_)) => {
                        return Err(contradiction(&record, "a deletion cannot leave an object"));
                    }
                    (_, None) => {
                        return Err(contradiction(
                            &record,
                            "a call succeeded without saying what is there",
                        ));
                    }
                    (CallAction::Create, Some(state)) => {
                        record.made_at = Some(self.at);
                        let prior = record.attributes.clone();
                        adopt(&mut record, state, &open.inputs, &prior)?;
                    }
                    (CallAction::Update, Some(state)) => {
                        record.id = None;
                        let prior = record.attributes.clone();
                        adopt(&mut record, state, &open.inputs, &prior)?;
                    }
                }
                record.inputs = open.inputs;
                if let Some(declaration) = declaration {
                    record.declaration = declaration.clone();
                }
                record.status = Status::Ready;
                if let Some(call) = &mut record.last_call {
                    call.done = true;
                }
                self.put(record);
                Ok(())
            }
            EventBody::Failed { operation, error } => self.failed(*operation, error.effect),
            EventBody::Settled {
                operation,
                observation,
            } => self.settled(*operation, observation, event.at),
            EventBody::TurnedUp {
                operation,
                record,
                state,
            } => self.turned_up(*operation, record, state),
            EventBody::Vanished { uid } => {
                let record = self.idle(*uid)?;
                self.remove(&record);
                Ok(())
            }
            EventBody::DeletedWith { uid, with } => {
                let record = self.idle(*uid)?;
                if uid == with {
                    return Err(contradiction(&record, "an object cannot be deleted with itself"));
                }
                self.remove(&record);
                Ok(())
            }
            EventBody::Moved { moves } => self.moved(moves),
            EventBody::Forgotten { uid } => {
                let record = self.idle(*uid)?;
                self.remove(&record);
                Ok(())
            }
            EventBody::Imported { record } => self.imported(record),
            EventBody::Rebuilt { records, doubted } => {
                for uid in doubted {
                    let mut record = self.get(*uid)?;
                    if record.open.is_none() && record.status == Status::Ready {
                        record.status = Status::Incomplete;
                        self.put(record);
                    }
                }
                records.iter().try_for_each(|record| self.imported(record))
            }
            EventBody::Upgraded { uid, upgrade } => {
                let mut record = self.idle(*uid)?;
                if record.declaration.schema_version != upgrade.from || upgrade.to <= upgrade.from {
                    return Err(contradiction(
                        &record,
                        format!(
                            "its schema version is {}, and it is upgraded from {} to {}",
                            record.declaration.schema_version, upgrade.from, upgrade.to
                        ),
                    ));
                }
                Arc::make_mut(&mut record.declaration).schema_version = upgrade.to;
                record.inputs = upgrade.inputs.clone();
                record.attributes = upgrade.attributes.clone();
                record.private = upgrade.private.clone().into();
                self.put(record);
                Ok(())
            }
            EventBody::Declared { uid, declaration } => {
                let mut record = self.get(*uid)?;
                record.declaration = declaration.clone();
                self.put(record);
                Ok(())
            }
            EventBody::Accepted { uid, attributes } => {
                let mut record = self.idle(*uid)?;
                accept(&mut record, attributes);
                self.put(record);
                Ok(())
            }
            EventBody::Tainted { uid } => {
                let mut record = self.idle(*uid)?;
                if record.status != Status::Ready {
                    return Err(contradiction(&record, "only a ready object can be tainted"));
                }
                record.status = Status::Tainted;
                self.put(record);
                Ok(())
            }
            EventBody::Untainted { uid } => {
                let mut record = self.idle(*uid)?;
                if record.status != Status::Tainted {
                    return Err(contradiction(&record, "it is not tainted"));
                }
                record.status = Status::Ready;
                self.put(record);
                Ok(())
            }
            EventBody::OutputsSet { outputs } => {
                self.state.outputs = outputs.clone();
                Ok(())
            }
            EventBody::LogMoved { to } => {
                self.state.moved_to = Some(to.clone());
                Ok(())
            }
            EventBody::LogArrived { .. } => match self.state.moved_to.take() {
                Some(_) => Ok(()),
                None => Err(FoldError::Unfit {
                    reason: "a log arrived that had not been moved",
                }),
            },
            EventBody::Leaving { uids, to } => self.leaving(uids, to),
            EventBody::Staying { uids } => {
                for uid in uids {
                    if self.state.leaving.remove(uid).is_none() {
                        return Err(contradiction(
                            &self.get(*uid)?,
                            "it is not on its way to another log",
                        ));
                    }
                }
                Ok(())
            }
        }
    }

    fn leaving(&mut self, uids: &[Uid], to: &Destination) -> Result<(), FoldError> {
        for uid in uids {
            let record = self.idle(*uid)?;
            if record.deposed {
                return Err(contradiction(
                    &record,
                    "an object that awaits deletion cannot leave",
                ));
            }
            if self.state.lineage == Some(to.lineage) {
                return Err(contradiction(&record, "it is in that log already"));
            }
            if self.state.leaving.insert(*uid, to.clone()).is_some() {
                return Err(contradiction(&record, "it is on its way to another log already"));
            }
        }
        Ok(())
    }

    fn created(&mut self, created: &Created, epoch: u64) -> Result<(), FoldError> {
        if created.format_version > FORMAT_VERSION {
            return Err(FoldError::NewerFormat {
                found: created.format_version,
                known: FORMAT_VERSION,
            });
        }
        if epoch != 0 {
            return Err(FoldError::Epoch {
                current: 0,
                found: epoch,
            });
        }
        self.state.lineage = Some(created.lineage);
        self.state.project = created.project.clone();
        Ok(())
    }

    fn prune_tombstones(&mut self, now: Timestamp) {
        self.state
            .tombstones
            .retain(|_, tombstone| now.duration_since(tombstone.at) <= TOMBSTONE_LIFE);
    }

    fn intent(&mut self, intent: &Intent, epoch: u64) -> Result<(), FoldError> {
        let operation = intent.operation;
        if self.state.open.contains_key(&operation) || self.state.tombstones.contains_key(&operation) {
            return Err(FoldError::OperationTaken { operation });
        }
        let mut open = OpenCall {
            operation,
            action: intent.action,
            inputs: intent.inputs.clone(),
            before: None,
            deposes: intent.deposes,
            since: self.sequence,
            epoch,
        };
        let last_call = LastCall {
            plan: match &intent.asked_by {
                AskedBy::Run => self.plan.clone(),
                AskedBy::Digest(digest) => digest.clone(),
            },
            step: intent.step,
            action: intent.action,
            done: false,
        };
        if intent.action == CallAction::Create {
            let Some(declaration) = &intent.declaration else {
                return Err(FoldError::Contradiction {
                    address: intent.address.clone(),
                    reason: "a creation says nothing about what the configuration declares".to_owned(),
                });
            };
            self.uid_is_new(intent.uid, &intent.address)?;
            if let Some(deposed) = intent.deposes {
                let mut record = self.idle(deposed)?;
                if record.deposed || record.address != intent.address {
                    return Err(contradiction(
                        &record,
                        format!("it cannot be deposed by an object at `{}`", intent.address),
                    ));
                }
                record.deposed = true;
                self.put(record);
            }
            self.address_is_free(&intent.address)?;
            self.put(Record {
                uid: intent.uid,
                address: intent.address.clone(),
                deposed: false,
                status: Status::Creating,
                id: None,
                inputs: intent.inputs.clone(),
                attributes: Attributes::new(),
                private: Seldom::default(),
                declaration: declaration.clone(),
                open: Some(Box::new(open)),
                created_at: self.sequence,
                made_at: Some(self.at),
                changed_at: self.sequence,
                written_at: WrittenAt(Some(self.at)),
                changed_by: None,
                last_call: Some(last_call),
            });
            return Ok(());
        }
        let mut record = self.idle(intent.uid)?;
        if self.state.leaving.contains_key(&record.uid) {
            return Err(contradiction(
                &record,
                "no call may be made on it while it is on its way to another log",
            ));
        }
        if record.address != intent.address {
            return Err(contradiction(
                &record,
                format!("an intent calls it `{}`", intent.address),
            ));
        }
        if intent.deposes.is_some() {
            return Err(contradiction(&record, "only a creation can depose an object"));
        }
        open.before = Some(record.status);
        if intent.action == CallAction::Delete {
            record.status = Status::Deleting;
            if intent.inputs.is_empty() {
                open.inputs = record.inputs.clone();
            }
        }
        record.open = Some(Box::new(open));
        record.last_call = Some(last_call);
        self.put(record);
        Ok(())
    }

    fn checkpoint(
        &mut self,
        operation: OperationId,
        id: &ObjectId,
        private: &serde_json::Value,
    ) -> Result<(), FoldError> {
        let mut record = self.with_call(operation)?;
        let action = record.open.as_ref().map(|open| open.action);
        if action == Some(CallAction::Delete) {
            return Err(contradiction(&record, "a deletion has no checkpoint"));
        }
        if action == Some(CallAction::Create) {
            same_id(&record, id)?;
            record.made_at = Some(self.at);
        }
        record.id = Some(id.clone());
        record.private = private.clone().into();
        self.put(record);
        Ok(())
    }

    fn failed(&mut self, operation: OperationId, effect: Effect) -> Result<(), FoldError> {
        let checkpointed = self.with_call(operation)?;
        if effect == Effect::Unknown {
            self.put(checkpointed);
            return Ok(());
        }
        let (mut record, open) = self.close(operation)?;
        match (open.action, effect) {
            (CallAction::Create, Effect::None) if record.id.is_none() => {
                self.remove(&record);
                self.undepose(&open, &record.address);
                return Ok(());
            }
            (CallAction::Create, _) if record.id.is_none() => record.open = Some(open),
            (CallAction::Create, _) | (CallAction::Update, Effect::Partial | Effect::Unknown) => {
                record.status = Status::Incomplete;
            }
            (CallAction::Delete, Effect::Partial | Effect::Unknown) => record.status = Status::Deleting,
            (CallAction::Update | CallAction::Delete, Effect::None) => {
                record.status = open.before.unwrap_or(Status::Incomplete);
            }
        }
        self.put(record);
        Ok(())
    }

    fn settled(
        &mut self,
        operation: OperationId,
        observation: &Observation,
        at: Timestamp,
    ) -> Result<(), FoldError> {
        let (mut record, open) = self.close(operation)?;
        match (observation, open.action) {
            (Observation::Unknown { .. }, _) => {
                return Err(contradiction(
                    &record,
                    "an observation that found nothing out settles no call",
                ));
            }
            (Observation::Present(state), action) => {
                if action == CallAction::Create {
                    record.made_at = Some(self.at);
                } else {
                    record.id = None;
                }
                let prior = record.attributes.clone();
                adopt(&mut record, state, &open.inputs, &prior)?;
                record.status = Status::Incomplete;
                self.put(record);
            }
            (Observation::Absent, CallAction::Create) => {
                self.remove(&record);
                self.undepose(&open, &record.address);
                self.state.tombstones.insert(
                    operation,
                    Tombstone {
                        uid: record.uid,
                        address: record.address.clone(),
                        at,
                        record: Some(Arc::new(record)),
                    },
                );
            }
            (Observation::Absent, CallAction::Update | CallAction::Delete) => self.remove(&record),
        }
        Ok(())
    }

    fn turned_up(
        &mut self,
        operation: OperationId,
        buried: &Record,
        state: &ObjectState,
    ) -> Result<(), FoldError> {
        self.state.tombstones.remove(&operation);
        self.uid_is_new(buried.uid, &buried.address)?;
        let mut record = buried.clone();
        let inputs = record.inputs.clone();
        adopt(&mut record, state, &inputs, &Attributes::new())?;
        record.open = None;
        record.status = Status::Incomplete;
        record.made_at = Some(self.at);
        record.deposed = self.state.current.contains_key(&record.address);
        self.put(record);
        Ok(())
    }

    fn imported(&mut self, record: &Record) -> Result<(), FoldError> {
        self.state
            .tombstones
            .retain(|_, tombstone| tombstone.uid != record.uid);
        self.uid_is_new(record.uid, &record.address)?;
        if record.deposed || record.open.is_some() || record.id.is_none() {
            return Err(contradiction(
                record,
                "an imported object has an id, no open call, and is not deposed",
            ));
        }
        if matches!(record.status, Status::Creating | Status::Deleting) {
            return Err(contradiction(record, "an imported object is incomplete or ready"));
        }
        self.address_is_free(&record.address)?;
        let mut record = record.clone();
        record.created_at = self.sequence;
        record.made_at = Some(self.at);
        self.put(record);
        Ok(())
    }

    fn moved(&mut self, moves: &[ObjectMove]) -> Result<(), FoldError> {
        let mut target_of = BTreeMap::new();
        let mut renamed = BTreeMap::new();
        for ObjectMove { uid, from, to } in moves {
            let record = self.get(*uid)?;
            if record.address != *from {
                return Err(contradiction(&record, format!("a move calls it `{from}`")));
            }
            if from.resource_type != to.resource_type {
                return Err(contradiction(
                    &record,
                    format!("it cannot move to `{to}`, which is of another type"),
                ));
            }
            if target_of.insert(*uid, to.clone()).is_some() {
                return Err(contradiction(&record, "it is moved twice at once"));
            }
            if !record.deposed {
                renamed.insert(from.clone(), to.clone());
            }
        }
        // What awaits deletion at an address goes along with the object that has it.
        let deposed: Vec<_> = self
            .state
            .deposed_records()
            .filter(|record| !target_of.contains_key(&record.uid))
            .filter_map(|record| Some((record.uid, renamed.get(&record.address)?.clone())))
            .collect();
        target_of.extend(deposed);

        let mut moving = Vec::new();
        for (uid, to) in target_of {
            let mut record = self.get(uid)?;
            if !record.deposed {
                self.state.current.remove(&record.address);
            }
            record.address = to;
            moving.push(record);
        }
        for record in moving {
            if !record.deposed {
                self.address_is_free(&record.address)?;
            }
            self.put(record);
        }
        for tombstone in self.state.tombstones.values_mut() {
            let to = renamed.get(&tombstone.address);
            if let Some(record) = &mut tombstone.record {
                let record = Arc::make_mut(record);
                record.address = to.unwrap_or(&record.address).clone();
                rename_edges(record, &renamed);
            }
            if let Some(to) = to {
                tombstone.address = to.clone();
            }
        }
        self.rename_dependencies(&renamed);
        for from in renamed.keys() {
            self.state.moved.remove(from);
        }
        self.state
            .moved
            .extend(renamed.into_iter().map(|(from, to)| (to, from)));
        Ok(())
    }

    /// Makes edges follow moved objects. The dependants themselves have not changed, so their serials stay.
    fn rename_dependencies(&mut self, renamed: &BTreeMap<ResourceAddress, ResourceAddress>) {
        let concerned: Vec<Uid> = self
            .state
            .records()
            .filter(|record| {
                let mut dependencies = record.declaration.dependencies.iter();
                dependencies.any(|dependency| renamed.contains_key(&dependency.address))
            })
            .map(|record| record.uid)
            .collect();
        for uid in concerned {
            let Some(record) = self.state.records.get(&uid) else {
                continue;
            };
            let mut record = Record::clone(record);
            rename_edges(&mut record, renamed);
            self.touched.insert(uid);
            self.state.records.insert(uid, Arc::new(record));
        }
    }

    /// Returns a copy of a record.
    fn get(&self, uid: Uid) -> Result<Record, FoldError> {
        self.state
            .record(uid)
            .cloned()
            .ok_or(FoldError::UnknownObject { uid })
    }

    /// Returns a copy of a record that has no open call.
    fn idle(&self, uid: Uid) -> Result<Record, FoldError> {
        let record = self.get(uid)?;
        match &record.open {
            Some(open) => Err(FoldError::CallOpen {
                address: record.address.clone(),
                operation: open.operation,
            }),
            None => Ok(record),
        }
    }

    /// Returns a copy of the record that has an open call.
    fn with_call(&self, operation: OperationId) -> Result<Record, FoldError> {
        self.state
            .open_call(operation)
            .cloned()
            .ok_or(FoldError::UnknownOperation { operation })
    }

    /// Returns a copy of the record that has an open call, and takes the call out of it.
    fn close(&mut self, operation: OperationId) -> Result<(Record, Box<OpenCall>), FoldError> {
        let mut record = self.with_call(operation)?;
        let open = record
            .open
            .take()
            .ok_or(FoldError::UnknownOperation { operation })?;
        self.state.open.remove(&operation);
        Ok((record, open))
    }

    fn uid_is_new(&self, uid: Uid, address: &ResourceAddress) -> Result<(), FoldError> {
        let buried = || {
            let mut tombstones = self.state.tombstones.values();
            tombstones.any(|tombstone| tombstone.uid == uid)
        };
        if self.state.records.contains_key(&uid) || buried() {
            return Err(FoldError::UidTaken {
                uid,
                address: address.clone(),
            });
        }
        Ok(())
    }

    fn address_is_free(&self, address: &ResourceAddress) -> Result<(), FoldError> {
        match self.state.current.get(address) {
            Some(uid) => Err(FoldError::AddressTaken {
                address: address.clone(),
                uid: *uid,
            }),
            None => Ok(()),
        }
    }

    /// Stores a record and keeps the indexes right.
    fn put(&mut self, mut record: Record) {
        let uid = record.uid;
        record.changed_at = self.sequence;
        record.written_at = WrittenAt(Some(self.at));
        record.changed_by = self.plan.clone();
        if !record.deposed {
            // Most have it already.
            if self.state.current.get(&record.address) != Some(&uid) {
                self.state.current.insert(record.address.clone(), uid);
            }
        } else if self.state.current.get(&record.address) == Some(&uid) {
            self.state.current.remove(&record.address);
        }
        if let Some(open) = &record.open {
            self.state.open.insert(open.operation, uid);
        }
        self.touched.insert(uid);
        self.state.records.insert(uid, Arc::new(record));
    }

    fn remove(&mut self, record: &Record) {
        if self.state.current.get(&record.address) == Some(&record.uid) {
            self.state.current.remove(&record.address);
        }
        self.touched.insert(record.uid);
        self.state.leaving.remove(&record.uid);
        self.state.records.remove(&record.uid);
    }

    /// Gives the address back to the object that a creation deposed, if it still exists.
    fn undepose(&mut self, open: &OpenCall, address: &ResourceAddress) {
        let Some(Ok(mut record)) = open.deposes.map(|uid| self.get(uid)) else {
            return;
        };
        record.deposed = false;
        record.address = address.clone();
        self.put(record);
    }
}

fn rename_edges(record: &mut Record, renamed: &BTreeMap<ResourceAddress, ResourceAddress>) {
    let edges = &record.declaration.dependencies;
    if !edges.iter().any(|edge| renamed.contains_key(&edge.address)) {
        return;
    }
    for dependency in &mut Arc::make_mut(&mut record.declaration).dependencies {
        if let Some(to) = renamed.get(&dependency.address) {
            dependency.address = to.clone();
        }
    }
}
