//! Writing: creating a log, and appending to it.

use std::sync::Arc;

use bytes::Bytes;
use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::snapshot::Head;
use gabion_engine::state::store::{AppendRequest, CreateRequest};
use gabion_engine::state::{FORMAT_VERSION, State, StoreError};
use object_store::UpdateVersion;

use super::core::{Core, Known};
use super::manifest::{Fence, LAYOUT, Manifest, SegmentEntry};
use super::names::{Kind, MANIFEST};
use super::place::{Found, Swapped};
use super::probe;
use super::proof;
use super::reading::{Fault, Readings};
use super::segment::Segment;

/// How often a change of the manifest begins anew because of other changes that do not stand against it.
pub(super) const CHANGES: u32 = 20;

/// An append whose segment is written.
struct Pending {
    entry: SegmentEntry,
    segment: Arc<Segment>,
    state: State,
}

impl Core {
    /// Creates the log.
    pub(super) async fn create(&self, request: CreateRequest) -> Result<Head, StoreError> {
        let _turn = self.turn.lock().await;
        let exists = || StoreError::Exists {
            location: self.place.location().to_owned(),
        };
        match self.manifest().await {
            Ok(_) => return Err(exists()),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let format_version = request.created.format_version;
        let lineage = request.created.lineage;
        let event = ChainedEvent::new("", request.event());
        let mut state = State::default();
        state.fold_hashed(&event.event, event.hash.clone())?;
        if self.options.check_service {
            probe::check(self).await?;
        }
        let head = Head {
            lineage,
            sequence: state.serial,
            chain: state.chain.clone(),
            objects: Some(state.len()),
        };
        let segment = Segment {
            lineage,
            previous: Arc::default(),
            events: vec![event],
        };
        let entry = self.write_segment(&Arc::new(segment), 0, 0).await?;
        let manifest = Manifest {
            layout: LAYOUT,
            format_version,
            write: self.mark(),
            head: head.clone(),
            fence: Fence {
                epoch: 0,
                open: false,
            },
            floor: 0,
            base: None,
            snapshot: None,
            since_snapshot: entry.stored.size,
            older: None,
            segments: vec![entry.clone()],
            undone: Vec::new(),
        };
        match self.put_manifest(&manifest, None).await? {
            Swapped::Done(version) => {
                self.learn(Known {
                    manifest: Arc::new(manifest),
                    version,
                    state,
                });
                Ok(head)
            }
            Swapped::Conflict(Some(found)) => {
                let there = self.decode_manifest(&found)?;
                let ours = there.segments.iter().any(|other| other.stored == entry.stored);
                if ours { Ok(head) } else { Err(exists()) }
            }
            Swapped::Conflict(None) => Err(self.place.busy("the manifest was made and removed at once")),
        }
    }

    /// Appends events.
    pub(super) async fn append(&self, request: AppendRequest) -> Result<Head, StoreError> {
        let _turn = self.turn.lock().await;
        let done = self.append_in_turn(&request).await;
        if done.as_ref().is_err_and(|error| !error.wrote_nothing()) {
            // What is known may be wrong; the next use begins anew.
            self.forget();
        }
        let (known, head) = done?;
        self.upkeep(known).await;
        Ok(head)
    }

    async fn append_in_turn(&self, request: &AppendRequest) -> Result<(Known, Head), StoreError> {
        let mut seen = None;
        let mut pending: Option<Pending> = None;
        for _ in 0..CHANGES {
            // What is known decides nothing against the caller: only what was just read does.
            let (known, fresh) = match (seen.take(), self.known()) {
                (Some(known), _) => (known, true),
                (None, Some(known)) if !request.events.is_empty() => (known, false),
                (None, _) => (self.refreshed().await?, true),
            };
            let refused = self.refusal(&known.manifest, request).await;
            if refused.is_some() && !fresh {
                seen = Some(self.refreshed().await?);
                continue;
            }
            if let Some(error) = refused {
                return Err(error);
            }
            if request.events.is_empty() {
                let head = known.manifest.head.clone();
                return Ok((known, head));
            }
            let appending = match pending.take() {
                Some(pending) => pending,
                None => match self.begin(&known, request).await {
                    Err(StoreError::Illegal(_)) if !fresh => {
                        seen = Some(self.refreshed().await?);
                        continue;
                    }
                    begun => begun?,
                },
            };
            let manifest = self.with_segment(&known.manifest, &appending);
            match self.put_manifest(&manifest, Some(&known.version)).await? {
                Swapped::Done(version) => {
                    let head = manifest.head.clone();
                    self.cache_segment(&appending.entry.stored, appending.segment);
                    let known = Known {
                        manifest: Arc::new(manifest),
                        version,
                        state: appending.state,
                    };
                    self.learn(known.clone());
                    return Ok((known, head));
                }
                Swapped::Conflict(found) => {
                    let now = self.after_conflict(known, found).await?;
                    if self.holds(&now.manifest, &appending.entry).await? {
                        return Ok((now, manifest.head));
                    }
                    seen = Some(now);
                    pending = Some(appending);
                }
            }
        }
        Err(self.place.busy("the manifest was changed again and again"))
    }

    /// Returns why a manifest does not admit an append, if it does not.
    async fn refusal(&self, manifest: &Manifest, request: &AppendRequest) -> Option<StoreError> {
        if !manifest.admits(request.epoch) {
            return Some(self.lost(request.epoch).await);
        }
        let found = manifest.head.sequence;
        (found != request.expected_sequence).then_some(StoreError::Moved {
            expected: request.expected_sequence,
            found,
        })
    }

    /// Folds the events and writes them down where nothing refers to them yet.
    async fn begin(&self, known: &Known, request: &AppendRequest) -> Result<Pending, StoreError> {
        let mut state = known.state.clone();
        let mut events = Vec::with_capacity(request.events.len());
        for event in &request.events {
            let event = ChainedEvent::new(&state.chain, event.clone());
            state.fold_hashed(&event.event, event.hash.clone())?;
            events.push(event);
        }
        let segment = Arc::new(Segment {
            lineage: known.manifest.head.lineage,
            previous: known.state.chain.clone(),
            events,
        });
        let entry = self.write_segment(&segment, 0, request.epoch).await?;
        Ok(Pending {
            entry,
            segment,
            state,
        })
    }

    /// Writes a segment where nothing refers to it yet.
    pub(super) async fn write_segment(
        &self,
        segment: &Segment,
        level: u32,
        epoch: u64,
    ) -> Result<SegmentEntry, StoreError> {
        let (first, last) = segment.range();
        let stored = self
            .store(Kind::Segment, (first, last), epoch, &segment.encode())
            .await?;
        Ok(SegmentEntry {
            first,
            last,
            chain: segment.chain(),
            level,
            stored,
        })
    }

    fn with_segment(&self, manifest: &Manifest, appending: &Pending) -> Manifest {
        let mut manifest = manifest.clone();
        manifest.write = self.mark();
        manifest.format_version = FORMAT_VERSION;
        manifest.head = Head {
            lineage: manifest.head.lineage,
            sequence: appending.state.serial,
            chain: appending.state.chain.clone(),
            objects: Some(appending.state.len()),
        };
        manifest.since_snapshot += appending.entry.stored.size;
        manifest.segments.push(appending.entry.clone());
        self.noted().write_into(&mut manifest);
        manifest
    }

    /// Replaces the manifest if it is the version that is expected.
    pub(super) async fn put_manifest(
        &self,
        manifest: &Manifest,
        expected: Option<&UpdateVersion>,
    ) -> Result<Swapped, StoreError> {
        let bytes = Bytes::from(proof::encode(manifest));
        self.place.swap(MANIFEST, bytes, expected).await
    }

    /// Returns the state as it is after somebody else changed the manifest.
    pub(super) async fn after_conflict(
        &self,
        known: Known,
        found: Option<Found>,
    ) -> Result<Known, StoreError> {
        let Some(found) = found else {
            return Err(self
                .place
                .unreadable(MANIFEST, "it was removed while it was in use"));
        };
        let manifest = self.decode_manifest(&found)?;
        match self.advanced(Some(known), manifest, found.version).await {
            Ok(known) => Ok(known),
            Err(Fault::Store(error)) => Err(error),
            Err(Fault::Vanished(_)) => self.refreshed().await,
        }
    }

    /// Returns whether a log holds what was appended, whose writing was not seen to succeed.
    async fn holds(&self, manifest: &Manifest, entry: &SegmentEntry) -> Result<bool, StoreError> {
        if manifest.head.sequence < entry.last {
            return Ok(false);
        }
        if let Some(same) = manifest
            .segments
            .iter()
            .find(|other| (other.first, other.last, other.level) == (entry.first, entry.last, 0))
        {
            return Ok(same.stored == entry.stored);
        }
        let mut readings = Readings::default();
        let mut now = manifest.clone();
        loop {
            match self.hash_of(&now, entry.last).await {
                Ok(Some(hash)) => return Ok(hash == entry.chain),
                Ok(None) => {
                    let why = format!(
                        "whether event {} is the one that was written cannot be told: \
                                       history was dropped",
                        entry.last
                    );
                    return Err(self.place.unreadable(MANIFEST, why));
                }
                Err(fault) => readings.again(self, &now, fault)?,
            }
            now = self.manifest().await?.0;
        }
    }

    /// Makes the error for a lease that is not the caller's.
    pub(super) async fn lost(&self, epoch: u64) -> StoreError {
        let now = self.lease_object().await;
        StoreError::LostLease {
            epoch,
            now: now.ok().flatten().and_then(|(lease, _)| lease.held).map(Box::new),
        }
    }
}
