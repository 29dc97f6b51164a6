//! What is in the database, row by row. Every row that is read is checked against its digest.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::address::Uid;
use crate::state::chain::ChainedEvent;
use crate::state::record::Record;
use crate::state::snapshot::{Head, State, StateParts};
use crate::state::sqlite::file::DatabaseFile;
use crate::state::store::{LeaseView, StoreError};

/// The head of the log, and what proves that the records are those that belong to it.
#[derive(Serialize, Deserialize)]
pub(super) struct HeadRow {
    #[serde(flatten)]
    pub(super) head: Head,
    project: Arc<str>,
    epoch: u64,
    records: u64,
    /// The exclusive or of all records' digests, in hexadecimal: it changes with any record, whatever their order.
    digest: String,
}

/// What a state has beside its records and its head: written only when it changes.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Beside {
    parts: StateParts,
}

impl Beside {
    fn of(state: &State) -> Self {
        let mut parts = state.parts();
        // Every event changes these, and the head has them.
        (parts.serial, parts.epoch, parts.chain) = (0, 0, Arc::default());
        Self { parts }
    }
}

/// A database that is being read or written, with what its errors need.
pub(super) struct Rows<'a> {
    pub(super) connection: &'a Connection,
    pub(super) file: &'a DatabaseFile,
}

type RecordDigest = [u8; 32];

fn record_digest(uid: &str, body: &str) -> RecordDigest {
    let mut hash = Sha256::new();
    hash.update(uid);
    hash.update([0]);
    hash.update(body);
    hash.finalize().into()
}

fn toggle(sum: &mut RecordDigest, digest: &RecordDigest) {
    for (byte, other) in sum.iter_mut().zip(digest) {
        *byte ^= other;
    }
}

fn meta_digest(key: &str, value: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(key);
    hash.update([0]);
    hash.update(value);
    hex::encode(&hash.finalize()[..16])
}

