//! What planning starts from: the records once recovery, losses and moves are taken into account, with what was read.
//!
//! Nothing is decided here. A call without a recorded result is settled by what observing it found, through the same
//! fold that apply's events go through; what cannot be settled is left alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{ObjectId, ResourceAddress, ResourceType, RunId, Uid};
use crate::plan::{Settlement, Unsettled};
use crate::provider::{CallAction, ObjectState, Observation, ProviderError, ProviderRegistry, ReadOutcome};
use crate::state::State;
use crate::state::event::{Event, EventBody, ObjectMove, RecordUpgrade};
use crate::state::record::Record;
use crate::state::snapshot::Tombstone;
use crate::upgrade::record_upgrade;
use crate::value::{Attributes, seal_attributes};
use crate::world::World;

/// The state that planning starts from.
pub(super) struct Known<'a> {
    /// The records, as they will be once apply has recorded what is found below.
    pub(super) state: State,
    /// Calls that recovery found out about.
    pub(super) settlements: Vec<Settlement>,
    /// Calls that it could not.
    pub(super) unsettled: Vec<Unsettled>,
    /// The objects of those calls.
    pub(super) unsettled_objects: BTreeSet<Uid>,
    /// Objects that are proved to be gone, with the records that they had.
    pub(super) vanished: BTreeMap<Uid, Record>,
    /// Objects at whose address nothing was found although it was recorded, by address.
    pub(super) lost: BTreeSet<ResourceAddress>,
    /// Creations that were given up and of which it could not be found out whether their objects turned up, by address,
    /// with the reason.
    pub(super) unheard: Vec<(ResourceAddress, String)>,
    /// Records of an older schema version, in the present one.
    pub(super) upgrades: BTreeMap<Uid, RecordUpgrade>,
    /// Renames.
    pub(super) moves: Vec<ObjectMove>,
    /// The address that each renamed object had.
    previous: BTreeMap<Uid, ResourceAddress>,
    /// What observing found, for objects that were not read again.
    observed: BTreeMap<Uid, ObjectState>,
    /// What depends on each object, by the records.
    dependants: BTreeMap<Uid, Vec<Uid>>,
    world: &'a World,
}

