//! History for people: what the log says, who did it, and what the state was then.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::address::{OperationId, ResourceAddress, RunId, Uid};
use crate::provider::{CallAction, Effect, ErrorClass, Observation};
use crate::state::event::{Destination, Event, EventBody};
use crate::state::snapshot::State;
use crate::state::store::{StateStore, StoreError};

/// How many events are read at a time.
pub(super) const PAGE: usize = 1000;

/// One line of history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HistoryEntry {
    /// The serial that the event gave.
    pub serial: u64,
    /// When, by the writer's clock.
    pub at: Timestamp,
    /// The run.
    pub run: RunId,
    /// Who ran it; empty when the log does not say.
    pub who: Arc<str>,
    /// The command; empty when the log does not say.
    pub operation: Arc<str>,
    /// The commit of the configuration, if it was in a git checkout.
    pub commit: Option<Arc<str>>,
    /// The object that it concerns, at the address that it had then.
    pub address: Option<ResourceAddress>,
    /// The object's uid.
    pub uid: Option<Uid>,
    /// What happened: `created (id i-0abc)`, `creation failed: …`.
    pub what: String,
}

/// One run that wrote.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunEntry {
    /// Its identifier.
    pub run: RunId,
    /// Who ran it; empty when the log does not say.
    pub who: Arc<str>,
    /// The command; empty when the log does not say.
    pub operation: Arc<str>,
    /// The commit of the configuration, if it was in a git checkout.
    pub commit: Option<Arc<str>>,
    /// When it wrote first, by its clock.
    pub started: Timestamp,
    /// When it wrote last, by its clock.
    pub ended: Timestamp,
    /// The serial before it.
    pub before: u64,
    /// The serial after it.
    pub after: u64,
    /// How many changes were done, failed, skipped and left uncertain, without those of which there are none; `None` when
    /// it did not end by itself.
    pub summary: Option<BTreeMap<Arc<str>, u64>>,
}

/// Who a run is.
#[derive(Clone, Default)]
struct Author {
    who: Arc<str>,
    operation: Arc<str>,
    commit: Option<Arc<str>>,
}

/// Returns the kept history in order, of one object if an address is given, also under the addresses it had before.
///
/// # Errors
/// When the store cannot be read, or an event does not fit the ones before.
pub async fn history(
    store: &dyn StateStore,
    address: Option<&ResourceAddress>,
) -> Result<Vec<HistoryEntry>, StoreError> {
    let mut entries = Vec::new();
    let mut authors = BTreeMap::new();
    let mut failed = BTreeMap::new();
    let last = walk(store, u64::MAX, |state, run, event| {
        note_author(&mut authors, run, event);
        if let EventBody::Failed { operation, error } = &event.body {
            failed.insert(*operation, error.class);
        }
        for (subject, what) in describe(state, event, &failed) {
            entries.push(HistoryEntry {
                serial: event.sequence,
                at: event.at,
                run,
                who: Arc::default(),
                operation: Arc::default(),
                commit: None,
                address: subject.as_ref().map(|(_, address)| address.clone()),
                uid: subject.map(|(uid, _)| uid),
                what,
            });
        }
    })
    .await?;
    if let Some(address) = address {
        let wanted = last.current(address).map(|record| record.uid);
        entries.retain(|entry| {
            entry.address.as_ref() == Some(address) || (wanted.is_some() && entry.uid == wanted)
        });
    }
    for entry in &mut entries {
        let author: Author = authors.get(&entry.run).cloned().unwrap_or_default();
        (entry.who, entry.operation, entry.commit) = (author.who, author.operation, author.commit);
    }
    Ok(entries)
}

/// Returns the runs that wrote, in order.
///
/// # Errors
/// When the store cannot be read, or an event does not fit the ones before.
pub async fn runs(store: &dyn StateStore) -> Result<Vec<RunEntry>, StoreError> {
    let mut runs: Vec<RunEntry> = Vec::new();
    let mut authors = BTreeMap::new();
    walk(store, u64::MAX, |_, run, event| {
        note_author(&mut authors, run, event);
        if runs.last().is_none_or(|last| last.run != run) {
            runs.push(RunEntry {
                run,
                who: Arc::default(),
                operation: Arc::default(),
                commit: None,
                started: event.at,
                ended: event.at,
                before: event.sequence - 1,
                after: event.sequence,
                summary: None,
            });
        }
        if let Some(last) = runs.last_mut() {
            last.ended = event.at;
            last.after = event.sequence;
            if let EventBody::RunFinished { summary } = &event.body {
                last.summary = Some(summary.clone());
            }
        }
    })
    .await?;
    for run in &mut runs {
        let author: Author = authors.get(&run.run).cloned().unwrap_or_default();
        (run.who, run.operation, run.commit) = (author.who, author.operation, author.commit);
    }
    Ok(runs)
}

