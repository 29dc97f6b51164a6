//! Taking over a whole log: its objects are written where nothing refers to them, and one change of the manifest makes
//! them the state.

use gabion_engine::state::StoreError;
use gabion_engine::state::copy::LogCopy;
use gabion_engine::state::snapshot::Head;
use gabion_engine::state::store::AdoptRequest;
use object_store::UpdateVersion;

use super::core::{Core, Known};
use super::manifest::{Fence, LAYOUT, LeaseObject, Manifest};
use super::place::Swapped;
use super::probe;
use super::segment::Segment;
use super::writing::CHANGES;

/// The level of segments that are large already: they are not merged with those that come later.
const LEVEL: u32 = 2;

impl Core {
    /// Makes the state a copy of another log.
    pub(super) async fn adopt(&self, request: AdoptRequest) -> Result<Head, StoreError> {
        let _turn = self.turn.lock().await;
        let AdoptRequest { log, over } = request;
        let done = match over {
            None => self.adopt_where_nothing_is(&log).await,
            Some(epoch) => self.adopt_over(&log, epoch).await,
        };
        if done.as_ref().is_err_and(|error| !error.wrote_nothing()) {
            self.forget();
        }
        done
    }

    async fn adopt_where_nothing_is(&self, log: &LogCopy) -> Result<Head, StoreError> {
        let exists = || StoreError::Exists {
            location: self.place.location().to_owned(),
        };
        match self.manifest().await {
            Ok(_) => return Err(exists()),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        if self.options.check_service {
            probe::check(self).await?;
        }
        let fence = Fence {
            epoch: log.epoch(),
            open: false,
        };
        // Epoch 0 is nobody's lease: what is left of this when it is cut short is known by it.
        let manifest = self.copied(log, 0).await?;
        let manifest = Manifest { fence, ..manifest };
        match self.put_manifest(&manifest, None).await? {
            Swapped::Done(version) => self.learn_copy(log, manifest, version),
            Swapped::Conflict(Some(found)) => {
                let there = self.decode_manifest(&found)?;
                if there.write != manifest.write {
                    return Err(exists());
                }
            }
            Swapped::Conflict(None) => {
                return Err(self.place.busy("the manifest was made and removed at once"));
            }
        }
        // With it a missing manifest is seen as one. The next lease makes it too.
        self.put_free_lease(log).await.ok();
        Ok(log.head().clone())
    }

    async fn adopt_over(&self, log: &LogCopy, epoch: u64) -> Result<Head, StoreError> {
        let mut copied = None;
        for _ in 0..CHANGES {
            let (before, version) = self.manifest().await?;
            if !before.admits(epoch) {
                return Err(self.lost(epoch).await);
            }
            let objects = match copied.take() {
                Some(copied) => copied,
                None => self.copied(log, epoch).await?,
            };
            let manifest = Manifest {
                fence: before.fence,
                floor: before.floor.max(log.epoch()),
                ..objects
            };
            match self.put_manifest(&manifest, Some(&version)).await? {
                Swapped::Done(version) => {
                    self.forget();
                    self.learn_copy(log, manifest.clone(), version);
                    // What was replaced is deleted after the grace period, by a later sweep if not by this one.
                    self.tidy_up(&manifest).await.ok();
                    return Ok(log.head().clone());
                }
                Swapped::Conflict(Some(found)) => {
                    if self.decode_manifest(&found)?.write == manifest.write {
                        return Ok(log.head().clone());
                    }
                    copied = Some(manifest);
                }
                Swapped::Conflict(None) => copied = Some(manifest),
            }
        }
        Err(self.place.busy("the manifest was changed again and again"))
    }

    fn learn_copy(&self, log: &LogCopy, manifest: Manifest, version: UpdateVersion) {
        self.learn(Known {
            manifest: manifest.into(),
            version,
            state: log.state().clone(),
        });
    }

    /// Writes the objects of a log, and returns the manifest that names them.
    async fn copied(&self, log: &LogCopy, epoch: u64) -> Result<Manifest, StoreError> {
        let limits = &self.options.upkeep;
        let base = match log.base().serial {
            0 => None,
            _ => Some(self.write_state(log.base(), epoch).await?),
        };
        let mut previous = log.base().chain.clone();
        let mut segments = Vec::new();
        let mut older = None;
        let mut rest = log.events();
        let mut since_snapshot = 0;
        while !rest.is_empty() {
            let mut bytes = 0;
            let count = rest
                .iter()
                .take_while(|event| {
                    bytes += event.encoded.len() as u64;
                    bytes <= limits.largest_segment
                })
                .count();
            let (events, after) = rest.split_at(count.max(1));
            rest = after;
            let segment = Segment {
                lineage: log.head().lineage,
                previous: previous.clone(),
                events: events.to_vec(),
            };
            previous = segment.chain();
            let entry = self.write_segment(&segment, LEVEL, epoch).await?;
            since_snapshot += entry.stored.size;
            segments.push(entry);
            if segments.len() > limits.listed {
                let kept = segments.split_off(segments.len() - limits.listed / 2);
                let listed = std::mem::replace(&mut segments, kept);
                older = Some(self.write_page(older.take(), listed, epoch).await?);
            }
        }
        let snapshot = if since_snapshot >= limits.snapshot_after {
            since_snapshot = 0;
            Some(self.write_state(log.state(), epoch).await?)
        } else {
            None
        };
        Ok(Manifest {
            layout: LAYOUT,
            format_version: gabion_engine::state::FORMAT_VERSION,
            write: self.mark(),
            head: log.head().clone(),
            fence: Fence {
                epoch: 0,
                open: false,
            },
            floor: log.epoch(),
            base,
            snapshot,
            since_snapshot,
            older,
            segments,
            undone: Vec::new(),
        })
    }

    async fn put_free_lease(&self, log: &LogCopy) -> Result<(), StoreError> {
        let lease = LeaseObject {
            layout: LAYOUT,
            lineage: log.head().lineage,
            write: self.mark(),
            epoch: log.epoch(),
            held: None,
        };
        self.put_lease(&self.place, &lease, None).await.map(|_| ())
    }
}
