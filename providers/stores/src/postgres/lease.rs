//! The lease's row.
//!
//! An append holds it with `FOR KEY SHARE`: whoever takes or gives back the lease waits for that append, and a renewal,
//! which changes no key, does not.

use std::time::Duration;

use futures_util::future::{join, join3, join4};
use gabion_engine::state::StoreError;
use gabion_engine::state::store::{LeaseGrant, LeaseRequest, LeaseView};
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::postgres::error::Trouble;
use crate::postgres::rows::{LogRow, column, number};
use crate::postgres::session::{Failed, Parameter, Session, Tables, Turn};

/// The lease's row.
struct LeaseRow {
    /// The highest epoch ever granted.
    granted: u64,
    /// Tells one taking from every other.
    token: String,
    held: Option<LeaseView>,
}

const COLUMNS: &str = "granted, epoch, held, token, holder, since, renewed, beat, length_ms";

impl Turn<'_> {
    fn damaged_lease(&self, why: impl Into<String>) -> Trouble {
        let what = format!("table {}.leases", self.place().schema);
        self.place().unreadable(what, why).into()
    }

    fn lease_row(&self, rows: &[Row]) -> Result<LeaseRow, Trouble> {
        let row = rows
            .first()
            .ok_or_else(|| self.damaged_lease("it has no row of this log"))?;
        let granted = number(row.try_get(0)?);
        let held: bool = row.try_get(2)?;
        let token = row.try_get(3)?;
        if !held {
            return Ok(LeaseRow {
                granted,
                token,
                held: None,
            });
        }
        let time = |text: &str| {
            text.parse::<Timestamp>()
                .map_err(|error| self.damaged_lease(error.to_string()))
        };
        let view = LeaseView {
            epoch: number(row.try_get(1)?),
            holder: serde_json::from_str(row.try_get(4)?)
                .map_err(|error| self.damaged_lease(error.to_string()))?,
            since: time(row.try_get(5)?)?,
            renewed: time(row.try_get(6)?)?,
            beat: number(row.try_get(7)?),
            length: Duration::from_millis(number(row.try_get(8)?)),
        };
        Ok(LeaseRow {
            granted,
            token,
            held: Some(view),
        })
    }

    async fn lease(&self, lock: &str) -> Result<Vec<Row>, Trouble> {
        let log = self.log;
        self.rows(
            &format!("SELECT {COLUMNS} FROM {{s}}.leases WHERE log = {{log}} {lock}"),
            &[(&log.project, Type::TEXT), (&log.stack, Type::TEXT)],
        )
        .await
    }

    /// Begins to write, locks the log, and checks that an epoch holds the lease; it does until the transaction ends.
    ///
    /// Locking a row waits for whoever has it, and then sees what that one left: so every writer sees all that those
    /// before it wrote, and no stricter isolation is needed.
    pub(super) async fn begin_holding(&self, epoch: u64) -> Result<LogRow, Trouble> {
        // Nothing that writes is sent along with `BEGIN`: were that refused, it would be committed by itself.
        let (begun, head, lease) = join3(self.begin(), self.locked_head(), self.lease("FOR KEY SHARE")).await;
        begun?;
        let head = head?;
        let now = self.lease_row(&lease?)?.held;
        if now.as_ref().is_none_or(|view| view.epoch != epoch) {
            return Err(lost(epoch, now).into());
        }
        Ok(head)
    }

    /// Makes the row of a new log, of which epochs up to one were granted elsewhere.
    pub(super) async fn put_first_lease(&self, granted: u64) -> Result<(), Trouble> {
        let log = self.log;
        self.execute(
            "INSERT INTO {s}.leases (log, granted, epoch, held, token, holder, since, renewed, beat, length_ms)
             VALUES ({log}, $3, 0, false, '', '', '', '', 0, 0)",
            &[
                (&log.project, Type::TEXT),
                (&log.stack, Type::TEXT),
                (&column(granted), Type::INT8),
            ],
            0,
        )
        .await
        .map(drop)
    }

    /// Sees to it that only epochs above one are granted from now on. A lease that is held stays so.
    pub(super) async fn grant_above(&self, log: &LogRow, granted: u64) -> Result<(), Trouble> {
        self.execute(
            "UPDATE {s}.leases SET granted = greatest(granted, $2) WHERE log = $1",
            &[(&log.id, Type::INT8), (&column(granted), Type::INT8)],
            0,
        )
        .await
        .map(drop)
    }

    async fn take(&self, request: &LeaseRequest, token: &str) -> Result<LeaseGrant, Trouble> {
        // The lease first: an append under way ends before the log's epoch is read.
        let (begun, lease, head) = join3(self.begin(), self.lease("FOR UPDATE"), self.head()).await;
        begun?;
        let lease = lease?;
        let head = head?;
        let row = self.lease_row(&lease)?;
        if let Some(view) = row.held
            && request.replaces != Some(view.seen())
        {
            return Err(StoreError::Locked(Box::new(view)).into());
        }
        let epoch = row.granted.max(head.epoch) + 1;
        let holder =
            serde_json::to_string(&request.holder).expect("a holder has only text keys and whole numbers");
        let at = request.at.to_string();
        let text = "UPDATE {s}.leases SET granted = $2, epoch = $2, held = true, token = $3, holder = $4, since = $5, renewed = $5,
             beat = 0, length_ms = $6 WHERE log = $1";
        let (id, length) = (head.id, milliseconds(request.length));
        let epoch_column = column(epoch);
        let parameters = [
            (&id as &(dyn ToSql + Sync), Type::INT8),
            (&epoch_column, Type::INT8),
            (&token, Type::TEXT),
            (&holder, Type::TEXT),
            (&at, Type::TEXT),
            (&length, Type::INT8),
        ];
        let (changed, committed) = join(self.execute(text, &parameters, 0), self.commit()).await;
        changed?;
        committed?;
        Ok(LeaseGrant { epoch })
    }

    async fn renew(&self, epoch: u64, length: Duration, at: &str) -> Result<(), Trouble> {
        let log = self.log;
        let (epoch_column, length) = (column(epoch), milliseconds(length));
        let parameters = [
            (&log.project as &(dyn ToSql + Sync), Type::TEXT),
            (&log.stack, Type::TEXT),
            (&epoch_column, Type::INT8),
            (&at, Type::TEXT),
            (&length, Type::INT8),
        ];
        let text = "UPDATE {s}.leases SET beat = beat + 1, renewed = $4, length_ms = $5
             WHERE log = {log} AND epoch = $3 AND held";
        self.change_held(epoch, text, &parameters).await
    }

    async fn release(&self, epoch: u64) -> Result<(), Trouble> {
        let log = self.log;
        let epoch_column = column(epoch);
        let parameters = [
            (&log.project as &(dyn ToSql + Sync), Type::TEXT),
            (&log.stack, Type::TEXT),
            (&epoch_column, Type::INT8),
        ];
        let text = "UPDATE {s}.leases SET held = false WHERE log = {log} AND epoch = $3 AND held";
        match self.change_held(epoch, text, &parameters).await {
            Err(Trouble::Store(StoreError::LostLease { .. })) => Ok(()),
            other => other,
        }
    }

    /// Changes the lease if an epoch holds it. One statement writes, so that it may go along with the `BEGIN`: it is
    /// whole even by itself.
    async fn change_held(&self, epoch: u64, text: &str, parameters: &[Parameter<'_>]) -> Result<(), Trouble> {
        let (begun, changed, now, committed) = join4(
            self.begin(),
            self.execute(text, parameters, 0),
            async {
                let (head, lease) = join(self.head(), self.lease("")).await;
                head?;
                self.lease_row(&lease?)
            },
            self.commit(),
        )
        .await;
        begun?;
        let changed = changed?;
        let now = now?;
        committed?;
        match changed {
            0 => Err(lost(epoch, now.held).into()),
            _ => Ok(()),
        }
    }
}

