//! What must hold between log and cloud, whatever happened.

use std::collections::{BTreeMap, BTreeSet};

use gabion_engine::address::Uid;
use gabion_engine::plan::Mode;
use gabion_engine::resource::Configuration;
use gabion_engine::state::State;
use gabion_engine::state::record::Status;
use gabion_engine::state::verify::contradictions;
use gabion_testing::fake::api::{Described, Dump, ObjectStatus};

/// Objects that are there and need not be recorded.
pub(crate) struct Outside<'a> {
    /// Made by nobody's apply, by id.
    pub(crate) foreign: &'a BTreeSet<String>,
    /// Given up on purpose.
    pub(crate) forgotten: &'a BTreeSet<Uid>,
}

impl Outside<'_> {
    fn has(&self, object: &Described) -> bool {
        self.foreign.contains(&object.id) || uid(object).is_some_and(|uid| self.forgotten.contains(&uid))
    }
}

/// What of an object that turns up after it had been given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    /// It may have come since the last run looked; the next one finds it.
    MayCome,
    /// Everything had time to come, and a run looked since.
    Settled,
}

impl Late {
    fn allows(self, state: &State, object: &Described) -> bool {
        self == Self::MayCome && given_up(state, object)
    }
}

/// Returns whether something is there that had been given up.
pub(crate) fn turned_up(state: &State, dump: &Dump) -> bool {
    dump.objects.iter().any(|object| given_up(state, object))
}

fn given_up(state: &State, object: &Described) -> bool {
    uid(object).is_some_and(|uid| {
        let mut tombstones = state.tombstones.values();
        tombstones.any(|tombstone| tombstone.uid == uid)
    })
}

fn uid(object: &Described) -> Option<Uid> {
    object.marks.uid.as_deref()?.parse().ok()
}

/// No object is unknown to the log, no half-made one is called ready, and the log does not contradict itself.
pub(crate) fn known(state: &State, dump: &Dump, outside: &Outside<'_>) -> Result<(), String> {
    if let Some(contradiction) = contradictions(state).into_iter().next() {
        return Err(contradiction);
    }
    for object in dump.objects.iter().filter(|object| !outside.has(object)) {
        let known = uid(object).is_some_and(|uid| {
            let mut tombstones = state.tombstones.values();
            state.record(uid).is_some() || tombstones.any(|tombstone| tombstone.uid == uid)
        });
        if !known {
            return Err(format!("{} is in no record", describe(object)));
        }
    }
    let objects: BTreeMap<&str, &Described> = dump
        .objects
        .iter()
        .map(|object| (object.id.as_str(), object))
        .collect();
    for record in state.records() {
        let (Status::Ready, None, Some(id)) = (record.status, &record.open, &record.id) else {
            continue;
        };
        if let Some(object) = objects.get(id.as_str())
            && object.status != ObjectStatus::Ready
        {
            return Err(format!(
                "`{}` is recorded as ready, and {} is {:?}",
                record.address,
                describe(object),
                object.status
            ));
        }
    }
    Ok(())
}

/// Everything declared is there, once, ready and recorded, and nothing else is.
pub(crate) fn settled(
    state: &State,
    dump: &Dump,
    configuration: &Configuration,
    mode: Mode,
    outside: &Outside<'_>,
    late: Late,
) -> Result<(), String> {
    let declared: BTreeSet<_> = match mode {
        Mode::Apply => configuration
            .resources
            .iter()
            .map(|resource| &resource.address)
            .collect(),
        Mode::Destroy => BTreeSet::new(),
    };
    for record in state.records() {
        if record.deposed || !declared.contains(&record.address) {
            return Err(format!(
                "`{}` ({}) is still recorded, {:?}",
                record.address, record.uid, record.status
            ));
        }
        if record.status != Status::Ready || record.open.is_some() {
            return Err(format!("`{}` is {:?}", record.address, record.status));
        }
    }
    if let Some(missing) = declared
        .into_iter()
        .find(|address| state.current(address).is_none())
    {
        return Err(format!("`{missing}` is not recorded"));
    }
    let mut recorded: BTreeSet<&str> = state
        .records()
        .filter(|record| record.address.resource_type.as_str() != "gabion_data")
        .filter_map(|record| Some(record.id.as_ref()?.as_str()))
        .collect();
    for object in &dump.objects {
        if !recorded.remove(object.id.as_str()) && !outside.has(object) && !late.allows(state, object) {
            return Err(format!("{} is one too many", describe(object)));
        }
    }
    match recorded.first() {
        Some(gone) => Err(format!("`{gone}` is recorded, and is not there")),
        None => Ok(()),
    }
}

fn describe(object: &Described) -> String {
    let address = object.marks.address.as_deref().unwrap_or("unmarked");
    format!("the object {} `{}` ({address})", object.resource_type, object.id)
}
