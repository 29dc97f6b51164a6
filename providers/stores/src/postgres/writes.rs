//! Writing rows: many with one statement, and all of an append before the first answer.

use std::sync::Arc;
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use gabion_engine::state::{FORMAT_VERSION, State};
use tokio_postgres::types::Type;

use crate::postgres::change::Change;
use crate::postgres::error::Trouble;
use crate::postgres::rows::{LogRow, column, json, place_of};
use crate::postgres::session::{Parameter, Turn};

/// The format that logs are written in.
const FORMAT: i32 = FORMAT_VERSION.cast_signed();
/// How many bytes one statement writes at most, unless one piece alone is more.
const STATEMENT_BYTES: usize = 8 << 20;
/// How many pieces one statement writes at most.
const STATEMENT_PIECES: usize = 5000;

impl Turn<'_> {
    /// Makes the first row of the log; `false` when there is one already.
    pub(super) async fn put_log(&self, change: &Change) -> Result<bool, Trouble> {
        let row = change.row();
        let parts = change.parts.as_deref().unwrap_or_default();
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
                    (&FORMAT, Type::INT4),
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
        self.put_content(made.try_get(0)?, change).await?;
        Ok(true)
    }

    /// Puts another log in the place of one, which must be locked.
    pub(super) async fn replace_log(&self, log: &LogRow, change: &Change) -> Result<(), Trouble> {
        for table in ["events", "records", "bases"] {
            let delete = format!("DELETE FROM {{s}}.{table} WHERE log = $1");
            self.execute(&delete, &[(&log.id, Type::INT8)], 0).await?;
        }
        self.put_content(log.id, change).await?;
        let lineage = change.head.lineage.to_string();
        self.execute(
            "UPDATE {s}.logs SET lineage = $2 WHERE id = $1",
            &[(&log.id, Type::INT8), (&lineage, Type::TEXT)],
            0,
        )
        .await?;
        self.put_head(log.id, change).await
    }

    async fn put_content(&self, id: i64, change: &Change) -> Result<(), Trouble> {
        for write in event_writes(id, &change.events).chain(record_writes(id, &change.kept)) {
            write.run(self).await?;
        }
        Ok(())
    }

    /// Keeps a base, and drops the events that led to it.
    pub(super) async fn put_base(&self, lineage: &str, log: i64, base: &State) -> Result<(), Trouble> {
        let sequence = column(base.serial);
        let place = place_of(lineage, &format!("base {sequence}"));
        let body = self.log.envelope.seal(&place, &json(base));
        let insert = "INSERT INTO {s}.bases (log, sequence, chain, body) VALUES ($1, $2, $3, $4)
             ON CONFLICT (log) DO UPDATE
             SET sequence = EXCLUDED.sequence, chain = EXCLUDED.chain, body = EXCLUDED.body";
        self.execute(
            insert,
            &[
                (&log, Type::INT8),
                (&sequence, Type::INT8),
                (&&*base.chain, Type::TEXT),
                (&body, Type::BYTEA),
            ],
            body.len(),
        )
        .await?;
        self.execute(
            "DELETE FROM {s}.events WHERE log = $1 AND sequence <= $2",
            &[(&log, Type::INT8), (&sequence, Type::INT8)],
            0,
        )
        .await?;
        // The base is written in the present format, whatever the events are in.
        self.execute(
            "UPDATE {s}.logs SET format = $2 WHERE id = $1",
            &[(&log, Type::INT8), (&FORMAT, Type::INT4)],
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
        let writes: Vec<Write<'_>> = event_writes(id, &change.events)
            .chain(record_writes(id, &change.kept))
            .collect();
        let mut statements = vec![gone.boxed_local()];
        statements.extend(writes.iter().map(|write| write.run(self).boxed_local()));
        statements.push(self.put_head(id, change).boxed_local());
        statements.push(self.commit().boxed_local());
        in_order(statements).await
    }

    async fn put_head(&self, id: i64, change: &Change) -> Result<(), Trouble> {
        let row = change.row();
        let mut text = "UPDATE {s}.logs
            SET sequence = $2, chain = $3, epoch = $4, records = $5, digest = $6, seal = $7, format = $8"
            .to_owned();
        let (sequence, epoch, records) = (column(row.sequence), column(row.epoch), column(row.records));
        let (digest, seal) = (row.digest.as_slice(), row.seal.as_slice());
        let mut parameters: Vec<Parameter<'_>> = vec![
            (&id, Type::INT8),
            (&sequence, Type::INT8),
            (&row.chain, Type::TEXT),
            (&epoch, Type::INT8),
            (&records, Type::INT8),
            (&digest, Type::BYTEA),
            (&seal, Type::BYTEA),
            // What this build writes, earlier ones may not understand.
            (&FORMAT, Type::INT4),
        ];
        let mut size = 0;
        if let Some(parts) = &change.parts {
            text.push_str(", parts = $9");
            parameters.push((parts, Type::BYTEA));
            size = parts.len();
        }
        text.push_str(" WHERE id = $1");
        self.execute(&text, &parameters, size).await.map(drop)
    }
}

/// An event as it is kept.
pub(super) struct EventPiece {
    pub(super) sequence: i64,
    pub(super) hash: Arc<str>,
    pub(super) body: Vec<u8>,
}

