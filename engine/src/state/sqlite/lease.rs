//! The lease, in a row of its own, readable without a key.

use std::time::Duration;

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::state::sqlite::layout;
use crate::state::sqlite::rows::{Rows, digest_of};
use crate::state::store::{LeaseView, StoreError};

/// What is known of the lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LeaseRow {
    /// The highest epoch ever granted.
    pub(super) epoch: u64,
    /// The lease, if somebody holds it.
    pub(super) held: Option<LeaseView>,
}

/// The name that its digest covers.
const NAME: &str = "lease";

impl Rows<'_> {
    /// Returns the highest epoch ever granted, and the lease if somebody holds it.
    pub(super) fn lease(&self) -> Result<LeaseRow, StoreError> {
        if layout::version(self.connection, self.file)? == 1 {
            return self.lease_1();
        }
        let row: Option<(String, String)> = self
            .connection
            .prepare_cached("SELECT value, digest FROM lease")
            .and_then(|mut statement| {
                let found = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)));
                found.optional()
            })
            .map_err(self.error("reading the lease"))?;
        let Some((value, digest)) = row else {
            return Err(self.file.unreadable("table lease", "it is empty"));
        };
        if digest != digest_of(NAME, value.as_bytes()) {
            return Err(self
                .file
                .unreadable("table lease", "it was altered after it was written"));
        }
        serde_json::from_str(&value).map_err(|error| self.file.unreadable("table lease", error.to_string()))
    }

    pub(super) fn put_lease(&self, row: &LeaseRow) -> Result<(), StoreError> {
        let value = serde_json::to_string(row).expect("a lease has only text keys and whole numbers");
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO lease (one, value, digest) VALUES (1, ?1, ?2)")
            .and_then(|mut statement| statement.execute(params![value, digest_of(NAME, value.as_bytes())]))
            .map_err(self.error("writing the lease"))?;
        Ok(())
    }

    /// Returns the lease as layout 1 has it.
    fn lease_1(&self) -> Result<LeaseRow, StoreError> {
        let found = self.connection.query_row(
            "SELECT epoch, held, holder, since, renewed, beat, length_ms FROM lease",
            [],
            |row| {
                Ok((
                    row.get::<_, u64>(0)?,
                    row.get::<_, bool>(1)?,
                    [row.get::<_, String>(2)?, row.get(3)?, row.get(4)?],
                    row.get::<_, u64>(5)?,
                    row.get::<_, u64>(6)?,
                ))
            },
        );
        let found = found.optional().map_err(self.error("reading the lease"))?;
        let Some((epoch, held, [holder, since, renewed], beat, length_ms)) = found else {
            return Ok(LeaseRow { epoch: 0, held: None });
        };
        if !held {
            return Ok(LeaseRow { epoch, held: None });
        }
        let damaged = |why: String| self.file.unreadable("table lease", why);
        let time = |text: &str| {
            text.parse()
                .map_err(|error: jiff::Error| damaged(error.to_string()))
        };
        Ok(LeaseRow {
            epoch,
            held: Some(LeaseView {
                epoch,
                holder: serde_json::from_str(&holder).map_err(|error| damaged(error.to_string()))?,
                since: time(&since)?,
                renewed: time(&renewed)?,
                beat,
                length: Duration::from_millis(length_ms),
            }),
        })
    }
}
