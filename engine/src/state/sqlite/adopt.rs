//! Writing a whole log into the database at once.

use crate::state::copy::LogCopy;
use crate::state::sqlite::rows::{Rows, Written};
use crate::state::store::StoreError;

impl Rows<'_> {
    /// Writes a whole log where there is none; the lease is not touched.
    pub(super) fn put_log(&self, log: &LogCopy) -> Result<(), StoreError> {
        if log.base().serial > 0 {
            self.put_base(log.base())?;
        }
        self.put_events(log.events(), log.state())?;
        self.put_table(&mut Written::new_log(log.state().clone()))
    }
}
