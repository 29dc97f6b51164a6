//! What is in the tables, row by row. What is read is checked before it is believed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, join, join5};
use gabion_engine::address::Uid;
use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::envelope::EnvelopeError;
use gabion_engine::state::map::SharedMap;
use gabion_engine::state::record::Record;
use gabion_engine::state::snapshot::StateParts;
use gabion_engine::state::{FORMAT_VERSION, Head, State, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::postgres::error::Trouble;
use crate::postgres::layout;
use crate::postgres::session::{Parameter, Turn};

pub(super) type Digest = [u8; 32];

/// How many bytes one statement writes at most, unless one piece alone is more.
const STATEMENT_BYTES: usize = 8 << 20;
/// How many pieces one statement writes at most.
const STATEMENT_PIECES: usize = 5000;

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

/// A log as it was when it was last seen: its state, and what tells whether it is still that.
#[derive(Clone)]
pub(super) struct Known {
    id: i64,
    pub(super) state: State,
    /// The digest of each record as it is kept.
    records: SharedMap<Uid, Digest>,
    /// The digest of the parts as they are kept.
    parts: Digest,
    digest: Digest,
    pub(super) seal: Digest,
}

/// What a state has beside its records: written only when it changes.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Beside {
    parts: StateParts,
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
    events: Vec<Piece<i64>>,
    hashes: HashMap<i64, Arc<str>>,
    kept: Vec<Piece<String>>,
    gone: Vec<String>,
    /// The parts, if they changed.
    parts: Option<Vec<u8>>,
}

struct Piece<K> {
    key: K,
    body: Vec<u8>,
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

fn json(content: &impl Serialize) -> Vec<u8> {
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
            .map_err(|error: EnvelopeError| self.damaged(table, row, error.to_string()))
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

    fn log_parameters(&self) -> [(&(dyn ToSql + Sync), Type); 2] {
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

    /// Makes the first row of the log; `false` when there is one already.
    pub(super) async fn put_log(&self, change: &Change) -> Result<bool, Trouble> {
        let row = change.row();
        let parts = change.parts.as_deref().unwrap_or_default();
        let format = i32::try_from(FORMAT_VERSION).unwrap_or(i32::MAX);
        let text = "INSERT INTO {s}.logs
            (project, stack, format, lineage, sequence, chain, epoch, records, digest, parts, seal)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            ON CONFLICT (project, stack) DO NOTHING RETURNING id";
        let [project, stack] = self.log_parameters();
        let made = self
            .rows(
                text,
                &[
                    project,
                    stack,
                    (&format, Type::INT4),
                    (&row.lineage, Type::TEXT),
                    (&column(row.sequence), Type::INT8),
                    (&row.chain, Type::TEXT),
                    (&column(row.epoch), Type::INT8),
                    (&column(row.records), Type::INT8),
                    (&row.digest.as_slice(), Type::BYTEA),
                    (&parts, Type::BYTEA),
                    (&row.seal.as_slice(), Type::BYTEA),
                ],
            )
            .await?;
        let Some(made) = made.first() else {
            return Ok(false);
        };
        let id: i64 = made.try_get(0)?;
        for write in self.event_writes(id, change) {
            write.run(self).await?;
        }
        Ok(true)
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

    /// Keeps a base, and drops the events that led to it.
    pub(super) async fn put_base(&self, row: &LogRow, base: &State) -> Result<(), Trouble> {
        let sequence = column(base.serial);
        let place = place_of(&row.lineage, &format!("base {sequence}"));
        let body = self.log.envelope.seal(&place, &json(base));
        let insert = "INSERT INTO {s}.bases (log, sequence, chain, body) VALUES ($1, $2, $3, $4)
             ON CONFLICT (log) DO UPDATE
             SET sequence = EXCLUDED.sequence, chain = EXCLUDED.chain, body = EXCLUDED.body";
        self.execute(
            insert,
            &[
                (&row.id, Type::INT8),
                (&sequence, Type::INT8),
                (&&*base.chain, Type::TEXT),
                (&body, Type::BYTEA),
            ],
            body.len(),
        )
        .await?;
        self.execute(
            "DELETE FROM {s}.events WHERE log = $1 AND sequence <= $2",
            &[(&row.id, Type::INT8), (&sequence, Type::INT8)],
            0,
        )
        .await?;
        Ok(())
    }

    /// Writes a change and commits it, all in one go. The log must be locked, and be the one that the change is based
    /// on: the server runs the statements in this order, and does not commit when one of them failed.
    pub(super) async fn put(&self, change: &Change) -> Result<(), Trouble> {
        let id = change.known.id;
        let gone = async {
            if change.gone.is_empty() {
                return Ok(());
            }
            self.execute(
                "DELETE FROM {s}.records WHERE log = $1 AND uid = ANY($2)",
                &[(&id, Type::INT8), (&change.gone, Type::TEXT_ARRAY)],
                change.gone.len() * 36,
            )
            .await
            .map(drop)
        };
        let writes: Vec<Write<'_>> = self
            .event_writes(id, change)
            .into_iter()
            .chain(self.record_writes(id, &change.kept))
            .collect();
        let mut statements = vec![gone.boxed_local()];
        statements.extend(writes.iter().map(|write| write.run(self).boxed_local()));
        statements.push(self.put_head(change).boxed_local());
        statements.push(self.commit().boxed_local());
        // The first that failed says why; those after it failed because of it.
        in_order(statements).await.into_iter().collect()
    }

    async fn put_head(&self, change: &Change) -> Result<(), Trouble> {
        let row = change.row();
        let mut text =
            "UPDATE {s}.logs SET sequence = $2, chain = $3, epoch = $4, records = $5, digest = $6, seal = $7"
                .to_owned();
        let (sequence, epoch, records) = (column(row.sequence), column(row.epoch), column(row.records));
        let (digest, seal) = (row.digest.as_slice(), row.seal.as_slice());
        let mut parameters: Vec<Parameter<'_>> = vec![
            (&row.id, Type::INT8),
            (&sequence, Type::INT8),
            (&row.chain, Type::TEXT),
            (&epoch, Type::INT8),
            (&records, Type::INT8),
            (&digest, Type::BYTEA),
            (&seal, Type::BYTEA),
        ];
        let mut size = 0;
        if let Some(parts) = &change.parts {
            text.push_str(", parts = $8");
            parameters.push((parts, Type::BYTEA));
            size = parts.len();
        }
        text.push_str(" WHERE id = $1");
        self.execute(&text, &parameters, size).await.map(drop)
    }

    fn event_writes<'c>(&self, id: i64, change: &'c Change) -> Vec<Write<'c>> {
        batches(&change.events)
            .map(|pieces| Write::Events {
                log: id,
                sequences: pieces.iter().map(|piece| piece.key).collect(),
                hashes: pieces.iter().map(|piece| &*change.hashes[&piece.key]).collect(),
                bodies: pieces.iter().map(|piece| piece.body.as_slice()).collect(),
            })
            .collect()
    }