fn milliseconds(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

fn lost(epoch: u64, now: Option<LeaseView>) -> StoreError {
    StoreError::LostLease {
        epoch,
        now: now.map(Box::new),
    }
}

impl Session {
    /// Returns the lease, if somebody holds it.
    pub(super) async fn lease(&mut self) -> Result<Option<LeaseView>, StoreError> {
        let read = self
            .transact("reading the lease", Tables::Needed, async |turn| {
                let (begun, head, lease, ended) =
                    join4(turn.begin_reading(), turn.head(), turn.lease(""), turn.end()).await;
                begun?;
                head?;
                let row = turn.lease_row(&lease?)?;
                ended?;
                Ok(row.held)
            })
            .await;
        Ok(read?)
    }

    /// Returns the lease's row once nobody is changing it.
    async fn settled_lease(&mut self) -> Result<LeaseRow, StoreError> {
        let read = self
            .transact("reading the lease", Tables::Needed, async |turn| {
                let (begun, lease, ended) = join3(turn.begin(), turn.lease("FOR UPDATE"), turn.end()).await;
                begun?;
                let row = turn.lease_row(&lease?)?;
                ended?;
                Ok(row)
            })
            .await;
        Ok(read?)
    }

    pub(super) async fn take_lease(&mut self, request: LeaseRequest) -> Result<LeaseGrant, StoreError> {
        let token = Uuid::now_v7().to_string();
        let taken = self
            .transact("taking the lease", Tables::Needed, async |turn| {
                turn.take(&request, &token).await
            })
            .await;
        match taken {
            Ok(grant) => Ok(grant),
            // Somebody is stuck within a commit; whoever holds the lease is the one to name.
            Err(Failed::Surely(busy @ StoreError::Busy { .. })) => match self.lease().await? {
                Some(view) => Err(StoreError::Locked(Box::new(view))),
                None => Err(busy),
            },
            Err(Failed::Surely(error)) => Err(error),
            // What is there tells whether it was done: the transaction had the row, so once we do, it has ended.
            Err(Failed::Perhaps(error)) => match self.settled_lease().await {
                Ok(LeaseRow {
                    held: Some(view),
                    token: now,
                    ..
                }) if now == token => Ok(LeaseGrant { epoch: view.epoch }),
                _ => Err(error),
            },
        }
    }

    pub(super) async fn renew(
        &mut self,
        epoch: u64,
        length: Duration,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let at = at.to_string();
        self.twice("renewing the lease", async |turn| {
            turn.renew(epoch, length, &at).await
        })
        .await
    }

    pub(super) async fn release(&mut self, epoch: u64) -> Result<(), StoreError> {
        self.twice("giving back the lease", async |turn| turn.release(epoch).await)
            .await
    }

    /// Does something that may be done twice, and does it again when it is not known whether it was done.
    async fn twice(
        &mut self,
        what: &'static str,
        mut work: impl AsyncFnMut(&Turn<'_>) -> Result<(), Trouble>,
    ) -> Result<(), StoreError> {
        match self.transact(what, Tables::Needed, &mut work).await {
            Err(Failed::Perhaps(_)) => Ok(self.transact(what, Tables::Needed, work).await?),
            done => Ok(done?),
        }
    }
}
