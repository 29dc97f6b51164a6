//! A log as it was last seen, and what a few events change of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use gabion_engine::address::Uid;
use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::map::SharedMap;
use gabion_engine::state::snapshot::StateParts;
use gabion_engine::state::{Head, State};
use serde::{Deserialize, Serialize};

use crate::postgres::error::Trouble;
use crate::postgres::rows::{Digest, LogRow, column, json, piece_digest, place_of, row_seal, toggle};
use crate::postgres::session::Turn;
use crate::postgres::writes::{EventPiece, RecordPiece};

/// A log as it was when it was last seen: its state, and what tells whether it is still that.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) id: i64,
    pub(super) state: State,
    /// The digest of each record as it is kept.
    pub(super) records: SharedMap<Uid, Digest>,
    /// The digest of the parts as they are kept.
    pub(super) parts: Digest,
    pub(super) digest: Digest,
    pub(super) seal: Digest,
}

/// What a state has beside its records: written only when it changes.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Beside {
    pub(super) parts: StateParts,
}

impl Beside {
    fn of(state: &State) -> Self {
        let mut parts = state.parts();
        // Every event changes these, and the log's row has them.
        (parts.serial, parts.epoch, parts.chain) = (0, 0, Arc::default());
        Self { parts }
    }
}

/// Events and what they change, ready to be written.
pub(super) struct Change {
    pub(super) known: Known,
    pub(super) head: Head,
    pub(super) events: Vec<EventPiece>,
    pub(super) kept: Vec<RecordPiece>,
    pub(super) gone: Vec<String>,
    /// The parts, if they changed.
    pub(super) parts: Option<Vec<u8>>,
}

impl Known {
    /// Returns whether a log is still as it was.
    pub(super) fn is(&self, row: &LogRow) -> bool {
        self.id == row.id
            && self.seal == row.seal
            && self.state.serial == row.sequence
            && *self.state.chain == row.chain
    }
}

impl Change {
    /// Prepares what leads from one state to another: the events, and the records that they touched.
    pub(super) fn new(
        turn: &Turn<'_>,
        before: Option<&Known>,
        after: State,
        events: &[ChainedEvent],
        touched: &BTreeSet<Uid>,
    ) -> Result<Self, Trouble> {
        let envelope = &turn.log.envelope;
        let head = after
            .head()
            .ok_or_else(|| turn.place().unreadable("the new state", "it has no head"))?;
        let lineage = head.lineage.to_string();
        let pieces = events.iter().map(|event| {
            let sequence = column(event.event.sequence);
            let place = place_of(&lineage, &format!("event {sequence}"));
            EventPiece {
                sequence,
                hash: event.hash.clone(),
                body: envelope.seal(&place, &event.encoded),
            }
        });
        let pieces = pieces.collect();
        let (mut digest, mut records) = match before {
            Some(before) => (before.digest, before.records.clone()),
            None => Default::default(),
        };
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for uid in touched {
            let old = records.get(uid).copied();
            if let Some(old) = &old {
                toggle(&mut digest, old);
            }
            let key = uid.to_string();
            match after.record(*uid) {
                Some(record) => {
                    let place = place_of(&lineage, &format!("record {key}"));
                    let body = envelope.seal(&place, &json(record));
                    let new = piece_digest(&key, &body);
                    toggle(&mut digest, &new);
                    records.insert(*uid, new);
                    kept.push(RecordPiece { uid: key, body });
                }
                None if old.is_some() => {
                    records.remove(uid);
                    gone.push(key);
                }
                // It came and went within these events.
                None => {}
            }
        }
        let beside = Beside::of(&after);
        let parts = match before {
            Some(before) if Beside::of(&before.state) == beside => None,
            _ => Some(envelope.seal(&place_of(&lineage, "parts"), &json(&beside))),
        };
        let mut known = Known {
            id: before.map_or(0, |before| before.id),
            parts: match (&parts, before) {
                (Some(parts), _) => piece_digest("parts", parts),
                (None, Some(before)) => before.parts,
                (None, None) => Digest::default(),
            },
            state: after,
            records,
            digest,
            seal: Digest::default(),
        };
        known.seal = row_seal(&known.row(lineage), &known.parts);
        Ok(Self {
            known,
            head,
            events: pieces,
            kept,
            gone,
            parts,
        })
    }

    pub(super) fn row(&self) -> LogRow {
        self.known.row(self.head.lineage.to_string())
    }
}

impl Known {
    fn row(&self, lineage: String) -> LogRow {
        LogRow {
            id: self.id,
            lineage,
            sequence: self.state.serial,
            chain: self.state.chain.to_string(),
            epoch: self.state.epoch,
            records: self.state.len() as u64,
            digest: self.digest,
            seal: self.seal,
        }
    }
}
