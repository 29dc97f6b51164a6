//! What is in the tables, row by row. What is read is checked before it is believed.

use futures_util::future::{join, join5};
use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::map::SharedMap;
use gabion_engine::state::record::Record;
use gabion_engine::state::snapshot::StateParts;
use gabion_engine::state::{FORMAT_VERSION, State, StoreError};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::postgres::change::{Beside, Known};
use crate::postgres::error::Trouble;
use crate::postgres::layout;
use crate::postgres::session::Turn;

pub(super) type Digest = [u8; 32];

/// The row of a log.
#[derive(Clone, Debug)]
pub(super) struct LogRow {
    pub(super) id: i64,
    pub(super) lineage: String,
    pub(super) sequence: u64,
    pub(super) chain: String,
    /// The highest lease epoch in the log.
    pub(super) epoch: u64,
    pub(super) records: u64,
    pub(super) digest: Digest,
    pub(super) seal: Digest,
}

pub(super) fn piece_digest(key: &str, kept: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    hash.update(key);
    hash.update([0]);
    hash.update(kept);
    hash.finalize().into()
}

pub(super) fn toggle(sum: &mut Digest, digest: &Digest) {
    for (byte, other) in sum.iter_mut().zip(digest) {
        *byte ^= other;
    }
}

/// The digest that the row of a log carries of all else that it says.
pub(super) fn row_seal(row: &LogRow, parts: &Digest) -> Digest {
    let mut hash = Sha256::new();
    let LogRow {
        lineage,
        sequence,
        chain,
        epoch,
        records,
        digest,
        ..
    } = row;
    hash.update(format!("{lineage} {sequence} {chain} {epoch} {records} "));
    hash.update(digest);
    hash.update(parts);
    hash.finalize().into()
}

/// Where a piece of content is, for its envelope.
pub(super) fn place_of(lineage: &str, what: &str) -> String {
    format!("{lineage} {what}")
}

pub(super) fn number(column: i64) -> u64 {
    u64::try_from(column).unwrap_or(0)
}

pub(super) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn json(content: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(content).expect("a state has only text keys and finite numbers")
}

const LOG_COLUMNS: &str = "id, format, lineage, sequence, chain, epoch, records, digest, seal";

