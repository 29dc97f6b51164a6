//! The manifest: what a state consists of. It alone changes; every change of the state is one change of it.

use std::sync::Arc;

use gabion_engine::address::Lineage;
use gabion_engine::state::snapshot::Head;
use gabion_engine::state::store::LeaseView;
use serde::{Deserialize, Serialize};

use super::undone::Undone;

/// The version of the layout that this build writes, and the newest that it reads.
pub(crate) const LAYOUT: u32 = 1;

/// What a state consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The version of the layout of the objects.
    pub(crate) layout: u32,
    /// The version of the log's format.
    pub(crate) format_version: u32,
    /// What makes this writing of the manifest unlike any other, so that its writer knows it again.
    pub(crate) write: String,
    /// Where the log stands.
    pub(crate) head: Head,
    /// Who may append.
    pub(crate) fence: Fence,
    /// Epochs are granted above this one: the highest of a log that was taken over.
    #[serde(default)]
    pub(crate) floor: u64,
    /// The state that the kept history starts from; `None` is the empty one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base: Option<Kept>,
    /// A state from which loading starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<Kept>,
    /// How many bytes of events came after that state.
    #[serde(default)]
    pub(crate) since_snapshot: u64,
    /// The page that lists the segments before `segments`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) older: Option<PageEntry>,
    /// The segments, in order and without gaps, up to the head.
    pub(crate) segments: Vec<SegmentEntry>,
    /// Upkeep that failed and was not done since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) undone: Vec<Undone>,
}

/// Who may append: the holder of this epoch, while the fence is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fence {
    /// The highest epoch that was granted.
    pub(crate) epoch: u64,
    /// Whether its lease is held.
    pub(crate) open: bool,
}

/// An object that is written once, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// Its name below the prefix.
    pub(crate) name: String,
    /// How many bytes it has.
    pub(crate) size: u64,
    /// The SHA-256 digest of its bytes as they are kept, in hexadecimal.
    pub(crate) sha256: String,
}

/// A whole state that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Its serial.
    pub(crate) sequence: u64,
    /// The hash of its last event.
    pub(crate) chain: Arc<str>,
    /// Where it is.
    pub(crate) stored: Stored,
}

/// A segment: events in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentEntry {
    /// The sequence number of its first event.
    pub(crate) first: u64,
    /// The sequence number of its last event.
    pub(crate) last: u64,
    /// The hash of its last event.
    pub(crate) chain: Arc<str>,
    /// How often what it holds was merged.
    pub(crate) level: u32,
    /// Where it is.
    pub(crate) stored: Stored,
}

/// A page of the list of older segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PageEntry {
    /// The sequence number of the first event of the first segment that it lists.
    pub(crate) first: u64,
    /// The sequence number of the last event of the last segment that it lists.
    pub(crate) last: u64,
    /// Where it is.
    pub(crate) stored: Stored,
}

/// What is in a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    /// The page before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) older: Option<PageEntry>,
    /// The segments that it lists, in order and without gaps.
    pub(crate) segments: Vec<SegmentEntry>,
}

/// What is in the lease object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LeaseObject {
    /// The version of the layout of the objects.
    pub(crate) layout: u32,
    /// The state that it belongs to.
    pub(crate) lineage: Lineage,
    /// What makes this writing of it unlike any other.
    pub(crate) write: String,
    /// The highest epoch that was asked for.
    pub(crate) epoch: u64,
    /// The lease, if somebody holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<LeaseView>,
}

impl Manifest {
    /// Returns where the kept history starts: the sequence number and the hash of the event before its first one.
    pub(crate) fn start(&self) -> (u64, Arc<str>) {
        match &self.base {
            Some(base) => (base.sequence, base.chain.clone()),
            None => (0, Arc::default()),
        }
    }

    /// Returns whether the holder of an epoch may append.
    pub(crate) fn admits(&self, epoch: u64) -> bool {
        self.fence == Fence { epoch, open: true }
    }

    /// Returns why the manifest contradicts itself, if it does, without a full stop.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let (mut at, mut chain) = match &self.older {
            Some(page) => (page.last, None),
            None => {
                let (sequence, chain) = self.start();
                (sequence, Some(chain))
            }
        };
        for (index, segment) in self.segments.iter().enumerate() {
            // The first one may begin with events that compaction dropped.
            let follows = match index {
                0 if self.older.is_none() => segment.first <= at + 1,
                _ => segment.first == at + 1,
            };
            if !follows || segment.last < segment.first.max(at + 1) {
                return Some(format!(
                    "{} stands where event {} should come",
                    segment.stored.name,
                    at + 1
                ));
            }
            (at, chain) = (segment.last, Some(segment.chain.clone()));
        }
        if at != self.head.sequence || chain.is_some_and(|chain| chain != self.head.chain) {
            return Some(format!(
                "it lists events up to {at}, and its head is {}",
                self.head.sequence
            ));
        }
        None
    }
}
