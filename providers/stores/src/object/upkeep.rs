//! Keeping what is there small: merging segments, writing snapshots, moving the list of old segments out of the manifest,
//! and deleting what nothing refers to any more.
//!
//! All of it is done by the lease's holder after an append, and none of it can fail an append: what could not be done is
//! noted, and done after a later one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gabion_engine::state::StoreError;

use super::core::{Core, Known};
use super::manifest::{Kept, Manifest, Page, PageEntry, SegmentEntry};
use super::names::{Kind, Name};
use super::place::Swapped;
use super::reading::Fault;
use super::segment::Segment;
use super::undone::Chore;

impl Core {
    /// Does what is due after an append.
    pub(super) async fn upkeep(&self, known: Known) {
        match self.tidied(known).await {
            Ok(()) | Err(Fault::Vanished(_)) => {}
            // The append is durable whatever becomes of this. What is known may be wrong.
            Err(Fault::Store(_)) => self.forget(),
        }
    }

    async fn tidied(&self, known: Known) -> Result<(), Fault> {
        let limits = &self.options.upkeep;
        let before = known.manifest;
        let mut manifest = Manifest::clone(&before);
        let epoch = manifest.fence.epoch;
        let mut replaced = Vec::new();
        let mut sweeping = false;
        while let Some(start) = self.mergeable(&manifest.segments) {
            let run = manifest.segments.split_off(start);
            let merging = self.merged(&manifest, &run, epoch);
            let merged = self.chore(Chore::Merge, &before, merging).await?;
            sweeping |= merged.level > 1;
            replaced.extend(run.into_iter().map(|entry| entry.stored.name));
            manifest.segments.push(merged);
        }
        if manifest.segments.len() > limits.listed {
            let kept = manifest
                .segments
                .split_off(manifest.segments.len() - limits.listed / 2);
            let listed = std::mem::replace(&mut manifest.segments, kept);
            let listing = self.write_page(manifest.older.take(), listed, epoch);
            let listing = async { listing.await.map_err(Fault::from) };
            manifest.older = Some(self.chore(Chore::List, &before, listing).await?);
            sweeping = true;
        }
        let smallest = [&manifest.snapshot, &manifest.base]
            .into_iter()
            .flatten()
            .map(|kept| kept.stored.size)
            .next();
        if manifest.since_snapshot >= limits.snapshot_after.max(smallest.unwrap_or_default()) {
            let writing = async { self.write_state(&known.state, epoch).await.map_err(Fault::from) };
            manifest.snapshot = Some(self.chore(Chore::Snapshot, &before, writing).await?);
            manifest.since_snapshot = 0;
            sweeping = true;
        }
        if manifest == *before {
            // What an earlier run could not delete is tried again once in each run.
            let undone = before.undone.iter().any(|undone| undone.chore == Chore::Sweep);
            if undone && !self.noted().tried(Chore::Sweep, epoch) {
                self.tidy_up(&before).await?;
            }
            return Ok(());
        }
        manifest.write = self.mark();
        self.noted().write_into(&mut manifest);
        let Swapped::Done(version) = self.put_manifest(&manifest, Some(&known.version)).await? else {
            return Ok(());
        };
        self.learn_change(&before, &manifest, &version);
        self.drop_segments(&replaced);
        if sweeping {
            self.tidy_up(&manifest).await?;
        }
        Ok(())
    }

    /// Returns where the segments at the end begin that are to become one, if there are enough of them.
    fn mergeable(&self, segments: &[SegmentEntry]) -> Option<usize> {
        let limits = &self.options.upkeep;
        let level = segments.last()?.level;
        let mut bytes = 0;
        let count = segments
            .iter()
            .rev()
            .take_while(|segment| {
                bytes += segment.stored.size;
                segment.level == level && bytes <= limits.largest_segment
            })
            .count();
        (count >= limits.fanout.max(2)).then(|| segments.len() - count)
    }

    async fn merged(
        &self,
        manifest: &Manifest,
        run: &[SegmentEntry],
        epoch: u64,
    ) -> Result<SegmentEntry, Fault> {
        let mut events = Vec::new();
        let mut previous: Option<Arc<str>> = None;
        for entry in run {
            let segment = self.segment(manifest, entry).await?;
            previous.get_or_insert_with(|| segment.previous.clone());
            events.extend(segment.events.iter().cloned());
        }
        let segment = Segment {
            lineage: manifest.head.lineage,
            previous: previous.unwrap_or_default(),
            events,
        };
        let level = run.last().map_or(0, |entry| entry.level) + 1;
        Ok(self.write_segment(&segment, level, epoch).await?)
    }