/// Returns the state as it was at a serial; `None` when the kept history does not reach back, or forward, so far.
///
/// # Errors
/// When the store cannot be read, or an event does not fit the ones before.
pub async fn state_at(store: &dyn StateStore, serial: u64) -> Result<Option<State>, StoreError> {
    let state = walk(store, serial, |_, _, _| {}).await?;
    Ok((state.serial == serial).then_some(state))
}

/// Folds the kept events up to a serial, showing each with the state before it and the run that wrote it, and returns the
/// state after the last.
pub(super) async fn walk(
    store: &dyn StateStore,
    up_to: u64,
    mut visit: impl FnMut(&State, RunId, &Event) + Send,
) -> Result<State, StoreError> {
    let mut state = store.base().await?;
    loop {
        let page = store.events(state.serial, PAGE).await?;
        if page.is_empty() {
            return Ok(state);
        }
        for event in page {
            if event.event.sequence > up_to {
                return Ok(state);
            }
            // Folding refuses an event of which the run is not known.
            let run = event
                .event
                .run
                .or(state.run.0)
                .unwrap_or_else(|| RunId::from_uuid(Uuid::nil()));
            visit(&state, run, &event.event);
            (state, _) = state.folded(&event.event, event.hash)?;
        }
    }
}

fn note_author(authors: &mut BTreeMap<RunId, Author>, run: RunId, event: &Event) {
    match &event.body {
        EventBody::LeaseTaken { holder } => {
            let author = authors.entry(run).or_default();
            author.who = holder.who.as_str().into();
            author.operation = holder.operation.as_str().into();
        }
        EventBody::RunStarted(started) => {
            let author = authors.entry(run).or_default();
            author.who = started.who.as_str().into();
            author.operation = started.operation.as_str().into();
            author.commit = started.commit.clone();
        }
        _ => {}
    }
}

type Subject = Option<(Uid, ResourceAddress)>;

