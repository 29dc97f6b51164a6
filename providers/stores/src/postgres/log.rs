//! What is done with the log, transaction by transaction.

use std::cell::RefCell;
use std::collections::BTreeSet;

use futures_util::future::{join, join4};
use gabion_engine::address::Uid;
use gabion_engine::state::chain::{self, ChainedEvent};
use gabion_engine::state::store::{AdoptRequest, AppendRequest, CreateRequest, Loaded};
use gabion_engine::state::{Head, State, StoreError};

use crate::postgres::change::{Change, Known};
use crate::postgres::error::Trouble;
use crate::postgres::layout;
use crate::postgres::session::{Failed, Session, Tables, Turn};

/// How many events are folded or sealed at a time.
const PAGE: usize = 1000;
/// How often an append is begun in all when its commit was found not to have happened.
const APPENDS: u32 = 3;

/// An append whose commit was sent.
struct Sent {
    head: Head,
    known: Known,
}

/// What became of an append whose answer was lost.
enum Outcome {
    Written,
    NotWritten,
    /// Compaction has dropped what would tell.
    Unknown,
}

impl Turn<'_> {
    async fn create(
        &self,
        event: &ChainedEvent,
        state: &State,
        touched: &BTreeSet<Uid>,
    ) -> Result<Head, Trouble> {
        self.begin().await?;
        layout::make(self.client(), self.place()).await?;
        let change = Change::new(self, None, state.clone(), std::slice::from_ref(event), touched)?;
        if !self.put_log(&change).await? {
            return Err(StoreError::Exists {
                location: self.place().location.clone(),
            }
            .into());
        }
        self.put_first_lease(0).await?;
        self.commit().await?;
        Ok(change.head)
    }

    async fn adopt(&self, request: &AdoptRequest) -> Result<(), Trouble> {
        let AdoptRequest { log, over } = request;
        let locked = match over {
            Some(epoch) => Some(self.begin_holding(*epoch).await?),
            None => {
                self.begin().await?;
                layout::make(self.client(), self.place()).await?;
                None
            }
        };
        let all = log.state().records().map(|record| record.uid).collect();
        let change = Change::new(self, None, log.state().clone(), log.events(), &all)?;
        let row = match locked {
            Some(row) => {
                self.replace_log(&row, &change).await?;
                // Last, because it keeps heartbeats waiting.
                self.grant_above(&row, log.epoch()).await?;
                row
            }
            None => {
                if !self.put_log(&change).await? {
                    return Err(StoreError::Exists {
                        location: self.place().location.clone(),
                    }
                    .into());
                }
                self.put_first_lease(log.epoch()).await?;
                self.head().await?
            }
        };
        if log.base().serial > 0 {
            self.put_base(&change.head.lineage.to_string(), row.id, log.base())
                .await?;
        }
        self.commit().await
    }

    /// Appends in two round trips: one locks the log and looks at it, the other writes and commits.
    async fn append(
        &self,
        request: &AppendRequest,
        known: Option<&Known>,
        sent: &RefCell<Option<Sent>>,
    ) -> Result<(), Trouble> {
        let row = self.begin_holding(request.epoch).await?;
        if row.sequence != request.expected_sequence {
            return Err(StoreError::Moved {
                expected: request.expected_sequence,
                found: row.sequence,
            }
            .into());
        }
        // What this session wrote last is what is there, unless somebody else has written since.
        let read;
        let before = match known {
            Some(known) if known.is(&row) => known,
            _ => {
                read = self.known(async { Ok(()) }).await?;
                &read
            }
        };
        let mut after = before.state.clone();
        let mut touched = BTreeSet::new();
        let mut events = Vec::with_capacity(request.events.len());
        for event in &request.events {
            let event = ChainedEvent::new(&after.chain, event.clone());
            let folded = after.fold_hashed(&event.event, event.hash.clone());
            touched.append(&mut folded.map_err(StoreError::from)?);
            events.push(event);
        }
        let change = Change::new(self, Some(before), after, &events, &touched)?;
        *sent.borrow_mut() = Some(Sent {
            head: change.head.clone(),
            known: change.known.clone(),
        });
        match events.is_empty() {
            true => self.end().await,
            false => self.put(&change).await,
        }
    }

    /// Finds out whether an append was written whose answer was lost. Its transaction had locked the log before the
    /// commit was sent, so once we have the lock, it has ended one way or the other.
    async fn outcome(&self, sent: &Head) -> Result<Outcome, Trouble> {
        let (begun, head, hash, ended) = join4(
            self.begin(),
            self.locked_head(),
            self.event_hash(sent.sequence),
            self.end(),
        )
        .await;
        begun?;
        let (head, hash) = (head?, hash?);
        ended?;
        // Hashes cover who wrote what when, and all that came before: nobody else's event has it.
        Ok(match hash {
            Some(hash) if *hash == *sent.chain => Outcome::Written,
            Some(_) => Outcome::NotWritten,
            None if head.sequence < sent.sequence => Outcome::NotWritten,
            None if head.sequence == sent.sequence && *head.chain == *sent.chain => Outcome::Written,
            None => Outcome::Unknown,
        })
    }
}

