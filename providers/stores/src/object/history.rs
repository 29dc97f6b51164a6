//! Changing history as a whole: dropping its beginning, and sealing it anew.

use std::collections::BTreeMap;

use gabion_engine::state::{FORMAT_VERSION, StoreError};

use super::core::Core;
use super::manifest::{Manifest, PageEntry, SegmentEntry, Stored};
use super::names::Name;
use super::place::Swapped;
use super::reading::{Fault, Readings};
use super::writing::CHANGES;

/// After how many pieces that were sealed anew the manifest takes them over.
const BATCH: usize = 256;

impl Core {
    /// Drops the events up to a sequence number and returns how many those are.
    pub(super) async fn compact(&self, epoch: u64, up_to: u64) -> Result<u64, StoreError> {
        let _turn = self.turn.lock().await;
        let mut readings = Readings::default();
        let mut first_start = None;
        for _ in 0..CHANGES {
            let (before, version) = self.manifest().await?;
            if !before.admits(epoch) {
                return Err(self.lost(epoch).await);
            }
            let up_to = up_to.min(before.head.sequence);
            let start = before.start().0;
            let first_start = *first_start.get_or_insert(start);
            if up_to <= start {
                // An earlier try whose answer was lost may have done it.
                return Ok(start - first_start);
            }
            let manifest = match self.without(&before, up_to, epoch).await {
                Ok(manifest) => manifest,
                Err(fault) => {
                    readings.again(self, &before, fault)?;
                    continue;
                }
            };
            if let Swapped::Done(version) = self.put_manifest(&manifest, Some(&version)).await? {
                self.learn_change(&before, &manifest, &version);
                // It is dropped, whether or not its objects can be deleted now.
                self.tidy_up(&manifest).await.ok();
                return Ok(up_to - first_start);
            }
        }
        Err(self.place.busy("the manifest was changed again and again"))
    }

    async fn without(&self, before: &Manifest, up_to: u64, epoch: u64) -> Result<Manifest, Fault> {
        let base = self.base_state(before).await?;
        let base = self.folded(before, base, up_to).await?;
        if base.serial != up_to {
            let why = format!("it ends with event {}, before event {up_to}", base.serial);
            return Err(self.place.unreadable("the log", why).into());
        }
        let mut manifest = before.clone();
        manifest.base = Some(self.write_state(&base, epoch).await?);
        manifest.older = manifest.older.filter(|page| page.last > up_to);
        manifest.segments.retain(|segment| segment.last > up_to);
        if manifest
            .snapshot
            .as_ref()
            .is_some_and(|snapshot| snapshot.sequence <= up_to)
        {
            manifest.snapshot = None;
            manifest.since_snapshot = manifest.segments.iter().map(|segment| segment.stored.size).sum();
        }
        manifest.write = self.mark();
        manifest.format_version = FORMAT_VERSION;
        Ok(manifest)
    }

    /// Seals anew what is not under the current key and returns how many pieces those were.
    pub(super) async fn reseal(&self, epoch: u64) -> Result<u64, StoreError> {
        let _turn = self.turn.lock().await;
        let mut readings = Readings::default();
        let mut count = 0;
        loop {
            let (manifest, _) = self.manifest().await?;
            if !manifest.admits(epoch) {
                return Err(self.lost(epoch).await);
            }
            let sealed = match self.sealed_anew(&manifest, epoch).await {
                Ok(sealed) => sealed,
                Err(fault) => {
                    readings.again(self, &manifest, fault)?;
                    continue;
                }
            };
            if sealed.is_empty() {
                return Ok(count);
            }
            count += sealed.len() as u64;
            self.take_over(epoch, &sealed).await?;
        }
    }

    /// Writes up to a batch of pieces anew that are not under the current key: by the names that they had.
    async fn sealed_anew(&self, manifest: &Manifest, epoch: u64) -> Result<BTreeMap<String, Stored>, Fault> {
        let mut pieces: Vec<Stored> = [&manifest.base, &manifest.snapshot]
            .into_iter()
            .flatten()
            .map(|kept| kept.stored.clone())
            .collect();
        let segments = self.segments_after(manifest, 0).await?;
        pieces.extend(segments.into_iter().map(|segment| segment.stored));
        let mut sealed = BTreeMap::new();
        for piece in pieces {
            let kept = self.kept(&piece).await?;
            if self.options.envelope.is_current(&kept) {
                continue;
            }
            let content = self.content(&piece).await?;
            let Some(name) = Name::read(&piece.name) else {
                return Err(self
                    .place
                    .unreadable(&piece.name, "it has no name of this store")
                    .into());
            };
            let stored = self
                .store(name.kind, (name.first, name.last), epoch, &content)
                .await?;
            sealed.insert(piece.name, stored);
            if sealed.len() == BATCH {
                break;
            }
        }
        Ok(sealed)
    }

    /// Puts pieces in the place of others.
    async fn take_over(&self, epoch: u64, sealed: &BTreeMap<String, Stored>) -> Result<(), StoreError> {
        let mut readings = Readings::default();
        for _ in 0..CHANGES {
            let (before, version) = self.manifest().await?;
            if !before.admits(epoch) {
                return Err(self.lost(epoch).await);
            }
            let manifest = match self.exchanged(&before, sealed, epoch).await {
                Ok(manifest) => manifest,
                Err(fault) => {
                    readings.again(self, &before, fault)?;
                    continue;
                }
            };
            if let Swapped::Done(version) = self.put_manifest(&manifest, Some(&version)).await? {
                self.learn_change(&before, &manifest, &version);
                // What was replaced is deleted after the grace period, by a later sweep if not by this one.
                self.tidy_up(&manifest).await.ok();
                return Ok(());
            }
        }
        Err(self.place.busy("the manifest was changed again and again"))
    }

    async fn exchanged(
        &self,
        before: &Manifest,
        sealed: &BTreeMap<String, Stored>,
        epoch: u64,
    ) -> Result<Manifest, Fault> {
        let exchange = |stored: &mut Stored| {
            if let Some(other) = sealed.get(&stored.name) {
                *stored = other.clone();
            }
        };
        let exchange_all = |segments: &mut Vec<SegmentEntry>| {
            for segment in segments {
                exchange(&mut segment.stored);
            }
        };
        let mut manifest = before.clone();
        for kept in [&mut manifest.base, &mut manifest.snapshot].into_iter().flatten() {
            exchange(&mut kept.stored);
        }
        exchange_all(&mut manifest.segments);
        let mut pages: Vec<PageEntry> = Vec::new();
        let mut older = manifest.older.clone();
        while let Some(entry) = older.filter(|entry| entry.last > before.start().0) {
            older = self.page(&entry).await?.older.clone();
            pages.push(entry);
        }
        // From the oldest on: a page names the one before it, so that all after a changed one change.
        let mut newest: Option<PageEntry> = None;
        let mut changed = false;
        for entry in pages.into_iter().rev() {
            let page = self.page(&entry).await?;
            let mut segments = page.segments.clone();
            exchange_all(&mut segments);
            changed |= segments != page.segments;
            newest = Some(match changed {
                true => self.write_page(newest, segments, epoch).await?,
                false => entry,
            });
        }
        manifest.older = newest;
        manifest.write = self.mark();
        manifest.format_version = FORMAT_VERSION;
        Ok(manifest)
    }
}