/// What is known of an object in the world.
#[derive(Debug, Clone, Copy)]
pub(super) enum Actual<'a> {
    /// It was read.
    Read(&'a ObjectState),
    /// It was not possible to read it.
    CannotTell(&'a str),
    /// Nobody looked.
    NotRead,
}

impl<'a> Known<'a> {
    /// Settles open calls and drops what vanished.
    pub(super) fn new(state: &State, world: &'a World) -> Result<Self, String> {
        let mut known = Self {
            state: state.clone(),
            settlements: Vec::new(),
            unsettled: Vec::new(),
            unsettled_objects: BTreeSet::new(),
            vanished: BTreeMap::new(),
            lost: BTreeSet::new(),
            unheard: Vec::new(),
            upgrades: BTreeMap::new(),
            moves: Vec::new(),
            previous: BTreeMap::new(),
            observed: BTreeMap::new(),
            dependants: BTreeMap::new(),
            world,
        };
        known.settle(state)?;
        known.drop_vanished()?;
        known.take_late()?;
        known.settlements.sort_by(|a, b| {
            let key = |settlement: &Settlement| (settlement.late, settlement.operation);
            (&a.address, key(a)).cmp(&(&b.address, key(b)))
        });
        known
            .unsettled
            .sort_by(|a, b| (&a.address, a.operation).cmp(&(&b.address, b.operation)));
        Ok(known)
    }

    /// Brings records of an older schema version to the present one. What a call may be changing is left for later.
    ///
    /// # Errors
    /// When a record is newer than its provider, or cannot be upgraded: what to tell people. The inner error is a
    /// contradiction.
    pub(super) fn upgrade(&mut self, providers: &ProviderRegistry) -> Result<Vec<ProviderError>, String> {
        let mut errors = Vec::new();
        let records: Vec<Record> = self
            .state
            .records()
            .filter(|record| {
                let schema = providers.schema(&record.address.resource_type);
                schema.is_some_and(|schema| schema.version != record.declaration.schema_version)
            })
            .cloned()
            .collect();
        for record in records {
            let Some(provider) = providers.provider(&record.address.resource_type) else {
                continue;
            };
            match record_upgrade(&record, &**provider) {
                Ok(Some(upgrade)) if record.open.is_none() => {
                    self.fold(EventBody::Upgraded {
                        uid: record.uid,
                        upgrade: Box::new(upgrade.clone()),
                    })?;
                    self.upgrades.insert(record.uid, upgrade);
                }
                Ok(_) => {}
                Err(error) => errors.push(error),
            }
        }
        Ok(errors)
    }

    /// Renames objects, all at once.
    pub(super) fn rename(&mut self, moves: Vec<ObjectMove>) -> Result<(), String> {
        if !moves.is_empty() {
            self.fold(EventBody::Moved { moves: moves.clone() })?;
            self.previous = moves.iter().map(|m| (m.uid, m.from.clone())).collect();
            self.moves = moves;
        }
        Ok(())
    }

    /// Works out who depends on whom; after this the records do not change any more.
    pub(super) fn index(&mut self) {
        let mut dependants: BTreeMap<Uid, Vec<Uid>> = BTreeMap::new();
        for record in self.state.records() {
            let found: BTreeSet<Uid> = self.dependencies(record).into_iter().collect();
            for dependency in found {
                if dependency != record.uid {
                    dependants.entry(dependency).or_default().push(record.uid);
                }
            }
        }
        self.dependants = dependants;
    }

    /// Returns the objects that an object depends on, by its record.
    ///
    /// A dependency whose object is gone is the one that has the address now.
    pub(super) fn dependencies(&self, record: &Record) -> Vec<Uid> {
        let edges = record.declaration.dependencies.iter();
        edges
            .filter_map(|edge| {
                let by_uid = edge.uid.and_then(|uid| self.state.record(uid));
                by_uid.or_else(|| self.state.current(&edge.address))
            })
            .map(|record| record.uid)
            .collect()
    }

    /// Returns the objects that depend on one, by the records, in order.
    pub(super) fn dependants(&self, uid: Uid) -> &[Uid] {
        self.dependants.get(&uid).map_or(&[], Vec::as_slice)
    }

    /// Returns whether an object turned up after its creation had been given up.
    pub(super) fn turned_up(&self, uid: Uid) -> bool {
        self.settlements
            .iter()
            .any(|settlement| settlement.late && settlement.uid == uid)
    }

    /// Returns the address that an object had before it was moved.
    pub(super) fn previous_address(&self, uid: Uid) -> Option<&ResourceAddress> {
        self.previous.get(&uid)
    }

    /// Returns what is known of an object in the world.
    pub(super) fn actual(&self, uid: Uid) -> Actual<'_> {
        match (self.world.objects.get(&uid), self.observed.get(&uid)) {
            (Some(ReadOutcome::Present(state)), _) | (_, Some(state)) => Actual::Read(state),
            (Some(ReadOutcome::CannotTell { reason }), None) => Actual::CannotTell(reason),
            (Some(ReadOutcome::Absent) | None, None) => Actual::NotRead,
        }
    }

    /// Returns an object's attributes: as read, with what cannot be read as recorded; else as recorded.
    pub(super) fn attributes(&self, record: &Record) -> Attributes {
        match self.actual(record.uid) {
            Actual::Read(state) => merge(state, record),
            _ => record.attributes.clone(),
        }
    }

    fn settle(&mut self, state: &State) -> Result<(), String> {
        for (record, open) in state.open_calls() {
            let reason = match (&self.world.lease, self.world.observations.get(&open.operation)) {
                (Some(holder), _) => format!(
                    "The call is in flight: {} holds the lease on {} for `{}`.",
                    holder.who, holder.host, holder.operation
                ),
                (None, Some(Observation::Unknown { reason })) => reason.clone(),
                (None, None) => "Nobody has looked yet at what became of the call.".to_owned(),
                (None, Some(observation)) => {
                    let observation = seal(observation);
                    self.fold(EventBody::Settled {
                        operation: open.operation,
                        observation: observation.clone(),
                    })?;
                    match &observation {
                        Observation::Present(found) => {
                            self.observed.insert(record.uid, found.clone());
                        }
                        _ if open.action == CallAction::Update => {
                            self.lost.insert(record.address.clone());
                        }
                        _ => {}
                    }
                    self.settlements.push(Settlement {
                        operation: open.operation,
                        uid: record.uid,
                        address: record.address.clone(),
                        action: Some(open.action),
                        observation,
                        late: false,
                    });
                    continue;
                }
            };
            self.unsettled_objects.insert(record.uid);
            self.unsettled.push(Unsettled {
                operation: open.operation,
                address: record.address.clone(),
                reason,
            });
        }
        Ok(())
    }

    /// Takes back objects that turned up after their creation had been settled as absent: one at its address when that is
    /// free, any other as deposed.
    fn take_late(&mut self) -> Result<(), String> {
        let tombstones = self.state.tombstones.clone();
        for (operation, tombstone) in tombstones {
            let (Some(observation), Some(record)) =
                (self.world.observations.get(&operation), &tombstone.record)
            else {
                continue;
            };
            if !tombstone.is_sought(self.world.gathered_at) {
                continue;
            }
            let Tombstone { uid, ref address, .. } = tombstone;
            let address = address.clone();
            let reason = match observation {
                Observation::Absent => continue,
                Observation::Unknown { reason } => {
                    self.unheard.push((address, reason.clone()));
                    continue;
                }
                // A natural key names one object, whoever made it: that is taken over already.
                Observation::Present(found) if self.is_recorded(&address.resource_type, &found.id) => {
                    continue;
                }
                // Both calls may have made one and the same.
                Observation::Present(_) if self.is_held_up(&address) => {
                    "It turned up late, and what became of a later call for its address is not known yet."
                }
                Observation::Present(_) => {
                    let observation = seal(observation);
                    if let Observation::Present(state) = &observation {
                        self.fold(EventBody::TurnedUp {
                            operation,
                            record: Box::new(Record::clone(record)),
                            state: state.clone(),
                        })?;
                        self.observed.insert(uid, state.clone());
                    }
                    self.settlements.push(Settlement {
                        operation,
                        uid,
                        address,
                        action: Some(CallAction::Create),
                        observation,
                        late: true,
                    });
                    continue;
                }
            };
            self.unsettled.push(Unsettled {
                operation,
                address,
                reason: reason.to_owned(),
            });
        }
        Ok(())
    }

    fn is_recorded(&self, resource_type: &ResourceType, id: &ObjectId) -> bool {
        self.state
            .records()
            .any(|record| record.address.resource_type == *resource_type && record.id.as_ref() == Some(id))
    }

    fn is_held_up(&self, address: &ResourceAddress) -> bool {
        let current = self.state.current(address);
        current.is_some_and(|record| self.unsettled_objects.contains(&record.uid))
    }

    fn drop_vanished(&mut self) -> Result<(), String> {
        let gone: Vec<Record> = self
            .state
            .records()
            .filter(|record| record.open.is_none() && !self.observed.contains_key(&record.uid))
            .filter(|record| matches!(self.world.objects.get(&record.uid), Some(ReadOutcome::Absent)))
            .cloned()
            .collect();
        for record in gone {
            self.fold(EventBody::Vanished { uid: record.uid })?;
            if !record.deposed {
                self.lost.insert(record.address.clone());
            }
            self.vanished.insert(record.uid, record);
        }
        Ok(())
    }

    fn fold(&mut self, body: EventBody) -> Result<(), String> {
        let event = Event {
            sequence: self.state.serial + 1,
            at: self.world.gathered_at,
            run: Some(RunId::from_uuid(uuid::Uuid::nil())),
            epoch: None,
            body,
        };
        self.state.fold(&event).map_err(|error| error.to_string())
    }
}

/// Puts the recorded values of attributes that cannot be read in their places.
pub(crate) fn merge(state: &ObjectState, record: &Record) -> Attributes {
    let mut attributes = state.attributes.clone();
    for path in &state.unreadable {
        let recorded = super::path::get(&record.attributes, path);
        if let Some(value) = recorded.or_else(|| super::path::get(&record.inputs, path)) {
            super::path::set(&mut attributes, path, value.clone());
        }
    }
    attributes
}

fn seal(observation: &Observation) -> Observation {
    match observation {
        Observation::Present(state) => Observation::Present(ObjectState {
            attributes: seal_attributes(&state.attributes),
            ..state.clone()
        }),
        other => other.clone(),
    }
}