/// Words an event, given the state before it and how calls have failed: one line, or one per object for moves.
fn describe(
    state: &State,
    event: &Event,
    failed: &BTreeMap<OperationId, ErrorClass>,
) -> Vec<(Subject, String)> {
    let object = |uid: Uid| state.record(uid).map(|record| (uid, record.address.clone()));
    let call = |operation: OperationId| state.open_call(operation).and_then(|record| object(record.uid));
    let action = |operation: OperationId| {
        let open = state.open_call(operation).and_then(|record| record.open.as_ref());
        open.map_or(CallAction::Update, |open| open.action)
    };
    let one = |subject: Subject, what: String| vec![(subject, what)];
    match &event.body {
        EventBody::Created(created) => one(None, format!("state created for project `{}`", created.project)),
        EventBody::LeaseTaken { holder } => one(None, format!("lease taken on {}", holder.host)),
        EventBody::LeaseReleased => one(None, "lease released".to_owned()),
        EventBody::RunStarted(started) => one(
            None,
            match &started.host {
                Some(host) => format!("run started on {host}"),
                None => "run started".to_owned(),
            },
        ),
        EventBody::RunFinished { summary } => {
            let counts: Vec<_> = summary
                .iter()
                .filter(|(_, count)| **count > 0)
                .map(|(name, count)| format!("{count} {name}"))
                .collect();
            let what = match counts.is_empty() {
                true => "run finished: nothing done".to_owned(),
                false => format!("run finished: {}", counts.join(", ")),
            };
            one(None, what)
        }
        EventBody::Intent(intent) => {
            let what = match (intent.action, intent.deposes) {
                (CallAction::Create, Some(_)) => "replacement began: the old object awaits deletion",
                (CallAction::Create, None) => "creation began",
                (CallAction::Update, _) => "update began",
                (CallAction::Delete, _) => "deletion began",
            };
            one(Some((intent.uid, intent.address.clone())), what.to_owned())
        }
        EventBody::Checkpoint { operation, id, .. } => one(call(*operation), format!("has the id {id}")),
        EventBody::Succeeded { operation, state, .. } => {
            let id = state
                .as_ref()
                .map(|state| format!(" (id {})", state.id))
                .unwrap_or_default();
            let done = match action(*operation) {
                CallAction::Create => "created",
                CallAction::Update => "updated",
                CallAction::Delete => "deleted",
            };
            one(call(*operation), format!("{done}{id}"))
        }
        EventBody::Failed { operation, error } => {
            let outcome = match (error.effect, error.class) {
                (Effect::None, _) => "failed, nothing was changed",
                (Effect::Partial, _) => "failed half-way",
                (Effect::Unknown, ErrorClass::NoCapacity) => "found no capacity for what it had made",
                (Effect::Unknown, _) => "has no known outcome",
            };
            let noun = noun(action(*operation));
            one(call(*operation), format!("{noun} {outcome}: {}", error.message))
        }
        EventBody::Settled {
            operation,
            observation,
        } => {
            let found = match observation {
                Observation::Present(state) => format!("found to exist (id {})", state.id),
                Observation::Absent => "found not to exist".to_owned(),
                Observation::Unknown { .. } => "not found out about".to_owned(),
            };
            let call_that = match action(*operation) {
                CallAction::Create => "a creation",
                CallAction::Update => "an update",
                CallAction::Delete => "a deletion",
            };
            let ended = match failed.get(operation) {
                Some(ErrorClass::NoCapacity) => "that found no capacity",
                Some(_) => "that failed",
                None => "without a result",
            };
            one(call(*operation), format!("{found} after {call_that} {ended}"))
        }
        EventBody::TurnedUp { record, state, .. } => one(
            Some((record.uid, record.address.clone())),
            format!("turned up late (id {}); its creation had been given up", state.id),
        ),
        EventBody::Vanished { uid } => one(object(*uid), "found to be gone".to_owned()),
        EventBody::DeletedWith { uid, with } => {
            let with = object(*with).map_or_else(|| with.to_string(), |(_, address)| format!("`{address}`"));
            one(object(*uid), format!("deleted together with {with}"))
        }
        EventBody::Moved { moves } => moves
            .iter()
            .map(|moved| {
                let what = format!("moved from `{}` to `{}`", moved.from, moved.to);
                (Some((moved.uid, moved.to.clone())), what)
            })
            .collect(),
        EventBody::Forgotten { uid } => one(object(*uid), "forgotten; it goes on existing".to_owned()),
        EventBody::Imported { record } => {
            let id = record
                .id
                .as_ref()
                .map(|id| format!(" (id {id})"))
                .unwrap_or_default();
            one(
                Some((record.uid, record.address.clone())),
                format!("imported{id}"),
            )
        }
        EventBody::Rebuilt { records, doubted } => records
            .iter()
            .map(|record| {
                let id = record
                    .id
                    .as_ref()
                    .map_or_else(String::new, |id| format!(" (id {id})"));
                let what = format!("found by its mark{id}, and recorded again");
                (Some((record.uid, record.address.clone())), what)
            })
            .chain(doubted.iter().map(|uid| {
                let what = "to be read again: what happened to it since is lost";
                (object(*uid), what.to_owned())
            }))
            .collect(),
        EventBody::Upgraded { uid, upgrade } => {
            let what = format!("upgraded from schema version {} to {}", upgrade.from, upgrade.to);
            one(object(*uid), what)
        }
        EventBody::Declared { uid, .. } => one(object(*uid), "declared anew, without a call".to_owned()),
        EventBody::Accepted { uid, .. } => one(object(*uid), "accepted as it is in the world".to_owned()),
        EventBody::Tainted { uid } => one(object(*uid), "tainted".to_owned()),
        EventBody::Untainted { uid } => one(object(*uid), "untainted".to_owned()),
        EventBody::OutputsSet { .. } => one(None, "outputs set".to_owned()),
        EventBody::LogMoved { to } => one(None, format!("the state was moved to {to}")),
        EventBody::LogArrived { from } => one(None, format!("the state came here from {from}")),
        EventBody::Leaving { uids, to } => uids
            .iter()
            .map(|uid| (object(*uid), format!("on its way to {}", place(to))))
            .collect(),
        EventBody::Staying { uids } => uids
            .iter()
            .map(|uid| (object(*uid), "stays: the other state did not take it".to_owned()))
            .collect(),
    }
}

fn place(to: &Destination) -> String {
    match &*to.stack {
        "" => "the state without a stack".to_owned(),
        stack => format!("the stack `{stack}`"),
    }
}

fn noun(action: CallAction) -> &'static str {
    match action {
        CallAction::Create => "creation",
        CallAction::Update => "update",
        CallAction::Delete => "deletion",
    }
}