    fn record_writes<'c>(&self, id: i64, kept: &'c [Piece<String>]) -> Vec<Write<'c>> {
        batches(kept)
            .map(|pieces| Write::Records {
                log: id,
                uids: pieces.iter().map(|piece| piece.key.as_str()).collect(),
                bodies: pieces.iter().map(|piece| piece.body.as_slice()).collect(),
            })
            .collect()
    }
}

/// Runs statements that are sent in this order, all of them before the first answer.
async fn in_order<T>(mut statements: Vec<LocalBoxFuture<'_, T>>) -> Vec<T> {
    let mut answers: Vec<Option<T>> = statements.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (statement, answer) in statements.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let Poll::Ready(answered) = statement.as_mut().poll(context)
            {
                *answer = Some(answered);
            }
        }
        match answers.iter().all(Option::is_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    answers.into_iter().flatten().collect()
}

/// One statement that writes many rows.
enum Write<'a> {
    Events {
        log: i64,
        sequences: Vec<i64>,
        hashes: Vec<&'a str>,
        bodies: Vec<&'a [u8]>,
    },
    Records {
        log: i64,
        uids: Vec<&'a str>,
        bodies: Vec<&'a [u8]>,
    },
}

impl Write<'_> {
    async fn run(&self, turn: &Turn<'_>) -> Result<(), Trouble> {
        let size = |bodies: &[&[u8]]| bodies.iter().map(|body| body.len()).sum();
        match self {
            Self::Events {
                log,
                sequences,
                hashes,
                bodies,
            } => {
                turn.execute(
                    "INSERT INTO {s}.events (log, sequence, hash, body)
                     SELECT $1, * FROM unnest($2, $3, $4)",
                    &[
                        (log, Type::INT8),
                        (sequences, Type::INT8_ARRAY),
                        (hashes, Type::TEXT_ARRAY),
                        (bodies, Type::BYTEA_ARRAY),
                    ],
                    size(bodies),
                )
                .await?;
            }
            Self::Records { log, uids, bodies } => {
                turn.execute(
                    "INSERT INTO {s}.records (log, uid, body) SELECT $1, * FROM unnest($2, $3)
                     ON CONFLICT (log, uid) DO UPDATE SET body = EXCLUDED.body",
                    &[
                        (log, Type::INT8),
                        (uids, Type::TEXT_ARRAY),
                        (bodies, Type::BYTEA_ARRAY),
                    ],
                    size(bodies),
                )
                .await?;
            }
        }
        Ok(())
    }
}

/// Splits pieces into what one statement writes.
fn batches<K>(pieces: &[Piece<K>]) -> impl Iterator<Item = &[Piece<K>]> {
    let mut rest = pieces;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let count = rest
            .iter()
            .take(STATEMENT_PIECES)
            .take_while(|piece| {
                bytes += piece.body.len();
                bytes <= STATEMENT_BYTES
            })
            .count()
            .max(rest.len().min(1));
        let (batch, after) = rest.split_at(count);
        rest = after;
        (!batch.is_empty()).then_some(batch)
    })
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
        let mut hashes = HashMap::with_capacity(events.len());
        let mut pieces = Vec::with_capacity(events.len());
        for event in events {
            let key = column(event.event.sequence);
            let place = place_of(&lineage, &format!("event {key}"));
            pieces.push(Piece {
                key,
                body: envelope.seal(&place, &event.encoded),
            });
            hashes.insert(key, event.hash.clone());
        }
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
                    kept.push(Piece { key, body });
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
            hashes,
            kept,
            gone,
            parts,
        })
    }

    fn row(&self) -> LogRow {
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
