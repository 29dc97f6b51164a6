//! Writing content again under the current key, after the key was changed or encryption was turned on or off.

use tokio_postgres::types::{ToSql, Type};

use crate::postgres::error::Trouble;
use crate::postgres::rows::{Digest, LogRow, number, piece_digest, place_of, row_seal, toggle};
use crate::postgres::session::{Parameter, Turn};

impl Turn<'_> {
    /// Returns what a piece should be kept as, unless it is kept so already.
    fn resealed(
        &self,
        table: &str,
        row: &str,
        lineage: &str,
        kept: &[u8],
    ) -> Result<Option<Vec<u8>>, Trouble> {
        let envelope = &self.log.envelope;
        if envelope.is_current(kept) {
            return Ok(None);
        }
        let content = self.open(table, row, lineage, kept)?;
        Ok(Some(envelope.seal(&place_of(lineage, row), &content)))
    }

    /// Seals up to `limit` events after one again. Returns how many were, and the last one looked at, if there was any.
    pub(super) async fn reseal_events(
        &self,
        log: &LogRow,
        after: u64,
        limit: usize,
    ) -> Result<(u64, Option<u64>), Trouble> {
        let rows = self.kept_events(after, limit).await?;
        let (mut sequences, mut bodies) = (Vec::new(), Vec::new());
        let mut last = None;
        for row in &rows {
            let sequence: i64 = row.try_get(0)?;
            last = Some(number(sequence));
            let resealed = self.resealed(
                "events",
                &format!("event {sequence}"),
                &log.lineage,
                row.try_get(2)?,
            )?;
            if let Some(body) = resealed {
                sequences.push(sequence);
                bodies.push(body);
            }
        }
        if !sequences.is_empty() {
            self.execute(
                "UPDATE {s}.events AS e SET body = new.body FROM unnest($2, $3) AS new (sequence, body)
                 WHERE e.log = $1 AND e.sequence = new.sequence",
                &[
                    (&log.id, Type::INT8),
                    (&sequences, Type::INT8_ARRAY),
                    (&bodies, Type::BYTEA_ARRAY),
                ],
                bodies.iter().map(Vec::len).sum(),
            )
            .await?;
        }
        Ok((sequences.len() as u64, last))
    }

    /// Seals up to `limit` records after one again. Returns how many were, and the last one looked at, if there was any.
    pub(super) async fn reseal_records(
        &self,
        log: &LogRow,
        after: &str,
        limit: usize,
    ) -> Result<(u64, Option<String>), Trouble> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self
            .rows(
                "SELECT uid, body FROM {s}.records WHERE log = $1 AND uid > $2 ORDER BY uid LIMIT $3",
                &[(&log.id, Type::INT8), (&after, Type::TEXT), (&limit, Type::INT8)],
            )
            .await?;
        let (mut uids, mut bodies) = (Vec::new(), Vec::new());
        let mut digest = log.digest;
        let mut last = None;
        for row in &rows {
            let (uid, kept): (String, &[u8]) = (row.try_get(0)?, row.try_get(1)?);
            last = Some(uid.clone());
            if let Some(body) = self.resealed("records", &format!("record {uid}"), &log.lineage, kept)? {
                toggle(&mut digest, &piece_digest(&uid, kept));
                toggle(&mut digest, &piece_digest(&uid, &body));
                uids.push(uid);
                bodies.push(body);
            }
        }
        if !uids.is_empty() {
            self.execute(
                "UPDATE {s}.records AS r SET body = new.body FROM unnest($2, $3) AS new (uid, body)
                 WHERE r.log = $1 AND r.uid = new.uid",
                &[
                    (&log.id, Type::INT8),
                    (&uids, Type::TEXT_ARRAY),
                    (&bodies, Type::BYTEA_ARRAY),
                ],
                bodies.iter().map(Vec::len).sum(),
            )
            .await?;
            let parts = self.kept_parts(log).await?;
            self.put_digests(log, digest, &parts, None).await?;
        }
        Ok((uids.len() as u64, last))
    }

    /// Seals what is beside the records, and the base, again. Returns how many of the two were.
    pub(super) async fn reseal_rest(&self, log: &LogRow) -> Result<u64, Trouble> {
        let mut resealed = 0;
        let parts = self.kept_parts(log).await?;
        if let Some(body) = self.resealed("logs", "parts", &log.lineage, &parts)? {
            self.put_digests(log, log.digest, &body, Some(&body)).await?;
            resealed += 1;
        }
        let bases = self
            .rows(
                "SELECT sequence, body FROM {s}.bases WHERE log = $1",
                &[(&log.id, Type::INT8)],
            )
            .await?;
        for row in &bases {
            let (sequence, kept): (i64, &[u8]) = (row.try_get(0)?, row.try_get(1)?);
            let name = format!("base {sequence}");
            if let Some(body) = self.resealed("bases", &name, &log.lineage, kept)? {
                self.execute(
                    "UPDATE {s}.bases SET body = $2 WHERE log = $1",
                    &[(&log.id, Type::INT8), (&body, Type::BYTEA)],
                    body.len(),
                )
                .await?;
                resealed += 1;
            }
        }
        Ok(resealed)
    }

    async fn kept_parts(&self, log: &LogRow) -> Result<Vec<u8>, Trouble> {
        let rows = self
            .rows(
                "SELECT parts FROM {s}.logs WHERE id = $1",
                &[(&log.id, Type::INT8)],
            )
            .await?;
        match rows.first() {
            Some(row) => Ok(row.try_get(0)?),
            None => Err(self.not_found()),
        }
    }

    /// Writes the digests that go with pieces as they are kept now.
    async fn put_digests(
        &self,
        log: &LogRow,
        digest: Digest,
        parts: &[u8],
        changed: Option<&[u8]>,
    ) -> Result<(), Trouble> {
        let row = LogRow {
            digest,
            ..log.clone()
        };
        let seal = row_seal(&row, &piece_digest("parts", parts));
        let mut text = "UPDATE {s}.logs SET digest = $2, seal = $3".to_owned();
        let (digest, seal) = (digest.as_slice(), seal.as_slice());
        let mut parameters: Vec<Parameter<'_>> = vec![
            (&log.id as &(dyn ToSql + Sync), Type::INT8),
            (&digest, Type::BYTEA),
            (&seal, Type::BYTEA),
        ];
        if let Some(changed) = &changed {
            text.push_str(", parts = $4");
            parameters.push((changed, Type::BYTEA));
        }
        text.push_str(" WHERE id = $1");
        self.execute(&text, &parameters, parts.len()).await.map(drop)
    }
}
