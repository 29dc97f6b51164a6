//! What is in the database, row by row. Every row that is read is checked against its digest.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::address::Uid;
use crate::state::chain::{self, ChainedEvent};
use crate::state::fold::FORMAT_VERSION;
use crate::state::folded::Folded;
use crate::state::record::Record;
use crate::state::snapshot::{Head, State, StateParts};
use crate::state::sqlite::file::DatabaseFile;
use crate::state::sqlite::layout;
use crate::state::store::StoreError;

/// The keys of the parts that a state has beside its records, in table meta.
pub(super) const PARTS: [&str; 5] = ["base", "beside", "head", TABLE, SEALED_WITH];

/// What proves that the records are those of the log, as far as they go.
const TABLE: &str = "table";

/// The id of the key that everything is encrypted with, once nothing else is left in the files.
const SEALED_WITH: &str = "sealed_with";

/// The end of the log: written with every commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct HeadRow {
    /// The format of the log's events.
    #[serde(default = "first_format")]
    format: u32,
    #[serde(flatten)]
    pub(super) head: Head,
    epoch: u64,
}

/// How far the records follow the log, and what proves that they are those that belong there.
///
/// They may be behind: whoever reads folds the events that came after. So a record is written once for all that a run did
/// to it, and not with each of its events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TableRow {
    /// Of the last event that the records have in them.
    #[serde(flatten)]
    head: Head,
    /// Layout 1 had it here.
    #[serde(default, skip_serializing)]
    project: Option<Arc<str>>,
    epoch: u64,
    records: u64,
    /// The exclusive or of all records' digests, in hexadecimal: it changes with any record, whatever their order.
    digest: String,
}

/// A state, and how much of it the records have.
#[derive(Debug, Clone)]
pub(super) struct Written {
    /// The state at the end of the log.
    pub(super) state: State,
    /// The state that the records and what is beside them have.
    pub(super) table: State,
    /// The objects whose records differ between the two.
    pub(super) touched: BTreeSet<Uid>,
}

impl Written {
    /// Of a log that is not written yet, and so is no record of it.
    pub(super) fn new_log(state: State) -> Self {
        Self {
            touched: state.records().map(|record| record.uid).collect(),
            state,
            table: State::default(),
        }
    }

    /// Of a state that the records have whole.
    pub(super) fn whole(state: State) -> Self {
        Self {
            table: state.clone(),
            state,
            touched: BTreeSet::new(),
        }
    }

    /// Takes in events that were written to the log.
    pub(super) fn follow(&mut self, folded: &Folded) {
        self.state = folded.after().clone();
        self.touched.extend(folded.touched());
    }

    /// Returns whether there is so much that the records do not have that whoever reads would wait for it.
    pub(super) fn is_far_behind(&self) -> bool {
        self.state.serial - self.table.serial >= FURTHEST_BEHIND
    }
}

/// By how many events the records are behind the log at most, after a commit. Folding so many takes some 20 ms.
const FURTHEST_BEHIND: u64 = 2048;

/// Layout 1 did not say which format its log has.
fn first_format() -> u32 {
    1
}

impl TableRow {
    /// Returns the sum of all records' digests.
    fn sum(&self, file: &DatabaseFile) -> Result<RecordDigest, StoreError> {
        let mut sum = RecordDigest::default();
        hex::decode_to_slice(&self.digest, &mut sum)
            .map_err(|error| file.unreadable("`table` in table meta", error.to_string()))?;
        Ok(sum)
    }
}

/// What a state has beside its records and its head: written only when it changes.
fn beside(state: &State) -> StateParts {
    StateParts {
        // Every event changes these, and the head has them.
        serial: 0,
        epoch: 0,
        chain: Arc::default(),
        ..state.parts()
    }
}

/// Content as the database keeps it: text that people can read, or a blob once it is encrypted.
pub(super) struct Kept(Vec<u8>);

impl ToSql for Kept {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match std::str::from_utf8(&self.0) {
            Ok(text) => text.into(),
            Err(_) => self.0.as_slice().into(),
        })
    }
}