impl Turn<'_> {
    fn damaged(&self, table: &str, row: &str, why: impl Into<String>) -> Trouble {
        let schema = &self.place().schema;
        let what = match row {
            "" => format!("table {schema}.{table}"),
            row => format!("{row} in table {schema}.{table}"),
        };
        self.place().unreadable(what, why).into()
    }

    pub(super) fn not_found(&self) -> Trouble {
        StoreError::NotFound {
            location: self.place().location.clone(),
        }
        .into()
    }

    pub(super) fn open(
        &self,
        table: &str,
        row: &str,
        lineage: &str,
        kept: &[u8],
    ) -> Result<Vec<u8>, Trouble> {
        self.log
            .envelope
            .open(&place_of(lineage, row), kept)
            .map_err(|error| {
                let what = format!("{row} in table {}.{table}", self.place().schema);
                StoreError::of_envelope(&*self.place().location, what, error).into()
            })
    }

    /// Reads the row of a log out of what a statement with [`LOG_COLUMNS`] gave.
    fn log_row(&self, rows: &[Row]) -> Result<LogRow, Trouble> {
        let row = rows.first().ok_or_else(|| self.not_found())?;
        let format: i32 = row.try_get(1)?;
        if u32::try_from(format).is_ok_and(|format| format > FORMAT_VERSION) {
            return Err(layout::newer(self.place(), format).into());
        }
        let digest = |index| -> Result<Digest, Trouble> {
            let bytes: &[u8] = row.try_get(index)?;
            bytes
                .try_into()
                .map_err(|_| self.damaged("logs", &self.row_name(), "a digest has another length"))
        };
        Ok(LogRow {
            id: row.try_get(0)?,
            lineage: row.try_get(2)?,
            sequence: number(row.try_get(3)?),
            chain: row.try_get(4)?,
            epoch: number(row.try_get(5)?),
            records: number(row.try_get(6)?),
            digest: digest(7)?,
            seal: digest(8)?,
        })
    }

    /// Names the log's own row.
    fn row_name(&self) -> String {
        format!("the row of `{}`", self.log.project)
    }

    pub(super) fn log_parameters(&self) -> [(&(dyn ToSql + Sync), Type); 2] {
        [(&self.log.project, Type::TEXT), (&self.log.stack, Type::TEXT)]
    }

    /// Returns the row of the log.
    pub(super) async fn head(&self) -> Result<LogRow, Trouble> {
        let text = format!("SELECT {LOG_COLUMNS} FROM {{s}}.logs WHERE project = $1 AND stack = $2");
        self.log_row(&self.rows(&text, &self.log_parameters()).await?)
    }

    /// Returns the row of the log, and keeps every other writer out until the transaction ends.
    pub(super) async fn locked_head(&self) -> Result<LogRow, Trouble> {
        let text =
            format!("SELECT {LOG_COLUMNS} FROM {{s}}.logs WHERE project = $1 AND stack = $2 FOR UPDATE");
        self.log_row(&self.rows(&text, &self.log_parameters()).await?)
    }

    /// Reads the whole log and checks that everything is there and unaltered.
    ///
    /// Within a transaction that sees one moment, or keeps writers out; `begun` begins it.
    pub(super) async fn known(
        &self,
        begun: impl Future<Output = Result<(), Trouble>>,
    ) -> Result<Known, Trouble> {
        let parameters = self.log_parameters();
        let (begun, head, last, parts, records) = join5(
            begun,
            self.head(),
            self.last_event(),
            self.rows(
                "SELECT parts FROM {s}.logs WHERE project = $1 AND stack = $2",
                &parameters,
            ),
            self.rows(
                "SELECT uid, body FROM {s}.records WHERE log = {log} ORDER BY uid",
                &parameters,
            ),
        )
        .await;
        begun?;
        let (row, last, parts, rows) = (head?, last?, parts?, records?);
        let parts_kept: &[u8] = match parts.first() {
            Some(parts) => parts.try_get(0)?,
            None => return Err(self.not_found()),
        };
        let parts_digest = piece_digest("parts", parts_kept);
        if row_seal(&row, &parts_digest) != row.seal {
            let why = "it was altered after it was written";
            return Err(self.damaged("logs", &self.row_name(), why));
        }
        if last != Some((row.sequence, row.chain.clone())) {
            let why = format!(
                "it does not end with event {}, which the records are the result of",
                row.sequence
            );
            return Err(self.damaged("events", "", why));
        }
        let beside: Beside = self.decode("logs", "parts", &row.lineage, parts_kept)?;

        let mut digests = SharedMap::default();
        let mut sum = Digest::default();
        let mut records = Vec::with_capacity(rows.len());
        for found in &rows {
            let (uid, kept): (&str, &[u8]) = (found.try_get(0)?, found.try_get(1)?);
            let record: Record = self.decode("records", &format!("record {uid}"), &row.lineage, kept)?;
            if record.uid.to_string() != uid {
                let why = format!("it says that it is that of object {}", record.uid);
                return Err(self.damaged("records", &format!("record {uid}"), why));
            }
            let digest = piece_digest(uid, kept);
            toggle(&mut sum, &digest);
            digests.insert(record.uid, digest);
            records.push(record);
        }
        if records.len() as u64 != row.records {
            let why = format!(
                "it holds {} records, and the log gave {}",
                records.len(),
                row.records
            );
            return Err(self.damaged("records", "", why));
        }
        if sum != row.digest {
            return Err(self.damaged("records", "", "a record was altered after it was written"));
        }
        let parts = StateParts {
            serial: row.sequence,
            chain: row.chain.as_str().into(),
            epoch: row.epoch,
            ..beside.parts
        };
        if parts
            .lineage
            .is_none_or(|lineage| lineage.to_string() != row.lineage)
        {
            return Err(self.damaged("logs", &self.row_name(), "it has two lineages"));
        }
        let state = State::from_parts(parts, records).map_err(|why| self.damaged("records", "", why))?;
        Ok(Known {
            id: row.id,
            state,
            records: digests,
            parts: parts_digest,
            digest: sum,
            seal: row.seal,
        })
    }

    fn decode<T: serde::de::DeserializeOwned>(
        &self,
        table: &str,
        row: &str,
        lineage: &str,
        kept: &[u8],
    ) -> Result<T, Trouble> {
        let content = self.open(table, row, lineage, kept)?;
        serde_json::from_slice(&content).map_err(|error| self.damaged(table, row, error.to_string()))
    }

    /// Returns the number and the hash of the last event: the base's, when compaction dropped all.
    async fn last_event(&self) -> Result<Option<(u64, String)>, Trouble> {
        let parameters = self.log_parameters();
        let (last, base) = join(
            self.rows(
                "SELECT sequence, hash FROM {s}.events WHERE log = {log} ORDER BY sequence DESC LIMIT 1",
                &parameters,
            ),
            self.rows(
                "SELECT sequence, chain FROM {s}.bases WHERE log = {log}",
                &parameters,
            ),
        )
        .await;
        let (last, base) = (last?, base?);
        match last.first().or(base.first()) {
            Some(row) => Ok(Some((number(row.try_get(0)?), row.try_get(1)?))),
            None => Ok(None),
        }
    }

    /// Returns the hash of an event, if it is kept.
    pub(super) async fn event_hash(&self, sequence: u64) -> Result<Option<String>, Trouble> {
        let [project, stack] = self.log_parameters();
        let rows = self
            .rows(
                "SELECT hash FROM {s}.events WHERE log = {log} AND sequence = $3",
                &[project, stack, (&column(sequence), Type::INT8)],
            )
            .await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
    }

    /// Returns up to `limit` events after one.
    pub(super) async fn events(
        &self,
        lineage: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<ChainedEvent>, Trouble> {
        let rows = self.kept_events(after, limit).await?;
        rows.iter().map(|row| self.event(lineage, row)).collect()
    }

    /// Returns the rows of up to `limit` events after one.
    pub(super) async fn kept_events(&self, after: u64, limit: usize) -> Result<Vec<Row>, Trouble> {
        let [project, stack] = self.log_parameters();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.rows(
            "SELECT sequence, hash, body FROM {s}.events WHERE log = {log} AND sequence > $3
             ORDER BY sequence LIMIT $4",
            &[project, stack, (&column(after), Type::INT8), (&limit, Type::INT8)],
        )
        .await
    }

    /// Reads an event out of its row.
    pub(super) fn event(&self, lineage: &str, row: &Row) -> Result<ChainedEvent, Trouble> {
        let sequence = number(row.try_get(0)?);
        let (hash, kept): (&str, &[u8]) = (row.try_get(1)?, row.try_get(2)?);
        let name = format!("event {sequence}");
        let encoded = self.open("events", &name, lineage, kept)?;
        let event = ChainedEvent::read(encoded, hash)
            .map_err(|error| self.damaged("events", &name, error.to_string()))?;
        if event.event.sequence != sequence {
            let why = format!("it says that it is event {}", event.event.sequence);
            return Err(self.damaged("events", &name, why));
        }
        Ok(event)
    }

    /// Returns the serial that the kept history starts from.
    pub(super) async fn base_sequence(&self) -> Result<u64, Trouble> {
        let text = "SELECT sequence FROM {s}.bases WHERE log = {log}";
        let rows = self.rows(text, &self.log_parameters()).await?;
        Ok(number(rows.first().map_or(Ok(0), |row| row.try_get(0))?))
    }

    /// Returns the state that the kept history starts from.
    pub(super) async fn base(&self, lineage: &str) -> Result<State, Trouble> {
        let parameters = self.log_parameters();
        let rows = self
            .rows(
                "SELECT sequence, chain, body FROM {s}.bases WHERE log = {log}",
                &parameters,
            )
            .await?;
        let Some(row) = rows.first() else {
            return Ok(State::default());
        };
        let (sequence, chain): (i64, &str) = (row.try_get(0)?, row.try_get(1)?);
        let name = format!("base {sequence}");
        let base: State = self.decode("bases", &name, lineage, row.try_get(2)?)?;
        if base.serial != number(sequence) || *base.chain != *chain {
            return Err(self.damaged("bases", &name, "it is not the state that its row says"));
        }
        Ok(base)
    }
}
