//! Rebuilding a state whose log is lost, or lost its end: records are made again for the objects that carry the
//! project's mark, and appended to what is left of the log, or to a new one of the same lineage.
//!
//! Nothing is deleted and nothing created by it. What a mark does not tell (what the configuration once said about the
//! object) is not known any more: such a record is incomplete, so that the object is read before it is relied on.

use std::sync::Arc;

use jiff::Timestamp;

use crate::address::{Lineage, ProviderName, RunId, Uid};
use crate::provider::ListedObject;
use crate::state::chain::ChainedEvent;
use crate::state::copy::{CopyError, LogCopy};
use crate::state::event::{Created, Event, EventBody, Holder, RunStarted, Writer};
use crate::state::fingerprint::{FingerprintKey, seal_event};
use crate::state::fold::FORMAT_VERSION;
use crate::state::record::Record;
use crate::value::AttributePath;

/// How many records one event carries at most.
const LARGEST_EVENT: usize = 100;

/// What a rebuild would record, to be shown to people before.
#[derive(Debug, Clone, PartialEq)]
pub struct Rebuild {
    /// The lineage on the marks that were looked for.
    pub lineage: Lineage,
    /// Objects that carry the mark and are in no readable record, sorted by address; each gets a record.
    pub found: Vec<FoundObject>,
    /// Objects that the readable part of the log records; they must be read again, because what happened to them since
    /// is not known.
    pub doubted: Vec<Uid>,
    /// Objects of the readable part that are proved to be gone and whose address a found object has.
    pub gone: Vec<Uid>,
    /// Objects that carry the mark and get no record, each with the reason.
    pub left: Vec<LeftObject>,
    /// Providers that could not be asked, or not everywhere, sorted: what they manage may be missing.
    pub unasked: Vec<UnaskedProvider>,
}

/// An object that was found by its mark.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundObject {
    /// The record that it gets: incomplete, with the uid and address of its mark.
    pub record: Record,
    /// What the configuration may set and the world does not tell, sorted.
    pub unknown: Vec<AttributePath>,
    /// Why it could not be read, as a sentence; only its mark is known then.
    pub unread: Option<String>,
}

/// An object that carries the mark and gets no record.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftObject {
    /// The object.
    pub object: ListedObject,
    /// Why, as a sentence.
    pub why: String,
}

/// A provider that could not be asked for what carries the mark.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnaskedProvider {
    /// The provider.
    pub provider: ProviderName,
    /// Where it could not be asked; `None` when it could not be asked at all.
    pub part: Option<String>,
    /// Why, as a sentence.
    pub why: String,
}

/// On whose behalf a log is rebuilt.
#[derive(Debug, Clone)]
pub struct Rebuilder {
    /// The project's name, for a log that begins anew.
    pub project: Arc<str>,
    /// Who rebuilds it.
    pub holder: Holder,
    /// The run.
    pub run: RunId,
    /// When.
    pub at: Timestamp,
    /// The highest lease epoch that is known to have been granted, 0 when none is.
    pub epoch: u64,
    /// The key that secrets are fingerprinted with.
    pub key: Option<Arc<FingerprintKey>>,
}

/// Returns the events that record what was found, to follow the readable part of the log.
pub fn events(rebuild: &Rebuild) -> Vec<EventBody> {
    let mut events: Vec<EventBody> = Vec::new();
    events.extend(rebuild.gone.iter().map(|uid| EventBody::Vanished { uid: *uid }));
    events.extend(
        rebuild
            .doubted
            .chunks(LARGEST_EVENT)
            .map(|doubted| EventBody::Rebuilt {
                records: Vec::new(),
                doubted: doubted.to_vec(),
            }),
    );
    events.extend(
        rebuild
            .found
            .chunks(LARGEST_EVENT)
            .map(|found| EventBody::Rebuilt {
                records: found.iter().map(|found| found.record.clone()).collect(),
                doubted: Vec::new(),
            }),
    );
    events
}

/// Returns the whole rebuilt log, for a store to [adopt](crate::state::StateStore::adopt): what is readable of the old
/// one, or a beginning of the same lineage, and what was found.
///
/// Programs and agents on machines refuse epochs that are older than those they have seen, and how far the lost log had
/// come is not known. So the new epoch is also above the time in seconds, faster than which no project takes leases.
///
/// # Errors
/// When what was found does not fit the readable part.
pub fn log(
    rebuild: &Rebuild,
    readable: Option<&LogCopy>,
    rebuilder: &Rebuilder,
) -> Result<LogCopy, CopyError> {
    let (base, mut log, mut before, known) = match readable {
        Some(log) => (
            log.base().clone(),
            log.events().to_vec(),
            log.state().clone(),
            log.epoch(),
        ),
        None => Default::default(),
    };
    let seconds = u64::try_from(rebuilder.at.as_second()).unwrap_or(0);
    let epoch = known.max(rebuilder.epoch).max(seconds) + 1;
    let mut bodies = Vec::new();
    if before.lineage.is_none() {
        bodies.push(EventBody::Created(Created {
            format_version: FORMAT_VERSION,
            lineage: rebuild.lineage,
            project: rebuilder.project.clone(),
        }));
    }
    bodies.push(EventBody::RunStarted(RunStarted {
        operation: rebuilder.holder.operation.clone(),
        who: rebuilder.holder.who.clone(),
        host: Some(rebuilder.holder.host.as_str().into()),
        plan: None,
        commit: None,
    }));
    bodies.extend(events(rebuild));
    bodies.push(EventBody::RunFinished {
        summary: [
            ("found", rebuild.found.len()),
            ("doubted", rebuild.doubted.len()),
            ("gone", rebuild.gone.len()),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.into(), count as u64))
        .collect(),
    });
    for body in bodies {
        let writer = Writer {
            run: rebuilder.run,
            epoch: match body {
                EventBody::Created(_) => 0,
                _ => epoch,
            },
        };
        let body = seal_event(body, rebuilder.key.as_deref());
        let event = Event::after(&before, writer, rebuilder.at, body);
        let event = ChainedEvent::new(&before.chain, event);
        before
            .fold_hashed(&event.event, event.hash.clone())
            .map_err(|why| CopyError::Fold {
                sequence: event.event.sequence,
                why,
            })?;
        log.push(event);
    }
    LogCopy::new(base, log, epoch)
}