impl Kept {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes it from a column.
    pub(super) fn of(row: &Row<'_>, column: usize) -> rusqlite::Result<Self> {
        Ok(match row.get_ref(column)? {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Self(bytes.to_vec()),
            other => {
                return Err(rusqlite::Error::InvalidColumnType(
                    column,
                    "content".to_owned(),
                    other.data_type(),
                ));
            }
        })
    }
}

/// A database that is being read or written, with what its errors need.
pub(super) struct Rows<'a> {
    pub(super) connection: &'a Connection,
    pub(super) file: &'a DatabaseFile,
}

type RecordDigest = [u8; 32];

fn record_digest(uid: &str, kept: &Kept) -> RecordDigest {
    let mut hash = Sha256::new();
    hash.update(uid);
    hash.update([0]);
    hash.update(&kept.0);
    hash.finalize().into()
}

fn toggle(sum: &mut RecordDigest, digest: &RecordDigest) {
    for (byte, other) in sum.iter_mut().zip(digest) {
        *byte ^= other;
    }
}

fn meta_digest(key: &str, kept: &Kept) -> String {
    digest_of(key, &kept.0)
}

/// Returns the digest of something that the database keeps under a name.
pub(super) fn digest_of(key: &str, kept: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(key);
    hash.update([0]);
    hash.update(kept);
    hex::encode(&hash.finalize()[..16])
}

/// The place that a record's content is bound to.
pub(super) fn record_place(uid: &str) -> String {
    format!("record {uid}")
}

/// The place that an event's content is bound to.
pub(super) fn event_place(sequence: u64) -> String {
    format!("event {sequence}")
}

