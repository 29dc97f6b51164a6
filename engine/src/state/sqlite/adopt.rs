//! Writing a whole log into the database at once.

use rusqlite::params;

use crate::state::copy::LogCopy;
use crate::state::snapshot::State;
use crate::state::sqlite::rows::Rows;
use crate::state::store::StoreError;

impl Rows<'_> {
    /// Writes a whole log where there is none.
    pub(super) fn put_log(&self, log: &LogCopy) -> Result<(), StoreError> {
        if log.base().serial > 0 {
            self.put_base(log.base())?;
        }
        for event in log.events() {
            self.put_event(event)?;
        }
        let all = log.state().records().map(|record| record.uid).collect();
        self.put_state(&State::default(), log.state(), &all)?;
        // A lease that is held stays; otherwise the next one is above all that were granted for the copied log.
        self.connection
            .execute(
                "INSERT OR IGNORE INTO lease (one, epoch, held, holder, since, renewed, beat, length_ms)
                 VALUES (1, ?1, 0, '', '', '', 0, 0)",
                params![log.epoch()],
            )
            .map_err(|error| self.file.error("writing the lease", error))?;
        Ok(())
    }
}