    /// Writes a page where nothing refers to it yet.
    pub(super) async fn write_page(
        &self,
        older: Option<PageEntry>,
        segments: Vec<SegmentEntry>,
        epoch: u64,
    ) -> Result<PageEntry, StoreError> {
        let first = segments.first().map_or(0, |segment| segment.first);
        let last = segments.last().map_or(0, |segment| segment.last);
        let page = Page { older, segments };
        let content = serde_json::to_vec(&page).expect("a page has only text and whole numbers");
        let stored = self.store(Kind::Page, (first, last), epoch, &content).await?;
        Ok(PageEntry { first, last, stored })
    }

    /// Writes a state where nothing refers to it yet.
    pub(super) async fn write_state(
        &self,
        state: &gabion_engine::state::State,
        epoch: u64,
    ) -> Result<Kept, StoreError> {
        let content = serde_json::to_vec(state).expect("a state has only text keys and finite numbers");
        let range = (state.serial, state.serial);
        let stored = self.store(Kind::Snapshot, range, epoch, &content).await?;
        Ok(Kept {
            sequence: state.serial,
            chain: state.chain.clone(),
            stored,
        })
    }

    /// Deletes what nothing refers to any more, has not for the grace period, and cannot be referred to again.
    ///
    /// A name is never used twice, so what a manifest ceased to name stays unnamed. What no manifest named yet may be
    /// named by its writer, unless the fence has passed its epoch: of the present epoch only this handle's own objects
    /// are deleted, and it has nothing under way while it does that.
    ///
    /// Time is what the service says: an object's age is how much older it is than the newest one. One that was replaced
    /// is as old as what replaced it.
    pub(super) async fn sweep(&self, manifest: &Manifest) -> Result<(), Fault> {
        let listed = self.place.list().await?;
        let live = self.live(manifest).await?;
        let made: BTreeMap<&str, _> = listed
            .iter()
            .map(|(name, meta)| (name.as_str(), meta.last_modified))
            .collect();
        let Some(newest) = made.values().max().copied() else {
            return Ok(());
        };
        let segments: Vec<(Name, _)> = live
            .iter()
            .filter_map(|name| Some((Name::read(name)?, *made.get(name.as_str())?)))
            .collect();
        let mut gone = Vec::new();
        for (text, meta) in &listed {
            let Some(name) = Name::read(text) else { continue };
            let fenced = name.epoch < manifest.fence.epoch || name.writer == self.writer;
            if live.contains(text) || !fenced {
                continue;
            }
            let replaces = |other: &Name| match name.kind {
                Kind::Segment if other.kind == Kind::Segment => {
                    other.first <= name.first && name.first <= other.last
                }
                // A state that is kept may be the base that events were dropped for.
                Kind::Segment => other.kind == Kind::Snapshot && name.first <= other.last,
                _ => other.kind == name.kind || other.kind == Kind::Snapshot,
            };
            let since = segments
                .iter()
                .filter(|(other, _)| replaces(other))
                .map(|(_, made)| *made)
                .fold(meta.last_modified, std::cmp::Ord::max);
            let age = (newest - since).to_std().unwrap_or_default();
            if age >= self.options.upkeep.grace {
                gone.push(text.clone());
            }
        }
        if !gone.is_empty() {
            self.place.delete(&gone).await?;
        }
        Ok(())
    }

    /// Returns the names of all that a manifest refers to.
    async fn live(&self, manifest: &Manifest) -> Result<BTreeSet<String>, Fault> {
        let kept = [&manifest.base, &manifest.snapshot];
        let mut live: BTreeSet<String> = kept
            .into_iter()
            .flatten()
            .map(|kept| kept.stored.name.clone())
            .collect();
        let segments = self.segments_after(manifest, 0).await?;
        live.extend(segments.into_iter().map(|segment| segment.stored.name));
        let start = manifest.start().0;
        let mut older = manifest.older.clone();
        while let Some(entry) = older.filter(|entry| entry.last > start) {
            older = self.page(&entry).await?.older.clone();
            live.insert(entry.stored.name);
        }
        Ok(live)
    }
}
