//! Writing content again under the key that encrypts now, a bounded piece at a time.

use rusqlite::params;

use crate::state::sqlite::rows::{Kept, PARTS, Rows, event_place, record_place};
use crate::state::store::StoreError;

/// How much content one transaction writes again, in pieces and roughly in bytes.
const MOST_PIECES: usize = 500;
const MOST_BYTES: usize = 4 << 20;

/// How far the content was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing was.
    Begun,
    /// The parts, and the records up to this uid.
    Records(String),
    /// All records too, and the events up to this one.
    Events(u64),
    /// Everything was.
    Done,
}

impl Rows<'_> {
    /// Goes on from there; returns how many pieces were written again, and how far that came.
    pub(super) fn reseal(&self, from: Progress) -> Result<(u64, Progress), StoreError> {
        match from {
            Progress::Begun => self.reseal_parts(),
            Progress::Records(after) => self.reseal_records(after),
            Progress::Events(after) => self.reseal_events(after),
            Progress::Done => Ok((0, Progress::Done)),
        }
    }

    fn reseal_parts(&self) -> Result<(u64, Progress), StoreError> {
        let mut pieces = 0;
        for part in PARTS {
            let Some(kept) = self.kept_meta(part)? else {
                continue;
            };
            if !self.is_current(&kept) {
                let content = self.open(part, &kept, part)?;
                self.put_content(part, &content)?;
                pieces += 1;
            }
        }
        Ok((pieces, Progress::Records(String::new())))
    }

    fn reseal_records(&self, mut after: String) -> Result<(u64, Progress), StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT uid, body FROM records WHERE uid > ?1 ORDER BY uid LIMIT ?2")
            .map_err(self.error("reading"))?;
        let mut rows = statement
            .query(params![after, MOST_PIECES])
            .map_err(self.error("reading"))?;
        let (mut seen, mut bytes, mut old) = (0, 0, Vec::new());
        while let Some(row) = rows.next().map_err(self.error("reading"))? {
            let (uid, kept): (String, Kept) = row
                .get(0)
                .and_then(|uid| Ok((uid, Kept::of(row, 1)?)))
                .map_err(self.error("reading"))?;
            seen += 1;
            bytes += kept.len();
            after.clone_from(&uid);
            if !self.is_current(&kept) {
                old.push((uid, kept));
            }
            if bytes > MOST_BYTES {
                seen = MOST_PIECES;
                break;
            }
        }
        drop(rows);
        let contents = old.iter().map(|(uid, kept)| {
            let place = record_place(uid);
            let body = self.open(&place, kept, &place)?;
            Ok((uid.as_str(), body))
        });
        let contents = contents.collect::<Result<Vec<_>, StoreError>>()?;
        self.replace_records(&contents)?;
        let next = match seen {
            MOST_PIECES => Progress::Records(after),
            _ => Progress::Events(0),
        };
        Ok((contents.len() as u64, next))
    }

    fn reseal_events(&self, mut after: u64) -> Result<(u64, Progress), StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT sequence, body FROM events WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
            )
            .map_err(self.error("reading"))?;
        let mut rows = statement
            .query(params![after, MOST_PIECES])
            .map_err(self.error("reading"))?;
        let (mut seen, mut bytes, mut old) = (0, 0, Vec::new());
        while let Some(row) = rows.next().map_err(self.error("reading"))? {
            let (sequence, kept): (u64, Kept) = row
                .get(0)
                .and_then(|sequence| Ok((sequence, Kept::of(row, 1)?)))
                .map_err(self.error("reading"))?;
            seen += 1;
            bytes += kept.len();
            after = sequence;
            if !self.is_current(&kept) {
                old.push((sequence, kept));
            }
            if bytes > MOST_BYTES {
                seen = MOST_PIECES;
                break;
            }
        }
        drop(rows);
        for (sequence, kept) in &old {
            let place = event_place(*sequence);
            let encoded = self.open(&place, kept, &place)?;
            self.connection
                .prepare_cached("UPDATE events SET body = ?2 WHERE sequence = ?1")
                .and_then(|mut statement| statement.execute(params![sequence, self.seal(&place, &encoded)]))
                .map_err(self.error("writing"))?;
        }
        let next = match seen {
            MOST_PIECES => Progress::Events(after),
            _ => Progress::Done,
        };
        Ok((old.len() as u64, next))
    }
}
