//! What the parts of the store share: where it is, how it works, and what is known of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gabion_engine::state::State;
use gabion_engine::state::StoreError;
use object_store::UpdateVersion;

use super::manifest::{LeaseObject, Manifest, Page, Stored};
use super::names::{Kind, Name};
use super::place::Place;
use super::proof;
use super::segment::Segment;
use super::store::ObjectOptions;
use super::undone::Noted;

/// How many bytes of segments are kept in memory, for merging them and for reading page by page.
const SEGMENT_CACHE: u64 = 8 << 20;
/// How many pages of the list of older segments are.
const PAGE_CACHE: usize = 64;

/// The store's insides.
pub(super) struct Core {
    pub(super) place: Place,
    /// The same place over connections of its own, so that a heartbeat waits for nothing else of its process.
    pub(super) renewing: Place,
    pub(super) options: ObjectOptions,
    /// Who this is among all that write here.
    pub(super) writer: String,
    written: AtomicU64,
    known: Mutex<Option<Known>>,
    /// Held by whoever changes the manifest: of one handle's changes only one is under way.
    pub(super) turn: tokio::sync::Mutex<()>,
    lease: Mutex<Option<(LeaseObject, UpdateVersion)>>,
    segments: Mutex<VecDeque<(String, u64, Arc<Segment>)>>,
    pages: Mutex<BTreeMap<String, Arc<Page>>>,
    noted: Mutex<Noted>,
}

/// The state as it was last seen.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) manifest: Arc<Manifest>,
    pub(super) version: UpdateVersion,
    pub(super) state: State,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is a plain assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub(super) fn new(place: Place, renewing: Place, options: ObjectOptions) -> Self {
        Self {
            writer: options.ids.next().simple().to_string(),
            place,
            renewing,
            options,
            written: AtomicU64::new(0),
            known: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            lease: Mutex::default(),
            segments: Mutex::default(),
            pages: Mutex::default(),
            noted: Mutex::default(),
        }
    }

    fn number(&self) -> u64 {
        self.written.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Returns what makes a writing of an object unlike any other.
    pub(super) fn mark(&self) -> String {
        format!("{}.{}", self.writer, self.number())
    }

    /// Returns a name that was never used.
    pub(super) fn name(&self, kind: Kind, first: u64, last: u64, epoch: u64) -> String {
        let name = Name {
            kind,
            first,
            last,
            epoch,
            writer: self.writer.clone(),
            number: self.number(),
        };
        name.text()
    }

    /// Writes content in its envelope under a name that was never used.
    pub(super) async fn store(
        &self,
        kind: Kind,
        (first, last): (u64, u64),
        epoch: u64,
        content: &[u8],
    ) -> Result<Stored, StoreError> {
        let name = self.name(kind, first, last, epoch);
        let kept = match kind {
            // It says nothing that the manifest does not say.
            Kind::Page => content.to_vec(),
            _ => self.options.envelope.seal(&name, content),
        };
        let stored = Stored {
            size: kept.len() as u64,
            sha256: proof::digest(&kept),
            name,
        };
        self.place.put_new(&stored.name, kept).await?;
        Ok(stored)
    }

    pub(super) fn known(&self) -> Option<Known> {
        lock(&self.known).clone()
    }

    /// Remembers what was seen, unless something later is known already.
    pub(super) fn learn(&self, seen: Known) {
        let mut known = lock(&self.known);
        let later = known
            .as_ref()
            .is_some_and(|known| known.manifest.head.sequence > seen.manifest.head.sequence);
        if !later {
            *known = Some(seen);
        }
    }

    /// Takes over a change of the manifest that leaves the state as it is, if the manifest before it is the known one.
    pub(super) fn learn_change(&self, before: &Manifest, manifest: &Manifest, version: &UpdateVersion) {
        let mut known = lock(&self.known);
        if let Some(known) = known
            .as_mut()
            .filter(|known| known.manifest.write == before.write)
        {
            known.manifest = Arc::new(manifest.clone());
            known.version = version.clone();
        }
    }

    /// Returns what became of the upkeep that this handle tried.
    pub(super) fn noted(&self) -> MutexGuard<'_, Noted> {
        lock(&self.noted)
    }

    pub(super) fn forget(&self) {
        *lock(&self.known) = None;
    }

    pub(super) fn known_lease(&self) -> Option<(LeaseObject, UpdateVersion)> {
        lock(&self.lease).clone()
    }

    pub(super) fn learn_lease(&self, lease: Option<(LeaseObject, UpdateVersion)>) {
        *lock(&self.lease) = lease;
    }

    pub(super) fn cached_segment(&self, name: &str) -> Option<Arc<Segment>> {
        let segments = lock(&self.segments);
        let found = segments.iter().find(|(cached, ..)| cached == name);
        found.map(|(.., segment)| segment.clone())
    }

    pub(super) fn cache_segment(&self, stored: &Stored, segment: Arc<Segment>) {
        let mut segments = lock(&self.segments);
        segments.push_back((stored.name.clone(), stored.size, segment));
        let mut bytes: u64 = segments.iter().map(|(_, size, _)| size).sum();
        while bytes > SEGMENT_CACHE && segments.len() > 1 {
            bytes -= segments.pop_front().map_or(0, |(_, size, _)| size);
        }
    }

    /// Forgets segments that were replaced.
    pub(super) fn drop_segments(&self, names: &[String]) {
        lock(&self.segments).retain(|(name, ..)| !names.contains(name));
    }

    pub(super) fn cached_page(&self, name: &str) -> Option<Arc<Page>> {
        lock(&self.pages).get(name).cloned()
    }

    pub(super) fn cache_page(&self, name: &str, page: Arc<Page>) {
        let mut pages = lock(&self.pages);
        if pages.len() == PAGE_CACHE {
            pages.pop_first();
        }
        pages.insert(name.to_owned(), page);
    }
}