impl Session {
    pub(super) async fn create(&mut self, request: CreateRequest) -> Result<Head, StoreError> {
        let event = ChainedEvent::new("", request.event());
        let mut state = State::default();
        let touched = state.fold_hashed(&event.event, event.hash.clone())?;
        let created = self
            .transact("creating the log", Tables::Made, async |turn| {
                turn.create(&event, &state, &touched).await
            })
            .await;
        Ok(created?)
    }

    /// Takes over a copy of another log, in one transaction.
    pub(super) async fn adopt(&mut self, request: AdoptRequest) -> Result<Head, StoreError> {
        let tables = match request.over {
            Some(_) => Tables::Needed,
            None => Tables::Made,
        };
        self.known = None;
        let adopted = self
            .transact("taking over a log", tables, async |turn| {
                turn.adopt(&request).await
            })
            .await;
        adopted?;
        Ok(request.log.head().clone())
    }

    pub(super) async fn load(&mut self) -> Result<Loaded, StoreError> {
        let known = self
            .transact("loading", Tables::Needed, async |turn| {
                let known = turn.known(turn.begin_reading()).await?;
                turn.end().await?;
                Ok(known)
            })
            .await?;
        let state = known.state.clone();
        self.known = Some(known);
        let place = &self.log.target.place;
        let head = state
            .head()
            .ok_or_else(|| place.unreadable("the state", "it has no head"))?;
        Ok(Loaded { state, head })
    }

    /// Appends. When the answer to a commit is lost, it asks whether it was done, and does it again if it was not.
    pub(super) async fn append(&mut self, request: AppendRequest) -> Result<Head, StoreError> {
        let mut appended = 0;
        loop {
            appended += 1;
            let known = self.known.take();
            let sent = RefCell::new(None);
            let done = self
                .transact("appending", Tables::Needed, async |turn| {
                    turn.append(&request, known.as_ref(), &sent).await
                })
                .await;
            let sent = sent.into_inner();
            let error = match (done, sent) {
                (Ok(()), Some(sent)) => return Ok(self.now_known(sent)),
                (Ok(()), None) => {
                    let place = &self.log.target.place;
                    return Err(place.failed("appending", "nothing was sent"));
                }
                (Err(Failed::Surely(error)), _) => {
                    if error.wrote_nothing() {
                        self.known = known;
                    }
                    return Err(error);
                }
                (Err(Failed::Perhaps(error)), sent) => match sent {
                    None => return Err(error),
                    Some(sent) => match self.outcome(&sent.head).await {
                        Ok(Outcome::Written) => return Ok(self.now_known(sent)),
                        Ok(Outcome::NotWritten) => error,
                        // What is to be told is that it may have been written.
                        Ok(Outcome::Unknown) | Err(_) => return Err(error),
                    },
                },
            };
            if appended == APPENDS {
                return Err(error);
            }
        }
    }

    fn now_known(&mut self, sent: Sent) -> Head {
        self.known = Some(sent.known);
        sent.head
    }

    async fn outcome(&mut self, sent: &Head) -> Result<Outcome, StoreError> {
        let what = "finding out whether an append was written";
        let outcome = self
            .transact(what, Tables::Needed, async |turn| turn.outcome(sent).await)
            .await;
        Ok(outcome?)
    }

