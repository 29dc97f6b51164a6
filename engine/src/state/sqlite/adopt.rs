//! Writing a whole log into the database at once.

use crate::state::copy::LogCopy;
use crate::state::snapshot::State;
use crate::state::sqlite::rows::Rows;
use crate::state::store::StoreError;

impl Rows<'_> {
    /// Writes a whole log where there is none; the lease is not touched.
    pub(super) fn put_log(&self, log: &LogCopy) -> Result<(), StoreError> {
        if log.base().serial > 0 {
            self.put_base(log.base())?;
        }
        for event in log.events() {
            self.put_event(event)?;
        }
        let all = log.state().records().map(|record| record.uid).collect();
        self.put_state(None, &State::default(), log.state(), &all)?;
        Ok(())
    }
}
