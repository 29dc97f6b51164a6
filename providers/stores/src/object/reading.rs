//! Reading: the manifest, and what it names. Everything is checked against what names it.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::{FORMAT_VERSION, FoldError, State, StoreError};
use object_store::UpdateVersion;
use serde::Deserialize;

use super::core::{Core, Known};
use super::manifest::{Kept, LAYOUT, Manifest, Page, PageEntry, SegmentEntry, Stored};
use super::names::{Kind, LEASE, MANIFEST, Name};
use super::place::Found;
use super::proof;
use super::segment::Segment;

/// How many objects are read at once.
const AT_ONCE: usize = 8;
/// How often reading begins anew because what it read was replaced.
const READINGS: u32 = 10;

/// Why something that a manifest names could not be read.
pub(super) enum Fault {
    /// It is not there. If the manifest has changed, it was replaced.
    Vanished(String),
    /// It cannot be read.
    Store(StoreError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Reading that begins anew while what it reads is replaced.
#[derive(Default)]
pub(super) struct Readings {
    count: u32,
    manifest: Option<String>,
}

impl Readings {
    /// Returns if reading may begin anew after a fault.
    pub(super) fn again(&mut self, core: &Core, manifest: &Manifest, fault: Fault) -> Result<(), StoreError> {
        let name = match fault {
            Fault::Store(error) => return Err(error),
            Fault::Vanished(name) => name,
        };
        if self.manifest.as_ref() == Some(&manifest.write) {
            return Err(core.place.unreadable(&name, "it is missing"));
        }
        self.count += 1;
        if self.count == READINGS {
            return Err(core.place.busy("what was read was replaced again and again"));
        }
        self.manifest = Some(manifest.write.clone());
        Ok(())
    }
}

/// What tells a format from others, in every version of it.
#[derive(Deserialize)]
struct Versions {
    layout: u32,
    #[serde(default)]
    format_version: u32,
}

impl Core {
    /// Reads an object that vouches for itself, unless a later version of gabion wrote it.
    pub(super) fn proven<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        bytes: &[u8],
    ) -> Result<T, StoreError> {
        let damaged = |why: String| self.place.unreadable(name, why);
        let versions: Versions = proof::decode(bytes).map_err(damaged)?;
        for (found, known) in [
            (versions.layout, LAYOUT),
            (versions.format_version, FORMAT_VERSION),
        ] {
            if found > known {
                return Err(self.newer(found));
            }
        }
        proof::decode(bytes).map_err(damaged)
    }

    fn newer(&self, found: u32) -> StoreError {
        StoreError::NewerFormat {
            location: self.place.location().to_owned(),
            found,
        }
    }

    pub(super) fn decode_manifest(&self, found: &Found) -> Result<Manifest, StoreError> {
        let manifest: Manifest = self.proven(MANIFEST, &found.bytes)?;
        match manifest.contradiction() {
            None => Ok(manifest),
            Some(why) => Err(self.place.unreadable(MANIFEST, why)),
        }
    }

    /// Reads the manifest.
    ///
    /// That it is missing means that nothing was created only if nothing else is there either.
    pub(super) async fn manifest(&self) -> Result<(Manifest, UpdateVersion), StoreError> {
        for _ in 0..READINGS {
            if let Some(found) = self.place.get(MANIFEST).await? {
                return Ok((self.decode_manifest(&found)?, found.version));
            }
            let there = self.place.list().await?;
            if there.iter().any(|(name, _)| name == MANIFEST) {
                continue;
            }
            // What a creation leaves that was cut short is no state yet.
            let unfinished = |name: &str| {
                Name::read(name).is_none_or(|name| match name.kind {
                    Kind::Probe => true,
                    Kind::Segment => name.last == 1 || name.epoch == 0,
                    // Of an adoption; whoever holds a lease writes under an epoch.
                    _ => name.epoch == 0,
                })
            };
            let left = there.iter().find(|(name, _)| name == LEASE || !unfinished(name));
            return Err(match left {
                None => StoreError::NotFound {
                    location: self.place.location().to_owned(),
                },
                Some((name, _)) => self
                    .place
                    .unreadable(MANIFEST, format!("it is missing, and {name} is there")),
            });
        }
        Err(self
            .place
            .busy("the manifest was made and removed again and again"))
    }

    /// Returns an object's content, after checking that it is the one that was written.
    pub(super) async fn content(&self, stored: &Stored) -> Result<Vec<u8>, Fault> {
        let bytes = self.kept(stored).await?;
        let opened = self.options.envelope.open(&stored.name, &bytes);
        opened.map_err(|error| StoreError::of_envelope(self.place.location(), &stored.name, error).into())
    }

    /// Returns an object's bytes as they are kept, after the same check.
    pub(super) async fn kept(&self, stored: &Stored) -> Result<bytes::Bytes, Fault> {
        let Some(found) = self.place.get_sized(&stored.name, stored.size).await? else {
            return Err(Fault::Vanished(stored.name.clone()));
        };
        let size = found.bytes.len() as u64;
        let why = if size != stored.size {
            format!("it has {size} bytes, and {} were written", stored.size)
        } else if proof::digest(&found.bytes) != stored.sha256 {
            "it was altered after it was written".to_owned()
        } else {
            return Ok(found.bytes);
        };
        Err(self.place.unreadable(&stored.name, why).into())
    }

    /// Returns a segment.
    pub(super) async fn segment(
        &self,
        manifest: &Manifest,
        entry: &SegmentEntry,
    ) -> Result<Arc<Segment>, Fault> {
        if let Some(segment) = self.cached_segment(&entry.stored.name) {
            return Ok(segment);
        }
        let content = self.content(&entry.stored).await?;
        let damaged = |why: String| self.place.unreadable(&entry.stored.name, why);
        let segment = Segment::decode(&content).map_err(damaged)?;
        if segment.lineage != manifest.head.lineage
            || segment.range() != (entry.first, entry.last)
            || segment.chain() != entry.chain
        {
            return Err(damaged("it holds other events than the manifest says".to_owned()).into());
        }
        let segment = Arc::new(segment);
        self.cache_segment(&entry.stored, segment.clone());
        Ok(segment)
    }

    /// Returns a page of the list of older segments.
    pub(super) async fn page(&self, entry: &PageEntry) -> Result<Arc<Page>, Fault> {
        if let Some(page) = self.cached_page(&entry.stored.name) {
            return Ok(page);
        }
        let bytes = self.kept(&entry.stored).await?;
        let damaged = |why: String| self.place.unreadable(&entry.stored.name, why);
        let page: Page = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let page = Arc::new(page);
        self.cache_page(&entry.stored.name, page.clone());
        Ok(page)
    }

    /// Returns the segments that hold events after a sequence number, in order.
    pub(super) async fn segments_after(
        &self,
        manifest: &Manifest,
        after: u64,
    ) -> Result<Vec<SegmentEntry>, Fault> {
        // Segments and pages that hold only what compaction dropped may be gone.
        let after = after.max(manifest.start().0);
        let mut parts = vec![manifest.segments.clone()];
        let mut older = manifest.older.clone();
        while let Some(entry) = older.filter(|entry| entry.last > after) {
            let page = self.page(&entry).await?;
            parts.push(page.segments.clone());
            older = page.older.clone();
        }
        let mut segments: Vec<_> = parts.into_iter().rev().flatten().collect();
        for pair in segments.windows(2) {
            if let [one, other] = pair
                && other.first != one.last + 1
            {
                let why = format!("event {} is missing before it", other.first.saturating_sub(1));
                return Err(self.place.unreadable(&other.stored.name, why).into());
            }
        }
        segments.retain(|segment| segment.last > after);
        Ok(segments)
    }

    /// Returns a state that is kept whole.
    pub(super) async fn kept_state(&self, manifest: &Manifest, kept: &Kept) -> Result<State, Fault> {
        let content = self.content(&kept.stored).await?;
        let damaged = |why: String| self.place.unreadable(&kept.stored.name, why);
        let state: State = serde_json::from_slice(&content).map_err(|error| damaged(error.to_string()))?;
        if state.lineage != Some(manifest.head.lineage)
            || state.serial != kept.sequence
            || state.chain != kept.chain
        {
            return Err(damaged("it holds another state than the manifest says".to_owned()).into());
        }
        Ok(state)
    }

    /// Returns the state that the kept history starts from.
    pub(super) async fn base_state(&self, manifest: &Manifest) -> Result<State, Fault> {
        match &manifest.base {
            Some(base) => self.kept_state(manifest, base).await,
            None => Ok(State::default()),
        }
    }

    /// Returns the state at the head, starting from one that is known to be an earlier one of it, if any.
    pub(super) async fn head_state(
        &self,
        manifest: &Manifest,
        earlier: Option<State>,
    ) -> Result<State, Fault> {
        let state = match (earlier, &manifest.snapshot) {
            (Some(state), _) => state,
            (None, Some(snapshot)) => self.kept_state(manifest, snapshot).await?,
            (None, None) => self.base_state(manifest).await?,
        };
        let state = self.folded(manifest, state, u64::MAX).await?;
        if state.head().as_ref() != Some(&manifest.head) {
            let why = format!(
                "its head is event {} of {} objects, and its segments lead to event {} of {}",
                manifest.head.sequence,
                manifest.head.objects.unwrap_or_default(),
                state.serial,
                state.len()
            );
            return Err(self.place.unreadable(MANIFEST, why).into());
        }
        Ok(state)
    }

    /// Folds the events that come after a state, up to a sequence number.
    pub(super) async fn folded(
        &self,
        manifest: &Manifest,
        mut state: State,
        up_to: u64,
    ) -> Result<State, Fault> {
        let mut entries = self.segments_after(manifest, state.serial).await?;
        entries.retain(|entry| entry.first <= up_to);
        let mut segments = stream::iter(entries)
            .map(|entry| async move {
                let segment = self.segment(manifest, &entry).await?;
                Ok::<_, Fault>((entry.stored.name, segment))
            })
            .buffered(AT_ONCE);
        while let Some((name, segment)) = segments.try_next().await? {
            let mut previous = &segment.previous;
            for event in &segment.events {
                let sequence = event.event.sequence;
                if sequence > up_to {
                    break;
                }
                if sequence > state.serial {
                    if *previous != state.chain {
                        let why = format!("event {sequence} does not follow event {}", state.serial);
                        return Err(self.place.unreadable(&name, why).into());
                    }
                    self.fold(&mut state, event, &name)?;
                }
                previous = &event.hash;
            }
        }
        Ok(state)
    }

    fn fold(&self, state: &mut State, event: &ChainedEvent, name: &str) -> Result<(), StoreError> {
        match state.fold_hashed(&event.event, event.hash.clone()) {
            Ok(_) => Ok(()),
            Err(FoldError::NewerFormat { found, .. }) => Err(self.newer(found)),
            Err(error) => Err(self.place.unreadable(
                name,
                format!("event {} does not fit: {error}", event.event.sequence),
            )),
        }
    }

    /// Returns what is there now, reading only what is not known yet.
    pub(super) async fn refreshed(&self) -> Result<Known, StoreError> {
        let mut readings = Readings::default();
        loop {
            let known = self.known();
            let (manifest, version) = match &known {
                None => self.manifest().await?,
                Some(known) => match self.place.get_other(MANIFEST, &known.version).await? {
                    None => return Ok(known.clone()),
                    Some(Some(found)) => (self.decode_manifest(&found)?, found.version),
                    Some(None) => self.manifest().await?,
                },
            };
            match self.advanced(known, manifest.clone(), version).await {
                Ok(known) => return Ok(known),
                Err(fault) => readings.again(self, &manifest, fault)?,
            }
        }
    }

    /// Makes a manifest that was just read the one that is known.
    pub(super) async fn advanced(
        &self,
        known: Option<Known>,
        manifest: Manifest,
        version: UpdateVersion,
    ) -> Result<Known, Fault> {
        let earlier = match known {
            Some(known) if known.manifest.head.lineage != manifest.head.lineage => {
                self.forget();
                let why = "it is that of another state now, which took this one's place while it was in use";
                return Err(self.place.unreadable(MANIFEST, why).into());
            }
            Some(known) if known.state.serial > manifest.head.sequence => {
                let why = format!(
                    "it ends with event {}, and event {} was there before",
                    manifest.head.sequence, known.state.serial
                );
                return Err(self.place.unreadable(MANIFEST, why).into());
            }
            // What compaction dropped since cannot be read any more.
            Some(known) => (known.state.serial >= manifest.start().0).then_some(known.state),
            None => None,
        };
        let state = self.head_state(&manifest, earlier).await?;
        let known = Known {
            manifest: Arc::new(manifest),
            version,
            state,
        };
        self.learn(known.clone());
        Ok(known)
    }

    /// Returns events after a sequence number.
    pub(super) async fn events(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, StoreError> {
        let mut readings = Readings::default();
        loop {
            let (manifest, _) = self.manifest().await?;
            match self.events_of(&manifest, after, limit).await {
                Ok(events) => return Ok(events),
                Err(fault) => readings.again(self, &manifest, fault)?,
            }
        }
    }

    async fn events_of(
        &self,
        manifest: &Manifest,
        after: u64,
        limit: usize,
    ) -> Result<Vec<ChainedEvent>, Fault> {
        let after = after.max(manifest.start().0);
        let mut events = Vec::new();
        for entry in self.segments_after(manifest, after).await? {
            if events.len() >= limit {
                break;
            }
            let segment = self.segment(manifest, &entry).await?;
            let wanted = segment.events.iter().filter(|event| event.event.sequence > after);
            events.extend(wanted.take(limit - events.len()).cloned());
        }
        Ok(events)
    }

    /// Returns the state that the kept history starts from, as it is now.
    pub(super) async fn base(&self) -> Result<State, StoreError> {
        let mut readings = Readings::default();
        loop {
            let (manifest, _) = self.manifest().await?;
            match self.base_state(&manifest).await {
                Ok(state) => return Ok(state),
                Err(fault) => readings.again(self, &manifest, fault)?,
            }
        }
    }

    /// Returns the hash of an event; `None` when it is not kept.
    pub(super) async fn hash_of(
        &self,
        manifest: &Manifest,
        sequence: u64,
    ) -> Result<Option<Arc<str>>, Fault> {
        if manifest.start().0 == sequence {
            return Ok(Some(manifest.start().1));
        }
        let events = self.events_of(manifest, sequence.saturating_sub(1), 1).await?;
        let found = events.into_iter().find(|event| event.event.sequence == sequence);
        Ok(found.map(|event| event.hash))
    }
}