    pub(super) async fn events(&mut self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, StoreError> {
        let events = self
            .transact("reading events", Tables::Needed, async |turn| {
                let (begun, head, rows, ended) = join4(
                    turn.begin_reading(),
                    turn.head(),
                    turn.kept_events(after, limit),
                    turn.end(),
                )
                .await;
                begun?;
                let (head, rows) = (head?, rows?);
                ended?;
                rows.iter().map(|row| turn.event(&head.lineage, row)).collect()
            })
            .await;
        Ok(events?)
    }

    pub(super) async fn base(&mut self) -> Result<State, StoreError> {
        let base = self
            .transact("reading the base", Tables::Needed, async |turn| {
                let (begun, head) = join(turn.begin_reading(), turn.head()).await;
                begun?;
                let base = turn.base(&head?.lineage).await?;
                turn.end().await?;
                Ok(base)
            })
            .await;
        Ok(base?)
    }

    /// Drops history. The new base is folded first, which may take long; only then is the log locked.
    pub(super) async fn compact(&mut self, epoch: u64, up_to: u64) -> Result<u64, StoreError> {
        self.holds(epoch).await?;
        let (before, base) = self
            .transact("compacting", Tables::Needed, async |turn| {
                let (begun, head) = join(turn.begin_reading(), turn.head()).await;
                begun?;
                let lineage = head?.lineage;
                let mut base = turn.base(&lineage).await?;
                let before = base.serial;
                turn.fold(&lineage, &mut base, up_to).await?;
                turn.end().await?;
                Ok((before, base))
            })
            .await?;
        if base.serial == before {
            return Ok(0);
        }
        let dropped = self
            .transact("compacting", Tables::Needed, async |turn| {
                let row = turn.begin_holding(epoch).await?;
                // Somebody with this very lease may have done it meanwhile.
                let now = turn.base_sequence().await?;
                if now >= base.serial {
                    turn.end().await?;
                    return Ok(0);
                }
                turn.put_base(&row.lineage, row.id, &base).await?;
                turn.commit().await?;
                Ok(base.serial - now)
            })
            .await;
        Ok(dropped?)
    }

    async fn holds(&mut self, epoch: u64) -> Result<(), StoreError> {
        let held = self
            .transact("looking at the lease", Tables::Needed, async |turn| {
                turn.begin_holding(epoch).await?;
                turn.end().await
            })
            .await;
        Ok(held?)
    }

    /// Writes again what is not under the current key, some of it a transaction: what was done stays done, and nobody
    /// waits long.
    pub(super) async fn reseal(&mut self, epoch: u64) -> Result<u64, StoreError> {
        let mut resealed = 0;
        let mut after = 0;
        loop {
            let (count, last) = self
                .transact("sealing events again", Tables::Needed, async |turn| {
                    let row = turn.begin_holding(epoch).await?;
                    let (count, last) = turn.reseal_events(&row, after, PAGE).await?;
                    turn.commit().await?;
                    Ok((count, last))
                })
                .await?;
            resealed += count;
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
        let mut after = String::new();
        loop {
            // What records are kept as is about to change.
            self.known = None;
            let (count, last) = self
                .transact("sealing records again", Tables::Needed, async |turn| {
                    let row = turn.begin_holding(epoch).await?;
                    let (count, last) = turn.reseal_records(&row, &after, PAGE).await?;
                    turn.commit().await?;
                    Ok((count, last))
                })
                .await?;
            resealed += count;
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
        let count = self
            .transact("sealing the rest again", Tables::Needed, async |turn| {
                let row = turn.begin_holding(epoch).await?;
                let count = turn.reseal_rest(&row).await?;
                turn.commit().await?;
                Ok(count)
            })
            .await?;
        Ok(resealed + count)
    }
}

impl Turn<'_> {
    /// Folds the events after a base onto it, up to a serial.
    async fn fold(&self, lineage: &str, base: &mut State, up_to: u64) -> Result<(), Trouble> {
        loop {
            let left = usize::try_from(up_to.saturating_sub(base.serial)).unwrap_or(usize::MAX);
            let events = self.events(lineage, base.serial, left.min(PAGE)).await?;
            if events.is_empty() {
                return Ok(());
            }
            for event in events {
                let hash = chain::link(&base.chain, &event.encoded);
                if hash != event.hash {
                    let what = format!(
                        "event {} in table {}.events",
                        event.event.sequence,
                        self.place().schema
                    );
                    let why = "it was altered after it was written";
                    return Err(self.place().unreadable(what, why).into());
                }
                base.fold_hashed(&event.event, hash).map_err(StoreError::from)?;
            }
        }
    }
}