impl Rows<'_> {
    fn error(&self, what: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
        let file = self.file.clone();
        move |error| file.error(what, error)
    }

    fn meta<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let row = self
            .connection
            .prepare_cached("SELECT value, digest FROM meta WHERE key = ?1")
            .and_then(|mut statement| {
                let found = statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?)));
                found.optional()
            })
            .map_err(self.error("reading"))?;
        let Some((value, digest)): Option<(String, String)> = row else {
            return Ok(None);
        };
        let damaged = |why: String| self.file.unreadable(format!("`{key}` in table meta"), why);
        if digest != meta_digest(key, &value) {
            return Err(damaged("it was altered after it was written".to_owned()));
        }
        serde_json::from_str(&value)
            .map(Some)
            .map_err(|error| damaged(error.to_string()))
    }

    fn put_meta(&self, key: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let value = serde_json::to_string(value).expect("a state has only text keys and finite numbers");
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO meta (key, value, digest) VALUES (?1, ?2, ?3)")
            .and_then(|mut statement| statement.execute(params![key, value, meta_digest(key, &value)]))
            .map_err(self.error("writing"))?;
        Ok(())
    }

    pub(super) fn head(&self) -> Result<HeadRow, StoreError> {
        self.meta("head")?
            .ok_or_else(|| self.file.unreadable("`head` in table meta", "it is missing"))
    }

    /// Returns the highest lease epoch in the log.
    pub(super) fn head_epoch(&self) -> Result<u64, StoreError> {
        Ok(self.head()?.epoch)
    }

    /// Returns the state as the records have it, after checking that they are all there and unaltered.
    pub(super) fn state(&self) -> Result<State, StoreError> {
        let head = self.head()?;
        self.check_last_event(&head.head)?;
        let parts = match self.meta::<Beside>("beside")? {
            Some(beside) => beside.parts,
            None => return Err(self.file.unreadable("`beside` in table meta", "it is missing")),
        };
        let parts = StateParts {
            lineage: Some(head.head.lineage),
            project: head.project,
            serial: head.head.sequence,
            chain: head.head.chain,
            epoch: head.epoch,
            ..parts
        };

        let mut sum = RecordDigest::default();
        let mut records = Vec::new();
        let mut statement = self
            .connection
            .prepare_cached("SELECT uid, body FROM records ORDER BY uid")
            .map_err(self.error("reading"))?;
        let mut rows = statement.query([]).map_err(self.error("reading"))?;
        while let Some(row) = rows.next().map_err(self.error("reading"))? {
            let (uid, body): (String, String) = row
                .get(0)
                .and_then(|uid| Ok((uid, row.get(1)?)))
                .map_err(self.error("reading"))?;
            toggle(&mut sum, &record_digest(&uid, &body));
            let record: Record = serde_json::from_str(&body).map_err(|error| {
                self.file
                    .unreadable(format!("the record of object {uid}"), error.to_string())
            })?;
            records.push(record);
        }
        if records.len() as u64 != head.records {
            return Err(self.file.unreadable(
                "table records",
                format!(
                    "it holds {} records, and the log gave {}",
                    records.len(),
                    head.records
                ),
            ));
        }
        if hex::encode(sum) != head.digest {
            return Err(self
                .file
                .unreadable("table records", "a record was altered after it was written"));
        }
        State::from_parts(parts, records).map_err(|why| self.file.unreadable("table records", why))
    }

    /// Checks that the log ends where the head says.
    fn check_last_event(&self, head: &Head) -> Result<(), StoreError> {
        let last: Option<(u64, String)> = self
            .connection
            .prepare_cached("SELECT sequence, hash FROM events ORDER BY sequence DESC LIMIT 1")
            .and_then(|mut statement| {
                let found = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)));
                found.optional()
            })
            .map_err(self.error("reading"))?;
        let kept = match last {
            Some((sequence, hash)) => sequence == head.sequence && *hash == *head.chain,
            None => self
                .base()?
                .head()
                .is_some_and(|base| base.sequence == head.sequence && base.chain == head.chain),
        };
        if kept {
            return Ok(());
        }
        Err(self.file.unreadable(
            "table events",
            format!(
                "it does not end with event {}, which the records are the result of",
                head.sequence
            ),
        ))
    }

    /// Writes what changed between two states.
    pub(super) fn put_state(
        &self,
        before: &State,
        after: &State,
        touched: &BTreeSet<Uid>,
    ) -> Result<(), StoreError> {
        let mut sum = RecordDigest::default();
        if before.lineage.is_some() {
            let digest = self.head()?.digest;
            hex::decode_to_slice(&digest, &mut sum)
                .map_err(|error| self.file.unreadable("`head` in table meta", error.to_string()))?;
        }
        // All go before any comes: an address may pass from one to another.
        for uid in touched {
            let uid = uid.to_string();
            let old: Option<RecordDigest> = self
                .connection
                .prepare_cached("DELETE FROM records WHERE uid = ?1 RETURNING digest")
                .and_then(|mut statement| statement.query_row([&uid], |row| row.get(0)).optional())
                .map_err(self.error("writing"))?;
            if let Some(old) = old {
                toggle(&mut sum, &old);
            }
        }
        for record in touched.iter().filter_map(|uid| after.record(*uid)) {
            let uid = record.uid.to_string();
            let body = serde_json::to_string(record).expect("a record has only text keys and finite numbers");
            let digest = record_digest(&uid, &body);
            toggle(&mut sum, &digest);
            let status = serde_json::to_value(record.status).expect("a status is a word");
            self.connection
                .prepare_cached(
                    "INSERT INTO records (uid, address, deposed, status, changed_at, body, digest)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )
                .and_then(|mut statement| {
                    statement.execute(params![
                        uid,
                        record.address.to_string(),
                        record.deposed,
                        status.as_str(),
                        record.changed_at,
                        body,
                        digest,
                    ])
                })
                .map_err(self.error("writing"))?;
        }
        let beside = Beside::of(after);
        if before.lineage.is_none() || beside != Beside::of(before) {
            self.put_meta("beside", &beside)?;
        }
        let head = after
            .head()
            .ok_or_else(|| self.file.unreadable("the state", "it was never created"))?;
        self.put_meta(
            "head",
            &HeadRow {
                head,
                project: after.project.clone(),
                epoch: after.epoch,
                records: after.len() as u64,
                digest: hex::encode(sum),
            },
        )
    }

    pub(super) fn put_event(&self, event: &ChainedEvent) -> Result<(), StoreError> {
        let body = std::str::from_utf8(&event.encoded).expect("canonical bytes are JSON");
        self.connection
            .prepare_cached("INSERT INTO events (sequence, hash, body) VALUES (?1, ?2, ?3)")
            .and_then(|mut statement| statement.execute(params![event.event.sequence, &*event.hash, body]))
            .map_err(self.error("writing"))?;
        Ok(())
    }

    pub(super) fn events(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT sequence, hash, body FROM events WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
            )
            .map_err(self.error("reading"))?;
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query([after, limit]).map_err(self.error("reading"))?;
        let mut events = Vec::new();
        while let Some(row) = rows.next().map_err(self.error("reading"))? {
            let (sequence, hash, body): (u64, String, String) = row
                .get(0)
                .and_then(|sequence| Ok((sequence, row.get(1)?, row.get(2)?)))
                .map_err(self.error("reading"))?;
            let event = ChainedEvent::read(body.into_bytes(), hash).map_err(|error| {
                self.file
                    .unreadable(format!("event {sequence}"), error.to_string())
            })?;
            if event.event.sequence != sequence {
                return Err(self.file.unreadable(
                    format!("event {sequence}"),
                    format!("it says that it is event {}", event.event.sequence),
                ));
            }
            events.push(event);
        }
        Ok(events)
    }

    pub(super) fn base(&self) -> Result<State, StoreError> {
        Ok(self.meta("base")?.unwrap_or_default())
    }

    pub(super) fn put_base(&self, base: &State) -> Result<(), StoreError> {
        self.put_meta("base", base)?;
        let serial = i64::try_from(base.serial).unwrap_or(i64::MAX);
        self.connection
            .execute("DELETE FROM events WHERE sequence <= ?1", [serial])
            .map_err(self.error("compacting"))?;
        Ok(())
    }

    /// Returns the highest epoch ever granted, and the lease if somebody holds it.
    pub(super) fn lease(&self) -> Result<(u64, Option<LeaseView>), StoreError> {
        struct Row {
            epoch: u64,
            held: bool,
            holder: String,
            since: String,
            renewed: String,
            beat: u64,
            length_ms: u64,
        }
        let row = self
            .connection
            .prepare_cached("SELECT epoch, held, holder, since, renewed, beat, length_ms FROM lease")
            .and_then(|mut statement| {
                let found = statement.query_row([], |row| {
                    Ok(Row {
                        epoch: row.get(0)?,
                        held: row.get(1)?,
                        holder: row.get(2)?,
                        since: row.get(3)?,
                        renewed: row.get(4)?,
                        beat: row.get(5)?,
                        length_ms: row.get(6)?,
                    })
                });
                found.optional()
            })
            .map_err(self.error("reading the lease"))?;
        let Some(row) = row else {
            return Ok((0, None));
        };
        if !row.held {
            return Ok((row.epoch, None));
        }
        let damaged = |why: String| self.file.unreadable("table lease", why);
        let time = |text: &str| {
            text.parse::<Timestamp>()
                .map_err(|error| damaged(error.to_string()))
        };
        let view = LeaseView {
            epoch: row.epoch,
            holder: serde_json::from_str(&row.holder).map_err(|error| damaged(error.to_string()))?,
            since: time(&row.since)?,
            renewed: time(&row.renewed)?,
            beat: row.beat,
            length: Duration::from_millis(row.length_ms),
        };
        Ok((row.epoch, Some(view)))
    }

    pub(super) fn put_lease(&self, view: &LeaseView) -> Result<(), StoreError> {
        let holder =
            serde_json::to_string(&view.holder).expect("a holder has only text keys and whole numbers");
        let length = u64::try_from(view.length.as_millis()).unwrap_or(u64::MAX >> 1);
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO lease (one, epoch, held, holder, since, renewed, beat, length_ms)
                 VALUES (1, ?1, 1, ?2, ?3, ?4, ?5, ?6)",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    view.epoch,
                    holder,
                    view.since.to_string(),
                    view.renewed.to_string(),
                    view.beat,
                    length,
                ])
            })
            .map_err(self.error("writing the lease"))?;
        Ok(())
    }

    /// Gives the lease back; its epoch is kept.
    pub(super) fn free_lease(&self) -> Result<(), StoreError> {
        self.connection
            .execute("UPDATE lease SET held = 0", [])
            .map_err(self.error("writing the lease"))?;
        Ok(())
    }
}