impl Rows<'_> {
    pub(super) fn error(&self, what: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
        let file = self.file.clone();
        move |error| file.error(what, error)
    }

    pub(super) fn seal(&self, place: &str, content: &[u8]) -> Kept {
        Kept(self.file.envelope.seal(place, content))
    }

    /// Returns whether content is kept as it would be written now.
    pub(super) fn is_current(&self, kept: &Kept) -> bool {
        self.file.envelope.is_current(&kept.0)
    }

    /// Takes content out; `what` is what an error calls it.
    pub(super) fn open(&self, place: &str, kept: &Kept, what: &str) -> Result<Vec<u8>, StoreError> {
        let opened = self.file.envelope.open(place, &kept.0);
        opened.map_err(|error| StoreError::of_envelope(self.file.location(), what, error))
    }

    /// Returns a part as the database keeps it, unaltered.
    pub(super) fn kept_meta(&self, key: &str) -> Result<Option<Kept>, StoreError> {
        let row = self
            .connection
            .prepare_cached("SELECT value, digest FROM meta WHERE key = ?1")
            .and_then(|mut statement| {
                let found = statement.query_row([key], |row| Ok((Kept::of(row, 0)?, row.get(1)?)));
                found.optional()
            })
            .map_err(self.error("reading"))?;
        let Some((kept, digest)): Option<(Kept, String)> = row else {
            return Ok(None);
        };
        if digest != meta_digest(key, &kept) {
            return Err(self.file.unreadable(
                format!("`{key}` in table meta"),
                "it was altered after it was written",
            ));
        }
        Ok(Some(kept))
    }

    fn meta<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let Some(kept) = self.kept_meta(key)? else {
            return Ok(None);
        };
        let what = format!("`{key}` in table meta");
        let content = self.open(key, &kept, &what)?;
        serde_json::from_slice(&content)
            .map(Some)
            .map_err(|error| self.file.unreadable(what, error.to_string()))
    }

    fn put_meta(&self, key: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let content = serde_json::to_vec(value).expect("a state has only text keys and finite numbers");
        self.put_content(key, &content)
    }

    /// Writes a part.
    pub(super) fn put_content(&self, key: &str, content: &[u8]) -> Result<(), StoreError> {
        let kept = self.seal(key, content);
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO meta (key, value, digest) VALUES (?1, ?2, ?3)")
            .and_then(|mut statement| statement.execute(params![key, kept, meta_digest(key, &kept)]))
            .map_err(self.error("writing"))?;
        Ok(())
    }

    /// Returns what changes when another connection commits something, and only then.
    pub(super) fn data_version(&self) -> Result<i64, StoreError> {
        self.connection
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(self.error("reading"))
    }

    pub(super) fn head(&self) -> Result<HeadRow, StoreError> {
        let head: HeadRow = self
            .meta("head")?
            .ok_or_else(|| self.file.unreadable("`head` in table meta", "it is missing"))?;
        if head.format > FORMAT_VERSION {
            return Err(StoreError::NewerFormat {
                location: self.file.location(),
                found: head.format,
            });
        }
        Ok(head)
    }

    /// Returns the highest lease epoch in the log.
    pub(super) fn head_epoch(&self) -> Result<u64, StoreError> {
        Ok(self.head()?.epoch)
    }

    /// Returns how far the records go.
    fn table(&self) -> Result<TableRow, StoreError> {
        let part = match layout::may_be_behind(self)? {
            true => TABLE,
            // The records had all of the log in them.
            false => "head",
        };
        self.meta(part)?.ok_or_else(|| {
            self.file
                .unreadable(format!("`{part}` in table meta"), "it is missing")
        })
    }

    /// Returns the state at the end of the log, after checking that the records are all there and unaltered.
    pub(super) fn state(&self) -> Result<Written, StoreError> {
        self.state_of(&self.head()?)
    }

    /// Returns the state of this head, which is the one that is there.
    pub(super) fn state_of(&self, head: &HeadRow) -> Result<Written, StoreError> {
        self.check_last_event(&head.head)?;
        let mut written = Written::whole(self.table_state()?);
        while written.state.serial < head.head.sequence {
            let events = self.events(written.state.serial, 1000)?;
            if events.is_empty() {
                break;
            }
            for event in events {
                let sequence = event.event.sequence;
                let folded = written.state.folded(&event.event, event.hash);
                let (state, touched) = folded.map_err(|error| {
                    self.file.unreadable(
                        format!("event {sequence}"),
                        format!("it does not fit what the records have: {error}"),
                    )
                })?;
                written.state = state;
                written.touched.extend(touched);
            }
        }
        if (written.state.serial, &written.state.chain) != (head.head.sequence, &head.head.chain) {
            return Err(self.file.unreadable(
                "table events",
                format!(
                    "with the events after {}, which the records are the result of, it does not come to event {}",
                    written.table.serial, head.head.sequence
                ),
            ));
        }
        Ok(written)
    }

    /// Returns the state as the records have it.
    fn table_state(&self) -> Result<State, StoreError> {
        let table = self.table()?;
        self.check_event(&table.head)?;
        let parts: StateParts = self
            .meta("beside")?
            .ok_or_else(|| self.file.unreadable("`beside` in table meta", "it is missing"))?;
        let parts = StateParts {
            lineage: Some(table.head.lineage),
            project: table.project.unwrap_or(parts.project),
            serial: table.head.sequence,
            chain: table.head.chain,
            epoch: table.epoch,
            ..parts
        };

        let (mut sum, mut count, mut failure) = (RecordDigest::default(), 0, None);
        let mut statement = self
            .connection
            .prepare_cached("SELECT uid, body FROM records ORDER BY uid")
            .map_err(self.error("reading"))?;
        let mut rows = statement.query([]).map_err(self.error("reading"))?;
        // One after another, so that they are in memory only once.
        let mut records = std::iter::from_fn(|| match self.next_record(&mut rows, &mut sum) {
            Ok(record) => {
                count += u64::from(record.is_some());
                record
            }
            Err(error) => {
                failure = Some(error);
                None
            }
        });
        let state = State::from_parts(parts, &mut records);
        if state.is_err() {
            // What was altered is the better reason.
            records.by_ref().for_each(drop);
        }
        if let Some(error) = failure {
            return Err(error);
        }
        if count != table.records {
            return Err(self.file.unreadable(
                "table records",
                format!("it holds {count} records, and the log gave {}", table.records),
            ));
        }
        if hex::encode(sum) != table.digest {
            return Err(self
                .file
                .unreadable("table records", "a record was altered after it was written"));
        }
        state.map_err(|why| self.file.unreadable("table records", why))
    }

    /// Returns the next record, if there is one, and adds its digest to the sum.
    fn next_record(
        &self,
        rows: &mut rusqlite::Rows<'_>,
        sum: &mut RecordDigest,
    ) -> Result<Option<Record>, StoreError> {
        let Some(row) = rows.next().map_err(self.error("reading"))? else {
            return Ok(None);
        };
        let (uid, kept): (String, Kept) = row
            .get(0)
            .and_then(|uid| Ok((uid, Kept::of(row, 1)?)))
            .map_err(self.error("reading"))?;
        toggle(sum, &record_digest(&uid, &kept));
        let what = format!("the record of object {uid}");
        let body = self.open(&record_place(&uid), &kept, &what)?;
        serde_json::from_slice(&body)
            .map(Some)
            .map_err(|error| self.file.unreadable(what, error.to_string()))
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
            None => self.is_base(head)?,
        };
        match kept {
            true => Ok(()),
            false => Err(self.file.unreadable(
                "table events",
                format!(
                    "it does not end with event {}, which the head names",
                    head.sequence
                ),
            )),
        }
    }

    /// Checks that the log has the event up to which the records follow it.
    fn check_event(&self, head: &Head) -> Result<(), StoreError> {
        let (sequence, chain) = self.before(head.sequence)?;
        if (sequence, &chain) == (head.sequence, &head.chain) {
            return Ok(());
        }
        Err(self.file.unreadable(
            "table events",
            format!(
                "it does not have event {}, which the records are the result of",
                head.sequence
            ),
        ))
    }

    fn is_base(&self, head: &Head) -> Result<bool, StoreError> {
        let base = self.base()?.head();
        Ok(base.is_some_and(|base| base.sequence == head.sequence && base.chain == head.chain))
    }

    /// Writes events that follow the end of the log, and the new one, which is returned.
    pub(super) fn put_events<'e>(
        &self,
        events: impl IntoIterator<Item = &'e ChainedEvent>,
        after: &State,
    ) -> Result<HeadRow, StoreError> {
        for event in events {
            self.put_event(event)?;
        }
        let head = after
            .head()
            .ok_or_else(|| self.file.unreadable("the state", "it was never created"))?;
        let row = HeadRow {
            format: FORMAT_VERSION,
            head,
            epoch: after.epoch,
        };
        self.put_meta("head", &row)?;
        Ok(row)
    }

    /// Brings the records, and what is beside them, to the end of the log.
    pub(super) fn put_table(&self, written: &mut Written) -> Result<(), StoreError> {
        let is_new = written.table.serial == 0;
        let mut sum = RecordDigest::default();
        if !is_new {
            let row = self.table()?;
            // Another process may have brought the records further, which it can without an event.
            if row.head.sequence != written.table.serial {
                *written = self.state()?;
            }
            if written.table.serial == written.state.serial {
                return Ok(());
            }
            sum = row.sum(self.file)?;
        }
        let Written {
            state,
            table,
            touched,
        } = written;
        for uid in std::mem::take(touched) {
            let name = uid.to_string();
            // What is not recorded yet has no row.
            if table.record(uid).is_some()
                && let Some(old) = self.take_record(&name)?
            {
                toggle(&mut sum, &old);
            }
            if let Some(record) = state.record(uid) {
                let body =
                    serde_json::to_vec(record).expect("a record has only text keys and finite numbers");
                toggle(&mut sum, &self.put_record(&name, &body)?);
            }
        }
        let now = beside(state);
        if is_new || now != beside(table) {
            self.put_meta("beside", &now)?;
        }
        self.put_table_row(state, &sum)?;
        *table = state.clone();
        Ok(())
    }

    /// Notes that the records are those of a state, which they are. What is beside them is written again.
    pub(super) fn put_parts(&self, state: &State) -> Result<(), StoreError> {
        let sum = self.table()?.sum(self.file)?;
        self.put_meta("beside", &beside(state))?;
        self.put_table_row(state, &sum)
    }

    fn put_table_row(&self, state: &State, sum: &RecordDigest) -> Result<(), StoreError> {
        let head = state
            .head()
            .ok_or_else(|| self.file.unreadable("the state", "it was never created"))?;
        let row = TableRow {
            head,
            project: None,
            epoch: state.epoch,
            records: state.len() as u64,
            digest: hex::encode(sum),
        };
        self.put_meta(TABLE, &row)
    }

    /// Writes a record and returns its digest.
    fn put_record(&self, uid: &str, body: &[u8]) -> Result<RecordDigest, StoreError> {
        let kept = self.seal(&record_place(uid), body);
        let digest = record_digest(uid, &kept);
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO records (uid, body, digest) VALUES (?1, ?2, ?3)")
            .and_then(|mut statement| statement.execute(params![uid, kept, digest]))
            .map_err(self.error("writing"))?;
        Ok(digest)
    }

    /// Writes records that are there again, with the same content.
    pub(super) fn replace_records(&self, records: &[(&str, Vec<u8>)]) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut table = self.table()?;
        let mut sum = table.sum(self.file)?;
        for (uid, body) in records {
            if let Some(old) = self.take_record(uid)? {
                toggle(&mut sum, &old);
            }
            toggle(&mut sum, &self.put_record(uid, body)?);
        }
        table.digest = hex::encode(sum);
        self.put_meta(TABLE, &table)
    }

    /// Removes a record and returns its digest, if it is there.
    fn take_record(&self, uid: &str) -> Result<Option<RecordDigest>, StoreError> {
        self.connection
            .prepare_cached("DELETE FROM records WHERE uid = ?1 RETURNING digest")
            .and_then(|mut statement| statement.query_row([uid], |row| row.get(0)).optional())
            .map_err(self.error("writing"))
    }

    /// Returns the id of the key that everything in the files is encrypted with, if that is so.
    pub(super) fn sealed_with(&self) -> Result<Option<String>, StoreError> {
        self.meta(SEALED_WITH)
    }

    /// Notes that everything in the files is encrypted with the key that encrypts now.
    pub(super) fn put_sealed_with(&self) -> Result<(), StoreError> {
        match self.file.envelope.key_id() {
            Some(key) => self.put_meta(SEALED_WITH, &key),
            None => Ok(()),
        }
    }

    pub(super) fn put_event(&self, event: &ChainedEvent) -> Result<(), StoreError> {
        let sequence = event.event.sequence;
        let kept = self.seal(&event_place(sequence), &event.encoded);
        self.connection
            .prepare_cached("INSERT INTO events (sequence, hash, body) VALUES (?1, ?2, ?3)")
            .and_then(|mut statement| statement.execute(params![sequence, &*event.hash, kept]))
            .map_err(self.error("writing"))?;
        Ok(())
    }

    /// Returns up to `limit` events after the one with the sequence number `after`, whose chain holds.
    pub(super) fn events(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, StoreError> {
        let head = self.head()?.head;
        let (mut sequence, mut chain) = self.before(after)?;
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT sequence, hash, body FROM events WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
            )
            .map_err(self.error("reading"))?;
        let from = i64::try_from(after).unwrap_or(i64::MAX);
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query([from, most]).map_err(self.error("reading"))?;
        let mut events = Vec::new();
        while let Some(row) = rows.next().map_err(self.error("reading"))? {
            let (found, hash, kept): (u64, String, Kept) = row
                .get(0)
                .and_then(|sequence| Ok((sequence, row.get(1)?, Kept::of(row, 2)?)))
                .map_err(self.error("reading"))?;
            let place = event_place(found);
            let encoded = self.open(&place, &kept, &place)?;
            let event = ChainedEvent::read(encoded, hash)
                .map_err(|error| self.file.unreadable(&place, error.to_string()))?;
            chain = chain::verify(sequence, &chain, [&event])
                .map_err(|error| self.file.unreadable("table events", error.to_string()))?;
            sequence = event.event.sequence;
            events.push(event);
        }
        if events.len() < limit && sequence < head.sequence {
            return Err(self.file.unreadable(
                "table events",
                format!("events {} to {} are missing", sequence + 1, head.sequence),
            ));
        }
        Ok(events)
    }

    /// Returns the sequence number and the hash that the first event after that one follows.
    fn before(&self, after: u64) -> Result<(u64, Arc<str>), StoreError> {
        let after_row = i64::try_from(after).unwrap_or(i64::MAX);
        let hash: Option<String> = self
            .connection
            .prepare_cached("SELECT hash FROM events WHERE sequence = ?1")
            .and_then(|mut statement| statement.query_row([after_row], |row| row.get(0)).optional())
            .map_err(self.error("reading"))?;
        match hash {
            Some(hash) => Ok((after, hash.into())),
            None => {
                let base = self.base()?;
                Ok((base.serial.max(after), base.chain))
            }
        }
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
}