/// A record as it is kept.
pub(super) struct RecordPiece {
    pub(super) uid: String,
    pub(super) body: Vec<u8>,
}

fn event_writes(log: i64, events: &[EventPiece]) -> impl Iterator<Item = Write<'_>> {
    batches(events, |event| event.body.len()).map(move |events| Write::Events { log, events })
}

fn record_writes(log: i64, records: &[RecordPiece]) -> impl Iterator<Item = Write<'_>> {
    batches(records, |record| record.body.len()).map(move |records| Write::Records { log, records })
}

/// Runs statements that are sent in this order, all of them before the first answer.
///
/// One that cannot even be sent keeps those after it from being sent: a commit must not go without what it commits.
async fn in_order(mut statements: Vec<LocalBoxFuture<'_, Result<(), Trouble>>>) -> Result<(), Trouble> {
    let mut answered = vec![false; statements.len()];
    std::future::poll_fn(|context| {
        for (statement, answered) in statements.iter_mut().zip(&mut answered) {
            if !*answered && let Poll::Ready(answer) = statement.as_mut().poll(context) {
                *answered = true;
                // The first that failed says why; the server refuses those after it because of it.
                answer?;
            }
        }
        match answered.iter().all(|answered| *answered) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    })
    .await
}

/// One statement that writes many rows.
enum Write<'a> {
    Events { log: i64, events: &'a [EventPiece] },
    Records { log: i64, records: &'a [RecordPiece] },
}

impl Write<'_> {
    async fn run(&self, turn: &Turn<'_>) -> Result<(), Trouble> {
        let size = |bodies: &[&[u8]]| bodies.iter().map(|body| body.len()).sum();
        match self {
            Self::Events { log, events } => {
                let sequences: Vec<i64> = events.iter().map(|event| event.sequence).collect();
                let hashes: Vec<&str> = events.iter().map(|event| &*event.hash).collect();
                let bodies: Vec<&[u8]> = events.iter().map(|event| &*event.body).collect();
                turn.execute(
                    "INSERT INTO {s}.events (log, sequence, hash, body)
                     SELECT $1, * FROM unnest($2, $3, $4)",
                    &[
                        (log, Type::INT8),
                        (&sequences, Type::INT8_ARRAY),
                        (&hashes, Type::TEXT_ARRAY),
                        (&bodies, Type::BYTEA_ARRAY),
                    ],
                    size(&bodies),
                )
                .await?;
            }
            Self::Records { log, records } => {
                let uids: Vec<&str> = records.iter().map(|record| record.uid.as_str()).collect();
                let bodies: Vec<&[u8]> = records.iter().map(|record| &*record.body).collect();
                turn.execute(
                    "INSERT INTO {s}.records (log, uid, body) SELECT $1, * FROM unnest($2, $3)
                     ON CONFLICT (log, uid) DO UPDATE SET body = EXCLUDED.body",
                    &[
                        (log, Type::INT8),
                        (&uids, Type::TEXT_ARRAY),
                        (&bodies, Type::BYTEA_ARRAY),
                    ],
                    size(&bodies),
                )
                .await?;
            }
        }
        Ok(())
    }
}

/// Splits pieces into what one statement writes.
fn batches<T>(pieces: &[T], size: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = pieces;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take(STATEMENT_PIECES).take_while(|piece| {
            bytes += size(piece);
            bytes <= STATEMENT_BYTES
        });
        let count = fitting.count().max(rest.len().min(1));
        let (batch, after) = rest.split_at(count);
        rest = after;
        (!batch.is_empty()).then_some(batch)
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn statements_are_sent_in_order_and_none_after_one_that_cannot_be() {
        let sent = RefCell::new(Vec::new());
        let statement = |name: &'static str, fails: bool| {
            let sent = &sent;
            async move {
                if fails {
                    return Err(Trouble::Silent(Duration::ZERO));
                }
                sent.borrow_mut().push(name);
                tokio::task::yield_now().await;
                sent.borrow_mut().push(name);
                Ok(())
            }
            .boxed_local()
        };
        let all = vec![
            statement("a", false),
            statement("b", false),
            statement("c", false),
        ];
        in_order(all).await.unwrap();
        assert_eq!(sent.take(), ["a", "b", "c", "a", "b", "c"]);
        let all = vec![statement("a", false), statement("b", true), statement("c", false)];
        in_order(all).await.unwrap_err();
        assert_eq!(sent.take(), ["a"]);
    }

    #[test]
    fn pieces_are_split_by_number_and_size() {
        let sizes =
            |pieces: &[usize]| -> Vec<usize> { batches(pieces, |size| *size).map(<[usize]>::len).collect() };
        assert_eq!(sizes(&[]), Vec::<usize>::new());
        assert_eq!(sizes(&[STATEMENT_BYTES + 1, 1, STATEMENT_BYTES]), [1, 1, 1]);
        assert_eq!(
            sizes(&[STATEMENT_BYTES - 1, 1, 1, 2 * STATEMENT_BYTES]),
            [2, 1, 1]
        );
        assert_eq!(
            sizes(&vec![1; 2 * STATEMENT_PIECES + 1]),
            [STATEMENT_PIECES, STATEMENT_PIECES, 1]
        );
    }
}
